#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ebs_volume_spec
short_description: Ensure that instances have the EBS volumes that a list declares
version_added: 0.1.0
description:
  - A list declares the volumes of an instance. The module creates and attaches missing volumes and repairs drift. It
    needs the same number of read calls for one instance and for many.
  - The tags C(ec2ops:spec) and C(ec2ops:volume) identify a volume. They hold O(spec) and O(volumes[].name). After an
    interruption the next run finds its volumes by these tags, so it never makes a second one. The module adopts an
    untagged volume that is attached at O(volumes[].device_name), and tags it. The module refuses an entry with two
    candidates, and names both.
  - An entry changes only the properties that it mentions. One ModifyVolume makes all changes of a volume. The module
    does not modify a volume without drift.
  - EBS cannot repair some drift in place (the zone, encryption, the KMS key). The module refuses such drift, unless
    O(replace=snapshot) allows a swap. A swap exchanges the volume for a copy from a snapshot, and loses no write, since
    it detaches the volume first. If a step fails before the copy is attached and verified, the module attaches the
    volume again at its old place. Once the copy is attached, the module keeps it, and the next run finishes the swap. A
    volume never shrinks.
  - The module never detaches, swaps or deletes the root volume. An entry with the name V(root) declares its size, type,
    IOPS, throughput, tags and C(DeleteOnTermination).
  - The module refuses an entry that it cannot plan, or an instance that is gone, and applies the others. Then the task
    fails and names the refused items.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  instance_ids:
    description:
      - The instances. Each of them gets all volumes of the list.
      - A volume with O(volumes[].multi_attach=true) exists once, and is attached to all of the instances.
      - An id never stands for a successor here, since the successor has none of the volumes. If
        M(ec2ops.storage.instance_relaunch) has replaced and retired an instance, the task attaches nothing to it,
        fails, and names the successor. To move the volumes, name the successor, and set O(spec) to the replaced id.
    type: list
    elements: str
    aliases: [instance_id]
  availability_zone:
    description:
      - The zone for volumes that stay unattached.
    type: str
  spec:
    description:
      - The name of the declaration, which is a part of every volume's identity. A declaration stands for one machine.
        The default is the instance's id.
      - With a name of your own, the volumes follow the declaration to another instance, for example to a rebuilt
        machine.
      - Required with O(availability_zone) unless O(move=true), and with several instances if all volumes have
        O(volumes[].multi_attach=true). With several instances, the module refuses O(spec) if a volume lacks
        O(volumes[].multi_attach=true).
      - It must be text, so quote a number.
    type: raw
  volumes:
    description:
      - The volumes. Each needs O(volumes[].name) or O(volumes[].volume_id).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The volume's name within the declaration, for example V(data). V(root) is the instance's root volume.
          - With O(volumes[].volume_id) the default is the name in the volume's tag, else the volume's id.
          - It must be text, so quote a number.
        type: raw
      volume_id:
        description:
          - The id of the volume. The id of a volume that a swap replaced stands for its living copy.
          - With O(volumes[].name), this option renames a volume of the declaration. It also chooses one of several
            volumes with the same tags, such as a volume and its copy.
        type: str
      device_name:
        description:
          - The device name of the attachment, for example V(/dev/sdf). On Nitro instances the volume appears as an NVMe
            device, see RV(volumes[].nvme_path).
          - By default, an attached volume stays at its device. Any other volume gets a name that is free on all
            O(instance_ids). On Windows these names begin with V(xvdf).
          - Names with a number, such as V(/dev/sdh1), and those that begin with V(/dev/hd) are for paravirtual
            instances only. V(/dev/sda1) and V(/dev/xvda) are names of root volumes. Declare the root under the name
            V(root) instead.
        type: str
      size:
        description:
          - Size in GiB. A volume can only grow.
          - Required for a new volume without a snapshot.
        type: int
      volume_type:
        description:
          - V(gp2), V(gp3), V(io1), V(io2), V(st1), V(sc1) or V(standard). The default for a new volume is V(gp3). An
            existing volume keeps its type by default.
          - A V(gp2) volume that becomes V(gp3) keeps its performance, unless O(volumes[].iops) or
            O(volumes[].throughput) is set. A volume of 2000 GiB gets 6000 IOPS and 250 MiB/s.
        type: str
      iops:
        description:
          - IOPS, for V(gp3), V(io1) and V(io2). Required for V(io1) and V(io2).
          - For V(gp3), EBS raises values below 3000 to 3000, and refuses values below 100.
        type: int
      throughput:
        description:
          - Throughput in MiB/s, for V(gp3).
        type: int
      encrypted:
        description:
          - Whether the volume is encrypted. The module refuses V(false) if the account encrypts by default.
          - Only a swap encrypts an existing volume, see O(replace).
        type: bool
      kms_key_id:
        description:
          - The KMS key, as an id, ARN or alias. Only with O(volumes[].encrypted=true). The module compares ARNs.
          - An empty value means that the task names no key.
        type: str
      snapshot_id:
        description:
          - The snapshot for a new volume. The option has no effect on an existing volume. Restore an archived snapshot
            first.
        type: str
      snapshot:
        description:
          - A selection of the snapshot by tags, in place of O(volumes[].snapshot_id). The option has no effect on an
            existing volume.
        type: dict
        suboptions:
          tags:
            description:
              - Use the account's newest completed snapshot with all these tags. Archived snapshots do not count.
            type: dict
            required: true
          before:
            description:
              - Use snapshots from before this moment, in ISO 8601, for example V(2026-11-23T19:00:00Z).
            type: str
      initialization_rate:
        description:
          - The rate in MiB/s (100 to 300) at which EBS loads the snapshot's blocks. The option has no effect on an
            existing volume, and costs extra.
        type: int
      multi_attach:
        description:
          - Whether the volume, V(io1) or V(io2), can be attached to up to 16 instances of its zone. With V(true), the
            volume is attached to all O(instance_ids). Use a cluster file system on it.
          - EBS enables Multi-Attach for an existing V(io2) volume only while the volume is detached. The module
            detaches the volume, modifies it and attaches it again at its place, as O(in_use) allows.
          - The type of such a volume cannot change. V(false) disables Multi-Attach, in a separate run.
        type: bool
      delete_on_termination:
        description:
          - Whether EC2 deletes the volume with its instance. EC2 keeps a volume that was attached after the launch
            unless this is V(true).
        type: bool
      tags:
        description:
          - Tags of the volume. Other tags are kept, unless O(purge_tags=true).
          - Quote values, since YAML turns V(yes) into V(true). The module refuses a value that is neither text nor a
            whole number.
        type: dict
      state:
        description:
          - V(present) means that the volume exists. Without O(availability_zone), the volume is also attached.
          - V(detached) means that the volume is not attached. The module does not create a missing volume. It detaches
            a shared volume from O(instance_ids) only, so the other nodes keep it.
          - V(absent) means that the volume is deleted, with a final snapshot unless O(final_snapshot=false).
        type: str
        choices: [present, detached, absent]
        default: present
  purge_volumes:
    description:
      - Detach the data volumes without an entry in O(volumes) from the instances. The module does not delete them.
      - Unless O(steal=true), the module leaves volumes of another O(spec) attached, with a warning.
    type: bool
    default: false
  purge_tags:
    description:
      - If an entry has O(volumes[].tags), remove all other tags of its volume. Tags under C(aws:) and C(ec2ops:) are
        kept.
    type: bool
    default: false
  final_snapshot:
    description:
      - Take a final snapshot of a volume after its detachment, and wait until it is completed before the deletion. The
        snapshot has the volume's id in the tag C(ec2ops:final).
      - A snapshot counts as the final one only if EC2 shows the volume's id and a final snapshot's description on it. A
        tagged backup does not count.
      - With V(false), a volume still gets a final snapshot unless its entry names it in O(volumes[].volume_id). Only
        tags connect any other volume to its entry.
      - With any value, the module takes a final snapshot of the copy of an interrupted swap before it deletes the copy.
    type: bool
    default: true
  replace:
    description:
      - V(snapshot) allows a swap if EBS cannot make a change in place. The swap takes a snapshot of the detached
        volume, creates a copy from it as declared, and attaches the copy.
      - The tag C(ec2ops:replaces) of the copy has the ids of the volumes that it replaces. The module keeps the
        replaced volume, detached and with the tag C(ec2ops:replaced-by). See O(delete_replaced).
    type: str
    choices: [never, snapshot]
    default: never
  delete_replaced:
    description:
      - Delete the replaced volume of a swap once the copy is attached and verified. With O(final_snapshot=true), the
        module keeps the swap's snapshot as the final snapshot.
      - The module keeps the replaced volume, with a warning, unless EC2 shows that the copy was made from the swap's
        snapshot of this volume.
    type: bool
    default: false
  in_use:
    description:
      - How to detach a volume from a running instance. The option applies to swaps, to any O(volumes[].state) except
        V(present), to O(purge_volumes), and to an attachment elsewhere.
      - V(refuse) refuses the entry, and changes nothing of its volume.
      - V(stop) stops the instance for that step and starts it again, even if the step fails. If a killed run has left
        an instance stopped, the next run or M(ec2ops.storage.instance_power) starts it.
      - V(detach) detaches the volume from the running instance. You vouch that nothing uses the volume and that its
        file systems are unmounted. If a disk is still mounted, its attachment stays C(busy). The task then fails within
        a minute and names the disk. Unmount it and run the task again.
    type: str
    choices: [refuse, stop, detach]
    default: refuse
  lose_instance_store:
    description:
      - With O(in_use=stop), stop instances even if their type has instance store volumes, which a stop empties.
    type: bool
    default: false
  steal:
    description:
      - Take a volume of another O(spec), or one that is attached to another living instance. With V(false), the module
        refuses such a volume and names its holder.
    type: bool
    default: false
  move:
    description:
      - Move the volumes that the entries name in O(volumes[].volume_id). A volume keeps its declaration, unless the
        declaration's name is an instance's id, or C(zone/) with a zone. Then it gets the declaration of the target,
        which is O(spec), the instance's id, or C(zone/) with the zone.
      - The module leaves a volume alone if it is already attached in O(availability_zone). The result does not list it.
    type: bool
    default: false
  on_cooldown:
    description:
      - The reaction if EC2 accepts no modification of a volume now. Either a modification is in progress, or the volume
        has had four in 24 hours. Only EC2 knows how many are left, so a plan may contain a ModifyVolume that EC2 then
        refuses.
      - V(fail) fails. V(defer) leaves that change to a later run and returns it in RV(deferred). V(wait) waits until
        EC2 accepts the change, at most O(wait_timeout).
    type: str
    choices: [fail, defer, wait]
    default: fail
notes:
  - The user needs C(ec2:DescribeInstances), C(ec2:DescribeVolumes), C(ec2:DescribeVolumesModifications),
    C(ec2:DescribeSnapshots), C(ec2:DescribeInstanceTypes), C(ec2:GetEbsEncryptionByDefault),
    C(ec2:DescribeAvailabilityZones) (with O(availability_zone)), C(kms:DescribeKey) (with O(volumes[].kms_key_id)),
    C(ec2:CreateVolume), C(ec2:AttachVolume), C(ec2:ModifyVolume), C(ec2:ModifyInstanceAttribute), C(ec2:CreateTags) and
    C(ec2:DeleteTags). Swaps and removals need C(ec2:DetachVolume), C(ec2:CreateSnapshot), C(ec2:DeleteSnapshot) and
    C(ec2:DeleteVolume) too, and with O(in_use=stop) the permissions of M(ec2ops.storage.instance_power).
  - A modification counts as done when EBS is C(optimizing) the volume. The volume then has its new size, type and
    performance. EBS accepts the next modification after the optimization.
  - If a volume is in the state C(error), the module refuses the entry and names the volume, since EC2 does not
    distinguish a lost volume from a failed creation. O(volumes[].state=absent) with O(final_snapshot=false) deletes it.
    If EBS cannot create a volume, the same run deletes it.
  - Any caller of CreateTags can write the tags of this module. A volume counts as the copy of another volume only if
    the swap's snapshot proves it, or if the copy is attached in the other's place. An entry that names the replaced
    volume changes the copy only if the snapshot proves it. If several volumes have an entry's tags, the attached one
    counts, and a warning names the others. Tags alone never delete a volume. If tags do not decide which volume is the
    entry's, the task refuses that entry and applies the others.
  - An entry with a new O(volumes[].name) makes a new volume. A warning names the volumes of the declaration without an
    entry.
  - The module creates and attaches no volume on Outposts, in Local Zones or in Wavelength Zones. The task fails and
    names the site. The module still modifies, tags and detaches volumes that are attached there.
  - The module does not attach or swap a volume on an Outpost. It does not delete such a volume with a final snapshot,
    since EC2 would put the snapshot into the region.
  - The module does not touch file systems. After a volume has grown, grow the file system on the machine.
  - With several O(instance_ids), each instance has its own volumes, and its id is their declaration. Two tasks or
    hosts with the same O(spec) cannot share volumes by accident. Without O(steal=true), the module never takes a volume
    that is attached to another living instance.
seealso:
  - module: ec2ops.storage.instance_power
  - module: amazon.aws.ec2_vol
  - module: amazon.aws.ec2_vol_info
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Give a database server its disks
  ec2ops.storage.ebs_volume_spec:
    instance_id: i-0123456789abcdef0
    volumes:
      - name: root
        size: 20
        volume_type: gp3
      - name: data
        device_name: /dev/sdf
        size: 200
        iops: 6000
        throughput: 500
        encrypted: true
        tags:
          backup: daily
      - name: log
        device_name: /dev/sdg
        size: 50
    region: eu-central-1
  register: disks

- name: Show the device paths of the volumes
  ansible.builtin.debug:
    msg: "{{ disks.volumes | items2dict(key_name='name', value_name='nvme_path') }}"

- name: Give each of fifty web servers the same two disks
  ec2ops.storage.ebs_volume_spec:
    instance_ids: "{{ groups['web'] | map('extract', hostvars, 'instance_id') | list }}"
    volumes:
      - name: cache
        size: 30
        delete_on_termination: true
      - name: log
        size: 10
        delete_on_termination: true
    on_cooldown: defer
    region: eu-central-1

- name: Give the nodes of a cluster a shared disk
  ec2ops.storage.ebs_volume_spec:
    instance_ids: [i-0123456789abcdef0, i-0123456789abcdef1, i-0123456789abcdef2]
    spec: quorum
    volumes:
      - name: shared
        device_name: /dev/sdh
        size: 100
        volume_type: io2
        iops: 5000
        multi_attach: true
    region: eu-central-1

- name: Encrypt a volume while its instance is stopped
  ec2ops.storage.ebs_volume_spec:
    instance_id: i-0123456789abcdef0
    volumes:
      - name: data
        encrypted: true
        kms_key_id: alias/storage
    replace: snapshot
    in_use: stop
    region: eu-central-1

- name: Detach all other disks of a machine whose file systems are unmounted
  ec2ops.storage.ebs_volume_spec:
    instance_id: i-0123456789abcdef0
    volumes:
      - name: data
        size: 200
    purge_volumes: true
    in_use: detach
    region: eu-central-1

- name: Delete a volume, but keep its final snapshot
  ec2ops.storage.ebs_volume_spec:
    instance_id: i-0123456789abcdef0
    volumes:
      - name: scratch
        state: absent
    in_use: stop
    region: eu-central-1

- name: Keep the data of a machine that is often rebuilt
  ec2ops.storage.ebs_volume_spec:
    instance_id: "{{ builder.instance_id }}"
    spec: build-server
    volumes:
      - name: workspace
        size: 100
        snapshot:
          tags:
            purpose: build-workspace
    steal: true
    region: eu-central-1

- name: Keep a spare volume unattached
  ec2ops.storage.ebs_volume_spec:
    availability_zone: eu-central-1a
    spec: spares
    volumes:
      - name: archive
        size: 500
        volume_type: st1
    region: eu-central-1
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 volume modified; 3 volumes of the declaration
volumes:
  description:
    - The declared volumes in their state after the waits, for each instance in the order of O(volumes). In check mode,
      their predicted state.
  returned: success
  type: list
  elements: dict
  contains:
    instance_id:
      description: The instance of this row. Null with O(availability_zone).
      type: str
      sample: i-0123456789abcdef0
    spec:
      description: The name of its declaration.
      type: str
      sample: i-0123456789abcdef0
    name:
      description: Its name in the declaration.
      type: str
      sample: data
    volume_id:
      description:
        - The id of the volume. In check mode, a new volume has a planned id. Null if the volume does not exist, as with
          O(volumes[].state=absent).
      type: str
      sample: vol-0123456789abcdef0
    device_name:
      description: The device name of its attachment. Null without an attachment.
      type: str
      sample: /dev/sdf
    nvme_path:
      description: Its path on a Nitro instance with Linux. Null while the volume has no id.
      type: str
      sample: /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0
    state:
      description: EC2's state of the volume.
      type: str
      sample: in-use
    size:
      description: Size in GiB.
      type: int
      sample: 200
    volume_type:
      description: The EBS volume type.
      type: str
      sample: gp3
    iops:
      description: IOPS. Null if the type has none.
      type: int
      sample: 6000
    throughput:
      description: Throughput in MiB/s. Null if the type has none.
      type: int
      sample: 500
    encrypted:
      description: Whether it is encrypted.
      type: bool
      sample: true
    kms_key_id:
      description: The ARN of its KMS key.
      type: str
      sample: arn:aws:kms:eu-central-1:123456789012:key/12345678-1234-1234-1234-123456789012
    availability_zone:
      description: Its zone.
      type: str
      sample: eu-central-1a
    snapshot_id:
      description: The snapshot that it was created from.
      type: str
      sample: null
    multi_attach:
      description: Whether it can be attached to several instances.
      type: bool
      sample: false
    delete_on_termination:
      description: Whether EC2 deletes it with the instance of this row.
      type: bool
      sample: false
    attachments:
      description: All of its attachments.
      type: list
      elements: dict
      sample:
        - instance_id: i-0123456789abcdef0
          device_name: /dev/sdf
          state: attached
          delete_on_termination: false
    tags:
      description: Its tags.
      type: dict
      sample: {"backup": "daily", "ec2ops:spec": "i-0123456789abcdef0", "ec2ops:volume": "data"}
    modification_state:
      description: The state of its latest modification. Null if the task did not have to read it.
      type: str
      sample: optimizing
    next_modification_at:
      description: The time from which EC2 accepts another modification. Null if it is unknown.
      type: str
      sample: null
    drift:
      description: The drift that remains, with the value from O(volumes) and EC2's value for each property.
      type: dict
      sample: {"size": {"wanted": 300, "actual": 200}}
    replaced:
      description: The ids of the volumes that it has replaced in swaps, newest first.
      type: list
      elements: str
      sample: []
deferred:
  description: With O(on_cooldown=defer), the changes that a later run has to make.
  returned: success
  type: list
  elements: dict
  sample:
    - volume_id: vol-0123456789abcdef0
      name: data
      instance_id: i-0123456789abcdef0
      changes: {"size": {"wanted": 300, "actual": 200}}
      reason: You've reached the maximum modification rate per volume limit.
      next_modification_at: "2026-11-24T10:00:00Z"
final_snapshots:
  description: The final snapshots of the deleted volumes, the newest one of each volume.
  returned: success
  type: list
  elements: dict
  sample: [{"volume_id": "vol-0123456789abcdef0", "snapshot_id": "snap-0123456789abcdef0"}]
plan:
  description:
    - The planned changes in order, the same in check mode. One entry per resource. The plan predicts no rollback.
  returned: always
  type: list
  elements: dict
  sample:
    - action: ModifyVolume
      resource: vol-0123456789abcdef0
      region: eu-central-1
      parameters: {"Size": 200}
      reason: size 100 -> 200
      before: {"size": 100}
      after: {"size": 200}
      disruptive: false
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeInstances": 1, "DescribeVolumes": 2, "ModifyVolume": 1}
error:
  description:
    - The error, with AWS's own code and message if AWS refused a call. C(not_before) is the time from which EC2 accepts
      the call, if EC2 named one.
  returned: failure
  type: dict
  sample:
    operation: ModifyVolume
    code: VolumeModificationRateExceeded
    message: You've reached the maximum modification rate per volume limit.
    not_before: "2026-11-24T10:00:00Z"
errors:
  description: All errors of the task, each as RV(error). The first one is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "ModifyVolume", "code": "UnauthorizedOperation", "message": "You are not authorized."}]
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
    monthly: 4.0
    least: 4.0
    most: 4.0
    exact: true
    currency: USD
    gib: 50
    snapshot_gib: 0
    source: shipped
    date: "2026-11-30"
    text: "+50 GiB gp3: about +4.00 USD a month"
planned_ids:
  description: EC2's ids for the planned ids in RV(plan). Empty in check mode.
  returned: always
  type: dict
  sample: {"(new volume i-0123456789abcdef0/data)": "vol-0123456789abcdef0"}
done:
  description:
    - On failure, the changes that were made. RV(failed_changes) and RV(not_tried) have the other changes.
  returned: failure
  type: list
  elements: dict
  sample: []
failed_changes:
  description: The changes that failed.
  returned: failure
  type: list
  elements: dict
  sample: []
not_tried:
  description:
    - The changes that the task did not try, since they depend on a failed one.
    - The value of C(depends_on) is the resource of the failed change.
  returned: failure
  type: list
  elements: dict
  sample: []
rolled_back:
  description: On failure, the changes that the rollback of a swap made.
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import Program
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.planner import FEATURE

SNAPSHOT = {
    "tags": {"type": "dict", "required": True},
    "before": {"type": "str"},
}

# The planner refuses a wrong entry, with the name of the volume. So there are no choices and no rules here.
VOLUME = {
    "name": {"type": "raw"},
    "volume_id": {"type": "str"},
    "device_name": {"type": "str"},
    "size": {"type": "int"},
    "volume_type": {"type": "str"},
    "iops": {"type": "int"},
    "throughput": {"type": "int"},
    "encrypted": {"type": "bool"},
    "kms_key_id": {"type": "str"},
    "snapshot_id": {"type": "str"},
    "snapshot": {"type": "dict", "options": SNAPSHOT},
    "initialization_rate": {"type": "int"},
    "multi_attach": {"type": "bool"},
    "delete_on_termination": {"type": "bool"},
    "tags": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "detached", "absent"], "default": "present"},
}

ARGUMENT_SPEC = {
    "instance_ids": {"type": "list", "elements": "str", "aliases": ["instance_id"]},
    "availability_zone": {"type": "str"},
    "spec": {"type": "raw"},
    "volumes": {"type": "list", "elements": "dict", "required": True, "options": VOLUME},
    "purge_volumes": {"type": "bool", "default": False},
    "purge_tags": {"type": "bool", "default": False},
    "final_snapshot": {"type": "bool", "default": True},
    "replace": {"type": "str", "choices": ["never", "snapshot"], "default": "never"},
    "delete_replaced": {"type": "bool", "default": False},
    "in_use": {"type": "str", "choices": ["refuse", "stop", "detach"], "default": "refuse"},
    "lose_instance_store": {"type": "bool", "default": False},
    "steal": {"type": "bool", "default": False},
    "move": {"type": "bool", "default": False},
    "on_cooldown": {"type": "str", "choices": ["fail", "defer", "wait"], "default": "fail"},
}

EXAMPLES_OF_MAPPINGS = {
    "volumes[]": "volumes: [{name: data, size: 20}]",
    "volumes[].snapshot": "snapshot: {tags: {backup: daily}}",
    "volumes[].snapshot.tags": "snapshot: {tags: {backup: daily}}",
    "volumes[].tags": "tags: {backup: daily}",
}

PROGRAM = Program(
    FEATURE,
    ARGUMENT_SPEC,
    examples=EXAMPLES_OF_MAPPINGS,
    mutually_exclusive=[("instance_ids", "availability_zone")],
    required_one_of=[("instance_ids", "availability_zone")],
)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
