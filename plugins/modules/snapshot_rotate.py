#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_rotate
short_description: Take EBS snapshots when they are due, copy them, and delete those that no rule keeps
version_added: 0.1.0
description:
  - Takes a snapshot of every selected volume, or a crash-consistent set of every selected instance, when the current
    slot of O(every) has none. A second run in the same slot takes none.
  - Then the module deletes the snapshots that no rule of O(keep) keeps. RV(decisions) and C(--diff) give the reasons
    for every decision.
  - Retention covers all snapshots that the policy took, and those that match O(adopt). It also covers snapshots of
    volumes that are gone or no longer selected. The rules apply to each volume or instance separately, and always keep
    its newest completed snapshot.
  - The module finds the policy's snapshots by the tag C(ec2ops:policy). Their descriptions prove that the policy took
    them. The module keeps other snapshots with the tag and does not count them, and a warning names them.
  - Guards keep snapshots that no rule keeps but that somebody uses. See O(guards). After a wait the module asks the
    guards again, and keeps the snapshots that became protected in the meantime. See RV(kept_late).
  - The module copies the snapshots that O(copies) ask for to other regions or accounts, the oldest of a volume first.
    Each place retains its copies by rules of its own.
  - The module takes the due snapshots and waits for them before it deletes any snapshot. With O(wait=false), a snapshot
    is not deleted while its replacement or its copy is unfinished. A later run deletes it.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - ec2ops.storage.retention.snapshots
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  policy:
    description:
      - The name of the policy, which identifies it. Every snapshot of the policy has this name in the tag
        C(ec2ops:policy).
      - It must be text, so quote a number.
      - A renamed policy does not retain the snapshots that it took under its old name. While a policy has no snapshots,
        the task warns about other policies' snapshots of the selected volumes.
    type: raw
    required: true
  state:
    description:
      - V(captured) takes the due snapshots and ends as soon as EC2 has answered every call. EC2 has fixed their point
        in time by then. The module does not wait, and deletes nothing.
      - V(applied) takes the due snapshots, waits for them, and deletes the snapshots that no rule keeps.
    type: str
    choices: [captured, applied]
    default: applied
  select:
    description:
      - The volumes to capture, or the instances with O(consistency=instance). A resource is selected if any of the
        suboptions names it.
    type: dict
    suboptions:
      volume_ids:
        description: These volumes. Not with O(consistency=instance).
        type: list
        elements: str
      instance_ids:
        description:
          - The volumes of these instances. After a relaunch, an id stands for the successor as soon as the successor
            serves. The successor carries the id in the tag C(ec2ops:replaces). The policy then captures the predecessor
            only while it runs.
          - A warning names data volumes that are still attached to the predecessor.
        type: list
        elements: str
      tags:
        description:
          - The volumes that have all these tags. With O(consistency=instance), the instances that have all of them.
          - Quote values. The module refuses a value that is neither text nor a whole number.
        type: dict
      allow_missing:
        description:
          - With a warning, accept ids in O(select.volume_ids) and O(select.instance_ids) that no longer exist.
          - With V(false), the task fails in the end and names these ids. Before that, it captures the other volumes,
            and applies the rules to the snapshots of the missing volumes too.
        type: bool
        default: false
  allow_empty:
    description: Succeed when O(select.tags) match nothing.
    type: bool
    default: false
  create:
    description: V(due) takes a snapshot when one is due. V(never) only retains existing snapshots.
    type: str
    choices: [due, never]
    default: due
  every:
    description:
      - The length of a slot. A snapshot is due when the current slot has none. Slots follow the wall clock of
        O(keep.timezone), from midnight, Monday or the first of the month.
      - One of V(5min), V(10min), V(15min), V(20min), V(30min), V(1h), V(2h), V(3h), V(4h), V(6h), V(8h), V(12h),
        V(24h), V(1d), V(1w), V(1m) (a month).
      - The repeated hour at the end of summer time makes no second slot.
    type: str
    default: 24h
  consistency:
    description:
      - V(volume) takes a snapshot of each volume separately.
      - V(instance) captures all volumes of an instance at one point in time, with one call. The module keeps or deletes
        such a snapshot set as one.
    type: str
    choices: [volume, instance]
    default: volume
  exclude_boot_volume:
    description: With O(consistency=instance), leave the root volume out.
    type: bool
    default: false
  exclude_volume_ids:
    description:
      - With O(consistency=instance), leave these volumes out. A warning names volumes that no selected instance has.
    type: list
    elements: str
  tags:
    description:
      - Tags for all snapshots and copies that the policy makes. A run also sets changed tags on existing ones.
      - Quote values, since YAML turns V(yes) into V(true). The module refuses a value that is neither text nor a whole
        number.
    type: dict
  copy_volume_tags:
    description: Whether new snapshots get the tags of their volume. O(tags) override them.
    type: bool
    default: true
  keep:
    description:
      - The rules, joined by I(or), so an additional rule never deletes more. Required with O(state=applied).
      - A snapshot of the policy counts with the start of its slot. Any other snapshot counts with its start time.
  copies:
    description:
      - The places of copies, each with rules of its own. Each place gets a copy of the snapshots that its rules would
        keep. A copy counts with the time of its original.
      - At most 20 copies are under way in a region at once. Later runs begin the others. The module does not delete an
        original before its copy is completed.
      - The run reports a failed copy with EC2's reason and deletes it. The next run copies again. Copies carry the
        user's tags of their originals, as far as they fit.
      - If a place does not answer, the run still takes the due snapshots, and keeps each original that may lack its
        copy. Then the task fails with the message of AWS.
      - When you remove an entry, no run deletes its copies any more. The tag C(ec2ops:copied-to) of a snapshot names
        the places of its copies. While such snapshots exist, each run warns about a place without an entry.
      - A copy is incremental if it has the same key as the previous copy, and that copy still exists. See
        O(guards.newest_copy).
  archive_after:
    description:
      - Move the policy's snapshots that are older than this to the archive tier. A span as in O(keep.within), such as
        V(90d) or V(6m).
      - For each volume or instance, the newest completed snapshot outside the archive stays in the standard tier.
        Snapshots that an AMI uses, and shared, public, protected and managed snapshots, stay too. So do snapshots with
        fast restore, and the sources of volumes and copies that EC2 is making. RV(archive_waiting) lists these
        snapshots, with the reasons.
      - The module never archives adopted snapshots and copies.
      - EC2 bills at least 90 days in the archive. Without the option, archived snapshots stay in the archive, since a
        return takes hours and costs extra. C(aws ec2 restore-snapshot-tier) brings a snapshot back. If somebody has
        restored a snapshot permanently, the module does not archive it again.
    type: str
  lock:
    description:
      - Lock new snapshots as soon as they are completed. With O(wait=false), the module locks them at once, and EC2
        starts the lock when they are completed. The module does not lock older snapshots.
      - The description of a snapshot and its tag C(ec2ops:lock) record the planned lock. So a later run locks the
        snapshots of an interrupted run, or of a run with O(state=captured).
      - Without the option, the module keeps existing locks.
    type: dict
    suboptions:
      mode:
        description:
          - Anybody who may call C(ec2:UnlockSnapshot) can remove a lock of the mode V(governance). After
            O(lock.cool_off), nobody can remove a lock of the mode V(compliance). V(unlocked) removes the policy's own
            locks, if EC2 allows it.
          - With V(unlocked), a lock is the policy's if the description of the snapshot records its mode and duration.
            The module keeps other locks, with a warning, since anybody can write a tag. It also keeps locks of
            snapshots from earlier versions of the collection.
        type: str
        choices: [governance, compliance, unlocked]
        required: true
      duration:
        description: The duration of the lock, from its start. Whole days, V(1d) to V(36500d), or weeks.
        type: str
      cool_off:
        description:
          - The time in which you can still remove a compliance lock. Whole hours, V(1h) to V(72h). By default there is
            no such time.
        type: str
      accept_compliance:
        description:
          - Accept that nobody, not even the root user, can delete a snapshot before the end of its compliance lock.
        type: bool
        default: false
  fast_restore:
    description:
      - Enable fast snapshot restore for the newest snapshots of each volume or instance, in these zones only. The
        module disables it for all other snapshots of the policy.
      - EC2 bills each snapshot and zone by the hour. Without the option the module changes no fast restore.
    type: dict
    suboptions:
      zones:
        description: Names of zones of the region. An empty list ends fast restore of the policy's snapshots.
        type: list
        elements: str
        required: true
      newest:
        description: The number of newest snapshots with fast restore.
        type: int
        default: 1
  adopt:
    description:
      - Snapshots that the policy retains although it did not take them. The policy adopts snapshots of another policy
        only if O(adopt.policies) names that policy.
      - The policy claims each of them with the tag C(ec2ops:adopted-by). With a warning, it leaves out snapshots that
        another policy has claimed. To hand a snapshot over to another policy, remove the tag.
      - Without O(adopt), or with other tags in it, the policy no longer retains the snapshots that it has claimed. Then
        no run deletes these snapshots, and no run looks for them. A run warns about those that it reads for another
        reason. The first run of a policy without snapshots warns about them too.
    type: dict
    suboptions:
      tags:
        description: Adopt snapshots that have all these tags. Quote values. The module refuses values other than text.
        type: dict
        required: true
      policies:
        description:
          - Names of policies that took snapshots to adopt, such as the old name of this policy. The description of a
            snapshot names the policy that took it.
          - Remove the tag C(ec2ops:policy) of such snapshots. Removing the tag alone is not enough, since anybody who
            may write tags can remove it. If another policy took a snapshot and this option does not name it, the policy
            leaves the snapshot out, with a warning.
        type: list
        elements: str
        default: []
  guards:
    description:
      - The effect of each guard on a snapshot that no rule keeps. V(keep), the default, keeps the snapshot, and the
        report names the guard. V(report) deletes it with a warning. With V(fail), the run deletes no snapshots at all,
        and the task fails.
      - EC2 itself refuses the deletions that O(guards.image), O(guards.locked) and O(guards.backup) prevent. So these
        guards have no V(report).
      - If EC2 does not answer a guard, for example for lack of a permission, the guard keeps the snapshots that it asks
        about. The run still takes the due snapshots. Then the task fails with EC2's message.
    type: dict
    suboptions:
      image:
        description: An AMI uses the snapshot in any of its devices. Disabled and pending AMIs count too.
        type: str
        choices: [keep, fail]
      locked:
        description: The snapshot is locked.
        type: str
        choices: [keep, fail]
      backup:
        description:
          - The snapshot is a recovery point of AWS Backup. It does not displace other snapshots.
        type: str
        choices: [keep, fail]
      managed:
        description:
          - The tags of the snapshot show that another controller made it, such as Data Lifecycle Manager, a CSI driver
            or Velero. Except with V(report), it does not displace other snapshots.
        type: str
        choices: [keep, report, fail]
      public:
        description: Anybody may use the snapshot.
        type: str
        choices: [keep, report, fail]
      shared:
        description:
          - The snapshot is shared with other accounts. This guard needs one call for each snapshot that no rule keeps.
            It is off unless you set it.
        type: str
        choices: [keep, report, fail]
      fast_restore:
        description: Fast snapshot restore is enabled for the snapshot.
        type: str
        choices: [keep, report, fail]
      archived:
        description:
          - The snapshot has been in the archive for less than 90 days, the shortest time that EC2 bills, or is on its
            way there or back.
        type: str
        choices: [keep, report, fail]
      copy_source:
        description: A copy of the snapshot is under way.
        type: str
        choices: [keep, report, fail]
      newest_copy:
        description:
          - The snapshot is the newest copy of its volume with its key at a place of copies. Without it, the next copy
            would be a full one.
        type: str
        choices: [keep, report, fail]
      last:
        description: The snapshot is the last completed snapshot of its volume. Snapshots that others took count too.
        type: str
        choices: [keep, report, fail]
      creating:
        description: EC2 is creating a volume from the snapshot.
        type: str
        choices: [keep, report, fail]
      protected:
        description: O(protect) names the snapshot.
        type: str
        choices: [keep, report, fail]
  max_delete:
    description:
      - The largest number of deletions. If a run would delete more, it deletes nothing, and the task fails. The run
        still takes the due snapshots. The same holds for the other limits.
  max_delete_percent:
    description:
      - The largest percentage of the policy's completed snapshots, copies included, that a run may delete. The limit
        applies from 10 deletions upwards.
    type: int
    default: 50
  min_keep:
    description:
      - The smallest number of snapshots that must be left for each volume or instance. Copies do not count. Only values
        of 2 or more have an effect, since the rules always keep the newest snapshot.
    type: int
    default: 1
  expected_plan:
    description:
      - The RV(plan_hash) of a check run that somebody has approved. With any other plan, except an empty one, the run
        deletes nothing and fails.
  report:
    description:
      - The extent of RV(decisions) and C(--diff). V(actions) shows the deletions, the snapshots that a guard keeps, and
        the snapshots of an unknown source, at most 1000. V(all) shows every decision, and V(summary) shows only counts.
  wait:
    description:
      - Wait until the due snapshots are completed. With V(false), or if O(wait_timeout) ends first, a later run
        deletes the snapshots that they replace. Other deletions do not depend on the wait.
notes:
  - The user needs C(ec2:DescribeSnapshots), C(ec2:DescribeVolumes), C(ec2:DescribeInstances), C(ec2:CreateSnapshot) or
    C(ec2:CreateSnapshots), C(ec2:CreateTags) and C(ec2:DeleteSnapshot).
  - The guards need C(ec2:DescribeImages), C(ec2:DescribeLockedSnapshots), C(ec2:DescribeFastSnapshotRestores),
    C(ec2:DescribeSnapshotTierStatus) and C(ec2:DescribeSnapshotAttribute).
  - A place of copies needs C(ec2:CopySnapshot), C(ec2:CreateTags), C(ec2:DescribeSnapshots), C(ec2:DeleteSnapshot), and
    C(kms:DescribeKey) to check a key before the copy. Copies to another account also need
    C(ec2:ModifySnapshotAttribute), C(ec2:DeleteTags) and C(kms:DescribeKey) in the account of the task, and the right
    to use the keys of both sides. Until a snapshot at a place shows its account, the task also needs
    C(sts:GetCallerIdentity).
  - O(archive_after) needs C(ec2:ModifySnapshotTier). O(lock) needs C(ec2:LockSnapshot) or C(ec2:UnlockSnapshot).
    O(fast_restore) needs C(ec2:EnableFastSnapshotRestores) and C(ec2:DisableFastSnapshotRestores).
  - Two tasks with the same O(policy) delete each other's snapshots if their rules differ. The module warns when it
    deletes snapshots of an existing volume that O(select) does not name.
  - The module reports snapshots of an unknown source and never deletes them. Such snapshots are copies without the tags
    of this collection.
  - The module deletes a failed snapshot of the policy and takes it again. A failed snapshot has no content, so no limit
    counts it. Guards and limits apply to the good parts of a failed set.
  - A set that lacks the snapshot of one of its volumes is C(incomplete). EC2 makes such a set when a volume is detached
    during the call. An incomplete set is no recovery point and does not fill its slot, so the next run takes a complete
    one. The module deletes it as soon as the rules would delete a complete set in its place. The role
    P(ec2ops.storage.restore#role) treats incomplete sets in the same way.
  - The module leaves out selected volumes on an Outpost. It captures the other volumes. Then the task fails and names
    the volumes that it left out.
  - Two runs at the same moment can take two snapshots for one slot. The earlier snapshot counts. The run that took the
    later one deletes it. If that run was interrupted, a later run deletes it once there is a newer snapshot.
  - With any rules, the module keeps the snapshot of the current slot (C(current slot)), since a new one would be due at
    once.
  - EC2 takes 50 tags on a snapshot. If a volume has too many tags, its snapshot gets as many as fit, C(Name) first,
    with a warning.
  - The slots of O(state=captured) follow O(keep.timezone) too, so give it the same O(keep).
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.ebs_volume_spec
  - module: amazon.aws.ec2_snapshot
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Take daily snapshots of the database volumes
  ec2ops.storage.snapshot_rotate:
    policy: db-daily
    select:
      tags:
        backup: daily
    keep:
      daily: 7
      weekly: 4
      monthly: 12
      timezone: Europe/Berlin
    region: eu-central-1

- name: Capture all volumes of an instance each hour
  ec2ops.storage.snapshot_rotate:
    policy: shop-hourly
    select:
      instance_ids: [i-0123456789abcdef0]
    consistency: instance
    every: 1h
    keep:
      within: 2d
    region: eu-central-1

- name: Keep copies in another region and account
  ec2ops.storage.snapshot_rotate:
    policy: db-daily
    select:
      tags:
        backup: daily
    keep:
      daily: 7
    copies:
      - region: eu-west-1
        kms_key_id: alias/backup
        keep:
          monthly: 12
      - region: eu-central-1
        profile: vault
        keep:
          monthly: 12
    region: eu-central-1

- name: Lock, archive and speed up snapshots
  ec2ops.storage.snapshot_rotate:
    policy: ledger
    select:
      tags:
        app: ledger
    keep:
      daily: 30
      monthly: 36
    lock:
      mode: governance
      duration: 28d
    archive_after: 6m
    fast_restore:
      zones: [eu-central-1a]
    region: eu-central-1

- name: Retain the snapshots of a script
  ec2ops.storage.snapshot_rotate:
    policy: legacy
    create: never
    adopt:
      tags:
        created-by: cron
    keep:
      last: 10
    max_delete: 500
    region: eu-central-1
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 snapshot taken, 4 deleted; 6 kept; newest recovery point 4 s old
archived:
  description:
    - The ids of the snapshots that the task moves to the archive tier. RV(locked), RV(unlocked), RV(fast_restored) and
      RV(fast_restore_ended) have the snapshots of the other lifecycle options.
  returned: success with O(state=applied), or if the task withheld deletions or left items out
  type: list
  elements: str
archive_waiting:
  description: The snapshots that are older than O(archive_after) and not archived yet, in the order of RV(decisions).
  returned: success with O(state=applied), or if the task withheld deletions or left items out
  type: list
  elements: dict
  contains:
    snapshot_ids:
      description: The snapshot or set.
      type: list
      elements: str
      returned: always
    reason:
      description: The reason.
      type: str
      returned: always
locked:
  description: The ids of the locked snapshots.
  returned: success with O(state=applied), or if the task withheld deletions or left items out
  type: list
  elements: str
unlocked:
  description: The ids of the unlocked snapshots.
  returned: success with O(state=applied), or if the task withheld deletions or left items out
  type: list
  elements: str
fast_restored:
  description: The ids of the snapshots for which the task enabled fast restore.
  returned: success with O(state=applied), or if the task withheld deletions or left items out
  type: list
  elements: str
fast_restore_ended:
  description: The ids of the snapshots for which the task disabled fast restore.
  returned: success with O(state=applied), or if the task withheld deletions or left items out
  type: list
  elements: str
deferred:
  description: The changes that EC2 refused for now, for example because of a quota. A later run tries again.
  returned: success, or if the task withheld deletions or left items out
  type: list
  elements: dict
  contains:
    snapshot_id:
      description: The snapshot. For a copy that EC2 did not begin, the entry has its planned id.
      type: str
      returned: always
    code:
      description: EC2's code.
      type: str
      returned: always
    message:
      description: EC2's message.
      type: str
      returned: always
decisions:
  description: The decisions with their reasons, the newest snapshot first. See O(report).
  returned: success, or once the run has begun
  type: list
  elements: dict
  contains:
    decision:
      description: V(keep) or V(delete).
      type: str
      returned: always
    snapshot_ids:
      description: The snapshot, or the snapshots of the set.
      type: list
      elements: str
      returned: always
    source:
      description: The volume or instance that was captured. Null if it is unknown.
      type: str
      returned: always
    region:
      description: The region of the snapshot.
      type: str
      returned: always
    profile:
      description: The profile of the account, for a copy in another account. Null otherwise.
      type: str
      returned: always
    start_time:
      description: The start time of the snapshot. A copy has the start time of its original.
      type: str
      returned: always
    reasons:
      description: All rules that keep the snapshot. If no rule keeps it, the reason of the guard, or the reason why the
        snapshot takes part in no rule.
      type: list
      elements: str
      returned: always
    guard:
      description:
        - The guard that keeps the snapshot. C(depends) if its replacement or its copy is unfinished or unknown, or if
          this run claims it for the policy. Null otherwise.
      type: str
      returned: always
  sample:
    - decision: delete
      snapshot_ids: [snap-0123456789abcdef0]
      source: vol-0123456789abcdef0
      region: eu-central-1
      profile: null
      start_time: "2026-11-16T02:00:04Z"
      reasons: []
      guard: null
created:
  description: The ids of the snapshots that the task took. In check mode planned ids.
  returned: success, or if the task withheld deletions or left items out
  type: list
  elements: str
copied:
  description: The ids of the copies that the task began. In check mode planned ids.
  returned: success, or if the task withheld deletions or left items out
  type: list
  elements: str
deleted:
  description: The ids of the snapshots that the task deleted, or would delete in check mode.
  returned: success, or if the task withheld deletions or left items out
  type: list
  elements: str
counts:
  description:
    - The numbers of snapshots that the policy retains, keeps and deletes, of deletions that a limit withholds, and of
      snapshots that the task took and copied. The numbers do not include copies in RV(deferred).
  returned: success, or if the task withheld deletions or left items out
  type: dict
kept_late:
  description:
    - The snapshots of planned deletions that became protected while the run waited. The run keeps them, with a warning.
      Empty in check mode.
  returned: success with O(state=applied), or once such a run has begun
  type: list
  elements: dict
  contains:
    snapshot_ids:
      description: The snapshot, or the snapshots of the set.
      type: list
      elements: str
      returned: always
    region:
      description: The region of the snapshot.
      type: str
      returned: always
    profile:
      description: The profile of the account, for a copy in another account. Null otherwise.
      type: str
      returned: always
    guard:
      description: The guard that keeps the snapshot. See O(guards).
      type: str
      returned: always
    reason:
      description: The reason of the guard.
      type: str
      returned: always
rpo:
  description: The recovery point of each volume or instance that is selected or has snapshots of the policy.
  returned: success, or once the run has begun
  type: list
  elements: dict
  contains:
    source:
      description: The volume or instance.
      type: str
      returned: always
    due:
      description: Whether a snapshot was due in this run.
      type: bool
      returned: always
    snapshot_ids:
      description:
        - The newest good snapshot or set. A snapshot of this run counts only if the run waited until it was completed.
      type: list
      elements: str
      returned: always
    recovery_point:
      description: The start time of the newest good snapshot. Null if there is none.
      type: str
      returned: always
    age:
      description: The age of the recovery point, in seconds.
      type: int
      returned: always
    copies:
      description:
        - The recovery point at each place of O(copies) that has answered, with C(region) and C(profile). Only completed
          copies count, each with the start time of its original.
      type: list
      elements: dict
      returned: when there are O(copies)
plan_hash:
  description: The value for O(expected_plan). Equal plans always have the same hash.
  returned: success, or once the run has begun
  type: str
plan:
  description:
    - The planned changes in order, the same in check mode. One entry per resource.
  returned: always
  type: list
  elements: dict
  sample:
    - action: CreateSnapshot
      resource: (new snapshot vol-0123456789abcdef0 2026-11-24T00:00:00Z)
      region: eu-central-1
      parameters: {"VolumeId": "vol-0123456789abcdef0", "Description": "db-daily: vol-0123456789abcdef0"}
      reason: capture the slot of 2026-11-24T00:00:00Z
      before: null
      after: {"state": "completed", "volume_id": "vol-0123456789abcdef0"}
      disruptive: false
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"CreateSnapshot": 1, "DescribeSnapshots": 3, "DescribeVolumes": 1}
error:
  description: The error, with AWS's own code and message if AWS refused a call.
  returned: failure
  type: dict
  sample: {"operation": "CreateSnapshot", "code": "UnauthorizedOperation", "message": "You are not authorized."}
errors:
  description: All errors of the task, each as RV(error). The first one is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "CreateSnapshot", "code": "UnauthorizedOperation", "message": "You are not authorized."}]
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
  description: EC2's ids for the planned ids in RV(plan). Empty in check mode.
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
    - On failure, the changes that the task did not try, since they depend on a failed one.
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
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.options import (
    ARGUMENT_SPEC,
    EXAMPLES_OF_MAPPINGS,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.planner import FEATURE

PROGRAM = Program(FEATURE, ARGUMENT_SPEC, examples=EXAMPLES_OF_MAPPINGS)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
