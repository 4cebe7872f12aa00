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
  - The volumes of an instance are declared as a list. The module creates and attaches what is missing, and repairs what
    has drifted, for one instance or for many with the same number of questions to EC2.
  - A volume is known by the tags C(ec2ops:spec) and C(ec2ops:volume), which hold O(spec) and its O(volumes[].name). A
    run that was interrupted finds its volumes again by them, so there is never a second one. A volume without these
    tags that is attached at O(volumes[].device_name) is adopted and gets them. Two candidates for one entry are an
    error that names both.
  - What a volume's entry does not mention is left as it is. All changes of one volume go in one ModifyVolume, and none
    is sent for what already holds.
  - Drift that EBS cannot repair in place (the zone, encryption, the KMS key) is an error, unless O(replace=snapshot)
    allows the swap for a new volume from a snapshot. No write is lost in a swap. The snapshot is taken after the old
    volume is detached, and when anything fails before the new one is attached and verified, the old one is attached
    again where it was. Once the new one is attached it stays, and the next run finishes. Shrinking is refused.
  - The root volume is never detached, swapped or deleted. Its size, type, IOPS, throughput, tags and
    C(DeleteOnTermination) are kept like those of any other when it is declared, under the name V(root).
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  instance_ids:
    description:
      - The instances that have the volumes, each of them all of the list.
      - A volume with O(volumes[].multi_attach=true) exists once, and is attached to all of them.
      - The successor of a replaced instance does not stand for it here, since it has none of its volumes. Nothing is
        made for, or attached to, an instance that M(ec2ops.storage.instance_relaunch) has replaced and retired. The
        task fails and names the successor. Name that one, with O(spec) set to the replaced id, to move the volumes.
    type: list
    elements: str
    aliases: [instance_id]
  availability_zone:
    description:
      - The zone of volumes that are kept unattached.
    type: str
  spec:
    description:
      - The name of the declaration, one part of every volume's identity. It stands for one machine. By default it is
        the instance's id.
      - With another name the volumes follow the declaration to another instance, for example when a machine is built
        anew.
      - Required with O(availability_zone) unless O(move=true), and with several instances if all volumes have
        O(volumes[].multi_attach=true). Otherwise it cannot be given with several instances.
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
          - With O(volumes[].volume_id) it defaults to the name that the volume's tag has, else to its id.
          - It must be text, so quote a number.
        type: raw
      volume_id:
        description:
          - This very volume. One that was replaced by a swap stands for its living replacement.
          - With O(volumes[].name), it renames a volume of the declaration. Of several volumes with the same tags, such
            as a volume and its copy, it says which one is meant.
        type: str
      device_name:
        description:
          - Where the volume is attached, for example V(/dev/sdf). On Nitro instances the node appears as an NVMe
            device, see RV(volumes[].nvme_path).
          - By default, a volume that is attached stays where it is, and for another one a name is chosen that is free
            on all O(instance_ids). On Windows such a name is V(xvdf) or one of those after it.
          - Names with a number, such as V(/dev/sdh1), and those that begin with V(/dev/hd) are for paravirtual
            instances only. V(/dev/sda1) and V(/dev/xvda) are names of root volumes. Declare the root under the name
            V(root) instead.
        type: str
      size:
        description:
          - Size in GiB. It can grow only.
          - Needed to create a volume that comes from no snapshot.
        type: int
      volume_type:
        description:
          - V(gp2), V(gp3), V(io1), V(io2), V(st1), V(sc1) or V(standard). A new volume is V(gp3) unless this says
            otherwise; that of an existing one is changed only if this is given.
          - A V(gp2) volume that becomes V(gp3) keeps its performance where O(volumes[].iops) or
            O(volumes[].throughput) does not say otherwise. One of 2000 GiB gets 6000 IOPS and 250 MiB/s.
        type: str
      iops:
        description:
          - IOPS, for V(gp3), V(io1) and V(io2). The latter two need it.
          - EBS makes 3000 of a lower value for V(gp3), and takes none below 100.
        type: int
      throughput:
        description:
          - Throughput in MiB/s, for V(gp3).
        type: int
      encrypted:
        description:
          - Whether the volume is encrypted. V(false) is refused where the account encrypts by default.
          - An unencrypted volume becomes an encrypted one by a swap, see O(replace).
        type: bool
      kms_key_id:
        description:
          - The KMS key, as an id, ARN or alias; only with O(volumes[].encrypted=true). Keys are compared by ARN.
          - An empty value means that no key is given.
        type: str
      snapshot_id:
        description:
          - The snapshot that the volume is created from. It counts at creation only. An archived snapshot has to be
            restored first.
        type: str
      snapshot:
        description:
          - Instead of O(volumes[].snapshot_id), which snapshot to take. It counts at creation only.
        type: dict
        suboptions:
          tags:
            description:
              - The newest completed snapshot of the account that has all these tags. Archived ones are passed over.
            type: dict
            required: true
          before:
            description:
              - Only snapshots that were taken before this moment, in ISO 8601, for example V(2026-11-23T19:00:00Z).
            type: str
      initialization_rate:
        description:
          - The rate in MiB/s (100 to 300) at which EBS loads the blocks of the snapshot. It counts at creation only,
            and costs extra.
        type: int
      multi_attach:
        description:
          - Whether the volume, V(io1) or V(io2), can be attached to several instances of its zone, up to 16. It is
            attached to all O(instance_ids) then. Only with a cluster file system is that of use.
          - EBS enables it for an existing V(io2) volume only while that is not attached. The module detaches the
            volume, modifies it and attaches it again where it was, as O(in_use) allows.
          - The type of a volume that has it cannot be changed. V(false) disables it, in a run of its own.
        type: bool
      delete_on_termination:
        description:
          - Whether the volume ends with its instance. EC2 keeps a volume that was attached later unless this is
            V(true).
        type: bool
      tags:
        description:
          - Tags of the volume. Those that are not mentioned stay, unless O(purge_tags=true).
          - Quote values, since YAML turns V(yes) into V(true). A value that is neither text nor a whole number is
            refused.
        type: dict
      state:
        description:
          - V(present) means that the volume exists and is attached, or with O(availability_zone) exists.
          - V(detached) means that it is not attached. It is not created either. What the nodes of a cluster share is
            taken off O(instance_ids) only, and stays with the other nodes.
          - V(absent) means that it is deleted, with a final snapshot unless O(final_snapshot=false).
        type: str
        choices: [present, detached, absent]
        default: present
  purge_volumes:
    description:
      - Detach the data volumes of the instances that O(volumes) does not name. They are never deleted.
      - A volume that belongs to another O(spec) stays attached, with a warning, unless O(steal=true).
    type: bool
    default: false
  purge_tags:
    description:
      - Remove the tags that O(volumes[].tags) does not name, from volumes that have that option. Tags under C(aws:) and
        C(ec2ops:) stay.
    type: bool
    default: false
  final_snapshot:
    description:
      - Whether a volume that is to be deleted gets a last snapshot, after it was detached. It is complete before the
        volume is deleted, and carries the volume's id in the tag C(ec2ops:final).
      - A snapshot counts as the last one where EC2 shows the volume's id and the description of such a snapshot. A
        backup that somebody tagged does not.
      - With V(false), a volume still gets a final snapshot where only its tags tie it to its entry. These tie it
        otherwise, O(volumes[].volume_id), an instance that has it at O(volumes[].device_name), and a snapshot
        O(volumes[].snapshot_id) that it was made from.
    type: bool
    default: true
  replace:
    description:
      - Whether a change that EBS cannot make in place may be made by a swap. V(snapshot) takes a snapshot of the
        detached volume, creates a new volume from it as declared, and attaches that one.
      - The new volume carries the ids of those it stands for in C(ec2ops:replaces). The old one is kept, detached, with
        C(ec2ops:replaced-by); see O(delete_replaced).
    type: str
    choices: [never, snapshot]
    default: never
  delete_replaced:
    description:
      - Delete the old volume of a swap once the new one is attached and verified. With O(final_snapshot=true) the
        snapshot that the swap has used is kept as its last one.
      - The old volume is kept, with a warning, where EC2 does not show the swap's snapshot of it that the new one was
        made from.
    type: bool
    default: false
  in_use:
    description:
      - What to do when an attachment to a running instance must end, for a swap, for O(volumes[].state) other than
        V(present), for O(purge_volumes), or to attach the volume elsewhere.
      - V(refuse) fails before anything is changed.
      - V(stop) stops the instance for that step and starts it again, also when the step fails. An instance that a
        killed run has left stopped is started by the next run, or by M(ec2ops.storage.instance_power).
      - V(detach) detaches the volume from the running instance. It is your word that nothing there uses the volume and
        that its file systems are unmounted. EC2 waits for a disk that is still mounted, in the attachment state
        C(busy). The task then fails within a minute and names the disk; unmount it and run the task again.
    type: str
    choices: [refuse, stop, detach]
    default: refuse
  lose_instance_store:
    description:
      - With O(in_use=stop), stop also instances whose type has instance store volumes. A stop empties those.
    type: bool
    default: false
  steal:
    description:
      - Take a volume that belongs to another O(spec), or that is attached to another instance that lives. Without it
        such a volume is an error that names the holder.
    type: bool
    default: false
  move:
    description:
      - The entries name volumes that come from elsewhere, by O(volumes[].volume_id). A volume keeps its O(spec) unless
        that is the id of an instance or C(zone/) and a zone. Otherwise it gets the target's, which is O(spec), the
        instance's id, or C(zone/) and the zone.
      - A volume that is attached in O(availability_zone) already stays there, and is not in the result.
    type: bool
    default: false
  on_cooldown:
    description:
      - What to do when EC2 takes no modification of a volume at this time, because one is in progress or the volume's
        budget (four in 24 hours) is spent. That the budget is spent only EC2 can say, so a plan may hold a
        ModifyVolume that is refused then.
      - V(fail) fails. V(defer) leaves that change for a later run and returns it in RV(deferred). V(wait) waits until
        it is possible, at most O(wait_timeout).
    type: str
    choices: [fail, defer, wait]
    default: fail
notes:
  - The user needs C(ec2:DescribeInstances), C(ec2:DescribeVolumes), C(ec2:DescribeVolumesModifications),
    C(ec2:DescribeSnapshots), C(ec2:DescribeInstanceTypes), C(ec2:GetEbsEncryptionByDefault),
    C(ec2:DescribeAvailabilityZones) (with O(availability_zone)), C(kms:DescribeKey) (with
    O(volumes[].kms_key_id)), C(ec2:CreateVolume), C(ec2:AttachVolume), C(ec2:ModifyVolume),
    C(ec2:ModifyInstanceAttribute), C(ec2:CreateTags) and C(ec2:DeleteTags). Swaps and removals need
    C(ec2:DetachVolume), C(ec2:CreateSnapshot), C(ec2:DeleteSnapshot) and C(ec2:DeleteVolume) too, and with
    O(in_use=stop) what M(ec2ops.storage.instance_power) needs.
  - A modification counts as done when EBS is C(optimizing) the volume. The new size, type and performance can be used
    then, but a further modification is not possible until that has ended.
  - A volume in the state C(error) is an error that names it, since EC2 does not tell what was lost from what was never
    made. With O(volumes[].state=absent) and O(final_snapshot=false) it is deleted. What EBS could not make is deleted
    by the run that has asked for it.
  - Anybody who can call CreateTags can write the tags of this module. A volume counts as the copy of another one where
    the swap's snapshot proves it, or where it is in its place. An entry that names the replaced one changes the copy
    only where the snapshot proves it. Of several volumes with an entry's tags the attached one counts, and a warning
    names the others. Nothing is deleted for tags that no fact agrees with. An entry whose volume tags leave open is
    refused, and the others are carried out.
  - An entry with a new O(volumes[].name) makes a new volume. A warning names the volumes of the declaration that no
    entry names any more.
  - On Outposts, and in Local Zones and Wavelength Zones, no volume is made or attached; the task fails and names the
    site. What is attached there is modified, tagged and detached as elsewhere.
  - A volume that is on an Outpost is not attached, swapped, or deleted with a final snapshot. EC2 would put the
    snapshot into the region.
  - The file system on a volume is not touched. After a volume has grown, grow the file system on the machine.
  - With several O(instance_ids), every instance has volumes of its own under its own id. Two tasks, or two hosts, whose
    O(spec) is the same do not share volumes by accident. A volume that is attached to another instance that lives is
    never taken without O(steal=true).
seealso:
  - module: ec2ops.storage.instance_power
  - module: amazon.aws.ec2_vol
  - module: amazon.aws.ec2_vol_info
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: The disks of a database server
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

- name: Say where they are found on the machine
  ansible.builtin.debug:
    msg: "{{ disks.volumes | items2dict(key_name='name', value_name='nvme_path') }}"

- name: The same two disks on each of fifty web servers, with one task
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

- name: One disk shared by the nodes of a cluster
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

- name: Encrypt a volume that is not, with the instance stopped meanwhile
  ec2ops.storage.ebs_volume_spec:
    instance_id: i-0123456789abcdef0
    volumes:
      - name: data
        encrypted: true
        kms_key_id: alias/storage
    replace: snapshot
    in_use: stop
    region: eu-central-1

- name: These disks and no others, on a machine whose services are stopped and file systems unmounted
  ec2ops.storage.ebs_volume_spec:
    instance_id: i-0123456789abcdef0
    volumes:
      - name: data
        size: 200
    purge_volumes: true
    in_use: detach
    region: eu-central-1

- name: A volume that is no longer needed is gone, its last snapshot stays
  ec2ops.storage.ebs_volume_spec:
    instance_id: i-0123456789abcdef0
    volumes:
      - name: scratch
        state: absent
    in_use: stop
    region: eu-central-1

- name: A machine that is rebuilt often keeps its data
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

- name: A spare volume, kept unattached
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
  description: One line that says what the task did, or would do in check mode, and how things stand. On failure, why.
  returned: always
  type: str
  sample: 1 volume modified; 3 volumes of the declaration
volumes:
  description:
    - The declared volumes in their state after the waits, for each instance in the order of O(volumes). In check mode
      in the state that they would have.
  returned: success
  type: list
  elements: dict
  contains:
    instance_id:
      description: The instance of this row. Null with O(availability_zone).
      type: str
      sample: i-0123456789abcdef0
    spec:
      description: The declaration that it belongs to.
      type: str
      sample: i-0123456789abcdef0
    name:
      description: Its name in the declaration.
      type: str
      sample: data
    volume_id:
      description:
        - Its id, in check mode a planned id for one that would be made. Null when it does not exist, as with
          O(volumes[].state=absent).
      type: str
      sample: vol-0123456789abcdef0
    device_name:
      description: Where it is attached. Null when it is not.
      type: str
      sample: /dev/sdf
    nvme_path:
      description: Where a Nitro instance that runs Linux finds it. Null while the volume has no id.
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
      description: IOPS. Null for types without.
      type: int
      sample: 6000
    throughput:
      description: Throughput in MiB/s. Null for types without.
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
      description: Whether it ends with the instance of this row.
      type: bool
      sample: false
    attachments:
      description: Everything that it is attached to.
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
      description: The state of its latest modification. Null when there was no reason to ask for it.
      type: str
      sample: optimizing
    next_modification_at:
      description: From when on EC2 takes another modification. Null when that is not known.
      type: str
      sample: null
    drift:
      description: What differs from the declaration and stays so, with O(volumes) and EC2's value for each.
      type: dict
      sample: {"size": {"wanted": 300, "actual": 200}}
    replaced:
      description: The ids of the volumes that it stands for after swaps, newest first.
      type: list
      elements: str
      sample: []
deferred:
  description: The changes that were left for a later run, with O(on_cooldown=defer).
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
  description: The last snapshots of volumes that were deleted, the newest one of each volume.
  returned: success
  type: list
  elements: dict
  sample: [{"volume_id": "vol-0123456789abcdef0", "snapshot_id": "snap-0123456789abcdef0"}]
plan:
  description:
    - What was done, or in check mode would be done, in order. One entry per resource, the same in both modes. A way
      back is not predicted.
  returned: always
  type: list
  elements: dict
  sample:
    - action: ModifyVolume
      resource: vol-0123456789abcdef0
      region: eu-central-1
      parameters: {"Size": 200}
      reason: "data: size is 100 and should be 200"
      before: {"size": 100}
      after: {"size": 200}
      disruptive: false
api_calls:
  description: How many requests were sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeInstances": 1, "DescribeVolumes": 2, "ModifyVolume": 1}
error:
  description:
    - What went wrong, with AWS's own code and message where AWS has refused something. C(not_before) is the time from
      which on EC2 would take the call, where it has said one.
  returned: failure
  type: dict
  sample:
    operation: ModifyVolume
    code: VolumeModificationRateExceeded
    message: You've reached the maximum modification rate per volume limit.
    not_before: "2026-11-24T10:00:00Z"
planned_ids:
  description: What EC2 made of the planned ids in RV(plan). Empty in check mode.
  returned: always
  type: dict
  sample: {"(new volume i-0123456789abcdef0/data)": "vol-0123456789abcdef0"}
done:
  description:
    - On failure, the entries of the plan that were carried out. RV(failed_changes) and RV(not_tried) have the others.
  returned: failure
  type: list
  elements: dict
  sample: []
failed_changes:
  description: The entries of the plan that failed.
  returned: failure
  type: list
  elements: dict
  sample: []
not_tried:
  description: The entries of the plan that were not begun.
  returned: failure
  type: list
  elements: dict
  sample: []
rolled_back:
  description: What the way back has done, when a swap has failed.
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import run_module
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.planner import FEATURE

SNAPSHOT = {
    "tags": {"type": "dict", "required": True},
    "before": {"type": "str"},
}

# What is wrong with an entry is the planner's to say, with the name of the volume: hence no choices and no rules here.
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


def main() -> None:
    run_module(
        FEATURE,
        ARGUMENT_SPEC,
        examples=EXAMPLES_OF_MAPPINGS,
        mutually_exclusive=[("instance_ids", "availability_zone")],
        required_one_of=[("instance_ids", "availability_zone")],
    )


if __name__ == "__main__":
    main()
