# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invariants of all declarations and worlds, also after killed and failed runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from threading import Lock

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import Sighting, WaitKey
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.spec import VolumesSpec
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import KMS_KEY, usable_key
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import is_planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Resource,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import MODIFICATION
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from fake_ec2 import FakeEc2
from in_process import OTHER_ZONE, REGION, ZONE
from volume_plans import assert_no_write_is_lost, carried_out, declared, plan_of, planned
from volume_world import (
    BOTH,
    DB,
    FAR,
    KEY,
    NOW,
    OTHER_KEY,
    QUORUM,
    ROOTS,
    STOP,
    SWAP,
    WEB,
    Ec2,
    Entry,
    all_stages,
    instance,
    line,
    modification,
    of_no_use,
    remembered,
    root_of,
    shared,
    steps,
    tags_of,
    vol,
    volume,
)

PERFORMANCES: Sequence[Entry] = (
    {},
    {"volume_type": "gp3"},
    {"volume_type": "gp2"},
    {"volume_type": "io2", "iops": 500},
    {"volume_type": "gp3", "iops": 4000, "throughput": 500},
)
many = examples(200)
PLACES = {WEB: ZONE, DB: ZONE, FAR: OTHER_ZONE}
STATES = st.sampled_from(("running", "running", "stopped", "stopped", "pending", "stopping"))
NAMES = ("data", "log")


@st.composite
def worlds(draw: st.DrawFn) -> list[Resource]:
    """Three instances, one of them in another zone, and up to three data volumes, some of them known by tags."""
    there: list[Resource] = [instance(one, draw(STATES), zone) for one, zone in PLACES.items()]
    free = [(one, device) for one in PLACES for device in ("/dev/sdf", "/dev/sdg")]
    for number in range(1, draw(st.sampled_from((1, 2, 3))) + 1):
        at = draw(st.sampled_from((*free, None)))
        free = [place for place in free if place != at]
        links = (VolumeAttachment(*at, delete_on_termination=draw(st.booleans())),) if at is not None else ()
        key = draw(st.sampled_from((None, None, KEY)))
        group = draw(st.sampled_from((at[0] if at is not None else WEB, "web", None)))
        made = volume(
            number,
            name=NAMES[number % 2] if group is not None else None,
            group=group or "",
            zone=PLACES[at[0]] if at is not None else draw(st.sampled_from((ZONE, OTHER_ZONE))),
            attachments=links,
            encrypted=key is not None,
            kms_key_id=key,
            tags=draw(st.sampled_from(({}, {"team": "a"}))),
            **{"size": draw(st.sampled_from((10, 20))), **draw(st.sampled_from(PERFORMANCES))},
        )
        there.append(made)
        latest = draw(st.sampled_from((None, None, None, "modifying", "optimizing", "completed", "failed")))
        if latest is not None:
            there.append(modification(made, latest, **({"size": 20} if latest == "modifying" else {})))
    if draw(st.integers(0, 3)) == 0:
        there.append(shared(4, *draw(st.sampled_from(((), (WEB,), (WEB, DB)))), device="/dev/sdj"))
    return there


@st.composite
def entries(draw: st.DrawFn, name: str, ids: Sequence[str], kind: str) -> Entry:
    """The entry of one volume. *ids*: the ids that may name it."""
    said: Entry = {"name": name, "size": draw(st.sampled_from((20, 20, 30))), **draw(st.sampled_from(PERFORMANCES))}
    if name == "root":
        return {**said, "tags": draw(st.sampled_from((None, {"team": "b"})))}
    said.update(draw(st.sampled_from(({}, {"encrypted": True}, {"encrypted": True, "kms_key_id": "alias/a"}))))
    said["tags"] = draw(st.sampled_from((None, {}, {"team": "b"})))
    said["state"] = draw(st.sampled_from(("present", "present", "present", "present", "detached", "absent")))
    if kind != "several":
        said["volume_id"] = draw(st.sampled_from((None, None, None, *ids[:1])))
    if kind == "shared":
        said.update(volume_type="io2", iops=500, throughput=None, multi_attach=True)
    if kind != "kept":
        # An absent entry has no device_name: the next run would find another volume at that device.
        devices = (None, None, "/dev/sdf", "/dev/xvdg") if said["state"] == "present" else (None,)
        said["device_name"] = draw(st.sampled_from(devices))
        said["delete_on_termination"] = draw(st.sampled_from((None, True, False)))
    return said


@st.composite
def declarations(draw: st.DrawFn, ids: Sequence[str]) -> VolumesSpec:
    """Declarations of one instance, of several, of a cluster that shares them, or of none."""
    kind = draw(st.sampled_from(("one", "one", "one", "several", "shared", "kept")))
    names = draw(st.sampled_from((("data",), ("log",), NAMES, NAMES, ())))
    if kind in ("one", "several"):
        names = (*names, *draw(st.sampled_from(((), (), ("root",)))))
    volumes = [draw(entries(name, ids, kind)) for name in names]
    for option in ("device_name", "volume_id"):
        if len(volumes) > 1 and volumes[0].get(option) == volumes[1].get(option):
            volumes[1].pop(option, None)
    where: Mapping[str, Entry] = {
        "one": {
            "instance_ids": [draw(st.sampled_from((WEB, WEB, DB, FAR)))],
            "spec": draw(st.sampled_from((None, "web"))),
        },
        "several": {"instance_ids": [WEB, DB]},
        "shared": {"instance_ids": [WEB, DB], "spec": "web"},
        "kept": {"instance_ids": None, "availability_zone": ZONE, "spec": "web"},
    }
    given = {
        "replace": draw(st.sampled_from(("snapshot", "snapshot", "snapshot", "never"))),
        "steal": draw(st.sampled_from((True, True, True, False))),
        "in_use": draw(st.sampled_from(("stop", "detach", "stop", "detach", "refuse"))),
        "on_cooldown": draw(st.sampled_from(("wait", "defer", "wait", "fail"))),
        **{name: draw(st.booleans()) for name in ("delete_replaced", "final_snapshot", "purge_tags")},
        "purge_volumes": kind != "kept" and draw(st.booleans()),
    }
    return declared(*volumes, **given, **where[kind])


FACTS = (KMS_KEY.fact("alias/a", usable_key(OTHER_KEY)),)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Ec2, VolumesSpec]:
    """A world, in which a run may have been killed at some call, a moment or long ago; and a declaration."""
    ec2 = Ec2(*FACTS, *draw(worlds()))
    ids = sorted(item.volume_id for item in ec2.volumes() if int(item.volume_id[4:], 16) < ROOTS)
    spec = draw(declarations(ids))
    if draw(st.booleans()):
        found = planned(spec, ec2)
        if found is not None:
            ec2.carry_out(found[1], draw(st.integers(1, 15)))
        if draw(st.booleans()):
            ec2.settle()
        if draw(st.booleans()):
            spec = draw(declarations(ids))
    return ec2, spec


@many
@given(histories())
def test_a_plan_leaves_nothing_to_do(history: tuple[Ec2, VolumesSpec]) -> None:
    ec2, spec = history
    found = planned(spec, ec2)
    if found is not None and not any(takes_back(change, ec2) for change in found[1].changes):
        carried_out(spec, ec2)


def takes_back(change: Change, ec2: Ec2) -> bool:
    """A modification that is under way is undone by another one: the prediction cannot tell them apart."""
    latest = MODIFICATION.of(ec2.state(), change.resource)
    if change.action != "ModifyVolume" or latest is None or not latest.is_to_take_effect:
        return False
    return any(getattr(latest.original, name) == value for name, value in (change.after or {}).items())


@many
@given(histories(), st.randoms(use_true_random=False))
def test_order_of_answers_does_not_matter(history: tuple[Ec2, VolumesSpec], random: Random) -> None:
    ec2, spec = history
    there = list(ec2.resources.items())
    random.shuffle(there)
    shuffled = FakeEc2(*(resource for _name, resource in there))
    one, other = planned(spec, ec2), planned(spec, shuffled)
    assert one is None or other is not None
    if one is not None and other is not None:
        stages = [[sorted(map(repr, steps(Plan((stage,))))) for stage in plan.stages] for _state, plan in (one, other)]
        assert stages[0] == stages[1]


@many
@given(histories())
def test_no_plan_breaks_the_invariants(history: tuple[Ec2, VolumesSpec]) -> None:
    ec2, spec = history
    found = planned(spec, ec2)
    if found is None:
        return
    _state, plan = found
    roots = {root_of(one) for one in PLACES}
    changes = [change for stage in all_stages(plan) for change in stage.changes]
    # A root volume is never detached, attached, swapped or deleted.
    for change in changes:
        if change.resource in roots or change.parameters.get("VolumeId") in roots:
            assert change.action in ("ModifyVolume", "CreateTags", "DeleteTags")
            assert "ec2ops:replaced-by" not in str(change.parameters)
    # Only attached volumes are detached, and no volume is modified twice.
    for action in ("ModifyVolume", "DeleteVolume"):
        touched = [change.resource for change in plan.changes if change.action == action]
        assert sorted(set(touched)) == sorted(touched)
    # No volume gets a new zone without its data.
    for change in plan.changes:
        if change.action == "CreateVolume" and "ec2ops:replaces" in tags_of(change.parameters):
            assert "SnapshotId" in change.parameters


@many
@given(histories())
def test_any_run_loses_no_write(history: tuple[Ec2, VolumesSpec]) -> None:
    """Count a write to each attached volume of a running instance before every call."""
    ec2, spec = history
    found = planned(spec, ec2)
    if found is None or not spec.final_snapshot:
        return
    before = {item.volume_id for item in ec2.volumes() if not of_no_use(item)}
    power = {one: ec2.resources[one].state for one in PLACES}
    ec2.carry_out(found[1])
    ec2.settle()
    assert_no_write_is_lost(ec2, before)
    # The instances are as they were, except for the leftovers of a killed run.
    for one, state in power.items():
        was = "running" if state in ("running", "pending") else "stopped"
        assert ec2.resources[one].state in (was, "running")


@many
@given(histories(), st.integers(1, 12), st.booleans())
def test_a_rerun_after_any_kill_carries_on(history: tuple[Ec2, VolumesSpec], calls: int, settled: bool) -> None:
    ec2, spec = history
    found = planned(spec, ec2)
    # The planner does not query the modification of a volume that shows the declared values.
    there = {one.volume_id for one in ec2.volumes()}
    latest = MODIFICATION.all(ec2.state())
    strays = any(one.is_to_take_effect for volume_id, one in latest.items() if volume_id in there)
    if found is None:
        return
    ec2.carry_out(found[1], calls)
    if settled:
        ec2.settle()
    if strays and planned(spec, ec2) is None:
        return
    ec2.carry_out(plan_of(spec, ec2, now=NOW + timedelta(minutes=1)))
    assert steps(plan_of(spec, ec2)) == []


class ReachingWatch:
    """A poll loop over an `Ec2`, whose first poll finds that every goal is reached."""

    def __init__(self, gateway: FailingGateway) -> None:
        self.gateway = gateway
        self.waits: dict[WaitKey, Wait] = {}

    def add(self, key: WaitKey, wait: Wait, deadline: float) -> None:
        self.waits[key] = wait

    def drop(self, keys: Iterable[WaitKey]) -> None:
        for key in list(keys):
            self.waits.pop(key, None)

    @property
    def next_poll(self) -> float | None:
        return self.gateway.time if self.waits else None

    def poll(self) -> Sighting:
        reached, self.waits = self.waits, {}
        for wait in reached.values():
            self.gateway.ec2.reach(wait)
        return Sighting(tuple(reached))


class FailingGateway:
    """The engine's gateway to an `Ec2` that refuses the *nth* call."""

    region = REGION

    def __init__(self, ec2: Ec2, nth: int) -> None:
        self.ec2 = ec2
        self.left = nth
        self.time = 0.0
        self.lock = Lock()
        self.calls: Mapping[str, int] = {}

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        assert not any(query.optional for query in queries)
        return {query: self.ec2.answer(query) for query in queries}

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        first = changes[0]
        with self.lock:
            self.left -= 1
            if not self.left:
                raise CallError(first.action, "UnauthorizedOperation", "You are not authorized.")
            for change in changes:
                self.ec2.perform([change], generation)
            return {change.resource: self.ec2.bindings[change.resource] for change in changes if change.creates}

    def watch(self) -> ReachingWatch:
        return ReachingWatch(self)

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.ec2.settle()


def test_rollback_finds_its_device_free() -> None:
    """The plan gives the device to another volume."""
    ec2 = Ec2(instance(), volume(1, WEB, name="log"))
    entries = [{"name": "data", "size": 1, "device_name": "/dev/sdf"}, {"name": "log", "encrypted": True}]
    plan = plan_of(declared(*entries, **SWAP), ec2)
    number = steps(plan).index("AttachVolume new i-1/log to i-1 /dev/sdg") + 1
    outcome = apply(plan, FailingGateway(ec2, number), wait=True, timeout=600)
    assert [line(change) for change in outcome.failed] == ["AttachVolume new i-1/log to i-1 /dev/sdg"]
    assert attached(ec2.resources[vol(1)]) == {(WEB, "/dev/sdf", False)}


def test_rollback_to_a_pending_instance_waits_for_it() -> None:
    ec2 = Ec2(instance(state="pending"), volume(1, WEB, name="data"))
    plan = plan_of(declared({"name": "data", "encrypted": True}, **SWAP), ec2)
    number = steps(plan).index("CreateSnapshot new swap of vol-1") + 1
    apply(plan, FailingGateway(ec2, number), wait=True, timeout=600)
    assert attached(ec2.resources[vol(1)]) == {(WEB, "/dev/sdf", False)}


def test_rollback_of_a_shared_volume_restores_all_attachments() -> None:
    """The volume is attached to the first instance, and cannot be attached to the second, which gets it back and runs."""
    link = VolumeAttachment(WEB, "/dev/sdf", delete_on_termination=True)
    ec2 = Ec2(instance(), instance(DB), shared(1, attachments=(link,)))
    plan = plan_of(declared({**QUORUM, "device_name": "/dev/sdg"}, **BOTH, **STOP), ec2)
    number = [one.partition(" ")[0] for one in steps(plan)].index("AttachVolume") + 1
    last = steps(plan)[number - 1] == "AttachVolume vol-1 to i-2 /dev/sdg"
    outcome = apply(plan, FailingGateway(ec2, number + last), wait=True, timeout=600)
    assert [line(change) for change in outcome.failed] == ["AttachVolume vol-1 to i-1 /dev/sdg"]
    assert (WEB, "/dev/sdf", True) in attached(ec2.resources[vol(1)])
    assert ec2.resources[WEB].state == "running"


@many
@given(histories(), st.integers(1, 15))
def test_failure_midway_is_rolled_back(history: tuple[Ec2, VolumesSpec], nth: int) -> None:
    """Moved volumes are attached as before, the instances run as before, and no copy is left."""
    ec2, spec = history
    found = planned(spec, ec2)
    # A shared volume may be attached to one of its instances and not to another. Other tests cover that.
    if found is None or spec.shared or any(ec2.resources[one].state == "pending" for one in PLACES):
        return
    before, plan = dict(ec2.resources), found[1]
    outcome = apply(plan, FailingGateway(ec2, nth), wait=True, timeout=600)
    assert outcome.error is None or "UnauthorizedOperation" in str(outcome.error)
    assert [note for note in outcome.notes if "rollback failed" in note] == []
    if not outcome.failed:
        return
    ec2.settle()
    unverified = set(not_verified(plan, outcome.failed))
    swapped = {one.tags["ec2ops:swap"]: one for one in ec2.volumes() if one.attachments and "ec2ops:swap" in one.tags}
    for volume_id in unverified & set(before):
        first = before[volume_id]
        # An attached copy stays if another one fails in the same stage.
        place = swapped.get(volume_id, ec2.resources[volume_id])
        was = attached(first) or goes_back_to(first, spec.instance_ids)
        assert {one[:2] for one in attached(place)} == {one[:2] for one in was}
        if place.volume_id == volume_id:
            assert attached(place) == was
    made = {outcome.bindings.get(one) for one in unverified if is_planned(one)}
    assert made & set(ec2.resources) <= {one.volume_id for one in swapped.values()}
    for one in PLACES:
        state = before[one].state
        as_before = {"running", "stopped" if state == "stopping" else state}
        assert ec2.resources[one].state in as_before or outcome.failed[0].action == "StartInstances"


def not_verified(plan: Plan, failed: Sequence[Change]) -> Iterator[str]:
    """The volumes that are detached to be attached again, and their copies, before the wait for their attachments."""
    tags = {change.resource: tags_of(change.parameters) for change in plan.changes if change.action == "CreateVolume"}
    taken = {change.resource for change in plan.changes if change.action == "DetachVolume"}
    begun = False
    for stage in plan.stages:
        begun = begun or any(change in stage.changes for change in failed)
        for change in stage.changes if begun else ():
            if change.action == "AttachVolume" and (
                change.resource in taken or "ec2ops:swap" in tags.get(change.resource, {})
            ):
                yield change.resource
                yield tags.get(change.resource, {}).get("ec2ops:swap", change.resource)


def attached(found: Volume) -> set[tuple[str, str, bool]]:
    return {(link.instance_id, link.device_name, link.delete_on_termination) for link in found.attachments}


def goes_back_to(found: Volume, instance_ids: Iterable[str]) -> set[tuple[str, str, bool]]:
    """The places to which a record leads: only declared instances, without delete-on-termination."""
    return {(one, device, False) for one, device, _flag in remembered(found) if one in set(instance_ids)}
