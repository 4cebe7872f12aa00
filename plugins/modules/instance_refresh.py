#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_refresh
short_description: Ensure that the instances of Auto Scaling groups run one version of their launch template
version_added: 0.1.0
description:
  - Starts an instance refresh for each group whose instances run another version, and waits until the refresh is
    successful and the group serves. All groups are refreshed side by side.
  - Changes nothing if the instances of a group already run the version, and the group names it.
  - Waits for a refresh to the same version that is already under way, for example after an interrupted run. The module
    also waits for a rollback to that version. The module refuses a group with a refresh or a rollback to another
    version, and a group whose refresh is being cancelled.
  - After the refresh, a health gate requires that the group has its desired capacity in service and healthy, all of it
    of the new version.
  - A group that cannot be refreshed is refused, and the module refreshes the others. Then the task fails and names all
    refused groups.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  groups:
    description: The names of the Auto Scaling groups.
    type: list
    elements: str
    required: true
    aliases: [group]
  version:
    description:
      - The version of each group's launch template, a number, V($Default) or V($Latest).
      - Without it, the module takes the version that the group itself names.
      - If this is a number, and the V($Default) or V($Latest) of the group stands for it, the group keeps its
        V($Default) or V($Latest). Otherwise the group names this version once the refresh is successful. The module
        refuses such a change for a group with a mixed instances policy.
    type: str
  versions:
    description: The versions of single groups by their names, in place of O(version).
    type: dict
  launch_template_id:
    description: The id of the launch template that O(version) belongs to. The module refuses a group with another
      launch template.
    type: str
  preferences:
    description:
      - The preferences of a refresh that the module starts. EC2 Auto Scaling has the defaults.
      - The module always lets a refresh skip instances that already run the version.
    type: dict
    suboptions:
      min_healthy_percentage:
        description: The percentage of the desired capacity that must stay in service and healthy.
        type: int
      max_healthy_percentage:
        description:
          - The percentage of the desired capacity that may be in service or pending, from 100 to 200. Needs
            O(preferences.min_healthy_percentage), which may be at most 100 smaller.
        type: int
      instance_warmup:
        description: Seconds until a new instance counts as replaced.
        type: int
      bake_time:
        description:
          - Seconds that EC2 Auto Scaling waits after the last replacement. In this time, a refresh can still be rolled
            back.
        type: int
      scale_in_protected_instances:
        description: The treatment of instances that are protected from scale-in.
        type: str
        choices: [refresh, ignore, wait]
      standby_instances:
        description: The treatment of instances in Standby.
        type: str
        choices: [terminate, ignore, wait]
  on_failure:
    description:
      - The action on a refresh that fails, or that is late because it is not successful within O(wait_timeout).
      - V(rollback) lets EC2 Auto Scaling return the group to its earlier version. It can only do so if the refresh
        changes the group from one version number to another. In all other cases V(rollback) cancels a late refresh.
      - V(cancel) cancels a late refresh. Instances that are already replaced stay.
      - V(keep) leaves a late refresh under way.
    type: str
    choices: [rollback, cancel, keep]
    default: rollback
  health_timeout:
    description: The time limit of the health gate after the refresh, in seconds.
    type: int
    default: 600
  wait:
    description: Wait for the refresh and for the health gate.
  wait_timeout:
    description: The time limit for all refreshes together, in seconds.
notes:
  - The user needs C(autoscaling:DescribeInstanceRefreshes), C(autoscaling:DescribeAutoScalingGroups),
    C(ec2:DescribeLaunchTemplateVersions) and C(autoscaling:StartInstanceRefresh). The end of a late refresh needs
    C(autoscaling:RollbackInstanceRefresh) or C(autoscaling:CancelInstanceRefresh). EC2 Auto Scaling launches instances
    with the permissions of the user, so the user also needs C(ec2:RunInstances) for the launch template.
  - The health gate reads the health that the group itself reports. Include C(ELB) in the health checks of a group with
    a load balancer, so that the checks of the load balancer count. Otherwise a warning names the group.
seealso:
  - module: ec2ops.storage.ami_bake
  - module: amazon.aws.autoscaling_group
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Bring the instances to the default version of the launch template
  ec2ops.storage.instance_refresh:
    groups: [web]
    region: eu-central-1

- name: Bring two groups to version 7, and keep all of their capacity meanwhile
  ec2ops.storage.instance_refresh:
    groups: [web, worker]
    version: "7"
    preferences:
      min_healthy_percentage: 100
      max_healthy_percentage: 110
      bake_time: 300
    wait_timeout: 7200
    region: eu-central-1
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the versions that run. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 group refreshed; web runs 4 instances of version 7
groups:
  description: The groups that exist, in the order of O(groups), in their state after the wait.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the group.
      type: str
    launch_template_id:
      description: The launch template, or null for a group without one.
      type: str
    version:
      description: The version that the group names.
      type: str
    target:
      description: The number of the version that the instances should run, or null for a refused group.
      type: str
    instances:
      description: The number of instances by the version that they were launched from. C(other) counts the instances
        that were not launched from this template.
      type: dict
    refresh:
      description: The newest refresh of the group, or null. In check mode, the newest one before the task.
      type: dict
      contains:
        refresh_id:
          description: The id of the refresh.
          type: str
        status:
          description: EC2 Auto Scaling's word for its state.
          type: str
        percentage:
          description: The percentage of the replacements that are done.
          type: int
        reason:
          description: EC2 Auto Scaling's explanation of the state, or null.
          type: str
        started:
          description: The time of the start.
          type: str
        ended:
          description: The time of the end, or null.
          type: str
  sample:
    - name: web
      launch_template_id: lt-0123456789abcdef0
      version: "7"
      target: "7"
      instances: {"7": 4}
      refresh:
        refresh_id: 08b91cf7-8fa6-48af-b6a6-d227f40f1b9b
        status: Successful
        percentage: 100
        reason: null
        started: "2026-11-24T01:00:00Z"
        ended: "2026-11-24T01:20:00Z"
plan:
  description:
    - The planned changes in order, the same in check mode. One entry per group.
  returned: always
  type: list
  elements: dict
  sample:
    - action: StartInstanceRefresh
      resource: web
      region: eu-central-1
      parameters: {"Preferences": {"SkipMatching": true}}
      reason: replace 4 of 4 instances with version 7 of web
      before: {"version": "$Default", "instances": {"6": 4}}
      after: {"version": "$Default", "facts": {"refreshedTo": "7"}}
      disruptive: true
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeInstanceRefreshes": 12, "StartInstanceRefresh": 1}
error:
  description: The error, with AWS's own code and message if AWS refused a call.
  returned: failure
  type: dict
  sample:
    operation: StartInstanceRefresh
    code: AccessDenied
    message: User is not authorized to perform this operation.
errors:
  description: All errors of the task, each as RV(error). The first one is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "StartInstanceRefresh", "code": "AccessDenied", "message": "You are not authorized."}]
planned_ids:
  description: EC2's ids for the planned ids in RV(plan). Empty, since a refresh makes no resource with a planned id.
  returned: always
  type: dict
  sample: {}
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
from ansible_collections.ec2ops.storage.plugins.module_utils._features.refresh.planner import FEATURE

PREFERENCES = {
    "min_healthy_percentage": {"type": "int"},
    "max_healthy_percentage": {"type": "int"},
    "instance_warmup": {"type": "int"},
    "bake_time": {"type": "int"},
    "scale_in_protected_instances": {"type": "str", "choices": ["refresh", "ignore", "wait"]},
    "standby_instances": {"type": "str", "choices": ["terminate", "ignore", "wait"]},
}

ARGUMENT_SPEC = {
    "groups": {"type": "list", "elements": "str", "required": True, "aliases": ["group"]},
    "version": {"type": "str"},
    "versions": {"type": "dict"},
    "launch_template_id": {"type": "str"},
    "preferences": {"type": "dict", "options": PREFERENCES},
    "on_failure": {"type": "str", "choices": ["rollback", "cancel", "keep"], "default": "rollback"},
    "health_timeout": {"type": "int", "default": 600},
}

PROGRAM = Program(
    FEATURE,
    ARGUMENT_SPEC,
    examples={"preferences": "preferences: {min_healthy_percentage: 90}", "versions": 'versions: {web: "7"}'},
)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
