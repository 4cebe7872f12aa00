# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags whose text looks like a planned id, even like an id of the same plan: a run carries them as any other text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import (
    copy_description,
    planned_in,
    planned_in_filters,
    start_text,
    substitute,
    substitute_filters,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import format_instant
from hypothesis import given
from hypothesis import strategies as st

from copies_world import place, world_of
from copies_world import planned as copied
from copy_runs import ELSEWHERE, Scene
from examples import examples
from forged_pairs import REPLACES, replaced
from forged_pairs import tag as tag_instance
from forged_volumes import SWAP, declared, tag, web_with_data
from in_process import machine, run
from relaunch_world import ROOT, plain
from relaunch_world import plan as relaunched
from relaunch_world import spec as relaunch_spec
from restore_world import TARGET
from restore_world import instance as target
from restore_world import planned as restored
from restore_world import snapshot as backup
from rotation_runs import rotate
from rotation_world import DAY, I1, Account, snapshot
from rotation_world import machine as machine_of
from rotation_world import planned as rotated
from rotation_world import volume as any_volume
from sandbox.client import Sandbox
from volume_plans import declared as declaration
from volume_plans import plan_of
from volume_world import WEB, Ec2, volume
from volume_world import instance as web
from worlds import new_day

MADE = "(new snapshot p 2026-11-24 of vol-1)"
BINDINGS = {MADE: "snap-0123456789abcdef0"}
STRANGE = "(new snapshot x)"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
START = "(new moment p 2026-11-24 of vol-1)"

# --- where a plan writes its own ids ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        MADE,
        f"{MADE} is kept",
        {"SnapshotId": MADE},
        {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": MADE}}]},
        {"snapshot_ids": [MADE]},
        {"created": [MADE]},
        {"reason": f"copy {MADE}", "resource": MADE},
        {"decisions": [{"reasons": [f"{MADE} is newer"]}]},
        {"Tags": [{"Key": "ec2ops:replaced-by", "Value": MADE}]},
        {"TagSpecifications": [{"Tags": [{"Key": "ec2ops:copy-of", "Value": f"us-east-1/{MADE}"}]}]},
        {"tags": {"ec2ops:copy-of": f"us-east-1/{MADE}"}},
        {"Description": copy_description("p", "vol-1", "", MADE, "us-east-1", NOON)},
    ],
    ids=str,
)
def test_own_ids_are_found_and_replaced(written: Any) -> None:
    assert planned_in(written) == {MADE}
    done = substitute(written, BINDINGS)
    assert json.dumps(done) == json.dumps(written).replace(MADE, BINDINGS[MADE])


@pytest.mark.parametrize(
    "written",
    [
        {"TagSpecifications": [{"ResourceType": "snapshot", "Tags": [{"Key": "note", "Value": MADE}]}]},
        {"Tags": [{"Key": MADE, "Value": MADE}]},
        {"tags": {"note": MADE, MADE: MADE}},
        {"tags": {"ec2ops:replaces": f"vol-1,{MADE}"}},
        {"Description": f"p: {MADE}"},
        {"Description": f"web {MADE}, from us-east-1, taken {START}: swap snapshot of vol-1"},
        {"Name": MADE, "Placement": {"GroupName": MADE}},
    ],
    ids=str,
)
def test_other_text_is_neither_found_nor_replaced(written: Any) -> None:
    assert planned_in(written) == set()
    assert substitute(written, BINDINGS) == written


def test_only_the_end_of_a_copy_description_is_substituted() -> None:
    written = copy_description("p", MADE, MADE, MADE, "us-east-1", NOON)
    assert planned_in({"Description": written}) == {MADE}
    done = substitute({"Description": written}, BINDINGS)["Description"]
    assert done == copy_description("p", MADE, MADE, BINDINGS[MADE], "us-east-1", NOON)


@pytest.mark.parametrize("of", [MADE, STRANGE, START])
def test_start_time_of_a_planned_snapshot_comes_in_once_it_is_known(of: str) -> None:
    texts = {
        "Description": copy_description("p", of, of, MADE, "us-east-1", None, volumes=2),
        "tags": {tag_names.TAKEN: start_text(MADE, None), "note": START},
    }
    assert START in texts["Description"] and texts["tags"][tag_names.TAKEN] == START
    assert planned_in(texts) == {MADE}
    assert substitute(texts, {}) == texts
    assert substitute(texts, BINDINGS, {MADE: NOON}.get) == {
        "Description": copy_description("p", of, of, BINDINGS[MADE], "us-east-1", NOON, volumes=2),
        "tags": {tag_names.TAKEN: format_instant(NOON), "note": START},
    }


def test_filters_on_tags_are_read_like_tags() -> None:
    own = (("volume-id", (MADE,)), ("tag:ec2ops:copy-of", (f"us-east-1/{MADE}",)))
    others = (("tag:note", (MADE,)), ("tag:ec2ops:volume", (MADE,)), ("status", ("pending",)))
    assert planned_in_filters(own) == {MADE}
    assert planned_in_filters(others) == set()
    bound = substitute_filters((*own, *others), BINDINGS)
    assert bound == (
        ("volume-id", (BINDINGS[MADE],)),
        ("tag:ec2ops:copy-of", (f"us-east-1/{BINDINGS[MADE]}",)),
        *others,
    )


# --- whole plans ------------------------------------------------------------------------------------------------------


def swap(note: str) -> Plan:
    there = Ec2(web(), volume(1, WEB, name="data", tags={"note": note}))
    options = {"replace": "snapshot", "in_use": "stop", "delete_replaced": True}
    return plan_of(declaration({"name": "data", "encrypted": True}, **options), there)


def deletion(note: str) -> Plan:
    there = Ec2(web(), volume(1, WEB, name="data", tags={"note": note}))
    return plan_of(declaration({"name": "data", "state": "absent"}, in_use="detach"), there)


def capture(note: str) -> Plan:
    return rotated(Account.of(any_volume(1, tags={"note": note})))


def set_of_an_instance(note: str) -> Plan:
    resources = [
        dataclasses.replace(one, tags={"note": note}) if isinstance(one, Volume) else one for one in machine_of(1, 1, 2)
    ]
    given = {"select": {"instance_ids": [I1]}, "consistency": "instance"}
    return rotated(Account.of(resources), **given)


def copies(note: str) -> Plan:
    tags = {"note": note}
    originals = [snapshot(number * DAY, tags=tags, snapshot_id=f"snap-{number:017x}") for number in (1, 2, 3)]
    there = world_of(any_volume(1, tags=tags), *originals)
    return copied(there, keep={"last": 3}, copies=place(keep={"last": 3}, wait=True))


def relaunch_of(note: str) -> Plan:
    tags = {"Name": "web", "note": note}
    return relaunched(relaunch_spec(), plain(tags=tags), Volume(ROOT, tags=tags))


def restore(note: str) -> Plan:
    tags = {"note": note}
    return restored(backup(tags=tags), target(tags=tags), target_instance_id=TARGET)


PLANS: list[Callable[[str], Plan]] = [swap, deletion, capture, set_of_an_instance, copies, relaunch_of, restore]
ORDINARY = "an ordinary note"


def published(plan: Plan, *, bound: bool) -> str:
    """The plan as text, with the parameters that EC2 gets in the end if *bound*."""
    entries = plan.published()
    names = {name for entry in entries for name in planned_in(entry)}
    bindings = {name: f"bound-{number}" for number, name in enumerate(sorted(names))}
    return json.dumps(substitute(entries, bindings) if bound else entries, sort_keys=True)


@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
@examples(15)
@given(st.data())
def test_text_of_a_tag_is_carried_and_changes_nothing_else(make: Callable[[str], Plan], data: st.DataObject) -> None:
    plan = make(ORDINARY)
    assert plan.changes
    own = [change.resource for change in plan.changes if change.creates]
    texts = st.sampled_from([STRANGE, *own, *(f"of {name}, and more" for name in own)]) | st.text(max_size=20)
    text = data.draw(texts)
    for bound in (False, True):
        without = published(plan, bound=bound).replace(json.dumps(ORDINARY), json.dumps(text))
        assert published(make(text), bound=bound) == without


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=1.0, snapshot_copying=1.0)


def test_runs_carry_such_a_tag(sandbox: Sandbox) -> None:
    one, data = web_with_data(sandbox)
    one.ec2.create_tags(Resources=[data], Tags=boto3_tags({"note": STRANGE}))
    for more in ({}, {"consistency": "instance"}):
        ended = rotate(sandbox, select={"instance_ids": [one.instance_id]}, keep={"last": 3}, **more)
        assert ended.failed == ""
    ended = declared(sandbox, one, encrypted=True, options=SWAP)
    assert ended.failed == ""
    assert ended.result["volumes"][0]["tags"]["note"] == STRANGE


def test_declared_tag_may_look_like_a_planned_id(sandbox: Sandbox) -> None:
    entry = {"name": "data", "size": 8, "tags": {"note": STRANGE}}
    ended = run(sandbox, instance_ids=[machine(sandbox).instance_id], volumes=[entry])
    assert (ended.failed, ended.result["volumes"][0]["tags"]["note"]) == ("", STRANGE)


@pytest.mark.parametrize("key", ["origin", "parts", "set", "period", "source"])
def test_originals_with_such_a_tag_end_no_run(sandbox: Sandbox, key: str) -> None:
    scene = Scene(sandbox, 2, "data")
    given = scene.options({"region": ELSEWHERE, "keep": {"daily": 3}, "wait": True}, keep={"daily": 9})
    tag(sandbox, scene.past[0], **{key: STRANGE})
    assert rotate(sandbox, **given).failed == ""


def test_chain_with_such_an_id_ends_no_run(sandbox: Sandbox) -> None:
    pair = replaced(sandbox)
    tag_instance(pair.new, {REPLACES: f"{pair.old.instance_id},{STRANGE}", "note": STRANGE})
    image = pair.bake("2")
    assert image.failed == ""
    assert pair.relaunch(image.result["image_id"], lose_writes=True).failed == ""


def test_tags_with_ids_of_a_plan_belong_to_the_collection() -> None:
    """A key that carries ids of the plan is never carried over from a resource."""
    keys = (tag_names.COPY_OF, tag_names.REPLACED_BY)
    assert tag_names.carried(dict.fromkeys(keys, MADE)) == {}
    assert all(planned_in({"tags": {key: MADE}}) == {MADE} for key in keys)
