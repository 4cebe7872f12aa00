#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_power
short_description: Ensure that EC2 instances are stopped, running, or back in the state they were found in
version_added: 0.1.0
description:
  - Stops and starts instances, many in one call and with one wait for all, and returns their state after the wait.
  - An instance that is already on its way (C(stopping), C(pending)) is waited for. Nothing is ever launched.
  - With O(remember=true) the module writes down on each instance, before it stops it, that it was running, in the tag
    C(ec2ops:restore-state). O(state=restored) starts from this record what was running, and removes the record last. So
    an instance comes back also when the run that stopped it was killed.
  - A stopped instance is started from the record only when its last stop, as EC2 reports it, lies within the record's
    times, or EC2 took back a later start. A warning names the others, and they stay stopped.
  - Ids are taken literally. An instance that M(ec2ops.storage.instance_relaunch) has replaced is not started beside its
    successor.
  - Everything that stands against a stop is looked for before anything is changed, for all instances, and reported at
    once.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  instance_ids:
    description:
      - The instances. An empty list means none.
      - With O(state=restored) it may be left out. Then every instance of the region whose hold ended more than
        O(older_than) ago is brought back. A hold ends O(wait_timeout) seconds of the stopping task after its begin,
        and after seven days at the latest.
    type: list
    elements: str
    aliases: [instance_id]
  state:
    description:
      - V(stopped) and V(running) are EC2's states.
      - V(restored) starts the instances that are stopped and were running when a task with O(remember=true) stopped
        them. Where no such record is, nothing is done. A record from before the last start is spent and removed.
      - An instance that was held for M(ec2ops.storage.instance_relaunch) is started too while its successor has not
        proved itself. That one is marked as rejected in its tag C(ec2ops:trial), and the next relaunch terminates it.
        A successor that may have served is left as it is, and a warning names it.
    type: str
    choices: [stopped, running, restored]
    required: true
  remember:
    description:
      - With O(state=stopped), write down on each running instance that it was running, before it is stopped. A record
        that is there is kept.
    type: bool
    default: false
  for_relaunch:
    description:
      - With O(state=stopped), refuse an instance that M(ec2ops.storage.instance_relaunch) would refuse for a fact that
        EC2 shows of it, such as a second network interface. So it is not stopped in vain.
    type: bool
    default: false
  older_than:
    description:
      - With O(state=restored) and without O(instance_ids), how long ago a hold must have ended. A number and V(s),
        V(min), V(h), V(d) or V(w).
    type: str
    default: 1h
  force:
    description: With O(state=stopped), stop without giving the operating system the time to flush its caches.
    type: bool
    default: false
  hibernate:
    description:
      - With O(state=stopped), hibernate. Refused for instances that were not launched with hibernation configured.
    type: bool
    default: false
  skip_os_shutdown:
    description:
      - With O(state=stopped), do not shut the operating system down. Needs botocore 1.40.76 or newer.
    type: bool
    default: false
  lose_instance_store:
    description:
      - With O(state=stopped), stop also instances whose type has instance store volumes. A stop empties those.
    type: bool
    default: false
  force_start:
    description: Start also an instance that has a living successor.
    type: bool
    default: false
  wait:
    description:
      - Wait until the instances are in the wanted state. With O(state=restored), instances that are started are waited
        for in any case, since the record is removed last.
  wait_timeout:
    description:
      - How long all waits may take together, in seconds. When the time is over, the task fails; run it again to go on.
      - A start that EC2 refuses for lack of capacity is tried again until then.
notes:
  - The user needs C(ec2:DescribeInstances); for stops C(ec2:StopInstances), C(ec2:DescribeInstanceAttribute),
    C(ec2:DescribeInstanceTypes) unless O(lose_instance_store=true), C(autoscaling:DescribeAutoScalingInstances) for
    members of Auto Scaling groups, C(ec2:DescribeSpotInstanceRequests) for spot instances, and C(ec2:CreateTags) with
    O(remember=true); for the warning about load balancers C(elasticloadbalancing:DescribeTargetGroups),
    C(elasticloadbalancing:DescribeTargetHealth) and C(elasticloadbalancing:DescribeLoadBalancers); for starts
    C(ec2:StartInstances), and C(ec2:DeleteTags) and C(ec2:CreateTags) with O(state=restored). Starting an instance
    with volumes that a customer managed KMS key encrypts needs C(kms:CreateGrant) on that key.
  - EC2 accepts a start before it looks at keys and capacity, and may take it back. The task then fails at once with
    EC2's reason. The record of O(remember=true) stays until EC2 reports the instance as running.
  - With O(remember=true) and without O(for_relaunch=true), the module warns of the target groups and Classic Load
    Balancers that have an instance, before it stops the instance. Without the permissions it stops the instance all the
    same, and the warning says what is not known.
  - Refused before anything is stopped are members of an Auto Scaling group that are not in Standby, instances that an
    AWS service manages, one-time spot instances, and instances with stop protection. Stop protection has no bulk read.
    It is read for up to 20 instances; beyond, EC2's refusal is the check and names the instance.
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.instance_relaunch
  - module: amazon.aws.ec2_instance
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Work on a stopped database server, and leave it as it was found
  module_defaults:
    group/ec2ops.storage.aws:
      region: eu-central-1
  block:
    - name: Stop it for a while
      ec2ops.storage.instance_power:
        instance_ids: [i-0123456789abcdef0]
        state: stopped
        remember: true

    - name: Fix the point in time of its volumes
      ec2ops.storage.ami_bake:
        name: db
        version: "42"
        state: captured
        source_instance_id: i-0123456789abcdef0
  always:
    - name: Start it again if it was running
      ec2ops.storage.instance_power:
        instance_ids: [i-0123456789abcdef0]
        state: restored

- name: Bring back what runs have left stopped when they were killed
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
  description: One line that says what the task did, or would do in check mode, and how things stand. On failure, why.
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
    - What was done, or in check mode would be done, in order. One entry per resource, the same in both modes.
  returned: always
  type: list
  elements: dict
  sample:
    - action: StopInstances
      resource: i-0123456789abcdef0
      region: eu-central-1
      parameters: {}
      reason: it is running and should be stopped; its public address 203.0.113.7 will change
      before: {"state": "running", "public_ip_address": "203.0.113.7"}
      after: {"state": "stopped", "public_ip_address": null}
      disruptive: true
api_calls:
  description: How many requests were sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeInstances": 2, "StopInstances": 1}
error:
  description: What went wrong, with AWS's own code and message where AWS has refused something.
  returned: failure
  type: dict
  sample:
    operation: StopInstances
    code: UnauthorizedOperation
    message: You are not authorized to perform this operation.
planned_ids:
  description: What EC2 made of the planned ids in RV(plan). Empty in check mode.
  returned: always
  type: dict
  sample: {}
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
  description: On failure, the changes that the rollback made.
  returned: failure, after the first change
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import run_module
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power.planner import FEATURE

ARGUMENT_SPEC = {
    "instance_ids": {"type": "list", "elements": "str", "aliases": ["instance_id"]},
    "state": {"type": "str", "choices": ["stopped", "running", "restored"], "required": True},
    "remember": {"type": "bool", "default": False},
    "for_relaunch": {"type": "bool", "default": False},
    "older_than": {"type": "str", "default": "1h"},
    "force": {"type": "bool", "default": False},
    "hibernate": {"type": "bool", "default": False},
    "skip_os_shutdown": {"type": "bool", "default": False},
    "lose_instance_store": {"type": "bool", "default": False},
    "force_start": {"type": "bool", "default": False},
}


def main() -> None:
    run_module(
        FEATURE,
        ARGUMENT_SPEC,
        required_if=[("state", "stopped", ("instance_ids",)), ("state", "running", ("instance_ids",))],
    )


if __name__ == "__main__":
    main()
