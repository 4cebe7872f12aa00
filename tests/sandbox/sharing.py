# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sharing of snapshots, and the settings that forbid public ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
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
    """Share a snapshot with accounts or everybody, or end that. One call adds or removes, but not both."""
    params = request.params
    changes = _changes(params)
    if sum(len(one) for items in changes.values() for one in items) > MOST_CHANGES:
        raise value_error(f"Modification size must not be greater than {MOST_CHANGES}.")
    snapshot = own_snapshot(request, params["SnapshotId"])
    legacy = not params.get("CreateVolumePermission")
    # A grant to oneself is accepted, and changes nothing.
    added, removed = (
        {user for one in changes[name] for user in _checked(one, legacy) if user != snapshot.owner}
        for name in ("add", "remove")
    )
    if added:
        _refuse_sharing(request, snapshot, added)
    request.dry_run_gate()
    shared = snapshot.shared(request.now)
    if snapshot.shared_until is not None and request.now >= snapshot.shared_until:
        snapshot.shared_until = snapshot.restored_until(request.now)
    snapshot.shared_with = (shared | added) - removed
    request.home.end_unshared_fast_restores(request.now)
    return {}


def _changes(params: dict[str, Any]) -> dict[str, list[Shape]]:
    """The accounts to add, or to remove. The newer form (CreateVolumePermission) counts where both are given."""
    permission = params.get("CreateVolumePermission") or {}
    changes = {
        "add": [one for one in permission.get("Add") or [] if one],
        "remove": [one for one in permission.get("Remove") or [] if one],
    }
    if changes["add"] and changes["remove"]:
        raise combination_error("One and only one operation type may be specified for createVolumePermissions")
    if changes["add"] or changes["remove"]:
        return changes
    attribute, operation = params.get("Attribute"), params.get("OperationType")
    items = [{"UserId": one} for one in params.get("UserIds") or []]
    items += [{"Group": one} for one in params.get("GroupNames") or []]
    if attribute is None and operation is None and not items:
        raise combination_error("No attributes specified.")
    if not attribute:
        raise Ec2Error(
            "MissingParameter", "Value for parameter attribute is invalid. Parameter may not be null or empty."
        )
    if attribute != "createVolumePermission":
        raise value_error("Unrecognized attribute.")
    if operation not in changes:
        raise combination_error("No operation specified for createVolumePermission attribute.")
    changes[operation] = items
    return changes


def _checked(permission: Shape, legacy: bool) -> Iterator[str]:
    """The account, the group "all", or both. Raises InvalidAMIAttributeItemValue, EC2's code also for snapshots."""
    user, group = permission.get("UserId"), permission.get("Group")
    if user is not None:
        if not _ACCOUNT.fullmatch(user):
            text = f"UserId ({user}) is invalid." if legacy else f"UserId {user}"
            raise Ec2Error("InvalidAMIAttributeItemValue", text)
        yield user
    if group is not None:
        if group != "all":
            raise Ec2Error("InvalidAMIAttributeItemValue", f"UserGroup {group}")
        yield group


def _refuse_sharing(request: Request, snapshot: Snapshot, added: Collection[str]) -> None:
    public = "all" in added
    if snapshot.tier(request.now) == "archive":
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is archived and cannot be shared.")
    if public and snapshot.encrypted:
        raise Ec2Error("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly.")
    if public and snapshot.product_codes:
        raise value_error(f"Snapshots with product codes cannot be made public: {snapshot.id}")
    if public and request.home.block_public_access != "unblocked":
        # The code is not recorded. This is EC2's code for a call that a setting of the account forbids.
        raise Ec2Error("OperationNotPermitted", "Public sharing of snapshots is blocked for this account.")
    if snapshot.encrypted and snapshot.kms_key_id == key_arn(request, DEFAULT_KEY):
        raise Ec2Error("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")


@action("DescribeSnapshotAttribute")
def describe_snapshot_attribute(request: Request) -> Shape:
    """The accounts that a snapshot is shared with, or its product codes.

    A block of public access does not change this answer.
    """
    params = request.params
    snapshot = own_snapshot(request, params["SnapshotId"])
    if params["Attribute"] == "productCodes":
        codes = [{"ProductCodeId": one, "ProductCodeType": "marketplace"} for one in snapshot.product_codes]
        return {"SnapshotId": snapshot.id, "ProductCodes": codes}
    if params["Attribute"] != "createVolumePermission":
        raise Ec2Error("InvalidRequest", "The request received was invalid.")
    shared = sorted(snapshot.shared(request.now))
    permissions = [{"Group": "all"} if one == "all" else {"UserId": one} for one in shared]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": permissions}


@action("ResetSnapshotAttribute")
def reset_snapshot_attribute(request: Request) -> Shape:
    """Share a snapshot with nobody."""
    snapshot = own_snapshot(request, request.params["SnapshotId"])
    if request.params["Attribute"] != "createVolumePermission":
        raise Ec2Error("InvalidRequest", "The request received was invalid.")
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
    """Forbid new public sharing or, with block-all-sharing, also hide snapshots that are public already."""
    state = request.params["State"]
    if state not in BLOCKING_STATES:
        raise value_error(f"Value ({state}) for parameter state is invalid. Expected: {' or '.join(BLOCKING_STATES)}")
    request.dry_run_gate()
    request.home.block_public_access = state
    request.home.end_unshared_fast_restores(request.now)
    return {"State": state}


@action("DisableSnapshotBlockPublicAccess")
def disable_block_public_access(request: Request) -> Shape:
    """Allow public sharing; hidden snapshots are public again."""
    request.dry_run_gate()
    request.home.block_public_access = "unblocked"
    return {"State": "unblocked"}
