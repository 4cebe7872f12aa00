# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies that EC2 refuses for a quota are reported as deferred, and are not counted as copied."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from copy_runs import ELSEWHERE, Scene
from rotation_runs import ok, rotate
from sandbox.client import Sandbox
from worlds import START


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    durations = {"snapshot_pending": 1.0, "snapshot_copying": 600.0}
    with Sandbox.start(speed=60.0, seed=9, start=START, durations=durations) as sandbox:
        yield sandbox


def test_copies_refused_for_a_quota_are_named_and_not_counted(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2)
    sandbox.configure(options={"copies_per_region": 3})
    ran = ok(rotate(sandbox, alone=False, **scene.options({"region": ELSEWHERE, "keep": {"daily": 2}})))
    assert len(scene.copies()) == 3
    assert set(ran.result["copied"]) == set(scene.copies())
    assert ran.result["counts"]["copied"] == 3
    planned = {entry["resource"] for entry in ran.result["plan"] if entry["action"] == "CopySnapshot"}
    (deferred,) = ran.result["deferred"]
    assert deferred["snapshot_id"] in planned - set(ran.result["planned_ids"])
    assert deferred["code"] == "ResourceLimitExceeded"
    assert "Too many snapshot copies in progress" in deferred["message"]
