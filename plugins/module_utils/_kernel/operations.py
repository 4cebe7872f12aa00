# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mutating operations of AWS that plans consist of.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """The facts about a mutating operation of EC2 that are necessary to make calls from changes.

    ``target``: the parameter of the request that names the resource, or None for an operation that creates one.
    ``most``: the number of resources that one call takes. ``target`` is a list when it is more than one.
    ``creates``: the path of keys and indexes to the new id in the answer. ``Snapshots`` of CreateSnapshots is a list,
    matched to the changes by volume.
    ``token``: EC2 recognises a repeated call by its ClientToken.
    ``safe``: a repeat after an unclear answer does no harm, by its nature or by its token.
    ``already``: EC2's codes for a change that is already made, such as a repeated delete.
    ``perhaps``: EC2's codes for a change that is already under way, or that EC2 refuses. A query shows which.
    ``snapshots``: the operation takes or copies snapshots. EC2 has no token for it, so two calls make two snapshots.
    ``copies``: the operation copies another snapshot, which the request names.
    ``joint``: one call makes all parts, in any number.
    ``links``: the operation is about a resource and an instance, so one stage may have it twice for the resource.
    ``joins``: the operation attaches the resource to the instance. Other attachments to the instance do not depend on
    it.
    ``removes``: the operation removes the resource.
    ``retags``: the operation changes only tags.
    ``prepares``: other steps need the resource as the operation leaves it, such as the copy of a shared image.
    ``is_last``: all uses of the resource in a plan come before, such as the copy of a snapshot before its deletion.
    ``halts``: the operation ends work that is under way on the resource, such as an instance refresh.
    ``at_once``: the number of these operations that EC2 carries out in one place at once, or None without a limit.
    ``service``: the service of AWS that has the operation.
    """

    target: str | None = None
    most: int = 1
    creates: tuple[str | int, ...] = ()
    token: bool = False
    safe: bool = True
    already: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()
    snapshots: bool = False
    copies: bool = False
    joint: bool = False
    links: bool = False
    joins: bool = False
    removes: bool = False
    retags: bool = False
    prepares: bool = False
    is_last: bool = False
    halts: bool = False
    at_once: int | None = None
    service: str = "ec2"

    @property
    def readies(self) -> bool:
        """Other steps may need the resource as the change leaves it: tagged, shared or removed."""
        return self.retags or self.prepares or self.is_last


OPERATIONS: Mapping[str, Operation] = {
    "CreateTags": Operation("Resources", most=1000, retags=True),
    "DeleteTags": Operation("Resources", most=1000, retags=True),
    "StopInstances": Operation("InstanceIds", most=1000),
    "StartInstances": Operation("InstanceIds", most=1000),
    "TerminateInstances": Operation(
        "InstanceIds", most=1000, already=frozenset({"InvalidInstanceID.NotFound"}), removes=True, is_last=True
    ),
    "ModifyInstanceAttribute": Operation("InstanceId"),
    "AssociateAddress": Operation("AllocationId"),
    # No client token, and only the answer has the id of the attachment. A repeated call gets one of these codes, and so
    # does a call for an interface or a device index that another run has taken. A query shows which of the two it was.
    "AttachNetworkInterface": Operation(
        creates=("AttachmentId",),
        safe=False,
        perhaps=frozenset({"InvalidNetworkInterface.InUse", "InvalidParameterValue"}),
    ),
    # An attachment has its name in the request. A plan names the interface.
    "DetachNetworkInterface": Operation(already=frozenset({"InvalidAttachmentID.NotFound"})),
    "ModifyNetworkInterfaceAttribute": Operation("NetworkInterfaceId"),
    # "If the specified target does not exist, the action returns successfully" (Elastic Load Balancing API reference).
    "RegisterTargets": Operation("TargetGroupArn", service="elbv2"),
    "DeregisterTargets": Operation("TargetGroupArn", service="elbv2"),
    "RegisterInstancesWithLoadBalancer": Operation("LoadBalancerName", service="elb"),
    "DeregisterInstancesFromLoadBalancer": Operation(
        "LoadBalancerName", already=frozenset({"InvalidInstance"}), service="elb"
    ),
    "RunInstances": Operation(creates=("Instances", 0, "InstanceId"), token=True),
    "CreateReplaceRootVolumeTask": Operation(creates=("ReplaceRootVolumeTask", "ReplaceRootVolumeTaskId"), token=True),
    "CreateVolume": Operation(creates=("VolumeId",), token=True),
    # A repeated call gets this code, and so does a call that comes after another run's. The wait shows which of the two
    # it was.
    "AttachVolume": Operation("VolumeId", already=frozenset({"VolumeInUse"}), links=True, joins=True),
    "DetachVolume": Operation(
        "VolumeId", already=frozenset({"IncorrectState", "InvalidAttachment.NotFound"}), links=True
    ),
    "DeleteVolume": Operation(
        "VolumeId",
        already=frozenset({"InvalidVolume.NotFound"}),
        perhaps=frozenset({"IncorrectState"}),
        removes=True,
        is_last=True,
    ),
    # No client token (EC2 API reference): a repeat uses another of the volume's four modifications a day.
    "ModifyVolume": Operation("VolumeId", safe=False),
    # No client token (EC2 API reference): a repeat makes a second resource.
    "CreateSnapshot": Operation(creates=("SnapshotId",), safe=False, snapshots=True),
    "CreateSnapshots": Operation(creates=("Snapshots",), safe=False, snapshots=True, joint=True),
    "RegisterImage": Operation(creates=("ImageId",), safe=False),
    "CreateImage": Operation(creates=("ImageId",), safe=False),
    "DeleteSnapshot": Operation(
        "SnapshotId", already=frozenset({"InvalidSnapshot.NotFound"}), removes=True, is_last=True
    ),
    # No client token either. The call goes to the region and the account of the copy.
    "CopySnapshot": Operation(creates=("SnapshotId",), safe=False, snapshots=True, copies=True, at_once=20),
    # The call goes to the region and the account of the copy. Its token makes a repeat safe.
    "CopyImage": Operation(creates=("ImageId",), token=True),
    "ModifyImageAttribute": Operation("ImageId", prepares=True),
    "EnableImageDeprecation": Operation("ImageId"),
    "DisableImageDeprecation": Operation("ImageId"),
    "EnableImageDeregistrationProtection": Operation("ImageId"),
    "DisableImageDeregistrationProtection": Operation("ImageId"),
    "DisableImage": Operation("ImageId"),
    # Its token makes a repeat safe. The report counts the uses of the image in other accounts.
    "CreateImageUsageReport": Operation("ImageId", token=True),
    # A parameter has its name in the request, since one plan may write a name in several places.
    "PutParameter": Operation(service="ssm"),
    "CreateLaunchTemplateVersion": Operation(creates=("LaunchTemplateVersion", "VersionNumber"), token=True),
    "ModifyLaunchTemplate": Operation("LaunchTemplateId"),
    # No client token, but a group takes one refresh at a time, and a second one skips the instances that the first has
    # replaced.
    "StartInstanceRefresh": Operation(
        "AutoScalingGroupName", already=frozenset({"InstanceRefreshInProgress"}), service="autoscaling"
    ),
    "CancelInstanceRefresh": Operation(
        "AutoScalingGroupName",
        already=frozenset({"ActiveInstanceRefreshNotFound"}),
        halts=True,
        service="autoscaling",
    ),
    "RollbackInstanceRefresh": Operation(
        "AutoScalingGroupName",
        already=frozenset({"ActiveInstanceRefreshNotFound"}),
        halts=True,
        service="autoscaling",
    ),
    "ModifySnapshotAttribute": Operation("SnapshotId", prepares=True),
    "ModifySnapshotTier": Operation("SnapshotId", is_last=True),
    "LockSnapshot": Operation("SnapshotId"),
    "UnlockSnapshot": Operation("SnapshotId"),
    "EnableFastSnapshotRestores": Operation("SourceSnapshotIds", most=10),
    "DisableFastSnapshotRestores": Operation("SourceSnapshotIds", most=10),
    "DeregisterImage": Operation(
        "ImageId",
        already=frozenset({"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"}),
        is_last=True,
    ),
}
