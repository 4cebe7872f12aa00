#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_restore
short_description: Restore EBS volumes, or all volumes of an instance, from their newest good snapshots
version_added: 0.1.0
description:
  - Makes volumes from the newest good snapshots of given volumes, or from the newest complete snapshot set of an
    instance. It attaches them to an instance or leaves them unattached in a zone. The old volumes and the old instance
    may be gone already.
  - A snapshot is good if it is completed and not in the archive. If the module passes over newer snapshots, a warning
    gives the reason.
  - The new volumes have the size, type, IOPS, throughput and tags that the snapshots record. A snapshot that records no
    type becomes a gp3 volume.
  - The module creates all volumes in parallel, and attaches each as soon as it is made.
  - A second run changes nothing, even if there are newer snapshots. The volumes carry the tags of a declaration of
    M(ec2ops.storage.ebs_volume_spec), so both modules recognize them.
  - The module restores several volumes independently. It restores those that it can. Then the task fails and names the
    others. The module restores either all volumes of an instance from one moment, or none.
  - The module restores only from snapshots that the account owns. EC2's facts must agree with the tags of a snapshot, a
    copy or a volume before the module uses it. A warning names resources whose tags and facts differ.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  source_volume_ids:
    description:
      - The source volumes of the restore. Either O(source_volume_ids) or O(source_instance_id) is required.
    type: list
    elements: str
  source_instance_id:
    description:
      - The source instance. The module restores all of its volumes from one moment. It uses the newest complete
        snapshot set that M(ec2ops.storage.snapshot_rotate) took with C(consistency=instance).
      - If the instance has no sets, each volume that was attached to it comes from its own newest snapshot, and a
        warning says so.
    type: str
  before:
    description:
      - Restore only data that was captured before this time, in ISO 8601, for example V(2026-11-23T19:00:00Z). A time
        without a zone is in UTC.
    type: str
  zone:
    description:
      - The Availability Zone for the new volumes. They stay unattached.
      - Either O(zone) or O(target_instance_id) is required, unless O(drill=true). A drill without O(zone) takes the
        recorded zone of each volume, or the first zone of the region.
    type: str
  target_instance_id:
    description:
      - The instance to which the module attaches the volumes. Each volume takes its recorded device name if it is free,
        and another free one otherwise. The module detaches no volume. The copy of a root volume becomes a data volume.
    type: str
  name:
    description:
      - The declaration of the new volumes, a value of O(ec2ops.storage.ebs_volume_spec#module:spec). By default each
        volume has one of its own, C(restore/) and the id of its source.
      - The module does not restore a volume again under the same name. To restore from another point in time, give
        another name. If there are newer snapshots, RV(notes) names them.
      - Without a name, a volume that an earlier run restored to another zone or instance does not count, and RV(notes)
        names it. With a name, the module refuses such a volume.
      - The module refuses names that begin with C(restore-drill/). A drill ignores the name.
    type: str
  drill:
    description:
      - Make the volumes, wait until they are available, and delete them again. RV(volumes) has the times. A drill that
        fails deletes all volumes that it has made. A drill of several volumes measures those that EC2 can make. A drill
        of an instance ends at its first failure.
      - The tag C(ec2ops:drilled) of each snapshot whose volume became available records the time of the drill.
      - The module also deletes volumes of interrupted drills, after a completed final snapshot that RV(notes) names. By
        EC2's clock, these volumes must be older than twice O(wait_timeout) for each volume of this drill.
    type: bool
    default: false
  drill_id:
    description:
      - The id of the drill, 8 hexadecimal digits, which is part of the names of its volumes. By default each run draws
        an id, so several drills may run at the same time.
      - To compare the plan of a check run with that of the run, set an id.
    type: str
  wait:
    description:
      - Wait until the volumes are available, and attached. A drill always waits until its volumes are available.
notes:
  - The user needs C(ec2:DescribeVolumes), C(ec2:DescribeSnapshots), C(ec2:GetEbsEncryptionByDefault),
    C(ec2:CreateVolume) and C(ec2:CreateTags). O(zone) and drills need C(ec2:DescribeAvailabilityZones).
    O(target_instance_id) needs C(ec2:DescribeInstances), C(ec2:DescribeInstanceTypes) and C(ec2:AttachVolume). Drills,
    and the deletion of a volume that EBS could not make, need C(ec2:DeleteVolume). The deletion of volumes of
    interrupted drills needs C(ec2:CreateSnapshot) and C(ec2:DeleteSnapshot). Snapshots that a customer managed KMS key
    encrypts need C(kms:CreateGrant), C(kms:Decrypt), C(kms:DescribeKey) and C(kms:GenerateDataKeyWithoutPlaintext) on
    that key.
  - EBS loads each block of a new volume at its first use. The volume is available before these reads.
  - A snapshot does not show which of its tags come from the volume and which from the policy, so a restored volume has
    both.
seealso:
  - module: ec2ops.storage.snapshot_rotate
  - module: ec2ops.storage.ebs_volume_spec
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Restore a volume of yesterday and attach the copy
  ec2ops.storage.snapshot_restore:
    source_volume_ids: [vol-0123456789abcdef0]
    before: "2026-11-24T00:00:00Z"
    target_instance_id: i-0123456789abcdef0
    region: eu-central-1

- name: Restore all volumes of a lost instance
  ec2ops.storage.snapshot_restore:
    source_instance_id: i-0aaaaaaaaaaaaaaaa
    target_instance_id: i-0bbbbbbbbbbbbbbbb
    region: eu-central-1

- name: Restore from the copies in another region
  ec2ops.storage.snapshot_restore:
    source_volume_ids: [vol-0123456789abcdef0]
    zone: eu-west-1a
    region: eu-west-1

- name: Restore once more, under another name
  ec2ops.storage.snapshot_restore:
    source_volume_ids: [vol-0123456789abcdef0]
    before: "2026-11-20T00:00:00Z"
    zone: eu-central-1b
    name: audit-2026-11
    region: eu-central-1

- name: Test and time a restore of the backups
  ec2ops.storage.snapshot_restore:
    source_volume_ids: [vol-0123456789abcdef0, vol-0fedcba9876543210]
    drill: true
    region: eu-central-1
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 volume created, 1 attached; 1 volume of 2026-11-23T01:23:03Z
volumes:
  description:
    - The restored volumes, in the order of their sources, including those of earlier runs. On failure, only the volumes
      whose restore is finished.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: The source volume.
      type: str
    snapshot_id:
      description: The snapshot from which it was made.
      type: str
    point_in_time:
      description: The time of the capture. Null if the snapshot of an earlier run is gone.
      type: str
    volume_id:
      description: The new volume. In check mode a planned id, if it does not exist yet.
      type: str
    device:
      description: The device name of its attachment. Null if it is unattached.
      type: str
    zone:
      description: Its Availability Zone.
      type: str
    changed:
      description: Whether this run made or attached the volume. In check mode, whether a run would.
      type: bool
    seconds:
      description:
        - The seconds until the volume was available, and attached. Null in check mode, for a volume that the run does
          not wait for, and for a volume that an earlier run restored.
      type: float
  sample:
    - source: vol-08e81973e0becd7b0
      snapshot_id: snap-0301850c5a38fd547
      point_in_time: "2026-11-23T01:23:03Z"
      volume_id: vol-05c90a9587403e430
      device: /dev/sdg
      zone: eu-central-1a
      changed: true
      seconds: 9.3
notes:
  description:
    - Notes for the operator, for example about newer snapshots that the module passed over. Each note is a warning too.
  returned: success
  type: list
  elements: str
  sample: []
plan:
  description:
    - The planned changes in order, the same in check mode. One entry per resource.
  returned: always
  type: list
  elements: dict
  sample:
    - action: AttachVolume
      resource: (new volume restore/vol-08e81973e0becd7b0/vol-08e81973e0becd7b0)
      region: eu-central-1
      parameters: {"InstanceId": "i-0123456789abcdef0", "Device": "/dev/sdg"}
      reason: attach the volume restored from vol-08e81973e0becd7b0 to i-0123456789abcdef0
      before: {"state": "available", "attachments": []}
      after: {"state": "in-use", "attachments": [{"instance_id": "i-0123456789abcdef0", "device_name": "/dev/sdg"}]}
      disruptive: false
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
  sample: {"(new volume restore/vol-08e81973e0becd7b0/vol-08e81973e0becd7b0)": "vol-05c90a9587403e430"}
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeVolumes": 4, "DescribeSnapshots": 2, "CreateVolume": 1, "AttachVolume": 1}
error:
  description: The error, with AWS's own code and message if AWS refused a call.
  returned: failure
  type: dict
  sample:
    operation: CreateVolume
    code: VolumeLimitExceeded
    message: You have exceeded the maximum number of volumes.
errors:
  description: All errors of the task, each as RV(error). The first one is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "CreateVolume", "code": "VolumeLimitExceeded", "message": "Too many volumes."}]
done:
  description:
    - On failure, the changes that were made. RV(failed_changes) and RV(not_tried) have the others.
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
  description: On failure, the changes that the rollback made.
  returned: failure, after the first change
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import Program
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.planner import FEATURE

ARGUMENT_SPEC = {
    "source_volume_ids": {"type": "list", "elements": "str"},
    "source_instance_id": {"type": "str"},
    "before": {"type": "str"},
    "zone": {"type": "str"},
    "target_instance_id": {"type": "str"},
    "name": {"type": "str"},
    "drill": {"type": "bool", "default": False},
    "drill_id": {"type": "str"},
}

PROGRAM = Program(FEATURE, ARGUMENT_SPEC)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
