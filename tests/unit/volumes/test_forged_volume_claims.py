# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags that claim the past of a volume: its last snapshot, its attachment, its replacement. EC2 shows none of these."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from forged_volumes import (
    DATA,
    attach,
    declared,
    detach,
    killed_after,
    made_from_gone_snapshot,
    strangers_volume,
    swapped,
    tag,
    take_off,
    untag,
    web_with_data,
)
from in_process import REGION, Ended, Machine, machine, run, snapshots, texts, volumes
from sandbox.client import Sandbox

LOG = "/dev/sdg"


def absent(web: Machine) -> dict[str, Any]:
    return {"instance_ids": [web.instance_id], "volumes": [{"name": "data", "state": "absent"}]}


def snapshot_of(sandbox: Sandbox, volume_id: str) -> str:
    """The one snapshot of the volume, complete."""
    (found,) = (item for item, row in snapshots(sandbox).items() if row["VolumeId"] == volume_id)
    waiter = sandbox.client("ec2", REGION).get_waiter("snapshot_completed")
    waiter.wait(SnapshotIds=[found], WaiterConfig={"Delay": 0.05})
    return found


def flags(web: Machine) -> dict[str, bool]:
    """Delete-on-termination by device."""
    found = web.ec2.describe_instances(InstanceIds=[web.instance_id])["Reservations"][0]["Instances"][0]
    return {item["DeviceName"]: item["Ebs"]["DeleteOnTermination"] for item in found["BlockDeviceMappings"]}


# --- the last snapshot -----------------------------------------------------------------------------------------------


def written_since(sandbox: Sandbox, web: Machine, real: str, given: dict[str, Any], nth: int) -> str:
    """A snapshot that a killed run took of the volume, which was attached, written to and detached since."""
    detach(web, real)
    killed_after(sandbox, nth, **given)
    stale = snapshot_of(sandbox, real)
    attach(web, real)
    sandbox.add_mark(real, "after the stale one")
    take_off(web, real)
    return stale


@pytest.mark.parametrize("how", ["by hand", "retagged", "retagged, long ago"])
def test_stale_final_snapshot_is_not_the_last_one(sandbox: Sandbox, how: str) -> None:
    web, real = web_with_data(sandbox)
    stale = written_since(sandbox, web, real, absent(web), 1)
    untag(sandbox, stale, "final")
    if how == "retagged, long ago":
        sandbox.move_clock(3 * 86400)
    tag(sandbox, stale, final=real)
    written = texts(sandbox, real)
    ended = run(sandbox, **absent(web))
    assert ended.failed == ""
    assert real not in volumes(sandbox)
    (final,) = ended.result["final_snapshots"]
    assert final["snapshot_id"] != stale
    assert texts(sandbox, final["snapshot_id"]) == written
    # A snapshot of an interrupted run is deleted. An old one may be somebody's record.
    if how == "retagged, long ago":
        assert stale in snapshots(sandbox)
        assert any(stale in warning for warning in ended.warnings)
    else:
        assert stale not in snapshots(sandbox)
    assert (run(sandbox, **absent(web)).failed, run(sandbox, **absent(web)).actions) == ("", [])


@pytest.mark.parametrize("delete_replaced", [False, True])
def test_stale_swap_snapshot_is_no_source(sandbox: Sandbox, delete_replaced: bool) -> None:
    web, real = web_with_data(sandbox)
    given = swapped(web, delete_replaced=delete_replaced)
    stale = written_since(sandbox, web, real, given, 1)
    untag(sandbox, stale, "swap", "final")
    tag(sandbox, stale, swap=real, final=real)
    written = texts(sandbox, real)
    ended = run(sandbox, **given)
    assert ended.failed == ""
    assert texts(sandbox, web.attached()[DATA])[: len(written)] == written
    for final in ended.result["final_snapshots"]:
        assert texts(sandbox, final["snapshot_id"])[: len(written)] == written
    assert stale not in snapshots(sandbox)
    again = run(sandbox, **given)
    assert (again.failed, again.actions) == ("", [])


def test_swap_snapshot_does_not_permit_to_delete_an_original_with_later_writes(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    detach(web, real)
    given = swapped(web, delete_replaced=True)
    killed_after(sandbox, 3, **given)
    assert real not in web.attached().values()
    attach(web, real, LOG)
    sandbox.add_mark(real, "written to the original")
    take_off(web, real)
    written = texts(sandbox, real)
    ended = run(sandbox, **given)
    assert ended.failed == ""
    assert real not in volumes(sandbox)
    assert written in [texts(sandbox, item) for item, row in snapshots(sandbox).items() if row["VolumeId"] == real]


@pytest.mark.parametrize("untagged", [(), ("final",)], ids=["kept", "removed"])
def test_final_snapshot_of_a_finished_swap_is_not_its_leftover(sandbox: Sandbox, untagged: tuple[str, ...]) -> None:
    web, real = web_with_data(sandbox)
    written = texts(sandbox, real)
    assert run(sandbox, **swapped(web, delete_replaced=True, in_use="stop")).failed == ""
    final = snapshot_of(sandbox, real)
    new = web.attached()[DATA]
    tag(sandbox, final, swap=real)
    untag(sandbox, final, *untagged)
    tag(sandbox, new, swap=real)
    ended = run(sandbox, **swapped(web, delete_replaced=True, in_use="stop"))
    assert (ended.failed, "DeleteSnapshot" in ended.actions) == ("", False)
    assert texts(sandbox, final)[: len(written)] == written


def test_swap_snapshot_of_an_earlier_version_is_kept(sandbox: Sandbox) -> None:
    """The description does not say whether it was the final snapshot."""
    web, real = web_with_data(sandbox)
    detach(web, real)
    note = f"{web.instance_id} data: swap snapshot of {real}"
    tags = [{"Key": "ec2ops:swap", "Value": real}]
    specification = [{"ResourceType": "snapshot", "Tags": tags}]
    ec2 = web.ec2
    earlier = ec2.create_snapshot(VolumeId=real, Description=note, TagSpecifications=specification)["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[earlier], WaiterConfig={"Delay": 0.05})
    new = strangers_volume(sandbox, earlier)
    attach(web, new)
    tag(sandbox, new, spec=web.instance_id, volume="data", replaces=real, swap=real)
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=[{"name": "data", "device_name": DATA}])
    assert (ended.failed, "DeleteSnapshot" in ended.actions) == ("", False)
    assert volumes(sandbox)[real]["tags"]["ec2ops:replaced-by"] == new
    assert any(earlier in warning for warning in ended.warnings)


# --- the place -------------------------------------------------------------------------------------------------------


def test_forged_place_deletes_no_volume_with_its_instance(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    tag(sandbox, real, was_at=f"{web.instance_id} {DATA} delete")
    ended = declared(sandbox, web)
    assert ended.failed == ""
    assert flags(web)[DATA] is False
    detach(web, real)
    tag(sandbox, real, was_at=f"{web.instance_id} {DATA} delete")
    ended = declared(sandbox, web)
    assert (ended.failed, "ModifyInstanceAttribute" in ended.actions) == ("", False)
    assert flags(web)[DATA] is False
    assert any(real in warning and "delete_on_termination" in warning for warning in ended.warnings)


def test_rollback_attaches_to_no_instance_named_by_a_tag_alone(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    other = machine(sandbox, "other")
    detach(web, real)
    tag(sandbox, real, was_at=f"{other.instance_id} /dev/sdk")
    with sandbox.fault("CreateVolume", occurrence=1, kind="error", code="UnauthorizedOperation", status=403):
        failed = run(sandbox, **swapped(web))
    assert "UnauthorizedOperation" in failed.failed
    assert other.attached() == {}
    assert volumes(sandbox)[real]["Attachments"] == []


def test_forged_place_takes_no_hold_from_another_run(sandbox: Sandbox) -> None:
    """The other run has written its hold, and stops the instance next."""
    web, real = web_with_data(sandbox)
    other = machine(sandbox, "other")
    now = web.ec2.describe_instances()["ResponseMetadata"]["HTTPHeaders"]["date"]
    since = parsedate_to_datetime(now)
    until = since + timedelta(hours=1)
    hold = f"running {since:%Y-%m-%dT%H:%M:%SZ} {until:%Y-%m-%dT%H:%M:%SZ}"
    tag(sandbox, other.instance_id, restore_state=hold)
    tag(sandbox, real, was_at=f"{other.instance_id} /dev/sdk")
    assert declared(sandbox, web).failed == ""
    assert other.tags["ec2ops:restore-state"] == hold


def test_forged_was_at_tags_leave_a_device_name_free(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    names = [f"/dev/sd{letter}" for letter in "fghijklmnop"]
    detach(web, real)
    places = [f"{web.instance_id} {name}" for name in names]
    tag(sandbox, real, was_at=",".join(places[:5]), was_at_2=",".join(places[5:10]), was_at_3=places[10])
    entries = [{"name": "log", "size": 1}, {"name": "data"}]
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=entries)
    assert ended.failed == ""
    assert real in web.attached().values()
    assert len(web.attached()) == 2


# --- the replacement -------------------------------------------------------------------------------------------------


def rows(ended: Ended) -> dict[str, Any]:
    return {row["name"]: row["volume_id"] for row in ended.result.get("volumes", ())}


@pytest.mark.parametrize("state", ["present", "detached", "absent"])
@pytest.mark.parametrize("named", [False, True], ids=["by its tags", "by its id"])
def test_forged_pair_of_detached_volumes_changes_neither(sandbox: Sandbox, state: str, named: bool) -> None:
    web, real = web_with_data(sandbox)
    detach(web, real)
    forged = made_from_gone_snapshot(sandbox)
    tag(sandbox, forged, spec=web.instance_id, volume="data", replaces=real, swap=real)
    tag(sandbox, real, replaced_by=forged)
    entry = {"name": "data", "state": state, **({"volume_id": real} if named else {})}
    log = {"name": "log", "size": 1}
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=[entry, log], steal=True)
    assert {forged, real} <= set(volumes(sandbox))
    assert not {forged, real} & set(web.attached().values())
    # The other entry is carried out.
    assert len(web.attached()) == 1
    assert forged in ended.failed or any(forged in warning for warning in ended.warnings)


@pytest.mark.parametrize("state", ["present", "detached", "absent"])
def test_forged_pair_does_not_turn_an_entry_against_another_volume(sandbox: Sandbox, state: str) -> None:
    """The claim names a volume of the same instance, which its own entry declares."""
    web, real = web_with_data(sandbox)
    log = made_from_gone_snapshot(sandbox)
    attach(web, log, LOG)
    tag(sandbox, log, spec=web.instance_id, volume="log", replaces=real)
    detach(web, real)
    tag(sandbox, real, replaced_by=log)
    entries = [
        {"name": "data", "volume_id": real, "state": state, "size": 30, "delete_on_termination": True},
        {"name": "log", "tags": {"team": "a"}},
    ]
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=entries, in_use="detach")
    there = volumes(sandbox)
    assert (there[log]["Size"], there[log]["tags"]["team"]) == (20, "a")
    assert web.attached() == {LOG: log}
    assert flags(web)[LOG] is False
    assert real in there
    assert real in ended.failed or any(real in warning for warning in ended.warnings)


def test_forged_claim_of_an_attached_volume_does_not_end_the_run(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    other = machine(sandbox, "other")
    forged = made_from_gone_snapshot(sandbox)
    attach(other, forged)
    for key in ({}, {"swap": real}):
        tag(sandbox, forged, spec=web.instance_id, volume="data", replaces=real, **key)
        for named in ({}, {"volume_id": real}):
            ended = declared(sandbox, web, **named)
            assert (ended.failed, ended.actions) == ("", [])
            assert any(forged in warning for warning in ended.warnings)
    assert other.attached() == {DATA: forged}


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize(
    ("entry", "tags"),
    [
        ({"name": "data"}, {}),
        ({"name": "data"}, {"replaced_by": "vol-0123456789abcdef0"}),
        ({"name": "data", "volume_id": "real"}, {"replaced_by": "vol-0123456789abcdef0"}),
        ({"name": "data", "state": "absent"}, {}),
        ({"name": "other", "volume_id": "real"}, {}),
    ],
)
def test_entry_that_tags_leave_open_is_refused_alone(
    sandbox: Sandbox, entry: dict[str, Any], tags: dict[str, str], purge: bool
) -> None:
    web, real = web_with_data(sandbox)
    detach(web, real)
    forged = strangers_volume(sandbox)
    entry = {**entry, **({"volume_id": real} if "volume_id" in entry else {})}
    tag(sandbox, forged, spec=web.instance_id, volume=entry["name"])
    if tags:
        tag(sandbox, real, **tags)
    entries = [entry, {"name": "log", "size": 1}]
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=entries, purge_volumes=purge, in_use="detach")
    assert "volumes[0]" in ended.failed
    assert {real, forged} <= set(volumes(sandbox))
    assert not {real, forged} & set(web.attached().values())
    assert len(web.attached()) == 1
    assert "log" in rows(ended)


@pytest.mark.parametrize(
    "altered",
    [{"spec": "stranger"}, {"volume": "stranger"}, {"spec": "i-0123456789abcdef0", "volume": ""}],
    ids=["spec", "volume", "both"],
)
def test_altered_identity_refuses_no_other_entry(sandbox: Sandbox, altered: dict[str, str]) -> None:
    web, real = web_with_data(sandbox)
    tag(sandbox, real, **altered)
    entries = [{"name": "data", "device_name": DATA}, {"name": "log", "size": 1}]
    given: dict[str, Any] = {"instance_ids": [web.instance_id], "volumes": entries, "purge_volumes": True}
    ended = run(sandbox, in_use="detach", **given)
    assert real in ended.failed
    assert web.attached()[DATA] == real
    assert len(web.attached()) == 2


def test_name_known_by_a_tag_alone_refuses_its_entry(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    other = strangers_volume(sandbox)
    tag(sandbox, other, volume="data")
    entries = [{"volume_id": other}, {"name": "data", "tags": {"team": "a"}}]
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=entries, steal=True)
    assert other in ended.failed
    assert volumes(sandbox)[real]["tags"]["team"] == "a"
    assert web.attached() == {DATA: real}


def test_removed_tags_of_a_finished_swap_lose_nothing(sandbox: Sandbox) -> None:
    web, real = web_with_data(sandbox)
    written = texts(sandbox, real)
    assert run(sandbox, **swapped(web, in_use="stop")).failed == ""
    new = web.attached()[DATA]
    keys = ("spec", "volume", "replaces", "replaced-by", "swap")
    for item in (real, new):
        untag(sandbox, item, *keys)
    ended = run(sandbox, **swapped(web, in_use="stop", delete_replaced=True, purge_volumes=True))
    assert ended.failed == ""
    assert web.attached() == {DATA: new}
    assert real in volumes(sandbox)
    assert texts(sandbox, new)[: len(written)] == written
