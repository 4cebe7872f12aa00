# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The launch of a successor: the request, made from EC2's facts about the predecessor.

Private to this collection.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ..._domain.hold import standing_hold, wants_start
from ..._domain.instance_facts import (
    carried_parameters,
    read_fact,
)
from ..._domain.moves import Moves, moves_tags
from ..._domain.replacement import UNPROVEN, predecessor
from ..._domain.rivals import unreplaced
from ..._domain.succession import on_trial_for
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.facts import CPU_CREDITS, PROTECTIONS, SHUTDOWN_BEHAVIOR, USER_DATA, type_facts
from ..._kernel.ids import planned
from ..._kernel.instance_proofs import launch_identity
from ..._kernel.plan import Change
from ..._kernel.resources import Image, Instance, view
from ..._kernel.state import Query, State
from ..._kernel.tags import replaced_ids, replaces_value, specification
from .health import planned_address, planned_interface
from .moved_devices import omitted_devices
from .options import BURSTABLE, OUR_TAGS, RelaunchSpec

# The facts of a planned instance that only EC2 decides.
_UNKNOWN = ("instance_id", "launch_time", "block_devices", "public_ip_address", "private_ip_address", "state_reason")


def known_rivals(state: State, old: Instance, new_id: str = "") -> frozenset[str]:
    """Return the unproven successors of the predecessor that the plan already covers, except *new_id*."""
    return frozenset(item.instance_id for item in on_trial_for(state, old.instance_id)) - {new_id}


def launch_change(spec: RelaunchSpec, state: State, old: Instance, image: Image, moves: Moves) -> Change:
    """Return the RunInstances for the successor. Raises SpecError if it would have more tags than EC2 takes."""
    tags = _successor_tags(spec, old, moves)
    parameters = _launch_parameters(spec, state, old, image)
    _omit_devices(parameters, moves, image)
    parameters["TagSpecifications"] = [specification("instance", tags)]
    if volume_tags := _volume_tags(spec, state, old):
        parameters["TagSpecifications"].append(specification("volume", volume_tags))
    new = Instance(
        instance_id=planned("instance", f"in place of {old.instance_id}"),
        state="running",
        image_id=spec.image_id,
        instance_type=parameters["InstanceType"],
        availability_zone=old.availability_zone,
        root_device_name=image.root_device_name or old.root_device_name,
        platform_details=image.platform_details or old.platform_details,
        usage_operation=image.usage_operation or old.usage_operation,
        product_codes=image.product_codes,
        tags=tags,
    )
    return Change(
        "RunInstances",
        new.instance_id,
        state.region,
        parameters,
        _launch_reason(spec, old),
        after=_shown(new) | _planned_addresses(spec, old, moves),
        identity=Query(
            "DescribeInstances",
            (
                ("image-id", (spec.image_id,)),
                ("instance-state-name", ("pending", "running")),
                (f"tag:{tag_names.REPLACES}", (f"{old.instance_id}*",)),
            ),
        ),
        token=launch_identity(old.instance_id, spec.image_id),
        provided=unreplaced(old.instance_id, spec.image_id, known_rivals(state, old)),
        # If the predecessor is off, the rollback of a refused launch starts it. A refused rehearsal has no rollback.
        rehearsed=old.state == "running",
    )


def _shown(new: Instance) -> dict[str, Any]:
    """Return the view of a planned instance, without the facts that only EC2 decides."""
    return {key: value for key, value in view(new).items() if key not in _UNKNOWN}


def _omit_devices(parameters: dict[str, Any], moves: Moves, image: Image) -> None:
    """Leave out the devices of the image at which moved volumes will be."""
    omitted = [{"DeviceName": name, "NoDevice": ""} for name in omitted_devices(moves, image)]
    if omitted:
        parameters["BlockDeviceMappings"] = [*parameters.get("BlockDeviceMappings", ()), *omitted]


def _planned_addresses(spec: RelaunchSpec, old: Instance, moves: Moves) -> dict[str, str]:
    """Return the planned ids of the successor's addresses and interface that later steps use."""
    probes, public = bool(spec.health.probes), spec.health.public
    planned = {"private_ip_address": planned_address(old)} if moves.targets or (probes and not public) else {}
    if probes and public and not moves.allocation_id:
        planned["public_ip_address"] = planned_address(old, public=True)
    if moves.allocation_id and moves.interfaces:
        planned["primary_interface_id"] = planned_interface(old)
    return planned


def _launch_reason(spec: RelaunchSpec, old: Instance) -> str:
    """Return the reason of the launch, with the changes that affect users of the predecessor."""
    reason = f"launch the successor of {old.instance_id}: {old.image_id} -> {spec.image_id}"
    if old.private_ip_address:
        reason += f"; the private address {old.private_ip_address} will change"
    if old.state in ("stopping", "stopped") and not wants_start(old):
        reason += f"; {old.instance_id} is {old.state}, but its successor will run"
    return reason


def _successor_tags(spec: RelaunchSpec, old: Instance, moves: Moves) -> dict[str, str]:
    record = moves_tags(moves)
    ours = OUR_TAGS + len(record)
    carried = tag_names.carried(old.tags)
    tags = {**carried, **(spec.overrides.tags or {})}
    if len(tags) > tag_names.MOST_TAGS - ours:
        if len(carried) > tag_names.MOST_TAGS - ours:
            raise SpecError(
                f"instance_id: {old.instance_id} has {len(carried)} tags, which its successor takes over. EC2 takes "
                f"{tag_names.MOST_TAGS}, and this collection needs {ours} of them. Remove "
                f"{len(carried) - tag_names.MOST_TAGS + ours} from {old.instance_id}."
            )
        raise SpecError(
            f"overrides.tags: with the {len(carried)} tags of {old.instance_id}, the successor would have "
            f"{len(tags)}. EC2 takes {tag_names.MOST_TAGS}, and this collection needs {ours} of them. Set fewer "
            f"tags, or remove some from {old.instance_id}"
        )
    # An instance hands on its predecessors' ids only if EC2 proves its own predecessor.
    inherited = replaced_ids(old.tags) if predecessor(old) is not None else ()
    replaces = replaces_value(old.instance_id, inherited)
    return {**tags, tag_names.REPLACES: replaces, tag_names.TRIAL: UNPROVEN, **record}


def _volume_tags(spec: RelaunchSpec, state: State, old: Instance) -> dict[str, str]:
    root = state.volume(old.root_volume_id)
    carried = tag_names.carried(root.tags) if root is not None else {}
    tags = {**carried, **(spec.overrides.tags or {})}
    if len(tags) > tag_names.MOST_TAGS:
        # A volume never has more tags than EC2 takes, so only the tags of the task can exceed the limit.
        raise SpecError(
            f"overrides.tags: with the {len(carried)} tags of the root volume {old.root_volume_id}, the root "
            f"volume of the successor would have {len(tags)}. EC2 takes {tag_names.MOST_TAGS}. Set fewer tags, or "
            f"remove some from {old.root_volume_id}"
        )
    return tags


def _launch_parameters(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> dict[str, Any]:
    """Return the parameters of RunInstances without tags: unchanged facts, converted facts, then the overrides."""
    overrides, facts = spec.overrides, old.facts
    other_type = overrides.instance_type not in (None, old.instance_type)
    parameters = carried_parameters(facts, other_type=other_type)
    parameters.update(
        MinCount=1, MaxCount=1, ImageId=spec.image_id, InstanceType=overrides.instance_type or old.instance_type
    )
    _override(parameters, spec)
    if "HostResourceGroupArn" in parameters.get("Placement", {}):
        parameters["Placement"].pop("HostId", None)
    licenses = [item["LicenseConfigurationArn"] for item in facts.get("Licenses") or ()]
    if licenses:
        parameters["LicenseSpecifications"] = [{"LicenseConfigurationArn": arn} for arn in sorted(licenses)]
    if read_fact(facts, "Monitoring.State") in ("enabled", "pending"):
        parameters.setdefault("Monitoring", {})["Enabled"] = True
    if not other_type:
        add_processors(parameters, facts, type_facts(state, old.instance_type))
    credit = CPU_CREDITS.of(state, old.instance_id)
    if credit and BURSTABLE.match(parameters["InstanceType"]):
        parameters["CreditSpecification"] = {"CpuCredits": credit}
    _add_attributes(parameters, spec, state, old)
    parameters["NetworkInterfaces"] = [
        _interface(spec, state, old, parameters.get("NetworkInterfaces", {}), other_type)
    ]
    root = _encrypted_root(state, old, image)
    if root is not None:
        parameters["BlockDeviceMappings"] = [root]
    return parameters


def _override(parameters: dict[str, Any], spec: RelaunchSpec) -> None:
    """Replace the instance's profile, key and metadata options with the user's. An empty text removes a value."""
    overrides = spec.overrides
    profile = overrides.iam_instance_profile
    if profile is not None:
        parameters["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    if overrides.key_name is not None:
        parameters["KeyName"] = overrides.key_name
    for name, said in (("IamInstanceProfile", profile), ("KeyName", overrides.key_name)):
        if said == "":
            del parameters[name]
    if overrides.metadata_options:
        parameters["MetadataOptions"] = {**parameters.get("MetadataOptions", {}), **overrides.metadata_options}


def add_processors(parameters: dict[str, Any], facts: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    """Add cores and threads if they differ from the type's default. EC2 always shows them, but not every type takes
    them.
    """
    cores, threads = read_fact(facts, "CpuOptions.CoreCount"), read_fact(facts, "CpuOptions.ThreadsPerCore")
    usual = (read_fact(info, "VCpuInfo.DefaultCores"), read_fact(info, "VCpuInfo.DefaultThreadsPerCore"))
    if cores and threads and None not in usual and (cores, threads) != usual:
        parameters.setdefault("CpuOptions", {}).update(CoreCount=cores, ThreadsPerCore=threads)


def _add_attributes(parameters: dict[str, Any], spec: RelaunchSpec, state: State, old: Instance) -> None:
    """Add the attributes that DescribeInstances does not show."""
    for parameter, kind in PROTECTIONS.items():
        if kind.of(state, old.instance_id):
            parameters[parameter] = True
    behavior = SHUTDOWN_BEHAVIOR.of(state, old.instance_id)
    if behavior not in (None, "stop"):
        parameters["InstanceInitiatedShutdownBehavior"] = behavior
    if spec.overrides.user_data == "replace":
        parameters["UserData"] = spec.overrides.user_data_content
    elif spec.overrides.user_data == "keep":
        content = _user_data(USER_DATA.of(state, old.instance_id))
        if content:
            parameters["UserData"] = content


def _user_data(encoded: str | None) -> str | bytes:
    """Return the user data as text, or as bytes if it is no text (gzip). EC2 gives base64, and boto3
    encodes it again.
    """
    content = base64.b64decode(encoded or "")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _interface(
    spec: RelaunchSpec, state: State, old: Instance, carried: Mapping[str, Any], other_type: bool
) -> dict[str, Any]:
    """Return the parameters of the primary network interface, with the predecessor's subnet and groups,
    and new addresses.
    """
    facts = old.interfaces[0]
    interface: dict[str, Any] = {**carried, "DeviceIndex": 0, "DeleteOnTermination": True}
    groups = spec.overrides.security_group_ids
    interface["Groups"] = (
        sorted(item["GroupId"] for item in facts.get("Groups") or ()) if groups is None else list(groups)
    )
    addresses = facts.get("Ipv6Addresses") or ()
    if addresses:
        interface["Ipv6AddressCount"] = len(addresses)
        if any(item.get("IsPrimaryIpv6") for item in addresses):
            interface["PrimaryIpv6"] = True
    public = public_address(old)
    if public is not None:
        interface["AssociatePublicIpAddress"] = public
    if not other_type:
        cards: Sequence[Mapping[str, Any]] = read_fact(
            type_facts(state, old.instance_type), "NetworkInfo.NetworkCards"
        ) or ({},)
        queues, usual = read_fact(facts, "Attachment.EnaQueueCount"), cards[0].get("DefaultEnaQueueCountPerInterface")
        if queues is not None and usual is not None and queues != usual:
            interface["EnaQueueCount"] = queues
    return interface


def public_address(old: Instance) -> bool | None:
    """Return whether the predecessor has a public address of its own, or None if EC2 does not show it. Then the subnet
    decides.

    An Elastic IP hides whether there would be another address. A stop releases the address. Only a hold records whether
    a stopped instance had one. A starting instance may not have it yet.
    """
    if old.elastic_ip:
        return None
    if old.state in ("stopping", "stopped"):
        hold = standing_hold(old)
        return None if hold is None else hold.public
    shown = bool(old.facts.get("PublicIpAddress"))
    return shown if old.state == "running" else shown or None


def _encrypted_root(state: State, old: Instance, image: Image) -> dict[str, Any] | None:
    """Return the root's block device, with the key of the old root if the old root is encrypted.

    The key of the image's root does not count, since DescribeImages does not show it, and a check run has no facts of a
    planned image.
    """
    root = state.volume(old.root_volume_id)
    if root is None or not root.encrypted:
        return None
    ebs: dict[str, Any] = {"Encrypted": True}
    if root.kms_key_id:
        ebs["KmsKeyId"] = root.kms_key_id
    return {"DeviceName": image.root_device_name or old.root_device_name, "Ebs": ebs}
