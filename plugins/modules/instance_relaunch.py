#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_relaunch
short_description: Ensure that an instance runs from a given AMI, by launching a successor and retiring the old one
version_added: 0.1.0
description:
  - An instance that was launched from O(image_id) is up to date and nothing is done. Otherwise a successor is launched
    from the AMI, proves itself healthy, and the old instance is retired. Until then the old one goes on serving; when
    the successor does not become healthy, it is terminated and the old one stays.
  - The successor carries the tag C(ec2ops:replaces) with the ids of all instances that it stands for. So O(instance_id)
    may go on naming the first of them, also when EC2 has long forgotten it, and a run after an interruption finds the
    launch of the one before.
  - The tag alone proves nothing. EC2 must show the ClientToken of a relaunch of the first id in the tag. An older id is
    followed only when EC2 shows each link between, or does not show that instance any more. A warning names an instance
    whose tag claims more.
  - A second tag, C(ec2ops:trial), says how far it is. Until it is V(serving), the successor stands for nobody. A run
    that was ended before is carried on by the next one with the same O(image_id), however late, or is taken back; until
    then another O(image_id) is refused. V(rejected) is a successor that was taken back. The run that finds one, or a
    way back that was not finished, terminates it and fails, as the one that was ended would have. One that was launched
    more than a day ago, or that EC2 shows in use, may have served. It is left alone, and a warning names it.
  - While the old instance is off and no task holds it stopped, the successor that ran last serves, whatever the tag
    C(ec2ops:trial) says. A warning names both.
  - Every fact of the old instance is carried over, follows from something else, or makes the module refuse when it is
    set. Nothing is dropped silently. The table is in C(docs/instance_facts.md) of the collection. What is decided by
    the AMI, such as the architecture and the root volume, comes from the AMI.
  - Of two runs that replace the same instance at the same time, the one that launches first wins. The other one
    launches nothing, or terminates what it has launched, whatever O(on_failure) says, and fails.
  - What the old instance has written to the volumes in the AMI after it was captured is not carried over. To have none
    of that, keep it stopped from the capture on.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  instance_id:
    description: The instance, or any that it replaces.
    type: str
    required: true
  image_id:
    description: The AMI that it should run from.
    type: str
    required: true
  follow_successor:
    description:
      - Whether O(instance_id) stands for the living instance that has replaced it. With V(false) the id is taken
        literally, which saves a call where it is known that nothing has replaced the instance.
    type: bool
    default: true
  strategy:
    description: How the instance gets to the AMI. V(replace_instance) launches a successor.
    type: str
    choices: [replace_instance]
    default: replace_instance
  overrides:
    description:
      - What is to be different on the successor. It applies when a successor is launched; an instance that runs from
        the AMI is not changed.
    type: dict
    suboptions:
      instance_type:
        description:
          - The instance type. What belongs to the old type (CPU options, EBS optimization, bandwidth weighting, ENA
            queues) is not carried over then.
        type: str
      key_name:
        description: The name of the key pair. An empty one is for none, such as where the old one's is deleted.
        type: str
      iam_instance_profile:
        description: The name or the ARN of the instance profile, empty for none.
        type: str
      security_group_ids:
        description: The security groups.
        type: list
        elements: str
      user_data:
        description: Whether the successor gets the old one's user data, none, or O(overrides.user_data_content).
        type: str
        choices: [keep, drop, replace]
        default: keep
      user_data_content:
        description: The user data in clear text, for O(overrides.user_data=replace).
        type: str
      tags:
        description:
          - Tags for the successor and its volumes, beside and before those that are carried over.
          - Quote values, since YAML turns V(yes) into V(true). A value that is neither text nor a whole number is
            refused.
        type: dict
      metadata_options:
        description:
          - Options of the instance metadata service. An option that is not given here is carried over from the old
            instance, also where the AMI asks for IMDSv2 and the old instance takes IMDSv1. A warning tells of that.
        type: dict
        suboptions:
          http_tokens:
            description: V(required) takes IMDSv2 only, V(optional) takes IMDSv1 too.
            type: str
            choices: [optional, required]
          http_endpoint:
            description: Whether the instance can reach the metadata service.
            type: str
            choices: [enabled, disabled]
          http_put_response_hop_limit:
            description: How many network hops an answer with a token may travel, from 1 to 64.
            type: int
          http_protocol_ipv6:
            description: Whether the metadata service has an IPv6 endpoint.
            type: str
            choices: [enabled, disabled]
          instance_metadata_tags:
            description: Whether the instance can read its tags from the metadata service.
            type: str
            choices: [enabled, disabled]
  data_volumes:
    description:
      - What becomes of data volumes. V(keep) leaves them with the old instance. V(move) is refused in this version.
      - Required when a successor is to be launched and the old instance has data volumes that O(image_id) has no
        snapshots of. Of the others the successor gets copies as of the capture.
      - A snapshot counts when EC2 shows that it was taken of that very volume. A snapshot of another volume at the same
        device name does not, and neither does a copy of a snapshot.
    type: str
    choices: [keep, move]
  elastic_ip:
    description:
      - What becomes of an Elastic IP. V(keep) leaves it with the old instance. V(move) is refused in this version.
      - Required when a successor is to be launched and the old instance has an Elastic IP.
    type: str
    choices: [keep, move]
  target_groups:
    description:
      - What becomes of registrations with load balancers. These are target groups that have the instance, or one of its
        private addresses, as a target, and Classic Load Balancers. V(keep) leaves them with the old instance. V(move)
        is refused in this version.
      - Required when a successor is to be launched and the old instance is registered with a load balancer.
    type: str
    choices: [keep, move]
  health:
    description: When the successor counts as healthy.
    type: dict
    suboptions:
      status_checks:
        description: Both status checks of EC2 must be C(ok). With V(false), running is enough.
        type: bool
        default: true
      timeout:
        description: Within how many seconds.
        type: int
        default: 600
  old_instance:
    description:
      - What becomes of the old instance once its successor is healthy.
      - V(terminate) is refused while a data volume that stays with it would be deleted, and while it has termination
        protection.
      - V(stop) and V(terminate) are refused while it has stop protection.
      - An old instance that somebody has started again after it was replaced is left as it is, with a warning.
    type: str
    choices: [stop, terminate, keep]
    default: stop
  on_failure:
    description:
      - What is done when the successor cannot be launched or does not become healthy.
      - V(rollback) terminates it. If the old instance was held stopped for the relaunch, it is started again.
      - V(keep) leaves both as they are, to be looked at.
    type: str
    choices: [rollback, keep]
    default: rollback
  lose_instance_store:
    description: Retire the old instance also when its type has instance store volumes. A stop empties those.
    type: bool
    default: false
  lose_writes:
    description:
      - Launch from O(image_id) also when the old instance has run since the AMI was captured. What it has written since
        then is not carried over.
      - V(false) refuses such a launch. Use it when the old instance is held stopped from the capture on. A launch that
        failed for want of capacity lets it run again, and then only another version of the AMI has all of its data.
    type: bool
    default: true
  wait:
    description:
      - Wait until the old instance is stopped or terminated. The health of the successor is waited for in any case
        before that.
  assume:
    description:
      - In check mode only, the C(plan)s returned by earlier tasks of the play. The module plans as if they had been
        carried out, and O(image_id) may be an AMI that they would make.
notes:
  - The user needs C(ec2:DescribeInstances), C(ec2:DescribeInstanceStatus), C(ec2:DescribeImages),
    C(ec2:DescribeVolumes), C(ec2:DescribeSnapshots), C(ec2:DescribeInstanceAttribute), C(ec2:DescribeInstanceTypes),
    C(ec2:DescribeInstanceCreditSpecifications) (burstable types), C(elasticloadbalancing:DescribeTargetGroups),
    C(elasticloadbalancing:DescribeTargetHealth), C(elasticloadbalancing:DescribeLoadBalancers), C(ec2:RunInstances),
    C(ec2:CreateTags), C(iam:PassRole) (instance profiles), C(ec2:StopInstances) or C(ec2:TerminateInstances), and for
    the way back C(ec2:TerminateInstances), C(ec2:ModifyInstanceAttribute) (protected instances) and
    C(ec2:StartInstances), and C(ec2:DeleteTags). Launching and starting instances with volumes that a customer managed
    KMS key encrypts needs C(kms:CreateGrant) on that key.
  - The successor gets new private addresses of the same subnet, and a new public one if the old one has one that is not
    elastic, or had one when M(ec2ops.storage.instance_power) stopped it with C(remember=true). For another instance
    that is stopped the subnet decides.
  - Where the old instance was started or held by somebody else before its successor has proved itself, either may have
    data that the other has not. The task fails and leaves both instances to the operator.
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.instance_power
  - module: amazon.aws.ec2_instance
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Run the web server from its new image, and keep the old one stopped
  ec2ops.storage.instance_relaunch:
    instance_id: i-0123456789abcdef0
    image_id: ami-0123456789abcdef0
    # The old instance keeps its data volume and its place behind the load balancer.
    data_volumes: keep
    target_groups: keep
    region: eu-central-1

- name: The same with connection options for all tasks, a larger type, and no trace of the old one
  module_defaults:
    group/ec2ops.storage.aws:
      region: eu-central-1
      profile: production
  block:
    - name: Relaunch
      ec2ops.storage.instance_relaunch:
        instance_id: i-0123456789abcdef0
        image_id: ami-0123456789abcdef0
        overrides:
          instance_type: m6i.xlarge
          tags:
            release: "42"
        health:
          timeout: 900
        old_instance: terminate
      register: web

    - name: Say which instance serves now
      ansible.builtin.debug:
        msg: "{{ web.instance_id }} serves from {{ web.image_id }} in place of {{ web.replaced }}"

- name: In a check run, relaunch from the image that an earlier task only plans
  ec2ops.storage.instance_relaunch:
    instance_id: i-0123456789abcdef0
    image_id: "{{ bake.image_id }}"
    assume: ["{{ bake.plan }}"]
"""

RETURN = r"""
msg:
  description: One line that says what the task did, or would do in check mode, and how things stand. On failure, why.
  returned: always
  type: str
  sample: 1 instance launched, 1 stopped; i-0fedcba9876543210 runs from ami-0123456789abcdef0
instance:
  description: The instance that O(instance_id) stands for now, in its state after the waits.
  returned: success
  type: dict
  sample:
    instance_id: i-0fedcba9876543210
    state: running
    image_id: ami-0123456789abcdef0
    instance_type: m5.large
    availability_zone: eu-central-1a
    tags: {"Name": "web", "ec2ops:replaces": "i-0123456789abcdef0", "ec2ops:trial": "serving"}
instance_id:
  description:
    - Its id, in check mode C((new instance i-0123456789abcdef0 from ami-0123456789abcdef0)) for one that would be
      launched.
  returned: success
  type: str
  sample: i-0fedcba9876543210
replaced:
  description:
    - The id of the instance that it was launched to replace, by this run or an earlier one. Null when it replaces none.
  returned: success
  type: str
  sample: i-0123456789abcdef0
image_id:
  description: The AMI that it runs from.
  returned: success
  type: str
  sample: ami-0123456789abcdef0
plan:
  description:
    - What was done, or in check mode would be done, in order. One entry per resource, the same in both modes. User data
      stands as its hash. A way back is not predicted.
  returned: always
  type: list
  elements: dict
  sample:
    - action: RunInstances
      resource: (new instance i-0123456789abcdef0 from ami-0123456789abcdef0)
      region: eu-central-1
      parameters: {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
      reason: i-0123456789abcdef0 runs from ami-00000000000000001 and should run from ami-0123456789abcdef0
      before: null
      after: {"state": "running", "image_id": "ami-0123456789abcdef0"}
      disruptive: false
    - action: StopInstances
      resource: i-0123456789abcdef0
      region: eu-central-1
      parameters: {}
      reason: "its successor serves (old_instance: stop)"
      before: {"state": "running"}
      after: {"state": "stopped"}
      disruptive: true
api_calls:
  description: How many requests were sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeInstances": 2}
error:
  description: What went wrong, with AWS's own code and message where AWS has refused something.
  returned: failure
  type: dict
  sample:
    operation: RunInstances
    code: InsufficientInstanceCapacity
    message: We currently do not have sufficient capacity.
planned_ids:
  description: What EC2 made of the planned ids in RV(plan). Empty in check mode.
  returned: always
  type: dict
  sample: {"(new instance i-0123456789abcdef0 from ami-0123456789abcdef0)": "i-0fedcba9876543210"}
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
  description: What the way back has done, with O(on_failure=rollback).
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import run_module
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch.planner import FEATURE

OVERRIDES = {
    "instance_type": {"type": "str"},
    "key_name": {"type": "str", "no_log": False},
    "iam_instance_profile": {"type": "str"},
    "security_group_ids": {"type": "list", "elements": "str"},
    "user_data": {"type": "str", "choices": ["keep", "drop", "replace"], "default": "keep"},
    "user_data_content": {"type": "str", "no_log": True},
    "tags": {"type": "dict"},
    "metadata_options": {
        "type": "dict",
        "options": {
            "http_tokens": {"type": "str", "choices": ["optional", "required"]},
            "http_endpoint": {"type": "str", "choices": ["enabled", "disabled"]},
            "http_put_response_hop_limit": {"type": "int"},
            "http_protocol_ipv6": {"type": "str", "choices": ["enabled", "disabled"]},
            "instance_metadata_tags": {"type": "str", "choices": ["enabled", "disabled"]},
        },
    },
}

HEALTH = {
    "status_checks": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 600},
}

ARGUMENT_SPEC = {
    "instance_id": {"type": "str", "required": True},
    "image_id": {"type": "str", "required": True},
    "follow_successor": {"type": "bool", "default": True},
    "strategy": {"type": "str", "choices": ["replace_instance"], "default": "replace_instance"},
    "overrides": {"type": "dict", "options": OVERRIDES},
    "data_volumes": {"type": "str", "choices": ["keep", "move"]},
    "elastic_ip": {"type": "str", "choices": ["keep", "move"]},
    "target_groups": {"type": "str", "choices": ["keep", "move"]},
    "health": {"type": "dict", "options": HEALTH},
    "old_instance": {"type": "str", "choices": ["stop", "terminate", "keep"], "default": "stop"},
    "on_failure": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
    "lose_instance_store": {"type": "bool", "default": False},
    "lose_writes": {"type": "bool", "default": True},
}


EXAMPLES_OF_MAPPINGS = {
    "overrides": "overrides: {instance_type: t3.large}",
    "overrides.tags": "overrides: {tags: {stage: live}}",
    "health": "health: {timeout: 900}",
}


def main() -> None:
    run_module(FEATURE, ARGUMENT_SPEC, examples=EXAMPLES_OF_MAPPINGS)


if __name__ == "__main__":
    main()
