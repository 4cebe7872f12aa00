# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes that no entry names: a purge detaches them, and a warning names those that a removed entry left.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError, listed
from ..._kernel.ids import is_planned
from ..._kernel.resources import Volume, VolumeAttachment
from .attaching import plan_detach
from .draft import Draft
from .former_attachments import WAS_AT_QUERY, recorded_attachments
from .swaps import forget_swap
from .targets import boots


def plan_purge(draft: Draft) -> dict[str, StorageError]:
    """Detach the data volumes of the instances that no entry names. Return why volumes of other instances stay.

    No volume leaves an instance with a refused entry, since it may be the volume of that entry.
    """
    refused = {name for match in draft.refused for name in match.target.instance_ids}
    if refused:
        draft.warnings.append(
            f"purge_volumes: no volume is detached from {listed(sorted(refused))}, since an entry is refused"
        )
    wanted = set(draft.spec.instance_ids) - refused - draft.spared.keys()
    named, failed = _named(draft), dict[str, StorageError]()
    for volume in draft.state.all(Volume):
        links = [link for link in volume.attachments if link.instance_id in wanted]
        try:
            if links and volume.volume_id not in named:
                _purge(draft, volume, links)
        except StorageError as error:
            failed |= {link.instance_id: error for link in links}
    for volume in purged(draft):
        draft.remove_tags(draft.releases, volume, tag_names.WAS_AT, "forget the former attachments")
    return failed


def _purge(draft: Draft, volume: Volume, links: Sequence[VolumeAttachment]) -> None:
    """Detach the volume, unless somebody else has it. Raises UnsafePlan for an instance that it must not interrupt."""
    holders = [draft.state.instance(link.instance_id) for link in links]
    if any(holder is not None and boots(holder, volume) for holder in holders):
        return
    reason = _reason_to_leave(draft, volume)
    if reason:
        draft.warnings.append(reason)
        return
    if volume.tags.get(tag_names.SPEC) in draft.groups:
        draft.warnings += no_longer_declared([volume])
    else:
        draft.warnings += _displaced(draft, volume)
    plan_detach(draft, None, volume, links)
    forget_swap(draft, volume)
    draft.remove_tags(draft.releases, volume, tag_names.WAS_AT, "forget the former attachments")


def _reason_to_leave(draft: Draft, volume: Volume) -> str:
    """Return the warning about a volume that a purge leaves where it is, or an empty text."""
    if volume.operator is not None:
        return f"{volume.volume_id} is managed by {volume.operator}, so it is not detached"
    if _is_of_another_declaration(draft, volume):
        return (
            f"purge_volumes: {volume.volume_id} is not detached: it belongs to the declaration "
            f"{volume.tags[tag_names.SPEC]!r} as its volume {volume.tags.get(tag_names.VOLUME)!r}. Set "
            "steal: true to detach it"
        )
    half = _half_identity(draft, volume)
    if half:
        return (
            f"purge_volumes: {volume.volume_id} is not detached: it {half}. Write the missing tag, or remove the other"
        )
    return ""


def _named(draft: Draft) -> set[str]:
    """Return the ids of the volumes that an entry names, also a refused one, and of those that they replace."""
    entries = (item for match in draft.matches for item in (match.volume, *match.replaced))
    refused = {(match.target.group, match.name) for match in draft.refused}
    return {
        *(item.volume_id for item in entries if item is not None),
        *(match.target.spec.volume_id for match in draft.refused if match.target.spec.volume_id is not None),
        *(
            volume.volume_id
            for volume in draft.state.all(Volume)
            if (volume.tags.get(tag_names.SPEC), volume.tags.get(tag_names.VOLUME)) in refused
        ),
    }


def _half_identity(draft: Draft, volume: Volume) -> str:
    """Return, as a verb phrase, that the volume lacks one of the two tags of this declaration, else an empty text.

    Somebody may have removed it, and EC2 does not show the entry of the volume.
    """
    has = [key for key in (tag_names.SPEC, tag_names.VOLUME) if key in volume.tags]
    if len(has) != 1 or volume.tags.get(tag_names.SPEC, draft.groups[0]) not in draft.groups:
        return ""
    lost = tag_names.VOLUME if has == [tag_names.SPEC] else tag_names.SPEC
    return f"has the tag {has[0]}={volume.tags[has[0]]} but not {lost}"


def _displaced(draft: Draft, volume: Volume) -> Iterator[str]:
    """Yield a warning for each new volume that replaces one that the purge detaches.

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
    if not draft.spec.purge_volumes:
        return []
    draft.asked.append(WAS_AT_QUERY)
    named = _named(draft)
    wanted = set(draft.spec.instance_ids)
    return [
        volume
        for volume in draft.state.all(Volume)
        if volume.volume_id not in named
        and not volume.attachments
        and not _is_of_another_declaration(draft, volume)
        and wanted.intersection(former.instance_id for former in recorded_attachments(volume))
    ]


def _is_of_another_declaration(draft: Draft, volume: Volume) -> bool:
    """Return whether another declaration has the volume, and this task does not steal."""
    spec = volume.tags.get(tag_names.SPEC)
    return spec is not None and spec not in draft.groups and not draft.spec.steal


def orphans(draft: Draft) -> list[Volume]:
    """Return volumes with the name of a removed entry, if this run makes a new volume in their declaration.

    A volume from the snapshot in its entry is an additional restore, and no rename. An empty declaration
    leaves all its volumes behind. A purged volume has its own warning.
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
