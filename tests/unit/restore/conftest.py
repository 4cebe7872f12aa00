# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox of the restore tests: faster than the usual one, one for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.client import Sandbox


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=60.0, seed=1, durations={"snapshot_pending": 2.0}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    quick_sandbox.reset()
    quick_sandbox.clear_faults()
    quick_sandbox.configure(durations={"snapshot_pending": 2.0}, refused=[])
    return quick_sandbox
