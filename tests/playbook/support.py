# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks against a sandbox as a user does, and compares their plans with the sandbox's log."""

from __future__ import annotations

import base64
import difflib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import is_planned, substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.operations import OPERATIONS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import published_parameters

from playbook.processes import end
from sandbox.client import Sandbox
from tools.environment import COLLECTION, ROOT, environment

CALLBACKS = ROOT / "tests" / "playbook" / "callback"
PLAYS = ROOT / "tests" / "playbook" / "plays"
REGION = "us-east-1"
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
DURATIONS = {
    "instance_stopping": 0.4,
    "instance_pending": 0.4,
    "instance_shutting_down": 0.4,
    "instance_end_shown": 0.2,
    "snapshot_pending": 0.8,
    "image_registering": 0.3,
    "status_ok": 0.4,
    "write_tick": 0.1,
}
"""Sandbox seconds: short, and long enough that nothing is ready at the first look."""

EVERYWHERE: dict[str, Any] = {}
"""Variables of all runs of a test. The fixture both_ways sets the one that decides where modules run."""

_READ = re.compile(r"(\w+:)?(Describe|Get|List)")
"""Operations that change nothing; those of other services than EC2 have their service's name before them."""


@dataclass(frozen=True)
class TaskResult:
    """The outcome of one task on one host. outcome: ok, changed, failed, ignored, skipped or unreachable."""

    host: str
    task: str
    action: str
    outcome: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run of ansible-playbook that has ended. ``output`` is its printed text, both streams together."""

    status: int
    output: str
    results: tuple[TaskResult, ...]

    def fact(self, name: str, host: str = "localhost") -> Any:
        """The last value that a task of the host gave to a fact. Raises KeyError, with the output, when none did."""
        for each in reversed(self.results):
            facts = each.result.get("ansible_facts") or {}
            if each.host == host and name in facts:
                return facts[name]
        raise KeyError(f"no task set {name} on {host}:\n{self.output}")

    @property
    def changed(self) -> list[str]:
        """The names of the tasks that changed something, in order."""
        return [each.task for each in self.results if each.outcome == "changed"]

    @property
    def failures(self) -> list[str]:
        """The messages of the tasks that failed, in order."""
        return [str(each.result.get("msg")) for each in self.results if each.outcome in ("failed", "unreachable")]

    @property
    def ours(self) -> list[TaskResult]:
        """The results of the collection's own modules."""
        return [
            each for each in self.results if each.action.startswith("ec2ops.storage.") and each.outcome != "skipped"
        ]

    @property
    def planned_ids(self) -> dict[str, str]:
        """EC2's ids for the planned ids, also for those of a loop's items."""
        items = [item for each in self.ours for item in (each.result, *each.result.get("results", ()))]
        return {name: made for item in items for name, made in item.get("planned_ids", {}).items()}


def run_playbook(
    sandbox: Sandbox,
    playbook: Path | str,
    variables: Mapping[str, Any] | None = None,
    *arguments: str,
    check: bool = False,
    inventory: str | None = None,
    timeout: float = 240.0,
    more: Mapping[str, str] | None = None,
) -> Run:
    """Runs a playbook (a file, or a name such as ``ec2ops.storage.bake_and_relaunch``) to its end.

    ``inventory`` is the text of an INI inventory; without one there is only the implicit localhost. A playbook of the
    collection gets its region as `connected` says. ``check`` adds ``--check --diff``. ``more`` has further environment
    variables. After ``timeout`` real seconds the run and its children are killed and TimeoutExpired is raised. A
    warning about a file of the collection is a failure of the test.
    """
    with tempfile.TemporaryDirectory(prefix="ec2ops-playbook-") as folder:
        record = Path(folder, "record.jsonl")
        command = ["ansible-playbook", str(playbook), *arguments]
        command += ["-e", json.dumps(connected(playbook, variables or {}, inventory or ""))]
        command += ["--check", "--diff"] if check else []
        if inventory is not None:
            hosts = Path(folder, "hosts.ini")
            hosts.write_text(inventory, encoding="utf-8")
            command += ["-i", str(hosts)]
        process = subprocess.Popen(
            command,
            env={**playbook_environment(sandbox, record), **(more or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _none = process.communicate(timeout=timeout)
        except BaseException:
            end(process)
            raise
        assert own_warnings(output) == [], "\n".join(own_warnings(output))
        return Run(process.returncode, output, recorded(record))


def own_warnings(output: str) -> list[str]:
    """The warnings of Ansible, also about what is deprecated, that name a file of the collection, each in one line."""
    start, end = r"^\[(?:DEPRECATION )?WARNING\]: ", r"(?=^\S+ \[|^\[|^(?!Origin)\w+: |^$|\Z)"
    texts = re.findall(rf"{start}.*?{end}", output, re.MULTILINE | re.DOTALL)
    # A long line is broken where the screen ends, also within a path.
    named = str(COLLECTION).replace(" ", "")
    return [" ".join(text.split()) for text in texts if named in "".join(text.split())]


def connected(playbook: Path | str, variables: Mapping[str, Any], inventory: str = "") -> dict[str, Any]:
    """The variables of a run, with a region for a playbook of the collection: the environment has none.

    The region is in the playbook's own ``*_region``, unless the test or a host of the inventory says where. A play of
    the tests has its region in its ``module_defaults``.
    """
    variables = {**EVERYWHERE, **variables}
    if isinstance(playbook, Path):
        return variables
    name = playbook.removeprefix("ec2ops.storage.")
    said = (f"{name}_aws", f"{name}_region")
    if any(variables.get(each) is not None or each in inventory for each in said):
        return variables
    return {**variables, f"{name}_region": REGION}


def playbook_environment(sandbox: Sandbox, record: Path) -> dict[str, str]:
    """The environment of a run that talks to the sandbox and writes its tasks' results to ``record``.

    Endpoint and keys are all that it says about AWS: a task that loses the play's connection options must fail.
    """
    return {
        **environment(),
        **{name: value for name, value in sandbox.environment().items() if name not in REGION_VARIABLES},
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "recorder",
        "ANSIBLE_NOCOLOR": "1",
        "EC2OPS_TEST_RECORD": str(record),
        # The test's folder has the leftovers of a killed run.
        "TMPDIR": str(record.parent),
        "ANSIBLE_LOCAL_TEMP": str(record.parent),
        "ANSIBLE_REMOTE_TEMP": str(record.parent),
    }


def recorded(record: Path) -> tuple[TaskResult, ...]:
    """The results that a run has written so far."""
    if not record.exists():
        return ()
    return tuple(TaskResult(**json.loads(line)) for line in record.read_text(encoding="utf-8").splitlines())


# --- a plan, and what was done --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deed:
    """One entry of a plan, or one resource's part of a call, in the form in which both are compared.

    ``resource`` is empty where the request does not name it apart from its parameters, such as that of a new one.
    """

    action: str
    region: str
    resource: str
    parameters: str


def planned_deeds(plan: Iterable[Mapping[str, Any]], planned_ids: Mapping[str, str]) -> list[Deed]:
    """The entries of a published plan, every planned id replaced by the one that EC2 gave."""
    deeds = []
    for entry in plan:
        bound = substitute(dict(entry), planned_ids)
        made = OPERATIONS[entry["action"]].target is None
        if is_planned(bound["resource"]):
            raise AssertionError(f"{entry['action']}: nothing was made for {entry['resource']}")
        deeds.append(_deed(entry["action"], entry["region"], "" if made else bound["resource"], bound["parameters"]))
    # One CreateSnapshots makes a snapshot per volume: as many entries, one call.
    return [deed for index, deed in enumerate(deeds) if deed.action != "CreateSnapshots" or deed not in deeds[:index]]


def performed_deeds(log: Iterable[Mapping[str, Any]]) -> list[Deed]:
    """The changes in the sandbox's log, without refused calls; a call for many resources counts for each."""
    deeds = []
    for entry in log:
        action = entry["action"]
        if _READ.match(action) or entry["outcome"] != "ok":
            continue
        action = action.removeprefix("ssm:").removeprefix("autoscaling:")
        parameters = dict(entry["params"])
        if isinstance(parameters.get("UserData"), str):
            # A plan has the hash of the clear text; boto3 sends base64.
            parameters["UserData"] = base64.b64decode(parameters["UserData"])
        # Botocore adds them to CopySnapshot.
        for name in ("DestinationRegion", "PresignedUrl"):
            parameters.pop(name, None)
        target = OPERATIONS[action].target
        named = parameters.pop(target, "") if target else ""
        resources = [named] if isinstance(named, str) else named
        shown = published_parameters(parameters)
        deeds += [_deed(action, entry["region"], resource, shown) for resource in resources]
    return deeds


def _deed(action: str, region: str, resource: str, parameters: Mapping[str, Any]) -> Deed:
    return Deed(action, region, resource, json.dumps(parameters, sort_keys=True, default=str))


def assert_done_as_planned(
    plan: Sequence[Mapping[str, Any]],
    log: Iterable[Mapping[str, Any]],
    ids: Mapping[str, str],
    *,
    parallel: Sequence[str] = (),
) -> None:
    """The log has the plan's operations, resources and parameters, and for each resource in the plan's order.

    Changes of different resources need not wait for each other. The order of the operations named in *parallel* is open
    for one resource too.
    """

    def in_order(deeds: Sequence[Deed]) -> list[Deed]:
        apart = sorted((deed for deed in deeds if deed.action in parallel), key=str)
        others = [deed for deed in deeds if deed.action not in parallel]
        # Sorting is stable. A new resource has no name yet.
        return [*_ordered(sorted(others, key=lambda deed: deed.resource or str(deed))), *apart]

    planned, performed = in_order(planned_deeds(plan, ids)), in_order(performed_deeds(log))
    assert performed == planned, "\n".join(
        ["planned:", *(f"  {deed}" for deed in planned), "performed:", *(f"  {deed}" for deed in performed)]
    )


def _ordered(deeds: Sequence[Deed]) -> Iterator[Deed]:
    for _action, together in groupby(deeds, key=lambda deed: deed.action):
        yield from sorted(together, key=lambda deed: (deed.resource, deed.parameters))


def assert_told_the_same(
    foreseen: Iterable[Mapping[str, Any]], plan: Iterable[Mapping[str, Any]], planned_ids: Mapping[str, str]
) -> None:
    """Two plans have the same operations, resources and parameters, in the same order, with EC2's ids for planned ones.

    Reasons and views are left out: they may name times of the run.
    """

    def told(entries: Iterable[Mapping[str, Any]]) -> str:
        bound = (substitute(dict(entry), planned_ids) for entry in entries)
        rows = [{name: entry[name] for name in ("action", "resource", "parameters")} for entry in bound]
        return json.dumps(rows, indent=2, sort_keys=True)

    first, second = told(foreseen), told(plan)
    difference = difflib.unified_diff(first.splitlines(), second.splitlines(), "check run", "run", lineterm="")
    assert first == second, "\n".join(difference)


def changing_calls(log: Iterable[Mapping[str, Any]]) -> list[str]:
    """The operations in the log that are neither reads nor DryRuns, with any outcome."""
    return [entry["action"] for entry in log if not _READ.match(entry["action"]) and not entry["params"].get("DryRun")]


# --- what there is --------------------------------------------------------------------------------------------------


def leave_stopped(sandbox: Sandbox, instance_id: str) -> None:
    """Leaves a running instance as a run that was killed after its stop."""
    run = run_playbook(sandbox, PLAYS / "hold.yml", {"instance_id": instance_id})
    assert run.status == 0, run.output
    assert described_instance(sandbox, instance_id)["State"]["Name"] == "stopped"


def described_instance(sandbox: Sandbox, instance_id: str) -> dict[str, Any]:
    """The instance, as EC2 describes it."""
    answer = sandbox.client("ec2", REGION).describe_instances(InstanceIds=[instance_id])
    return dict(answer["Reservations"][0]["Instances"][0])


def described_image(sandbox: Sandbox, image_id: str) -> dict[str, Any]:
    """The image, as EC2 describes it."""
    return dict(sandbox.client("ec2", REGION).describe_images(ImageIds=[image_id])["Images"][0])


def own_images(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The images that carry the collection's tag."""
    filters = [{"Name": "tag-key", "Values": ["ec2ops:image"]}]
    return list(sandbox.client("ec2", REGION).describe_images(Owners=["self"], Filters=filters)["Images"])


def own_snapshots(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The snapshots that carry the collection's tag."""
    filters = [{"Name": "tag-key", "Values": ["ec2ops:image"]}]
    return list(sandbox.client("ec2", REGION).describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"])


def marks_before(marks: Iterable[Mapping[str, Any]], moment: str) -> list[dict[str, Any]]:
    """The marks up to and including a moment (ISO 8601, all in UTC as the sandbox writes it)."""
    limit = datetime.fromisoformat(moment)
    return [dict(mark) for mark in marks if datetime.fromisoformat(mark["time"]) <= limit]
