#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_relaunch
short_description: Ensure that an instance runs from an AMI, by launching a successor and retiring the predecessor
version_added: 0.1.0
description:
  - If the instance already runs from O(image_id), the module changes nothing. Otherwise it launches a successor from
    the AMI, waits until the successor is healthy, and retires the predecessor. Until then the predecessor serves. If
    the successor does not become healthy, the module terminates it and keeps the predecessor in service.
  - The tag C(ec2ops:replaces) of the successor has the ids of all its predecessors. So O(instance_id) may still name
    the first of them, even if EC2 no longer shows that instance. After an interruption, the next run finds the
    successor by this tag.
  - The tag alone proves nothing. EC2 must show that the instance has the ClientToken of a relaunch of the first id in
    the tag. The module follows an older id only if EC2 shows each link between the two instances, or no longer shows
    the older one. If a tag claims more, a warning names the instance.
  - A second tag, C(ec2ops:trial), holds the phase of the replacement. Until the phase is V(serving), the successor does
    not stand for its predecessor. The next run with the same O(image_id) continues an interrupted relaunch, or rolls it
    back. Until the relaunch is finished, the module refuses another O(image_id). V(rejected) marks a successor that was
    rolled back. A run that finds a rejected successor, or an unfinished rollback, terminates the successor and fails,
    as the interrupted run would have. If the successor was launched more than a day ago, or if EC2 shows it in use, it
    may have served. Then the module leaves it as it is, and a warning names it.
  - While the predecessor is off without a hold, the successor that ran last serves, with any value of the tag
    C(ec2ops:trial). A warning names both.
  - The module copies each fact of the predecessor to the successor, derives it from another fact, or refuses an
    instance with this fact. It drops no fact silently. C(docs/instance_facts.md) of the collection has the table. The
    AMI decides facts such as the architecture and the root volume.
  - If two runs replace the same instance at the same time, the run that launches first wins. The other run fails. It
    launches no instance, or terminates its own successor, with any value of O(on_failure).
  - The successor lacks the predecessor's writes to the captured volumes since the capture. To lose no write, keep the
    predecessor stopped from the capture on.
extends_documentation_fragment:
  - ec2ops.storage.attributes
  - ec2ops.storage.common
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  instance_id:
    description: The instance, or any of its predecessors.
    type: str
    required: true
  image_id:
    description: The AMI from which the instance must run.
    type: str
    required: true
  follow_successor:
    description:
      - Whether O(instance_id) stands for the instance's living successor. V(false) takes the id literally. This saves a
        call if you know that nothing has replaced the instance.
    type: bool
    default: true
  strategy:
    description:
      - The method of the relaunch.
      - V(replace_instance) launches a successor.
      - V(replace_root_volume) gives the running instance a new root volume from the AMI, and EC2 reboots the instance.
        The instance keeps its id, its network interfaces and addresses, and its data volumes. The AMI must have the
        product codes, billing, architecture and virtualization of the instance. The module refuses O(overrides) and
        O(old_instance), which this method cannot fulfil.
      - V(auto) takes V(replace_instance) if it has no obstacle, else V(replace_root_volume). It refuses an instance
        that neither method can relaunch, and names every obstacle. RV(strategy_reason) and RV(msg) have the reason.
    type: str
    choices: [replace_instance, replace_root_volume, auto]
    default: replace_instance
  old_root_volume:
    description:
      - With O(strategy=replace_root_volume) or O(strategy=auto), the action on the former root volume once the instance
        is healthy. V(keep) leaves it available, with the tag C(ec2ops:root-of). V(delete) deletes it.
      - No later run deletes a kept volume.
      - The default is V(keep).
    type: str
    choices: [keep, delete]
  overrides:
    description:
      - The facts that differ in the successor. They apply at its launch. The module does not change an instance that
        already runs from the AMI.
    type: dict
    suboptions:
      instance_type:
        description:
          - The instance type. With another type, the successor does not get the facts of the predecessor's type. These
            are CPU options, EBS optimization, bandwidth weighting and ENA queues.
        type: str
      key_name:
        description: The name of the key pair. An empty value means no key pair. Use it if the predecessor's key pair is
          deleted.
        type: str
      iam_instance_profile:
        description: The name or the ARN of the instance profile. An empty value means no profile.
        type: str
      security_group_ids:
        description: The security groups.
        type: list
        elements: str
      user_data:
        description: V(keep) takes over the predecessor's user data, V(drop) leaves it out, and V(replace) uses
          O(overrides.user_data_content).
        type: str
        choices: [keep, drop, replace]
        default: keep
      user_data_content:
        description: The user data in clear text, for O(overrides.user_data=replace).
        type: str
      tags:
        description:
          - Tags for the successor and its volumes. They override tags of the predecessor.
          - Quote values, since YAML turns V(yes) into V(true). The module refuses a value that is neither text nor a
            whole number.
        type: dict
      metadata_options:
        description:
          - Options of the instance metadata service. The successor takes the others over from the predecessor. If the
            AMI requires IMDSv2 and the predecessor accepts IMDSv1, the successor accepts IMDSv1 too, and a warning says
            so.
        type: dict
        suboptions:
          http_tokens:
            description: V(required) accepts only IMDSv2, and V(optional) accepts IMDSv1 too.
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
      - V(keep) leaves data volumes with the predecessor.
      - V(move) stops the successor, then the predecessor, attaches the data volumes to the successor at the same
        devices, and starts it. The successor gets no copies of them from O(image_id). It has booted without the volumes
        before, so its file systems need C(nofail). The predecessor gets a hold before its stop. The tag C(ec2ops:spec)
        of a volume follows if it has the id of the predecessor. Delete-on-termination follows at the end, and is off
        until then.
      - The module refuses V(move) with O(old_instance=keep). It also refuses V(move) for a volume that is attached to a
        second instance.
      - Required for a launch if the predecessor has data volumes that O(image_id) has no snapshots of.
        O(strategy=auto) moves them.
      - The successor gets copies of all other data volumes as of the capture.
      - A snapshot counts only if EC2 shows that it was taken of that very volume. A snapshot of another volume at the
        same device name does not count, and neither does a copy of a snapshot.
    type: str
    choices: [keep, move]
  network_interfaces:
    description:
      - V(keep) leaves secondary network interfaces with the predecessor.
      - V(move) stops the successor, then the predecessor, attaches the secondary interfaces to the successor at the
        same device indexes, and starts it. They keep their addresses, also an Elastic IP, and their places in target
        groups by address. Delete-on-termination follows at the end, and is off until then. The primary interface never
        moves.
      - The module refuses V(move) with O(old_instance=keep). It also refuses V(move) for an interface that an AWS
        service manages, that has another type than C(interface), or that is not on network card 0, and for more
        interfaces than the type of the successor takes. It refuses a predecessor with a public address that is not
        elastic, since EC2 gives no other one at the start of an instance with several interfaces.
      - Required for a launch if the predecessor has secondary interfaces. O(strategy=auto) moves them.
    type: str
    choices: [keep, move]
  elastic_ip:
    description:
      - V(keep) leaves an Elastic IP with the predecessor. V(move) associates it with the healthy successor, in one
        call. Both are about the Elastic IP of the primary interface.
      - Required for a launch if the predecessor has such an Elastic IP. O(strategy=auto) moves it.
    type: str
    choices: [keep, move]
  target_groups:
    description:
      - V(keep) leaves the predecessor registered with its load balancers. These are Classic Load Balancers, and target
        groups that have the instance or one of its private addresses as a target.
      - V(move) registers the successor with the same ports, waits until each load balancer finds it healthy, and only
        then deregisters the predecessor and waits for its last requests.
      - Required for a launch if the predecessor is registered with a load balancer. O(strategy=auto)
        registers the successor.
    type: str
    choices: [keep, move]
  health:
    description:
      - The conditions for a healthy successor. If one of them fails, the module rolls back, as with O(on_failure).
      - The host that executes the module sends the probes. They begin once the status checks have passed and the data
        volumes have moved. They are repeated until they succeed or the time is over.
    type: dict
    suboptions:
      status_checks:
        description: Require both status checks of EC2 to be C(ok). With V(false), a running successor is healthy.
        type: bool
        default: true
      timeout:
        description:
          - The time limit for status checks, probes and the health of targets together, in seconds. It begins with the
            launch, and anew with the start of a successor that got data volumes.
        type: int
        default: 600
      url:
        description:
          - A URL of http or https that the module gets. C({address}) stands for the address of the successor.
          - A user and a password before the address are sent as basic authentication. No message shows them, or the
            query. The module follows no redirection and uses no proxy.
        type: str
      status:
        description: The statuses of a good answer to O(health.url). The default is V([200]).
        type: list
        elements: int
      tcp_port:
        description: A port of the successor that must accept a connection.
        type: int
      address:
        description:
          - The address of the successor for the probes. The default is V(private).
          - With V(public) and O(elastic_ip=move), the probes use the Elastic IP, after its move.
        type: str
        choices: [private, public]
  stage:
    description:
      - The part of the relaunch that the task does, so that other tasks can test the successor before the predecessor
        retires.
      - V(launch) launches the successor, moves everything that the task names, and waits until the successor is
        healthy. RV(unproven) is the successor, which stays unproven.
      - V(finish) continues as V(all) does, and refuses an instance without such a successor.
      - V(rollback) returns everything to the predecessor, and terminates the unproven successor. Without one, it
        changes nothing.
      - Use the same other options in all stages.
    type: str
    choices: [all, launch, finish, rollback]
    default: all
  verify:
    description:
      - Whether other tasks test the successor between O(stage=launch) and O(stage=finish).
      - Set the same value for a task that only plans, such as with O(stage=all) in check mode. Then the plan has the
        strategy of the run, since V(replace_root_volume) has no successor to test. The module refuses that strategy,
        and O(strategy=auto) does not choose it.
    type: bool
    default: false
  old_instance:
    description:
      - The action on the predecessor once its successor is healthy. The default is V(stop).
      - The module refuses any value with O(strategy=replace_root_volume), which has no predecessor.
      - The module refuses V(terminate) if EC2 would delete a data volume or a secondary network interface that stays
        with the predecessor, or if the predecessor has termination protection.
      - The module refuses V(stop) and V(terminate) if the predecessor has stop protection.
      - If somebody has started the predecessor again after its replacement, the module leaves it as it is, and a
        warning names it.
      - If the predecessor has run for more than a day after the launch of its successor, the module leaves it as it is,
        and a warning names both. Stop or terminate it yourself.
    type: str
    choices: [stop, terminate, keep]
  on_failure:
    description:
      - The reaction to a failed launch, or to a successor that does not become healthy.
      - V(rollback) terminates the successor, and starts a predecessor with a hold again. With
        O(strategy=replace_root_volume), it gives the instance its former root volume back. Before botocore 1.43.106, it
        restores that volume from a snapshot that the module takes before the task.
      - V(keep) leaves both instances as they are, for inspection.
      - Everything that has moved returns to the predecessor also with V(keep), and the predecessor runs again. If data
        volumes or network interfaces had moved, the successor is stopped.
    type: str
    choices: [rollback, keep]
    default: rollback
  lose_instance_store:
    description: Retire the predecessor even if its type has instance store volumes, which a stop empties.
    type: bool
    default: false
  lose_writes:
    description:
      - Launch from O(image_id) even if the predecessor has run since the capture. The successor lacks the writes since
        the capture.
      - With V(false), the module refuses such a launch, and the later retirement of such a predecessor. Use V(false) if
        a hold keeps the predecessor stopped from the capture on. After a launch that fails for lack of capacity, the
        predecessor runs again, and only another version of the AMI has all of its data.
    type: bool
    default: true
  wait:
    description:
      - Wait until the predecessor is stopped or terminated. The module always waits for a healthy successor before
        that.
  assume:
    description:
      - In check mode only, the C(plan)s returned by earlier tasks of the play. The module plans as if those tasks had
        run, and O(image_id) may be an AMI that they would make.
notes:
  - The user needs C(ec2:DescribeInstances), C(ec2:DescribeInstanceStatus), C(ec2:DescribeImages),
    C(ec2:DescribeVolumes), C(ec2:DescribeSnapshots), C(ec2:DescribeInstanceAttribute), C(ec2:DescribeInstanceTypes),
    C(ec2:DescribeInstanceCreditSpecifications) (burstable types), C(elasticloadbalancing:DescribeTargetGroups),
    C(elasticloadbalancing:DescribeTargetHealth), C(elasticloadbalancing:DescribeLoadBalancers), C(ec2:RunInstances),
    C(ec2:CreateTags), C(ec2:DeleteTags), C(iam:PassRole) (instance profiles), and C(ec2:StopInstances) or
    C(ec2:TerminateInstances). The rollback needs C(ec2:TerminateInstances), C(ec2:ModifyInstanceAttribute) (protected
    instances) and C(ec2:StartInstances). Launching and starting instances with volumes that a customer managed KMS key
    encrypts needs C(kms:CreateGrant) on that key. O(strategy=replace_root_volume) and O(strategy=auto) also need
    C(ec2:DescribeReplaceRootVolumeTasks) and C(ec2:CreateReplaceRootVolumeTask). O(old_root_volume=delete) also needs
    C(ec2:DeleteVolume). With a botocore before 1.43.106, they also need C(ec2:CreateSnapshot) and
    C(ec2:DeleteSnapshot).
  - The successor gets new private addresses of the same subnet. It gets a new public address if the predecessor has a
    non-elastic one. If M(ec2ops.storage.instance_power) stopped the predecessor with C(remember=true), the address that
    it had before that stop decides. For any other stopped predecessor, the subnet decides.
  - With O(data_volumes=move), the user also needs C(ec2:DetachVolume), C(ec2:AttachVolume), C(ec2:StartInstances),
    C(ec2:StopInstances) and C(ec2:ModifyInstanceAttribute). With O(elastic_ip=move), also C(ec2:DescribeAddresses) and
    C(ec2:AssociateAddress). With O(network_interfaces=move), also C(ec2:DescribeNetworkInterfaces),
    C(ec2:AttachNetworkInterface), C(ec2:DetachNetworkInterface), C(ec2:ModifyNetworkInterfaceAttribute),
    C(ec2:StartInstances) and C(ec2:StopInstances). If the source/destination check of the predecessor is off, also
    C(ec2:ModifyInstanceAttribute). With O(target_groups=move), also C(elasticloadbalancing:RegisterTargets),
    C(elasticloadbalancing:DeregisterTargets), and for Classic Load Balancers
    C(elasticloadbalancing:RegisterInstancesWithLoadBalancer),
    C(elasticloadbalancing:DeregisterInstancesFromLoadBalancer) and C(elasticloadbalancing:DescribeInstanceHealth).
  - Somebody else may start the predecessor, or put a hold on it, while the successor is unproven. Either instance may
    then have data that the other lacks. The task fails and leaves both instances to the operator.
seealso:
  - module: ec2ops.storage.ami_bake
  - module: ec2ops.storage.instance_power
  - module: amazon.aws.ec2_instance
author:
  - The ec2ops.storage contributors (@ec2ops)
"""

EXAMPLES = r"""
- name: Run the web server from its new image, and keep the predecessor stopped
  ec2ops.storage.instance_relaunch:
    instance_id: i-0123456789abcdef0
    image_id: ami-0123456789abcdef0
    # The predecessor keeps its data volume and its place behind the load balancer.
    data_volumes: keep
    target_groups: keep
    region: eu-central-1

- name: Move the data, the address and the load balancers to the successor once it answers
  ec2ops.storage.instance_relaunch:
    instance_id: i-0123456789abcdef0
    image_id: ami-0123456789abcdef0
    data_volumes: move
    elastic_ip: move
    target_groups: move
    health:
      url: http://{address}:8080/health
      timeout: 300
    region: eu-central-1

- name: Relaunch with a larger type and terminate the predecessor
  module_defaults:
    group/ec2ops.storage.aws:
      region: eu-central-1
      profile: production
  block:
    - name: Relaunch the instance
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

    - name: Show the instance in service
      ansible.builtin.debug:
        msg: "{{ web.instance_id }} serves from {{ web.image_id }} in place of {{ web.replaced }}"

- name: Give a server with several addresses the new version, as a root volume
  ec2ops.storage.instance_relaunch:
    instance_id: i-0123456789abcdef0
    image_id: ami-0123456789abcdef0
    strategy: replace_root_volume
    old_root_volume: delete
    region: eu-central-1

- name: Plan a relaunch from an image that an earlier task only plans
  ec2ops.storage.instance_relaunch:
    instance_id: i-0123456789abcdef0
    image_id: "{{ bake.image_id }}"
    assume: ["{{ bake.plan }}"]
"""

RETURN = r"""
msg:
  description: One line about the changes that the task made, or would make in check mode, and the state after them. On
    failure, the reason.
  returned: always
  type: str
  sample: 1 instance launched, 1 stopped; i-0fedcba9876543210 runs from ami-0123456789abcdef0
instance:
  description: The instance of O(instance_id) or its successor, in its state after the waits.
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
    - The id of RV(instance). In check mode, a new instance has a planned id such as C((new instance i-0123456789abcdef0
      from ami-0123456789abcdef0)).
  returned: success
  type: str
  sample: i-0fedcba9876543210
replaced:
  description:
    - The id of the predecessor of RV(instance), from this run or an earlier one. Null if there is none.
  returned: success
  type: str
  sample: i-0123456789abcdef0
image_id:
  description: The AMI from which RV(instance) runs.
  returned: success
  type: str
  sample: ami-0123456789abcdef0
strategy:
  description: The method of the relaunch. With O(strategy=auto), the one that the module has chosen.
  returned: success
  type: str
  sample: replace_instance
strategy_reason:
  description: The reason for RV(strategy).
  returned: success
  type: str
  sample: a successor can take over everything of i-0123456789abcdef0
unproven:
  description:
    - The successor that has not proved itself yet, after O(stage=launch). Otherwise null.
  returned: success
  type: dict
  sample: null
plan:
  description:
    - The planned changes in order, the same in check mode. One entry per resource. The hash of the user data stands in
      its place. The plan predicts no rollback.
  returned: always
  type: list
  elements: dict
  sample:
    - action: RunInstances
      resource: (new instance i-0123456789abcdef0 from ami-0123456789abcdef0)
      region: eu-central-1
      parameters: {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
      reason: "launch the successor of i-0123456789abcdef0: ami-00000000000000001 -> ami-0123456789abcdef0"
      before: null
      after: {"state": "running", "image_id": "ami-0123456789abcdef0"}
      disruptive: false
    - action: StopInstances
      resource: i-0123456789abcdef0
      region: eu-central-1
      parameters: {}
      reason: "retire: the successor serves (old_instance: stop)"
      before: {"state": "running"}
      after: {"state": "stopped"}
      disruptive: true
api_calls:
  description: The number of requests sent, by operation.
  returned: always
  type: dict
  sample: {"DescribeInstances": 2}
error:
  description: The error, with AWS's own code and message if AWS refused a call.
  returned: failure
  type: dict
  sample:
    operation: RunInstances
    code: InsufficientInstanceCapacity
    message: We currently do not have sufficient capacity.
errors:
  description: All errors of the task, each as RV(error). The first one is RV(error).
  returned: failure
  type: list
  elements: dict
  sample: [{"operation": "RunInstances", "code": "InsufficientInstanceCapacity", "message": "Not now."}]
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
  sample: {"(new instance i-0123456789abcdef0 from ami-0123456789abcdef0)": "i-0fedcba9876543210"}
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
  description: On failure, the changes that the rollback made, with O(on_failure=rollback).
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.runner import Program
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
    "url": {"type": "str", "no_log": True},
    "status": {"type": "list", "elements": "int"},
    "tcp_port": {"type": "int"},
    "address": {"type": "str", "choices": ["private", "public"]},
}

ARGUMENT_SPEC = {
    "instance_id": {"type": "str", "required": True},
    "image_id": {"type": "str", "required": True},
    "follow_successor": {"type": "bool", "default": True},
    "strategy": {
        "type": "str",
        "choices": ["replace_instance", "replace_root_volume", "auto"],
        "default": "replace_instance",
    },
    "old_root_volume": {"type": "str", "choices": ["keep", "delete"]},
    "overrides": {"type": "dict", "options": OVERRIDES},
    "data_volumes": {"type": "str", "choices": ["keep", "move"]},
    "network_interfaces": {"type": "str", "choices": ["keep", "move"]},
    "elastic_ip": {"type": "str", "choices": ["keep", "move"]},
    "target_groups": {"type": "str", "choices": ["keep", "move"]},
    "health": {"type": "dict", "options": HEALTH},
    "stage": {"type": "str", "choices": ["all", "launch", "finish", "rollback"], "default": "all"},
    "verify": {"type": "bool", "default": False},
    "old_instance": {"type": "str", "choices": ["stop", "terminate", "keep"]},
    "on_failure": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
    "lose_instance_store": {"type": "bool", "default": False},
    "lose_writes": {"type": "bool", "default": True},
}


EXAMPLES_OF_MAPPINGS = {
    "overrides": "overrides: {instance_type: t3.large}",
    "overrides.tags": "overrides: {tags: {stage: live}}",
    "health": "health: {timeout: 900}",
}

PROGRAM = Program(FEATURE, ARGUMENT_SPEC, examples=EXAMPLES_OF_MAPPINGS)


def main() -> None:
    PROGRAM.run()


if __name__ == "__main__":
    main()
