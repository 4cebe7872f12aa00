# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sandbox for all tests of a file, empty for each of them, and an instance to begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from playbook import support
from playbook.seeds import Web, seed_web
from playbook.support import DURATIONS, REGION
from sandbox.client import Sandbox


@pytest.fixture(scope="module")
def one_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(durations=DURATIONS) as started:
        yield started


@pytest.fixture
def sandbox(one_sandbox: Sandbox) -> Sandbox:
    one_sandbox.clear_faults()
    one_sandbox.reset()
    one_sandbox.configure(durations=DURATIONS, refused=[], visibility_delay={}, latency=0.0, buckets=False)
    return one_sandbox


@pytest.fixture
def web(sandbox: Sandbox) -> Web:
    return seed_web(sandbox, REGION)


@pytest.fixture(params=[True, False], ids=["worker", "own-process"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the test twice: with modules in Ansible's worker process, and in processes of their own."""
    monkeypatch.setitem(support.EVERYWHERE, "ec2ops_in_process", request.param)
