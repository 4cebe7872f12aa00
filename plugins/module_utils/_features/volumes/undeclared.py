# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes that no entry names: a purge detaches them, and a warning names those that a removed entry left.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError
from ..._kernel.ids import is_planned
from ..._kernel.resources import Volume, VolumeAttachment
from .attaching import plan_detach
from .draft import Draft
from .former_attachments import WAS_AT_QUERY, recorded_attachments
from .swaps import forget_swap
from .targets import boots


def plan_purge(draft: Draft) -> dict[str, StorageError]:
    """Detach the data volumes of the instances that no entry names. Return, by instance, why its purge is refused.

    An instance with a refused entry keeps all its volumes. Every instance keeps a volume that may belong to a refused
    entry.
    """
    failed: dict[str, StorageError] = {}
    wanted = draft.purging
    draft.warnings += [
        f"purge_volumes: no volume of {name} is detached, since an entry is refused"
        for name in draft.spec.instance_ids
        if name not in wanted and name not in draft.refusals
    ]
    for volume in list(_undeclared(draft, wanted)):
        try:
            _purge(draft, volume, [link for link in volume.attachments if link.instance_id in wanted])
        except StorageError as error:
            failed.update((link.instance_id, error) for link in volume.attachments if link.instance_id in wanted)
    for volume in purged(draft):
        draft.remove_tags(draft.releases, volume, tag_names.WAS_AT, "forget the former attachments")
    return failed


def _undeclared(draft: Draft, wanted: frozenset[str]) -> Iterator[Volume]:
    """Yield the volumes of these instances that a purge detaches. Warnings name those that it leaves attached."""
    named = _named(draft)
    of_refused = {match.target.spec.volume_id for match in draft.refused}
    refused_groups = {match.target.group for match in draft.refused}.union(draft.refusals)
    instances = [draft.state.instance(instance_id) for instance_id in wanted]
    for volume in draft.state.all(Volume):
        if not any(link.instance_id in wanted for link in volume.attachments) or volume.volume_id in named:
            continue
        if any(instance is not None and boots(instance, volume) for instance in instances):
            continue
        if volume.volume_id in of_refused or volume.tags.get(tag_names.SPEC) in refused_groups:
            draft.warnings.append(f"purge_volumes: {volume.volume_id} is not detached, since its entry is refused")
            continue
        if volume.operator is not None:
            draft.warnings.append(f"{volume.volume_id} is managed by {volume.operator}, so it is not detached")
            continue
        if _is_of_another_declaration(draft, volume):
            draft.warnings.append(
                f"purge_volumes: {volume.volume_id} is not detached: it belongs to the declaration "
                f"{volume.tags[tag_names.SPEC]!r} as its volume {volume.tags.get(tag_names.VOLUME)!r}. Set "
                "steal: true to detach it"
            )
            continue
        half = _half_identity(draft, volume)
        if half:
            draft.warnings.append(
                f"purge_volumes: {volume.volume_id} is not detached: it {half}. Write the missing tag, or remove the "
                "other"
            )
            continue
        yield volume


def _purge(draft: Draft, volume: Volume, links: list[VolumeAttachment]) -> None:
    if volume.tags.get(tag_names.SPEC) in draft.groups:
        draft.warnings += no_longer_declared([volume])
    else:
        draft.warnings += _displaced(draft, volume)
    lengths = draft.own("")
    plan_detach(draft, None, volume, links)
    forget_swap(draft, volume)
    draft.remove_tags(draft.releases, volume, tag_names.WAS_AT, "forget the former attachments")
    draft.own(links[0].instance_id, lengths)


def _named(draft: Draft) -> set[str]:
    """Return the ids of the volumes that an entry names, and of those that they replace."""
    entries = (item for match in draft.matches for item in (match.volume, *match.replaced))
    return {item.volume_id for item in entries if item is not None}


def _half_identity(draft: Draft, volume: Volume) -> str:
    """If the volume lacks one of the two tags of this declaration, return a verb phrase about it, or else an empty
    text.

    Somebody may have removed the other tag, and EC2 does not show the entry of the volume.
    """
    has = [key for key in (tag_names.SPEC, tag_names.VOLUME) if key in volume.tags]
    if len(has) != 1 or volume.tags.get(tag_names.SPEC, draft.groups[0]) not in draft.groups:
        return ""
    lost = tag_names.VOLUME if has == [tag_names.SPEC] else tag_names.SPEC
    return f"has the tag {has[0]}={volume.tags[has[0]]} but not {lost}"


def _displaced(draft: Draft, volume: Volume) -> Iterator[str]:
    """Yield a warning for each new volume in place of one that the purge detaches.

    A declared volume that has lost its tags looks like an undeclared one.
    """
    instance_ids = {link.instance_id for link in volume.attachments}
    for change in draft.attaches:
        if is_planned(change.resource) and change.parameters["InstanceId"] in instance_ids:
            yield (
                f"{draft.labels[change.resource]}: a new volume is attached, and purge_volumes detaches "
                f"{volume.volume_id}, which has no tags of this declaration. If {volume.volume_id} is the "
                "volume of this entry, name it in volume_id"
            )


def purged(draft: Draft) -> list[Volume]:
    """Return the volumes that an interrupted purge has detached from these instances."""
    wanted = draft.purging
    if not wanted:
        return []
    draft.asked.append(WAS_AT_QUERY)
    named = _named(draft)
    return [
        volume
        for volume in draft.state.all(Volume)
        if volume.volume_id not in named
        and not volume.attachments
        and not _is_of_another_declaration(draft, volume)
        and wanted.intersection(former.instance_id for former in recorded_attachments(volume))
    ]


def _is_of_another_declaration(draft: Draft, volume: Volume) -> bool:
    """Return whether the volume belongs to another declaration, and the task does not set ``steal``."""
    spec = volume.tags.get(tag_names.SPEC)
    return spec is not None and spec not in draft.groups and not draft.spec.steal


def orphans(draft: Draft) -> list[Volume]:
    """Return volumes with the name of a removed entry, if this run makes a new volume in their declaration.

    A new volume from a snapshot in its entry is an additional restore, and no rename. An empty declaration has no
    entries for any of its volumes. A purged volume has its own warning.
    """
    names = {(match.target.group, match.name) for match in draft.matches}
    making = {
        match.target.group
        for match in draft.matches
        if match.volume is None and match.target.spec.state == "present" and match.target.spec.snapshot_id is None
    }
    if not draft.spec.volumes and not draft.spec.purge_volumes:
        making.update(draft.groups)
    named = {
        item.volume_id
        for match in draft.matches
        if match.volume is not None
        for item in (match.volume, *match.replaced, *match.stale)
    }
    return [
        volume
        for volume in draft.state.all(Volume)
        if volume.alive
        and volume.tags.get(tag_names.SPEC) in making
        and tag_names.VOLUME in volume.tags
        and (volume.tags[tag_names.SPEC], volume.tags[tag_names.VOLUME]) not in names
        and tag_names.REPLACED_BY not in volume.tags
        and volume.volume_id not in named
    ]


def no_longer_declared(volumes: Iterable[Volume]) -> Iterator[str]:
    """Yield a warning for each volume that keeps the name of a removed entry."""
    for volume in volumes:
        name = volume.tags.get(tag_names.VOLUME)
        if name is not None:
            yield (
                f"{volume.volume_id} was declared as {name} and is no longer declared. Rename it with volume_id: "
                f"{volume.volume_id} in an entry, or delete it with state: absent"
            )
