# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of EC2 that prove the claim of a tag, and those that do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import instance_proofs, proofs
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import (
    COPIED_VOLUME,
    GENERATIONS,
    capture_description,
    client_token,
    planned,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Image,
    ImageDevice,
    Instance,
    Snapshot,
    Volume,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OLD, NEW, OTHER = "i-0000000000000000a", "i-0000000000000000b", "i-0000000000000000c"
IMAGE, OTHER_IMAGE = "ami-0000000000000000a", "ami-0000000000000000b"
VOLUME, OTHER_VOLUME = "vol-0000000000000000a", "vol-0000000000000000b"
SNAPSHOT, OTHER_SNAPSHOT = "snap-0000000000000000a", "snap-0000000000000000b"


def successor(token: str | None, image_id: str = IMAGE, instance_id: str = NEW) -> Instance:
    return Instance(instance_id, image_id=image_id, facts={"ClientToken": token})


def launched(generation: int = 0, old: str = OLD, image_id: str = IMAGE) -> str:
    return client_token(("relaunch", old, image_id), generation)


@pytest.mark.parametrize(
    ("instance", "proven"),
    [
        pytest.param(successor(launched()), True, id="first token"),
        pytest.param(successor(launched(GENERATIONS - 1)), True, id="last token"),
        pytest.param(successor(launched(GENERATIONS)), False, id="token of no generation"),
        pytest.param(successor(launched(old=OTHER)), False, id="launched for another"),
        pytest.param(successor(launched(image_id=OTHER_IMAGE)), False, id="launched from another image"),
        pytest.param(successor("terraform-2026"), False, id="token of somebody else"),
        pytest.param(successor(""), False, id="empty token"),
        pytest.param(successor(None), False, id="no token"),
        pytest.param(successor(None, instance_id=planned("instance", "in place of it")), True, id="planned"),
    ],
)
def test_client_token_proves_a_successor(instance: Instance, proven: bool) -> None:
    assert instance_proofs.is_launched_to_replace(instance, OLD) is proven


def stopped(
    reason: str = "User initiated (2026-11-23 12:05:00 GMT)",
    code: str = "Client.UserInitiatedShutdown",
    state: str = "stopped",
    launched_at: datetime = NOON - MINUTE,
) -> Instance:
    facts = {"StateTransitionReason": reason, "StateReason": {"Code": code, "Message": code}}
    return Instance(OLD, state=state, launch_time=launched_at, facts=facts)


@pytest.mark.parametrize(
    ("instance", "proven"),
    [
        pytest.param(stopped(), True, id="stop within the hold"),
        pytest.param(stopped("User initiated (2026-11-23 12:00:00 GMT)"), True, id="stop in the second of the record"),
        pytest.param(stopped("User initiated (2026-11-23 12:30:00 GMT)"), True, id="stop at the hold's end"),
        pytest.param(stopped("User initiated (2026-11-23 11:59:59 GMT)"), False, id="stop before the record"),
        pytest.param(stopped("User initiated (2026-11-23 12:30:01 GMT)"), False, id="stop after the hold"),
        pytest.param(stopped(""), False, id="no reason"),
        pytest.param(stopped("User initiated"), False, id="no time"),
        pytest.param(stopped("Server.ScheduledStop", "Server.ScheduledStop"), False, id="EC2's stop, no later start"),
        pytest.param(
            stopped("Client.InternalError", "Client.InternalError", launched_at=NOON + MINUTE),
            True,
            id="start taken back after the record",
        ),
        pytest.param(
            stopped("Server.InternalError", "Server.InternalError", launched_at=NOON + MINUTE),
            True,
            id="start taken back by EC2's own fault",
        ),
        pytest.param(
            stopped("", launched_at=NOON + MINUTE), False, id="somebody's start and stop, of which EC2 tells no time"
        ),
        pytest.param(
            stopped("Client.InternalError", "Client.InternalError", "running", NOON + MINUTE), False, id="running"
        ),
    ],
)
def test_transition_proves_a_hold(instance: Instance, proven: bool) -> None:
    assert instance_proofs.is_stopped_within(instance, NOON + timedelta(microseconds=7), NOON + 30 * MINUTE) is proven


@pytest.mark.parametrize(
    ("instance", "run"),
    [
        pytest.param(stopped(state="running", launched_at=NOON + MINUTE), True, id="running since"),
        pytest.param(stopped(state="running", launched_at=NOON), False, id="running from before"),
        pytest.param(
            stopped(state="running", launched_at=NOON + timedelta(milliseconds=900)), False, id="launched in its second"
        ),
        pytest.param(stopped(state="stopping", launched_at=NOON + MINUTE), True, id="stopping again"),
        pytest.param(stopped(launched_at=NOON + MINUTE), True, id="started and stopped since"),
        pytest.param(stopped(launched_at=NOON - MINUTE), False, id="stopped, and not started since"),
        pytest.param(stopped(launched_at=NOON + 6 * MINUTE), False, id="last stop is older than the start"),
        pytest.param(stopped("", launched_at=NOON + MINUTE), False, id="stopped at a time that EC2 does not show"),
        pytest.param(
            stopped(code="Client.InternalError", launched_at=NOON + MINUTE), False, id="start that EC2 took back"
        ),
        pytest.param(Instance(OLD, state="running"), False, id="no launch time"),
    ],
)
def test_successful_start_shows_that_an_instance_has_run(instance: Instance, run: bool) -> None:
    assert instance_proofs.has_run_since(instance, NOON) is run


@pytest.mark.parametrize(
    ("state", "shown", "otherwise"),
    [
        pytest.param("stopped", {"State": {"Name": "running"}}, True, id="predicted"),
        pytest.param("stopped", {"State": {"Name": "stopped"}}, False, id="as EC2 shows it"),
        pytest.param("stopped", {"State": {}}, False, id="no name"),
        pytest.param("stopped", {}, False, id="nothing shown"),
    ],
)
def test_predicted_state_is_distinguished_from_ec2s(state: str, shown: dict[str, Any], otherwise: bool) -> None:
    assert instance_proofs.is_shown_otherwise(Instance(OLD, state=state, facts=shown)) is otherwise


def snapshot(volume_id: str = VOLUME, snapshot_id: str = SNAPSHOT, **fields: Any) -> Snapshot:
    return Snapshot(snapshot_id, volume_id=volume_id, **{"volume_size": 8, "start_time": NOON, **fields})


def test_volume_id_proves_the_source_of_a_snapshot() -> None:
    forged = {"ec2ops:source": OTHER_VOLUME}
    assert proofs.is_taken_of(snapshot(), VOLUME)
    assert not proofs.is_taken_of(snapshot(tags=forged), OTHER_VOLUME)
    assert not proofs.is_taken_of(snapshot(COPIED_VOLUME, tags={"ec2ops:source": VOLUME}), VOLUME)
    assert not proofs.is_taken_of(snapshot(""), "")
    assert proofs.source_of(snapshot(tags=forged)) == VOLUME
    assert proofs.source_of(snapshot(COPIED_VOLUME, tags=forged)) == OTHER_VOLUME
    assert proofs.source_of(snapshot(COPIED_VOLUME)) == ""


@pytest.mark.parametrize(
    ("volume_id", "claimed", "taken"),
    [
        pytest.param(VOLUME, None, NOON, id="original"),
        pytest.param(VOLUME, "2025-01-01T00:00:00.000Z", NOON, id="original with a claim"),
        pytest.param(COPIED_VOLUME, None, NOON, id="copy without a claim"),
        pytest.param(COPIED_VOLUME, "2026-11-23T11:00:00.000Z", NOON - 60 * MINUTE, id="copy"),
        pytest.param(COPIED_VOLUME, "2999-01-01T00:00:00.000Z", NOON, id="copy with a later claim"),
        pytest.param(COPIED_VOLUME, "2026-19-39T00:00:00.000Z", NOON, id="copy with a time that does not exist"),
        pytest.param(COPIED_VOLUME, "2026-11-23T29:00:00.000Z", NOON, id="copy with an hour that does not exist"),
        pytest.param(COPIED_VOLUME, "yesterday", NOON, id="copy with a word"),
    ],
)
def test_start_time_bounds_a_claimed_time(volume_id: str, claimed: str | None, taken: datetime) -> None:
    tags = {} if claimed is None else {"ec2ops:taken": claimed}
    assert proofs.time_of(snapshot(volume_id, tags=tags)) == taken


@pytest.mark.parametrize(
    ("description", "record"),
    [
        pytest.param("nightly", None, id="another form"),
        pytest.param(f"p: {OTHER_VOLUME}", None, id="of another volume"),
        pytest.param(f"p: {VOLUME}", proofs.CaptureRecord("p", VOLUME), id="earlier versions, volume"),
        pytest.param(f"p: {OLD}", proofs.CaptureRecord("p", OLD), id="earlier versions, set"),
        pytest.param(
            capture_description("p", VOLUME, attached=OLD, lock="governance 30d"),
            proofs.CaptureRecord("p", VOLUME, attached=OLD, lock="governance 30d"),
            id="earlier versions, volume with facts",
        ),
        pytest.param(
            capture_description("p", VOLUME, attached=OLD, slot="2026-11-23T13:00+01:00", lock="governance 30d"),
            proofs.CaptureRecord("p", VOLUME, attached=OLD, slot=NOON, lock="governance 30d"),
            id="volume",
        ),
        pytest.param(
            capture_description("a: b", OLD, volumes=3, slot="2026-11-23T12:00+00:00", lock="compliance 7d"),
            proofs.CaptureRecord("a: b", OLD, 3, slot=NOON, lock="compliance 7d"),
            id="set",
        ),
        pytest.param(f"p: {VOLUME}, slot 2026-19-39T00:00+00:00", proofs.CaptureRecord("p", VOLUME), id="no time"),
        pytest.param(f"p: {VOLUME}, and more", None, id="more words"),
    ],
)
def test_description_records_the_purpose_of_a_capture(description: str, record: proofs.CaptureRecord | None) -> None:
    assert proofs.capture_record(snapshot(description=description)) == record
    assert proofs.capture_record(snapshot(COPIED_VOLUME, description=description)) is None


@pytest.mark.parametrize(
    ("volume_id", "description", "image_id"),
    [
        pytest.param(VOLUME, f"Created by CreateImage({OLD}) for {IMAGE} from {VOLUME}", IMAGE, id="with its volume"),
        pytest.param(VOLUME, f"Created by CreateImage({OLD}) for {IMAGE}", IMAGE, id="image"),
        pytest.param(VOLUME, f"Created for {IMAGE}", "", id="another form"),
        pytest.param(COPIED_VOLUME, f"Created by CreateImage({OLD}) for {IMAGE}", "", id="copy"),
    ],
)
def test_ec2s_description_names_the_image_of_a_snapshot(volume_id: str, description: str, image_id: str) -> None:
    assert proofs.created_for(snapshot(volume_id, description=description)) == image_id


@pytest.mark.parametrize(
    ("volume_id", "description", "policy"),
    [
        pytest.param(VOLUME, f"daily: {VOLUME}", "daily", id="of a volume"),
        pytest.param(VOLUME, f"a: b: {OLD}", "a: b", id="of a set"),
        pytest.param(VOLUME, f"daily: {OTHER_VOLUME}", "", id="of another volume"),
        pytest.param(VOLUME, f"daily {VOLUME}", "", id="another form"),
        pytest.param(COPIED_VOLUME, f"daily: {COPIED_VOLUME}", "", id="copy"),
    ],
)
def test_description_names_the_policy_that_took_a_snapshot(volume_id: str, description: str, policy: str) -> None:
    assert proofs.policy_named(snapshot(volume_id, description=description)) == policy


@pytest.mark.parametrize(
    ("description", "taken", "proven"),
    [
        pytest.param("", NOON - 60 * MINUTE, False, id="no record"),
        pytest.param(f"p: {VOLUME}, from eu-west-1", NOON - 60 * MINUTE, False, id="first versions"),
        pytest.param(f"p: {VOLUME}, {SNAPSHOT}, from eu-west-1", NOON - 60 * MINUTE, False, id="earlier versions"),
        pytest.param(
            f"p: {VOLUME} on {OLD}, {SNAPSHOT}, from eu-west-1, taken 2026-11-23T09:00:00.000Z",
            NOON - 180 * MINUTE,
            True,
            id="recorded",
        ),
        pytest.param(
            f"p: {VOLUME}, {SNAPSHOT}, from eu-west-1, taken 2026-11-23T19:00:00.000Z", NOON, True, id="recorded later"
        ),
        pytest.param(
            f"p: {VOLUME}, {SNAPSHOT}, from eu-west-1, taken 2026-19-39T09:00:00.000Z",
            NOON - 60 * MINUTE,
            False,
            id="recorded time that does not exist",
        ),
    ],
)
def test_description_proves_when_the_data_of_a_copy_was_taken(description: str, taken: datetime, proven: bool) -> None:
    tags = {"ec2ops:taken": "2026-11-23T11:00:00.000Z"}
    copy = snapshot(COPIED_VOLUME, tags=tags, description=description)
    assert (proofs.time_of(copy), proofs.has_proven_time(copy)) == (taken, proven)
    assert proofs.has_proven_time(snapshot(tags=tags))


@pytest.mark.parametrize(
    ("copy", "words"),
    [
        pytest.param({}, None, id="fits"),
        pytest.param({"volume_size": 0, "state": "pending"}, None, id="pending"),
        pytest.param({"encrypted": True}, None, id="encrypted more than its original"),
        pytest.param({"volume_id": OTHER_VOLUME}, "not a copy", id="no copy"),
        pytest.param({"volume_size": 1}, "1 GiB", id="another size"),
        pytest.param({"start_time": NOON - MINUTE}, "older", id="older than its original"),
    ],
)
def test_copy_must_fit_its_original(copy: dict[str, Any], words: str | None) -> None:
    made = snapshot(**{"volume_id": COPIED_VOLUME, "snapshot_id": OTHER_SNAPSHOT, **copy})
    misfit = proofs.copy_misfit(made, snapshot())
    assert misfit is None if words is None else misfit is not None and words in misfit


def test_plain_copy_of_an_encrypted_original_does_not_fit() -> None:
    made = snapshot(COPIED_VOLUME, OTHER_SNAPSHOT)
    assert "is not encrypted" in (proofs.copy_misfit(made, snapshot(encrypted=True)) or "")
    pending = snapshot(COPIED_VOLUME, OTHER_SNAPSHOT, state="pending", volume_size=0)
    assert proofs.copy_misfit(pending, snapshot(encrypted=True)) is None


def test_snapshot_id_and_create_time_prove_the_source_of_a_volume() -> None:
    after = Volume(VOLUME, snapshot_id=SNAPSHOT, create_time=NOON + MINUTE)
    before = Volume(VOLUME, snapshot_id=SNAPSHOT, create_time=NOON - MINUTE)
    assert proofs.is_made_from(after, [snapshot(snapshot_id=OTHER_SNAPSHOT), snapshot()])
    assert not proofs.is_made_from(before, [snapshot()])
    assert not proofs.is_made_from(Volume(VOLUME, create_time=NOON + MINUTE), [snapshot()])
    assert not proofs.is_made_from(after, [])
    assert proofs.is_made_from(Volume(planned("volume", "web/data")), [])


@pytest.mark.parametrize(
    ("made", "of_a_swap", "last"),
    [
        pytest.param(snapshot(description=f"web data: swap snapshot of {VOLUME}"), True, True, id="swap"),
        pytest.param(snapshot(description=f"web data: temporary swap snapshot of {VOLUME}"), True, True, id="short"),
        pytest.param(snapshot(description=f"web data: final swap snapshot of {VOLUME}"), True, True, id="both"),
        pytest.param(snapshot(description=f"web data: final snapshot of {VOLUME}"), False, True, id="final"),
        pytest.param(snapshot(description="nightly", tags={"ec2ops:final": VOLUME}), False, False, id="backup"),
        pytest.param(snapshot(description=f"web data: swap snapshot of {OTHER_VOLUME}"), False, False, id="of another"),
        pytest.param(
            snapshot(OTHER_VOLUME, description=f"web data: swap snapshot of {VOLUME}"), False, False, id="of its own"
        ),
        pytest.param(
            snapshot(COPIED_VOLUME, description=f"web data: swap snapshot of {VOLUME}"), False, False, id="copy"
        ),
        pytest.param(snapshot(snapshot_id=planned("snapshot", "swap")), True, True, id="planned"),
    ],
)
def test_description_proves_the_purpose_of_a_snapshot(made: Snapshot, of_a_swap: bool, last: bool) -> None:
    assert (proofs.is_swap_snapshot(made, VOLUME), proofs.is_last_snapshot(made, VOLUME)) == (of_a_swap, last)


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("word", "temporary", "superseded", "superseded_later"),
    [
        pytest.param("temporary swap snapshot", True, True, True, id="for the copy alone"),
        pytest.param("final swap snapshot", False, True, False, id="of a swap that deletes the volume"),
        pytest.param("swap snapshot", False, True, False, id="of an earlier version's swap"),
        pytest.param("final snapshot", False, True, False, id="before the deletion"),
        pytest.param("nightly snapshot", False, False, False, id="backup"),
    ],
)
def test_description_and_age_prove_a_leftover(
    word: str, temporary: bool, superseded: bool, superseded_later: bool
) -> None:
    made = snapshot(description=f"web data: {word} of {VOLUME}", tags={"ec2ops:final": VOLUME, "ec2ops:swap": VOLUME})
    assert proofs.is_temporary(made, VOLUME) is temporary
    assert proofs.is_superseded(made, VOLUME, NOON + DAY) is superseded
    assert proofs.is_superseded(made, VOLUME, NOON + DAY + MINUTE) is superseded_later
    for other in (OTHER_VOLUME, ""):
        assert not proofs.is_temporary(made, other)
        assert not proofs.is_superseded(made, other, NOON)
    copy = snapshot(COPIED_VOLUME, description=made.description)
    assert not proofs.is_temporary(copy, VOLUME)
    assert not proofs.is_superseded(copy, VOLUME, NOON)


def test_purposes_have_descriptions_of_their_own() -> None:
    for purpose in proofs.Purpose:
        made = snapshot(description=f"web data: {proofs.capture_note(purpose, VOLUME)}")
        assert proofs.purpose_of(made, VOLUME) is purpose


@pytest.mark.parametrize(
    ("made_from", "shown", "words", "proven"),
    [
        pytest.param(SNAPSHOT, snapshot(description=f": swap snapshot of {VOLUME}"), None, True, id="swap"),
        pytest.param(SNAPSHOT, snapshot(description="nightly"), None, False, id="backup"),
        pytest.param(SNAPSHOT, None, None, False, id="snapshot is gone"),
        pytest.param(None, None, "not made from a snapshot", False, id="empty"),
        pytest.param(SNAPSHOT, snapshot(OTHER_VOLUME), "not a snapshot of", False, id="of another volume"),
        pytest.param(SNAPSHOT, snapshot(start_time=NOON + 2 * MINUTE), "older", False, id="older than its snapshot"),
    ],
)
def test_swap_snapshot_proves_a_replacement(
    made_from: str | None, shown: Snapshot | None, words: str | None, proven: bool
) -> None:
    new = Volume(OTHER_VOLUME, snapshot_id=made_from, create_time=NOON + MINUTE)
    misfit = proofs.replacement_misfit(new, Volume(VOLUME), shown)
    assert misfit is None if words is None else misfit is not None and words in misfit
    assert proofs.is_replacement(new, Volume(VOLUME), shown) is proven
    fresh = Volume(planned("volume", "web/data"))
    assert proofs.is_replacement(fresh, Volume(VOLUME), None)


def test_snapshots_prove_the_source_of_an_image() -> None:
    both = [snapshot(), snapshot(OTHER_VOLUME, OTHER_SNAPSHOT)]
    image = Image(IMAGE, block_devices=(ImageDevice("/dev/xvda", SNAPSHOT), ImageDevice("/dev/sdf", OTHER_SNAPSHOT)))
    assert proofs.is_image_of(image, both, [VOLUME, OTHER_VOLUME])
    assert not proofs.is_image_of(image, both, [VOLUME])
    assert not proofs.is_image_of(image, both[:1], [VOLUME, OTHER_VOLUME])
    assert not proofs.is_image_of(image, [both[0], snapshot(COPIED_VOLUME, OTHER_SNAPSHOT)], [VOLUME, OTHER_VOLUME])
    assert not proofs.is_image_of(Image(IMAGE), both, [VOLUME])
