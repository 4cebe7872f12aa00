#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ami_bake
short_description: Ensure that one version of an AMI exists, is captured, or is absent
version_added: 0.1.0
description:
  - An image is declared by O(name) and O(version). The module makes sure that there is exactly one AMI for them in
    the region, made from the given source, whatever happened to earlier runs.
  - The identity is kept in the tags C(ec2ops:image), C(ec2ops:version) and C(ec2ops:fingerprint) on the AMI and on
    the snapshots that the module takes. A capture that was interrupted is found again by them, so there is one
    snapshot per device and one AMI, ever.
  - Tags alone prove nothing. An AMI or a snapshot with these tags is of the version only when EC2 shows the version's
    name or description on it, and the AMI was made from a volume of the source. A warning names the others.
  - With O(state=captured) the module returns as soon as the point in time is fixed. The instance may be started then,
    while EC2 still copies. A later run with O(state=available) waits for the snapshots and registers the AMI.
  - Architecture, boot mode and the other facts of the hardware are inherited from the source instance and its image.
    RegisterImage's own defaults (C(i386), C(paravirtual)) are never used.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  name:
    description: The name of the line of images, for example V(web). It must be text, so quote a number.
    type: raw
    required: true
  version:
    description:
      - The version within the line, for example V(2026.11.23). A version that exists is never made again.
      - It must be text. Quote it, since YAML reads V(2026.10) as the number V(2026.1). What is not text is refused.
    type: raw
    required: true
  image_name:
    description:
      - The AMI's name in EC2, unique in the account and region. C({name}) and C({version}) stand for the options.
      - Not used with O(state=absent), which finds the AMI by O(name) and O(version).
    type: str
    default: "{name}-{version}"
  state:
    description:
      - V(available) means that the AMI is registered and usable.
      - V(captured) means that its point in time is fixed. Nothing is waited for, except for O(method=image), where
        the AMI must first name its snapshots.
      - V(absent) deregisters the AMI and deletes the snapshots that this module took for it and no other AMI uses.
        It is refused while something needs the AMI, see O(force).
      - A copy of the AMI that somebody has made with CopyImage, with its tags, is never taken for the version and never
        removed.
    type: str
    choices: [available, captured, absent]
    default: available
  source_instance_id:
    description:
      - The instance to bake from. When it was replaced by M(ec2ops.storage.instance_relaunch), its living successor
        is baked.
      - A version that exists, as an image or as a capture, does not need the instance any more.
      - While such a replacement is unfinished, so that it is open which of the two has the data, nothing is baked.
      - A version that was made from this instance, from one that it replaces, or that this instance runs from, has
        the same source.
    type: str
  follow_successor:
    description:
      - Whether O(source_instance_id) stands for the living instance that has replaced it. With V(false) the id is taken
        literally, which saves a call where an earlier task has returned RV(source_instance_id).
    type: bool
    default: true
  source_snapshot_id:
    description:
      - The snapshot of a root volume to bake from. O(architecture), O(root_device_name) and O(ena_support) must be
        given then.
      - The snapshot is never deleted by this module.
    type: str
  method:
    description:
      - V(snapshot) takes snapshots and registers an AMI from them.
      - V(image) uses CreateImage without a reboot, which keeps product codes and the billed platform. The options for
        the hardware, from O(architecture) on, cannot be given then.
      - V(auto) means V(image) where the source has product codes or a platform other than Linux/UNIX, else
        V(snapshot).
    type: str
    choices: [auto, snapshot, image]
    default: auto
  require_stopped:
    description:
      - Capture only from a stopped instance. With V(false), an image of a running instance is accepted. It is as
        consistent as a disk after a power cut.
    type: bool
    default: true
  devices:
    description:
      - Whether the image has the root device, or all EBS volumes that are attached to the instance, taken at one
        moment.
    type: str
    choices: [root, all]
    default: root
  block_devices:
    description: What is to be different for a device of the image. What is left out is as the source has it.
    type: list
    elements: dict
    default: []
    suboptions:
      device_name:
        description: The device's name in the source, for example V(/dev/xvda).
        type: str
        required: true
      volume_size:
        description: Size in GiB, not smaller than the source.
        type: int
      volume_type:
        description: The EBS volume type.
        type: str
        choices: [gp2, gp3, io1, io2, sc1, st1, standard]
      iops:
        description: IOPS, for the types that take it.
        type: int
      throughput:
        description: Throughput in MiB/s, for V(gp3).
        type: int
      delete_on_termination:
        description: Whether the volume ends with its instance.
        type: bool
  architecture:
    description: The image's architecture. Inherited unless given, as are the options that follow.
    type: str
    choices: [i386, x86_64, arm64, x86_64_mac, arm64_mac]
  virtualization_type:
    description: The image's virtualization type.
    type: str
    choices: [hvm, paravirtual]
  boot_mode:
    description: The image's boot mode.
    type: str
    choices: [legacy-bios, uefi, uefi-preferred]
  ena_support:
    description: Whether enhanced networking with ENA is enabled.
    type: bool
  sriov_net_support:
    description: Enhanced networking with the Intel 82599 interface.
    type: str
    choices: [simple, none]
  tpm_support:
    description: NitroTPM support, V(none) for an image without it.
    type: str
    choices: [v2.0, none]
  uefi_data:
    description: The UEFI variable store, base64.
    type: str
  imds_support:
    description: V(v2.0) makes instances of the image require IMDSv2, V(none) does not.
    type: str
    choices: [v2.0, none]
  kernel_id:
    description: The kernel of a paravirtual image.
    type: str
  ramdisk_id:
    description: The RAM disk of a paravirtual image.
    type: str
  root_device_name:
    description: The name of the root device.
    type: str
  platform_details:
    description:
      - The platform as which EC2 must bill the image, for example V(Linux/UNIX). An image that EC2 bills otherwise is
        deregistered again, and the task fails.
      - With O(source_instance_id), the platform of the instance is expected in any case.
      - With O(source_snapshot_id), EC2 bills the image as Linux/UNIX whatever the snapshot holds. Without this option
        the module warns about that.
    type: str
  description:
    description:
      - The description of the image and its snapshots, set when they are made.
      - That of a snapshot ends with a hash of O(name) and O(version), which proves for which version it was taken.
    type: str
  tags:
    description:
      - Tags for the image and the snapshots that the module has taken for it. They are set when these are made, and
        again when the tags of an existing image or its snapshots differ.
      - Tags that are not named here stay as they are.
      - Quote values, since YAML turns V(yes) into V(true). A value that is neither text nor a whole number is refused.
    type: dict
    default: {}
  force:
    description:
      - With O(state=absent), deregister the image although something needs it, and leave snapshots that are locked.
      - Without it, the removal is refused while the image is used by an instance, a launch template in any of its
        versions, a launch configuration, an SSM parameter, an Image Builder recipe, or by another account with which it
        is shared and which an existing AMI usage report names. It is refused too while a snapshot is locked, and where
        the permission to find out is missing.
      - An image that is shared, without a usage report that shows use, is removed with a warning.
      - Deregistration protection is never overridden.
    type: bool
    default: false
  wait:
    description:
      - Wait until the image is available. The snapshots are waited for in any case before an image is registered from
        them.
notes:
  - The user needs C(ec2:DescribeImages), C(ec2:DescribeInstances), C(ec2:DescribeSnapshots), C(ec2:DescribeVolumes),
    C(ec2:GetInstanceUefiData) (UEFI instances), C(ec2:CreateSnapshot) or C(ec2:CreateSnapshots), C(ec2:RegisterImage)
    or C(ec2:CreateImage), C(ec2:CreateTags).
  - O(state=absent) needs C(ec2:DescribeImages), C(ec2:DescribeSnapshots), C(ec2:DescribeLockedSnapshots),
    C(ec2:DeregisterImage) and C(ec2:DeleteSnapshot). Unless O(force=true), it also needs
    C(ec2:DescribeImageReferences) with the permissions of the managed policy C(AmazonEC2ImageReferencesAccessPolicy),
    C(ec2:DescribeImageAttribute), C(autoscaling:DescribeLaunchConfigurations) and, for a shared image,
    C(ec2:DescribeImageUsageReportEntries) and C(ec2:DescribeImageUsageReports).
  - O(state=absent) needs botocore 1.40.76 or newer for DescribeImageReferences, unless O(force=true).
  - Options that shape the image apply when it is made. Of an image that exists, a later run changes only the tags; it
    warns about other options that the image does not have.
  - A version whose image or capture exists needs its source no more. When the instance is gone, the AMI is registered
    from the capture, with what the tag C(ec2ops:machine) on the snapshots tells of the instance.
seealso:
  - module: ec2ops.storage.instance_power
  - module: ec2ops.storage.instance_relaunch
  - module: amazon.aws.ec2_ami
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: One version of the web image from a stopped instance
  ec2ops.storage.ami_bake:
    name: web
    version: "2026.11.23"
    source_instance_id: i-0123456789abcdef0
    tags:
      team: shop
    region: eu-central-1

- name: Fix the point in time of all volumes at once, and go on while EC2 copies
  ec2ops.storage.ami_bake:
    name: db
    version: "42"
    state: captured
    source_instance_id: i-0123456789abcdef0
    devices: all

- name: An image with a larger, faster root from a snapshot
  ec2ops.storage.ami_bake:
    name: base
    version: "7"
    source_snapshot_id: snap-0123456789abcdef0
    architecture: arm64
    root_device_name: /dev/xvda
    ena_support: true
    boot_mode: uefi
    block_devices:
      - device_name: /dev/xvda
        volume_size: 40
        volume_type: gp3
        throughput: 250

- name: A version that nobody uses any more is gone, with its snapshots
  ec2ops.storage.ami_bake:
    name: web
    version: "2026.01.05"
    state: absent
"""

RETURN = r"""
msg:
  description: One line that says what the task did, or would do in check mode, and how things stand. On failure, why.
  returned: always
  type: str
  sample: 1 snapshot taken, 1 image registered; image web/2026.11.23 is ami-0123456789abcdef0, available
image:
  description: The image, in its state after the wait. Null while there is none.
  returned: success
  type: dict
  sample: {"image_id": "ami-0123456789abcdef0", "name": "web-2026.11.23", "state": "available"}
image_id:
  description: The image's id, in check mode C((new image web/2026.11.23)) for one that would be made.
  returned: success
  type: str
  sample: ami-0123456789abcdef0
snapshots:
  description: The snapshots of the image, or of the capture while the image is not registered yet.
  returned: success
  type: list
  elements: dict
  sample: [{"snapshot_id": "snap-0123456789abcdef0", "device_name": "/dev/xvda", "state": "completed"}]
source_instance_id:
  description:
    - The instance that O(source_instance_id) stands for, itself or its living successor. Later tasks should use this
      one.
  returned: success
  type: str
  sample: i-0123456789abcdef0
source_state:
  description: The state of that instance.
  returned: success
  type: str
  sample: stopped
source_rejected:
  description:
    - Instances that M(ec2ops.storage.instance_relaunch) has launched in place of that instance, and that do not stand
      for it. The next relaunch terminates those that it has given up. Not looked for with O(follow_successor=false).
  returned: success
  type: list
  elements: str
  sample: []
plan:
  description:
    - What was done, or in check mode would be done, in order. One entry per resource, the same in both modes.
  returned: always
  type: list
  elements: dict
  sample:
    - action: RegisterImage
      resource: (new image web/2026.11.23)
      region: eu-central-1
      parameters: {"Name": "web-2026.11.23"}
      reason: web/2026.11.23 does not exist yet
      before: null
      after: {"name": "web-2026.11.23", "state": "available"}
      disruptive: false
api_calls:
  description: How many requests were sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeImages": 1, "DescribeInstances": 2}
error:
  description: What EC2 refused, where the failure came from EC2.
  returned: failure
  type: dict
  sample: {"operation": "RegisterImage", "code": "UnauthorizedOperation", "message": "You are not authorized."}
planned_ids:
  description: The ids that EC2 gave to what RV(plan) names by planned ids. Empty in check mode.
  returned: always
  type: dict
  sample: {}
done:
  description: On failure, the entries of the plan that were carried out.
  returned: failure
  type: list
  elements: dict
  sample: []
failed_changes:
  description: On failure, the entries of the plan that failed.
  returned: failure
  type: list
  elements: dict
  sample: []
not_tried:
  description: On failure, the entries of the plan that were not begun.
  returned: failure
  type: list
  elements: dict
  sample: []
rolled_back:
  description: On failure, the changes that the rollback made.
  returned: failure, after the first change
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import run_module
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image.planner import FEATURE

BLOCK_DEVICE = {
    "device_name": {"type": "str", "required": True},
    "volume_size": {"type": "int"},
    "volume_type": {"type": "str", "choices": ["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"]},
    "iops": {"type": "int"},
    "throughput": {"type": "int"},
    "delete_on_termination": {"type": "bool"},
}

ARGUMENT_SPEC = {
    "name": {"type": "raw", "required": True},
    "version": {"type": "raw", "required": True},
    "image_name": {"type": "str", "default": "{name}-{version}"},
    "state": {"type": "str", "choices": ["available", "captured", "absent"], "default": "available"},
    "source_instance_id": {"type": "str"},
    "follow_successor": {"type": "bool", "default": True},
    "source_snapshot_id": {"type": "str"},
    "method": {"type": "str", "choices": ["auto", "snapshot", "image"], "default": "auto"},
    "require_stopped": {"type": "bool", "default": True},
    "devices": {"type": "str", "choices": ["root", "all"], "default": "root"},
    "block_devices": {"type": "list", "elements": "dict", "default": [], "options": BLOCK_DEVICE},
    "architecture": {"type": "str", "choices": ["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"]},
    "virtualization_type": {"type": "str", "choices": ["hvm", "paravirtual"]},
    "boot_mode": {"type": "str", "choices": ["legacy-bios", "uefi", "uefi-preferred"]},
    "ena_support": {"type": "bool"},
    "sriov_net_support": {"type": "str", "choices": ["simple", "none"]},
    "tpm_support": {"type": "str", "choices": ["v2.0", "none"]},
    "uefi_data": {"type": "str", "no_log": True},
    "imds_support": {"type": "str", "choices": ["v2.0", "none"]},
    "kernel_id": {"type": "str"},
    "ramdisk_id": {"type": "str"},
    "root_device_name": {"type": "str"},
    "platform_details": {"type": "str"},
    "description": {"type": "str"},
    "tags": {"type": "dict", "default": {}},
    "force": {"type": "bool", "default": False},
}


EXAMPLES_OF_MAPPINGS = {
    "block_devices[]": "block_devices: [{device_name: /dev/xvda, volume_size: 20}]",
    "tags": "tags: {team: shop}",
}


def main() -> None:
    run_module(
        FEATURE,
        ARGUMENT_SPEC,
        examples=EXAMPLES_OF_MAPPINGS,
        mutually_exclusive=[("source_instance_id", "source_snapshot_id")],
        required_if=[
            ("state", "available", ("source_instance_id", "source_snapshot_id"), True),
            ("state", "captured", ("source_instance_id", "source_snapshot_id"), True),
        ],
    )


if __name__ == "__main__":
    main()
