# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from a snapshot that the task names.

Private to this collection.
"""

from __future__ import annotations

from ..._kernel.errors import SpecError
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.resources import Snapshot
from ..._kernel.state import State
from .registration import Captured, registration, require_base
from .requests import register_stage
from .spec import ImageSpec


def plan_from_snapshot(spec: ImageSpec, state: State, cleanup: tuple[Change, ...]) -> Plan:
    """Return the plan that registers the image from an existing snapshot. The snapshot has already fixed the point in
    time.
    """
    snapshot = _usable_snapshot(spec, state)
    if spec.state == "captured":
        return Plan()
    root = Captured(snapshot.snapshot_id, snapshot.volume_size, snapshot.encrypted, snapshot.owner_id)
    change, platform = registration(spec, state, root, require_base(spec, state))
    stages = [Stage(cleanup)] if cleanup else []
    if snapshot.state != "completed":
        stages.append(Stage(waits=(Wait((snapshot.snapshot_id,), "completed"),)))
    notes = () if platform else (platform_note(f"source_snapshot_id: {snapshot.snapshot_id}"),)
    return Plan((*stages, register_stage(change, platform)), notes)


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


def platform_note(subject: str) -> str:
    """Return the warning about the billing of an image from a snapshot. *subject*: the option and the source."""
    option, source = subject.split(": ")
    return (
        f"{option}: EC2 bills an image that is registered from a snapshot as Linux/UNIX, even if {source} has another "
        "platform. Bake Windows, RHEL and SLES from an instance instead. Set platform_details: Linux/UNIX to accept "
        "that."
    )
