# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An instance, relaunched from another image: a successor is launched, proves itself, and the old one is retired.

The record of it is on the successor. ``ec2ops:replaces`` says what it was launched to replace, and ``ec2ops:trial``
how far it is: ``unproven``, written by the launch itself; ``serving``, once it is healthy and before the old one is
touched, and from then on; no tag, where the old one is not retired but kept, or was stopped before. ``rejected`` is
written before it is terminated for its ill health, and by `power` once the old one is back. Where the old one was held
stopped, its start after the launch says the same, while the hold's record is there.

What a run that is ended leaves, and what comes of it (old, new: the two instances):

=========================== ========================== =========================== ================== ================
ended                       old; record on new         the same image again        another image      restored
=========================== ========================== =========================== ================== ================
before the launch           serves or held             launch                      launch             held old starts
after the launch            serves or held; unproven   new proves itself and old   refused, also by a held old starts,
                                                       is retired, or old is back  bake               new is rejected
in the way back             serves; rejected           new is terminated, failure  new is terminated
in the way back             started under an older     new is terminated, failure  refused, also by a new is rejected
                            hold; unproven                                         bake
before the retirement       serves or held; serving    old is retired              refused, also by a held old stays
                                                                                   bake
after the retirement        stopped or gone; serving   nothing                     new is replaced
=========================== ========================== =========================== ================== ================

An unproven new one stands for nobody: `succession.living` is the old one. When the old one was started or held since
the launch, and nothing says that the new one was rejected, then somebody has done it by hand, and may have data on
either: that is refused. Where the old one is gone, the new one is all there is, whatever its record.

Two runs may launch a successor each at the same moment. Each looks for the other right before its launch and right
before it writes ``serving`` (`succession.unreplaced`, `succession.unrivalled`): the later successor is terminated.

Private to this collection.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ..._domain.hold import forget, has_passing_address, hold_of, lost_address, standing_hold, wants_start
from ..._domain.instance_facts import (
    attribute_query,
    carried_parameters,
    read_fact,
    relaunch_troubles,
    type_facts,
    type_queries,
)
from ..._domain.load_balancers import balanced_by, balancer_queries
from ..._domain.power_cycle import NO_CAPACITY, instance_store_trouble, running_waits
from ..._domain.succession import (
    REJECTED,
    SERVING,
    UNPROVEN,
    born,
    claim_warnings,
    is_on_trial,
    is_unretired,
    lineage_queries,
    living,
    losers,
    on_trial_for,
    predecessor,
    require_no_way_back,
    require_settled,
    require_unclaimed,
    settling_queries,
    started_since,
    successor,
    trial_record,
    unreplaced,
    unrivalled,
)
from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous, SpecError, UnsafePlan, listed
from ..._kernel.ids import is_planned, planned, require_id
from ..._kernel.plan import Change, Feature, Plan, Stage, Wait
from ..._kernel.proofs import is_taken_of, launch_identity
from ..._kernel.resources import BlockDevice, Image, Instance, view
from ..._kernel.state import Query, State, by_id, images_by_id
from ..._kernel.tags import replaced_ids, replaces_value, require_tags, specification
from ..._kernel.times import parse_instant

# The states of a living old instance in which its retirement is done, by old_instance.
_RETIRED: Mapping[str, tuple[str, ...]] = {
    "stop": ("stopped",),
    "terminate": (),
    "keep": ("pending", "running", "stopping", "stopped"),
}
# Types that earn CPU credits: t2 and later (t1 does not).
_BURSTABLE = re.compile(r"t[2-9]\d*[a-z]*\.")
# What may be attached to an instance and is not the successor's by itself, by the option that says what becomes of it.
ATTACHMENTS: Mapping[str, str] = {
    "data_volumes": "data volumes",
    "elastic_ip": "the Elastic IP",
    "target_groups": "targets",
}
METADATA_OPTIONS: Mapping[str, str] = {
    "http_tokens": "HttpTokens",
    "http_endpoint": "HttpEndpoint",
    "http_put_response_hop_limit": "HttpPutResponseHopLimit",
    "http_protocol_ipv6": "HttpProtocolIpv6",
    "instance_metadata_tags": "InstanceMetadataTags",
}
"""What can be overridden of the metadata options: the suboption, and EC2's name."""
# EC2 API reference, InstanceMetadataOptionsRequest.
_MOST_HOPS = 64
_ROLLBACK_ON = frozenset({"failed", "timeout", "mismatch", "refused"})
# What a successor carries of the collection's own: what it replaces, and how far it is.
_OUR_TAGS = 2
# What a run may take beside the wait for the health of its successor, before it has given it up.
_LOSER_GRACE = timedelta(minutes=5)
# What only EC2 knows of an instance before it is launched.
_UNKNOWN = ("instance_id", "launch_time", "block_devices", "public_ip_address", "private_ip_address", "state_reason")


@dataclass(frozen=True)
class Overrides:
    """What the user wants different on the successor. None: as the old instance has it.

    An empty key or profile: without one.
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
    status_checks: bool
    health_timeout: int
    old_instance: str
    on_failure: str
    lose_instance_store: bool
    lose_writes: bool
    follow_successor: bool
    unsaid: frozenset[str]
    """Of data_volumes, elastic_ip and target_groups those that the task does not set."""


# --- options ---------------------------------------------------------------------------------------------------------


def parse(params: Mapping[str, Any], _region: str) -> RelaunchSpec:
    """The module's options as a spec. Raises SpecError for what can be refused without looking at EC2."""
    for option, what in ATTACHMENTS.items():
        if params[option] == "move":
            raise SpecError(
                f"{option}: move is not supported in this version: {what} stay with the old instance ({option}: keep)"
            )
    health = params.get("health") or {}
    timeout = health.get("timeout")
    if timeout is not None and timeout < 1:
        raise SpecError(f"health: timeout: {timeout} is not a number of seconds from 1 up")
    return RelaunchSpec(
        instance_id=require_id("instance", params["instance_id"], "instance_id"),
        image_id=require_id("image", params["image_id"], "image_id"),
        overrides=_overrides(params.get("overrides") or {}),
        status_checks=health.get("status_checks") is not False,
        health_timeout=timeout or 600,
        old_instance=params["old_instance"],
        on_failure=params["on_failure"],
        lose_instance_store=params["lose_instance_store"],
        lose_writes=params["lose_writes"],
        follow_successor=params["follow_successor"],
        unsaid=frozenset(name for name in ATTACHMENTS if params[name] is None),
    )


def _overrides(params: Mapping[str, Any]) -> Overrides:
    user_data, content = params.get("user_data") or "keep", params.get("user_data_content")
    if (user_data == "replace") != (content is not None):
        raise SpecError(
            "overrides: user_data_content is what user_data: replace puts in place, so give both or neither"
        )
    groups = params.get("security_group_ids")
    if groups is not None and not groups:
        raise SpecError(
            "overrides: security_group_ids: an instance has at least one security group; leave it out to keep the "
            "old one's"
        )
    tags = params.get("tags")
    return Overrides(
        instance_type=params.get("instance_type") or None,
        key_name=params.get("key_name"),
        iam_instance_profile=params.get("iam_instance_profile"),
        security_group_ids=None if groups is None else tuple(groups),
        user_data=user_data,
        user_data_content=content,
        tags=None if tags is None else require_tags(tags, "overrides: tags", ours=_OUR_TAGS),
        metadata_options=_metadata_options(params.get("metadata_options") or {}),
    )


def _metadata_options(given: Mapping[str, Any]) -> dict[str, Any]:
    limit = given.get("http_put_response_hop_limit")
    if limit is not None and not 1 <= limit <= _MOST_HOPS:
        raise SpecError(
            f"overrides: metadata_options: http_put_response_hop_limit: {limit} is not from 1 to {_MOST_HOPS}."
        )
    return {name: given[option] for option, name in METADATA_OPTIONS.items() if given.get(option) is not None}


# --- questions -------------------------------------------------------------------------------------------------------


def needs(spec: RelaunchSpec, state: State) -> tuple[Query, ...]:
    """The lineage first: a no-op ends there. Then the old one's facts, and at last who else relies on it."""
    queries = _needs(spec, state)
    if not spec.follow_successor or not state.answered.issuperset(lineage_queries([spec.instance_id], state)):
        return queries
    current = _current(spec, state)
    lost = losers(state, current) if current is not None else ()
    return (*queries, *(query for item in lost for query in _protection_queries(item)))


def _needs(spec: RelaunchSpec, state: State) -> tuple[Query, ...]:
    if spec.follow_successor:
        first = lineage_queries([spec.instance_id], state)
    else:
        first = by_id("DescribeInstances", "instance-id", [spec.instance_id])
    if not state.answered.issuperset(first):
        return first
    current = _current(spec, state)
    if current is None:
        return first
    trials = on_trial_for(state, current.instance_id)
    if any(not _is_rejected(current, new) or new.image_id == spec.image_id for new in trials):
        return (*first, *_ending_queries(spec, state, current))
    if current.image_id == spec.image_id:
        return (*first, *_retirement_queries(spec, state, current))
    if is_planned(current.instance_id):
        return first
    settling = settling_queries(state, spec.instance_id) if spec.follow_successor else ()
    return (*first, *settling, *_replacement_queries(spec, state, current))


def _retirement_queries(spec: RelaunchSpec, state: State, current: Instance) -> tuple[Query, ...]:
    """Whether the one that *current* has replaced is retired: it is known already when the task names it."""
    old_id = predecessor(current)
    if old_id is None:
        return ()
    if old_id != spec.instance_id:
        asked = by_id("DescribeInstances", "instance-id", [old_id])
        if not state.answered.issuperset(asked):
            return asked
    else:
        asked = ()
    old = state.instance(old_id)
    if old is None or _is_retired(spec, old) or started_since(old, current):
        return asked
    return (*asked, *_ending_queries(spec, state, old))


def _ending_queries(spec: RelaunchSpec, state: State, old: Instance) -> tuple[Query, ...]:
    """What stands against the retirement that an earlier run has left, or against its way back, and what stays."""
    return (
        *images_by_id([spec.image_id]),
        *_origin_queries(spec, state, old),
        *_protection_queries(old),
        *_store_queries(spec, old),
        *balancer_queries(state, old),
    )


def _protection_queries(instance: Instance) -> tuple[Query, ...]:
    return (
        *attribute_query(instance.instance_id, "disableApiTermination"),
        *attribute_query(instance.instance_id, "disableApiStop"),
    )


def _store_queries(spec: RelaunchSpec, instance: Instance) -> tuple[Query, ...]:
    return () if spec.lose_instance_store or spec.old_instance == "keep" else type_queries(instance.instance_type)


def _replacement_queries(spec: RelaunchSpec, state: State, current: Instance) -> tuple[Query, ...]:
    overrides = spec.overrides
    types = {current.instance_type, overrides.instance_type or current.instance_type}
    queries = [
        *images_by_id([spec.image_id]),
        *by_id("DescribeVolumes", "attachment.instance-id", [current.instance_id]),
        *type_queries(*types),
        *_protection_queries(current),
        *attribute_query(current.instance_id, "instanceInitiatedShutdownBehavior"),
    ]
    if overrides.user_data == "keep":
        queries += attribute_query(current.instance_id, "userData")
    if _BURSTABLE.match(current.instance_type) and _BURSTABLE.match(overrides.instance_type or current.instance_type):
        queries += by_id("DescribeInstanceCreditSpecifications", "instance-id", [current.instance_id])
    return (*queries, *_origin_queries(spec, state, current), *balancer_queries(state, current))


# --- what is there ---------------------------------------------------------------------------------------------------


def _current(spec: RelaunchSpec, state: State) -> Instance | None:
    """The living instance that the given id stands for, None when there is none.

    One that is on trial stands for the one that it was to replace.
    """
    heir = successor(state, spec.instance_id) if spec.follow_successor else None
    found = heir or state.instance(spec.instance_id)
    if found is not None and is_on_trial(state, found):
        found = state.instance(predecessor(found))
    return found if found is not None and found.alive else None


def _is_retired(spec: RelaunchSpec, old: Instance) -> bool:
    """Nothing is left to do with the old one."""
    return not old.alive or (old.state in _RETIRED[spec.old_instance] and tag_names.RESTORE_STATE not in old.tags)


# --- the plan --------------------------------------------------------------------------------------------------------


def plan(spec: RelaunchSpec, state: State, now: datetime) -> Plan:
    """What has to be done for the instance to run from the image. Raises SpecError, Ambiguous, UnsafePlan."""
    current = _current(spec, state) or living(state, spec.instance_id, "instance_id", follow=spec.follow_successor)
    if spec.follow_successor:
        require_unclaimed(state, current, "instance_id")
    trials = on_trial_for(state, current.instance_id)
    rejected = [new for new in trials if _is_rejected(current, new)]
    unproven = [new for new in trials if new not in rejected]
    if unproven:
        made = _plan_trial(spec, state, current, unproven)
    elif any(new.image_id == spec.image_id for new in rejected):
        return _plan_way_back(spec, state, current, rejected)
    elif current.image_id == spec.image_id:
        made = _plan_retirement(spec, state, current)
    else:
        made = _plan_replacement(spec, state, current)
    ends = _terminations(state, current, rejected) if spec.on_failure == "rollback" else ()
    lost, left = _losers(spec, state, current, now)
    doubts = claim_warnings(state, [spec.instance_id, current.instance_id]) if spec.follow_successor else ()
    warnings = (*made.warnings, *left, *doubts)
    return dataclasses.replace(
        made, stages=(*ends, *_loser_ends(state, current, lost), *made.stages), warnings=warnings
    )


def _losers(
    spec: RelaunchSpec, state: State, current: Instance, now: datetime
) -> tuple[list[Instance], tuple[str, ...]]:
    """The losers of a race with *current* that no run can be at work on any more, and a warning that names the others.

    A run gives its successor up, or serves, once it has waited for its health. So the loser's run is over when its word
    is ``rejected``, or when the timeout of the health has passed since its launch.
    """
    found = losers(state, current) if spec.follow_successor else []
    patience = timedelta(seconds=spec.health_timeout) + _LOSER_GRACE
    over = [
        item
        for item in found
        if item.tags.get(tag_names.TRIAL) == REJECTED or ((birth := born(item)) is not None and birth + patience < now)
    ]
    if spec.on_failure != "rollback":
        over = []
    left = [item for item in found if item not in over]
    warnings = tuple(
        f"{item.instance_id} ({item.state}, from {item.image_id}) was launched to replace {predecessor(item)}, as "
        f"{current.instance_id} was, which serves. Terminate {item.instance_id} if no run is at work on it any more"
        for item in left
    )
    return over, warnings


def _loser_ends(state: State, current: Instance, lost: Sequence[Instance]) -> tuple[Stage, ...]:
    """The end of the losers of a race, without the protection that they have taken over."""
    if not lost:
        return ()
    names = [item.instance_id for item in lost]
    reason = f"{current.instance_id} serves, and only one successor may"
    stages = _unprotections(state, {name: name for name in names})
    return (*stages, Stage(tuple(_termination(item.instance_id, state.region, reason, item.state) for item in lost)))


def _plan_trial(spec: RelaunchSpec, state: State, old: Instance, unproven: Sequence[Instance]) -> Plan:
    """An earlier run has launched a successor, and was ended before it could tell whether that one is healthy."""
    if len(unproven) > 1:
        raise Ambiguous(
            f"several instances were launched to replace {old.instance_id} and have not proved themselves (tag "
            f"{tag_names.TRIAL}); terminate all but one of them",
            [new.instance_id for new in unproven],
        )
    (new,) = unproven
    if new.tags[tag_names.TRIAL] == REJECTED:
        raise UnsafePlan(
            f"instance_id: {new.instance_id} was launched to replace {old.instance_id} and was given up, but "
            f"{old.instance_id} is {old.state}, so {new.instance_id} may be all that serves. To go on with "
            f"{old.instance_id}, start it or terminate {new.instance_id}; to go on with {new.instance_id}, remove its "
            f"tag {tag_names.TRIAL}"
        )
    if new.image_id != spec.image_id:
        require_settled(state, old, "image_id")
    hold, birth = hold_of(old), born(new)
    held_since = hold is not None and birth is not None and hold.since > birth
    if new.state not in ("pending", "running") or held_since or started_since(old, new):
        what = "was started or held since" if new.state in ("pending", "running") else f"is {old.state}"
        raise UnsafePlan(
            f"instance_id: {new.instance_id} was launched to replace {old.instance_id} and has not proved itself. It "
            f"is {new.state}, and {old.instance_id} {what}, so it is open which of them has the data. To go on with "
            f"{old.instance_id}, terminate {new.instance_id}; to go on with {new.instance_id}, start it, stop "
            f"{old.instance_id}, and remove the tag {tag_names.TRIAL} of {new.instance_id}"
        )
    _raise(_retirement_troubles(spec, state, old))
    # One that is stopped for good was stopped by hand, maybe for the new one.
    serves = old.state in ("pending", "running") or wants_start(old)
    back = _way_back(spec, state, old, new.instance_id, new.tags) if serves else ()
    proof = Stage(
        waits=(_health_wait(spec, new.instance_id),), on_failure=back, rollback_on=_ROLLBACK_ON if back else frozenset()
    )
    retirement = _retirement(spec, state, old, new.instance_id, new.tags)
    warnings = (*_left_behind(spec, state, old), *_lost_addresses(retirement, old))
    return Plan((proof, *retirement), warnings)


def _plan_way_back(spec: RelaunchSpec, state: State, old: Instance, rejected: Sequence[Instance]) -> Plan:
    """An earlier run has given the successor up. What is left of the way back is done; it ends as that run would have.

    Not more: what the old one writes since is not in the image, so that another launch from it wants another word.
    """
    names = " and ".join(new.instance_id for new in rejected)
    what = f"instance_id: {names} did not become healthy in place of {old.instance_id}"
    if spec.on_failure != "rollback":
        raise UnsafePlan(f"{what}, and is left to be looked at (on_failure: {spec.on_failure}); terminate it then")
    refused = UnsafePlan(
        f"{what}, and is terminated; {old.instance_id} goes on serving. Another run launches anew from "
        f"{spec.image_id}, without what {old.instance_id} has written since that was captured; another version has it"
    )
    return Plan(_restoration(state, old, rejected), refused=refused)


def _not_applied(spec: RelaunchSpec, current: Instance) -> tuple[str, ...]:
    """The warning for overrides that differ from an instance that is up to date. User data is not known."""
    wanted, facts = spec.overrides, current.facts
    found = []
    if wanted.instance_type not in (None, current.instance_type):
        found.append(f"instance_type {wanted.instance_type} (it is {current.instance_type})")
    if wanted.key_name is not None and wanted.key_name != (facts.get("KeyName") or ""):
        found.append(f"key_name {wanted.key_name or 'none'} (it is {facts.get('KeyName') or 'none'})")
    profile, arn = wanted.iam_instance_profile, read_fact(facts, "IamInstanceProfile.Arn") or ""
    if profile is not None and profile not in (arn, arn.rpartition("/")[2]):
        found.append(f"iam_instance_profile {profile or 'none'} (it is {arn or 'none'})")
    interface: Mapping[str, Any] = next(iter(facts.get("NetworkInterfaces") or ()), {})
    groups = sorted(item["GroupId"] for item in interface.get("Groups") or ())
    if wanted.security_group_ids is not None and sorted(wanted.security_group_ids) != groups:
        found.append(f"security_group_ids {', '.join(wanted.security_group_ids)} (they are {', '.join(groups)})")
    for option, name in METADATA_OPTIONS.items():
        asked, have = wanted.metadata_options.get(name), read_fact(facts, f"MetadataOptions.{name}")
        if asked is not None and asked != have:
            found.append(f"metadata_options.{option} {asked} (it is {have or 'not known'})")
    tags = sorted(key for key, value in (wanted.tags or {}).items() if current.tags.get(key) != value)
    if tags:
        found.append(f"tags {', '.join(tags)}")
    if not found or is_planned(current.instance_id):
        return ()
    warning = (
        f"overrides: {current.instance_id} runs from {current.image_id} already, so these are not applied: "
        f"{'; '.join(found)}. Overrides apply when a successor is launched"
    )
    return (warning,)


def _plan_retirement(spec: RelaunchSpec, state: State, current: Instance) -> Plan:
    """Up to date; what an interrupted run has left of the old instance's retirement is done."""
    made = _retirement_plan(spec, state, current)
    return dataclasses.replace(made, warnings=(*made.warnings, *_not_applied(spec, current)))


def _retirement_plan(spec: RelaunchSpec, state: State, current: Instance) -> Plan:
    old = state.instance(predecessor(current))
    if old is None or _is_retired(spec, old):
        # It is kept after all, or it is gone, and the trial without a judge.
        open_ = is_unretired(old, current) or current.tags.get(tag_names.TRIAL) not in (None, SERVING)
        return Plan((_finished(current.instance_id, current.tags, state.region),) if open_ else ())
    retirement = _retirement(spec, state, old, current.instance_id, current.tags)
    if not any(stage.changes for stage in retirement):
        return Plan(retirement)
    if current.state not in ("pending", "running"):
        warning = (
            f"{current.instance_id}, which replaces {old.instance_id}, is {current.state}, so {old.instance_id} is "
            "left as it is "
            f"({old.state}); start one of them and run again"
        )
        return Plan(warnings=(warning,))
    if started_since(old, current):
        warning = (
            f"{old.instance_id} was started again after {current.instance_id} had replaced it, so it is left as it is "
            f"({old.state}) and both are there; stop or terminate {old.instance_id} yourself once it is not needed "
            "any more"
        )
        return Plan(warnings=(warning,))
    _raise(_retirement_troubles(spec, state, old))
    proof = Stage(waits=(_health_wait(spec, current.instance_id),))
    return Plan((proof, *retirement), (*_left_behind(spec, state, old), *_lost_addresses(retirement, old)))


def _is_rejected(old: Instance, new: Instance) -> bool:
    """Whether *new*, on trial, was given up: it says so, or *old* runs again from a hold of before the launch.

    A way back takes that hold's record off last, once *new* is terminated. While *old* is off for good, the word alone
    gives nobody up: *new* may be all that serves.
    """
    if new.tags.get(tag_names.TRIAL) == REJECTED:
        return old.state in ("pending", "running") or wants_start(old)
    hold, birth = hold_of(old), born(new)
    return hold is not None and birth is not None and hold.since <= birth and started_since(old, new)


def _plan_replacement(spec: RelaunchSpec, state: State, current: Instance) -> Plan:
    if is_planned(current.instance_id):
        raise SpecError(
            f"instance_id: {spec.instance_id} stands for {current.instance_id}, which is only planned; a check run "
            "cannot plan to replace "
            "that one too"
        )
    require_settled(state, current, "image_id")
    require_no_way_back(state, current, spec.instance_id, "instance_id")
    image = _usable_image(spec, state)
    _raise(
        [
            *(f"{current.instance_id}: {trouble}" for trouble in relaunch_troubles(current, state.region)),
            *_architecture_troubles(spec, state, current, image),
            *_hardware_troubles(spec, state, current, image),
            *_unsaid_troubles(spec, state, current, image),
            *_write_troubles(spec, current, image),
            *_retirement_troubles(spec, state, current),
        ]
    )
    launch = _launch(spec, state, current, image)
    tags = (launch.after or {})["tags"]
    retirement = _retirement(spec, state, current, launch.resource, tags)
    back = _way_back(spec, state, current, launch.resource, tags)
    stages = []
    if image.state == "pending":
        stages.append(Stage(waits=(Wait((image.image_id,), "available"),)))
    stages.append(
        Stage(
            (launch,),
            (_health_wait(spec, launch.resource),),
            on_failure=back,
            rollback_on=_ROLLBACK_ON if back else frozenset(),
        )
    )
    warnings = (*_warnings(spec, state, current, image), *_weaker_than_image(launch, image))
    return Plan((*stages, *retirement), (*warnings, *_lost_addresses(retirement, current)))


def _raise(troubles: Iterable[str]) -> None:
    found = list(troubles)
    if found:
        raise UnsafePlan(f"the relaunch is refused, nothing was changed by this task: {'; '.join(found)}")


def _usable_image(spec: RelaunchSpec, state: State) -> Image:
    image = state.image(spec.image_id)
    if image is None:
        why = (
            "no plan in assume makes it"
            if is_planned(spec.image_id)
            else f"it does not exist in {state.region}, or is not shared with you"
        )
        raise SpecError(f"image_id: {spec.image_id}: {why}")
    if image.state not in ("available", "pending"):
        reason = f" ({image.state_reason})" if image.state_reason else ""
        raise SpecError(f"image_id: {spec.image_id} is {image.state}{reason}; nothing can be launched from it")
    if image.root_device_type != "ebs":
        raise SpecError(
            f"image_id: the root of {spec.image_id} is on {image.root_device_type}; only EBS roots are relaunched"
        )
    return image


def _architecture_troubles(spec: RelaunchSpec, state: State, current: Instance, image: Image) -> Iterable[str]:
    wanted = spec.overrides.instance_type
    if wanted is None:
        fits = [architecture] if (architecture := current.facts.get("Architecture")) else []
        what = current.instance_id
    else:
        info = type_facts(state, wanted)
        if not info:
            yield f"overrides: instance_type: {wanted} is not a type that EC2 offers in {state.region}"
            return
        fits = list(read_fact(info, "ProcessorInfo.SupportedArchitectures") or ())
        what = f"instance_type {wanted}"
    if image.architecture is not None and fits and image.architecture not in fits:
        yield f"{image.image_id} is for {image.architecture}, {what} is {' or '.join(fits)}"


def _write_troubles(spec: RelaunchSpec, current: Instance, image: Image) -> Iterable[str]:
    """That the image lacks what the instance has written, where the task must not lose that.

    An image that is only planned will be captured from an instance that is stopped by then.
    """
    if spec.lose_writes or is_planned(image.image_id):
        return
    made = _moment(image.creation_date)
    launched = current.launch_time
    if current.state in ("stopping", "stopped") and (made is None or launched is None or launched <= made):
        return
    yield (
        f"lose_writes: {current.instance_id} has run since {image.image_id} was captured, so the image lacks what it "
        "has written since then. Bake another version while it is stopped, or accept that with lose_writes: true"
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)


def _hardware_troubles(spec: RelaunchSpec, state: State, current: Instance, image: Image) -> Iterable[str]:
    """Why EC2 would refuse to launch the type from the image, as far as both tell. (EC2 user guide, "Instance type
    requirements" of boot modes, NitroTPM and enhanced networking.)
    """
    wanted = spec.overrides.instance_type or current.instance_type
    info, what = type_facts(state, wanted), f"instance type {wanted}"
    modes = info.get("SupportedBootModes") or ()
    if modes and image.boot_mode in ("uefi", "legacy-bios") and image.boot_mode not in modes:
        yield f"{image.image_id} boots in mode {image.boot_mode}, {what} in {' or '.join(modes)}"
    kinds = info.get("SupportedVirtualizationTypes") or ()
    if kinds and image.virtualization_type is not None and image.virtualization_type not in kinds:
        yield f"{image.image_id} is for {image.virtualization_type}, {what} is {' or '.join(kinds)}"
    if image.tpm_support and info.get("NitroTpmSupport") == "unsupported":
        yield f"{image.image_id} needs NitroTPM {image.tpm_support}, which {what} has not"
    # Of an image that is only planned it may not be known.
    known = image.ena_support is not None or not is_planned(image.image_id)
    if known and not image.ena_support and read_fact(info, "NetworkInfo.EnaSupport") == "required":
        yield f"{image.image_id} is not enabled for ENA, which {what} requires"


# --- the retirement of the old one -----------------------------------------------------------------------------------


def _retirement_troubles(spec: RelaunchSpec, state: State, old: Instance) -> list[str]:
    """What stands against stopping or terminating the old one. All of it is known before the new one is launched."""
    if old.state in _RETIRED[spec.old_instance]:
        return []
    found = []
    if spec.old_instance == "terminate":
        doomed = [f"{item.device_name} ({item.volume_id})" for item in _data_volumes(old) if item.delete_on_termination]
        if doomed:
            found.append(
                f"old_instance: terminate would delete the data volumes {listed(doomed)} of {old.instance_id}, "
                "which stay with it; set "
                "their DeleteOnTermination to false, or use old_instance: stop"
            )
        if state.fact(f"{old.instance_id}/disableApiTermination"):
            found.append(
                f"old_instance: terminate: {old.instance_id} has termination protection (DisableApiTermination)"
            )
    if spec.old_instance != "keep":
        # EC2, "Enable stop protection": it protects against termination too.
        if state.fact(f"{old.instance_id}/disableApiStop"):
            found.append(f"old_instance: {spec.old_instance}: {old.instance_id} has stop protection (DisableApiStop)")
        trouble = None
        if not spec.lose_instance_store and old.state != "stopped":
            trouble = instance_store_trouble(state, old)
        if trouble is not None:
            found.append(
                f"{old.instance_id}: {trouble}; accept that with lose_instance_store: true, or use old_instance: keep"
            )
    return found


def _retirement(
    spec: RelaunchSpec, state: State, old: Instance, new_id: str, new_tags: Mapping[str, str]
) -> tuple[Stage, ...]:
    """The record that the new one serves, then the end of the old one. That the old one is kept leaves no record.

    Of two that replace the old one at the same time, the later one never serves: it is terminated, and the old one is
    left to the other.
    """
    stages = _end(spec, state, old)
    if new_tags.get(tag_names.TRIAL) in (None, SERVING):
        return stages
    if not stages or spec.old_instance == "keep":
        record = _finished(new_id, new_tags, state.region)
    else:
        reason = f"it is healthy, so {old.instance_id} is retired"
        record = Stage((trial_record(new_id, new_tags, SERVING, state.region, reason),))
    (change,) = record.changes
    reason = f"another instance replaces {old.instance_id}"
    new = Instance(new_id, "running", tags=dict(new_tags))
    given_up = Stage((trial_record(new_id, new_tags, REJECTED, state.region, reason),))
    record = Stage(
        (dataclasses.replace(change, provided=unrivalled(old.instance_id, _known_rivals(state, old, new_id))),),
        on_failure=(given_up, *_terminations(state, old, [new], reason)),
        rollback_on=frozenset({"superseded"}),
    )
    return (record, *stages)


def _known_rivals(state: State, old: Instance, new_id: str = "") -> frozenset[str]:
    """Those on trial for the old one that the plan knows, and has dealt with; without *new_id*."""
    return frozenset(item.instance_id for item in on_trial_for(state, old.instance_id)) - {new_id}


def _finished(new_id: str, tags: Mapping[str, str], region: str) -> Stage:
    change = Change(
        "DeleteTags",
        new_id,
        region,
        {"Tags": [{"Key": tag_names.TRIAL}]},
        "its replacement is finished",
        {"tags": dict(tags)},
        {"tags": {key: value for key, value in tags.items() if key != tag_names.TRIAL}},
    )
    return Stage((change,))


def _end(spec: RelaunchSpec, state: State, old: Instance) -> tuple[Stage, ...]:
    """The hold's record first: while it is there, `restored` would start the old one again."""
    stages: list[Stage] = []
    if tag_names.RESTORE_STATE in old.tags:
        stages.append(Stage((forget(old, state.region, "its successor serves, so it is not started again"),)))
    if old.state in _RETIRED[spec.old_instance]:
        return tuple(stages)
    goal = "stopped" if spec.old_instance == "stop" else "terminated"
    wait = Wait((old.instance_id,), goal, final=True)
    if goal == "stopped" and old.state == "stopping":
        return (*stages, Stage(waits=(wait,)))
    if old.state == "pending":
        # EC2 refuses to stop what it is still starting.
        stages.append(Stage(waits=(Wait((old.instance_id,), "running"),)))
    before: dict[str, Any] = {"state": old.state}
    after: dict[str, Any] = {"state": goal}
    if old.public_ip_address is not None and not (goal == "stopped" and old.elastic_ip):
        before["public_ip_address"], after["public_ip_address"] = old.public_ip_address, None
    action = "StopInstances" if goal == "stopped" else "TerminateInstances"
    reason = f"its successor serves (old_instance: {spec.old_instance})"
    root = next((item for item in old.block_devices if item.device_name == old.root_device_name), None)
    if goal == "terminated" and root is not None and not root.delete_on_termination:
        reason += f"; its root volume {root.volume_id} stays behind (DeleteOnTermination is false)"
    change = Change(action, old.instance_id, state.region, {}, reason, before, after, disruptive=True)
    return (*stages, Stage((change,), (wait,)))


def _lost_addresses(retirement: Iterable[Stage], old: Instance) -> tuple[str, ...]:
    """The warning for a stop that takes the old one's public address away."""
    stops = any(change.action == "StopInstances" for stage in retirement for change in stage.changes)
    return (lost_address(old),) if stops and has_passing_address(old) else ()


def _health_wait(spec: RelaunchSpec, instance_id: str) -> Wait:
    goal = "healthy" if spec.status_checks else "running"
    return Wait((instance_id,), goal, timeout=float(spec.health_timeout))


def _way_back(
    spec: RelaunchSpec, state: State, old: Instance, new_id: str, new_tags: Mapping[str, str]
) -> tuple[Stage, ...]:
    """The old instance serves again, the successor is gone. The record on the old one goes last.

    That the successor is given up is written down before its end, which may be refused, or never come. Where the old
    one was held, its start says so, and waits for nothing.
    """
    if spec.on_failure != "rollback":
        return ()
    new = Instance(new_id, "running", tags=dict(new_tags))
    back = _restoration(state, old, [new])
    if wants_start(old):
        return back
    reason = f"it did not become healthy, so {old.instance_id} goes on"
    return (Stage((trial_record(new_id, new_tags, REJECTED, state.region, reason),)), *back)


def _restoration(state: State, old: Instance, rejected: Sequence[Instance]) -> tuple[Stage, ...]:
    """The old one is started where a hold keeps it stopped, and the *rejected* end; the hold's record goes last."""
    stages = list(_terminations(state, old, rejected))
    if wants_start(old):
        start = Change(
            "StartInstances",
            old.instance_id,
            state.region,
            {},
            "it goes on serving",
            {"state": old.state},
            {"state": "running"},
        )
        first = stages[0]
        # The first stage does not wait for the start unless it is the last one too.
        stages[0] = dataclasses.replace(first, changes=(start, *first.changes))
        stages[-1] = dataclasses.replace(stages[-1], waits=(*running_waits([old]), *stages[-1].waits))
        stages = [dataclasses.replace(stage, patience=NO_CAPACITY) for stage in stages]
        if old.state == "stopping":
            stages.insert(0, Stage(waits=(Wait((old.instance_id,), "stopped"),)))
        stages.append(Stage((forget(old, state.region, "it is running again"),)))
    elif (hold := hold_of(old)) is not None and hold.is_spent(old):
        stages.append(Stage((forget(old, state.region, "it is running again"),)))
    return tuple(stages)


def _terminations(state: State, old: Instance, rejected: Sequence[Instance], reason: str = "") -> tuple[Stage, ...]:
    """The end of successors that were given up, for want of health or for *reason*. What EC2 would refuse to terminate
    is let go first: they have taken over the old one's protection.
    """
    if not rejected:
        return ()
    reason = reason or f"it did not become healthy, so it does not replace {old.instance_id}"
    names = [new.instance_id for new in rejected]
    stages = _unprotections(state, dict.fromkeys(names, old.instance_id))
    return (*stages, Stage(tuple(_termination(new_id, state.region, reason) for new_id in names)))


def _termination(instance_id: str, region: str, reason: str, current: str = "running") -> Change:
    before, after = {"state": current}, {"state": "terminated"}
    return Change("TerminateInstances", instance_id, region, {}, reason, before, after, disruptive=True)


def _unprotections(state: State, protected: Mapping[str, str]) -> tuple[Stage, ...]:
    """Let these instances be terminated. Each with the id of the one whose protection was read: it has the same."""
    stages = []
    for attribute, name in (("disableApiTermination", "DisableApiTermination"), ("disableApiStop", "DisableApiStop")):
        changes = tuple(
            _unprotect(name, instance_id, state.region)
            for instance_id, like in protected.items()
            if state.fact(f"{like}/{attribute}")
        )
        stages += [Stage(changes)] if changes else []
    return tuple(stages)


def _unprotect(attribute: str, instance_id: str, region: str) -> Change:
    reason = "protected instances cannot be terminated"
    return Change("ModifyInstanceAttribute", instance_id, region, {attribute: {"Value": False}}, reason, {}, {})


# --- the launch of the new one ---------------------------------------------------------------------------------------


def _launch(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> Change:
    tags = _successor_tags(spec, old)
    parameters = _launch_parameters(spec, state, old, image)
    parameters["TagSpecifications"] = [specification("instance", tags)]
    volume_tags = _volume_tags(spec, state, old)
    if volume_tags:
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
        after={key: value for key, value in view(new).items() if key not in _UNKNOWN},
        identity=Query(
            "DescribeInstances",
            (
                ("image-id", (spec.image_id,)),
                ("instance-state-name", ("pending", "running")),
                (f"tag:{tag_names.REPLACES}", (f"{old.instance_id}*",)),
            ),
        ),
        token=launch_identity(old.instance_id, spec.image_id),
        provided=unreplaced(old.instance_id, spec.image_id, _known_rivals(state, old)),
        # With the predecessor off already, a launch that is refused later starts it again; a refusal now would not.
        rehearsed=old.state == "running",
    )


def _launch_reason(spec: RelaunchSpec, old: Instance) -> str:
    """Why the successor is launched, and what will be different for those who rely on the old one."""
    reason = f"{old.instance_id} runs from {old.image_id} and should run from {spec.image_id}"
    if old.private_ip_address:
        reason += f"; the private address {old.private_ip_address} will change"
    if old.state in ("stopping", "stopped") and not wants_start(old):
        reason += f"; {old.instance_id} is {old.state}, its successor will run"
    return reason


def _successor_tags(spec: RelaunchSpec, old: Instance) -> dict[str, str]:
    carried = tag_names.carried(old.tags)
    tags = {**carried, **(spec.overrides.tags or {})}
    if len(tags) > tag_names.MOST_TAGS - _OUR_TAGS:
        if len(carried) > tag_names.MOST_TAGS - _OUR_TAGS:
            raise SpecError(
                f"instance_id: {old.instance_id} has {len(carried)} tags, which its successor takes over. EC2 takes "
                f"{tag_names.MOST_TAGS}, and {_OUR_TAGS} of them are this collection's. Remove "
                f"{len(carried) - tag_names.MOST_TAGS + _OUR_TAGS} from {old.instance_id}."
            )
        raise SpecError(
            f"overrides: tags: with the {len(carried)} of {old.instance_id} they are {len(tags)}; EC2 takes "
            f"{tag_names.MOST_TAGS}, {_OUR_TAGS} of them are this collection's"
        )
    # What it cannot prove itself is not handed on.
    inherited = replaced_ids(old.tags) if predecessor(old) is not None else ()
    replaces = replaces_value(old.instance_id, inherited)
    return {**tags, tag_names.REPLACES: replaces, tag_names.TRIAL: UNPROVEN}


def _volume_tags(spec: RelaunchSpec, state: State, old: Instance) -> dict[str, str]:
    root = state.volume(old.root_volume_id)
    carried = tag_names.carried(root.tags) if root is not None else {}
    tags = {**carried, **(spec.overrides.tags or {})}
    if len(tags) > tag_names.MOST_TAGS:
        # EC2 takes no more of them, so those of the volume alone fit.
        raise SpecError(
            f"overrides: tags: with the {len(carried)} of the root volume {old.root_volume_id} they are {len(tags)}; "
            f"EC2 takes {tag_names.MOST_TAGS}"
        )
    return tags


def _launch_parameters(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> dict[str, Any]:
    """RunInstances without tags: what goes over unchanged, what has another form there, and the overrides."""
    overrides, facts = spec.overrides, old.facts
    other_type = overrides.instance_type not in (None, old.instance_type)
    parameters = carried_parameters(facts, other_type=other_type)
    parameters.update(
        MinCount=1, MaxCount=1, ImageId=spec.image_id, InstanceType=overrides.instance_type or old.instance_type
    )
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
    if "HostResourceGroupArn" in parameters.get("Placement", {}):
        parameters["Placement"].pop("HostId", None)
    licenses = [item["LicenseConfigurationArn"] for item in facts.get("Licenses") or ()]
    if licenses:
        parameters["LicenseSpecifications"] = [{"LicenseConfigurationArn": arn} for arn in sorted(licenses)]
    if read_fact(facts, "Monitoring.State") in ("enabled", "pending"):
        parameters.setdefault("Monitoring", {})["Enabled"] = True
    if not other_type:
        _add_processors(parameters, facts, type_facts(state, old.instance_type))
    credit = state.fact(f"{old.instance_id}/cpuCredits")
    if credit and _BURSTABLE.match(parameters["InstanceType"]):
        parameters["CreditSpecification"] = {"CpuCredits": credit}
    _add_attributes(parameters, spec, state, old)
    parameters["NetworkInterfaces"] = [
        _interface(spec, state, old, parameters.get("NetworkInterfaces", {}), other_type)
    ]
    root = _encrypted_root(state, old, image)
    if root is not None:
        parameters["BlockDeviceMappings"] = [root]
    return parameters


def _add_processors(parameters: dict[str, Any], facts: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    """Cores and threads where they are not the type's default: EC2 always tells them, but not every type takes them."""
    cores, threads = read_fact(facts, "CpuOptions.CoreCount"), read_fact(facts, "CpuOptions.ThreadsPerCore")
    usual = (read_fact(info, "VCpuInfo.DefaultCores"), read_fact(info, "VCpuInfo.DefaultThreadsPerCore"))
    if cores and threads and None not in usual and (cores, threads) != usual:
        parameters.setdefault("CpuOptions", {}).update(CoreCount=cores, ThreadsPerCore=threads)


def _add_attributes(parameters: dict[str, Any], spec: RelaunchSpec, state: State, old: Instance) -> None:
    """What DescribeInstances does not tell."""
    for attribute, name in (("disableApiTermination", "DisableApiTermination"), ("disableApiStop", "DisableApiStop")):
        if state.fact(f"{old.instance_id}/{attribute}"):
            parameters[name] = True
    behavior = state.fact(f"{old.instance_id}/instanceInitiatedShutdownBehavior")
    if behavior not in (None, "stop"):
        parameters["InstanceInitiatedShutdownBehavior"] = behavior
    if spec.overrides.user_data == "replace":
        parameters["UserData"] = spec.overrides.user_data_content
    elif spec.overrides.user_data == "keep":
        content = _user_data(state.fact(f"{old.instance_id}/userData"))
        if content:
            parameters["UserData"] = content


def _user_data(encoded: str | None) -> str | bytes:
    """EC2 tells user data as base64, boto3 encodes it again: text, or bytes where it is none (gzip)."""
    content = base64.b64decode(encoded or "")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _interface(
    spec: RelaunchSpec, state: State, old: Instance, carried: Mapping[str, Any], other_type: bool
) -> dict[str, Any]:
    """The one network interface: same subnet and groups, new addresses."""
    facts = next(iter(old.facts["NetworkInterfaces"]))
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
    public = _public_address(old)
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


def _public_address(old: Instance) -> bool | None:
    """Whether the old one has a public address of its own, None when that cannot be told: then the subnet decides.

    An Elastic IP hides whether there would be another. A stop gives the address back, so of a held instance the hold
    tells it, and of another stopped one nothing. One that is just starting may not have it yet.
    """
    if old.elastic_ip:
        return None
    if old.state in ("stopping", "stopped"):
        hold = standing_hold(old)
        return None if hold is None else hold.public
    shown = bool(old.facts.get("PublicIpAddress"))
    return shown if old.state == "running" else shown or None


def _encrypted_root(state: State, old: Instance, image: Image) -> dict[str, Any] | None:
    """The root's block device, where the old root is encrypted: the successor's has the same key.

    What the image's root has is not looked at: DescribeImages does not tell its key, and a check run knows nothing of
    an image that is only planned.
    """
    root = state.volume(old.root_volume_id)
    if root is None or not root.encrypted:
        return None
    ebs: dict[str, Any] = {"Encrypted": True}
    if root.kms_key_id:
        ebs["KmsKeyId"] = root.kms_key_id
    return {"DeviceName": image.root_device_name or old.root_device_name, "Ebs": ebs}


# --- what stays behind -----------------------------------------------------------------------------------------------


def _data_volumes(old: Instance) -> list[BlockDevice]:
    devices = [device for device in old.block_devices if device.device_name != old.root_device_name]
    return sorted(devices, key=lambda device: device.device_name)


def _copied(state: State, old: Instance, image: Image) -> frozenset[str] | None:
    """The names of the data volumes that the image has snapshots of; None for an image that does not show its devices.

    Any image that EC2 shows has at least its root. A device of the same name counts only when its snapshot was taken of
    that very volume: another image, or another instance's, has other content there.
    """
    if not image.block_devices:
        return None
    parts = _snapshots_at(image)
    found = {name: state.snapshot(snapshot_id) for name, snapshot_id in parts.items()}
    return frozenset(
        item.device_name
        for item in _data_volumes(old)
        if (part := found.get(item.device_name)) is not None and is_taken_of(part, item.volume_id)
    )


def _snapshots_at(image: Image) -> dict[str, str]:
    """The snapshots that the image has besides its root's, by device name. A device without one is empty at first."""
    return {
        device.device_name: device.snapshot_id
        for device in image.block_devices
        if device.snapshot_id is not None and device.device_name != image.root_device_name
    }


def _origin_queries(spec: RelaunchSpec, state: State, old: Instance) -> tuple[Query, ...]:
    """Which volumes the image's snapshots were taken of, where it has some at the names of the data volumes."""
    image = state.image(spec.image_id)
    if image is None:
        return ()
    parts, names = _snapshots_at(image), [item.device_name for item in _data_volumes(old)]
    return by_id("DescribeSnapshots", "snapshot-id", [parts[name] for name in names if name in parts])


def _named(devices: Iterable[BlockDevice]) -> str:
    return listed(f"{device.device_name} ({device.volume_id})" for device in devices)


def _attachments(state: State, old: Instance, image: Image) -> list[tuple[str, str]]:
    """What the successor does not have, named, each with the option that is about it."""
    found = []
    copied = _copied(state, old, image)
    volumes = [] if copied is None else [item for item in _data_volumes(old) if item.device_name not in copied]
    if volumes:
        found.append(("data_volumes", f"data volumes {_named(volumes)}"))
    if old.elastic_ip:
        found.append(("elastic_ip", _elastic_address(old)))
    found += [("target_groups", text) for text in balanced_by(state, old)]
    return found


def _elastic_address(old: Instance) -> str:
    address = old.facts.get("PublicIpAddress") or read_fact(old.facts, "NetworkInterfaces.Association.PublicIp")
    return f"Elastic IP {address}"


def _foreign_content(state: State, old: Instance, image: Image) -> list[str]:
    """The warning about data volumes at whose names the successor has the content of another volume."""
    copied, parts = _copied(state, old, image) or (), _snapshots_at(image)
    names = [item.device_name for item in _data_volumes(old)]
    foreign = [f"{name} ({parts[name]})" for name in names if name in parts and name not in copied]
    if not foreign:
        return []
    warning = (
        f"{image.image_id} has snapshots at {', '.join(foreign)} that were not taken of the volumes which "
        f"{old.instance_id} has there: the successor starts with that other content"
    )
    return [warning]


def _kept(spec: RelaunchSpec, state: State, old: Instance, image: Image, released: Iterable[str] = ()) -> list[str]:
    """What the successor does not have, with the choice that leaves it where it is, if the task makes one."""
    found = (item for item in _attachments(state, old, image) if item[0] not in released)
    return [f"{text}{_chosen(spec, option)}" for option, text in found]


def _chosen(spec: RelaunchSpec, option: str) -> str:
    return "" if option in spec.unsaid else f" ({option}: keep)"


def _unsaid_troubles(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> Iterable[str]:
    """What stays behind without the user's word."""
    for option, text in _attachments(state, old, image):
        if option in spec.unsaid:
            yield (
                f"{option}: {old.instance_id} has {text}, which its successor would not have. Set {option}: keep to "
                f"leave that with {old.instance_id} (old_instance: {spec.old_instance}); move is not supported in this "
                "version"
            )


def _left_behind(spec: RelaunchSpec, state: State, old: Instance) -> list[str]:
    """What the successor does not have of the old one, as it is now: warnings."""
    found = []
    # It may be gone since an earlier run has launched from it.
    image = state.image(spec.image_id) or Image(spec.image_id, "")
    freed = old.elastic_ip and spec.old_instance == "terminate"
    kept = _kept(spec, state, old, image, ("elastic_ip",) if freed else ())
    if freed:
        address = _elastic_address(old)
        found.append(
            f"{address} stays allocated, and is associated with nothing once {old.instance_id} is terminated"
            f"{_chosen(spec, 'elastic_ip')}"
        )
    if kept:
        found.append(f"these stay with {old.instance_id}, its successor does not have them: {'; '.join(kept)}")
    found += _foreign_content(state, old, image)
    if old.state != "stopped":
        found.append(
            f"what {old.instance_id} has written to {_captured_volumes(state, old, image)} since {spec.image_id} was "
            "captured is not carried over to its successor"
        )
    return found


def _warnings(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> tuple[str, ...]:
    found = _left_behind(spec, state, old)
    data = _data_volumes(old)
    if data and _copied(state, old, image) is None:
        found.append(
            f"the data volumes {_named(data)} stay with {old.instance_id}{_chosen(spec, 'data_volumes')}; whether its "
            f"successor gets copies of them shows once {spec.image_id} is made"
        )
    if old.state in ("stopping", "stopped") and not old.elastic_ip and _public_address(old) is None:
        found.append(
            f"{old.instance_id} is {old.state}, so it does not show whether it has a public address; the subnet "
            "decides for its successor"
        )
    root = state.volume(old.root_volume_id)
    device = next((item for item in image.block_devices if item.device_name == image.root_device_name), None)
    if root is not None and device is not None and device.size is not None and device.size < root.size:
        found.append(
            f"the root volume of {spec.image_id} has {device.size} GiB, that of {old.instance_id} {root.size} GiB"
        )
    if spec.overrides.instance_type not in (None, old.instance_type) and _has_cpu_options(state, old):
        found.append(f"the CPU options of {old.instance_id} belong to {old.instance_type} and are not carried over")
    return tuple(found)


def _weaker_than_image(launch: Change, image: Image) -> tuple[str, ...]:
    """The warning for a successor that takes IMDSv1 although its image asks for IMDSv2 (ImdsSupport v2.0)."""
    tokens = launch.parameters.get("MetadataOptions", {}).get("HttpTokens")
    if image.imds_support != "v2.0" or tokens != "optional":
        return ()
    warning = (
        f"{image.image_id} asks for IMDSv2 (ImdsSupport v2.0), and {launch.resource} takes IMDSv1 too (HttpTokens "
        "optional), as the instance that it replaces. Set overrides: metadata_options: http_tokens: required to "
        "launch it as the image asks"
    )
    return (warning,)


def _captured_volumes(state: State, old: Instance, image: Image) -> str:
    """Which volumes of the old one the image is a copy of, as of its capture."""
    copied = _copied(state, old, image)
    names = [item.device_name for item in _data_volumes(old) if copied is None or item.device_name in copied]
    if not names:
        return "its root volume"
    if copied is None:
        return "its volumes"
    return f"its volumes {', '.join([old.root_device_name, *names])}"


def _has_cpu_options(state: State, old: Instance) -> bool:
    parameters: dict[str, Any] = {}
    _add_processors(parameters, old.facts, type_facts(state, old.instance_type))
    return bool(parameters or carried_parameters(old.facts).get("CpuOptions"))


# --- the result ------------------------------------------------------------------------------------------------------


def result(spec: RelaunchSpec, state: State) -> dict[str, Any]:
    """What the given id stands for now, and as ``replaced`` the one that it was launched to replace."""
    current = _current(dataclasses.replace(spec, follow_successor=True), state)
    if current is None:
        # It was given by its own id, and has just been taken back.
        failed = state.instance(spec.instance_id)
        before = None if failed is None else state.instance(predecessor(failed))
        current = before or living(state, spec.instance_id, "instance_id")
    return {
        "instance": view(current),
        "instance_id": current.instance_id,
        "replaced": predecessor(current),
        "image_id": current.image_id,
    }


FEATURE = Feature(parse=parse, needs=needs, plan=plan, result=result)
