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
  - O(name) and O(version) declare an image. The module ensures exactly one AMI for them in the region, made from the
    given source, however earlier runs ended.
  - The tags C(ec2ops:image), C(ec2ops:version) and C(ec2ops:fingerprint) on the AMI and on its snapshots hold the
    identity. By these tags the next run finds an interrupted capture, so there is only one snapshot for each device,
    and one AMI.
  - Tags alone prove nothing. An AMI or a snapshot with these tags belongs to the version only under two conditions. EC2
    shows the version's name or description on it, and its volume belongs to the source. A warning names other resources
    with these tags.
  - O(state=captured) returns as soon as EC2 has fixed the point in time. The instance may start then, while EC2 still
    copies. A later run with O(state=available) waits for the snapshots and registers the AMI.
  - The AMI inherits architecture, boot mode and the other hardware facts from the source instance and its image. The
    module never uses RegisterImage's own defaults (C(i386), C(paravirtual)).
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
      - The version within the line, for example V(2026.11.23). An existing version is never made again.
      - It must be text. Quote it, since YAML reads V(2026.10) as the number V(2026.1).
    type: raw
    required: true
  image_name:
    description:
      - The AMI's name in EC2, unique in the account and region. C({name}) and C({version}) stand for the options.
      - O(state=absent) ignores it, and finds the AMI by O(name) and O(version).
    type: str
    default: "{name}-{version}"
  state:
    description:
      - V(available) means that the AMI is registered and usable.
      - V(captured) means that EC2 has fixed the point in time. With O(method=image), the module waits until the AMI
        names its snapshots. Otherwise it does not wait.
      - V(absent) deregisters the AMI and deletes the snapshots that this module took for it, unless another AMI uses
        them. The module refuses the removal while the AMI is in use, see O(force).
      - A copy of the AMI, made with CopyImage and its tags, never counts as the version. With V(absent), the module
        removes its own copies in the places of O(copies), and then the AMI. It never removes a copy that somebody else
        has made.
    type: str
    choices: [available, captured, absent]
    default: available
  source_instance_id:
    description:
      - The instance to bake from. If M(ec2ops.storage.instance_relaunch) has replaced it, the module bakes its living
        successor.
      - If the image or the capture of the version exists, the instance may be gone.
      - While such a replacement is unfinished, the module bakes neither instance, since either may have the data.
      - A version has the same source if it was made from this instance or one of its predecessors, or if this instance
        runs from it.
    type: str
  follow_successor:
    description:
      - Whether O(source_instance_id) stands for the instance's living successor. V(false) takes the id literally. This
        saves a call if an earlier task has returned RV(source_instance_id).
    type: bool
    default: true
  source_snapshot_id:
    description:
      - The snapshot of a root volume to bake from. It requires O(base_image_id), or O(architecture),
        O(root_device_name) and O(ena_support).
      - This module never deletes the snapshot.
    type: str
  source_volume_id:
    description:
      - The volume to bake from, such as one that M(ec2ops.storage.image_workbench) has detached. The module takes a
        snapshot of the volume, which becomes the root of the image.
      - It requires O(base_image_id), or O(architecture), O(root_device_name) and O(ena_support).
      - With O(require_stopped=true), the volume must be detached, or its instance stopped.
      - If the image or the capture of the version exists, the volume may be gone.
    type: str
  base_image_id:
    description:
      - With O(source_volume_id) or O(source_snapshot_id), the image whose hardware facts the new image inherits.
      - The new image also has the other devices of this image, and the size, type and performance of its root unless
        O(block_devices) sets others.
      - The module refuses an image that EC2 does not bill as plain Linux/UNIX, since RegisterImage does not keep
        another platform or product codes.
    type: str
  source_image_id:
    description:
      - The image to copy in its region, under the name and the tags of the version. With O(kms_key_id), the copy is
        encrypted with another key.
      - CopyImage does not change devices and hardware. So O(devices), O(block_devices) and the hardware options are
        refused, except O(imds_support=v2.0).
    type: str
  kms_key_id:
    description: With O(source_image_id), encrypt the image with this key, given by its ARN, id or alias.
    type: str
  method:
    description:
      - V(snapshot) takes snapshots and registers an AMI from them.
      - V(image) uses CreateImage without a reboot, which keeps product codes and the billed platform. It excludes the
        hardware options from O(architecture) on.
      - V(auto) means V(image) if the source has product codes or a platform other than Linux/UNIX, else V(snapshot).
    type: str
    choices: [auto, snapshot, image]
    default: auto
  require_stopped:
    description:
      - Capture only a stopped instance, or a volume of none. V(false) accepts a running instance, whose image is as
        consistent as a disk after a power cut.
    type: bool
    default: true
  devices:
    description:
      - V(root) captures the root device only, and V(all) captures every attached EBS volume at one moment.
      - A list of device names, such as V([/dev/xvda, /dev/sdf]), captures these at one moment. It must have the root
        device.
    type: raw
    default: root
  block_devices:
    description: Properties of the image's devices that differ from those of the source. All other properties stay as in
      the source.
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
        description: IOPS, for the types that accept them.
        type: int
      throughput:
        description: Throughput in MiB/s, for V(gp3).
        type: int
      delete_on_termination:
        description: Whether EC2 deletes the volume with its instance.
        type: bool
      omitted:
        description: Leave the device out of the image, although O(devices) has it.
        type: bool
        default: false
  architecture:
    description: The image's architecture. If the task does not set this option or one of the following options, the
      image inherits the value.
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
    description: The UEFI variable store, in base64.
    type: str
  imds_support:
    description: With V(v2.0), instances of the image require IMDSv2. With V(none), they do not.
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
      - The platform as which EC2 must bill the image, for example V(Linux/UNIX). If EC2 bills another platform, the
        task deregisters the image and fails.
      - With O(source_instance_id), the platform must be that of the instance.
      - With O(source_snapshot_id) or O(source_volume_id), EC2 bills the image as Linux/UNIX, even if it has another
        operating system. The module warns about this unless the task sets this option or O(base_image_id).
    type: str
  registration:
    description:
      - The parameters of the RegisterImage that an earlier task of the same play has planned for this image. The role
        C(ec2ops.storage.golden_image) passes them from its own plan.
      - With O(source_instance_id), facts that only the image of the source has come from these parameters. If the
        source is captured, the task does not look again for another image with the same name. EC2 itself refuses a
        second one (C(InvalidAMIName.Duplicate)).
      - The module refuses the parameters of another image, and reads C(UefiData) anew.
    type: dict
  description:
    description:
      - The description of the image and of its new snapshots. A later run with another text changes the
        description of the image and its copies.
      - The description of a snapshot ends with two hashes. The hash of the machine proves the tag C(ec2ops:machine),
        and the hash of O(name) and O(version) proves the version.
    type: str
  tags:
    description:
      - Tags for the image and the snapshots that the module has taken for it. A later run corrects tags that differ.
      - Other tags are kept.
      - Quote values, since YAML turns V(yes) into V(true). The module refuses a value that is neither text nor a whole
        number.
    type: dict
    default: {}
  copies:
    description:
      - The other places where the image must be. One copy is made for each entry, all in parallel.
      - The module recognises an existing copy by the image and region that EC2 records as its source. It replaces a
        copy of its own that has failed.
      - A copy has the tags of the image, and its snapshots have the tags of the image's snapshots. All other options
        for existing images apply to the copies too.
      - For another account, the module shares the image and its snapshots with it for the time of the copy. The tag
        C(ec2ops:shared-with) records that, so a later run ends the access that an interrupted run has given.
      - A failure in one place leaves the others alone. The task then fails at its end, and the next run repairs the
        rest.
    type: list
    elements: dict
    default: []
    suboptions:
      region:
        description: The region of the copy.
        type: str
        required: true
      profile:
        description:
          - A profile whose credentials lead to another account. Without it, the copy is in the task's own account.
          - The module reads profiles as boto3 does. The other connection options are those of the task.
        type: str
      kms_key_id:
        description:
          - Encrypt the copy with this key of that region, given by its ARN, id or alias.
          - Without it, the copy of an encrypted image has the default key of that region and account, and the copy of
            another image is not encrypted.
        type: str
  launch_permissions:
    description:
      - Who may launch instances from the image and its copies. Without this option, the permissions stay as they are.
      - If the AWS managed key encrypts the image, the module refuses to share it, before the first change. EC2 does not
        share such an image.
    type: dict
    suboptions:
      user_ids:
        description:
          - Accounts of twelve digits. Quote them.
          - V(all) stands for everybody, see O(allow_public).
        type: list
        elements: str
        default: []
      organization_arns:
        description: ARNs of AWS organizations.
        type: list
        elements: str
        default: []
      organizational_unit_arns:
        description: ARNs of organizational units.
        type: list
        elements: str
        default: []
      purge:
        description: Whether to remove all other permissions. V(false) only adds.
        type: bool
        default: true
      snapshots:
        description: Whether the accounts in O(launch_permissions.user_ids) may also create volumes from the snapshots.
        type: bool
        default: false
  allow_public:
    description: Accept V(all) in O(launch_permissions.user_ids), with which everybody may use the image.
    type: bool
    default: false
  deprecate_after:
    description:
      - The time from the creation of the image until its deprecation, such as V(90d), V(26w) or V(12h).
      - V(never) removes the deprecation. Without this option, it stays as it is.
      - The copies are deprecated at the same time as the image. A difference of less than 12 hours counts as none,
        since EC2 shows the creation of a new image only after the module has set the time.
    type: str
  deregistration_protection:
    description:
      - V(enabled) protects the image and its copies from deregistration. With V(with_cooldown), the protection lasts
        for another 24 hours after somebody disables it.
      - Without this option, the protection stays as it is.
    type: str
    choices: [enabled, with_cooldown, disabled]
  ssm_parameter:
    description:
      - An SSM parameter that names the image, in the region of the task and in the place of each copy. It has the data
        type C(aws:ec2:image).
      - The module writes it once the image is available there and shared, and reads it back, since SSM checks the value
        only after its answer.
    type: dict
    suboptions:
      name:
        description: The name of the parameter, such as V(/images/web).
        type: str
        required: true
      publish:
        description:
          - V(newer) keeps a parameter that names a newer image of the same O(name), with a warning. V(force) overwrites
            it.
          - An image is newer if it was created later. For copies, the creation of their originals counts.
        type: str
        choices: [newer, force]
        default: newer
  launch_template:
    description:
      - A launch template of the task's region that gets a new version with the image. All other values are those of
        the present default version.
      - The module uses an existing version again if it has the image, and all other values of the default version.
    type: dict
    suboptions:
      id:
        description:
          - The id of the launch template. Exactly one of O(launch_template.id) and O(launch_template.name) is required.
        type: str
      name:
        description: The name of the launch template.
        type: str
      default:
        description: Whether the version becomes the default version.
        type: bool
        default: true
      version:
        description:
          - The number of an earlier version that becomes the default again. The launch template then gets no version
            with the image.
        type: int
  force:
    description:
      - With O(state=absent), deregister the image even if it is in use, and keep locked snapshots.
      - With V(false), the module refuses the removal while an instance, any version of a launch template, a launch
        configuration, an SSM parameter or an Image Builder recipe uses the image. It also refuses the removal of a
        shared image if an existing AMI usage report shows that another account uses it. The module also refuses the
        removal while a snapshot is locked, or if the permissions for these checks are missing.
      - The module removes a shared image with a warning if no usage report shows its use.
      - The module never overrides deregistration protection.
    type: bool
    default: false
  wait:
    description:
      - Wait until the image is available. The module always waits for the snapshots before it registers an image from
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
  - Most options apply only when the module makes the image. A later run changes what EC2 can change, on the image and
    on its copies. These are the tags, the description, O(imds_support=v2.0) and the options from O(copies) on. The
    module warns about other options that differ.
  - O(copies) needs C(ec2:CopyImage), C(ec2:DescribeImages), C(ec2:DescribeSnapshots) and C(ec2:CreateTags) in each
    place, and C(ec2:DeregisterImage) and C(ec2:DeleteSnapshot) to replace a failed copy. O(copies[].kms_key_id) needs
    C(kms:DescribeKey), C(kms:CreateGrant) and C(kms:GenerateDataKey*). O(copies[].profile) needs
    C(sts:GetCallerIdentity) in the other account. In the task's account, it needs C(ec2:ModifyImageAttribute),
    C(ec2:ModifySnapshotAttribute), C(ec2:DescribeImageAttribute) and C(ec2:DescribeSnapshotAttribute), as
    O(launch_permissions) does.
  - O(ssm_parameter) needs C(ssm:GetParameters), C(ssm:PutParameter) and C(ec2:DescribeImages) in each place.
    O(launch_template) needs C(ec2:DescribeLaunchTemplateVersions), C(ec2:CreateLaunchTemplateVersion) and
    C(ec2:ModifyLaunchTemplate).
  - With O(wait=false), the module still waits for each image that a later step needs, such as its copy.
  - Once the image or the capture of a version exists, the source may be gone. The module then registers the
    AMI from the capture, with the instance's facts from the tag C(ec2ops:machine) of the snapshots.
seealso:
  - module: ec2ops.storage.image_workbench
  - module: ec2ops.storage.instance_power
  - module: ec2ops.storage.instance_relaunch
  - module: amazon.aws.ec2_ami
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Bake a version of the web image from a stopped instance
  ec2ops.storage.ami_bake:
    name: web
    version: "2026.11.23"
    source_instance_id: i-0123456789abcdef0
    tags:
      team: shop
    region: eu-central-1

- name: Capture all volumes at once, and continue while EC2 copies
  ec2ops.storage.ami_bake:
    name: db
    version: "42"
    state: captured
    source_instance_id: i-0123456789abcdef0
    devices: all

- name: Bake the root and one data volume, without the scratch volume
  ec2ops.storage.ami_bake:
    name: db
    version: "43"
    source_instance_id: i-0123456789abcdef0
    devices: [/dev/xvda, /dev/sdf]

- name: Copy a vendor's image, encrypted with your own key
  ec2ops.storage.ami_bake:
    name: vendor
    version: "1"
    source_image_id: ami-0123456789abcdef0
    kms_key_id: alias/images

- name: Make an image with a larger, faster root from a snapshot
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

- name: Make an image from a developed volume, with the facts of the image that it came from
  ec2ops.storage.ami_bake:
    name: web
    version: "2"
    source_volume_id: vol-0123456789abcdef0
    base_image_id: ami-0123456789abcdef0

- name: Bake, copy to two regions and another account, share, and publish
  ec2ops.storage.ami_bake:
    name: web
    version: "2026.11.23"
    source_instance_id: i-0123456789abcdef0
    copies:
      - region: eu-west-1
      - region: us-east-1
        kms_key_id: alias/images
      - region: eu-central-1
        profile: vault
    launch_permissions:
      user_ids: ["111122223333", "444455556666"]
      organizational_unit_arns: ["arn:aws:organizations::111122223333:ou/o-abcdefghij/ou-abcd-12345678"]
      snapshots: true
    deprecate_after: 90d
    deregistration_protection: with_cooldown
    ssm_parameter:
      name: /images/web
    launch_template:
      name: web

- name: Go back to version 7 of the launch template
  ec2ops.storage.ami_bake:
    name: web
    version: "2026.11.23"
    source_instance_id: i-0123456789abcdef0
    launch_template:
      name: web
      version: 7

- name: Remove an unused version with its snapshots
  ec2ops.storage.ami_bake:
    name: web
    version: "2026.01.05"
    state: absent
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 snapshot taken, 1 image registered; image web/2026.11.23 is ami-0123456789abcdef0, available
image:
  description: The image in its state after the wait. Null if there is no image.
  returned: success
  type: dict
  sample: {"image_id": "ami-0123456789abcdef0", "name": "web-2026.11.23", "state": "available"}
image_id:
  description: The id of the image. In check mode, a new image has a planned id such as C((new image web/2026.11.23)).
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
    - The instance of O(source_instance_id), or its living successor. Later tasks should use this id.
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
    - Successors of that instance that M(ec2ops.storage.instance_relaunch) has rejected or that are unproven. The next
      relaunch terminates the rejected ones. Empty with O(follow_successor=false).
  returned: success
  type: list
  elements: str
  sample: []
regions:
  description:
    - One row for the task's region and for each place in O(copies). RV(regions[].error) tells why a row is unfinished.
    - With O(state=absent), the images that the task has removed. Empty with O(state=captured).
  returned: success, and on failure if the task distributes the image
  type: list
  elements: dict
  contains:
    region:
      description: The region.
      type: str
      sample: eu-west-1
    profile:
      description: The profile of another account, else null.
      type: str
      sample: null
    image_id:
      description: The image there. Null without one.
      type: str
      sample: ami-0fedcba9876543210
    state:
      description: The state of the image.
      type: str
      sample: available
    snapshot_ids:
      description: The snapshots of the image.
      type: list
      elements: str
      sample: ["snap-0fedcba9876543210"]
    shared_with:
      description: Who else may launch instances from the image. Null if the task does not read that.
      type: list
      elements: str
      sample: ["111122223333"]
    ssm_parameter:
      description: The parameter, the image that it names, and its value before the task. Null if the task publishes
        nothing.
      type: dict
      sample: {"name": "/images/web", "image_id": "ami-0fedcba9876543210", "former_value": "ami-0123456789abcdef1"}
    error:
      description: Why something failed or was not tried there. Null if all is done.
      type: str
      sample: null
launch_template:
  description: The launch template, its version with the image, and the default version before the task. Null without
    O(launch_template).
  returned: success, and on failure if the task distributes the image
  type: dict
  sample: {"id": "lt-0123456789abcdef0", "name": "web", "version": "8", "former_version": "7", "default": true}
plan:
  description:
    - The planned changes in order, the same in check mode. One entry for each resource.
  returned: always
  type: list
  elements: dict
  sample:
    - action: RegisterImage
      resource: (new image web/2026.11.23)
      region: eu-central-1
      parameters: {"Name": "web-2026.11.23"}
      reason: register web/2026.11.23
      before: null
      after: {"name": "web-2026.11.23", "state": "available"}
      disruptive: false
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeImages": 1, "DescribeInstances": 2}
error:
  description: EC2's code and message, if EC2 refused a call.
  returned: failure
  type: dict
  sample: {"operation": "RegisterImage", "code": "UnauthorizedOperation", "message": "You are not authorized."}
errors:
  description: All errors of the task, each in the form of RV(error). The first of them is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "RegisterImage", "code": "UnauthorizedOperation", "message": "You are not authorized."}]
cost_estimate:
  description:
    - The difference that the plan makes to the monthly cost of volumes and snapshots. The estimate needs no call. The
      prices are those of the file that the environment variable E(EC2OPS_PRICES) names, or the shipped prices of
      us-east-1.
    - A new snapshot stores at most its full size, and the deletion of a snapshot frees at most that. So the estimate of
      a plan with snapshots has bounds.
    - Null if a price or a size is unknown, or if the plan makes, changes and deletes no volume and no snapshot.
  returned: success
  type: dict
  contains:
    monthly:
      description: The same as RV(cost_estimate.most).
      type: float
    least:
      description: The least difference per month. It is negative if the plan saves money.
      type: float
    most:
      description: The largest difference per month.
      type: float
    exact:
      description: Whether both bounds are the same.
      type: bool
    currency:
      description: The currency of the prices.
      type: str
    gib:
      description: The difference of the volumes in GiB.
      type: int
    snapshot_gib:
      description: The difference of the full sizes of the snapshots in GiB.
      type: int
    source:
      description: V(file) or V(shipped).
      type: str
    date:
      description: The date of the prices. Null if the file has none.
      type: str
    text:
      description: The same as a text.
      type: str
  sample:
    monthly: 5.0
    least: 0.0
    most: 5.0
    exact: false
    currency: USD
    gib: 0
    snapshot_gib: 100
    source: shipped
    date: "2026-11-30"
    text: "+100 GiB of snapshots at most: +0.00 to +5.00 USD a month"
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
  description: On failure, the changes that the rollback made.
  returned: failure, after the first change
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import Program
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image.planner import FEATURE

BLOCK_DEVICE = {
    "device_name": {"type": "str", "required": True},
    "volume_size": {"type": "int"},
    "volume_type": {"type": "str", "choices": ["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"]},
    "iops": {"type": "int"},
    "throughput": {"type": "int"},
    "delete_on_termination": {"type": "bool"},
    "omitted": {"type": "bool", "default": False},
}

COPY = {
    "region": {"type": "str", "required": True},
    "profile": {"type": "str"},
    "kms_key_id": {"type": "str"},
}

PERMISSIONS = {
    "user_ids": {"type": "list", "elements": "str", "default": []},
    "organization_arns": {"type": "list", "elements": "str", "default": []},
    "organizational_unit_arns": {"type": "list", "elements": "str", "default": []},
    "purge": {"type": "bool", "default": True},
    "snapshots": {"type": "bool", "default": False},
}

PARAMETER = {
    "name": {"type": "str", "required": True},
    "publish": {"type": "str", "choices": ["newer", "force"], "default": "newer"},
}

TEMPLATE = {
    "id": {"type": "str"},
    "name": {"type": "str"},
    "default": {"type": "bool", "default": True},
    "version": {"type": "int"},
}

ARGUMENT_SPEC = {
    "name": {"type": "raw", "required": True},
    "version": {"type": "raw", "required": True},
    "image_name": {"type": "str", "default": "{name}-{version}"},
    "state": {"type": "str", "choices": ["available", "captured", "absent"], "default": "available"},
    "source_instance_id": {"type": "str"},
    "follow_successor": {"type": "bool", "default": True},
    "source_snapshot_id": {"type": "str"},
    "source_volume_id": {"type": "str"},
    "base_image_id": {"type": "str"},
    "source_image_id": {"type": "str"},
    "kms_key_id": {"type": "str"},
    "method": {"type": "str", "choices": ["auto", "snapshot", "image"], "default": "auto"},
    "require_stopped": {"type": "bool", "default": True},
    "devices": {"type": "raw", "default": "root"},
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
    "registration": {"type": "dict"},
    "description": {"type": "str"},
    "tags": {"type": "dict", "default": {}},
    "copies": {"type": "list", "elements": "dict", "default": [], "options": COPY},
    "launch_permissions": {"type": "dict", "options": PERMISSIONS},
    "allow_public": {"type": "bool", "default": False},
    "deprecate_after": {"type": "str"},
    "deregistration_protection": {"type": "str", "choices": ["enabled", "with_cooldown", "disabled"]},
    "ssm_parameter": {"type": "dict", "options": PARAMETER},
    "launch_template": {"type": "dict", "options": TEMPLATE},
    "force": {"type": "bool", "default": False},
}


EXAMPLES_OF_MAPPINGS = {
    "block_devices[]": "block_devices: [{device_name: /dev/xvda, volume_size: 20}]",
    "registration": "registration: {Name: web-1, Architecture: x86_64}",
    "tags": "tags: {team: shop}",
    "copies[]": "copies: [{region: eu-west-1}]",
    "launch_permissions": 'launch_permissions: {user_ids: ["111122223333"]}',
    "ssm_parameter": "ssm_parameter: {name: /images/web}",
    "launch_template": "launch_template: {name: web}",
}

SOURCES = ("source_instance_id", "source_snapshot_id", "source_volume_id", "source_image_id")

PROGRAM = Program(
    FEATURE,
    ARGUMENT_SPEC,
    examples=EXAMPLES_OF_MAPPINGS,
    mutually_exclusive=[SOURCES],
    required_if=[("state", "available", SOURCES, True), ("state", "captured", SOURCES, True)],
)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
