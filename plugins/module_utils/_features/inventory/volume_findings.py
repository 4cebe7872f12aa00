# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings about volumes: waste, types, encryption and recovery.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ..._domain.hold import standing_hold
from ..._domain.volume_types import VOLUME_TYPES, kept_performance, provisioned_throughput
from ..._kernel import tags as tag_names
from ..._kernel.places import Place
from ..._kernel.prices import Cost
from ..._kernel.resources import Instance, Volume
from ..._kernel.times import age_text
from . import remedies, usage
from .finding import Finding
from .leftover_findings import volume_leftovers
from .reading import is_answered
from .recovery import VolumeRecovery
from .spec import seconds
from .stock import Inventory, is_managed_by_aws, volume_finding

_GP3_IOPS, _GP3_MIBPS = VOLUME_TYPES["gp3"].iops or (0, 0), VOLUME_TYPES["gp3"].throughput or (0, 0)


def volume_findings(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    """Yield the findings about the waste, the type and the encryption of one volume."""
    if not inventory.is_settled(volume.create_time) or volume.operator:
        return
    yield from list(volume_leftovers(inventory, volume)) or _unattached(inventory, volume)
    yield from _of_stopped(inventory, volume)
    yield from _type(inventory, volume)
    yield from _unused(inventory, volume)
    if not volume.encrypted:
        yield volume_finding(
            inventory,
            volume,
            "volume-unencrypted",
            f"{_shown(volume)} is not encrypted.",
            task=_encryption(inventory, volume),
        )


def _shown(volume: Volume) -> str:
    return f"{volume.volume_id} ({volume.size} GiB {volume.volume_type})"


def _unattached(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    if volume.state == "available":
        reason = f"{_shown(volume)} is attached to no instance."
        task = remedies.deletion(volume.volume_id, inventory.state.region)
        saving = inventory.saving_after_snapshot(volume)
        yield volume_finding(inventory, volume, "volume-unattached", reason, saving=saving, task=task)


def _of_stopped(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    holders = inventory.holders(volume)
    times = [inventory.stopped_for(instance) for instance in holders]
    spans = [one for one in times if one is not None]
    if not holders or len(spans) < len(volume.attachments) or min(spans) < inventory.spec.stopped_after:
        return
    if any(standing_hold(instance) is not None for instance in holders):
        return  # The finding leftover-hold proposes to start the instance, so its end must not stand beside that.
    first = holders[0].instance_id
    reason = f"{first} has been stopped for {age_text(seconds(min(spans)))}, and {_shown(volume)} is attached to it."
    also = [instance.instance_id for instance in holders]
    if new := inventory.fallbacks.get(first):
        reason += f" {new} was launched to replace {first}, and has not proved itself."
        yield volume_finding(inventory, volume, "volume-of-stopped-instance", reason, also=also)
        return
    ended = _ended(inventory, holders[0])
    yield volume_finding(
        inventory,
        volume,
        "volume-of-stopped-instance",
        reason,
        saving=inventory.saving_after_snapshot(volume) if volume.volume_id in ended else None,
        task=_termination(inventory, holders[0], inventory.stopped_for(holders[0]) or min(spans)),
        also=also,
        changes=(first, *ended),
    )


def _ended(inventory: Inventory, instance: Instance) -> list[str]:
    """Return the volumes that EC2 deletes with the instance, since no other instance has them."""
    doomed = (inventory.volumes.get(one) for one in instance.doomed_volume_ids)
    return [one.volume_id for one in doomed if one is not None and len(one.attachments) == 1]


def _termination(inventory: Inventory, instance: Instance, stopped_for: timedelta) -> str:
    """Return the tasks that keep an image of the stopped instance, and terminate it."""
    one = instance.instance_id
    # An existing version is never made again. So the image of an earlier stop must not count as that of this one.
    image = {
        "name": f"last-of-{one}",
        "version": f"{inventory.now - stopped_for:%Y-%m-%d-%H%M%S}",
        "source_instance_id": one,
        "devices": "all",
    }
    return remedies.tasks(
        (f"Keep an image of {one}", remedies.BAKE, image),
        (f"Terminate {one}", remedies.INSTANCE, {"instance_ids": [one], "state": "absent"}),
        region=inventory.state.region,
        comment="Runs only if the image is available. Otherwise the play fails first.",
    )


# --- types -----------------------------------------------------------------------------------------------------------


def _type(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    if volume.volume_type == "gp2":
        iops, mibps = kept_performance(volume.size, volume.iops)
        yield from _as_gp3(inventory, volume, "volume-gp2", iops, mibps)
    elif volume.volume_type in ("io1", "io2"):
        yield from _provisioned(inventory, volume)


def _provisioned(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    if volume.volume_type == "io1":
        task = remedies.modification(volume.volume_id, inventory.state.region, "io2", volume.iops)
        if volume.multi_attach_enabled:
            task = ""  # EBS does not change the type of an io1 volume with Multi-Attach.
        reason = f"{_shown(volume)} is of type io1. io2 fails less often, with the same size and IOPS."
        yield volume_finding(inventory, volume, "volume-io1", reason, task=task)
    iops = max(volume.iops or 0, _GP3_IOPS[0])
    rules = VOLUME_TYPES["gp3"]
    most = max(volume.size * rules.iops_per_gib, rules.free_iops)
    if iops <= min(_GP3_IOPS[1], most) and not volume.multi_attach_enabled:
        own = provisioned_throughput(volume.volume_type, volume.iops or 0)
        mibps = min(max(_GP3_MIBPS[0], own), _GP3_MIBPS[1])
        yield from _as_gp3(inventory, volume, "volume-iops-within-gp3", iops, mibps)


def _as_gp3(inventory: Inventory, volume: Volume, finding: str, iops: int, mibps: int) -> Iterator[Finding]:
    """Yield the finding if gp3 of these values costs less, or if the report has no price to compare with."""
    cost, other = inventory.volume_cost(volume), inventory.cost_as("gp3", volume.size, iops, mibps)
    text = f"gp3 with {iops} IOPS and {mibps} MiB/s"
    faster = provisioned_throughput(volume.volume_type, volume.iops or 0) if volume.volume_type == "io2" else 0
    less = f" {volume.volume_id} may deliver {faster} MiB/s." if faster > mibps else ""
    task = remedies.modification(volume.volume_id, inventory.state.region, "gp3", iops, mibps)
    if cost is None or other is None:
        lack = "lacks a price in" if inventory.prices.values else "has no price for"
        reason = f"{_shown(volume)} may cost more than {text}. The report {lack} {inventory.state.region}.{less}"
        yield volume_finding(inventory, volume, finding, reason, task=task)
    elif other.most < cost.most:
        saved = Cost(cost.most - other.most, cost.most - other.most)
        reason = f"{_shown(volume)} costs {cost.most:.2f} USD a month, and {text} costs {other.most:.2f} USD.{less}"
        yield volume_finding(inventory, volume, finding, reason, saving=saved, task=task)


def _unused(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    """Yield the finding about paid performance that the peak of the last days does not need."""
    use, enough = usage.seen(inventory.state, volume), usage.enough(inventory.state, volume)
    if use is None or enough is None:
        return
    cost = inventory.volume_cost(volume)
    other = inventory.cost_as(volume.volume_type, volume.size, enough.iops, enough.mibps)
    if cost is not None and other is not None and other.most >= cost.most:
        return
    saving = None if cost is None or other is None else Cost(cost.most - other.most, cost.most - other.most)
    throughput = f" and {volume.throughput} MiB/s" if volume.volume_type == "gp3" else ""
    less = f"{enough.iops} IOPS" + ("" if enough.mibps is None else f" and {enough.mibps} MiB/s")
    reason = (
        f"{_shown(volume)} has {volume.iops} IOPS{throughput}. In 14 days CloudWatch saw at most {use.iops:.0f} IOPS "
        f"and {use.mibps:.0f} MiB/s in a minute. {less} are enough, with a reserve of {usage.RESERVE_PERCENT} %."
    )
    task = remedies.modification(
        volume.volume_id,
        inventory.state.region,
        volume.volume_type,
        enough.iops,
        enough.mibps,
        name=f"Lower the performance of {volume.volume_id}",
    )
    if volume.volume_type == "io1" and volume.multi_attach_enabled:
        task = ""  # EBS does not modify an io1 volume with Multi-Attach.
    yield volume_finding(inventory, volume, "volume-performance-unused", reason, saving=saving, task=task)


def _encryption(inventory: Inventory, volume: Volume) -> str:
    """Return the task that exchanges the volume for an encrypted copy, or an empty text if EBS cannot exchange it."""
    holders = inventory.holders(volume)
    if len(holders) != 1 or holders[0].root_volume_id == volume.volume_id:
        return ""
    options = {
        "instance_ids": [holders[0].instance_id],
        "replace": "snapshot",
        "in_use": "stop",
        "volumes": [{"volume_id": volume.volume_id, "encrypted": True}],
    }
    return remedies.tasks(
        (f"Exchange {volume.volume_id} for an encrypted copy", remedies.SPEC, options), region=inventory.state.region
    )


# --- recovery --------------------------------------------------------------------------------------------------------


def recovery_findings(inventory: Inventory, recovery: VolumeRecovery) -> Iterator[Finding]:
    """Yield the findings about the recovery of one attached volume, none without an answer about snapshots."""
    volume = recovery.volume
    if not is_answered(inventory.state, "snapshots") or not volume.attachments:
        return
    if not inventory.is_settled(volume.create_time):
        return
    task = _backup(inventory, recovery)  # A snapshot does not change the volume.
    if recovery.newest is None:
        reason = f"{_shown(volume)} has no snapshot from which it can be restored."
        yield volume_finding(
            inventory, volume, "volume-without-recovery-point", reason, task=task, changes=(), risk=recovery.risk
        )
    elif recovery.is_late and recovery.age is not None and recovery.target is not None:
        age, target = age_text(seconds(recovery.age)), age_text(seconds(recovery.target))
        told = (
            f"the option rpo_max allows {target}"
            if recovery.target_from == "rpo_max"
            else f"{recovery.target_from} takes one every {target}"
        )
        reason = f"The newest recovery point of {_shown(volume)} is {age} old, and {told}."
        yield volume_finding(
            inventory,
            volume,
            "volume-recovery-point-late",
            reason,
            task=task,
            also=[recovery.newest.id],
            changes=(),
            risk=recovery.risk,
        )
    elif not recovery.policies and not any(is_managed_by_aws(point.snapshot.tags) for point in recovery.points):
        reason = f"No policy takes snapshots of {_shown(volume)}."
        yield volume_finding(inventory, volume, "volume-without-policy", reason, task=task, changes=())
    yield from _copies(inventory, recovery)


def _backup(inventory: Inventory, recovery: VolumeRecovery) -> str:
    """Return the task that takes a snapshot now or, if the volume has no policy, one for a schedule of every day."""
    volume_id, region = recovery.volume.volume_id, inventory.state.region
    if recovery.policies:
        # Only the policy's own task has its rules. A task with other rules would delete its snapshots.
        beside = {"volume_id": volume_id, "description": f"beside policy {recovery.policies[0]}"}
        return remedies.tasks((f"Take a snapshot of {volume_id} now", remedies.SNAPSHOT, beside), region=region)
    options = {"policy": f"backup-{volume_id}", "select": {"volume_ids": [volume_id]}, "keep": {"daily": 7}}
    name = f"Back up {volume_id} and keep 7 daily snapshots"
    comment = "One run takes one snapshot. Let a schedule run this task every day."
    return remedies.tasks((name, remedies.ROTATE, options), region=region, comment=comment)


def _copies(inventory: Inventory, recovery: VolumeRecovery) -> Iterator[Finding]:
    """Yield the late copies, in the regions to which a policy copies."""
    # By region, the oldest point that its policy was to copy there. The points begin with the newest.
    regions = {
        Place.parse(place).region: point
        for point in recovery.points
        if point.policy
        for place in tag_names.copied_to(point.snapshot.tags)
    }
    for region in sorted(regions.keys() & set(inventory.spec.copy_regions)):
        if not is_answered(inventory.state, f"copies in {region}") or recovery.target is None:
            continue
        copy = recovery.elsewhere.get(region)
        age = inventory.age(copy.moment if copy is not None else regions[region].moment)
        if not recovery.exceeds(age):
            continue
        told = f"is {age_text(seconds(age))} old" if copy is not None else "does not exist"
        reason = f"The newest copy of {recovery.volume.volume_id} in {region} {told}."
        yield volume_finding(
            inventory, recovery.volume, "copy-late", reason, also=[copy.id] if copy is not None else []
        )
