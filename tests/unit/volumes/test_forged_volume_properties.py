# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of the collection that somebody writes or removes: the changes that `ebs_volume_spec` never makes for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import is_planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Snapshot
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from volume_plans import declared, plan_of
from volume_world import DB, NOW, WEB, Ec2, all_stages, instance, snap, snapshot, vol, volume

REAL, LOG, STRANGE, ELSEWHERE, OLD, GONE = (vol(number) for number in (1, 2, 3, 4, 5, 9))
BACKUP, STALE, LAST_OF_GONE = snap(8), snap(7), snap(6)
LONG_AGO = NOW - timedelta(days=3)

VOLUME_KEYS = ("spec", "volume", "replaces", "replaced-by", "swap", "was-at", "was-at-2", "final")
SNAPSHOT_KEYS = ("final", "swap", "source", "copy-of", "spec", "volume")
INSTANCE_KEYS = ("restore-state", "replaces", "trial")
HOLD = f"running {(NOW - timedelta(hours=1)).isoformat()} {(NOW + timedelta(hours=1)).isoformat()}"
IDS = st.sampled_from((REAL, LOG, STRANGE, ELSEWHERE, OLD, GONE))
JUNK = st.sampled_from(("", "x", ",,", "\n", "2026-19-39T00:00:00Z", "i-", "vol-", HOLD, f"{STRANGE},{REAL}"))
LIKELY: Mapping[str, st.SearchStrategy[str]] = {
    "spec": st.sampled_from((WEB, DB, "web")),
    "volume": st.sampled_from(("data", "log", "root", REAL)),
    "replaces": st.lists(IDS, min_size=1, max_size=3).map(",".join),
    "was-at": st.sampled_from((f"{WEB} /dev/sdf delete", f"{DB} /dev/sdk delete", f"{DB} /dev/sdk,{WEB} /dev/sdj")),
    "restore-state": st.just(HOLD),
    "replaced-by": IDS,
    "swap": IDS,
    "final": IDS,
}


def forgeries(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, str | None]]:
    """Values by key; None takes the tag off."""
    values = {key: st.none() | LIKELY.get(key, IDS) | LIKELY.get(key, IDS) | JUNK for key in keys}
    return st.fixed_dictionaries({}, optional={f"ec2ops:{key}": value for key, value in values.items()})


def forge(resource: Any, tags: Mapping[str, str | None]) -> Any:
    merged = {**resource.tags, **tags}
    return dataclasses.replace(resource, tags={key: value for key, value in merged.items() if value is not None})


@st.composite
def worlds(draw: st.DrawFn) -> list[Any]:
    """Two instances; volumes that are declared, a stranger's, one of the other instance, one that a swap replaced.

    The snapshots: a backup, a stale final one, the final one of a volume that is gone.
    """
    state = draw(st.sampled_from(("running", "stopped")))
    real = volume(1, draw(st.sampled_from((WEB, None))), name="data", tags={"ec2ops:replaces": OLD}, create_time=NOW)
    sources = st.sampled_from((None, BACKUP, STALE, LAST_OF_GONE, snap(99)))
    there: list[Any] = [
        instance(WEB, state),
        instance(DB, draw(st.sampled_from(("running", "stopped")))),
        dataclasses.replace(real, snapshot_id=draw(sources)),
        volume(2, WEB, "/dev/sdg", name="log", snapshot_id=draw(sources), create_time=NOW),
        volume(3, snapshot_id=draw(sources), create_time=NOW),
        volume(4, DB, "/dev/sdg", snapshot_id=draw(sources), create_time=NOW),
        volume(5, tags={"ec2ops:replaced-by": REAL}, create_time=LONG_AGO),
        snapshot(8, 1, description="nightly", start_time=LONG_AGO),
        snapshot(7, 1, description=f"web data: final snapshot of {REAL}", start_time=LONG_AGO),
        snapshot(6, 9, description=f"web data: final swap snapshot of {GONE}", start_time=LONG_AGO),
    ]
    return there


@st.composite
def forged_worlds(draw: st.DrawFn, *, honest_log: bool = False) -> tuple[list[Any], list[Any]]:
    """One world twice, without and with forged, altered and removed tags."""
    honest = draw(worlds())
    forged = []
    for item in honest:
        keys = (
            INSTANCE_KEYS
            if isinstance(item, Instance)
            else SNAPSHOT_KEYS
            if isinstance(item, Snapshot)
            else VOLUME_KEYS
        )
        same = honest_log and item.resource_id == LOG
        forged.append(item if same else forge(item, draw(forgeries(keys))))
    return honest, forged


ENTRIES = st.fixed_dictionaries(
    {"name": st.just("data"), "state": st.sampled_from(("present", "present", "detached", "absent"))},
    optional={
        "volume_id": st.sampled_from((REAL, REAL, OLD)),
        "device_name": st.just("/dev/sdf"),
        "encrypted": st.just(True),
        "delete_on_termination": st.booleans(),
        "size": st.just(20),
    },
)
OPTIONS = st.fixed_dictionaries(
    {
        "replace": st.sampled_from(("snapshot", "never")),
        "in_use": st.sampled_from(("stop", "detach")),
        **{name: st.booleans() for name in ("delete_replaced", "final_snapshot", "purge_volumes")},
    }
)


def plan_or_none(entries: list[dict[str, Any]], options: dict[str, Any], there: list[Any]) -> Plan | None:
    try:
        return guard(plan_of(declared(*entries, **options), Ec2(*there)))
    except StorageError:
        return None


def changes(plan: Plan, *actions: str, back: bool = True) -> Iterator[Change]:
    """The plan's changes of these kinds, with those of its rollbacks."""
    for stage in all_stages(plan) if back else plan.stages:
        yield from (change for change in stage.changes if change.action in actions)


def resources(plan: Plan, *actions: str) -> set[str]:
    return {change.resource for change in changes(plan, *actions) if not is_planned(change.resource)}


def namesakes(there: list[Any], name: str) -> list[str]:
    """The volumes at WEB with the tags of the entry *name*."""
    return [
        item.resource_id
        for item in there
        if (item.tags.get("ec2ops:spec"), item.tags.get("ec2ops:volume")) == (WEB, name)
        and any(link.instance_id == WEB for link in item.attachments)
    ]


def flagged(plan: Plan) -> set[tuple[str, str]]:
    """(instance, device) of each volume that is deleted with its instance from now on."""
    return {
        (change.resource, item["DeviceName"])
        for change in changes(plan, "ModifyInstanceAttribute")
        for item in change.parameters["BlockDeviceMappings"]
        if item["Ebs"]["DeleteOnTermination"]
    }


@examples(200)
@given(forged_worlds(), ENTRIES, OPTIONS)
def test_forged_tags_make_a_run_take_no_foreign_volume(
    pair: tuple[list[Any], list[Any]], entry: dict[str, Any], options: dict[str, Any]
) -> None:
    honest, forged = pair
    entries = [entry, {"name": "log"}]
    plan = plan_or_none(entries, options, forged)
    if plan is None:
        return
    there = {item.resource_id: item for item in forged}
    wanted = {(WEB, "data"), (WEB, "log")}
    claimed = {
        item.resource_id for item in forged if (item.tags.get("ec2ops:spec"), item.tags.get("ec2ops:volume")) in wanted
    }
    own = {REAL, LOG, *claimed, entry.get("volume_id", REAL)}
    # A snapshot that somebody may need is never deleted, and nothing is made from one of an earlier run.
    assert not resources(plan, "DeleteSnapshot")
    assert {change.parameters.get("SnapshotId") for change in changes(plan, "CreateVolume")} <= {
        None,
        *(change.resource for change in changes(plan, "CreateSnapshot")),
    }
    # A deleted volume has a snapshot of this run, or its entry names it and wants none.
    deleted = resources(plan, "DeleteVolume")
    taken = {change.parameters["VolumeId"] for change in changes(plan, "CreateSnapshot", back=False)}
    named = {entry.get("volume_id")}
    if entry.get("device_name"):
        named.update(name for name in (REAL, LOG) if there[name].attachments)
    assert deleted - taken <= (set() if options["final_snapshot"] else named)
    assert deleted <= own
    assert ELSEWHERE not in deleted
    # No volume leaves another instance, and none is attached to one.
    for change in changes(plan, "DetachVolume", "AttachVolume"):
        assert change.parameters["InstanceId"] == WEB
        assert is_planned(change.resource) or change.resource in own or options["purge_volumes"]
    assert ELSEWHERE not in resources(plan, "DetachVolume", "AttachVolume", "ModifyVolume")
    assert not {STRANGE, OLD} & resources(plan, "AttachVolume", "ModifyVolume") - own
    # No hold in this world is proven.
    assert resources(plan, "StartInstances", "StopInstances") <= {WEB}
    assert resources(plan, "StartInstances") <= resources(plan, "StopInstances")
    if not entry.get("delete_on_termination"):
        assert not flagged(plan)
    assert honest


@examples(200)
@given(forged_worlds(honest_log=True), ENTRIES, OPTIONS)
def test_no_tag_keeps_another_entry_from_being_carried_out(
    pair: tuple[list[Any], list[Any]], entry: dict[str, Any], options: dict[str, Any]
) -> None:
    honest, forged = pair
    entries = [entry, {"name": "log", "tags": {"team": "a"}}]
    without = plan_or_none(entries, options, honest)
    if without is None or without.refused is not None:
        return
    if len(namesakes(forged, "log")) > 1:
        return  # No fact shows the right one of the two: see the next property.
    for order in (entries, entries[::-1]):
        plan = plan_of(declared(*order, **options), Ec2(*forged))
        assert LOG in resources(plan, "CreateTags")
        assert LOG not in resources(plan, "DetachVolume", "DeleteVolume", "ModifyVolume")


@examples(100)
@given(forged_worlds(honest_log=True), OPTIONS, st.sampled_from(("present", "detached", "absent")))
def test_two_attached_volumes_with_the_tags_of_one_entry_are_left_alone(
    pair: tuple[list[Any], list[Any]], options: dict[str, Any], state: str
) -> None:
    _honest, forged = pair
    second = forge(volume(1, WEB, name="data", create_time=NOW), {"ec2ops:volume": "log"})
    forged = [second if item.resource_id == REAL else item for item in forged]
    entries = [{"name": "log", "state": state, "tags": {"team": "a"}}, {"name": "new", "size": 1}]
    plan = plan_of(declared(*entries, **options), Ec2(*forged))
    assert isinstance(plan.refused, Ambiguous)
    assert all(volume_id in str(plan.refused) for volume_id in (REAL, LOG))
    assert not {REAL, LOG} & {change.resource for change in changes(plan, *(item.action for item in plan.changes))}
    assert len([*changes(plan, "CreateVolume")]) == 1


@examples(100)
@given(forged_worlds(), ENTRIES, OPTIONS)
def test_ended_run_is_over(pair: tuple[list[Any], list[Any]], entry: dict[str, Any], options: dict[str, Any]) -> None:
    """Forged tags give no run something to do again and again."""
    _honest, forged = pair
    entries = [entry, {"name": "log"}]
    ec2, spec = Ec2(*forged), declared(*entries, **options)
    plan = plan_or_none(entries, options, forged)
    if plan is None or plan.refused is not None:
        return
    ec2.carry_out(plan)
    ec2.settle()
    try:
        again = plan_of(spec, ec2)
    except StorageError:
        return
    assert [change.action for change in again.changes] == []


def test_forged_marks_of_a_move_are_removed_in_one_change() -> None:
    tags = {"ec2ops:swap": REAL, "ec2ops:was-at": f"{WEB} /dev/sdf delete", "ec2ops:replaces": OLD}
    plan = plan_of(declared({"name": "data"}), Ec2(instance(), volume(1, WEB, name="data", tags=tags)))
    removed = [change.parameters["Tags"] for change in guard(plan).changes if change.action == "DeleteTags"]
    assert removed == [[{"Key": "ec2ops:was-at"}, {"Key": "ec2ops:swap"}]]
