# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks our workflows and the pipelines for users: their schemas, known security faults, and their shell scripts.

The schemas come with check-jsonschema, and zizmor makes no connection, so the check needs no network once it is
installed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools import venvs
from tools.environment import ROOT

LOCK = ROOT / "tests" / "tools" / "locks" / "workflows.txt"
GITHUB = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / "extensions" / "pipelines" / "github.yml"]
GITLAB = ROOT / "extensions" / "pipelines" / "gitlab-ci.yml"
SCHEMAS = {
    "vendor.github-workflows": GITHUB,
    "vendor.gitlab-ci": [GITLAB],
    "vendor.dependabot": [ROOT / ".github" / "dependabot.yml"],
}


def main() -> None:
    """Exits with 1 and the messages of all checks if one of them finds something."""
    programs = venvs.ready("workflows", LOCK, sys.executable) / "bin"
    failed = [not passes(programs / "check-jsonschema", "--builtin-schema", name, *SCHEMAS[name]) for name in SCHEMAS]
    zizmor = (programs / "zizmor", "--offline", "--no-progress", "--config", ROOT / ".github" / "zizmor.yml")
    failed.append(not passes(*zizmor, *GITHUB))
    for name, script in scripts():
        failed.append(not passes("shellcheck", "--shell=bash", "-", script=script, about=name))
    sys.exit(any(failed))


def scripts() -> Iterator[tuple[str, str]]:
    """Yield each shell script with its place: the steps of GitHub, and the jobs of GitLab."""
    for path in GITHUB:
        for job, row in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            for step in row["steps"]:
                if "run" in step:
                    yield f"{path.name}, {job}, {step.get('name', '')}", step["run"]
    jobs: dict[str, Any] = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))
    for job, row in jobs.items():
        if isinstance(row, dict):
            for key in ("before_script", "script"):
                if key in row:
                    yield f"{GITLAB.name}, {job}", "\n".join(row[key])


def passes(*command: str | Path, script: str | None = None, about: str = "") -> bool:
    """Return whether the command ends with 0. Print its output otherwise."""
    done = subprocess.run(
        [str(word) for word in command], check=False, input=script, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        print(*filter(None, [about, done.stdout.strip(), done.stderr.strip()]), sep="\n")
    return not done.returncode


if __name__ == "__main__":
    main()
