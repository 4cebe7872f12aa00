# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vocabulary of a plan: changes, stages, waits.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from . import tags as tag_names
from .errors import StorageError, UnsafePlan
from .ids import kind_of, planned_in, without_moment
from .operations import OPERATIONS, Operation
from .places import HERE, Place
from .report import PlanReport, Withdrawal
from .resources import Resource
from .state import Query, State

_NO_IDENTITY = frozenset(
    {
        tag_names.ORIGIN,
        *tag_names.ORIGINS,
        tag_names.PARTS,
        tag_names.TRIAL,
        *tag_names.MOVES,
        tag_names.MACHINE,
        tag_names.COPIED_TO,
        tag_names.LAUNCH_IMAGE,
    }
)
"""The collection's tags that describe their resource, and not its purpose."""
_HASHED = frozenset({"UserData", "UefiData"})
"""Request parameters that may hold secrets: passwords in user data, keys in UEFI variables."""
_MOMENTS = frozenset({tag_names.TAKEN, tag_names.DRILLED})
"""The collection's tags whose values are times of the run."""
_LEFT_OUT = frozenset({"ClientToken", "DeprecateAt"})
"""Request parameters that differ between a check and the run after it."""


Objection: TypeAlias = Callable[[Sequence[Resource], str], str]
"""Returns an objection or an empty text, from the answer for a `Precondition` and the id of the change's resource."""


@dataclass(frozen=True)
class Precondition:
    """A condition that must still hold right before a change. *query* and *also* are asked at that moment, and
    *objection* reads all answers.
    """

    query: Query
    objection: Objection = field(compare=False)
    also: tuple[Query, ...] = ()

    @property
    def queries(self) -> tuple[Query, ...]:
        """All queries."""
        return (self.query, *self.also)


@dataclass(frozen=True)
class Change:
    """One mutating call, or one resource's part of a call that takes many.

    ``resource``: the changed resource, or the planned id of the new one.
    ``parameters``: the request in boto3's shape without that id. Before the call, EC2's ids replace planned ones in it,
    and EC2's start times the placeholders in `ids.StartText`.
    ``before``, ``after``: partial views of the resource before and after the change. ``before`` is None for a new
    resource, and ``after`` for a deleted one.
    ``identity``: the query that finds the new resource or, for ModifyVolume, the modification. For operations that EC2
    would carry out twice.
    ``token``: the seed of the ClientToken, for operations with such a token.
    ``source``: the volume of a new snapshot, which distinguishes the parts of one call in EC2's answer.
    ``only_while``: asked before the repeat of a call that EC2 refused for now. The answer must still have the resource.
    ``deferrable``: EC2's codes for a refusal that is no failure. A later run makes the change.
    ``unless``: queries that are asked right before the call. If one finds something, the change is left out.
    ``after_steps``: ids of other resources. In a stage that is `Stage.apart`, the change comes after the earlier steps
    that make, tag, share, await or remove these resources.
    ``passed_over``: ids that ``identity`` finds and that the plan has not chosen. These ids never count as the new
    resource.
    ``provided``: also asked right before the call. An objection fails the change (`Superseded`) without a call.
    ``rehearsed``: before the first change of the plan, the runner asks EC2 with DryRun whether it allows this change.
    ``region``: the text of the call's place, see `Place`.
    """

    action: str
    resource: str
    region: str
    parameters: Mapping[str, Any]
    reason: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    disruptive: bool = False
    identity: Query | None = None
    token: tuple[str, ...] = ()
    source: str = ""
    only_while: Query | None = None
    deferrable: frozenset[str] = frozenset()
    unless: tuple[Query, ...] = ()
    after_steps: tuple[str, ...] = ()
    passed_over: frozenset[str] = frozenset()
    provided: Precondition | None = None
    rehearsed: bool = False

    @property
    def operation(self) -> Operation:
        """The facts about the action."""
        return OPERATIONS[self.action]

    @property
    def creates(self) -> bool:
        """The change creates a new resource, and `resource` is its planned id."""
        return bool(self.operation.creates)

    @property
    def own_tags(self) -> dict[str, str]:
        """The collection's own tags on the new resource by which a later run recognises it.

        These are without the tags that change during the resource's life.
        """
        kind = kind_of(self.resource)
        return {
            tag["Key"]: tag["Value"]
            for part in self.parameters.get("TagSpecifications") or ()
            if part.get("ResourceType") == kind
            for tag in part["Tags"]
            if tag["Key"].startswith(tag_names.PREFIX) and tag["Key"] not in _NO_IDENTITY
        }

    def published(self) -> dict[str, Any]:
        """Return the entry of the module's ``plan``. It has ``profile`` only for another account."""
        place = Place.parse(self.region)
        return {
            "action": self.action,
            "resource": self.resource,
            "region": place.region,
            **({"profile": place.profile} if place.profile else {}),
            "parameters": published_parameters(self.parameters),
            "reason": self.reason,
            "before": None if self.before is None else dict(self.before),
            "after": None if self.after is None else dict(self.after),
            "disruptive": self.disruptive,
        }


def published_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return request parameters in a form that a plan can show and that is equal in two runs.

    Client tokens and the times of the run are left out. User data and UEFI data appear as hashes, since they may hold
    secrets. Tests treat a request log in the same way to compare a run with its plan.
    """

    def shown(key: str, value: Any) -> Any:
        if key in _HASHED and isinstance(value, (str, bytes)):
            return "sha256:" + hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()
        if isinstance(value, Mapping):
            if value.get("Key") in _MOMENTS:
                return {"Key": value["Key"]}
            if value.get("Key") == tag_names.RESTORE_STATE and value.get("Value"):
                return {**value, "Value": str(value["Value"]).split(" ", 1)[0]}
            return {name: shown(name, item) for name, item in value.items() if name not in _LEFT_OUT}
        if isinstance(value, (list, tuple)):
            return [shown("", item) for item in value]
        return without_moment(value) if key == "Description" else value

    published: dict[str, Any] = shown("", parameters)
    return published


def tagging(
    resource: str, region: str, present: Mapping[str, str], wanted: Mapping[str, str], reason: str
) -> tuple[Change | None, list[str]]:
    """Return the CreateTags that gives a resource with the tags *present* the *wanted* ones, and the keys without room.

    The change is None if no tag is missing. See `tags.with_room` for the keys.
    """
    missing = {key: value for key, value in wanted.items() if present.get(key) != value}
    fitting, left_out = tag_names.with_room(present, missing)
    if not fitting:
        return None, left_out
    before, after = {"tags": dict(present)}, {"tags": {**present, **fitting}}
    parameters = {"Tags": tag_names.boto3_tags(fitting)}
    return Change("CreateTags", resource, region, parameters, reason, before, after), left_out


@dataclass(frozen=True)
class Wait:
    """A wait of a stage, until every one of *resources* has reached *goal*, a key of `wait_goals.GOALS`.

    ``about``: the other resource of the goal, such as the instance of an attachment.
    ``final``: no change of the plan depends on it, so ``wait: false`` skips it.
    ``expect``: values that fields of the resource's view must then have. A mapping, such as tags, may have more
    entries. Another value is a mismatch and fails the step.
    ``timeout``: in seconds, or None for that of the task.
    ``clock``: waits with the same name share one timeout, which begins with the first of them.
    ``place``: the place of the resources, see `Query`.
    ``urgent``: a service is off until the end of the wait, so the polls stay close together.
    """

    resources: tuple[str, ...]
    goal: str
    final: bool = False
    expect: tuple[tuple[str, Any], ...] = ()
    timeout: float | None = None
    about: str = ""
    place: Place = HERE
    clock: str = ""
    urgent: bool = False


class Recheck(Protocol):
    """Queries that a stage asks again right before its changes, if the run has waited since it made the plan."""

    def queries(self, resources: Collection[str]) -> tuple[Query, ...]:
        """Return the queries about changes of these resources, to be asked in parallel."""

    def withdrawn(self, answers: Mapping[Query, Iterable[Resource]]) -> Mapping[str, Withdrawal]:
        """Return the changes to leave out, by resource, with the reason."""

    def warning(self, withdrawn: Mapping[str, Withdrawal]) -> str:
        """Return the sentence that tells the user about the withdrawn changes."""


ANY_FAILURE = frozenset({"refused", "failed", "mismatch", "timeout", "unclear"})
"""A value for `Stage.rollback_on`: the transaction is rolled back after every kind of failure."""


@dataclass(frozen=True)
class Stage:
    """Changes that do not depend on each other, made in parallel, and then waits. `graph` turns stages into steps.

    ``apart``: the steps depend only on earlier steps about the same resources, and not on all stages before.
    ``transaction``: the name for the steps of transactions. Of all steps with one name, those that share resources are
    rolled back together. Plain stages form one transaction, the whole plan.
    ``tied``: only steps that share one of these resources are in a transaction. With None, all steps are.
    ``on_failure``: the rollback, in order. It runs when a step fails in one of the ways in ``rollback_on``: ``refused``
    (EC2 said no), ``failed`` (a resource ended in a failed state), ``mismatch`` (``expect`` did not hold), ``timeout``,
    ``superseded`` (another run was faster, see `Change.provided`), ``unclear`` (no answer, a fault of EC2's or
    throttling, after all repeats: the call may have had its effect or not). The rollback knows the ids of resources
    that the plan made. Its changes to resources that were never made are skipped.
    ``patience``: EC2's error codes that mean "not now" here. The call is repeated until the task's deadline.
    ``recheck``: see `Recheck`. If AWS does not answer its queries, the changes fail without a call.
    """

    changes: tuple[Change, ...] = ()
    waits: tuple[Wait, ...] = ()
    on_failure: tuple[Stage, ...] = ()
    rollback_on: frozenset[str] = frozenset()
    patience: frozenset[str] = frozenset()
    recheck: Recheck | None = None
    apart: bool = False
    transaction: str = ""
    tied: frozenset[str] | None = None


def apart(stages: Iterable[Stage], transaction: str = "") -> tuple[Stage, ...]:
    """Return *stages* with steps that depend only on earlier steps about the same resources (`Stage.apart`).

    *transaction*: the name for stages that have none.
    """
    return tuple(
        dataclasses.replace(stage, apart=True, transaction=stage.transaction or transaction) for stage in stages
    )


@dataclass(frozen=True)
class Plan:
    """The changes of a module's run, in order, and the information for the user about them.

    ``report``: results that only the planner has.
    ``refused``: the error of a part that the plan had to leave out. The task fails with it once the other changes are
    made, in check mode too.
    """

    stages: tuple[Stage, ...] = ()
    warnings: tuple[str, ...] = ()
    report: PlanReport = field(default_factory=PlanReport)
    refused: StorageError | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in the order of the stages."""
        return tuple(change for stage in self.stages for change in stage.changes)

    def without(self, changes: Iterable[Change]) -> Plan:
        """Return the plan as if it had never contained these changes."""
        left_out = {id(change) for change in changes}
        stages = tuple(
            dataclasses.replace(stage, changes=tuple(one for one in stage.changes if id(one) not in left_out))
            for stage in self.stages
        )
        return dataclasses.replace(self, stages=stages)

    @property
    def is_empty(self) -> bool:
        """The plan changes nothing. It may still wait for something."""
        return not self.changes

    def published(self) -> list[dict[str, Any]]:
        """Return the plan as a user sees it: one entry per change, in order."""
        return [change.published() for change in self.changes]


@dataclass(frozen=True)
class Feature:
    """One module's rules, as pure functions. The runner does the rest.

    ``parse(params, region)``: returns the spec of the module's options. Raises SpecError for bad input. No call has
    been made by then.
    ``plan(spec, state, now)``: returns the plan. ``now`` is EC2's time of the last answer. Raises SpecError, Ambiguous,
    UnsafePlan, and NeedsAnswers while a required query is not answered (`State.require`).
    ``result(spec, state)``: returns the module's entities as plain data, from the state after the plan (predicted in
    check mode, observed otherwise).
    ``headline(spec, result)``: returns the most important figures of the result, for the end of ``msg``.
    ``bounded(spec, result)``: returns the part of the result that the task returns. ``result_file`` gets all of it.
    None: the task returns all of it, and there is no file.
    ``reads_prices``: `parse` gets the text of the file that EC2OPS_PRICES names, as ``prices_text``.
    ``estimates``: the result has ``cost_estimate``, the monthly cost that the plan's volumes and snapshots add.
    """

    parse: Callable[[Mapping[str, Any], str], Any]
    plan: Callable[[Any, State, datetime], Plan]
    result: Callable[[Any, State], dict[str, Any]]
    headline: Callable[[Any, Mapping[str, Any]], str] = lambda _spec, _result: ""
    bounded: Callable[[Any, Mapping[str, Any]], dict[str, Any]] | None = None
    reads_prices: bool = False
    estimates: bool = False


def guard(plan: Plan, known: Iterable[str] = ()) -> Plan:
    """Return *plan* if the engine can carry it out. Raises UnsafePlan with the reason if not.

    An earlier stage must make every planned id, unless the id is one of *known*, from an earlier task of a check run.
    No stage may have two changes of one kind to one resource, since the order within a stage is undefined. But it may
    attach one volume to several instances. A later attempt must recognise every new resource, and every change that
    must not be made twice, by a client token or by identity and tags.
    """
    made = set(known)
    for stage in plan.stages:
        seen: set[tuple[str, ...]] = set()
        for change in stage.changes:
            touched: tuple[str, ...] = (change.action, change.resource)
            if change.operation.links:
                touched = (*touched, str(change.parameters.get("InstanceId")))
            if touched in seen:
                raise UnsafePlan(f"two {change.action} of {' and '.join(touched[1:])} in one stage")
            seen.add(touched)
            if (change.creates and change.operation.token and not change.token) or (
                (change.creates or not change.operation.safe) and change.identity is None
            ):
                raise UnsafePlan(f"{change.action} of {change.resource} has no identity or token to find it again")
            used = planned_in(change.parameters)
            if not change.creates:
                used |= planned_in(change.resource)
            missing = used - made
            if missing:
                raise UnsafePlan(
                    f"{change.action} of {change.resource} needs {', '.join(sorted(missing))}, but no earlier stage "
                    "makes it"
                )
        made |= {name for change in stage.changes if change.creates for name in (change.resource, *parts_of(change))}
    return plan


INSTANCE_ADDRESSES = ("private_ip_address", "public_ip_address", "primary_interface_id")
"""The fields of an instance that EC2 decides at the launch, and that later steps of a plan may use."""


def parts_of(change: Change) -> set[str]:
    """Return the planned ids of the snapshots that EC2 makes for the devices of a new image, of the volumes that it
    makes for an instance, and of the addresses and the primary interface of a new instance.
    """
    after = change.after or {}
    addresses = [after.get(name) for name in INSTANCE_ADDRESSES]
    return planned_in([after.get("block_devices") or [], *instance_parts(after), addresses])


def instance_parts(after: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the new block devices of an instance in the ``after`` of a task that replaces its root volume."""
    devices: Sequence[Mapping[str, Any]] = (after.get("instance") or {}).get("block_devices") or ()
    return devices
