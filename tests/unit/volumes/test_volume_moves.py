# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ebs_volume_spec` with move: the volume that an id stands for, and the declaration that it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forged_volumes import attach, detach, made_from_gone_snapshot, tag, web_with_data
from in_process import ZONE, machine, run, volumes
from sandbox.client import Sandbox

ROLE = Path(__file__).parents[3] / "roles" / "volume_move"
MOVE: dict[str, Any] = {"move": True, "steal": True, "replace": "snapshot", "in_use": "detach"}


@pytest.mark.parametrize(
    ("spec", "kept"),
    [("shop", "shop"), ("i-0123456789abcdef0", None), ("zone/us-east-1b", None), ("", None)],
)
def test_moved_volume_keeps_a_declaration_that_is_no_place(sandbox: Sandbox, spec: str, kept: str | None) -> None:
    web, real = web_with_data(sandbox)
    target = machine(sandbox, "target")
    tag(sandbox, real, spec=spec)
    given = {"instance_ids": [target.instance_id], "volumes": [{"volume_id": real}], **MOVE}
    ended = run(sandbox, **given)
    assert ended.failed == ""
    assert list(target.attached().values()) == [real]
    assert web.attached() == {}
    assert volumes(sandbox)[real]["tags"]["ec2ops:spec"] == (kept or target.instance_id)
    again = run(sandbox, **given)
    assert (again.failed, again.actions) == ("", [])


def test_volume_that_serves_in_the_zone_has_arrived(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    given = {"availability_zone": ZONE, "volumes": [{"volume_id": real}], **MOVE}
    ended = run(sandbox, **given)
    assert (ended.failed, ended.actions, ended.result["volumes"]) == ("", [], [])
    detach(web, real)
    ended = run(sandbox, **given)
    assert (ended.failed, ended.actions) == ("", ["CreateTags"])
    assert volumes(sandbox)[real]["tags"]["ec2ops:spec"] == f"zone/{ZONE}"


def test_moved_id_does_not_stand_for_a_forged_replacement(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    other, target = machine(sandbox, "other"), machine(sandbox, "target")
    forged = made_from_gone_snapshot(sandbox)
    attach(other, forged)
    detach(web, real)
    tag(sandbox, forged, spec="stranger", volume="data", replaces=real)
    tag(sandbox, real, replaced_by=forged)
    given = {"instance_ids": [target.instance_id], "volumes": [{"volume_id": real}], **MOVE}
    ended = run(sandbox, **given)
    assert real in ended.failed
    assert ended.actions == []
    assert other.attached() == {"/dev/sdf": forged}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"volumes": [{"name": "data"}]}, "volume_id"),
        ({"volumes": [{"volume_id": "vol-0123456789abcdef0", "state": "absent"}]}, "state: present"),
        ({"instance_ids": ["i-0123456789abcdef0", "i-0123456789abcdef1"], "volumes": []}, "takes one instance"),
    ],
)
def test_move_takes_named_volumes_and_one_target(sandbox: Sandbox, given: dict[str, Any], words: str) -> None:
    ended = run(sandbox, move=True, **{"instance_ids": ["i-0123456789abcdef0"], **given})
    assert words in ended.failed


def test_role_reads_no_tags_of_the_collection() -> None:
    files = [path.read_text() for path in ROLE.rglob("*.yml")]
    assert files
    assert not [text for text in files if "ec2ops:" in text]
