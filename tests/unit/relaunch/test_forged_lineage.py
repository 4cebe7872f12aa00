# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Successors that were given up while their predecessor ran on, and older ids in ``ec2ops:replaces``: tags that retire,
capture or follow the wrong instance.
"""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_relaunch, snapshot_rotate

from forged_pairs import DAYS, REPLACES, TRIAL, Pair, launched_only, names_both, replaced, root, tag, write
from in_process import machine, run, snapshots
from sandbox.client import Sandbox

WORDS = ["rejected", None, "serving"]


def outrun(sandbox: Sandbox, *, stopped_first: bool) -> Pair:
    """Return a successor that was given up, and its predecessor, which served for five days more and is off now."""
    pair = launched_only(sandbox)
    tag(pair.new, {TRIAL: "rejected"})
    if stopped_first:
        pair.new.ec2.stop_instances(InstanceIds=[pair.new.instance_id])
    sandbox.move_clock(5 * DAYS)
    pair.old.ec2.stop_instances(InstanceIds=[pair.old.instance_id])
    sandbox.move_clock(60)
    return pair


def captured_volumes(sandbox: Sandbox) -> set[str]:
    rows = snapshots(sandbox).values()
    return {row["VolumeId"] for row in rows if any(item["Key"] == "ec2ops:policy" for item in row.get("Tags", ()))}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("stopped_first", [False, True])
def test_policy_captures_a_predecessor_that_ran_on(sandbox: Sandbox, stopped_first: bool, word: str | None) -> None:
    pair = outrun(sandbox, stopped_first=stopped_first)
    write(pair.new, word)
    given: dict[str, Any] = {"policy": "daily", "select": {"instance_ids": [pair.old.instance_id]}, "keep": {"last": 3}}
    ended = run(sandbox, module=snapshot_rotate, **given)
    assert ended.failed == ""
    assert root(pair.old) in captured_volumes(sandbox)
    assert word == "rejected" or names_both(pair, ended.warnings)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("stopped_first", [False, True])
def test_policy_by_tags_captures_a_predecessor_that_ran_on(
    sandbox: Sandbox, stopped_first: bool, word: str | None
) -> None:
    pair = outrun(sandbox, stopped_first=stopped_first)
    for one in (pair.old, pair.new):
        tag(one, {"service": "web"})
    write(pair.new, word)
    given = {"policy": "daily", "select": {"tags": {"service": "web"}}, "consistency": "instance", "keep": {"last": 3}}
    assert run(sandbox, module=snapshot_rotate, **given).failed == ""
    assert root(pair.old) in captured_volumes(sandbox)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("stopped_first", [False, True])
def test_bake_names_a_predecessor_that_ran_on(sandbox: Sandbox, stopped_first: bool, word: str | None) -> None:
    pair = outrun(sandbox, stopped_first=stopped_first)
    write(pair.new, word)
    ended = pair.bake("3")
    is_captured = not ended.failed and ended.result["source_instance_id"] == pair.old.instance_id
    assert is_captured or pair.old.instance_id in ended.failed or names_both(pair, ended.warnings)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("stopped_first", [False, True])
def test_relaunch_terminates_no_successor_whose_predecessor_ran_on(
    sandbox: Sandbox, stopped_first: bool, word: str | None
) -> None:
    pair = outrun(sandbox, stopped_first=stopped_first)
    image = str(pair.bake("3").result["image_id"])
    write(pair.new, word)
    ended = pair.relaunch(image)
    assert pair.new.state != "terminated"
    assert word == "rejected" or (pair.old.instance_id in ended.failed and pair.new.instance_id in ended.failed)


def test_gone_id_is_followed_with_a_warning(sandbox: Sandbox) -> None:
    pair = replaced(sandbox, old_instance="terminate")
    gone = machine(sandbox, "gone")
    gone.ec2.terminate_instances(InstanceIds=[gone.instance_id])
    sandbox.move_clock(2 * 3600)
    tag(pair.new, {REPLACES: f"{pair.old.instance_id},{gone.instance_id}"})
    ended = run(sandbox, module=instance_relaunch, instance_id=gone.instance_id, image_id=pair.image_id, check=True)
    assert (ended.failed, ended.actions) == ("", [])
    assert any(gone.instance_id in text and pair.new.instance_id in text for text in ended.warnings)


@pytest.mark.parametrize("forged", [False, True])
def test_image_of_a_living_stranger_is_no_version_of_the_successor(sandbox: Sandbox, forged: bool) -> None:
    pair = replaced(sandbox)
    stranger = machine(sandbox, "db")
    sandbox.move_clock(60)
    given = {"name": "web", "version": "2", "require_stopped": False}
    assert not run(sandbox, module=ami_bake, source_instance_id=stranger.instance_id, **given).failed
    if forged:
        tag(pair.new, {REPLACES: f"{pair.old.instance_id},{stranger.instance_id}"})
    assert "another source" in pair.bake("2").failed
