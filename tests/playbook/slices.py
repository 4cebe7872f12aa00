# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX runs them: ansible-runner transmits a slice of the inventory to a worker, and processes its events."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbook.processes import end
from playbook.support import playbook_environment
from sandbox.client import Sandbox

ACCOUNTS = {"shop": "111111111111", "bank": "222222222222", "farm": "333333333333", "mill": "444444444444"}
ACCOUNTS |= {"dock": "555555555555"}
"""Accounts of the sandbox by profile. Its access keys are the accounts' digits."""


@dataclass(frozen=True)
class Place:
    """A host of the inventory: one region of one account."""

    profile: str
    region: str

    @property
    def host(self) -> str:
        return f"{self.profile}-{self.region}"

    def line(self, playbook: str) -> str:
        """The host's line of an INI inventory."""
        return f"{self.host} {playbook}_profile={self.profile} {playbook}_region={self.region}\n"


def sliced(places: Sequence[Place], number: int, count: int) -> list[Place]:
    """The hosts of one slice, as AWX chooses them: each *count*-th one, from *number* (1 for the first slice)."""
    return list(places[number - 1 :: count])


def write_profiles(path: Path) -> None:
    """A file such as the one that the credential of the patterns writes, with a key for each account."""
    path.write_text(
        "".join(
            f"[profile {name}]\naws_access_key_id = {account}\naws_secret_access_key = secret-of-{name}\n"
            for name, account in ACCOUNTS.items()
        ),
        encoding="utf-8",
    )


@dataclass
class Slice:
    """A job of one slice, in a private data folder of its own."""

    folder: Path
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts `ansible-runner transmit | worker | process`, as on AWX's control and execution nodes."""
        runner, folder = "ansible-runner", shlex.quote(str(self.folder))
        worker = self.folder.parent / f"{self.folder.name}-worker"
        command = (
            f"{runner} transmit {folder} -p play.yml | {runner} worker --private-data-dir {shlex.quote(str(worker))}"
            f" | {runner} process {folder} --ident job > {folder}/log 2>&1"
        )
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(os.environ),
        )

    def ended(self, timeout: float = 240.0) -> str:
        """Waits for the end. Returns the status of the job: successful or failed."""
        assert self.process is not None
        try:
            self.process.wait(timeout=timeout)
        except BaseException:
            end(self.process)
            raise
        status = self.folder / "artifacts" / "job" / "status"
        assert status.exists(), (self.folder / "log").read_text(encoding="utf-8")
        return status.read_text(encoding="utf-8")

    def kill(self) -> None:
        """Ends all processes of the slice at once, as when an execution node is lost."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            end(self.process, grace=0.0)

    def events(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.folder / "artifacts" / "job" / "job_events").glob("*.json")):
            yield json.loads(path.read_text(encoding="utf-8"))

    def artifact(self) -> dict[str, Any]:
        """The values that the job hands to the next one, as AWX finds them."""
        return artifact_of(self.events())


def artifact_of(events: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The values of set_stats in the events of a job."""
    (last,) = [event["event_data"] for event in events if event["event"] == "playbook_on_stats"]
    return dict(last.get("artifact_data", {}))


def slice_of(
    sandbox: Sandbox, folder: Path, playbook: str, places: Sequence[Place], variables: Mapping[str, Any]
) -> Slice:
    """The job of a slice, ready to start: inventory, variables, environment, and the playbook."""
    for name in ("env", "inventory", "project"):
        (folder / name).mkdir(parents=True)
    profiles = folder / "profiles"
    write_profiles(profiles)
    given = playbook_environment(sandbox, folder / "record.jsonl")
    # The key of a credential of the type Amazon Web Services stays in the environment, beside the profiles.
    (folder / "env" / "envvars").write_text(json.dumps({**given, "AWS_CONFIG_FILE": str(profiles)}), encoding="utf-8")
    (folder / "env" / "extravars").write_text(json.dumps(dict(variables)), encoding="utf-8")
    (folder / "inventory" / "hosts").write_text("".join(each.line(playbook) for each in places), encoding="utf-8")
    play = [{"name": "The job", "ansible.builtin.import_playbook": f"ec2ops.storage.{playbook}"}]
    (folder / "project" / "play.yml").write_text(json.dumps(play), encoding="utf-8")
    return Slice(folder)
