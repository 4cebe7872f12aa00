#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_workbench
short_description: Ensure that the workbench of an image version is open, detached, or absent
version_added: 0.1.0
description:
  - A workbench is an instance with a second volume that was made from the root snapshot of an image. Tasks change the
    files of that volume, and M(ec2ops.storage.ami_bake) makes the next version of the image from it.
  - O(state=present) brings the instance up and attaches the volume. O(state=detached) detaches the volume with all its
    writes. O(state=absent) removes all parts of the workbench.
  - The tags C(ec2ops:image), C(ec2ops:version) and C(ec2ops:workbench) on the instance and on the volume hold the
    identity. By these tags the next run finds what an interrupted run has made, and carries on with it.
  - Tags alone prove nothing. An instance belongs to the workbench only if EC2 shows a ClientToken of this module, and a
    volume only if it was made from the root snapshot of O(source_image_id). A warning names other resources with these
    tags.
  - Once a snapshot or an image of the version exists, O(state=present) changes nothing. So a version that is registered
    is not developed again.
  - The playbook C(ec2ops.storage.develop_image) runs this module, the tasks of the user, and
    M(ec2ops.storage.ami_bake).
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  name:
    description: The name of the line of images, as in M(ec2ops.storage.ami_bake).
    type: raw
    required: true
  version:
    description: The version that is developed. It must be text, so quote a number.
    type: raw
    required: true
  state:
    description:
      - V(present) means that the instance runs and the volume is attached to it, unless the version is captured or
        registered.
      - V(detached) means that the volume is attached to no instance. The module stops an instance that it has launched,
        so that its system unmounts the volume, and terminates it after the detachment. On an instance in
        O(instance_id), unmount the file systems of the volume before. Otherwise the detachment does not end.
      - V(absent) means that the workbench has no instance and no volume. It never removes an image, a snapshot or an
        instance in O(instance_id).
    type: str
    choices: [present, detached, absent]
    default: present
  source_image_id:
    description:
      - The image to develop from. EC2 must bill it as plain Linux/UNIX, without product codes, since RegisterImage does
        not keep another platform.
      - This account must be allowed to use its snapshots. Copy a vendor's image with M(ec2ops.storage.ami_bake)
        first.
    type: str
    required: true
  instance_id:
    description:
      - A running instance that serves as the workbench. The module only attaches and detaches the volume.
      - O(state=present) needs exactly one of O(instance_id) and O(launch).
    type: str
  launch:
    description:
      - The instance that the module launches as the workbench, and terminates at the end.
      - Its root volume is deleted with it. It gets no other volumes of its image.
    type: dict
    suboptions:
      instance_type:
        description: The type of the instance.
        type: str
        required: true
      availability_zone:
        description: The zone of the instance and of the volume.
        type: str
        required: true
      image_id:
        description: The image of the instance. Without it, the instance is launched from O(source_image_id).
        type: str
      subnet_id:
        description: A subnet in the zone. Without it, EC2 takes the zone's default subnet.
        type: str
      security_group_ids:
        description: The security groups. Without them, EC2 takes the default group of the network.
        type: list
        elements: str
        default: []
      key_name:
        description: The key pair with which Ansible connects.
        type: str
      iam_instance_profile:
        description: The name or ARN of an instance profile, for example for a connection through SSM.
        type: str
  device_name:
    description: The device name of the volume on the instance. Without it, the module takes a free one.
    type: str
  tags:
    description: Tags for the instance and the volume that the module makes.
    type: dict
    default: {}
  discard:
    description:
      - With O(state=absent), delete the volume even if no available image of the version has its content.
      - With V(false), the module refuses to delete such a volume.
    type: bool
    default: false
  wait:
    description:
      - Wait until the removed instances and volumes are gone. The module always waits for other steps.
notes:
  - The user needs C(ec2:DescribeImages), C(ec2:DescribeInstances), C(ec2:DescribeInstanceTypes),
    C(ec2:DescribeSnapshots), C(ec2:DescribeVolumes), C(ec2:GetEbsEncryptionByDefault), C(ec2:CreateVolume),
    C(ec2:AttachVolume), C(ec2:DetachVolume), C(ec2:DeleteVolume) and C(ec2:CreateTags). O(launch) needs
    C(ec2:RunInstances), C(ec2:StartInstances), C(ec2:StopInstances), C(ec2:TerminateInstances) and, for a profile,
    C(iam:PassRole).
  - On instances with NVMe, the volume is C(/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_) followed by its id without
    the hyphen.
  - The volume has the same file system ids as the root of an instance from the same image. Mount an XFS file system
    with the option C(nouuid).
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.ebs_volume_spec
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Open a workbench on a new instance
  ec2ops.storage.image_workbench:
    name: web
    version: "2"
    source_image_id: ami-0123456789abcdef0
    launch:
      instance_type: t3.micro
      availability_zone: eu-central-1a
      key_name: ops
    region: eu-central-1
  register: workbench

- name: Detach the developed volume
  ec2ops.storage.image_workbench:
    name: web
    version: "2"
    state: detached
    source_image_id: ami-0123456789abcdef0

- name: Make the version from it
  ec2ops.storage.ami_bake:
    name: web
    version: "2"
    source_volume_id: "{{ workbench.volume_id }}"
    base_image_id: ami-0123456789abcdef0

- name: Remove the workbench
  ec2ops.storage.image_workbench:
    name: web
    version: "2"
    state: absent
    source_image_id: ami-0123456789abcdef0

- name: Attach the volume to an instance that exists
  ec2ops.storage.image_workbench:
    name: web
    version: "3"
    source_image_id: ami-0123456789abcdef0
    instance_id: i-0123456789abcdef0
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 volume created, 1 attached; vol-0123456789abcdef0 of web/2 is at /dev/sdf of i-0123456789abcdef0
phase:
  description:
    - The progress of the version, V(absent), V(open), V(detached), V(captured) or V(registered).
    - V(captured) means that a snapshot of the developed volume exists, and V(registered) that the image exists.
  returned: success
  type: str
  sample: open
image_id:
  description: The image of the version. Null if there is none.
  returned: success
  type: str
  sample: null
instance:
  description: The instance of the workbench. Null without one.
  returned: success
  type: dict
  sample: {"instance_id": "i-0123456789abcdef0", "state": "running", "private_ip_address": "172.31.0.4"}
instance_id:
  description: The id of that instance. In check mode, a new instance has a planned id such as C((new instance workbench
    of web/2)).
  returned: success
  type: str
  sample: i-0123456789abcdef0
volume:
  description: The volume of the workbench. Null without one.
  returned: success
  type: dict
  sample: {"volume_id": "vol-0123456789abcdef0", "state": "in-use", "size": 8}
volume_id:
  description:
    - The volume that is developed. After the end of the workbench, the volume that the image was made from.
    - Null if the image of the version was not developed on a workbench.
  returned: success
  type: str
  sample: vol-0123456789abcdef0
device_name:
  description: The device name of the volume on the instance. Null while it is attached to none.
  returned: success
  type: str
  sample: /dev/sdf
plan:
  description:
    - The planned changes in order, the same in check mode. One entry for each resource.
  returned: always
  type: list
  elements: dict
  sample:
    - action: AttachVolume
      resource: vol-0123456789abcdef0
      region: eu-central-1
      parameters: {"InstanceId": "i-0123456789abcdef0", "Device": "/dev/sdf"}
      reason: attach the volume of web/2 to i-0123456789abcdef0
      before: {"state": "available", "attachments": []}
      after: {"state": "in-use"}
      disruptive: false
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeImages": 1, "DescribeVolumes": 1}
error:
  description: EC2's code and message, if EC2 refused a call.
  returned: failure
  type: dict
  sample: {"operation": "RunInstances", "code": "UnauthorizedOperation", "message": "You are not authorized."}
errors:
  description: All errors of the task, each in the form of RV(error). The first of them is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "RunInstances", "code": "UnauthorizedOperation", "message": "You are not authorized."}]
planned_ids:
  description: EC2's id for each planned id in RV(plan). Empty in check mode.
  returned: always
  type: dict
  sample: {}
done:
  description: On failure, the changes that were made.
  returned: failure
  type: list
  elements: dict
  sample: []
failed_changes:
  description: On failure, the changes that failed.
  returned: failure
  type: list
  elements: dict
  sample: []
not_tried:
  description:
    - On failure, the changes that the task did not try, since they depend on a failed change.
    - The value of C(depends_on) is the resource of the failed change.
  returned: failure
  type: list
  elements: dict
  sample: []
rolled_back:
  description: On failure, the changes that the rollback made. This module rolls nothing back, since the next run
    carries on.
  returned: failure, after the first change
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import Program
from ansible_collections.ec2ops.storage.plugins.module_utils._features.workbench.planner import FEATURE

LAUNCH = {
    "instance_type": {"type": "str", "required": True},
    "availability_zone": {"type": "str", "required": True},
    "image_id": {"type": "str"},
    "subnet_id": {"type": "str"},
    "security_group_ids": {"type": "list", "elements": "str", "default": []},
    "key_name": {"type": "str"},
    "iam_instance_profile": {"type": "str"},
}

ARGUMENT_SPEC = {
    "name": {"type": "raw", "required": True},
    "version": {"type": "raw", "required": True},
    "state": {"type": "str", "choices": ["present", "detached", "absent"], "default": "present"},
    "source_image_id": {"type": "str", "required": True},
    "instance_id": {"type": "str"},
    "launch": {"type": "dict", "options": LAUNCH},
    "device_name": {"type": "str"},
    "tags": {"type": "dict", "default": {}},
    "discard": {"type": "bool", "default": False},
}

EXAMPLES_OF_MAPPINGS = {
    "launch": "launch: {instance_type: t3.micro, availability_zone: eu-central-1a}",
    "tags": "tags: {team: shop}",
}

PROGRAM = Program(FEATURE, ARGUMENT_SPEC, examples=EXAMPLES_OF_MAPPINGS)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
