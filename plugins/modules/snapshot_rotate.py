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
  - Then it deletes what no rule of O(keep) keeps. Every decision has its reasons, in RV(decisions) and with
    C(--diff).
  - Retention covers all snapshots that the policy has taken, and those that match O(adopt), also of volumes that are
    gone or are not selected any more. Each volume, or instance, is retained for itself; its newest completed snapshot
    is always kept.
  - The tag C(ec2ops:policy) finds the policy's snapshots, and their descriptions prove that it took them. Others that
    carry the tag are named in a warning, count for nothing, and are kept.
  - What could be deleted and should not be is held back by guards. See O(guards). After a wait the module asks the
    guards again, and keeps what has become protected in the meantime. See RV(kept_late).
  - What O(copies) want in other regions or accounts is copied, the oldest of a volume first, and retained there by
    rules of its own.
  - What is due is taken and waited for before anything is deleted. When O(wait=false), what leans on a snapshot that is
    not completed yet stays for a later run; so does what a copy leans on.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  policy:
    description:
      - The policy's name, its identity. It is on every snapshot that it makes, in the tag C(ec2ops:policy).
      - It must be text, so quote a number.
      - A policy with a new name does not retain what it made under the old one. While a policy has no snapshots, the
        task warns of the snapshots that other policies have of the selected volumes.
    type: raw
    required: true
  state:
    description:
      - V(captured) takes what is due and ends as soon as EC2 has answered every call. A snapshot's point in time is
        fixed by then. Nothing is waited for and nothing is deleted.
      - V(applied) takes what is due, waits for it, and deletes.
    type: str
    choices: [captured, applied]
    default: applied
  select:
    description: What snapshots are taken of. All that any of the suboptions names.
    type: dict
    suboptions:
      volume_ids:
        description: These volumes. Not with O(consistency=instance).
        type: list
        elements: str
      instance_ids:
        description:
          - The volumes of these instances. After a relaunch an id stands for the successor, which carries it in the tag
            C(ec2ops:replaces) and has proved itself. The predecessor is not captured any more, unless it runs.
          - Data volumes that stay attached to the predecessor are named in a warning.
        type: list
        elements: str
      tags:
        description:
          - The volumes, with O(consistency=instance) the instances, that have all these tags.
          - Quote values. A value that is neither text nor a whole number is refused.
        type: dict
      allow_missing:
        description:
          - Accept ids in O(select.volume_ids) and O(select.instance_ids) that do not exist any more, with a warning.
          - Without it the task fails with these ids at its end. By then it has taken snapshots of the rest, and
            retained those of the missing ids too.
        type: bool
        default: false
  allow_empty:
    description: Succeed when O(select.tags) match nothing.
    type: bool
    default: false
  create:
    description: V(never) only retains what there is.
    type: str
    choices: [due, never]
    default: due
  every:
    description:
      - How often a snapshot is due, as slots on the wall clock of O(keep.timezone), from midnight, Monday or the first
        of the month. One of V(5min), V(10min), V(15min), V(20min), V(30min), V(1h), V(2h), V(3h), V(4h), V(6h), V(8h),
        V(12h), V(24h), V(1d), V(1w), V(1m) (a month).
      - The hour that occurs twice when summer time ends makes no second slot.
    type: str
    default: 24h
  consistency:
    description:
      - V(instance) takes all volumes of an instance at one point in time, with one call. Such a set is kept or deleted
        as one.
    type: str
    choices: [volume, instance]
    default: volume
  exclude_boot_volume:
    description: With O(consistency=instance), leave the root volume out.
    type: bool
    default: false
  exclude_volume_ids:
    description:
      - With O(consistency=instance), leave these volumes out. A volume that no selected instance has is a warning.
    type: list
    elements: str
  tags:
    description:
      - Tags of all that the policy makes. Changed ones are set on what there is too.
      - Quote values, since YAML turns V(yes) into V(true). A value that is neither text nor a whole number is refused.
    type: dict
  copy_volume_tags:
    description: New snapshots get the tags of their volume. O(tags) come before them.
    type: bool
    default: true
  keep:
    description:
      - What stays. The rules are joined by I(or), so one more rule never deletes more. Required with O(state=applied).
      - A snapshot counts with the start of the slot that it was made for, else with its start time.
    type: dict
    suboptions: &rules
      last:
        description: So many of the newest. V(unlimited) or V(-1) keeps all. So do the other counts.
        type: str
      hourly:
        description: The newest of each of so many hours that have one.
        type: str
      daily:
        description: The newest of each of so many days that have one.
        type: str
      weekly:
        description: The newest of each of so many ISO weeks that have one.
        type: str
      monthly:
        description: The newest of each of so many months that have one.
        type: str
      quarterly:
        description: The newest of each of so many quarters that have one.
        type: str
      yearly:
        description: The newest of each of so many years that have one.
        type: str
      within:
        description:
          - All that are younger than this span, measured from O(keep.reference). A number and V(min), V(h), V(d), V(w),
            V(m) (months) or V(y), alone or in a row, such as V(1y6m). Months and years are the calendar's.
        type: str
      hourly_within:
        description: Of each hour within this span the newest.
        type: str
      daily_within:
        description: Of each day within this span the newest.
        type: str
      weekly_within:
        description: Of each ISO week within this span the newest.
        type: str
      monthly_within:
        description: Of each month within this span the newest.
        type: str
      quarterly_within:
        description: Of each quarter within this span the newest.
        type: str
      yearly_within:
        description: Of each year within this span the newest.
        type: str
      timezone:
        description: Whose calendar cuts hours, days and so on. An IANA name.
        type: str
        default: UTC
      reference:
        description:
          - What ages are measured from, V(latest) the newest completed snapshot of the same volume or instance, so that
            a job that has stopped does not eat its own history; or V(now).
        type: str
        choices: [latest, now]
        default: latest
      oldest:
        description: A rule that does not use up its count also keeps the oldest, as in restic.
        type: bool
        default: false
  copies:
    description:
      - Where copies go, and what stays there. A copy counts with the time of its original. Those that the rules of the
        place would keep are made, at most 20 at once in a region. What is not completed when the run ends, later runs
        pick up; until then its original stays.
      - A copy that fails is reported with EC2's reason, removed, and tried again. Tags go along.
      - While a place does not answer, what is due is taken here, originals whose copy is unknown stay, and the task
        fails with the message of AWS.
      - When an entry is removed, its copies stay, and no run deletes them any more. Each run warns of them while
        snapshots are left that were taken with the entry; the tag C(ec2ops:copied-to) on these names its place.
      - Copies are incremental as long as the key stays the same and the newest copy is there. See
        O(guards.newest_copy).
    type: list
    elements: dict
    suboptions:
      region:
        description: Where they go.
        type: str
        required: true
      profile:
        description:
          - To the account of this profile of the AWS configuration, where the module runs. Originals are shared with
            it for the time of their copy; the tag C(ec2ops:shared-with) records it. What is encrypted with the
            account's default key cannot be shared.
          - The module compares accounts, not names. It refuses an entry whose region and account are those of another
            entry, or of the task itself.
        type: str
      kms_key_id:
        description:
          - The key in that region that encrypts the copies. Without it, copies of encrypted snapshots get the region's
            default key, and others are not encrypted.
        type: str
      keep:
        description: What stays there, as in O(keep).
        type: dict
        required: true
        suboptions: *rules
      wait:
        description: Wait until they are completed, however many there are. Only with O(wait=true).
        type: bool
        default: false
  archive_after:
    description:
      - Snapshots of the policy that are older than this go to the archive tier. A span as in O(keep.within), such as
        V(90d) or V(6m).
      - Not the newest of a volume or instance that can be restored from at once, nor what an AMI uses, what is shared
        or public, what a volume or a copy is being made from, what is protected or managed, and what fast restore is
        on. What was adopted, and copies, stay where they are. RV(archive_waiting) says what waits, and why.
      - EC2 bills at least 90 days in the archive. Taking the option away brings nothing back, since that takes hours
        and costs; C(aws ec2 restore-snapshot-tier) does. What was brought back for good is not archived again.
    type: str
  lock:
    description:
      - New snapshots are locked as soon as they are completed; without O(wait) at once, and the lock begins when they
        are. Older ones are not. The description of a snapshot and its tag C(ec2ops:lock) say whether it was made to be
        locked, so that a later run locks what an interrupted one, or one with O(state=captured), has left. Taking the
        option away leaves the locks as they are.
    type: dict
    suboptions:
      mode:
        description:
          - V(governance) can be taken off by who may call C(ec2:UnlockSnapshot). V(compliance) by nobody once
            O(lock.cool_off) is over. V(unlocked) takes off the locks that the policy has put on, where EC2 lets it.
          - With V(unlocked), a lock is the policy's when the description of the snapshot records the same mode and
            length. Other locks stay, with a warning, also those of snapshots that earlier versions of the collection
            took, since anybody can write a tag.
        type: str
        choices: [governance, compliance, unlocked]
        required: true
      duration:
        description: For how long, from the lock on. Whole days, V(1d) to V(36500d), or weeks.
        type: str
      cool_off:
        description: For how long a compliance lock can still be taken off. Whole hours, V(1h) to V(72h). None without.
        type: str
      accept_compliance:
        description: That nobody, the root user included, can delete a snapshot under a compliance lock before its end.
        type: bool
        default: false
  fast_restore:
    description:
      - Fast snapshot restore is on for the newest snapshots of each volume or instance, and for no other of the policy,
        in these zones and no other. It is billed by the hour, for each snapshot and zone. Without the option nothing is
        touched.
    type: dict
    suboptions:
      zones:
        description: Names of zones of the region. An empty list ends fast restore of the policy's snapshots.
        type: list
        elements: str
        required: true
      newest:
        description: For so many of the newest.
        type: int
        default: 1
  adopt:
    description:
      - Snapshots that the policy did not make and retains too. They are never those of another policy, unless
        O(adopt.policies) names it.
      - The policy claims each of them with the tag C(ec2ops:adopted-by). The run that claims a snapshot does not delete
        it. The next one may. It leaves out the snapshots that another policy has claimed, with a warning. To hand a
        snapshot over, remove the tag.
      - Without O(adopt), or with other tags in it, the policy no longer retains what it has claimed, so no run deletes
        these snapshots. A run does not look for them. It warns of those that it reads for another reason, and on the
        first run of a policy that has no snapshots.
    type: dict
    suboptions:
      tags:
        description: They have all these tags. Quote values. Anything but text is refused.
        type: dict
        required: true
      policies:
        description:
          - Names of policies that took snapshots to adopt, such as the old name of this policy. The description of a
            snapshot names the policy that took it.
          - Their tag C(ec2ops:policy) must be removed. Without the name here, a snapshot that another policy took is
            left out with a warning, since anybody who may tag can remove the tag.
        type: list
        elements: str
        default: []
  protect:
    description:
      - Snapshots that stay and take nobody's place. One of O(protect.tags) and O(protect.tag_keys) is required.
      - Quote values, since YAML turns V(yes) into V(true). Anything but text is refused.
    type: dict
    suboptions:
      tags:
        description: Protect snapshots that have any of these tags.
        type: dict
      tag_keys:
        description: Protect snapshots that have a tag with any of these keys, whatever its value.
        type: list
        elements: raw
  guards:
    description:
      - What holds back the deletion of a snapshot that no rule keeps. V(keep), the default, lets it stay and says so;
        V(report) deletes it with a warning; V(fail) deletes nothing at all and fails.
      - V(report) is not offered for what EC2 itself does not delete (O(guards.image), O(guards.locked),
        O(guards.backup)).
      - A guard that EC2 does not answer, for example without the permission to, keeps the snapshots that it is asked
        about. What is due is taken all the same, and the task fails with EC2's message.
    type: dict
    suboptions:
      image:
        description: An AMI, also a disabled or pending one, has it in any of its devices.
        type: str
        choices: [keep, fail]
      locked:
        description: It is locked.
        type: str
        choices: [keep, fail]
      backup:
        description: It is a recovery point of AWS Backup. Unless reported, it takes nobody's place.
        type: str
        choices: [keep, fail]
      managed:
        description:
          - Data Lifecycle Manager, a CSI driver, Velero or another controller has made it, by its tags. Unless
            reported, it takes nobody's place.
        type: str
        choices: [keep, report, fail]
      public:
        description: Anybody may use it.
        type: str
        choices: [keep, report, fail]
      shared:
        description:
          - It is shared with accounts. This takes a call for every snapshot that would go, and is off unless given.
        type: str
        choices: [keep, report, fail]
      fast_restore:
        description: Fast snapshot restore is enabled for it.
        type: str
        choices: [keep, report, fail]
      archived:
        description: It has been in the archive for less than 90 days, which are paid for, or is on the way in or out.
        type: str
        choices: [keep, report, fail]
      copy_source:
        description: A copy of it is under way.
        type: str
        choices: [keep, report, fail]
      newest_copy:
        description: It is, where copies go, the newest of its volume with its key; the next copy would be a full one.
        type: str
        choices: [keep, report, fail]
      last:
        description: It is the last completed snapshot of its volume, of whoever's.
        type: str
        choices: [keep, report, fail]
      creating:
        description: A volume is being made from it.
        type: str
        choices: [keep, report, fail]
      protected:
        description: O(protect) names it.
        type: str
        choices: [keep, report, fail]
  max_delete:
    description:
      - When more would be deleted, nothing is deleted, and the task fails. What is due is taken all the same. So with
        the other limits.
    type: int
    default: 100
  max_delete_percent:
    description:
      - The same as a part of the completed snapshots that the policy retains, copies included. Counts from 10
        deletions up.
    type: int
    default: 50
  min_keep:
    description:
      - The same when fewer would be left of any volume or instance, without its copies. Counts from 2 up; the newest
        always stays.
    type: int
    default: 1
  expected_plan:
    description:
      - RV(plan_hash) of a check run that somebody has approved. Any other plan deletes nothing and fails, but
        for one that is empty.
    type: str
  report:
    description:
      - How much is told in RV(decisions) and C(--diff). V(actions) has what goes, what a guard holds back, and that of
        which nothing says what it is a backup of, the newest 1000 of it; V(all) all; V(summary) only counts.
    type: str
    choices: [actions, all, summary]
    default: actions
  wait:
    description:
      - Wait until what is due is completed. Without it, what leans on that is deleted by a later run, and so it is when
        the time is over. What leans on nothing that is still under way goes in any case.
notes:
  - The user needs C(ec2:DescribeSnapshots), C(ec2:DescribeVolumes), C(ec2:DescribeInstances), C(ec2:CreateSnapshot) or
    C(ec2:CreateSnapshots), C(ec2:CreateTags), C(ec2:DeleteSnapshot), and for the guards C(ec2:DescribeImages),
    C(ec2:DescribeLockedSnapshots), C(ec2:DescribeFastSnapshotRestores), C(ec2:DescribeSnapshotTierStatus) and
    C(ec2:DescribeSnapshotAttribute). Where copies go it needs C(ec2:CopySnapshot), C(ec2:CreateTags),
    C(ec2:DescribeSnapshots), C(ec2:DeleteSnapshot) and, to know a key before it is used, C(kms:DescribeKey); for
    another account C(ec2:ModifySnapshotAttribute), C(ec2:DeleteTags) and C(kms:DescribeKey) here, and the right to use
    the keys of both sides. C(sts:GetCallerIdentity) tells an account while no snapshot there does.
    O(archive_after) needs C(ec2:ModifySnapshotTier), O(lock) C(ec2:LockSnapshot) or C(ec2:UnlockSnapshot),
    O(fast_restore) C(ec2:EnableFastSnapshotRestores) and C(ec2:DisableFastSnapshotRestores).
  - Two tasks with the same O(policy) delete each other's snapshots when their rules differ. The module warns when it
    deletes snapshots of an existing volume that O(select) does not name.
  - Snapshots of which nothing says what they are a backup of (copies without our tags) are reported and never deleted.
  - A snapshot of the policy that has failed is deleted and taken again. It holds nothing, so it counts for no limit.
    The good parts of a set that has failed as a whole go through guards and limits like all others.
  - A set that lacks the snapshot of one of its volumes is C(incomplete). EC2 makes such a set when a volume is detached
    during the call. It is no recovery point and does not fill its slot, so the next run takes a whole set. It goes when
    the rules would not keep it if it were whole. The role P(ec2ops.storage.restore#role) judges sets alike.
  - A selected volume on an Outpost is left out. The rest is taken, and the task fails with the ids of such volumes.
  - Of two of the same slot, which runs at the same moment make, the earlier one counts. The run that made the other
    deletes it; when it was ended before, a later run does, once there is a newer one.
  - What was made for the current slot stays whatever the rules say (C(current slot)), since it would be due again.
  - EC2 takes 50 tags on a snapshot. Where a volume has too many, as many as fit are copied, C(Name) first, with a
    warning.
  - The slots of a capture are cut in the zone of O(keep.timezone) too, so give it the same O(keep).
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.ebs_volume_spec
  - module: amazon.aws.ec2_snapshot
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: A snapshot of every database volume each day, for a week, four weeks and a year
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

- name: All volumes of an instance at one point in time, each hour
  ec2ops.storage.snapshot_rotate:
    policy: shop-hourly
    select:
      instance_ids: [i-0123456789abcdef0]
    consistency: instance
    every: 1h
    keep:
      within: 2d
    region: eu-central-1

- name: Each day's snapshot here, and each month's in another region and another account
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

- name: Locked for a month, at hand for half a year, then in the archive, and the newest quick to restore
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

- name: Take over what a script has made, and only retain it
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
  description: One line that says what the task did, or would do in check mode, and how things stand. On failure, why.
  returned: always
  type: str
  sample: 1 snapshot taken, 4 deleted; 6 kept; newest recovery point 4 s old
archived:
  description:
    - The ids of what goes to the archive. RV(locked), RV(unlocked), RV(fast_restored) and RV(fast_restore_ended) are
      those of what the other options are about.
  returned: success with O(state=applied), or something was held back or left out
  type: list
  elements: str
archive_waiting:
  description: What is older than O(archive_after) and stays, in the order of RV(decisions), with C(reason).
  returned: success with O(state=applied), or something was held back or left out
  type: list
  elements: dict
  contains:
    snapshot_ids:
      description: The snapshot or set.
      type: list
      elements: str
      returned: always
    reason:
      description: Why.
      type: str
      returned: always
locked:
  description: The ids of what was locked.
  returned: success with O(state=applied), or something was held back or left out
  type: list
  elements: str
unlocked:
  description: The ids of what was unlocked.
  returned: success with O(state=applied), or something was held back or left out
  type: list
  elements: str
fast_restored:
  description: The ids of what fast restore was enabled for.
  returned: success with O(state=applied), or something was held back or left out
  type: list
  elements: str
fast_restore_ended:
  description: The ids of what fast restore was disabled for.
  returned: success with O(state=applied), or something was held back or left out
  type: list
  elements: str
deferred:
  description: What EC2 did not take now, such as for a quota. A later run tries again.
  returned: success, or something was held back or left out
  type: list
  elements: dict
  contains:
    snapshot_id:
      description: The snapshot. Of a copy that EC2 did not begin, its planned id.
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
  description: What goes, or stays, and why, the newest first. See O(report).
  returned: success, or when the run has begun
  type: list
  elements: dict
  contains:
    decision:
      description: V(keep) or V(delete).
      type: str
      returned: always
    snapshot_ids:
      description: The snapshot, or the set that is kept or deleted as one.
      type: list
      elements: str
      returned: always
    source:
      description: The volume, or the instance, that it is a backup of. Null where nothing says.
      type: str
      returned: always
    region:
      description: Where it is.
      type: str
      returned: always
    profile:
      description: Of a copy in another account, its profile, else null.
      type: str
      returned: always
    start_time:
      description: When it was taken; of a copy, the time of its original with which it counts.
      type: str
      returned: always
    reasons:
      description: Every rule that keeps it, or why it takes part in no rule, or what the guard says.
      type: list
      elements: str
      returned: always
    guard:
      description:
        - The guard that holds it back, C(depends) for what leans on a snapshot or copy that is not completed or is
          unknown, and for what this run has only just claimed, else null.
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
  description: The ids of what was taken, planned ids in check mode.
  returned: success, or something was held back or left out
  type: list
  elements: str
copied:
  description: The ids of the copies that were begun, planned ids in check mode.
  returned: success, or something was held back or left out
  type: list
  elements: str
deleted:
  description: The ids of what was deleted, in check mode of what would be.
  returned: success, or something was held back or left out
  type: list
  elements: str
counts:
  description:
    - How many are retained, kept, deleted, withheld by a limit, taken, and copied.
    - A copy in RV(deferred) is not counted.
  returned: success, or something was held back or left out
  type: dict
kept_late:
  description:
    - Snapshots that the plan deletes and that became protected while the run waited. The run keeps them, with a
      warning. Empty in check mode.
  returned: success with O(state=applied), or when such a run has begun
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
      description: The guard that keeps it. See O(guards).
      type: str
      returned: always
    reason:
      description: The reason of the guard.
      type: str
      returned: always
rpo:
  description: Of every selected volume or instance, and of every other that the policy retains, the recovery point.
  returned: success, or when the run has begun
  type: list
  elements: dict
  contains:
    source:
      description: The volume or instance.
      type: str
      returned: always
    due:
      description: Whether one was due.
      type: bool
      returned: always
    snapshot_ids:
      description:
        - The newest good one, or the one that is taken in this run. Without O(wait), and when the run ends before it is
          there, that does not count.
      type: list
      elements: str
      returned: always
    recovery_point:
      description: When it was taken. Null where there is none.
      type: str
      returned: always
    age:
      description: How old it is, in seconds.
      type: int
      returned: always
    copies:
      description:
        - The same for each of O(copies) that has answered, with C(region) and C(profile). Only completed copies count,
          with the moment at which their original was taken.
      type: list
      elements: dict
      returned: when there are O(copies)
plan_hash:
  description: For O(expected_plan). The same for the same plan, whenever it is made.
  returned: success, or when the run has begun
  type: str
plan:
  description:
    - The changes that the task made, or that it would make in check mode, in order. One entry per resource, the same in
      both modes.
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
  description: How many requests were sent, by operation.
  returned: always
  type: dict
  sample: {"CreateSnapshot": 1, "DescribeSnapshots": 3, "DescribeVolumes": 1}
error:
  description: Why the task failed, with the code and message of AWS where AWS refused a call.
  returned: failure
  type: dict
  sample: {"operation": "CreateSnapshot", "code": "UnauthorizedOperation", "message": "You are not authorized."}
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
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.options import (
    ARGUMENT_SPEC,
    EXAMPLES_OF_MAPPINGS,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.planner import FEATURE


def main() -> None:
    run_module(FEATURE, ARGUMENT_SPEC, examples=EXAMPLES_OF_MAPPINGS)


if __name__ == "__main__":
    main()
