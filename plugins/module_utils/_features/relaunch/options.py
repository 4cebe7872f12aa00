# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `instance_relaunch`, checked without a call to EC2.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ..._kernel.errors import SpecError
from ..._kernel.ids import require_id
from ..._kernel.tags import require_tags
from .health import Health, parse_health

# Types that earn CPU credits: t2 and later (t1 does not).
BURSTABLE = re.compile(r"t[2-9]\d*[a-z]*\.")
# The options that decide about the attachments that a successor does not get by itself.
ATTACHMENTS = ("data_volumes", "network_interfaces", "elastic_ip", "target_groups")
METADATA_OPTIONS: Mapping[str, str] = {
    "http_tokens": "HttpTokens",
    "http_endpoint": "HttpEndpoint",
    "http_put_response_hop_limit": "HttpPutResponseHopLimit",
    "http_protocol_ipv6": "HttpProtocolIpv6",
    "instance_metadata_tags": "InstanceMetadataTags",
}
"""The metadata options that can be overridden: the suboption, and EC2's name."""
# EC2 API reference, InstanceMetadataOptionsRequest.
_MOST_HOPS = 64
REPLACE_INSTANCE, REPLACE_ROOT_VOLUME, AUTO = "replace_instance", "replace_root_volume", "auto"
# A successor carries two tags of the collection: the predecessors' ids, and the phase.
OUR_TAGS = 2


@dataclass(frozen=True)
class Overrides:
    """The user's values for the successor. None stands for the predecessor's value.

    An empty key or profile means none.
    """

    instance_type: str | None = None
    key_name: str | None = None
    iam_instance_profile: str | None = None
    security_group_ids: tuple[str, ...] | None = None
    user_data: str = "keep"
    user_data_content: str | None = None
    tags: Mapping[str, str] | None = None
    metadata_options: Mapping[str, Any] = field(default_factory=dict)
    """By the name of RunInstances."""


@dataclass(frozen=True)
class RelaunchSpec:
    """The options of `instance_relaunch`, checked."""

    instance_id: str
    image_id: str
    overrides: Overrides
    health: Health
    old_instance: str
    on_failure: str
    lose_instance_store: bool
    lose_writes: bool
    follow_successor: bool
    unsaid: frozenset[str]
    """The options among `ATTACHMENTS` that the task does not set."""
    moved: frozenset[str]
    """The options among them that are ``move``."""
    stage: str
    """The part of the relaunch that the task does: ``all``, ``launch``, ``finish`` or ``rollback``."""
    hold_time: timedelta
    """The time that a run may take until the predecessor runs again or is retired."""
    strategy: str = REPLACE_INSTANCE
    old_root_volume: str = "keep"
    unfit_for_root: tuple[str, ...] = ()
    """A sentence for each option of the task that the replacement of a root volume cannot fulfil."""

    @property
    def status_checks(self) -> bool:
        """Whether a healthy successor has passed its status checks."""
        return self.health.status_checks

    @property
    def health_timeout(self) -> int:
        """The time limit for the health of the successor, in seconds."""
        return self.health.timeout


def parse(params: Mapping[str, Any], _region: str) -> RelaunchSpec:
    """Return the module's options as a spec. Raises SpecError for mistakes that can be found without a call to EC2."""
    _check_strategy(params)
    for option, parts in (("data_volumes", "data volumes"), ("network_interfaces", "network interfaces")):
        if params.get(option) == "move" and params["old_instance"] == "keep":
            raise SpecError(
                f"old_instance: keep excludes {option}: move, which stops the predecessor and takes its {parts}. Use "
                f"old_instance: stop or terminate, or {option}: keep"
            )
    health = parse_health(params.get("health") or {})
    return RelaunchSpec(
        instance_id=require_id("instance", params["instance_id"], "instance_id"),
        image_id=require_id("image", params["image_id"], "image_id"),
        overrides=_overrides(params.get("overrides") or {}),
        health=health,
        old_instance=params["old_instance"] or "stop",
        on_failure=params["on_failure"],
        lose_instance_store=params["lose_instance_store"],
        lose_writes=params["lose_writes"],
        # These stages are about a successor, so they follow it even if the task of the launch did not follow
        # successors.
        follow_successor=params["follow_successor"] or params.get("stage") in ("finish", "rollback"),
        unsaid=frozenset(name for name in ATTACHMENTS if params.get(name) is None),
        strategy=params.get("strategy") or REPLACE_INSTANCE,
        old_root_volume=params.get("old_root_volume") or "keep",
        unfit_for_root=_unfit_for_root(params),
        moved=frozenset(name for name in ATTACHMENTS if params.get(name) == "move"),
        stage=params.get("stage") or "all",
        hold_time=timedelta(seconds=health.timeout + (params.get("wait_timeout") or 1800)),
    )


def _check_strategy(params: Mapping[str, Any]) -> None:
    """Raise SpecError for options that belong to another strategy than that of the task."""
    strategy = params.get("strategy") or REPLACE_INSTANCE
    if strategy == REPLACE_ROOT_VOLUME and (unfit := _unfit_for_root(params)):
        raise SpecError("; ".join(unfit))
    if strategy == REPLACE_INSTANCE and params.get("old_root_volume"):
        raise SpecError(
            "old_root_volume: replace_instance leaves the former root volume with the predecessor. "
            "Remove the option, or use strategy: replace_root_volume"
        )


def _unfit_for_root(params: Mapping[str, Any]) -> tuple[str, ...]:
    given = params.get("overrides") or {}
    names = [name for name, value in given.items() if value is not None and (name, value) != ("user_data", "keep")]
    found = [
        f"overrides.{name}: replace_root_volume keeps the instance as it is, and cannot apply this option. Remove it, "
        "or use strategy: replace_instance"
        for name in names
    ]
    health = params.get("health") or {}
    found += [
        f"health.{name}: replace_root_volume only waits for status checks. Remove it, or use strategy: replace_instance"
        for name in ("url", "tcp_port")
        if health.get(name) is not None
    ]
    if params.get("stage") not in (None, "all"):
        found.append("stage: replace_root_volume has no successor to verify. Use strategy: replace_instance")
    if params.get("verify"):
        found.append(
            "verify: replace_root_volume has no successor that other tasks can test. Use strategy: replace_instance"
        )
    if params["old_instance"]:
        found.append(
            f"old_instance: {params['old_instance']} does not fit replace_root_volume, which has no predecessor. "
            "Remove the option, or use strategy: replace_instance"
        )
    return tuple(found)


def _overrides(params: Mapping[str, Any]) -> Overrides:
    user_data, content = params.get("user_data") or "keep", params.get("user_data_content")
    if (user_data == "replace") != (content is not None):
        raise SpecError(
            "overrides.user_data: replace needs user_data_content, and no other value takes it. Set both or neither"
        )
    groups = params.get("security_group_ids")
    if groups is not None and not groups:
        raise SpecError(
            "overrides.security_group_ids: an instance has at least one security group. Remove the option to keep "
            "the predecessor's"
        )
    tags = params.get("tags")
    return Overrides(
        instance_type=params.get("instance_type") or None,
        key_name=params.get("key_name"),
        iam_instance_profile=params.get("iam_instance_profile"),
        security_group_ids=None if groups is None else tuple(groups),
        user_data=user_data,
        user_data_content=content,
        tags=None if tags is None else require_tags(tags, "overrides.tags", ours=OUR_TAGS),
        metadata_options=_metadata_options(params.get("metadata_options") or {}),
    )


def _metadata_options(given: Mapping[str, Any]) -> dict[str, Any]:
    limit = given.get("http_put_response_hop_limit")
    if limit is not None and not 1 <= limit <= _MOST_HOPS:
        raise SpecError(
            f"overrides.metadata_options.http_put_response_hop_limit: {limit} is out of range. Use 1 to {_MOST_HOPS}."
        )
    return {name: given[option] for option, name in METADATA_OPTIONS.items() if given.get(option) is not None}
