#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_power
short_description: Ensure that EC2 instances are stopped, running, or back in the state before a run stopped them
version_added: 0.1.0
description:
  - Stops and starts many instances in one call and with one wait, and returns their state after the wait.
  - Waits for an instance that is already C(stopping) or C(pending). Never launches an instance.
  - With O(remember=true) the module puts a hold on each running instance before it stops the instance. The hold is the
    tag C(ec2ops:restore-state). O(state=restored) starts the instances with a hold, and removes each hold last. So an
    instance starts again even if the run that stopped it was killed.
  - The module starts a stopped instance for its hold only if EC2 reports its last stop within the times of the hold, or
    if a later start failed. A warning names the other instances, which stay stopped.
  - An id never stands for a successor. If M(ec2ops.storage.instance_relaunch) has replaced a predecessor, the module
    does not start it beside its successor.
  - Before the first change, the module checks all instances for every obstacle to a stop. It refuses an instance with
    an obstacle, one that is gone, or one that was replaced, and stops or starts the others. Then the task fails and
    names all refused instances.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  instance_ids:
    description:
      - The instances. An empty list stands for no instances.
      - With O(state=restored) it is optional. Without it, the module restores every instance of the region whose hold
        ended more than O(older_than) ago. A hold ends after the O(wait_timeout) of the task that stopped the instance,
        and after seven days at the latest.
    type: list
    elements: str
    aliases: [instance_id]
  state:
    description:
      - V(stopped) and V(running) are EC2's states.
      - V(restored) starts the stopped instances with a hold. They were running when a task with O(remember=true)
        stopped them. It does not change instances without a hold. A hold from before the last start is outdated, and
        the module removes it.
      - V(restored) also starts a predecessor with a hold for M(ec2ops.storage.instance_relaunch) while its successor is
        unproven. The successor gets V(rejected) in its tag C(ec2ops:trial), and the next relaunch terminates it. If a
        successor may have served, the module leaves it as it is, and a warning names it.
    type: str
    choices: [stopped, running, restored]
    required: true
  remember:
    description:
      - With O(state=stopped), put a hold on each running instance before the stop. The module keeps an existing hold.
    type: bool
    default: false
  for_relaunch:
    description:
      - With O(state=stopped), refuse an instance that M(ec2ops.storage.instance_relaunch) would refuse for one of its
        facts, such as a second network interface. So no instance is stopped in vain.
    type: bool
    default: false
  relaunch_strategy:
    description:
      - With O(for_relaunch=true), the O(ec2ops.storage.instance_relaunch#module:strategy) of that relaunch.
        V(replace_root_volume) and V(auto) have fewer obstacles than V(replace_instance).
    type: str
    choices: [replace_instance, replace_root_volume, auto]
    default: replace_instance
  older_than:
    description:
      - With O(state=restored) and without O(instance_ids), restore the instances whose hold ended longer than this ago.
        A number with V(s), V(min), V(h), V(d) or V(w).
    type: str
    default: 1h
  force:
    description: With O(state=stopped), do not let the operating system flush its caches.
    type: bool
    default: false
  hibernate:
    description:
      - With O(state=stopped), hibernate. The module refuses an instance that was launched without hibernation.
    type: bool
    default: false
  skip_os_shutdown:
    description:
      - With O(state=stopped), do not shut the operating system down. Needs botocore 1.40.76 or newer.
    type: bool
    default: false
  lose_instance_store:
    description:
      - With O(state=stopped), stop instances even if their type has instance store volumes, which a stop empties.
    type: bool
    default: false
  force_start:
    description:
      - Start an instance even if a living successor has replaced it.
      - With any value, the module starts no predecessor whose data volumes have moved to an unproven successor. Finish
        the relaunch first.
    type: bool
    default: false
  wait:
    description:
      - Wait until the instances are in the wanted state. O(state=restored) always waits for the instances that it
        starts, since it removes the hold last.
  wait_timeout:
    description:
      - The time limit for all waits together, in seconds. When the time is over, the task fails. Run it again to
        continue.
      - Until then, the module repeats a start that EC2 refuses for lack of capacity.
notes:
  - The user needs C(ec2:DescribeInstances). Stops need C(ec2:StopInstances), C(ec2:DescribeInstanceAttribute),
    C(ec2:DescribeInstanceTypes) unless O(lose_instance_store=true), C(autoscaling:DescribeAutoScalingInstances) for
    members of Auto Scaling groups, C(ec2:DescribeSpotInstanceRequests) for spot instances, and C(ec2:CreateTags) with
    O(remember=true). The warning about load balancers needs C(elasticloadbalancing:DescribeTargetGroups),
    C(elasticloadbalancing:DescribeTargetHealth) and C(elasticloadbalancing:DescribeLoadBalancers). Starts need
    C(ec2:StartInstances), and C(ec2:DeleteTags) and C(ec2:CreateTags) with O(state=restored). Starting an instance with
    volumes that a customer managed KMS key encrypts needs C(kms:CreateGrant) on that key.
  - EC2 accepts a start before it checks keys and capacity, so the start may fail later. The task then fails at once
    with EC2's reason. The module keeps the hold until EC2 reports the instance as running.
  - With O(remember=true) and without O(for_relaunch=true), the module warns of target groups and Classic Load Balancers
    before it stops an instance that is registered with them. Without the permissions for this warning, the module still
    stops the instance, and the warning names the unknown facts.
  - Before the first stop, the module refuses members of an Auto Scaling group that are not in Standby, instances that
    an AWS service manages, one-time spot instances, and instances with stop protection. Stop protection has no bulk
    read. The module reads it for up to 20 instances. Beyond that, EC2 itself refuses the stop and names the instance.
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.instance_relaunch
  - module: amazon.aws.ec2_instance
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Capture a stopped database server and restore its power
  module_defaults:
    group/ec2ops.storage.aws:
      region: eu-central-1
  block:
    - name: Stop the server with a hold
      ec2ops.storage.instance_power:
        instance_ids: [i-0123456789abcdef0]
        state: stopped
        remember: true

    - name: Capture its volumes
      ec2ops.storage.ami_bake:
        name: db
        version: "42"
        state: captured
        source_instance_id: i-0123456789abcdef0
  always:
    - name: Restore the power of the server
      ec2ops.storage.instance_power:
        instance_ids: [i-0123456789abcdef0]
        state: restored

- name: Start instances that killed runs left stopped
  ec2ops.storage.instance_power:
    state: restored
    older_than: 2h
    region: eu-central-1

- name: Start many instances with one call and one wait
  ec2ops.storage.instance_power:
    instance_ids: "{{ groups['web'] | map('extract', hostvars, 'instance_id') | list }}"
    state: running
    wait_timeout: 600
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 instance stopped; 1 stopped
instances:
  description: The instances that EC2 knows, in the order of O(instance_ids), in their state after the wait.
  returned: success
  type: list
  elements: dict
  sample:
    - instance_id: i-0123456789abcdef0
      state: stopped
      image_id: ami-0123456789abcdef0
      instance_type: m5.large
      availability_zone: eu-central-1a
      public_ip_address: null
      private_ip_address: 10.0.0.7
      tags: {"Name": "db", "ec2ops:restore-state": "running 2026-11-23T19:00:00Z 2026-11-23T19:30:00Z"}
plan:
  description:
    - The planned changes in order, the same in check mode. One entry per resource.
  returned: always
  type: list
  elements: dict
  sample:
    - action: StopInstances
      resource: i-0123456789abcdef0
      region: eu-central-1
      parameters: {}
      reason: stop the running instance; its public address 203.0.113.7 will change
      before: {"state": "running", "public_ip_address": "203.0.113.7"}
      after: {"state": "stopped", "public_ip_address": null}
      disruptive: true
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeInstances": 2, "StopInstances": 1}
error:
  description: The error, with AWS's own code and message if AWS refused a call.
  returned: failure
  type: dict
  sample:
    operation: StopInstances
    code: UnauthorizedOperation
    message: You are not authorized to perform this operation.
errors:
  description: All errors of the task, each as RV(error). The first one is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "StopInstances", "code": "UnauthorizedOperation", "message": "You are not authorized."}]
planned_ids:
  description: EC2's ids for the planned ids in RV(plan). Empty in check mode.
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
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power.planner import FEATURE

ARGUMENT_SPEC = {
    "instance_ids": {"type": "list", "elements": "str", "aliases": ["instance_id"]},
    "state": {"type": "str", "choices": ["stopped", "running", "restored"], "required": True},
    "remember": {"type": "bool", "default": False},
    "for_relaunch": {"type": "bool", "default": False},
    "relaunch_strategy": {
        "type": "str",
        "choices": ["replace_instance", "replace_root_volume", "auto"],
        "default": "replace_instance",
    },
    "older_than": {"type": "str", "default": "1h"},
    "force": {"type": "bool", "default": False},
    "hibernate": {"type": "bool", "default": False},
    "skip_os_shutdown": {"type": "bool", "default": False},
    "lose_instance_store": {"type": "bool", "default": False},
    "force_start": {"type": "bool", "default": False},
}

PROGRAM = Program(
    FEATURE,
    ARGUMENT_SPEC,
    required_if=[("state", "stopped", ("instance_ids",)), ("state", "running", ("instance_ids",))],
)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
