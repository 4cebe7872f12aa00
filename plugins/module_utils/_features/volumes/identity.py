# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the volume of each entry of `ebs_volume_spec`, and the place where the entry wants it.

The tags ``ec2ops:spec`` and ``ec2ops:volume`` identify a volume. Without these tags, the id in the entry identifies the
volume, or the attachment at the entry's device. During a swap there are two volumes, and the phase of the swap decides
which of them counts.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous, SpecError, StorageError, UnsafePlan, listed
from ..._kernel.resources import Volume
from ..._kernel.state import Query, State, by_id
from .claims import KnownVolumes
from .match import Match, require_ours
from .spec import PLACE_OF_ZONE, ROOT, VolumesSpec
from .swap_phases import swap_of
from .targets import Target, is_at, is_root_of, targets


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


def matches(spec: VolumesSpec, state: State) -> tuple[Match, ...]:
    """Return the match of each target.

    If the volume of an entry is ambiguous, or somebody else's, only that entry is refused.
    """
    known = KnownVolumes(state)
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

    A volume without a declaration, or with one named after an instance or a zone, gets the target's declaration. Any
    other declaration moves with the volume.
    """
    group = match.volume.tags.get(tag_names.SPEC, "") if match.volume is not None else ""
    if _OF_A_PLACE.fullmatch(group):
        return match
    return dataclasses.replace(match, target=dataclasses.replace(match.target, group=group))


def _has_arrived(match: Match) -> bool:
    """Return whether a volume that moves to a zone is already attached there, so that it is in use."""
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
    """Return the match of *find*, or a refused match if *find* refuses the entry."""
    try:
        return find()
    except StorageError as error:
        return Match(target, name or target.spec.name or target.spec.volume_id or "", refused=error)


def _claimed_once(found: Iterable[Match]) -> tuple[Match, ...]:
    """Refuse an entry if only tags lead to a volume of another entry. If both entries name it, refuse both."""
    several = list(found)
    claimed: dict[str, int] = {}
    # The surest match comes first. Among equally sure ones, the order of the declaration counts.
    for number in sorted(range(len(several)), key=lambda number: -_sureness(several[number])):
        match = several[number]
        volumes = (match.volume, *match.replaced, *match.stale) if match.volume is not None else ()
        taken = next((item for item in volumes if item.volume_id in claimed), None)
        if taken is None:
            claimed.update((volume.volume_id, number) for volume in volumes)
            continue
        holder = claimed[taken.volume_id]
        contested = [(number, several[holder].target)]
        if _sureness(match) > _BY_TAGS:
            contested.append((holder, match.target))
        for at, other in contested:
            one = several[at]
            error = SpecError(f"{one.target.label}: {other.label} names {taken.volume_id} too")
            several[at] = Match(one.target, one.name, doubts=one.doubts, refused=one.refused or error)
    return tuple(several)


_UNPROVEN, _BY_TAGS, _BY_FACTS = range(3)


def _sureness(match: Match) -> int:
    """Return the strength of the match: an unproven claim, tags, or a fact."""
    return _UNPROVEN if match.unproven else _BY_TAGS if match.how == "tags" else _BY_FACTS


def _ours(match: Match, state: State) -> Match:
    """Return the match, which is refused if its volume belongs to somebody else."""
    try:
        require_ours(match, state)
    except UnsafePlan as error:
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
    """Refuse an entry whose name, taken from its volume's tag, is also the name of another entry."""
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
        several[by_tag] = Match(later.target, later.name, doubts=later.doubts, refused=error)
        called[match.target.group, match.name] = number if by_tag == holder else holder
    return tuple(several)


def _told_from_copies(match: Match, known: KnownVolumes) -> Match:
    """Return the match of an entry with a ``volume_id``, with the other volumes that carry the entry's tags.

    If the named volume itself has these tags, the others are copies. Raises Ambiguous if the id and the tags lead to
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
        # A volume whose tag claims to replace the named one is no rival, even without a proof.
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
        f"{match.target.label}: several volumes would have the tags {tag_names.SPEC}={match.target.group} and "
        f"{tag_names.VOLUME}={match.name}",
        sorted(item.volume_id for item in (volume, *rivals)),
        f"Give {volume.volume_id} another name with name, volume_move_names of the role volume_move, or "
        "move_volumes_names of the playbook",
    )


def _match(target: Target, known: KnownVolumes) -> Match:
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
        problem = f"{target.label}: several volumes are at {spec.device_name}"
        raise Ambiguous(problem, sorted(there), "Name the right one in volume_id")
    for volume in there.values():
        if spec.state != "present" and not is_root_of(target, volume):
            return _unadopted(target, name, volume)
        return Match(target, name, volume, "root" if is_root_of(target, volume) else "device")
    return Match(target, name)


def _unadopted(target: Target, name: str, volume: Volume) -> Match:
    """Return the warning about an unknown volume at the entry's device. Somebody may have attached it after the entry's
    own volume.
    """
    if tag_names.SPEC in volume.tags:
        return Match(target, name)
    raise UnsafePlan(
        f"{target.label}: state: {target.spec.state}: {volume.volume_id} is at {target.spec.device_name}, but "
        f"nothing shows that it is {name}. Name it by its volume_id"
    )


def _root(target: Target, known: KnownVolumes) -> Match:
    (instance,) = target.instances
    there = known.at(instance.instance_id, instance.root_device_name)
    volume = known.get(instance.root_volume_id or "") or next(iter(there), None)
    if volume is None:
        raise SpecError(f"{target.label}: {instance.instance_id} has no EBS volume at its root device")
    return Match(target, ROOT, volume, "root")


def _tagged(target: Target, name: str, tagged: Sequence[Volume], known: KnownVolumes) -> Match:
    """Return the match for the volumes with the entry's tags.

    The match has a volume that no other one has replaced, preferably at its place.
    """
    doubts = tuple(known.doubts(target, tagged))
    foreign = [volume for volume in tagged if _is_no_restore(target, volume)]
    tagged = [volume for volume in tagged if volume not in foreign]
    present = [volume for volume in tagged if not known.is_replaced(target, volume)]
    strays = [volume for volume in present if known.is_stray(volume)] if target.spec.state == "absent" else []
    present = [volume for volume in present if volume not in strays]
    doubts += (*_not_restored(target, foreign), *_kept_strays(target, strays))
    newest = _newest(target, present, known)
    here = [volume for volume in newest if is_at(target, volume)]
    copies: tuple[Volume, ...] = ()
    if len(newest) > 1 and len(here) == 1 and target.spec.state != "absent":
        copies = tuple(volume for volume in newest if volume is not here[0])
        newest = here
    if len(newest) > 1 or (present and not newest):
        raise _several(target, name, newest or present)
    if not newest and tagged and target.spec.state == "present":
        raise _lost_replacement(target, tagged)
    if not newest:
        return Match(target, name, doubts=doubts)
    (volume,) = newest
    _require_proof(target, name, tagged, volume, known)
    replaced = [
        old
        for old in tagged
        if volume in known.replacements(target, old.volume_id)
        or (old.tags.get(tag_names.REPLACED_BY) == volume.volume_id and known.is_replaced(target, old))
    ]
    how = "root" if is_root_of(target, volume) else "tags"
    return dataclasses.replace(_swapped(target, name, replaced, volume, how, known), copies=copies, doubts=doubts)


def _require_proof(target: Target, name: str, tagged: Iterable[Volume], volume: Volume, known: KnownVolumes) -> None:
    """Raise Ambiguous if only tags say that the detached *volume* has replaced another one of the entry."""
    unsure = [
        old
        for old in tagged
        if old is not volume
        and (known.is_replaced(target, old) or volume in known.replacements(target, old.volume_id))
        and not known.has_proven_copy(old)
    ]
    if unsure and not is_at(target, volume):
        raise _several(target, name, [*unsure, volume])


def _not_restored(target: Target, foreign: Iterable[Volume]) -> Iterator[str]:
    for volume in foreign:
        yield (
            f"{target.label}: {volume.volume_id} has the tag {tag_names.SPEC}={target.group}, but was not made from "
            f"{target.spec.snapshot_id}. It is left as it is. Remove its tag {tag_names.SPEC}"
        )


def _kept_strays(target: Target, strays: Iterable[Volume]) -> Iterator[str]:
    for volume in strays:
        yield (
            f"{target.label}: {volume.volume_id} has the tag {tag_names.SWAP}={volume.tags[tag_names.SWAP]}, but "
            "nothing proves that a swap made it. It is kept. Delete it yourself, or remove that tag"
        )


def _is_no_restore(target: Target, volume: Volume) -> bool:
    """Return whether the volume has the tags of a restore from the entry's snapshot, but was made from another one.

    The role restore names the snapshot only in its first run.
    """
    of_a_restore = target.group.startswith(tag_names.RESTORES)
    wanted = target.spec.snapshot_id
    return of_a_restore and wanted is not None and volume.snapshot_id != wanted and not is_at(target, volume)


def _lost_replacement(target: Target, marked: Sequence[Volume]) -> Ambiguous:
    """Return the error about volumes that were all replaced. No volume that replaced them has the entry's tags."""
    ids = {volume.volume_id for volume in marked}
    last = [volume for volume in marked if volume.tags[tag_names.REPLACED_BY] not in ids] or marked
    old_ids = sorted(volume.volume_id for volume in last)
    new_ids = listed(sorted({volume.tags[tag_names.REPLACED_BY] for volume in last}))
    return Ambiguous(
        f"{target.label}: the tag {tag_names.REPLACED_BY} of {listed(old_ids)} names {new_ids}, but EC2 shows no "
        f"{new_ids} with the tags of this entry",
        remedy=f"To go back to {old_ids[0] if len(old_ids) == 1 else 'one of the replaced volumes'}, remove its tag "
        f"{tag_names.REPLACED_BY}",
    )


def _several(target: Target, name: str, found: Iterable[Volume]) -> Ambiguous:
    return Ambiguous(
        f"{target.label}: several volumes have the tags {tag_names.SPEC}={target.group} and {tag_names.VOLUME}={name}",
        sorted(volume.volume_id for volume in found),
        "Remove these tags from the wrong ones, or name the right one in volume_id",
    )


def _named(target: Target, known: KnownVolumes, volume_id: str) -> Match:
    """Return the match for a volume's id, which is the volume itself or its replacement."""
    volume = known.get(volume_id)
    doubts = tuple(known.doubts(target, [*([volume] if volume is not None else []), *known.claims[volume_id]]))
    successors = [item for item in known.replacements(target, volume_id) if not known.is_replaced(target, item)]
    successors = _newest(target, successors, known)
    if len(successors) > 1:
        raise Ambiguous(
            f"{target.label}: several volumes have replaced {volume_id}",
            sorted(item.volume_id for item in successors),
            "Name the right one in volume_id",
        )
    first = successors[0] if successors else volume
    if first is None:
        if target.spec.state == "present":
            raise SpecError(f"{target.label}: volume_id: {volume_id} does not exist. Check the id and the region")
        return Match(target, target.spec.name or volume_id, how="volume_id")
    name = target.spec.name or first.tags.get(tag_names.VOLUME) or volume_id
    if successors and target.spec.state == "absent" and not known.is_sure(first, volume_id):
        kept = (
            f"{target.label}: the tag {tag_names.REPLACES} of {first.volume_id} names {volume_id}, and nothing proves "
            f"that any more. {first.volume_id} is not deleted. To delete it, name {first.volume_id}"
        )
        return Match(target, name, how="volume_id", doubts=(*doubts, kept))
    if successors:
        return _by_claim(target, name, first, known, volume_id, doubts)
    if known.is_replaced(target, first):
        if target.spec.state != "present":
            return Match(target, name, how="volume_id", doubts=doubts)
        error = SpecError(
            f"{target.label}: volume_id: {volume_id} was replaced by {first.tags[tag_names.REPLACED_BY]}, which "
            f"does not exist any more. To go back to {volume_id}, remove its tag {tag_names.REPLACED_BY}"
        )
        return Match(target, name, how="volume_id", refused=error)
    return Match(target, name, first, "root" if is_root_of(target, first) else "volume_id", doubts=doubts)


def _by_claim(
    target: Target, name: str, new: Volume, known: KnownVolumes, volume_id: str, doubts: tuple[str, ...]
) -> Match:
    """Return the match for the id of a volume that *new* claims to have replaced.

    Without a proof, the match is unproven.
    """
    older = [known.get(older_id) for older_id in tag_names.replaced_ids(new.tags)]
    counted = [old for old in older if old is not None and known.doubt(target, new, old.volume_id) is None]
    match = _swapped(target, name, counted, new, "volume_id", known)
    if match.volume is not new or known.is_sure(new, volume_id):
        return dataclasses.replace(match, doubts=doubts)
    unproven = (
        f"{target.label}: the tag {tag_names.REPLACES} says that {new.volume_id} has replaced {volume_id}, and "
        f"nothing proves that any more. {new.volume_id} is left as it is. To change it, name {new.volume_id}"
    )
    return dataclasses.replace(match, doubts=(*doubts, unproven), unproven=True)


def _newest(target: Target, volumes: Iterable[Volume], known: KnownVolumes) -> list[Volume]:
    """Return the volumes that no other volume replaces, without those with a void claim to replace a volume."""
    several = list(volumes)
    ids = {volume.volume_id for volume in several}
    out: set[str] = set()
    for volume in several:
        for old_id in ids.intersection(tag_names.replaced_ids(volume.tags)):
            counts = known.doubt(target, volume, old_id) is None
            out.add(old_id if counts else volume.volume_id)
    return [volume for volume in several if volume.volume_id not in out]


def _swapped(
    target: Target, name: str, replaced: Iterable[Volume], new: Volume, how: str, known: KnownVolumes
) -> Match:
    """Return the match for replaced volumes and their replacement, with the volume that counts and the swaps to finish.

    Raises Ambiguous if either choice may lose writes.
    """
    order = {volume_id: number for number, volume_id in enumerate(tag_names.replaced_ids(new.tags))}
    swaps = tuple(
        swap_of(target, old, new, known)
        for old in sorted(replaced, key=lambda old: order.get(old.volume_id, len(order)))
        if tag_names.REPLACED_BY not in old.tags or {tag_names.SPEC, *tag_names.WAS_AT}.intersection(old.tags)
    )
    if not swaps or swaps[0].copy_counts(target):
        return Match(target, name, new, how, swaps)
    stale = (new,) if swaps[0].is_proven else ()
    return Match(target, name, swaps[0].old, how, swaps[1:], stale)
