# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by all tests: imports of the collection and the sandbox, the environment, and the check that a test ran."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from tools import tree
from tools.environment import ROOT, TREE, environment

# `ansible_collections.ec2ops.storage` is the copy that ansible-playbook runs. pytest-xdist's workers start after this.
if "PYTEST_XDIST_WORKER" not in os.environ:
    tree.update()
sys.path.insert(0, str(TREE))

# A failed assertion in a helper shows its values, as in a test.
pytest.register_assert_rewrite(*(path.stem for path in Path(__file__).parent.glob("unit/support/*.py")))

_own = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_")}
_environment = environment()
os.environ.clear()
os.environ.update(_environment | _own)

# The same examples in every run; HYPOTHESIS_PROFILE=explore looks for others, and make quick tries fewer.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.register_profile("quick", max_examples=10, derandomize=True, database=None, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_passed: set[Path] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(ROOT / report.nodeid.split("::")[0])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the session if no test of a requested folder has passed, since a session without tests must not be green."""
    if exitstatus or hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    for asked in session.config.args:
        folder = session.config.invocation_params.dir / asked
        if folder.is_dir() and not any(file.is_relative_to(folder) for file in _passed):
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
            print(f"\nNo test has passed in {asked}.", file=sys.stderr)
