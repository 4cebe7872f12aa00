# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The capture of a version that counts, and superfluous captures.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ..._kernel.errors import SpecError
from ..._kernel.resources import Snapshot
from ..._kernel.state import State
from .found import (
    ids,
    taken,
)
from .requests import (
    Target,
)
from .spec import ImageSpec


def choose_captures(spec: ImageSpec, state: State) -> tuple[list[Snapshot], list[tuple[Snapshot, str]]]:
    """Return the snapshots of this version's capture (all of them or none), and those to delete, with the reason.

    Two runs at the same moment may both have captured. In every run, the capture with the earliest start time counts,
    then the lowest id.
    """
    found = taken(spec, state)
    sets: dict[Any, list[Snapshot]] = {}
    for snapshot in found:
        # CreateSnapshots gives the same StartTime to all snapshots of one request.
        sets.setdefault(snapshot.snapshot_id if spec.devices == "root" else snapshot.start_time, []).append(snapshot)
    spare: list[tuple[Snapshot, str]] = []
    good: list[list[Snapshot]] = []
    for members in sets.values():
        failed = [snapshot for snapshot in members if snapshot.state == "error"]
        if failed:
            reason = failed[0].state_reason or "no reason given"
            spare += [
                (snapshot, f"delete the failed capture ({failed[0].snapshot_id}: {reason})") for snapshot in members
            ]
        else:
            good.append(members)
    good.sort(key=lambda members: (str(members[0].start_time or ""), min(ids(members))))
    spare += [
        (snapshot, f"delete the second capture: the task uses the capture with {ids(good[0])[0]}")
        for members in good[1:]
        for snapshot in members
    ]
    return (good[0] if good else []), spare


def require_complete(spec: ImageSpec, kept: list[Snapshot], targets: list[Target]) -> None:
    """Raise SpecError unless each device of the image has its snapshot, and each snapshot its device, as at the time of
    the capture.
    """
    volumes = {target.volume_id for target in targets}
    strangers = [item for item in kept if item.volume_id not in volumes]
    missing = volumes - {item.volume_id for item in kept}
    if strangers or missing:
        raise SpecError(
            f"the capture of {spec.label} has the volumes {', '.join(sorted(item.volume_id for item in kept))}, "
            "but the task now bakes the devices "
            f"{', '.join(f'{target.device_name} ({target.volume_id})' for target in targets)}. Use another version, "
            f"or delete the snapshots {', '.join(ids(kept))}"
        )


MOST_EXCLUDED = 40
"""The most volumes that CreateSnapshots can leave out (EC2 API reference, InstanceSpecification)."""


def require_devices(wanted: Iterable[str], root: str, present: Collection[str]) -> None:
    """Raise SpecError for devices that the instance lacks, and for a list without its root.

    Also raise SpecError if a capture would leave out more volumes than EC2 takes.
    """
    unknown = sorted(set(wanted) - set(present))
    if unknown:
        raise SpecError(f"devices: the instance has no {', '.join(unknown)}. It has {', '.join(sorted(present))}.")
    if root not in wanted:
        raise SpecError(f"devices: an image needs its root device {root}. Add it to the list.")
    if len(set(present) - set(wanted)) > MOST_EXCLUDED:
        raise SpecError(f"devices: EC2 excludes at most {MOST_EXCLUDED} volumes from a capture. Name more devices.")
