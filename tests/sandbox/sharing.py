# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""With whom snapshots are shared, and what keeps them from being public."""

from __future__ import annotations

import re
from typing import Any

from .engine import Ec2Error, Request, action
from .keys import DEFAULT_KEY, key_arn
from .snapshots import own_snapshot
from .volumes import combination_error, value_error
from .world import Shape, Snapshot

MOST_CHANGES = 500
BLOCKING_STATES = ("block-all-sharing", "block-new-sharing")

_ACCOUNT = re.compile(r"[0-9]{12}")


@action("ModifySnapshotAttribute")
def modify_snapshot_attribute(request: Request) -> Shape:
    """Share a snapshot with accounts or everybody, or no longer: add or remove, not both in one call."""
    params = request.params
    snapshot = own_snapshot(request, params["SnapshotId"])
    if params.get("Attribute") not in (None, "createVolumePermission"):
        raise value_error(f"Value ({params['Attribute']}) for parameter attribute is invalid. It cannot be modified.")
    changes = _changes(params)
    if bool(changes["add"]) == bool(changes["remove"]):
        raise combination_error("Exactly one of add and remove must be given for createVolumePermission.")
    added, removed = ({_checked(one) for one in changes[name]} for name in ("add", "remove"))
    if len(changes["add"]) + len(changes["remove"]) > MOST_CHANGES:
        raise value_error(f"The number of modifications exceeds the limit of {MOST_CHANGES}")
    if added:
        _refuse_sharing(request, snapshot, public="all" in added)
    request.dry_run_gate()
    shared = snapshot.shared(request.now)
    if snapshot.shared_until is not None and request.now >= snapshot.shared_until:
        snapshot.shared_until = snapshot.restored_until(request.now)
    snapshot.shared_with = (shared | added) - removed
    request.home.end_unshared_fast_restores(request.now)
    return {}


def _changes(params: dict[str, Any]) -> dict[str, list[Shape]]:
    permission = params.get("CreateVolumePermission") or {}
    changes = {"add": list(permission.get("Add") or []), "remove": list(permission.get("Remove") or [])}
    operation = params.get("OperationType")
    if operation is not None:
        if operation not in changes:
            raise value_error(f"Value ({operation}) for parameter operationType is invalid. Expected: add or remove")
        changes[operation] += [{"UserId": one} for one in params.get("UserIds") or []]
        changes[operation] += [{"Group": one} for one in params.get("GroupNames") or []]
    return changes


def _checked(permission: Shape) -> str:
    """The account or "all". Raises for what is neither."""
    user, group = permission.get("UserId"), permission.get("Group")
    if bool(user) == bool(group):
        raise combination_error("Exactly one of UserId and Group must be given for each createVolumePermission.")
    if group and group != "all":
        raise value_error(f"Value ({group}) for parameter group is invalid. Expected: all")
    if user and not _ACCOUNT.fullmatch(user):
        raise Ec2Error("InvalidUserID.Malformed", f'Invalid user id: "{user}"')
    return str(user or group)


def _refuse_sharing(request: Request, snapshot: Snapshot, *, public: bool) -> None:
    if snapshot.tier(request.now) == "archive":
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is archived and cannot be shared.")
    if public and snapshot.encrypted:
        raise value_error(f"Encrypted snapshots cannot be made public: {snapshot.id}")
    if public and snapshot.product_codes:
        raise value_error(f"Snapshots with product codes cannot be made public: {snapshot.id}")
    if public and request.home.block_public_access != "unblocked":
        # The code is not recorded; it is EC2's for what a setting of the account forbids.
        raise Ec2Error(
            "OperationNotPermitted",
            "Snapshots cannot be shared publicly: block public access for snapshots is enabled in this Region "
            f"({request.home.block_public_access}).",
        )
    if snapshot.encrypted and snapshot.kms_key_id == key_arn(request, DEFAULT_KEY):
        raise value_error("Snapshots encrypted with the AWS Managed CMK can't be shared")


@action("DescribeSnapshotAttribute")
def describe_snapshot_attribute(request: Request) -> Shape:
    """With whom a snapshot is shared, or its product codes. Being blocked does not change what is said here."""
    params = request.params
    snapshot = own_snapshot(request, params["SnapshotId"])
    if params["Attribute"] == "productCodes":
        codes = [{"ProductCodeId": one, "ProductCodeType": "marketplace"} for one in snapshot.product_codes]
        return {"SnapshotId": snapshot.id, "ProductCodes": codes}
    if params["Attribute"] != "createVolumePermission":
        raise value_error(f"Value ({params['Attribute']}) for parameter attribute is invalid.")
    shared = sorted(snapshot.shared(request.now))
    permissions = [{"Group": "all"} if one == "all" else {"UserId": one} for one in shared]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": permissions}


@action("ResetSnapshotAttribute")
def reset_snapshot_attribute(request: Request) -> Shape:
    """Share a snapshot with nobody."""
    snapshot = own_snapshot(request, request.params["SnapshotId"])
    if request.params["Attribute"] != "createVolumePermission":
        raise value_error(f"Value ({request.params['Attribute']}) for parameter attribute is invalid.")
    request.dry_run_gate()
    snapshot.shared_with, snapshot.shared_until = frozenset(), None
    request.home.end_unshared_fast_restores(request.now)
    return {}


# --- block public access ----------------------------------------------------------------------------------------------


@action("GetSnapshotBlockPublicAccessState")
def get_block_public_access(request: Request) -> Shape:
    """The setting of the account in the region."""
    return {"State": request.home.block_public_access, "ManagedBy": "account"}


@action("EnableSnapshotBlockPublicAccess")
def enable_block_public_access(request: Request) -> Shape:
    """Forbid new public sharing or, with block-all-sharing, hide what is public already, too."""
    state = request.params["State"]
    if state not in BLOCKING_STATES:
        raise value_error(f"Value ({state}) for parameter state is invalid. Expected: {' or '.join(BLOCKING_STATES)}")
    request.dry_run_gate()
    request.home.block_public_access = state
    request.home.end_unshared_fast_restores(request.now)
    return {"State": state}


@action("DisableSnapshotBlockPublicAccess")
def disable_block_public_access(request: Request) -> Shape:
    """Allow public sharing; what was hidden is public again."""
    request.dry_run_gate()
    request.home.block_public_access = "unblocked"
    return {"State": "unblocked"}
