# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The refusals of `ebs_volume_spec` that depend on rules of EC2, of a service or of a relaunch.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ..._domain.attachments import attachment_limit
from ..._domain.device_names import device_letters
from ..._domain.power_cycle import stop_troubles, unanswered_about
from ..._domain.succession import successor
from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous, SpecError, StorageError, Unanswered, UnsafePlan, bounded, listed
from ..._kernel.facts import type_facts
from ..._kernel.plan import Change
from ..._kernel.resources import Instance, Volume
from .draft import Draft
from .drift import (
    Drift,
    compare,
    shown,
)
from .former_attachments import deleted_with
from .match import Match
from .power import stopping_instances
from .targets import replaced_by


def unproven_claim(draft: Draft, match: Match) -> StorageError | None:
    """Return why the entry is refused if only tags identify its volume, and the plan would change more than tags."""
    volume, target = match.volume, match.target
    if not match.unproven or volume is None or _is_as_declared(draft, match, volume):
        return None
    return Ambiguous(
        f"{target.label}: the tag {tag_names.REPLACES} says that {volume.volume_id} has replaced "
        f"{target.spec.volume_id}, and nothing proves that any more. To change {volume.volume_id}, name it by its "
        f"own id. To go back to {target.spec.volume_id}, remove that tag"
    )


def _is_as_declared(draft: Draft, match: Match, volume: Volume) -> bool:
    """Return whether the volume has the properties and the place of its entry."""
    target = match.target
    links = {link.instance_id: link for link in volume.attachments if not link.leaving}
    if target.spec.state == "detached":
        return not target.instance_ids & set(links) if target.instances else not links
    drift = compare(match, draft.state)
    if set(links) != target.instance_ids or drift.modify or drift.swap or drift.never:
        return False
    device, flag = target.spec.device_name, target.spec.delete_on_termination
    if device is not None and any(
        device_letters(device) != device_letters(link.device_name) for link in links.values()
    ):
        return False
    flags = {deleted_with(draft.state, volume, link.instance_id) for link in links.values()}
    return flags <= {True if flag is None else flag, flag or False}


def require_untouched(draft: Draft, match: Match, volume: Volume) -> None:
    """Raise UnsafePlan for a change of a volume that a service manages, since EC2 refuses it. The volume is not tagged
    either.
    """
    draft.in_place = [one for one in draft.in_place if (one.action, one.resource) != ("CreateTags", volume.volume_id)]
    lists = (draft.in_place, draft.detaches, draft.modifications, draft.snapshots, draft.attaches, draft.deletions)
    if any(change.resource == volume.volume_id for changes in lists for change in changes):
        raise UnsafePlan(
            f"{match.target.label}: {volume.volume_id} is managed by {volume.operator} and differs from its "
            "entry. Change it through that service"
        )


def require_mendable(draft: Draft, match: Match, drift: Drift) -> None:
    """Raise SpecError for drift that neither EBS nor a swap can end, and UnsafePlan for a swap without consent."""
    label = match.target.label
    volume_id = match.volume.volume_id if match.volume else ""
    wanted, actual = drift.never.get("size", (0, 0))
    if wanted < actual:
        raise SpecError(
            f"{label}: size: {wanted} GiB is smaller than {volume_id} ({actual} GiB), and EBS cannot shrink a "
            f"volume. Use {actual} or more"
        )
    if match.volume is not None and drift.never and "encrypted" not in drift.never:
        volume = match.volume
        held = listed(link.instance_id for link in volume.attachments) or "no instance"
        raise SpecError(
            f"{label}: {shown(drift.never)}: EBS does not make this change to {volume_id}, which is of type "
            f"{volume.volume_type}, multi_attach {volume.multi_attach_enabled}, on {held}. "
            f"{_multi_attach_rule(volume, drift)}"
        )
    if drift.never:
        raise SpecError(f"{label}: neither EBS nor a swap can change {volume_id}: {shown(drift.never)}")
    if drift.swap and match.is_root:
        raise UnsafePlan(f"{label}: {volume_id} differs ({shown(drift.swap)}), and a root volume is never swapped")
    if drift.swap and not draft.spec.replace:
        raise UnsafePlan(
            f"{label}: EBS cannot change {volume_id} in place: {shown(drift.swap)}. Set replace: snapshot to "
            "swap it for a copy"
        )


def faults(draft: Draft) -> dict[str, StorageError]:
    """Return the errors that refuse entries of a finished draft, by label, and purges, by instance."""
    found: dict[str, StorageError] = {}
    for labels, error in (*_taken_devices(draft), *_beyond_limits(draft), *_replaced(draft), *_unstoppable(draft)):
        found.update((label, found.get(label, error)) for label in labels)
    return found


def _taken_devices(draft: Draft) -> Iterator[tuple[list[str], StorageError]]:
    """Yield the entries whose device holds another volume, with the error."""
    for change in draft.attaches:
        instance_id, device = change.parameters["InstanceId"], change.parameters["Device"]
        label = draft.labels[change.resource]
        try:
            draft.devices.require_free(label, change.resource, instance_id, device, draft.freed)
        except StorageError as error:
            yield [label], error


def _unstoppable(draft: Draft) -> Iterator[tuple[list[str], StorageError]]:
    """Yield the entries, or the purge, that need a forbidden stop: EC2 would refuse it, or the instance would lose data
    or not start again.
    """
    for instance in stopping_instances(draft):
        name = instance.instance_id
        silent = unanswered_about(draft.state, instance)
        troubles = stop_troubles(
            draft.state, instance, lose_instance_store=draft.spec.lose_instance_store, remember=True
        )
        texts = [f"{name}: {error}" for error in silent] or [f"{name} {trouble}" for trouble in troubles]
        if texts:
            text = f"in_use: stop: {'; '.join(bounded(texts)).rstrip('.')}."
            yield (
                [label or name for label in draft.leavers[name]],
                Unanswered(text, silent) if silent else UnsafePlan(text),
            )


def at_rest(draft: Draft, instance_ids: Iterable[str]) -> list[Instance]:
    """Return the stopped ones of these instances, which a relaunch may have retired."""
    found = [draft.state.instance(item) for item in sorted(instance_ids)]
    return [item for item in found if item is not None and item.state in ("stopping", "stopped")]


def _replaced(draft: Draft) -> Iterator[tuple[list[str], StorageError]]:
    """Yield the entries with an attachment to an instance that a relaunch has retired, with the error."""
    joined: dict[str, list[str]] = defaultdict(list)
    for change in draft.attaches:
        joined[str(change.parameters["InstanceId"])].append(draft.labels[change.resource])
    for instance in at_rest(draft, joined):
        labels = joined[instance.instance_id]
        try:
            living = successor(draft.state, instance.instance_id)
        except Ambiguous as error:
            yield labels, error
            continue
        if living is not None:
            yield (
                labels,
                SpecError(
                    f"{listed(labels)}: {replaced_by(instance.instance_id, living)}. To continue with "
                    f"{instance.instance_id}, start it first"
                ),
            )


def _beyond_limits(draft: Draft) -> Iterator[tuple[list[str], StorageError]]:
    """Yield the entries beyond EC2's limit of attachments for the instance type, and those with Multi-Attach on other
    types than Nitro.
    """
    joining: dict[str, list[Change]] = defaultdict(list)
    for change in draft.attaches:
        joining[change.parameters["InstanceId"]].append(change)
    shared = {
        match.name for match in draft.matches if match.target.spec.multi_attach and match.target.spec.state == "present"
    }
    for instance_id, changes in joining.items():
        instance = draft.state.instance(instance_id)
        if instance is None:
            continue
        labels = [draft.labels[change.resource] for change in changes]
        facts = type_facts(draft.state, instance.instance_type)
        if shared and facts.get("Hypervisor") not in (None, "nitro"):
            yield (
                labels,
                UnsafePlan(
                    f"multi_attach: the type {instance.instance_type} of {instance_id} is not built on Nitro. Use a "
                    "Nitro type"
                ),
            )
        limit = attachment_limit(draft.state, instance)
        leaving = sum(change.parameters["InstanceId"] == instance_id for change in draft.detaches)
        if limit is not None and (number := limit.excess(len(changes) - leaving)):
            yield (
                labels,
                UnsafePlan(
                    f"{listed(labels)}: the type {instance.instance_type} of {instance_id} takes {limit.text}, and "
                    f"{instance_id} would have {number}. First detach other volumes, or choose a larger type"
                ),
            )


def _multi_attach_rule(volume: Volume, drift: Drift) -> str:
    """Return the rule of EBS that forbids the change (EBS user guide, "Multi-Attach"), with the
    remedy if there is one.
    """
    if volume.volume_type == "io1":
        return "EBS sets multi_attach of an io1 volume only at its creation, and does not modify an io1 volume with it"
    if "volume_type" in drift.never:
        return "The type of a volume with multi_attach cannot change. First set multi_attach: false in a separate run"
    return "An io2 volume can lose multi_attach only while it is attached to at most one instance"
