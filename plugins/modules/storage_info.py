#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_info
short_description: Report the volumes, snapshots and images of a region, with their costs, risks and waste
version_added: 0.1.0
description:
  - Reads the EBS volumes, snapshots and images of a region, and reports their costs, the volumes that cannot be
    restored, and the resources that nobody needs. The module changes nothing. Check mode and run return the same
    report.
  - A finding names one resource, a severity, the reason, the monthly cost and the saving. If a task can mend it, the
    finding has this task, ready to paste.
  - The number of calls depends on the pages of EC2's answers, and on the images, ten of which share a call.
  - If the user may not read a part, the report lacks this part. RV(partial) and a warning name the part and the
    permission.
  - A price is never guessed. Without a price, the cost is null, and the report has the GiB, IOPS and MiB/s.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  subjects:
    description:
      - The kinds of resources in the report.
    type: list
    elements: str
    choices: [volumes, snapshots, images]
    default: [volumes, snapshots, images]
  filters:
    description:
      - Report only resources with all these tags. Null as the value of a tag stands for any value.
      - The recovery of a volume counts all of its snapshots, with any tags.
    type: dict
    default: {}
  policies:
    description:
      - The policies of M(ec2ops.storage.snapshot_rotate) with the length of their slots. EC2 does not show this length.
        The newest recovery point of a volume of the policy may be as old as this length and one hour.
    type: list
    elements: dict
    default: []
    suboptions:
      policy:
        description: The name of the policy.
        type: str
        required: true
      every:
        description: The value of O(ec2ops.storage.snapshot_rotate#module:every).
        type: str
        required: true
      keep:
        description:
          - The value of O(ec2ops.storage.snapshot_rotate#module:keep). With these rules, the report shows for each
            recovery point the rules that keep it, and the slot whose run will delete it. Without them, this is unknown.
        type: dict
  rpo_max:
    description:
      - The largest age of the newest recovery point of all other volumes, such as V(24h).
    type: str
    default: 2d
  grace:
    description:
      - Resources younger than this have no findings.
    type: str
    default: 1d
  old_after:
    description:
      - A snapshot without a policy is old after this time.
    type: str
    default: 90d
  stopped_after:
    description:
      - The volumes of an instance become a finding once the instance has been stopped for this time.
    type: str
    default: 30d
  unused_after:
    description:
      - An image without users becomes a finding once this time has passed since its last launch. If nobody has launched
        it, the time counts from its creation.
    type: str
    default: 90d
  copy_regions:
    description:
      - The regions of this account in which the module looks for copies of the snapshots.
    type: list
    elements: str
    default: []
  permissions:
    description:
      - Also read the accounts with which each snapshot and image is shared. EC2 has no bulk read, so this takes one
        call for each of them. The report shows public ones in any case.
    type: bool
    default: false
  metrics:
    description:
      - Also read from CloudWatch the operations and bytes of the volumes with paid IOPS or throughput. A volume whose
        peak of the last 14 days needs less than is paid for becomes the finding C(volume-performance-unused).
      - CloudWatch charges for each metric that is read. A volume takes four metrics, and four more if its hours show
        that it may be a finding.
    type: bool
    default: false
  changed_blocks:
    description:
      - Also read from the EBS direct APIs how many blocks each snapshot stores. Its cost is exact then.
      - The option takes at least one call for each snapshot, and AWS charges for them. Snapshots of unknown origin,
        copies and archived snapshots keep the bounds of their cost.
    type: bool
    default: false
  trusted_accounts:
    description:
      - The ids of accounts with which snapshots and images may be shared.
    type: list
    elements: str
    default: []
  ignore:
    description:
      - Rules that take findings out of RV(findings). RV(ignored) has these findings, with the reason.
    type: list
    elements: dict
    default: []
    suboptions:
      reason:
        description: Why the findings do not matter.
        type: str
        required: true
      resource:
        description: The id of the resource, also with the wildcards C(*) and C(?).
        type: str
      finding:
        description: The id of the finding, also with wildcards.
        type: str
      tags:
        description: Tags of the resource. Null as a value stands for any value.
        type: dict
  prices:
    description:
      - Prices by region. They take precedence over the prices of the file in the environment variable E(EC2OPS_PRICES),
        and over the shipped prices of us-east-1. An entry of a region replaces all prices of the region.
      - A price has a name such as V(gp3.gib), V(gp3.iops), V(gp3.mibps), V(snapshot.gib) or V(archive.gib), and is in
        USD a month. V(date) and V(references) beside the regions name the origin.
    type: dict
  price_api:
    description:
      - Read the prices of the region from AWS's Pricing API. They fill the gaps of O(prices) and of the file, and take
        precedence over the shipped prices. The C(sources) of RV(prices) name the source of each price.
      - A price with two products in AWS's list is ambiguous, and is not used. The API has no prices in USD for China
        and AWS GovCloud (US).
    type: bool
    default: false
  report:
    description:
      - The part of the report that the task returns. V(summary) has the key figures. V(findings) adds at most 1000
        findings. V(all) has all rows, which may be many megabytes.
    type: str
    choices: [summary, findings, all]
    default: findings
  result_file:
    description:
      - A file on the controller that gets the whole report as JSON, with mode 0600. A relative path begins at the
        playbook's folder. The module does not write the file in check mode.
      - V(-) returns the report in RV(document) in place of a file.
    type: str
  wait:
    description:
      - Not used, since the module changes nothing.
notes:
  - The user needs C(ec2:DescribeVolumes), C(ec2:DescribeInstances), C(ec2:DescribeSnapshots), C(ec2:DescribeImages),
    C(ec2:DescribeLockedSnapshots), C(autoscaling:DescribeLaunchConfigurations), and C(ec2:DescribeImageReferences) with
    the managed policy C(AmazonEC2ImageReferencesAccessPolicy). O(permissions=true) needs
    C(ec2:DescribeSnapshotAttribute) and C(ec2:DescribeImageAttribute). O(metrics=true) needs
    C(cloudwatch:GetMetricData). O(changed_blocks=true) needs C(ebs:ListChangedBlocks) and C(ebs:ListSnapshotBlocks).
    O(price_api=true) needs C(pricing:GetProducts).
  - The findings and the form of the report are described in the collection's docs/storage_info.md.
seealso:
  - module: ec2ops.storage.snapshot_rotate
  - module: ec2ops.storage.snapshot_restore
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Report the storage of a region
  ec2ops.storage.storage_info:
    policies:
      - policy: db-daily
        every: 1d
        keep:
          daily: 7
          weekly: 4
    copy_regions: [eu-west-1]
    result_file: storage.json
    region: us-east-1
  register: storage

- name: Show the findings of high severity
  ansible.builtin.debug:
    msg: "{{ storage.findings | selectattr('severity', 'equalto', 'high') | map(attribute='reason') | list }}"

- name: Report with prices of your own, without scratch volumes
  ec2ops.storage.storage_info:
    prices:
      date: "2026-11-01"
      references: https://prices.example.com/ebs
      eu-central-1:
        gp3.gib: 0.0952
        snapshot.gib: 0.054
    ignore:
      - reason: scratch volumes need no backup
        finding: volume-without-*
        tags:
          purpose: scratch
    region: eu-central-1
"""

RETURN = r"""
msg:
  description: One line with the number of resources, their monthly cost, the findings and the oldest recovery point. On
    failure, the reason.
  returned: always
  type: str
  sample: no change; 2 volumes, 4 snapshots, 1 image; 8.80 to 14.30 USD a month; 3 findings, 1 of high severity; oldest
    recovery point 3 d old
schema:
  description: The name of the report's form. It changes only if the meaning of a key changes.
  returned: success
  type: str
  sample: ec2ops.storage/report/1
generated:
  description: EC2's time of the report.
  returned: success
  type: str
  sample: "2026-11-30T16:00:00Z"
region:
  description: The region.
  returned: success
  type: str
  sample: us-east-1
account:
  description: The account. Null if neither a resource nor STS names it.
  returned: success
  type: str
  sample: "123456789012"
options:
  description: The options on which the findings depend, with times in seconds.
  returned: success
  type: dict
  sample: {"rpo_max": 172800, "grace": 86400, "policies": [{"policy": "db-daily", "every": 86400, "rules": true}]}
partial:
  description: The parts that the report lacks, with AWS's error and the missing permission. Each is a warning too.
  returned: success
  type: list
  elements: dict
  sample: []
summary:
  description: Counts, sizes and costs by type, age and policy, the number of findings, and the key figures of recovery.
  returned: success
  type: dict
  contains:
    volumes:
      description: The number, size and cost of the volumes.
      type: dict
    snapshots:
      description: The number, full size and bounds of the cost of the snapshots.
      type: dict
    images:
      description: The number of images, and of unused ones.
      type: dict
    instances:
      description: The number of instances, and of stopped ones.
      type: dict
    cost:
      description: The monthly cost of volumes and snapshots. Null without any price.
      type: dict
    saving:
      description: The sum of the savings. Of tasks that exclude each other, only the larger saving counts, as C(in_sum)
        and C(excludes) of the findings show.
      type: dict
    findings:
      description: The number of findings by severity.
      type: dict
    findings_by_id:
      description: The number of findings by id.
      type: dict
    ignored:
      description: The number of ignored findings.
      type: int
    largest_saving:
      description: The index in RV(findings) of the finding with the largest saving. Null without a saving.
      type: int
    recovery:
      description: The number of volumes with a policy, with late recovery points, with copies and with drills.
      type: dict
    at_risk:
      description: The volume most at risk. An attached volume without a recovery point comes first, then the volume
        whose recovery point is the oldest against its target, then unattached volumes. Null if no volume is late.
      type: str
  sample: {"findings": {"high": 1, "medium": 2, "low": 0, "info": 0}, "at_risk": "vol-0a1b2c3d4e5f60718"}
prices:
  description: The currency, origin and date of the prices, with references, and the names of missing ones. C(sources)
    has the source of each price, which is V(task), V(file), V(api) or V(shipped). C(source) is the first of them with
    a price of the region. C(dates) has the date of each source.
  returned: success
  type: dict
  sample:
    currency: USD
    source: api
    sources: {"gp3.gib": "api", "snapshot.gib": "shipped"}
    date: "2026-11-30"
    dates: {"api": "2026-11-30", "shipped": "2026-11-30"}
    region: us-east-1
    missing: []
findings:
  description: The findings, the most severe first. Of these, the volume most at risk comes first, and then the largest
    saving.
  returned: success, unless O(report=summary)
  type: list
  elements: dict
  contains:
    id:
      description: The id of the finding.
      type: str
    severity:
      description: V(high), V(medium), V(low) or V(info).
      type: str
    kind:
      description: The kind of the resource.
      type: str
    resource:
      description: The id of the resource.
      type: str
    name:
      description: The name of the resource, which may be empty.
      type: str
    also:
      description: Other resources of the finding.
      type: list
      elements: str
    reason:
      description: A sentence.
      type: str
    cost:
      description: The monthly cost of the resource, with C(least), C(most), C(exact) and C(basis), or null.
      type: dict
    saving:
      description: The part of the cost that the task saves. Null if the task saves nothing, or if there is no price.
      type: dict
    in_sum:
      description: Whether the sum of the savings has this saving.
      type: bool
    excludes:
      description: The findings whose tasks exclude the task of this one, each with C(id) and C(resource). These tasks
        change or delete the same resource, so carry out one of them.
      type: list
      elements: dict
    amount:
      description: The billed C(gib), C(iops) and C(mibps).
      type: dict
    task:
      description: The task that mends the finding, as YAML. Empty if only a person can decide.
      type: str
    region:
      description: The region.
      type: str
    account:
      description: The account.
      type: str
  sample:
    - id: volume-unattached
      severity: medium
      kind: volume
      resource: vol-0a1b2c3d4e5f60718
      reason: vol-0a1b2c3d4e5f60718 (100 GiB gp3) is attached to no instance.
ignored:
  description: The findings that a rule in O(ignore) takes out, each with C(ignore_reason).
  returned: success, unless O(report=summary)
  type: list
  elements: dict
  sample: []
findings_left_out:
  description: The number of findings that RV(findings) leaves out. O(result_file) has them.
  returned: success
  type: int
  sample: 0
instances:
  description: One row for each instance.
  returned: success, with O(report=all)
  type: list
  elements: dict
  sample: []
volumes:
  description: One row for each volume.
  returned: success, with O(report=all)
  type: list
  elements: dict
  sample: []
snapshots:
  description: One row for each snapshot.
  returned: success, with O(report=all)
  type: list
  elements: dict
  sample: []
images:
  description: One row for each image.
  returned: success, with O(report=all)
  type: list
  elements: dict
  sample: []
holders:
  description: The users of images other than instances.
  returned: success, with O(report=all)
  type: list
  elements: dict
  sample: []
relations:
  description: The relations between the resources, each as two ids and the kind of their relation.
  returned: success, with O(report=all)
  type: list
  elements: list
  sample: [["snap-0bbbbbbbbbbbbbbbb", "of", "vol-0a1b2c3d4e5f60718"]]
recovery:
  description: The recovery of each volume and each instance, and the policies.
  returned: success, with O(report=all)
  type: dict
  sample: {"volumes": [], "instances": [], "policies": []}
document:
  description: The whole report as JSON, packed with gzip and base64.
  returned: success, with O(result_file=-)
  type: str
  sample: H4sIAAAAAAACAw==
plan:
  description: Always empty.
  returned: always
  type: list
  elements: dict
  sample: []
planned_ids:
  description: Always empty.
  returned: always
  type: dict
  sample: {}
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeVolumes": 1, "DescribeSnapshots": 2, "DescribeImages": 1, "DescribeInstances": 1}
error:
  description: The error, with AWS's own code and message if AWS refused a call.
  returned: failure
  type: dict
  sample:
    operation: DescribeVolumes
    code: AuthFailure
    message: AWS was not able to validate the provided access credentials
errors:
  description: All errors of the task, each as RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "DescribeVolumes", "code": "AuthFailure", "message": "The credentials are not valid"}]
done:
  description: Always empty.
  returned: failure
  type: list
  elements: dict
  sample: []
failed_changes:
  description: Always empty.
  returned: failure
  type: list
  elements: dict
  sample: []
not_tried:
  description: Always empty.
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import Program
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.planner import FEATURE

SUBJECTS = ["volumes", "snapshots", "images"]
ARGUMENT_SPEC = {
    "subjects": {"type": "list", "elements": "str", "choices": SUBJECTS, "default": SUBJECTS},
    "filters": {"type": "dict", "default": {}},
    "policies": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "policy": {"type": "str", "required": True},
            "every": {"type": "str", "required": True},
            "keep": {"type": "dict"},
        },
    },
    "rpo_max": {"type": "str", "default": "2d"},
    "grace": {"type": "str", "default": "1d"},
    "old_after": {"type": "str", "default": "90d"},
    "stopped_after": {"type": "str", "default": "30d"},
    "unused_after": {"type": "str", "default": "90d"},
    "copy_regions": {"type": "list", "elements": "str", "default": []},
    "permissions": {"type": "bool", "default": False},
    "metrics": {"type": "bool", "default": False},
    "changed_blocks": {"type": "bool", "default": False},
    "trusted_accounts": {"type": "list", "elements": "str", "default": []},
    "ignore": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "reason": {"type": "str", "required": True},
            "resource": {"type": "str"},
            "finding": {"type": "str"},
            "tags": {"type": "dict"},
        },
    },
    "prices": {"type": "dict"},
    "price_api": {"type": "bool", "default": False},
    "report": {"type": "str", "choices": ["summary", "findings", "all"], "default": "findings"},
    "result_file": {"type": "str"},
}

PROGRAM = Program(FEATURE, ARGUMENT_SPEC)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
