# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Proofs: facts that only EC2 can have written, one function for each claim that a tag makes.

A tag shows where to look, and anybody who may call CreateTags can write one. Before the collection terminates, deletes,
deregisters, stops, starts, captures from, restores from, follows or counts a resource, the proof of the claim must
hold. If EC2 records no fact, the function returns false, and the planner makes the harmless choice.

The collection's tags are no secret and prove nothing here. Each function names the field of EC2's answer that it reads.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache

from . import tags as tag_names
from .ids import COPIED_VOLUME, is_planned, policy_in_ascii
from .resources import Image, Snapshot, Volume
from .times import parse_instant, parse_slot

UNKNOWN_VOLUMES = ("", COPIED_VOLUME)
"""The volume ids that EC2 shows for copied snapshots, and for snapshots without a known volume."""

SWAP_WORD, FINAL_WORD = "swap", "final"
"""The purposes of a run's snapshot of a detached volume, as planned ids and warnings show them: see `Purpose`."""
_REMEMBERED = 1 << 18
"""The number of Descriptions whose records stay in memory. A planner asks several times about each snapshot."""
SUPERSEDED_WITHIN = timedelta(days=1)
"""The largest age difference at which a run deletes a final snapshot because of a newer one: see `is_superseded`."""


# --- instances -------------------------------------------------------------------------------------------------------


# --- snapshots -------------------------------------------------------------------------------------------------------


def is_copy(snapshot: Snapshot) -> bool:
    """Return whether EC2 shows the snapshot as a copy: its VolumeId is arbitrary (EC2 API reference, Snapshot)."""
    return snapshot.volume_id in UNKNOWN_VOLUMES


_OF_IMAGE = re.compile(r"Copied for DestinationAmi (ami-[0-9a-f]+) from SourceAmi (ami-[0-9a-f]+)\b.*")


def copied_from(snapshot: Snapshot) -> str | None:
    """Return the image whose CopyImage has made the snapshot, None for any other snapshot.

    EC2 writes the Description of such a snapshot itself.
    """
    found = _OF_IMAGE.fullmatch(snapshot.description) if is_copy(snapshot) else None
    return found[2] if found is not None else None


def image_of_copy(snapshot: Snapshot) -> str:
    """Return the image for which CopyImage has made the snapshot, or an empty text. EC2 writes it into Description."""
    found = _OF_IMAGE.fullmatch(snapshot.description) if is_copy(snapshot) else None
    return found[1] if found is not None else ""


def is_taken_of(snapshot: Snapshot, volume_id: str) -> bool:
    """Return whether the snapshot was taken of this volume, as its own VolumeId shows. A copy has no such fact."""
    return bool(volume_id) and not is_copy(snapshot) and snapshot.volume_id == volume_id


@dataclass(frozen=True)
class CopyRecord:
    """The record in the Description of a copy, which `ids.copy_description` writes.

    ``instance``: the instance for the part of a set, or empty. ``original``: empty in records of the first versions,
    which also have no instance. ``taken``: the start time of the original, or None in records of earlier versions.
    ``account``: the account of the original. It is empty for a copy in the same account, in records of earlier
    versions, and if EC2 had no room. The other fields are those of `CaptureRecord`, as far as the original has them and
    EC2 has room.
    """

    policy: str
    volume: str
    instance: str
    original: str
    region: str
    taken: datetime | None = None
    volumes: int | None = None
    attached: str = ""
    slot: datetime | None = None
    account: str = ""


_FACTS = (
    r"(?:, (?P<volumes>[1-9][0-9]{0,2}) volumes)?(?:, attached to (?P<attached>i-[0-9a-f]+))?"
    r"(?:, slot (?P<slot>[0-9T:+-]+))?"
)
_COPY_RECORD = re.compile(
    r"(?P<policy>.+): (?P<volume>vol-[0-9a-f]+)(?: on (?P<instance>i-[0-9a-f]+))?"
    r"(?:, (?P<original>snap-[0-9a-f]+))?, from (?:(?P<account>[0-9]{12})/)?(?P<region>[a-z0-9-]+)"
    r"(?:, taken (?P<taken>[0-9TZ:.-]+))?" + _FACTS
)


@dataclass(frozen=True)
class CaptureRecord:
    """The record in the Description of an original, which `ids.capture_description` writes.

    ``policy`` is in ASCII. ``of``: a volume or an instance. ``volumes``: the planned number of the set's volumes, or
    None without a record. ``attached``: the instance that had the volume, or empty for none and for a set. ``slot``:
    the snapshot's slot, or None in records of earlier versions. ``lock``: the planned lock, or empty for none. The
    first versions wrote only the first two fields.
    """

    policy: str
    of: str
    volumes: int | None = None
    attached: str = ""
    slot: datetime | None = None
    lock: str = ""


_CAPTURE_RECORD = re.compile(
    r"(?P<policy>.+): (?P<of>vol-[0-9a-f]+|i-[0-9a-f]+)"
    + _FACTS
    + r"(?:, to be locked: (?P<lock>(?:governance|compliance) [0-9]+d))?"
)


def capture_record(snapshot: Snapshot) -> CaptureRecord | None:
    """Return the record that the run wrote into the snapshot's Description, or None.

    For a volume its VolumeId must agree. Another tool may write the same form, so ``policy`` may not be the name of a
    policy.
    """
    record = None if is_copy(snapshot) else _capture_record_in(snapshot.description)
    if record is None or (record.of.startswith("vol-") and record.of != snapshot.volume_id):
        return None
    return record


@lru_cache(maxsize=_REMEMBERED)
def _capture_record_in(description: str) -> CaptureRecord | None:
    found = _CAPTURE_RECORD.fullmatch(description)
    return (
        None if found is None else CaptureRecord(found["policy"], found["of"], *_facts_of(found), found["lock"] or "")
    )


def _facts_of(found: re.Match[str]) -> tuple[int | None, str, datetime | None]:
    """Return the number of volumes, the instance and the slot that a Description names."""
    volumes = int(found["volumes"]) if found["volumes"] else None
    return volumes, found["attached"] or "", parse_slot(found["slot"]) if found["slot"] else None


def copy_record(snapshot: Snapshot) -> CopyRecord | None:
    """Return the record that the run wrote into the copy's Description, or None for any other snapshot.

    CreateSnapshot, CreateSnapshots and CopySnapshot set the Description, and no operation of EC2 changes it later.
    Somebody who may call CopySnapshot can choose it, so that permission implies trust.
    """
    return _copy_record_in(snapshot.description) if is_copy(snapshot) else None


@lru_cache(maxsize=_REMEMBERED)
def _copy_record_in(description: str) -> CopyRecord | None:
    found = _COPY_RECORD.fullmatch(description)
    if found is None:
        return None
    policy, volume, instance, original, region, taken, account = (
        found[name] or "" for name in ("policy", "volume", "instance", "original", "region", "taken", "account")
    )
    return CopyRecord(policy, volume, instance, original, region, parse_instant(taken), *_facts_of(found), account)


def record_of(snapshot: Snapshot) -> CaptureRecord | CopyRecord | None:
    """Return the record in the Description of an original or of a copy, or None if no run wrote one."""
    return copy_record(snapshot) if is_copy(snapshot) else capture_record(snapshot)


def is_recorded_for(record: CaptureRecord | CopyRecord, policy: str) -> bool:
    """Return whether the Description names this policy.

    Different names that are not ASCII may look alike there. Records of earlier versions do not name such a policy.
    """
    return record.policy == policy_in_ascii(policy)


def taken_for(snapshot: Snapshot, policy: str) -> str:
    """Return the volume or the instance for which a run of *policy* took the snapshot, or an empty text.

    Its Description names it (see `copy_record`), and VolumeId must agree with a volume. A planned snapshot needs no
    proof, since this plan makes it.
    """
    if is_planned(snapshot.snapshot_id):
        return snapshot.tags.get(tag_names.SET, "").partition("/")[0] or snapshot.volume_id
    if is_copy(snapshot):
        return ""
    record = capture_record(snapshot)
    return record.of if record is not None and is_recorded_for(record, policy) else ""


def policy_named(snapshot: Snapshot) -> str:
    """Return the policy whose run took the snapshot, as its Description says, in ASCII, or an empty text."""
    record = capture_record(snapshot)
    return "" if record is None else record.policy


def instance_named(snapshot: Snapshot) -> str:
    """Return the instance that the Description of a set's part names, or an empty text for all other snapshots."""
    record = capture_record(snapshot)
    return record.of if record is not None and record.of.startswith("i-") else ""


def source_of(snapshot: Snapshot) -> str:
    """Return the source volume of the snapshot, or an empty text if it is unknown.

    VolumeId shows it for an original, and the `copy_record` for a copy. For any other copy only the tag `tags.SOURCE`
    does, which is a claim: `copy_misfit` compares it with the original.
    """
    if not is_copy(snapshot):
        return snapshot.volume_id
    record = copy_record(snapshot)
    return record.volume if record is not None else snapshot.tags.get(tag_names.SOURCE, "")


def time_of(snapshot: Snapshot) -> datetime | None:
    """Return when the snapshot's data was taken: StartTime, or for a copy the time in its Description, or else in its
    tag.

    The time of a copy is never after StartTime. Return None while EC2 shows no StartTime. A malformed tag
    (`tags.TAKEN`) counts as none. The tag is a claim: see `has_proven_time`.
    """
    record = copy_record(snapshot)
    claimed = parse_instant(snapshot.tags.get(tag_names.TAKEN, "")) if is_copy(snapshot) else None
    if record is not None and record.taken is not None:
        claimed = record.taken
    if claimed is None or snapshot.start_time is None:
        return snapshot.start_time
    return min(claimed, snapshot.start_time)


def has_proven_time(snapshot: Snapshot) -> bool:
    """Return whether `time_of` is a fact: StartTime of an original, and the time in a copy's Description.

    The copies of earlier versions have it only in a tag. Only their StartTime is a fact, and the data is older than
    that.
    """
    record = copy_record(snapshot)
    return not is_copy(snapshot) or (record is not None and record.taken is not None)


def copy_misfit(copy: Snapshot, original: Snapshot) -> str | None:
    """Return why *copy* cannot be a copy of *original*, as a phrase after its id, or None if all facts fit.

    The facts: EC2 must show it as a copy of the same size that began after its original, and encrypted if the original
    is.
    """
    if not is_copy(copy):
        return f"was taken of {copy.volume_id}, so it is not a copy of {original.snapshot_id}"
    # EC2 shows no size while a copy is pending.
    if copy.volume_size not in (0, original.volume_size):
        return f"has {copy.volume_size} GiB, and {original.snapshot_id} has {original.volume_size} GiB"
    if original.encrypted and not copy.encrypted and copy.state == "completed":
        return f"is not encrypted, and {original.snapshot_id} is"
    if copy.start_time is not None and original.start_time is not None and copy.start_time < original.start_time:
        return f"is older than {original.snapshot_id}"
    return None


class Purpose(Enum):
    """The purpose of the snapshot that a run takes of a detached volume, as the end of its Description shows it.

    ``SWAP``: the source of the volume's copy, without another use. ``LAST_SWAP``: the same in a swap that deletes the
    volume, so the snapshot is kept. ``FINAL``: the last snapshot before the volume is deleted. ``EARLIER_SWAP``: the
    text of the first versions for both kinds of swap, which does not show the kind.
    """

    SWAP = "temporary swap snapshot"
    LAST_SWAP = "final swap snapshot"
    FINAL = "final snapshot"
    EARLIER_SWAP = "swap snapshot"


def capture_note(purpose: Purpose, volume_id: str) -> str:
    """Return the end of the Description that a snapshot gets when a run takes it of a detached volume."""
    return f"{purpose.value} of {volume_id}"


def purpose_of(snapshot: Snapshot, volume_id: str) -> Purpose | None:
    """Return the purpose for which a run took the snapshot of this detached volume, or None if no run did.

    VolumeId proves the volume. Description proves the purpose, since only CreateSnapshot sets it and no call changes it
    later. Somebody who may call CreateSnapshot can choose it.
    """
    if not is_taken_of(snapshot, volume_id):
        return None
    return next(
        (item for item in Purpose if snapshot.description.endswith(f": {capture_note(item, volume_id)}")),
        None,
    )


def is_swap_snapshot(snapshot: Snapshot, volume_id: str) -> bool:
    """Return whether a run took the snapshot of the detached volume, to make the volume's copy from it.

    Return True for a planned snapshot of the volume, since this plan makes it.
    """
    if is_planned(snapshot.snapshot_id):
        return is_taken_of(snapshot, volume_id)
    return purpose_of(snapshot, volume_id) in (Purpose.SWAP, Purpose.LAST_SWAP, Purpose.EARLIER_SWAP)


def is_temporary(snapshot: Snapshot, volume_id: str) -> bool:
    """Return whether a run took the snapshot of the volume only for its copy, so that it is superfluous after the swap.

    The final snapshot of a volume that a swap has deleted is not temporary. Nor is a swap snapshot of the first
    versions, since its kind is unknown.
    """
    return purpose_of(snapshot, volume_id) is Purpose.SWAP


def is_last_snapshot(snapshot: Snapshot, volume_id: str) -> bool:
    """Return whether a run took this snapshot of the detached volume, as the final one or to make the volume's copy.

    A backup of the same volume does not count. Only the run that took the snapshot knows whether a write came after it.
    EC2 does not show when a volume was attached.
    """
    if is_planned(snapshot.snapshot_id):
        return is_taken_of(snapshot, volume_id)
    return purpose_of(snapshot, volume_id) is not None


def is_superseded(snapshot: Snapshot, volume_id: str, by: datetime) -> bool:
    """Return whether a run may delete the snapshot once a newer final one of the same volume, taken at *by*, is
    complete.

    A temporary snapshot has no further use. Any other one must come from a run that was interrupted a short time
    before. An older one may be the only record of its time, and its tag proves nothing.
    """
    if not is_last_snapshot(snapshot, volume_id):
        return False
    return is_recent(snapshot, by) or is_temporary(snapshot, volume_id)


def is_recent(snapshot: Snapshot, by: datetime) -> bool:
    """Return whether a run that was interrupted a short time before *by* may have taken the snapshot."""
    return snapshot.start_time is not None and snapshot.start_time >= by - SUPERSEDED_WITHIN


# --- volumes and images ----------------------------------------------------------------------------------------------


def replacement_misfit(new: Volume, old: Volume, snapshot: Snapshot | None) -> str | None:
    """Return why *new* cannot be the copy that a swap made of *old*, as a phrase after its id, or None if all facts
    fit.

    *snapshot*: the one that SnapshotId of *new* names, or None if EC2 no longer shows it. Then all facts fit, but prove
    nothing: see `is_replacement`.
    """
    if is_planned(new.volume_id):
        return None
    if not new.snapshot_id:
        return "was not made from a snapshot"
    if snapshot is None:
        return None
    if not is_taken_of(snapshot, old.volume_id):
        return f"was made from {snapshot.snapshot_id}, which is not a snapshot of {old.volume_id}"
    if not is_made_from(new, [snapshot]):
        return f"is older than {snapshot.snapshot_id}"
    return None


def is_replacement(new: Volume, old: Volume, snapshot: Snapshot | None) -> bool:
    """Return whether a swap made *new* as the copy of *old*, from the snapshot that a run took of *old* for the swap.

    A volume that somebody made from a backup of *old* does not count.
    """
    if is_planned(new.volume_id):
        return True
    return snapshot is not None and is_swap_snapshot(snapshot, old.volume_id) and is_made_from(new, [snapshot])


def is_made_from(volume: Volume, snapshots: Iterable[Snapshot]) -> bool:
    """Return whether the volume was made from one of these snapshots. Its SnapshotId must name the snapshot, and the
    volume must not be older.

    Return True for a planned volume, since this plan makes it.
    """
    if is_planned(volume.volume_id):
        return True
    return any(
        volume.snapshot_id == snapshot.snapshot_id
        and (volume.create_time is None or snapshot.start_time is None or volume.create_time >= snapshot.start_time)
        for snapshot in snapshots
    )


# EC2's Description of the snapshots of a CreateImage.
_CREATED = re.compile(r"Created by CreateImage\(i-[0-9a-f]+\) for (ami-[0-9a-f]+).*")


def created_for(snapshot: Snapshot) -> str:
    """Return the image for which a CreateImage took the snapshot, as EC2 writes in its Description, or an
    empty text.
    """
    found = None if is_copy(snapshot) else _CREATED.fullmatch(snapshot.description)
    return found[1] if found else ""


def is_image_of(image: Image, snapshots: Iterable[Snapshot], volume_ids: Iterable[str]) -> bool:
    """Return whether the image was made from these volumes: EC2 must show that each snapshot of the image was taken of
    one of these volumes.

    *snapshots* are those of the image's devices. An image without snapshots is not proven. An image of CopyImage has
    copies, so it is never proven.
    """
    known = {snapshot.snapshot_id: snapshot for snapshot in snapshots}
    volumes = frozenset(volume_ids)
    parts = [known.get(snapshot_id) for snapshot_id in image.snapshot_ids]
    return bool(parts) and all(
        part is not None and any(is_taken_of(part, volume_id) for volume_id in volumes) for part in parts
    )
