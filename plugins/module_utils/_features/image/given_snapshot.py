# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from a snapshot that the task names.

Private to this collection.
"""

from __future__ import annotations

from ..._kernel.errors import SpecError
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import State
from .requests import (
    ebs,
    register,
    register_stage,
)
from .spec import HARDWARE, WITHOUT, DeviceOverride, ImageSpec


def plan_from_snapshot(spec: ImageSpec, state: State, cleanup: tuple[Change, ...]) -> Plan:
    """Return the plan that registers the image from an existing snapshot. The snapshot has already fixed the point in
    time.
    """
    snapshot = _usable_snapshot(spec, state)
    if spec.state == "captured":
        return Plan()
    hardware = {HARDWARE[option]: value for option, value in spec.hardware.items() if value != WITHOUT}
    hardware.setdefault("VirtualizationType", "hvm")
    root = spec.hardware["root_device_name"]
    for override in spec.overrides:
        if override.device_name != root:
            raise SpecError(f"block_devices: the image has no device {override.device_name}. Use {root}")
    override = next(iter(spec.overrides), DeviceOverride(root))
    if override.omitted:
        raise SpecError(f"block_devices: an image needs its root device {root}. Remove omitted.")
    source = Volume(
        volume_id="",
        size=snapshot.volume_size,
        volume_type=override.volume_type or "gp3",
        encrypted=snapshot.encrypted,
    )
    mapping = ebs(override, snapshot.snapshot_id, source, True, boot=True)
    platform = {"platform_details": spec.platform_details} if spec.platform_details else {}
    change = register(spec, state, spec.source, hardware, [mapping], snapshot.owner_id, platform, {root: source})
    stages = [Stage(cleanup)] if cleanup else []
    if snapshot.state != "completed":
        stages.append(Stage(waits=(Wait((snapshot.snapshot_id,), "completed"),)))
    return Plan((*stages, register_stage(change, platform)), () if platform else (_platform_note(snapshot),))


def _usable_snapshot(spec: ImageSpec, state: State) -> Snapshot:
    """Return the snapshot of the task. Raises SpecError if no image can be registered from it."""
    snapshot = state.snapshot(spec.source)
    if snapshot is None:
        raise SpecError(
            f"source_snapshot_id: {spec.source} does not exist in {state.region}, or belongs to another account. "
            "Check the id and the region"
        )
    if snapshot.state == "error":
        raise SpecError(
            f"source_snapshot_id: {spec.source} ended in error: {snapshot.state_reason or 'no reason given'}. "
            "Name another snapshot"
        )
    if snapshot.storage_tier == "archive":
        raise SpecError(f"source_snapshot_id: {spec.source} is archived. First restore it to the standard tier")
    return snapshot


def _platform_note(snapshot: Snapshot) -> str:
    return (
        "source_snapshot_id: EC2 bills an image that is registered from a snapshot as Linux/UNIX, even if "
        f"{snapshot.snapshot_id} has another platform. Bake Windows, RHEL and SLES from an instance instead. Set "
        "platform_details: Linux/UNIX to accept that."
    )
