# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `image_rotate` without a call: missing answers, snapshots without a tag, pending copies, and facts
about predecessors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image_rotation.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import launch_identity
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    GROUP_TEMPLATES,
    GroupTemplate,
    users_of_type,
)
from test_image_rotation import NEAR, NOW, REGION, image, parsed, part, planned

NEAR_COPIES = {"copies": [{"region": NEAR, "keep": {"last": 1}}]}


def answered(known: Iterable[Resource], refused: Callable[[Query], bool] = lambda _query: False, **given: Any) -> Any:
    """The plan of a run that asks: it knows the resources from the start, and AWS refuses some queries."""
    state = State(REGION, open=True, now=NOW).with_resources(known)
    while True:
        try:
            return FEATURE.plan(parsed(**given), state, NOW)
        except NeedsAnswers as needed:
            failures = {query: StorageError(f"{query.operation} failed") for query in needed.queries if refused(query)}
            assert all(query.optional for query in failures), "the refusal would end the run"
            state = replace(
                state.with_answers(dict.fromkeys(needed.queries, ())), unanswered={**state.unanswered, **failures}
            )


def acted_on(plan: Any) -> list[str]:
    return [change.resource for change in plan.changes]


# --- missing answers --------------------------------------------------------------------------------------------------


def test_refused_query_about_leftovers_ends_nothing() -> None:
    def refused(query: Query) -> bool:
        return any(name == "image-id" for name, _values in query.filters)

    plan = answered([image(1), part(1), image(2), part(2), part(9)], refused)
    assert acted_on(plan) == ["ami-00000002"]
    assert [text for text in plan.warnings if "so the task names no leftover snapshots" in text]


def test_place_of_an_unusable_profile_ends_nothing() -> None:
    places = [{"region": REGION, "profile": "vault", "keep": {"last": 1}}]
    known = [image(1), part(1), image(2), part(2)]
    plan = answered(known, lambda query: query.place.profile == "vault", copies=places, guards={"copy_source": "off"})
    assert acted_on(plan) == ["ami-00000002"]
    assert "DescribeImages failed" in str(plan.refused)


@pytest.mark.parametrize("filter_name", ["snapshot-id", "block-device-mapping.snapshot-id"])
def test_image_is_kept_while_ec2_does_not_show_its_snapshots(filter_name: str) -> None:
    def refused(query: Query) -> bool:
        return any(name == filter_name for name, _values in query.filters)

    known = [image(1), part(1), image(2), image(3), part(3)]
    plan = answered(known, refused, action="deregister")
    kept = [one["image_id"] for one in plan.report.result["decisions"] if one["guard"] == "depends"]
    assert "ami-00000002" in kept
    assert "failed" in str(plan.refused)
    assert answered(known, refused, action="disable").refused is None


def test_snapshot_without_the_tag_is_asked_by_id() -> None:
    asked: list[Query] = []

    def noted(query: Query) -> bool:
        asked.append(query)
        return False

    plan = answered([image(1), part(1), image(2), part(2, tags={}), image(3), part(3)], noted)
    by_id = [dict(query.filters).get("snapshot-id") for query in asked if query.operation == "DescribeSnapshots"]
    assert ("snap-00000002",) in by_id
    assert [change.parameters for change in plan.changes] == [{"DeleteAssociatedSnapshots": True}] * 2


# --- snapshots of several images --------------------------------------------------------------------------------------

SHARED = (ImageDevice("/dev/xvda", "snap-00000003"), ImageDevice("/dev/xvdb", "snap-00000002"))


@pytest.mark.parametrize(
    ("keep", "stages"), [(1, [["ami-00000002"], ["ami-00000003"]]), (2, [["ami-00000003"]]), (3, [])]
)
def test_last_image_with_a_shared_snapshot_deletes_it(keep: int, stages: list[list[str]]) -> None:
    known = [image(1), part(1), image(2, block_devices=SHARED), part(2), image(3), part(3)]
    plan = planned(*known, keep={"last": keep})
    assert [[change.resource for change in stage.changes] for stage in plan.stages] == stages
    parts = {one["image_id"]: one["snapshot_ids"] for one in plan.report.result["decisions"]}
    assert parts.get("ami-00000003", []) == ([] if keep > 1 else ["snap-00000003"])
    assert [text for text in plan.warnings if "snap-00000003 of ami-00000003" in text] == (
        ["The task keeps snap-00000003 of ami-00000003, since ami-00000002 uses it."] if keep == 2 else []
    )


def test_refused_image_holds_back_only_the_image_that_the_snapshot_was_made_for() -> None:
    of_three = (ImageDevice("/dev/xvda", "snap-00000003"),)
    known = [image(1), part(1), *(image(number, block_devices=of_three) for number in (2, 3, 4)), part(3)]
    plan = planned(*known, keep={"last": 1})
    after = {change.resource: set(change.after_steps) for change in plan.changes}
    assert after == {
        "ami-00000002": set(),
        "ami-00000004": set(),
        "ami-00000003": {"ami-00000002", "ami-00000004"},
    }
    assert [change.resource for change in plan.changes][-1] == "ami-00000003"


# --- copies that are not finished -------------------------------------------------------------------------------------

SOURCE = {"SourceImageId": "ami-00000002", "SourceImageRegion": REGION}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"place": NEAR, "facts": SOURCE, "tags": {"ec2ops:copy-of": f"{REGION}/ami-00000002"}}, True),
        ({"place": NEAR, "tags": {"ec2ops:copy-of": f"{REGION}/ami-00000002"}}, True),
        ({"place": NEAR, "facts": SOURCE}, True),
        ({"facts": SOURCE}, True),
        ({"facts": {**SOURCE, "SourceInstanceId": "i-0123456789abcdef0"}}, False),
        ({"place": NEAR, "facts": SOURCE, "state": "available"}, False),
    ],
)
def test_source_of_a_pending_copy_is_kept(fields: dict[str, Any], kept: bool) -> None:
    copy = image(9, **{"state": "pending", "image_id": "ami-0000c0b1", **fields})
    plan = planned(image(1), part(1), image(2), part(2), copy, **NEAR_COPIES)
    assert ("ami-00000002" not in acted_on(plan)) == kept


# --- predecessors -----------------------------------------------------------------------------------------------------

OLD, NEW, VOLUME = "i-0000000000000001", "i-0000000000000002", "vol-0000000a"
STOPPED = NOW - timedelta(days=8)


def machine(instance_id: str, **fields: Any) -> Instance:
    mappings = [{"Ebs": {"VolumeId": VOLUME, "AttachTime": STOPPED - timedelta(days=30)}}]
    facts = {"BlockDeviceMappings": mappings, **fields.pop("facts", {})}
    devices = (BlockDevice("/dev/xvda", VOLUME, delete_on_termination=True),)
    return Instance(instance_id, **{"image_id": "ami-00000009", "block_devices": devices, **fields}, facts=facts)


def stopped(moment: Any = STOPPED, **fields: Any) -> Instance:
    text = f"User initiated ({moment:%Y-%m-%d %H:%M:%S} GMT)"
    return machine(OLD, state="stopped", facts={"StateTransitionReason": text}, **fields)


def successor(instance_id: str = NEW, of: str = OLD, **fields: Any) -> Instance:
    token = client_token(launch_identity(of, "ami-00000001"))
    launched = [{"Ebs": {"VolumeId": "vol-00000002", "AttachTime": STOPPED - timedelta(hours=1)}}]
    facts = {"ClientToken": token, "BlockDeviceMappings": launched}
    tags = {"ec2ops:replaces": of}
    return machine(instance_id, **{"image_id": "ami-00000001", "tags": tags, "facts": facts, **fields})


def retired(*more: Resource, after: str = "7d", old: Instance | None = None, new: Instance | None = None) -> Any:
    known = [image(1), part(1), old or stopped(), new or successor(), Volume(VOLUME), *more]
    return planned(*known, retire_predecessors={"after": after})


def taken(after_stop: timedelta, description: str, moment: Any = STOPPED) -> Snapshot:
    return Snapshot("snap-0000f1a1", volume_id=VOLUME, start_time=moment + after_stop, description=description)


FINAL = f"{OLD}: final snapshot of {VOLUME}"


@pytest.mark.parametrize(
    ("after_stop", "description", "captures"),
    [
        (timedelta(minutes=11), "nightly", 0),
        (timedelta(minutes=2), "nightly", 1),
        (timedelta(minutes=2), FINAL, 0),
        (timedelta(minutes=-2), FINAL, 1),
    ],
)
def test_snapshot_from_after_the_stop_takes_the_place_of_a_final_one(
    after_stop: timedelta, description: str, captures: int
) -> None:
    plan = retired(taken(after_stop, description))
    assert [change.action for change in plan.changes] == ["CreateSnapshot"] * captures + ["TerminateInstances"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (stopped(), successor(), ""),
        (None, successor(), ""),
        (stopped(NOW), successor(), "was started or changed during the run"),
        (stopped(elastic_ip=True), successor(), "was started or changed during the run"),
        (stopped(block_devices=()), successor(), "was started or changed during the run"),
        (stopped(tags={"ec2ops:restore-state": "running"}), successor(), "was started or changed during the run"),
        (
            machine(OLD, state="stopped", facts={**stopped().facts, "NetworkInterfaces": [{}, {}]}),
            successor(),
            "was started or changed during the run",
        ),
        (stopped(), successor(state="stopped"), f"since {NEW} no longer runs in its place"),
        (stopped(), None, f"since {NEW} no longer runs in its place"),
    ],
)
def test_predecessor_is_looked_at_again_with_its_successor(
    old: Instance | None, new: Instance | None, text: str
) -> None:
    (end,) = [change for change in retired().changes if change.action == "TerminateInstances"]
    assert dict(end.provided.query.filters)["instance-id"] == (OLD, NEW)
    found: Sequence[Instance] = [one for one in (old, new) if one is not None]
    objection = end.provided.objection([*found, taken(timedelta(minutes=2), FINAL)], OLD)
    assert objection.endswith(text)
    assert bool(objection) == bool(text)


def test_volume_that_termination_deletes_since_the_plan_needs_a_final_snapshot() -> None:
    def old(*, doomed: bool) -> Instance:
        data = BlockDevice("/dev/sdf", "vol-0000000d", delete_on_termination=doomed)
        return stopped(block_devices=(*stopped().block_devices, data))

    plan = retired(Volume("vol-0000000d"), old=old(doomed=False))
    (end,) = [change for change in plan.changes if change.action == "TerminateInstances"]
    final = taken(timedelta(minutes=2), FINAL)
    assert end.provided.objection([old(doomed=False), successor(), final], OLD) == ""
    objection = end.provided.objection([old(doomed=True), successor(), final], OLD)
    assert objection.endswith("EC2 shows no completed final snapshot of vol-0000000d")


@pytest.mark.parametrize(
    "left",
    [
        [],
        [replace(taken(timedelta(minutes=2), FINAL), state="error")],
        [replace(taken(timedelta(minutes=2), FINAL), state="pending")],
        [taken(timedelta(minutes=-2), FINAL)],
        [replace(taken(timedelta(minutes=2), FINAL), volume_id="vol-0000000b")],
    ],
    ids=["deleted", "failed", "pending", "earlier", "other-volume"],
)
def test_predecessor_stays_if_its_final_snapshot_is_gone_after_the_wait(left: list[Snapshot]) -> None:
    for made in (retired(), retired(taken(timedelta(minutes=2), FINAL))):
        (end,) = [change for change in made.changes if change.action == "TerminateInstances"]
        (again,) = end.provided.also
        assert (again.operation, dict(again.filters)["volume-id"]) == ("DescribeSnapshots", (VOLUME,))
        objection = end.provided.objection([stopped(), successor(), *left], OLD)
        assert objection.endswith(f"since EC2 shows no completed final snapshot of {VOLUME}")


# --- the guards after a wait ------------------------------------------------------------------------------------------

COPIED = {
    "facts": {"SourceImageId": "ami-00000002", "SourceImageRegion": REGION},
    "tags": {"ec2ops:copy-of": f"{REGION}/ami-00000002"},
    "place": NEAR,
}
WORLD = (
    *(image(number) for number in (1, 2)),
    *(part(number) for number in (1, 2)),
    *(image(number, **{**COPIED, "image_id": f"ami-0000c0b{number}"}) for number in (3, 4)),
)


def late_answer(plan: Any, resource: str, *found: Resource) -> dict[str, str]:
    """The withdrawals, by image, if AWS answers with *found* about this image, each to the first query that fits."""
    (stage,) = plan.stages
    queries = stage.recheck.queries({resource})
    answers: dict[Query, tuple[Resource, ...]] = dict.fromkeys(queries, ())
    for one in found:
        operation = "DescribeImages"
        if isinstance(one, Fact):
            operation = "DescribeImageReferences" if one.subject else "DescribeAutoScalingGroups"
        query = next(query for query in queries if query.operation == operation)
        answers[query] = (*answers[query], one)
    return {name: f"{why.guard}: {why.reason}" for name, why in stage.recheck.withdrawn(answers).items()}


@pytest.mark.parametrize("resource", ["ami-00000002", "ami-0000c0b4"])
def test_image_that_came_into_use_in_any_place_is_withdrawn(resource: str) -> None:
    plan = planned(*WORLD, **NEAR_COPIES)
    assert resource in acted_on(plan)
    user = users_of_type("ec2:Instance").fact(resource, ("arn:aws:ec2:x:1:instance/i-1",))
    assert late_answer(plan, resource) == {}
    assert late_answer(plan, resource, user) == {resource: "instance: in use by arn:aws:ec2:x:1:instance/i-1"}
    places = {query.place for query in plan.stages[0].recheck.queries({resource})}
    assert places == ({NEAR} if "c0b" in resource else {""})


@pytest.mark.parametrize(
    ("fields", "options", "why"),
    [
        ({"tags": {"hold": "1"}}, {"protect": {"tag_keys": ["hold"]}}, "protected: tag hold"),
        ({"tags": {"ec2ops:image": "api"}}, {}, "depends: it no longer belongs to web"),
        ({"facts": {"DeregistrationProtection": "enabled"}}, {}, "protection: deregistration protection: enabled"),
        ({"facts": {"LastLaunchedTime": "2026-11-30T00:00:00Z"}}, {"unused_for": "1d"}, "unused_for: last launched"),
    ],
)
def test_image_that_changed_since_the_plan_is_withdrawn(
    fields: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    old = {"facts": {"LastLaunchedTime": "2026-10-01T00:00:00Z"}}
    plan = planned(image(1), part(1), image(2, **old), part(2), **options)
    assert late_answer(plan, "ami-00000002", image(2, **old)) == {}
    (found,) = late_answer(plan, "ami-00000002", image(2, **{**old, **fields})).values()
    assert found.startswith(why)


def test_launch_template_that_a_group_pins_since_the_plan_keeps_the_image() -> None:
    plan = planned(*WORLD[:4], launch_template_versions="default_and_latest")
    pin = GROUP_TEMPLATES.fact((GroupTemplate("web", "lt-1", "3"),))
    assert list(late_answer(plan, "ami-00000002", pin)) == ["ami-00000002"]
