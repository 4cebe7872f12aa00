# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation site, run as they stand: the commands of a page, and its plays, in their order.

Each page has an account of its own, with the resources that the examples name (tools/furnished.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook.processes import end
from playbook.support import DURATIONS, own_warnings
from sandbox.client import Sandbox
from tools.environment import ROOT, environment
from tools.furnished import REGION, START, WEB, furnish, furnish_groups

DOCS = ROOT / "docs"
TIMEOUT = 200.0
# Examples that no sandbox can run, by page and a text in them, with the reason.
NOT_RUN: Mapping[tuple[str, str], str] = {
    ("awx.md", "# inventory/accounts.yml"): "an inventory that a later job of AWX reads",
    ("controller.md", "become_user: backup"): "another user of this machine",
    ("copies.md", "# Input configuration"): "a credential type of AWX",
    ("volumes.md", "# the successor"): "two options of a task, as they would be after a relaunch",
    ("pipelines.md", "drift.yml -i servers.yml"): "the servers of the reader",
    ("permissions.md", "aws iam create-policy"): "IAM is no part of the sandbox",
    ("relaunch.md", "monitor.example.com"): "a host of the reader; tests/playbook/test_relaunch.py runs these tasks",
}
# The accounts behind the profiles that examples name.
PROFILES = {"vault": "444455556666", "ledger": "222233334444", "prod": None, "shop": None}
INVENTORY = """
[web]
web-b instance_id=i-0123456789abcdef1
web-c instance_id=i-0123456789abcdef2
"""
# The variables of the first command of publish.md.
PUBLISH = """
publish_image_region: us-east-1
publish_image_source_instance_id: i-0123456789abcdef0
publish_image_name: web
publish_image_version: "1"
publish_image_launch_template: web
publish_image_groups: [web, worker]
"""
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DIRECTIVE = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?:   .*)?\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A block of a page. ``name``: the file that its first line names, or an empty text."""

    language: str
    text: str
    name: str


def pages() -> list[Path]:
    return [page for page in (*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("docsite/rst/*.rst"))) if examples(page)]


def examples(page: Path) -> list[Example]:
    """The examples of a page that are run, in their order."""
    text = page.read_text(encoding="utf-8")
    found = _FENCE.findall(text) if page.suffix == ".md" else _DIRECTIVE.findall(text)
    rows = []
    for language, block in found:
        block = textwrap.dedent(block).strip() + "\n"
        left_out = any(page.name == where and part in block for where, part in NOT_RUN)
        if language not in ("yaml", "ini", "bash", "console") or left_out:
            continue
        if language == "console" and not block.startswith(("ansible-playbook ", "ANSIBLE_")):
            continue
        name = re.match(r"# ([\w.-]+\.(?:yml|ini))\n", block)
        rows.append(Example(language, block, name[1] if name else ""))
    return rows


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox.start(durations=DURATIONS, start=START) as sandbox:
        yield sandbox


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_examples_of_a_page_run(server: Sandbox, tmp_path: Path, page: Path) -> None:
    account = f"{900000000000 + pages().index(page)}"
    furnish(server, account)
    if page.name == "results.md":
        server.client("ec2", REGION, account=account).stop_instances(InstanceIds=[WEB])
    if page.name == "nightly_rotation.rst":
        furnish(server, str(PROFILES["ledger"]))
    if page.name == "publish.md":
        furnish_groups(server, account)
        (tmp_path / "publish.yml").write_text(PUBLISH, encoding="utf-8")
    if page.name == "storage_info.md":
        # A volume without a use is a saving once it is some days old.
        server.seed({"account": account, "region": "us-east-1", "volume": {"name": "old", "Size": 8}})
        server.move_clock(3 * 86400)
    if page.name == "pipelines.md":
        shutil.copytree(ROOT / "extensions" / "pipelines", tmp_path, dirs_exist_ok=True)
    place(tmp_path, account)
    commands = written(page, tmp_path)
    assert commands, "a page with examples runs something"
    for command in commands:
        assert "approved.yml" not in command or "hash-of" not in (tmp_path / "approved.yml").read_text(encoding="utf-8")
        status, output = carried_out(server, command, tmp_path)
        approve(output, tmp_path)
        assert status == 0, f"{command}\n{output}"
        assert not own_warnings(output), output
        assert "no hosts matched" not in output and "skipping: no hosts" not in output, output


def approve(output: str, folder: Path) -> None:
    """Approves as the reader of a check does: writes the hashes of its plans into the file of the approval."""
    hashes = re.findall(r'"(\w+)": \{[^{}]*"plan_hashes": \{\s*"\w+": "([0-9a-f]+)"', output)
    file = folder / "approved.yml"
    for host, plan_hash in hashes if file.is_file() else []:
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(f"hash-of-the-plan-for-{host}", plan_hash), encoding="utf-8")


def place(folder: Path, account: str) -> None:
    """Writes the configuration of AWS that a reader has: keys, and the profiles that the pages name."""
    rows = [("default", account), *((f"profile {name}", owner or account) for name, owner in PROFILES.items())]
    text = "\n".join(
        f"[{name}]\naws_access_key_id = {owner}\naws_secret_access_key = testing\n" for name, owner in rows
    )
    (folder / "aws-config").write_text(text, encoding="utf-8")
    (folder / "hosts.ini").write_text(INVENTORY, encoding="utf-8")


def written(page: Path, folder: Path) -> list[str]:
    """Writes the files of a page, and returns its commands. Plays that no command runs are one command."""
    commands, plays = [], []
    for number, example in enumerate(examples(page)):
        if example.language in ("console", "bash"):
            commands.append(example.text)
            continue
        name = example.name or f"example{number}.yml"
        content: Any = yaml.safe_load(example.text) if example.language == "yaml" else None
        text = example.text
        if isinstance(content, list) and not any("hosts" in item for item in content):
            play = {"name": "Tasks of an example", "hosts": "localhost", "gather_facts": False}
            text = yaml.safe_dump([{**play, "tasks": content}], sort_keys=False)
        (folder / name).write_text(text, encoding="utf-8")
        if isinstance(content, list):
            plays.append(name)
    used = " ".join(commands)
    alone = [name for name in plays if name not in used]
    return [*([f"ansible-playbook {' '.join(alone)}"] if alone else []), *commands]


def carried_out(sandbox: Sandbox, command: str, folder: Path) -> tuple[int, str]:
    """Runs a command in a shell, as a reader does in the folder with the page's files."""
    process = subprocess.Popen(
        ["bash", "-euc", command],
        cwd=folder,
        env={
            **environment(os.environ),
            "AWS_ENDPOINT_URL": sandbox.url,
            "AWS_CONFIG_FILE": str(folder / "aws-config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "ANSIBLE_INVENTORY": str(folder / "hosts.ini"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCAL_TEMP": str(folder),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _none = process.communicate(timeout=TIMEOUT)
    except BaseException:
        end(process)
        raise
    return process.returncode, output


def test_every_exception_is_still_needed() -> None:
    for (name, part), reason in NOT_RUN.items():
        (page,) = [page for page in DOCS.rglob("*") if page.name == name]
        assert part in page.read_text(encoding="utf-8"), f"{name} has no example with {part!r} ({reason})"
