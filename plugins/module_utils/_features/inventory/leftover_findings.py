# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings about the leftovers of this collection's own runs, as tags name them and EC2's facts prove them.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from ..._domain.hold import hold_of, standing_hold
from ..._domain.replacement import Phase, born, replacement_of
from ..._kernel import tags as tag_names
from ..._kernel.display import visible
from ..._kernel.prices import total
from ..._kernel.proofs import is_made_from, replacement_misfit, source_of
from ..._kernel.resources import Instance, Volume
from ..._kernel.times import format_moment
from . import remedies, workbench_findings
from .finding import Amount, Finding
from .reading import is_answered
from .stock import Inventory, name_of, volume_finding


def instance_leftovers(inventory: Inventory, instance: Instance) -> Iterator[Finding]:
    """Yield the holds whose time is over, and the workbenches and replacements that no run has finished."""
    yield from _hold(inventory, instance)
    yield from _workbench(inventory, instance)
    found = replacement_of(inventory.state, instance)
    if found is None or not inventory.is_settled(born(instance) or instance.launch_time):
        return
    old = found.predecessor.instance_id if found.predecessor is not None else "its predecessor"
    if found.phase is Phase.UNPROVEN:
        reason = f"{instance.instance_id} was launched to replace {old}, and has not been proven healthy."
        yield _of_instance(inventory, instance, "leftover-replacement", reason)
    elif found.phase is Phase.REJECTED:
        reason = f"{instance.instance_id} was launched to replace {old}, and was rejected."
        serves = found.predecessor is not None and found.predecessor.state == "running"
        if not serves:
            yield _of_instance(inventory, instance, "leftover-rejected", f"{reason} {old} does not run.")
            return
        options = {"instance_ids": [instance.instance_id], "state": "absent"}
        task = remedies.tasks(
            (f"Terminate {instance.instance_id}", remedies.INSTANCE, options), region=inventory.state.region
        )
        ending = [one for one in _volumes(inventory, instance) if one.volume_id in instance.doomed_volume_ids]
        reason = f"{reason} {old} runs again."
        yield _of_instance(inventory, instance, "leftover-rejected", reason, ending=ending, task=task)


def _hold(inventory: Inventory, instance: Instance) -> Iterator[Finding]:
    hold = hold_of(instance)
    if hold is None or instance.state != "stopped" or standing_hold(instance) is None:
        return
    if not hold.is_over(inventory.now, timedelta()):
        return
    reason = (
        f"A run stopped {instance.instance_id} at {format_moment(hold.since)} and was to start it again by "
        f"{format_moment(hold.end)}. {instance.instance_id} is still stopped."
    )
    options = {"instance_ids": [instance.instance_id], "state": "restored"}
    task = remedies.tasks((f"Start {instance.instance_id}", remedies.POWER, options), region=inventory.state.region)
    yield _of_instance(inventory, instance, "leftover-hold", reason, task=task)


def _workbench(inventory: Inventory, instance: Instance) -> Iterator[Finding]:
    """Yield the finding about a workbench, with the saving of its root and of the volume that its task deletes."""
    bench = workbench_findings.launched_bench(instance)
    if bench is None or not inventory.is_settled(born(instance) or instance.launch_time):
        return
    task = bench.task(inventory)
    removed: list[Volume] = []
    if task:
        gone = instance.doomed_volume_ids
        removed = [
            one for one in _volumes(inventory, instance) if one.volume_id in gone or bench.has_made(inventory, one)
        ]
    reason = f"A run launched {instance.instance_id} as the workbench of {bench.label}. {bench.advice(inventory)}"
    yield _of_instance(inventory, instance, "leftover-workbench", reason, ending=removed, task=task)


def _of_instance(
    inventory: Inventory,
    instance: Instance,
    finding: str,
    reason: str,
    *,
    ending: Sequence[Volume] = (),
    task: str = "",
) -> Finding:
    """Return a finding about the instance. *ending*: the volumes that the task deletes, and whose cost it saves."""
    volumes = _volumes(inventory, instance)
    return Finding(
        finding,
        "instance",
        instance.instance_id,
        reason,
        name=name_of(instance.tags),
        also=tuple(volume.volume_id for volume in volumes),
        cost=total(inventory.volume_cost(volume) for volume in volumes),
        saving=total(map(inventory.volume_cost, ending)),
        amount=Amount(sum(volume.size for volume in volumes)),
        task=task,
        tags=instance.tags,
        ends=tuple(volume.volume_id for volume in ending),
    )


def _volumes(inventory: Inventory, instance: Instance) -> list[Volume]:
    found = (inventory.volumes.get(device.volume_id) for device in instance.block_devices)
    return [volume for volume in found if volume is not None]


# --- volumes ---------------------------------------------------------------------------------------------------------


def volume_leftovers(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    """Yield the findings about proven leftovers: a drill's volume, a swap's copy, a replaced volume, or a workbench's
    volume.
    """
    if volume.state != "available" or not inventory.is_settled(volume.create_time):
        return
    if not is_answered(inventory.state, "snapshots"):
        return
    yield from _drill(inventory, volume)
    yield from _swap(inventory, volume)
    yield from _replaced(inventory, volume)
    yield from workbench_findings.of_volume(inventory, volume)


def _drill(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    declared = volume.tags.get(tag_names.SPEC, "")
    source = declared.removeprefix(tag_names.RESTORES[1]).partition("/")[0]
    snapshot = inventory.state.snapshot(volume.snapshot_id)
    if not declared.startswith(tag_names.RESTORES[1]) or snapshot is None:
        return
    if source_of(snapshot) != source or not is_made_from(volume, [snapshot]):
        return
    reason = f"A restore drill of {source} has left {volume.volume_id}. The next drill of {source} deletes it."
    options = {"source_volume_ids": [source], "drill": True}
    task = remedies.tasks((f"Repeat the drill of {source}", remedies.RESTORE, options), region=inventory.state.region)
    saving = inventory.volume_cost(volume)
    yield volume_finding(inventory, volume, "leftover-drill", reason, saving=saving, task=task)


def _swap(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    """Yield the finding about a copy that was never attached. A copy loses the tag once it is in its place."""
    if tag_names.SWAP not in volume.tags or tag_names.REPLACED_BY in volume.tags:
        return
    spec = visible(volume.tags.get(tag_names.SPEC, ""))
    reason = f"An unfinished swap has left {volume.volume_id}. Run the task with the declaration {spec} again."
    yield volume_finding(inventory, volume, "leftover-swap", reason)


def _replaced(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    copy = inventory.volumes.get(volume.tags.get(tag_names.REPLACED_BY, ""))
    if copy is None or not copy.attachments:
        return
    snapshot = inventory.state.snapshot(copy.snapshot_id)
    if snapshot is None or replacement_misfit(copy, volume, snapshot) is not None:
        return
    reason = f"{copy.volume_id} has replaced {volume.volume_id}, which is attached to no instance."
    task = remedies.deletion(volume.volume_id, inventory.state.region)
    saving = inventory.saving_after_snapshot(volume)
    yield volume_finding(inventory, volume, "leftover-replaced-volume", reason, saving=saving, task=task)
