# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags that somebody else wrote on volumes and snapshots: `ebs_volume_spec` deletes, swaps and detaches nothing for
them.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Snapshot
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from forged_volumes import DATA, SWAP, declared, detach, strangers_volume, tag, taken, web_with_data
from in_process import REGION, ZONE, Killed, KillingGateway, machine, run, snapshots, texts, volumes
from sandbox.client import Sandbox
from volume_plans import declared as declared_spec
from volume_plans import planned
from volume_world import DB, NOW, WEB, Ec2, instance, snap, snapshot, vol, volume
from worlds import sandbox_gateway

# --- snapshots -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["an empty volume", "the volume itself, last night"])
@pytest.mark.parametrize("attached", [True, False], ids=["attached", "detached"])
def test_forged_final_snapshot_does_not_replace_the_volumes_own(sandbox: Sandbox, of: str, attached: bool) -> None:
    web, real = web_with_data(sandbox)
    forged = taken(sandbox, strangers_volume(sandbox) if of == "an empty volume" else real)
    sandbox.add_mark(real, "after the forged one")
    tag(sandbox, forged, final=real)
    if not attached:
        detach(web, real)
    written = texts(sandbox, real)
    ended = declared(sandbox, web, state="absent", options={"in_use": "stop"})
    assert ended.failed == ""
    assert real not in volumes(sandbox)
    (final,) = ended.result["final_snapshots"]
    assert final["snapshot_id"] != forged
    assert texts(sandbox, final["snapshot_id"])[: len(written)] == written
    assert forged in snapshots(sandbox)
    assert any(forged in warning and "ec2ops:final" in warning for warning in ended.warnings)


@pytest.mark.parametrize("of", ["an empty volume", "the volume itself, last night"])
@pytest.mark.parametrize("attached", [True, False], ids=["attached", "detached"])
def test_forged_swap_snapshot_is_no_source(sandbox: Sandbox, of: str, attached: bool) -> None:
    web, real = web_with_data(sandbox)
    forged = taken(sandbox, strangers_volume(sandbox) if of == "an empty volume" else real)
    sandbox.add_mark(real, "after the forged one")
    tag(sandbox, forged, swap=real)
    if not attached:
        detach(web, real)
    written = texts(sandbox, real)
    ended = declared(sandbox, web, encrypted=True, options={**SWAP, "delete_replaced": True})
    assert ended.failed == ""
    new = web.attached()[DATA]
    assert texts(sandbox, new)[: len(written)] == written
    assert volumes(sandbox)[new]["SnapshotId"] != forged
    # The snapshot may be somebody's only backup.
    assert forged in snapshots(sandbox)
    assert any(forged in warning and "ec2ops:swap" in warning for warning in ended.warnings)


# --- volumes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made_from", ["nothing", "a snapshot of another volume", "a snapshot that is gone"])
@pytest.mark.parametrize("attached", [True, False], ids=["attached", "detached"])
@pytest.mark.parametrize("named", [False, True], ids=["by its tags", "by its id"])
def test_forged_copy_is_not_deleted_and_changes_nothing(
    sandbox: Sandbox, made_from: str, attached: bool, named: bool
) -> None:
    web, real = web_with_data(sandbox)
    source = None if made_from == "nothing" else taken(sandbox, strangers_volume(sandbox))
    forged = strangers_volume(sandbox, source)
    if source is not None and made_from == "a snapshot that is gone":
        web.ec2.delete_snapshot(SnapshotId=source)
    tag(sandbox, forged, spec=web.instance_id, volume="data", replaces=real, swap=real)
    if not attached:
        detach(web, real)
    before = volumes(sandbox)
    ended = declared(sandbox, web, **({"volume_id": real} if named else {}))
    assert ended.failed == ""
    assert ended.actions == ([] if attached else ["AttachVolume"])
    assert web.attached() == {DATA: real}
    assert set(volumes(sandbox)) == set(before)
    assert any(forged in warning for warning in ended.warnings)


def test_hand_made_volume_from_a_backup_is_not_deleted_as_a_stale_copy(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    forged = strangers_volume(sandbox, taken(sandbox, real))
    tag(sandbox, forged, spec=web.instance_id, volume="data", replaces=real, swap=real)
    ended = declared(sandbox, web)
    assert (ended.failed, ended.actions) == ("", [])
    assert forged in volumes(sandbox)
    assert any(forged in warning for warning in ended.warnings)


@pytest.mark.parametrize("final_snapshot", [True, False])
def test_original_is_not_deleted_for_a_copy_that_nothing_proves(sandbox: Sandbox, final_snapshot: bool) -> None:
    """The swap's snapshot was deleted by hand, or the copy is another volume with the tags of a copy."""
    web, real = web_with_data(sandbox)
    detach(web, real)
    source = taken(sandbox, strangers_volume(sandbox))
    other = strangers_volume(sandbox, source)
    web.ec2.delete_snapshot(SnapshotId=source)
    web.ec2.attach_volume(VolumeId=other, InstanceId=web.instance_id, Device=DATA)
    tag(sandbox, other, spec=web.instance_id, volume="data", replaces=real, swap=real)
    ended = declared(sandbox, web, options={**SWAP, "delete_replaced": True, "final_snapshot": final_snapshot})
    assert ended.failed == ""
    assert real in volumes(sandbox)
    assert any(real in warning and other in warning for warning in ended.warnings)


def test_forged_replaced_mark_does_not_displace_an_attached_volume(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    forged = strangers_volume(sandbox)
    tag(sandbox, forged, spec=web.instance_id, volume="data", replaces=real)
    tag(sandbox, real, replaced_by=forged)
    for named in ({}, {"volume_id": real}):
        ended = declared(sandbox, web, options={"purge_volumes": True, "in_use": "detach"}, **named)
        assert (ended.failed, ended.actions) == ("", [])
    assert web.attached() == {DATA: real}


def test_replaced_mark_without_a_volume_does_not_count(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    tag(sandbox, real, replaced_by="2026-19-39T00:00:00Z")
    for named in ({}, {"volume_id": real}):
        ended = declared(sandbox, web, options={"purge_volumes": True, "in_use": "detach"}, **named)
        assert (ended.failed, ended.actions) == ("", [])
    assert web.attached() == {DATA: real}


def test_detached_volume_with_the_tags_of_an_attached_one_ends_no_run(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    forged = strangers_volume(sandbox)
    tag(sandbox, forged, spec=web.instance_id, volume="data")
    ended = declared(sandbox, web)
    assert (ended.failed, ended.actions) == ("", [])
    assert any(forged in warning for warning in ended.warnings)
    absent = declared(sandbox, web, state="absent", options={"in_use": "stop"})
    assert real in absent.failed
    assert forged in absent.failed


def test_volume_known_by_its_tags_alone_is_not_deleted_without_a_final_snapshot(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    forged = strangers_volume(sandbox)
    written = texts(sandbox, forged)
    tag(sandbox, forged, spec=web.instance_id, volume="data")
    ended = declared(sandbox, web, state="absent", options={"final_snapshot": False})
    assert (ended.failed, ended.actions) == ("", ["CreateSnapshot", "DeleteVolume"])
    (final,) = ended.result["final_snapshots"]
    assert texts(sandbox, final["snapshot_id"]) == written
    assert any(forged in warning and "volume_id" in warning for warning in ended.warnings)


def test_attached_volume_known_by_its_tags_alone_is_not_deleted_without_a_final_snapshot(sandbox: Sandbox) -> None:
    web, forged = web_with_data(sandbox)
    tag(sandbox, forged, spec=web.instance_id, volume="scratch")
    written = texts(sandbox, forged)
    given = {"instance_ids": [web.instance_id], "volumes": [{"name": "scratch", "state": "absent"}]}
    ended = run(sandbox, **given, final_snapshot=False, in_use="detach")
    assert (ended.failed, ended.actions) == ("", ["DetachVolume", "CreateSnapshot", "DeleteVolume"])
    (final,) = ended.result["final_snapshots"]
    assert set(written) <= set(texts(sandbox, final["snapshot_id"]))
    assert any(forged in warning and "volume_id" in warning for warning in ended.warnings)


def test_named_volume_is_deleted_without_a_final_snapshot_on_request(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    options = {"final_snapshot": False, "in_use": "detach"}
    ended = declared(sandbox, web, state="absent", volume_id=real, options=options)
    assert (ended.failed, ended.actions, ended.warnings) == ("", ["DetachVolume", "DeleteVolume"], [])
    other = strangers_volume(sandbox)
    ended = declared(sandbox, web, state="absent", volume_id=other, options=options)
    assert (ended.failed, ended.actions, ended.warnings) == ("", ["DeleteVolume"], [])


def test_id_leads_to_no_volume_that_only_claims_to_have_replaced_it(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    detach(web, real)
    forged = strangers_volume(sandbox)
    tag(sandbox, forged, replaces=real)
    ended = declared(sandbox, web, volume_id=real, state="absent")
    assert ended.failed == ""
    there = volumes(sandbox)
    assert (real in there, forged in there) == (False, True)


# --- honest swaps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", range(1, 15))
def test_swap_without_final_snapshot_ends_with_the_original_deleted_after_any_kill(sandbox: Sandbox, nth: int) -> None:
    """The swap's snapshot proves the copy until the original is deleted."""
    web, real = web_with_data(sandbox)
    written, before = texts(sandbox, real), set(snapshots(sandbox))
    options = {**SWAP, "delete_replaced": True, "final_snapshot": False}
    entry = {"name": "data", "device_name": DATA, "encrypted": True}
    try:
        gateway = KillingGateway(sandbox_gateway(sandbox, REGION), nth)
        run(sandbox, gateway=gateway, instance_ids=[web.instance_id], volumes=[entry], **options)
    except Killed:
        pass
    ended = declared(sandbox, web, encrypted=True, options=options)
    assert ended.failed == ""
    assert not [warning for warning in ended.warnings if "ec2ops" in warning or "delete_replaced" in warning]
    new = web.attached()[DATA]
    assert set(volumes(sandbox)) == {web.root_volume_id, new}
    assert texts(sandbox, new)[: len(written)] == written
    assert set(snapshots(sandbox)) == before
    again = declared(sandbox, web, encrypted=True, options=options)
    assert (again.failed, again.actions) == ("", [])


# --- any tags on anything --------------------------------------------------------------------------------------------


VOLUME_KEYS = ("spec", "volume", "replaces", "replaced-by", "swap", "was-at", "final")
SNAPSHOT_KEYS = ("final", "swap", "source", "copy-of", "taken")
REAL, STRANGE, BACKED_UP, GONE = vol(1), vol(2), vol(3), vol(9)
LIKELY = {"spec": (WEB,), "volume": ("data",), "final": (REAL,), "swap": (REAL,), "replaces": (REAL,)}
VALUES = st.sampled_from(
    (
        *(WEB, DB, "web", "data", "log", "x", "", "2026-19-39T00:00:00Z", "i-", ",,", "\n"),
        *(REAL, STRANGE, f"{STRANGE},{REAL}", GONE, f"{WEB} /dev/sdf delete", f"{DB} /dev/sdg"),
    )
)


@st.composite
def forged_worlds(draw: st.DrawFn) -> tuple[Ec2, Ec2]:
    """One world twice, without and with forged tags on all resources that runs of the declaration did not make.

    The strangers are a detached volume, one that is attached to another instance, and two snapshots.
    """
    at = draw(st.sampled_from((WEB, None)))
    real = volume(1, at, name="data", create_time=NOW)
    strange = volume(2, snapshot_id=draw(st.sampled_from((None, snap(8), snap(9), snap(7)))), create_time=NOW)
    elsewhere = volume(3, DB, "/dev/sdg", snapshot_id=snap(7), create_time=NOW)
    backup = snapshot(8, 1, description="nightly", start_time=NOW - timedelta(days=1))
    other = snapshot(9, 3, description="nightly", start_time=NOW - timedelta(days=1))
    there: list[Any] = [instance(state="stopped"), instance(DB, state="stopped"), real, strange, elsewhere]
    forged = []
    for item in (*there, backup, other):
        keys = {"ec2ops:spec", "ec2ops:volume"} if item is real else set()
        tags = dict(item.tags)
        if not isinstance(item, Instance):
            possible = SNAPSHOT_KEYS if isinstance(item, Snapshot) else VOLUME_KEYS
            for key in draw(st.sets(st.sampled_from(possible), max_size=len(possible))):
                if f"ec2ops:{key}" not in keys:
                    tags[f"ec2ops:{key}"] = draw(st.sampled_from(LIKELY.get(key, (REAL, STRANGE))) | VALUES)
        forged.append(dataclasses.replace(item, tags=tags))
    return Ec2(*there, backup, other), Ec2(*forged)


FORGED_DECLARATIONS = st.builds(
    lambda entry, options: declared_spec({**entry}, **options),
    st.sampled_from(
        (
            {"name": "data"},
            {"name": "data", "encrypted": True},
            {"name": "data", "state": "absent"},
            {"name": "data", "state": "detached"},
            {"volume_id": REAL, "name": "data"},
            {"volume_id": REAL, "name": "data", "state": "absent"},
            {"name": "data", "device_name": "/dev/sdf"},
        )
    ),
    st.fixed_dictionaries(
        {
            "replace": st.just("snapshot"),
            "delete_replaced": st.booleans(),
            "final_snapshot": st.booleans(),
            "purge_volumes": st.booleans(),
            "in_use": st.just("detach"),
        }
    ),
)


@examples(300)
@given(forged_worlds(), FORGED_DECLARATIONS)
def test_forged_tags_delete_detach_and_copy_no_other_volume(pair: tuple[Ec2, Ec2], spec: Any) -> None:
    honest, forged = pair
    found = planned(spec, forged)
    if found is None:
        return
    plan = found[1]
    deleted = {change.resource for change in plan.changes if change.action in ("DeleteVolume", "DeleteSnapshot")}
    off = {change.resource for change in plan.changes if change.action == "DetachVolume"}
    made_from = {change.parameters.get("SnapshotId") for change in plan.changes if change.action == "CreateVolume"}
    strangers = {STRANGE, BACKED_UP, snap(8), snap(9)}
    # A volume that only its tags make the entry's is deleted after its last snapshot, and never beside the real one.
    taken_of = {change.parameters["VolumeId"] for change in plan.changes if change.action == "CreateSnapshot"}
    assert deleted & strangers <= taken_of & {STRANGE}
    assert not off & {STRANGE, BACKED_UP}
    assert not made_from & {snap(8), snap(9)}
    if REAL in deleted:
        without = planned(spec, honest)
        assert without is not None
        assert REAL in {change.resource for change in without[1].changes if change.action == "DeleteVolume"}
        named = spec.volumes[0].volume_id == REAL or honest.resources[REAL].attachments
        assert REAL in taken_of or (not spec.final_snapshot and (named or spec.volumes[0].state == "present"))


def test_final_snapshot_with_the_tag_of_a_swap_is_kept(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    detach(web, real)
    absent = {"instance_ids": [web.instance_id], "volumes": [{"name": "data", "state": "absent"}]}
    with pytest.raises(Killed):
        run(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), 1), **absent)
    (final,) = web.ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [real]}])["Snapshots"]
    web.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[final["SnapshotId"]], WaiterConfig={"Delay": 0.05})
    tag(sandbox, final["SnapshotId"], swap="junk")
    ended = declared(sandbox, web)
    assert (ended.failed, "DeleteSnapshot" in ended.actions) == ("", False)
    assert real in web.attached().values()


def test_strangers_volume_does_not_replace_the_new_volume(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    good = taken(sandbox, real)
    given = {
        "availability_zone": ZONE,
        "spec": f"restore/{real}",
        "volumes": [{"name": real, "snapshot_id": good}],
    }
    made = run(sandbox, **given).result["volumes"][0]["volume_id"]
    web.ec2.delete_volume(VolumeId=made)
    # The client token of the first volume is spent, so the run looks for the volume that was made with it.
    sandbox.move_clock(60)
    forged = strangers_volume(sandbox)
    tag(sandbox, forged, spec=f"restore/{real}", volume=real)
    ended = run(sandbox, alone=False, **given)
    assert ended.failed == ""
    used = ended.result["volumes"][0]
    assert used["volume_id"] not in (forged, made)
    assert used["snapshot_id"] == good
