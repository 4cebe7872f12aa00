# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swaps that a killed run has left at any point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource, Volume, VolumeAttachment

from volume_plans import Case, carried_out, check, declared, no, ok, plan_of, read
from volume_world import (
    ABSENT,
    ANEW,
    DB,
    DONE_AGAIN,
    ENCRYPT,
    FINAL,
    KEY,
    LAST,
    MARK,
    NOW,
    STOPPED,
    TAKEN_OVER,
    UNTAG,
    WEB,
    Ec2,
    instance,
    short,
    snap,
    snapshot,
    steps,
    vol,
    volume,
    was_at,
)

PLACE = was_at(f"{WEB} /dev/sdh delete")
SWAP_TAG = {"ec2ops:swap": vol(1)}
OLD = volume(1, name="data", tags=PLACE)
OLD_DONE = volume(1, tags={"ec2ops:replaced-by": vol(2)})
MARKED = volume(1, name="data", tags={**PLACE, "ec2ops:replaced-by": vol(2)})
BOTH_OLD = f"{vol(2)},{vol(1)}"


def successor(number: int = 2, *at: str, replaces: str = vol(1), **fields: Any) -> Volume:
    """A swap's encrypted copy, attached."""
    links = tuple(VolumeAttachment(one, "/dev/sdh", delete_on_termination=True) for one in at)
    tags = {"ec2ops:replaces": replaces, **fields.pop("tags", {})}
    fields = {"snapshot_id": snap(number - 1), "create_time": NOW, **fields}
    return volume(number, name="data", encrypted=True, kms_key_id=KEY, attachments=links, tags=tags, **fields)


def copy(number: int = 2, *at: str, replaces: str = vol(1), **fields: Any) -> Volume:
    """A swap's copy that may never have been attached."""
    tags = {"ec2ops:swap": replaces.partition(",")[0], **fields.pop("tags", {})}
    return successor(number, *at, replaces=replaces, tags=tags, **fields)


def swap(title: str, there: Sequence[Resource], *steps: str, **given: Any) -> Any:
    return ok(title, [STOPPED, *there], [ENCRYPT], *steps, **{"replace": "snapshot", **given})


# Only a tag says that EC2 deleted the volume with its instance, so the run does not set it.
ATTACH_AGAIN = ("AttachVolume vol-2 to i-1 /dev/sdh",)
COPY_AGAIN = ("CreateVolume new i-1/data", "AttachVolume new i-1/data to i-1 /dev/sdh")
DONE = (MARK, UNTAG, TAKEN_OVER)
ENDED_ANEW = ("CreateSnapshot new final of vol-1", MARK, "DeleteVolume vol-1 | DeleteSnapshot snap-1", TAKEN_OVER)
UNFINISHED = [
    swap(
        "detached",
        [OLD],
        "CreateSnapshot new swap of vol-1",
        *COPY_AGAIN,
        "DeleteSnapshot new swap of vol-1",
        *DONE_AGAIN,
    ),
    *(
        swap(
            f"the snapshot is {state}",
            [OLD, snapshot(1, 1, state, tags=SWAP_TAG)],
            "CreateSnapshot new swap of vol-1",
            *COPY_AGAIN,
            "DeleteSnapshot snap-1 | DeleteSnapshot new swap of vol-1",
            *DONE_AGAIN,
        )
        for state in ("pending", "completed")
    ),
    swap(
        "the snapshot has failed",
        [OLD, snapshot(1, 1, "error", tags=SWAP_TAG)],
        "DeleteSnapshot snap-1 | CreateSnapshot new swap of vol-1",
        *COPY_AGAIN,
        "DeleteSnapshot new swap of vol-1",
        *DONE_AGAIN,
    ),
    *(
        swap(
            f"the copy is {state}",
            [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(state=state)],
            *ATTACH_AGAIN,
            "DeleteSnapshot snap-1",
            *DONE,
        )
        for state in ("creating", "available")
    ),
    # The copy may have been in its place for a while.
    no(
        "the copy is in the state error",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy(state="error")],
        [ENCRYPT],
        UnsafePlan,
        "volumes[0] (data) | vol-2 | state error",
        replace="snapshot",
    ),
    swap("the copy is attached", [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)], "DeleteSnapshot snap-1", *DONE),
    swap("the snapshot is gone", [OLD, copy(2, WEB)], *DONE),
    swap("the old one is marked", [MARKED, copy(2, WEB)], f"{UNTAG} | {TAKEN_OVER}"),
    swap("the old one is done", [OLD_DONE, copy(2, WEB)], TAKEN_OVER),
    swap("done", [OLD_DONE, successor(2, WEB)]),
    swap("done, and detached since", [OLD_DONE, successor(2)], "AttachVolume vol-2 to i-1 /dev/sdf"),
    swap("the old one is deleted", [successor(2, WEB)]),
    swap(
        "the old one is attached again: it has newer writes",
        [volume(1, WEB, "/dev/sdh", name="data"), snapshot(1, 1, tags=SWAP_TAG), copy()],
        "CreateSnapshot new final of vol-2 | DeleteVolume vol-2 | DeleteSnapshot snap-1 | CreateTags vol-1 was-at",
        "DetachVolume vol-1 from i-1 | CreateSnapshot new swap of vol-1 | CreateVolume new i-1/data",
        "AttachVolume new i-1/data to i-1 /dev/sdh | DeleteSnapshot new swap of vol-1",
        *DONE_AGAIN,
    ),
    pytest.param(
        Case(
            "both are attached",
            [STOPPED, volume(1, WEB, "/dev/sdg", name="data"), copy(2, WEB)],
            [ENCRYPT],
            (),
            Ambiguous,
            ["volumes[0] (data)", "vol-2 has replaced vol-1, but vol-1 is attached again. Detach the wrong one"],
            {"replace": "snapshot"},
        ),
        id="both are attached",
    ),
    # the wish has changed
    ok(
        "not swapped any more: it goes back",
        [STOPPED, OLD],
        [{"name": "data"}],
        "AttachVolume vol-1 to i-1 /dev/sdh | DeleteTags vol-1 was-at",
    ),
    ok(
        "to be detached: the copy goes, after a final snapshot of it",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy()],
        [{"name": "data", "state": "detached"}],
        "CreateSnapshot new final of vol-2 | DeleteVolume vol-2 | DeleteSnapshot snap-1 | DeleteTags vol-1 was-at",
    ),
    ok(
        "to be absent: the copy goes, after a final snapshot of it",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy()],
        ABSENT,
        "CreateSnapshot new final of vol-2 | DeleteVolume vol-2 | DeleteSnapshot snap-1",
        *LAST,
    ),
    ok("to be absent: nothing proves the copy", [STOPPED, OLD, copy()], ABSENT, *LAST),
    ok(
        "to be absent: the swap's snapshot goes too",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG)],
        ABSENT,
        "DeleteSnapshot snap-1",
        *LAST,
    ),
    ok(
        "to be absent: the swap's snapshot is the last one",
        [STOPPED, OLD, snapshot(1, 1, tags={**SWAP_TAG, **FINAL})],
        ABSENT,
        *ANEW,
    ),
    ok(
        "to be absent: the copy has taken its place",
        [STOPPED, OLD, copy(2, WEB)],
        ABSENT,
        "DetachVolume vol-2 from i-1 | CreateSnapshot new final of vol-2",
        MARK,
        UNTAG,
        "DeleteVolume vol-2",
    ),
    # the old one is to be deleted
    swap(
        "the snapshot was for a copy alone, and another one is the last one",
        [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)],
        *ENDED_ANEW,
        delete_replaced=True,
    ),
    swap(
        "the snapshot was the last one, and a newer one is",
        [OLD, snapshot(1, 1, tags={**SWAP_TAG, **FINAL}), copy(2, WEB)],
        *ENDED_ANEW,
        delete_replaced=True,
    ),
    swap(
        "the snapshot is kept already",
        [OLD, snapshot(1, 1, tags=FINAL, description=f"web data: swap snapshot of {vol(1)}"), copy(2, WEB)],
        *ENDED_ANEW,
        delete_replaced=True,
    ),
    swap(
        "the snapshot is gone: the old one is not deleted",
        [OLD, copy(2, WEB)],
        *DONE,
        delete_replaced=True,
    ),
    swap(
        "no snapshot is wanted, and none proves the copy",
        [OLD, copy(2, WEB)],
        *DONE,
        delete_replaced=True,
        final_snapshot=False,
    ),
    swap(
        "no snapshot is wanted",
        [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)],
        f"{MARK} | DeleteVolume vol-1 | DeleteSnapshot snap-1 | {TAKEN_OVER}",
        delete_replaced=True,
        final_snapshot=False,
    ),
    swap(
        "no snapshot is wanted, and the old one is deleted",
        [snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)],
        f"DeleteSnapshot snap-1 | {TAKEN_OVER}",
        delete_replaced=True,
        final_snapshot=False,
    ),
    # one after the other
    swap(
        "the second one is done",
        [OLD_DONE, volume(2, tags={"ec2ops:replaced-by": vol(3)}), successor(3, WEB, replaces=BOTH_OLD)],
    ),
    swap(
        "the second one is attached",
        [OLD_DONE, successor(2, tags=PLACE), copy(3, WEB, replaces=BOTH_OLD)],
        "CreateTags vol-2 replaced-by | DeleteTags vol-2 spec,volume,was-at | DeleteTags vol-3 swap",
    ),
    swap(
        "the second one is made",
        [OLD_DONE, successor(2, tags=PLACE), snapshot(2, 2, tags={"ec2ops:swap": vol(2)}), copy(3, replaces=BOTH_OLD)],
        "AttachVolume vol-3 to i-1 /dev/sdh | DeleteSnapshot snap-2",
        "CreateTags vol-2 replaced-by | DeleteTags vol-2 spec,volume,was-at | DeleteTags vol-3 swap",
    ),
    swap(
        "the second one is attached, and neither is finished",
        [MARKED, successor(2, tags=PLACE), copy(3, WEB, replaces=BOTH_OLD)],
        "CreateTags vol-2 replaced-by | DeleteTags vol-2 spec,volume,was-at | DeleteTags vol-1 spec,volume,was-at",
        "DeleteTags vol-3 swap",
    ),
]


@pytest.mark.parametrize("case", UNFINISHED)
def test_unfinished_swap_is_finished_or_undone(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", UNFINISHED)
def test_unfinished_swap_of_an_entry_with_volume_id_is_finished(case: Case) -> None:
    """Either id of the swap leads to the same plan, if EC2 proves the copy or if only tags change."""
    case = dataclasses.replace(case, volumes=[{"volume_id": vol(1), **entry} for entry in case.volumes])
    if case.title == "the old one is deleted":
        assert case.steps == []
    if case.title in ("done, and detached since", "the second one is made"):
        words = ["volumes[0] (data)", "has replaced vol-1", "nothing proves that"]
        case = dataclasses.replace(case, steps=(), refused=Ambiguous, words=words)
    if case.title == "to be absent: the copy has taken its place":
        case = dataclasses.replace(case, steps=())
    check(case)


@pytest.mark.parametrize("state", ["present", "detached", "absent"])
def test_two_entries_for_one_unfinished_swap_are_refused(state: str) -> None:
    entries = [{"volume_id": vol(1), "name": "other", "state": state}, {"name": "data"}]
    there = [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy()]
    plan = plan_of(declared(*entries, replace="snapshot"), Ec2(*there))
    assert isinstance(plan.refused, SpecError)
    message = short(str(plan.refused))
    assert [word for word in ("volumes[1] (data)", "volumes[0] (other)") if word not in message] == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_replaced_volume_stands_for_its_living_replacement(number: int) -> None:
    chain = [OLD_DONE, volume(2, tags={"ec2ops:replaced-by": vol(3)}), successor(3, WEB, replaces=BOTH_OLD)]
    ec2 = Ec2(instance(), *chain)
    spec = declared({"volume_id": vol(number)})
    assert steps(carried_out(spec, ec2)) == []
    (row,) = planner.FEATURE.result(spec, read(spec, ec2)[0])["volumes"]
    assert (row["volume_id"], row["name"], row["replaced"]) == (vol(3), "data", [vol(2), vol(1)])


@pytest.mark.parametrize(
    "case",
    [
        no(
            "its replacement is gone",
            [volume(1, tags={"ec2ops:replaced-by": vol(2)})],
            [{"volume_id": vol(1)}],
            SpecError,
            "volumes[0] (vol-1) | replaced by vol-2 | remove its tag replaced-by",
        ),
        no(
            "two replacements, both attached",
            [instance(), instance(DB), OLD_DONE, successor(2, WEB), successor(3, DB)],
            [{"volume_id": vol(1)}],
            Ambiguous,
            "volumes[0] (vol-1) | vol-2, vol-3",
        ),
        ok("two replacements, one in its place", [OLD_DONE, successor(2, WEB), successor(3)], [{"volume_id": vol(1)}]),
        no(
            "replaced, and its replacement attached elsewhere",
            [instance(), instance(DB), OLD_DONE, successor(2, DB)],
            [{"volume_id": vol(1)}],
            UnsafePlan,
            "vol-2 | i-2 as /dev/sdh | steal: true",
        ),
    ],
)
def test_replaced_volume_is_kept_or_deleted_as_declared(case: Case) -> None:
    check(case)
