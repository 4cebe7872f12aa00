# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Recycle Bin, as EC2 shows it: deleted resources, while a retention rule keeps them.

Rules belong to another service, which this sandbox does not have: the setting ``recycle_bin`` stands for them, a list
of ``{"days": 7, "resource_type": "snapshot" | "image", "region": glob, "account": ..., "tags": {...}, "exclude_tags":
{...}}``. Only ``days`` is required. A rule with ``tags`` is for resources with one of these tags. The longest rule
counts.
"""

from __future__ import annotations

from datetime import datetime

from .engine import Ec2Error, Request, action
from .images import checked_name
from .pages import paged
from .snapshots import snapshot_row
from .volumes import value_error
from .world import Binned, Image, Shape, Snapshot, is_id, not_an_id

MOST_IMAGE_IDS = 20


@action("ListSnapshotsInRecycleBin")
def list_snapshots_in_recycle_bin(request: Request) -> Shape:
    """The deleted snapshots that can be restored."""
    wanted = request.params.get("SnapshotIds") or []
    for one in wanted:
        if not is_id("snap", one):
            raise not_an_id(one, "snapshotIds", "snap-...")
    rows = _binned(request, "snapshot", wanted)
    page, token = paged(request, rows, 5, 1000, key=_place, strict=True)
    return {
        "Snapshots": [
            {
                "SnapshotId": one.resource.id,
                "Description": one.resource.description,
                "VolumeId": one.resource.volume_id if isinstance(one.resource, Snapshot) else None,
                **_times(one),
            }
            for one in page
        ],
        "NextToken": token,
    }


@action("ListImagesInRecycleBin")
def list_images_in_recycle_bin(request: Request) -> Shape:
    """The deregistered images that can be restored."""
    wanted = request.params.get("ImageIds") or []
    if len(wanted) > MOST_IMAGE_IDS:
        raise value_error(f"The number of image ids exceeds the limit of {MOST_IMAGE_IDS}")
    for one in wanted:
        if not is_id("ami", one):
            raise Ec2Error("InvalidAMIID.Malformed", f'Invalid id: "{one}" (expecting "ami-...")')
    page, token = paged(request, _binned(request, "image", wanted), 1, 1000, key=_place, strict=True)
    return {
        "Images": [
            {
                "ImageId": one.resource.id,
                "Name": one.resource.name if isinstance(one.resource, Image) else None,
                "Description": one.resource.description,
                **_times(one),
            }
            for one in page
        ],
        "NextToken": token,
    }


def _binned(request: Request, kind: str, wanted: list[str]) -> list[Binned]:
    rows = request.home.binned(request.now).values()
    found = [one for one in rows if one.resource.kind == kind and (not wanted or one.resource.id in wanted)]
    return sorted(found, key=_place)


def _place(one: Binned) -> tuple[str, str]:
    return one.entered.isoformat(), one.resource.id


def _times(one: Binned) -> dict[str, datetime]:
    return {"RecycleBinEnterTime": one.entered, "RecycleBinExitTime": one.exits}


@action("RestoreSnapshotFromRecycleBin")
def restore_snapshot_from_recycle_bin(request: Request) -> Shape:
    """Restore a snapshot as it was, with its sharing and its tier."""
    home, now = request.home, request.now
    snapshot_id = request.params["SnapshotId"]
    if not is_id("snap", snapshot_id):
        raise not_an_id(snapshot_id, "snapshotId", "snap-...")
    found = home.binned(now).get(snapshot_id)
    if found is None or not isinstance(found.resource, Snapshot):
        raise Ec2Error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist in the Recycle Bin.")
    request.dry_run_gate()
    del home.bin[snapshot_id]
    home.take_back(found.resource)
    row = snapshot_row(found.resource, now)
    return {name: row[name] for name in _SHOWN}


_SHOWN = (
    "SnapshotId", "VolumeId", "State", "StartTime", "Progress", "OwnerId", "VolumeSize", "Description", "Encrypted",
)  # fmt: skip


@action("RestoreImageFromRecycleBin")
def restore_image_from_recycle_bin(request: Request) -> Shape:
    """Register an image again, unless one of its snapshots is gone or its name was given to another."""
    home = request.home
    image_id = request.params["ImageId"]
    found = home.binned(request.now).get(image_id)
    if found is None or not isinstance(found.resource, Image):
        raise Ec2Error("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist in the Recycle Bin")
    image = found.resource
    lost = [one for one in image.snapshot_ids() if one not in home.snapshots]
    if lost:
        raise Ec2Error("IncorrectState", f"The snapshots {', '.join(lost)} of the image '{image_id}' do not exist.")
    checked_name(request, image.name)
    request.dry_run_gate()
    del home.bin[image_id]
    image.deregistered = None
    return {"Return": True}
