# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the volume of each entry of `ebs_volume_spec`, and the place that the entry wants for it.

The tags ``ec2ops:spec`` and ``ec2ops:volume`` identify a volume. Without them, its id in the entry does, or its
attachment at the entry's device. During a swap there are two volumes; the phase of the swap decides which counts.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ..._domain.device_names import device_letters
from ..._domain.succession import successor, successor_queries
from ..._kernel import proofs
from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous, SpecError, StorageError, UnsafePlan, listed
from ..._kernel.ids import kind_of
from ..._kernel.resources import Instance, Volume, VolumeAttachment
from ..._kernel.state import Query, State, by_id
from .spec import PLACE_OF_ZONE, ROOT, VolumeSpec, VolumesSpec

_GOING = ("deleting", "deleted")


@dataclass(frozen=True)
class Target:
    """The wanted place of an entry's volume: attached to each of ``instances``, or unattached in
    ``zone`` without any.
    """

    spec: VolumeSpec
    group: str
    instances: tuple[Instance, ...]
    zone: str

    @property
    def instance_ids(self) -> frozenset[str]:
        """The ids of ``instances``."""
        return frozenset(instance.instance_id for instance in self.instances)

    @property
    def label(self) -> str:
        """The entry and the instance, for messages: ``volumes[0] (data) of i-…``."""
        if len(self.instances) == 1:
            return f"{self.spec.label} of {self.instances[0].instance_id}"
        return f"{self.spec.label} of {self.group}"


@dataclass(frozen=True)
class Match:
    """The volumes that a target may stand for.

    ``name``: the value of ``ec2ops:volume``. ``volume``: the one that counts, None when there is none. ``how``:
    ``tags``, ``volume_id``, ``device`` or ``root``. ``replaced``: what ``volume`` has come in place of, in swaps
    that are not finished, the latest first. ``stale``: made by a run that did not end, and of no use any more.
    ``copies``: other volumes with the entry's tags, where ``volume_id`` or its place says which one is the entry's.
    ``proven``: ids of those in ``replaced`` of which EC2 shows that a swap made a copy. ``doubts``: tags that no fact
    agrees with, as warnings. ``unproven``: the entry names another volume, and only tags say that ``volume`` has
    replaced it; then nothing but tags of it is changed. ``refused``: why tags leave open what the entry stands for;
    the other entries are carried out.
    """

    target: Target
    name: str
    volume: Volume | None = None
    how: str = "tags"
    replaced: tuple[Volume, ...] = ()
    stale: tuple[Volume, ...] = ()
    copies: tuple[Volume, ...] = ()
    proven: frozenset[str] = frozenset()
    doubts: tuple[str, ...] = ()
    unproven: bool = False
    refused: StorageError | None = None

    @property
    def here(self) -> bool:
        """The volume is attached to an instance of the target."""
        return self.volume is not None and is_at(self.target, self.volume)

    @property
    def old(self) -> Volume | None:
        """The volume that ``volume`` replaces in an unfinished swap."""
        return self.replaced[0] if self.replaced else None

    @property
    def is_told_by_tags(self) -> bool:
        """Only tags say which volume is the entry's, or that it has none."""
        return self.unproven or self.how == "tags"

    @property
    def is_root(self) -> bool:
        """The volume is one that an instance boots from."""
        return self.volume is not None and self.how == "root"


def first_queries(spec: VolumesSpec) -> tuple[Query, ...]:
    """Return all queries for the match: the instances, their volumes, the tagged volumes, the named volumes."""
    groups = (spec.group,) if spec.group is not None else spec.instance_ids
    named = [volume.volume_id for volume in spec.volumes if volume.volume_id is not None]
    replacing = tuple(f"*{volume_id}*" for volume_id in sorted(named))
    return (
        *by_id("DescribeInstances", "instance-id", spec.instance_ids),
        *by_id("DescribeVolumes", "attachment.instance-id", spec.instance_ids),
        *by_id("DescribeVolumes", f"tag:{tag_names.SPEC}", groups),
        *by_id("DescribeVolumes", "volume-id", named),
        *((Query("DescribeVolumes", ((f"tag:{tag_names.REPLACES}", replacing),)),) if replacing else ()),
    )


def proof_queries(spec: VolumesSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for the snapshots that prove copies: of unfinished swaps, and of volumes that claim to be
    copies.

    A finished swap that kept the replaced volume has no snapshot any more, and the volume is detached and marked. It
    needs no query. If the swap deleted it, its final snapshot proves the copy of a volume that an entry names.
    """
    known = _Volumes(state)
    open_claims = [
        new.snapshot_id or ""
        for old_id, several in known.claims.items()
        for new in several
        if (old := known.get(old_id)) is not None and not _is_finished(old, new)
    ]
    open_claims += [
        new.snapshot_id or ""
        for entry in spec.volumes
        if entry.volume_id is not None and known.get(entry.volume_id) is None
        for new in known.claims[entry.volume_id]
    ]
    return by_id("DescribeSnapshots", "snapshot-id", open_claims)


def _is_finished(old: Volume, new: Volume) -> bool:
    """Return whether a swap's last tags are written: *old* names *new*, is detached, and has no declaration."""
    left = {tag_names.SPEC, *tag_names.WAS_AT}.intersection(old.tags)
    return old.tags.get(tag_names.REPLACED_BY) == new.volume_id and not left and not old.attachments


def is_at(target: Target, volume: Volume) -> bool:
    """Return whether the volume is attached to an instance of the target, and stays there."""
    wanted = {instance.instance_id for instance in target.instances}
    return any(link.instance_id in wanted and not link.leaving for link in volume.attachments)


def gone_queries(spec: VolumesSpec, state: State) -> tuple[Query, ...]:
    """Return the query for the successors of instances that no longer exist, if any."""
    found = {item: state.instance(item) for item in spec.instance_ids}
    return successor_queries(item for item, instance in found.items() if instance is None or not instance.alive)


def targets(spec: VolumesSpec, state: State) -> tuple[Target, ...]:
    """Return the entries on their instances, in the order of ``instance_ids`` and ``volumes``.

    Raises SpecError for instances that do not exist or are terminating, and for a shared volume across zones.
    """
    if spec.availability_zone is not None:
        return tuple(Target(volume, spec.group or "", (), spec.availability_zone) for volume in spec.volumes)
    instances = [_instance(state, instance_id) for instance_id in spec.instance_ids]
    if spec.shared:
        zones = sorted({instance.availability_zone for instance in instances})
        if len(zones) > 1:
            raise SpecError(
                "instance_ids: a multi_attach volume is attached within one zone, but these instances are in "
                f"{', '.join(zones)}"
            )
        return tuple(Target(volume, spec.group or "", tuple(instances), zones[0]) for volume in spec.volumes)
    return tuple(
        Target(volume, spec.group or instance.instance_id, (instance,), instance.availability_zone)
        for instance in instances
        for volume in spec.volumes
    )


def _instance(state: State, instance_id: str) -> Instance:
    found = state.instance(instance_id)
    if found is None or not found.alive:
        heir = successor(state, instance_id)
        if heir is not None:
            raise SpecError(f"instance_ids: {replaced_by(instance_id, heir)}")
    if found is None:
        raise SpecError(f"instance_ids: {instance_id} does not exist in {state.region}. Check the id and the region")
    if not found.alive:
        raise SpecError(f"instance_ids: {instance_id} is {found.state}. Name a living instance")
    return found


def replaced_by(instance_id: str, heir: Instance) -> str:
    """Return the sentence that *heir* has replaced the instance, with the remedy.

    The successor is not followed. It has none of these volumes, so empty ones would be made for it.
    """
    return (
        f"{instance_id} was replaced by {heir.instance_id}, which is {heir.state}. Name {heir.instance_id} in "
        f"instance_ids. With spec: {instance_id}, or the spec that the task has, the volumes that are declared for "
        f"{instance_id} move there once they are detached from it"
    )


def matches(spec: VolumesSpec, state: State) -> tuple[Match, ...]:
    """Return the match of each target. If tags leave an entry's volume open, only that entry is refused.

    Raises SpecError for bad input, and UnsafePlan for a named volume that somebody else has.
    """
    known = _Volumes(state)
    found = _adopted(_refusing(target, partial(_match, target, known)) for target in targets(spec, state))
    if spec.move:
        found = tuple(_with_own_group(match) for match in found if not _has_arrived(match))
    found = _with_one_name_each(found)
    found = tuple(
        match if match.refused else _refusing(match.target, partial(_told_from_copies, match, known), match.name)
        for match in found
    )
    found = _claimed_once(found)
    return found if spec.steal else tuple(_ours(match, state) for match in found)


_OF_A_PLACE = re.compile(rf"(?:i-[0-9a-f]+|{PLACE_OF_ZONE}.*)?", re.DOTALL)


def _with_own_group(match: Match) -> Match:
    """Return the match of a moved volume in the declaration that it keeps.

    A volume without a declaration, or with one named after an instance or a zone, changes hands with the move. Any
    other declaration goes with the volume.
    """
    group = match.volume.tags.get(tag_names.SPEC, "") if match.volume is not None else ""
    if _OF_A_PLACE.fullmatch(group):
        return match
    return dataclasses.replace(match, target=dataclasses.replace(match.target, group=group))


def _has_arrived(match: Match) -> bool:
    """Return whether a volume that moves to a zone is already attached there, so that somebody uses it."""
    volume, target = match.volume, match.target
    there = volume is not None and volume.availability_zone == target.zone and bool(volume.attachments)
    return there and not target.instances


def kept_group_queries(spec: VolumesSpec, state: State) -> tuple[Query, ...]:
    """Return the query for the other volumes of the declarations that moved volumes keep."""
    if not spec.move:
        return ()
    asked = {spec.group, *spec.instance_ids}
    groups = {match.target.group for match in matches(dataclasses.replace(spec, steal=True), state)}
    return by_id("DescribeVolumes", f"tag:{tag_names.SPEC}", sorted(groups - asked))


def _refusing(target: Target, find: Callable[[], Match], name: str = "") -> Match:
    """Return the match of *find*, or a refused match if it refuses the entry. Raises SpecError for bad input."""
    try:
        return find()
    except (Ambiguous, UnsafePlan) as error:
        return Match(target, name or target.spec.name or target.spec.volume_id or "", refused=error)


def _claimed_once(found: Iterable[Match]) -> tuple[Match, ...]:
    """Refuse an entry that only tags lead to a volume of another entry. Raises SpecError where both name it."""
    several = list(found)
    claimed: dict[str, int] = {}
    # The surest first; of several as sure, the first of the declaration.
    for number in sorted(range(len(several)), key=lambda number: -_sureness(several[number])):
        match = several[number]
        volumes = (match.volume, *match.replaced, *match.stale) if match.volume is not None else ()
        taken = next((item for item in volumes if item.volume_id in claimed), None)
        if taken is None:
            claimed.update((volume.volume_id, number) for volume in volumes)
            continue
        other = several[claimed[taken.volume_id]].target
        error = SpecError(f"{match.target.label}: {other.label} names {taken.volume_id} too")
        if _sureness(match) > _BY_TAGS:
            raise error
        several[number] = Match(match.target, match.name, doubts=match.doubts, refused=error)
    return tuple(several)


_UNPROVEN, _BY_TAGS, _BY_FACTS = range(3)


def _sureness(match: Match) -> int:
    """Return how sure the match is: by an unproven claim, by its tags, or by a fact."""
    return _UNPROVEN if match.unproven else _BY_TAGS if match.how == "tags" else _BY_FACTS


def _ours(match: Match, state: State) -> Match:
    """Return the match, refused if its volume belongs to somebody else. Raises UnsafePlan if the entry names it."""
    try:
        _require_ours(match, state)
    except UnsafePlan as error:
        spec, volume = match.target.spec, match.volume
        tagged = volume is not None and volume.tags.get(tag_names.SPEC) not in (None, match.target.group)
        named = volume is not None and match.how == "volume_id" and volume.volume_id == spec.volume_id
        if named and not tagged:
            raise
        return Match(match.target, match.name, doubts=match.doubts, refused=error)
    return match


def _adopted(found: Iterable[Match]) -> tuple[Match, ...]:
    """Do not adopt a volume at an entry's device if its tags or its id lead to another entry."""
    several = tuple(found)
    known = {match.volume.volume_id for match in several if match.volume is not None and match.how != "device"}
    return tuple(
        Match(match.target, match.name)
        if match.how == "device" and match.volume is not None and match.volume.volume_id in known
        else match
        for match in several
    )


def _with_one_name_each(found: Iterable[Match]) -> tuple[Match, ...]:
    """Refuse an entry with a name from its volume's tag that another entry has. Raises SpecError if both give it."""
    several = list(found)
    called: dict[tuple[str, str], int] = {}
    for number, match in enumerate(several):
        holder = called.setdefault((match.target.group, match.name), number)
        if holder == number:
            continue
        other = several[holder]
        by_tag = holder if match.target.spec.name is not None and other.target.spec.name is None else number
        later, first = (other, match) if by_tag == holder else (match, other)
        error = SpecError(f"{later.target.label}: {first.target.label} has the name {later.name} too")
        if later.target.spec.name is not None:
            raise error
        several[by_tag] = Match(later.target, later.name, doubts=later.doubts, refused=error)
        called[match.target.group, match.name] = number if by_tag == holder else holder
    return tuple(several)


def _told_from_copies(match: Match, known: _Volumes) -> Match:
    """Return the match of an entry with a ``volume_id``, with the other volumes that carry the entry's tags.

    They are copies where the named volume carries these tags itself. Raises Ambiguous where the id and the tags lead to
    different volumes.
    """
    volume, identity = match.volume, (match.target.group, match.name)
    if match.target.spec.volume_id is None or volume is None:
        return match
    family = {
        match.target.spec.volume_id,
        volume.volume_id,
        *tag_names.replaced_ids(volume.tags),
        *(stale.volume_id for stale in match.stale),
        # What only claims to have replaced the named one is told apart by that.
        *(claim.volume_id for claim in known.claims[match.target.spec.volume_id]),
    }
    rivals = [
        rival
        for rival in known.tagged[identity]
        if rival.volume_id not in family and not known.is_replaced(match.target, rival)
    ]
    if not rivals:
        return match
    if (volume.tags.get(tag_names.SPEC), volume.tags.get(tag_names.VOLUME)) == identity:
        return dataclasses.replace(match, copies=tuple(rivals))
    raise Ambiguous(
        f"{match.target.label}: {volume.volume_id} would be the second volume with "
        f"{tag_names.SPEC}={match.target.group} and {tag_names.VOLUME}={match.name}. Give it another name with name, "
        "volume_move_names of the role volume_move, or move_volumes_names of the playbook",
        sorted(item.volume_id for item in (volume, *rivals)),
    )


class _Volumes:
    """The state's volumes by tags, by device, and by the volumes that they claim to replace."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.tagged: dict[tuple[str, str], list[Volume]] = defaultdict(list)
        self.claims: dict[str, list[Volume]] = defaultdict(list)
        self._at: dict[tuple[str, str], list[Volume]] = defaultdict(list)
        for volume in state.all(Volume):
            if volume.state in _GOING:
                continue
            if tag_names.SPEC in volume.tags and tag_names.VOLUME in volume.tags:
                self.tagged[volume.tags[tag_names.SPEC], volume.tags[tag_names.VOLUME]].append(volume)
            for older in tag_names.replaced_ids(volume.tags):
                self.claims[older].append(volume)
            for link in volume.attachments:
                self._at[link.instance_id, device_letters(link.device_name)].append(volume)

    def at(self, instance_id: str, device: str) -> list[Volume]:
        """Return the volumes at the device, under either of its names."""
        return self._at.get((instance_id, device_letters(device)), [])

    def get(self, volume_id: str) -> Volume | None:
        """Return the volume of that id, unless it is being deleted."""
        found = self.state.volume(volume_id)
        return None if found is None or found.state in _GOING else found

    def is_proven(self, new: Volume, old: Volume) -> bool:
        """Return whether EC2 shows that a swap made *new* as the copy of *old*."""
        return proofs.is_replacement(new, old, self.state.snapshot(new.snapshot_id))

    def has_proven_copy(self, old: Volume) -> bool:
        """Return whether EC2 shows a copy of *old* that a swap made."""
        return any(self.is_proven(new, old) for new in self.claims[old.volume_id])

    def doubt(self, target: Target, new: Volume, old_id: str) -> str | None:
        """Return why *new* does not count as the replacement of *old_id*, as a phrase after its id, or None if it
        counts.

        EC2 must not contradict the claim. If EC2 proves nothing, since the swap's snapshot is gone, *new* counts while
        it is attached. Of two detached volumes it counts if the other one is marked as replaced by it.
        """
        old = self.get(old_id)
        if old is None or self.is_proven(new, old):
            return None
        direct = tag_names.replaced_ids(new.tags)[0] == old_id
        misfit = proofs.replacement_misfit(new, old, self.state.snapshot(new.snapshot_id)) if direct else None
        if misfit is not None:
            return misfit
        unproven = "is not proven to be its copy: EC2 shows no swap snapshot that it was made from"
        if is_at(target, old) and not is_at(target, new):
            return unproven
        # Two in its place, or one that is attached elsewhere, are left to the user: see `_pair`.
        if new.attachments if direct else is_at(target, new):
            return None
        marked = old.tags.get(tag_names.REPLACED_BY)
        between = new if marked == new.volume_id else self.get(marked or "")
        # A copy of a copy stands for the first one too, which its own copy has replaced.
        follows = marked is not None if between is None else old_id in tag_names.replaced_ids(between.tags)
        if follows and not old.attachments and (not direct or between is new):
            return None
        return unproven

    def is_sure(self, new: Volume, old_id: str) -> bool:
        """Return whether EC2 shows that a swap made *new* as the copy of the volume of that id, which may be gone."""
        return self.is_proven(new, self.get(old_id) or Volume(old_id))

    def is_stray(self, volume: Volume) -> bool:
        """Return whether the volume has the tag of an unfinished swap of a volume that is gone."""
        swapped = volume.tags.get(tag_names.SWAP)
        return swapped is not None and not volume.attachments and self.get(swapped) is None

    def replacements(self, target: Target, old_id: str) -> list[Volume]:
        """Return the volumes whose claim to replace *old_id* counts."""
        return [new for new in self.claims[old_id] if self.doubt(target, new, old_id) is None]

    def is_replaced(self, target: Target, volume: Volume) -> bool:
        """Return whether the volume's mark as replaced counts.

        The mark must be an id. For a volume at its place it counts only if its replacement is there too.
        """
        mark = volume.tags.get(tag_names.REPLACED_BY)
        if mark is None or kind_of(mark) != "volume":
            return False
        new = self.get(mark)
        if new is None:
            return not is_at(target, volume)
        return new in self.replacements(target, volume.volume_id)

    def doubts(self, target: Target, several: Iterable[Volume]) -> Iterator[str]:
        """Yield warnings for tags of these volumes that no fact supports."""
        for volume in several:
            for old_id in tag_names.replaced_ids(volume.tags):
                doubt = self.doubt(target, volume, old_id)
                if doubt is not None:
                    yield (
                        f"{target.label}: {volume.volume_id} carries {tag_names.REPLACES}={old_id} and {doubt}. It is "
                        f"left as it is. Remove its tag {tag_names.REPLACES}"
                    )
            if tag_names.REPLACED_BY in volume.tags and not self.is_replaced(target, volume):
                yield (
                    f"{target.label}: {volume.volume_id} carries {tag_names.REPLACED_BY}="
                    f"{volume.tags[tag_names.REPLACED_BY]}, and no such replacement is proven. It counts as not "
                    f"replaced. Remove its tag {tag_names.REPLACED_BY}"
                )


def _match(target: Target, known: _Volumes) -> Match:
    spec = target.spec
    if spec.name == ROOT:
        return _root(target, known)
    if spec.volume_id is not None:
        return _named(target, known, spec.volume_id)
    name = spec.name or ""
    tagged = known.tagged[target.group, name]
    if tagged:
        return _tagged(target, name, tagged, known)
    there = {
        volume.volume_id: volume
        for instance in target.instances
        if spec.device_name is not None
        for volume in known.at(instance.instance_id, spec.device_name)
    }
    if len(there) > 1:
        raise Ambiguous(f"{target.label}: several volumes are at {spec.device_name}", sorted(there))
    for volume in there.values():
        if spec.state != "present" and not _boots(target, volume):
            return _unadopted(target, name, volume)
        return Match(target, name, volume, "root" if _boots(target, volume) else "device")
    return Match(target, name)


def _unadopted(target: Target, name: str, volume: Volume) -> Match:
    """Return the warning about a volume at the device that is not known as this entry's. It may have come after the
    entry's own.
    """
    if tag_names.SPEC in volume.tags:
        return Match(target, name)
    raise UnsafePlan(
        f"{target.label}: state: {target.spec.state}: {volume.volume_id} is at {target.spec.device_name}, but "
        f"nothing shows that it is {name}. Name it by its volume_id"
    )


def boots(instance: Instance, volume: Volume) -> bool:
    """Return whether the instance boots from the volume. A pending instance may not list its volumes yet."""
    return instance.root_volume_id == volume.volume_id or any(
        (link.instance_id, link.device_name) == (instance.instance_id, instance.root_device_name)
        for link in volume.attachments
    )


def _boots(target: Target, volume: Volume) -> bool:
    return any(boots(instance, volume) for instance in target.instances)


def _root(target: Target, known: _Volumes) -> Match:
    (instance,) = target.instances
    there = known.at(instance.instance_id, instance.root_device_name)
    volume = known.get(instance.root_volume_id or "") or next(iter(there), None)
    if volume is None:
        raise SpecError(f"{target.label}: {instance.instance_id} has no EBS volume at its root device")
    return Match(target, ROOT, volume, "root")


def _tagged(target: Target, name: str, tagged: Sequence[Volume], known: _Volumes) -> Match:
    """Return the match among the volumes with the entry's tags: one that is not replaced, preferably at its place."""
    doubts = tuple(known.doubts(target, tagged))
    others = [volume for volume in tagged if _is_no_restore(target, volume)]
    tagged = [volume for volume in tagged if volume not in others]
    doubts += tuple(
        f"{target.label}: {volume.volume_id} has the tag {tag_names.SPEC}={target.group}, but was not made from "
        f"{target.spec.snapshot_id}. It stays as it is. Remove its tag {tag_names.SPEC}"
        for volume in others
    )
    present = [volume for volume in tagged if not known.is_replaced(target, volume)]
    if target.spec.state == "absent":
        strays = [volume for volume in present if known.is_stray(volume)]
        present = [volume for volume in present if volume not in strays]
        doubts += tuple(
            f"{target.label}: {volume.volume_id} has the tag {tag_names.SWAP}={volume.tags[tag_names.SWAP]}, but "
            "nothing proves that a swap made it. It is kept. Delete it yourself, or remove that tag"
            for volume in strays
        )
    newest = _newest(target, present, known)
    here = [volume for volume in newest if is_at(target, volume)]
    copies: tuple[Volume, ...] = ()
    if len(newest) > 1 and len(here) == 1 and target.spec.state != "absent":
        copies = tuple(volume for volume in newest if volume is not here[0])
        newest = here
    if len(newest) > 1:
        raise _several(target, name, newest)
    if not newest and present:
        raise _several(target, name, present)
    if not newest and tagged and target.spec.state == "present":
        raise _lost_replacement(target, tagged)
    if not newest:
        return Match(target, name, doubts=doubts)
    (volume,) = newest
    unsure = [
        old
        for old in tagged
        if old is not volume
        and (known.is_replaced(target, old) or volume in known.replacements(target, old.volume_id))
        and not known.has_proven_copy(old)
    ]
    if unsure and not is_at(target, volume):
        raise _several(target, name, [*unsure, volume])
    replaced = [
        old
        for old in tagged
        if volume in known.replacements(target, old.volume_id)
        or (old.tags.get(tag_names.REPLACED_BY) == volume.volume_id and known.is_replaced(target, old))
    ]
    how = "root" if _boots(target, volume) else "tags"
    match = _pair(target, name, replaced, volume, how, known)
    return dataclasses.replace(match, copies=copies, doubts=doubts)


def _is_no_restore(target: Target, volume: Volume) -> bool:
    """Return whether the volume has the tags of a restore from the entry's snapshot, but was made from another one.

    The role restore names the snapshot only in its first run.
    """
    of_a_restore = target.group.startswith(tag_names.RESTORES)
    wanted = target.spec.snapshot_id
    return of_a_restore and wanted is not None and volume.snapshot_id != wanted and not is_at(target, volume)


def _lost_replacement(target: Target, marked: Sequence[Volume]) -> Ambiguous:
    new_ids = listed(dict.fromkeys(volume.tags[tag_names.REPLACED_BY] for volume in marked))
    return Ambiguous(
        f"{target.label}: a tag says that {new_ids} has replaced it, but {new_ids} does not exist. To go back to the "
        f"replaced volume, remove its tag {tag_names.REPLACED_BY}",
        sorted(volume.volume_id for volume in marked),
    )


def _several(target: Target, name: str, found: Iterable[Volume]) -> Ambiguous:
    return Ambiguous(
        f"{target.label}: several volumes have the tags {tag_names.SPEC}={target.group} and "
        f"{tag_names.VOLUME}={name}. Remove these tags from the wrong ones, or name the right one in volume_id",
        sorted(volume.volume_id for volume in found),
    )


def _named(target: Target, known: _Volumes, volume_id: str) -> Match:
    """Return the match for a volume's id: the volume itself, or the one that has replaced it."""
    volume = known.get(volume_id)
    doubts = tuple(known.doubts(target, [*([volume] if volume is not None else []), *known.claims[volume_id]]))
    heirs = [heir for heir in known.replacements(target, volume_id) if not known.is_replaced(target, heir)]
    heirs = _newest(target, heirs, known)
    if len(heirs) > 1:
        raise Ambiguous(
            f"{target.label}: several volumes have replaced {volume_id}",
            sorted(item.volume_id for item in heirs),
        )
    first = heirs[0] if heirs else volume
    if first is None:
        if target.spec.state == "present":
            raise SpecError(f"{target.label}: volume_id: {volume_id} does not exist. Check the id and the region")
        return Match(target, target.spec.name or volume_id, how="volume_id")
    name = target.spec.name or first.tags.get(tag_names.VOLUME) or volume_id
    if heirs and target.spec.state == "absent" and not known.is_sure(first, volume_id):
        kept = (
            f"{target.label}: {first.volume_id} carries {tag_names.REPLACES}={volume_id}, which nothing proves any "
            f"more. It is not deleted. Name {first.volume_id} to delete it"
        )
        return Match(target, name, how="volume_id", doubts=(*doubts, kept))
    if heirs:
        older = [known.get(older_id) for older_id in tag_names.replaced_ids(first.tags)]
        counted = [old for old in older if old is not None and known.doubt(target, first, old.volume_id) is None]
        match = _pair(target, name, counted, first, "volume_id", known)
        if match.volume is not first or known.is_sure(first, volume_id):
            return dataclasses.replace(match, doubts=doubts)
        unproven = (
            f"{target.label}: the tag {tag_names.REPLACES} says that {first.volume_id} has replaced {volume_id}, and "
            f"nothing proves that any more. {first.volume_id} is left as it is. Name it by its own id"
        )
        return dataclasses.replace(match, doubts=(*doubts, unproven), unproven=True)
    if known.is_replaced(target, first):
        if target.spec.state != "present":
            return Match(target, name, how="volume_id", doubts=doubts)
        error = SpecError(
            f"{target.label}: volume_id: {volume_id} was replaced by {first.tags[tag_names.REPLACED_BY]}, which "
            f"does not exist any more. To go back to {volume_id}, remove its tag {tag_names.REPLACED_BY}"
        )
        return Match(target, name, how="volume_id", refused=error)
    return Match(target, name, first, "root" if _boots(target, first) else "volume_id", doubts=doubts)


def _newest(target: Target, volumes: Iterable[Volume], known: _Volumes) -> list[Volume]:
    """Return the volumes that no other one replaces, without those whose own claim to replace one is void."""
    several = list(volumes)
    ids = {volume.volume_id for volume in several}
    out: set[str] = set()
    for volume in several:
        for old_id in ids.intersection(tag_names.replaced_ids(volume.tags)):
            counts = known.doubt(target, volume, old_id) is None
            out.add(old_id if counts else volume.volume_id)
    return [volume for volume in several if volume.volume_id not in out]


def _pair(target: Target, name: str, replaced: Iterable[Volume], new: Volume, how: str, known: _Volumes) -> Match:
    """Return the match out of a replaced volume and its replacement.

    The new volume counts once it has the old one's place, or while it can still take it. It cannot if the old one is
    attached again, since that has newer writes. Then the new one is superfluous.
    """
    order = {volume_id: number for number, volume_id in enumerate(tag_names.replaced_ids(new.tags))}
    unfinished = sorted(
        (
            old
            for old in replaced
            if tag_names.REPLACED_BY not in old.tags or {tag_names.SPEC, *tag_names.WAS_AT}.intersection(old.tags)
        ),
        key=lambda old: order.get(old.volume_id, len(order)),
    )
    proven = frozenset(old.volume_id for old in unfinished if known.has_proven_copy(old))
    old = unfinished[0] if unfinished else None
    if old is None or known.is_replaced(target, old):
        return Match(target, name, new, how, tuple(unfinished), proven=proven)
    # What never was in the old one's place still says so.
    begun = tag_names.SWAP in new.tags
    if old.attachments and (new.attachments or not begun):
        raise Ambiguous(
            f"{target.label}: {new.volume_id} has replaced {old.volume_id}, but {old.volume_id} is attached again. "
            f"Detach the wrong one, and tag it {tag_names.REPLACED_BY} with the id of the other",
            [old.volume_id, new.volume_id],
        )
    if new.attachments and not is_at(target, new) and old.volume_id not in proven:
        raise Ambiguous(
            f"{target.label}: {new.volume_id} is attached elsewhere, and EC2 does not prove that it has replaced "
            f"{old.volume_id}. Tag the wrong one {tag_names.REPLACED_BY} with the id of the other",
            [old.volume_id, new.volume_id],
        )
    leaving = target.spec.state != "present" and not new.attachments and begun
    if old.attachments or leaving:
        stale = (new,) if old.volume_id in proven else ()
        return Match(target, name, old, how, tuple(unfinished[1:]), stale, proven=proven)
    return Match(target, name, new, how, tuple(unfinished), proven=proven)


# --- whose it is -----------------------------------------------------------------------------------------------------


def strangers(match: Match, state: State) -> Iterator[VolumeAttachment]:
    """Yield the volume's attachments to living instances that the target does not name.

    Those instances share a Multi-Attach volume of the same declaration, so nothing is taken from them unless it is to
    be absent. To be detached, it leaves only the named instances, as a node leaves a cluster.
    """
    volume = match.volume
    if volume is None or match.is_root:
        return
    state_wanted = match.target.spec.state
    member = match.how == "tags" or (
        # By its id a volume is moved to another instance, all of it.
        state_wanted == "detached" and volume.tags.get(tag_names.SPEC) == match.target.group
    )
    if volume.multi_attach_enabled and match.target.instances and member and state_wanted != "absent":
        return
    wanted = {instance.instance_id for instance in match.target.instances}
    for link in volume.attachments:
        holder = state.instance(link.instance_id)
        if link.instance_id not in wanted and (holder is None or holder.alive):
            yield link


def _require_ours(match: Match, state: State) -> None:
    volume, target = match.volume, match.target
    if volume is None or target.spec.name == ROOT:
        return
    spec, name = volume.tags.get(tag_names.SPEC), volume.tags.get(tag_names.VOLUME)
    if spec == target.group and match.how == "device" and name != match.name:
        raise UnsafePlan(
            f"{target.label}: {volume.volume_id} at {target.spec.device_name} is the volume {name!r} of the same "
            f"declaration. Call the entry {name!r}, add volume_id: {volume.volume_id} to rename the volume, or "
            "choose another device_name"
        )
    if spec is not None and spec != target.group:
        raise UnsafePlan(
            f"{target.label}: {volume.volume_id} belongs to the declaration {spec!r} as its volume {name!r}. Set "
            "steal: true to take it from there"
        )
    held = sorted(
        f"{link.instance_id} as {link.device_name}"
        for link in strangers(match, state)
        # Who holds the volume is asked only once it is known.
        if state.instance(link.instance_id) is not None
        or state.was_asked("DescribeInstances", "instance-id", link.instance_id)
    )
    if held:
        here = "is attached here" if target.spec.state == "present" else f"is {target.spec.state}"
        raise UnsafePlan(
            f"{target.label}: {volume.volume_id} is attached to {listed(held)}. If it was moved there, remove its "
            f"entry here. If not, steal: true detaches it there, and it {here}"
        )
