#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_rotate
short_description: Deprecate, disable or deregister the versions of an AMI that no rule keeps
version_added: 0.1.0
description:
  - Applies rules of retention to the versions of an AMI that M(ec2ops.storage.ami_bake) made. The action applies to the
    versions that no rule of O(keep) keeps. RV(decisions) and C(--diff) give the reasons for every decision.
  - The module finds the versions by the tag C(ec2ops:image). A version counts if a fact of EC2 agrees with the tag. The
    fact is the description or the name of the version, or the description of one of its snapshots. For a copy, the fact
    is EC2's record of the source image. The module keeps other images with the tag and does not count them, and a
    warning names them.
  - Guards keep versions that no rule keeps but that something uses. See O(guards). If the run has waited for
    predecessors, the guards check again right before the action.
  - The rules always keep the newest available version. A disabled version displaces no other version.
  - If AWS does not answer a guard, for example for lack of a permission, the guard keeps the versions that it asks
    about. The module decides on all other versions. Then the task fails with the message of AWS.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - ec2ops.storage.retention.images
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  name:
    description:
      - The name of the image, as in the task of M(ec2ops.storage.ami_bake). It must be text, so quote a number.
    type: raw
    required: true
  action:
    description:
      - V(deprecate) sets the time of deprecation to the second full quarter of an hour from now, by EC2's clock, such
        as 10:30 at 10:07. Everybody who knows the id can still launch the AMI.
      - V(disable) forbids new launches. EC2 removes all launch permissions, and C(EnableImage) does not bring them
        back.
      - V(deregister) deregisters the AMI and deletes its snapshots with the same call. EC2 keeps a snapshot that
        another AMI uses. The module deletes the snapshots of an AMI only if facts of EC2 show that each of them was
        made for the AMI, and if no policy of M(ec2ops.storage.snapshot_rotate) retains any of them. Otherwise it keeps
        all of them. A warning names the snapshots that stay.
    type: str
    choices: [deprecate, disable, deregister]
    required: true
  keep:
    description:
      - The rules, joined by I(or), so an additional rule never removes more. A version counts with its creation date.
    required: true
  adopt:
    description:
      - AMIs of the account that the task retains although M(ec2ops.storage.ami_bake) did not make them. They count
        together with the versions. AMIs with the tag C(ec2ops:image) are left out.
      - The task claims each of them with the tag C(ec2ops:adopted-by) before it acts on any. With a warning, it leaves
        out AMIs that another name has claimed. To hand an AMI over, remove the tag.
    type: dict
    suboptions:
      tags:
        description: Adopt AMIs that have all these tags. Quote values. The module refuses values other than text.
        type: dict
        required: true
  copies:
    description:
      - The places of copies that M(ec2ops.storage.ami_bake) made, each with rules of its own. A copy counts with its
        own creation date. The same guards ask in each place.
      - If a place does not answer, the module keeps its copies and decides in all other places. Then the task fails
        with the message of AWS.
  unused_for:
    description:
      - Act only on versions that nobody has launched for this span, such as V(30d). EC2 shows a launch up to 24 hours
        later, so the span counts from 24 hours before the run. A version without a time of the last launch is kept.
    type: str
  launch_template_versions:
    description:
      - The versions of launch templates that the guard O(guards.launch_template) looks at. V(all) looks at the newest
        10,000 versions of each template. V(default_and_latest) looks at the default and the latest version of each
        template, and at the versions that an Auto Scaling group pins.
    type: str
    choices: [all, default_and_latest]
    default: all
  check_accounts:
    description:
      - For a version that is shared, require a usage report of the last 7 days about all accounts. Without such a
        report, this run requests one and keeps the version. A later run decides, once EC2 has made the report.
      - Without the option, the guard O(guards.account) only reads the reports that exist.
    type: bool
    default: false
  retire_predecessors:
    description:
      - Terminate the instances that M(ec2ops.storage.instance_relaunch) has replaced and stopped, in the region of the
        task. The successor must have been launched from a version of the image. The successor, or the last of its own
        successors, must run.
      - Facts of EC2 must prove the replacement. The predecessor must have no hold, no termination or stop protection,
        no Elastic IP, and no other successor. RV(predecessors) has the reason for each predecessor that is kept.
      - Each volume that EC2 deletes with the instance first gets a final snapshot. The run takes none if there is a
        snapshot that began at least 10 minutes after the stop, and that this run does not delete. Other volumes stay.
      - The versions that these predecessors were launched from are no longer in use. The run acts on them after the
        termination of the predecessors. O(max_delete) counts the predecessors too.
    type: dict
    suboptions:
      after:
        description: The time since the stop, such as V(7d).
        type: str
        required: true
  guards:
    description:
      - The effect of each guard on a version that no rule keeps. V(keep), the default, keeps the version, and the
        report names the guard. V(report) takes the action with a warning. With V(fail), the run takes no action at all,
        and the task fails. With V(off), the guard does not ask AWS and needs no permission.
      - EC2 itself refuses to deregister the AMIs that O(guards.protection) and O(guards.locked) keep. These guards do
        not apply to the other actions.
    type: dict
    suboptions:
      instance:
        description: An instance that is not terminated was launched from the AMI.
        type: str
        choices: [keep, report, fail, "off"]
      launch_template:
        description: A version of a launch template names the AMI. See O(launch_template_versions).
        type: str
        choices: [keep, report, fail, "off"]
      launch_configuration:
        description: A launch configuration of Auto Scaling names the AMI.
        type: str
        choices: [keep, report, fail, "off"]
      parameter:
        description: An SSM parameter has the id of the AMI as its value.
        type: str
        choices: [keep, report, fail, "off"]
      recipe:
        description: A recipe of Image Builder, for an image or for a container, names the AMI.
        type: str
        choices: [keep, report, fail, "off"]
      account:
        description: A usage report shows that another account uses the AMI. See O(check_accounts).
        type: str
        choices: [keep, report, fail, "off"]
      managed:
        description:
          - AWS Backup or Data Lifecycle Manager manages the AMI. With V(keep), it does not displace other versions.
        type: str
        choices: [keep, report, fail, "off"]
      protected:
        description: O(protect) names the AMI.
        type: str
        choices: [keep, report, fail, "off"]
      copy_source:
        description: A copy of the AMI in a place of O(copies), or in the region of the task, is not finished.
        type: str
        choices: [keep, report, fail, "off"]
      protection:
        description:
          - The AMI has deregistration protection. A protection with a cooldown lasts for another 24 hours after
            somebody disables it.
        type: str
        choices: [keep, fail]
      locked:
        description: A snapshot of the AMI is locked.
        type: str
        choices: [keep, fail]
  max_delete:
    description:
      - The largest number of versions, in all places together, on which a run takes the action. If more versions are
        due, the run takes no action, and the task fails.
  expected_plan:
    description:
      - The RV(plan_hash) of a check run that somebody has approved. With any other plan, except one without an action,
        the run takes no action and fails.
  report:
    description:
      - The extent of RV(decisions) and C(--diff). V(actions) shows the actions and the versions that a guard keeps, at
        most 1000. V(all) shows every decision, and V(summary) shows only counts.
notes:
  - The user needs C(ec2:DescribeImages) and C(ec2:DescribeSnapshots), and for the action
    C(ec2:EnableImageDeprecation), C(ec2:DisableImage), or C(ec2:DeregisterImage) with C(ec2:DeleteSnapshot).
    O(adopt) needs C(ec2:CreateTags). O(retire_predecessors) needs C(ec2:DescribeInstances),
    C(ec2:DescribeInstanceAttribute), C(ec2:DescribeVolumes), C(ec2:CreateSnapshot), C(ec2:CreateTags) and
    C(ec2:TerminateInstances). Each place of O(copies) needs the same.
  - The guards need C(ec2:DescribeImageReferences), C(ec2:DescribeInstances), C(ec2:DescribeLaunchTemplates),
    C(ec2:DescribeLaunchTemplateVersions), C(ssm:DescribeParameters), C(ssm:GetParameters),
    C(imagebuilder:ListImageRecipes), C(imagebuilder:ListContainerRecipes), C(imagebuilder:GetContainerRecipe),
    C(autoscaling:DescribeLaunchConfigurations), C(ec2:DescribeImageUsageReports),
    C(ec2:DescribeImageUsageReportEntries), and to deregister C(ec2:DescribeLockedSnapshots).
  - O(launch_template_versions=default_and_latest) needs C(autoscaling:DescribeAutoScalingGroups). O(check_accounts)
    needs C(ec2:DescribeImageAttribute) and C(ec2:CreateImageUsageReport).
  - A version that is pending or has failed takes part in no rule and is kept. M(ec2ops.storage.ami_bake) removes or
    replaces a failed one.
  - Two tasks with the same O(name) remove each other's versions if their rules differ.
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.snapshot_rotate
  - module: amazon.aws.ec2_ami
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Keep the last three versions and one of each month
  ec2ops.storage.image_rotate:
    name: web
    action: deregister
    keep:
      last: 3
      monthly: 12
    region: eu-central-1

- name: Deprecate versions that nobody has launched for a month
  ec2ops.storage.image_rotate:
    name: web
    action: deprecate
    unused_for: 30d
    keep:
      last: 3
    region: eu-central-1

- name: Deregister in two regions, also in the account of a profile
  ec2ops.storage.image_rotate:
    name: web
    action: deregister
    keep:
      last: 3
    copies:
      - region: eu-west-1
        keep:
          last: 3
      - region: eu-central-1
        profile: vault
        keep:
          monthly: 12
    check_accounts: true
    region: eu-central-1

- name: Also terminate the instances that a relaunch stopped a week ago
  ec2ops.storage.image_rotate:
    name: web
    action: deregister
    keep:
      last: 3
    retire_predecessors:
      after: 7d
    region: eu-central-1

- name: Retain the AMIs of another tool, without a question to Image Builder
  ec2ops.storage.image_rotate:
    name: web
    action: disable
    keep:
      within: 90d
    adopt:
      tags:
        made-by: packer
    guards:
      recipe: "off"
    region: eu-central-1
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 2 images deregistered; 4 kept
decisions:
  description: The decisions with their reasons, the newest version of a place first. See O(report).
  returned: success, or once the run has begun
  type: list
  elements: dict
  contains:
    decision:
      description:
        - V(keep), V(deprecate), V(disable) or V(deregister). V(done) if no rule keeps the version, and it is already
          deprecated or disabled.
      type: str
      returned: always
    image_id:
      description: The AMI.
      type: str
      returned: always
    version:
      description: The version. Null for an adopted AMI.
      type: str
      returned: always
    region:
      description: The region of the AMI.
      type: str
      returned: always
    profile:
      description: The profile of the account, for a copy in another account. Null otherwise.
      type: str
      returned: always
    creation_date:
      description: The creation date of the AMI, as EC2 shows it.
      type: str
      returned: always
    reasons:
      description: All rules that keep the version. If no rule keeps it, the reason of the guard, or the reason why the
        version takes part in no rule.
      type: list
      elements: str
      returned: always
    guard:
      description:
        - The guard that keeps the version. C(unused_for) if O(unused_for) keeps it. C(depends) if the AMI has no room
          for the tag that claims it, if AWS does not answer about its snapshots, or if it has lost its tags during the
          run. Null otherwise.
      type: str
      returned: always
    snapshot_ids:
      description: The snapshots that EC2 deletes with the AMI.
      type: list
      elements: str
      returned: always
  sample:
    - decision: deregister
      image_id: ami-0123456789abcdef0
      version: "2026.08"
      region: eu-central-1
      profile: null
      creation_date: "2026-08-03T02:00:04.000Z"
      reasons: []
      guard: null
      snapshot_ids: [snap-0123456789abcdef0]
deprecated:
  description: The ids of the AMIs that the task deprecated, or would deprecate in check mode.
  returned: success, or if the task withheld actions or AWS did not answer
  type: list
  elements: str
disabled:
  description: The ids of the AMIs that the task disabled, or would disable in check mode.
  returned: success, or if the task withheld actions or AWS did not answer
  type: list
  elements: str
deregistered:
  description: The ids of the AMIs that the task deregistered, or would deregister in check mode.
  returned: success, or if the task withheld actions or AWS did not answer
  type: list
  elements: str
terminated:
  description: The ids of the predecessors that the task terminated, or would terminate in check mode.
  returned: success, or if the task withheld actions or AWS did not answer
  type: list
  elements: str
predecessors:
  description: The decisions about predecessors. Empty without O(retire_predecessors).
  returned: success, or if the task withheld actions or AWS did not answer
  type: list
  elements: dict
  contains:
    decision:
      description: V(keep) or V(terminate).
      type: str
      returned: always
    instance_id:
      description: The predecessor.
      type: str
      returned: always
    successor:
      description: The instance that has replaced it.
      type: str
      returned: always
    reason:
      description: Why the predecessor is kept. Null if it is terminated.
      type: str
      returned: always
  sample: []
counts:
  description:
    - The numbers of AMIs that the task retains (C(managed)), keeps (C(kept)), has found deprecated or disabled
      (C(done)) and changes (C(changed)), and of actions that a limit withholds (C(withheld)).
  returned: success, or if the task withheld actions or AWS did not answer
  type: dict
  sample: {"managed": 6, "kept": 4, "done": 0, "changed": 2, "withheld": 0}
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
    - action: DeregisterImage
      resource: ami-0123456789abcdef0
      region: eu-central-1
      parameters: {"DeleteAssociatedSnapshots": true}
      reason: "deregister with its snapshot: no rule keeps it"
      before: {"name": "web-2026.08", "state": "available"}
      after: null
      disruptive: true
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeImages": 2, "DescribeImageReferences": 1, "DeregisterImage": 2}
error:
  description: The error, with AWS's own code and message if AWS refused a call.
  returned: failure
  type: dict
  sample: {"operation": "DeregisterImage", "code": "UnauthorizedOperation", "message": "You are not authorized."}
errors:
  description: All errors of the task, each as RV(error). The first one is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "DeregisterImage", "code": "UnauthorizedOperation", "message": "You are not authorized."}]
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
  description: EC2's ids for the planned ids in RV(plan). Always empty, since the task makes no resource with an id.
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
  description: On failure, the changes that the rollback made. Always empty.
  returned: failure, after the first change
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import Program
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image_rotation.options import (
    ARGUMENT_SPEC,
    EXAMPLES_OF_MAPPINGS,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image_rotation.planner import FEATURE

PROGRAM = Program(FEATURE, ARGUMENT_SPEC, examples=EXAMPLES_OF_MAPPINGS)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
