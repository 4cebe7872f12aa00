# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``msg`` of a task: one line for a person who runs it without ``--diff``.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from .._kernel.display import counted
from .._kernel.plan import Change

# The kind of resource and the deed of an operation: "1 snapshot taken".
_SAID: Mapping[str, tuple[str, str]] = {
    "StopInstances": ("instance", "stopped"),
    "StartInstances": ("instance", "started"),
    "TerminateInstances": ("instance", "terminated"),
    "RunInstances": ("instance", "launched"),
    "CreateReplaceRootVolumeTask": ("root volume", "replaced"),
    "AssociateAddress": ("Elastic IP", "moved"),
    "AttachNetworkInterface": ("network interface", "attached"),
    "DetachNetworkInterface": ("network interface", "detached"),
    "RegisterTargets": ("target", "registered"),
    "DeregisterTargets": ("target", "deregistered"),
    "RegisterInstancesWithLoadBalancer": ("target", "registered"),
    "DeregisterInstancesFromLoadBalancer": ("target", "deregistered"),
    "CreateVolume": ("volume", "created"),
    "AttachVolume": ("volume", "attached"),
    "DetachVolume": ("volume", "detached"),
    "ModifyVolume": ("volume", "modified"),
    "DeleteVolume": ("volume", "deleted"),
    "CreateSnapshot": ("snapshot", "taken"),
    "CreateSnapshots": ("snapshot", "taken"),
    "CopySnapshot": ("snapshot", "copied"),
    "DeleteSnapshot": ("snapshot", "deleted"),
    "ModifySnapshotAttribute": ("snapshot", "shared or unshared"),
    "ModifySnapshotTier": ("snapshot", "archived"),
    "LockSnapshot": ("snapshot", "locked"),
    "UnlockSnapshot": ("snapshot", "unlocked"),
    "EnableFastSnapshotRestores": ("snapshot", "enabled for fast restore"),
    "DisableFastSnapshotRestores": ("snapshot", "disabled for fast restore"),
    "RegisterImage": ("image", "registered"),
    "CreateImage": ("image", "created"),
    "CopyImage": ("image", "copied"),
    "DisableImage": ("image", "disabled"),
    "DeregisterImage": ("image", "deregistered"),
    "CreateImageUsageReport": ("usage report", "requested"),
    "PutParameter": ("parameter", "written"),
    "CreateLaunchTemplateVersion": ("launch template version", "created"),
    "ModifyLaunchTemplate": ("launch template", "given another default version"),
    "StartInstanceRefresh": ("group", "refreshed"),
    "CancelInstanceRefresh": ("group", "no longer refreshed"),
    "RollbackInstanceRefresh": ("group", "rolled back"),
}
# These are named only if nothing else is done, since tags and attributes accompany most changes.
_BESIDE: Mapping[str, tuple[str, str]] = {
    "CreateTags": ("resource", "tagged"),
    "DeleteTags": ("resource", "untagged"),
    "ModifyInstanceAttribute": ("instance", "modified"),
    "ModifyNetworkInterfaceAttribute": ("network interface", "modified"),
    **dict.fromkeys(
        (
            "ModifyImageAttribute",
            "EnableImageDeprecation",
            "DisableImageDeprecation",
            "EnableImageDeregistrationProtection",
            "DisableImageDeregistrationProtection",
        ),
        ("attribute", "set"),
    ),
}


def headline(changes: Iterable[Change], state: str = "", *, planned: bool = False) -> str:
    """Return the counts of *changes*, and then *state*, the feature's own figures: ``1 snapshot taken; 6 kept``.

    With *planned* (check mode), the counts read ``1 snapshot to be taken``. Consecutive counts of one kind name the
    kind only once.
    Without a change, the text begins with ``no change``.
    """
    made = list(changes)
    counts = Counter(_SAID[change.action] for change in made if change.action in _SAID)
    if not counts:
        counts = Counter(_BESIDE[change.action] for change in made if change.action in _BESIDE)
    parts, named = [], ""
    for (noun, deed), number in counts.items():
        things = str(number) if noun == named else counted(number, noun)
        parts.append(f"{things} {'to be ' if planned else ''}{deed}")
        named = noun
    done = ", ".join(parts) or ("some change" if made else "no change")
    return f"{done}; {state}" if state else done
