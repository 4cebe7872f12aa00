# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vocabulary of a plan: operations, changes, stages, waits.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from . import tags as tag_names
from .errors import StorageError, UnsafePlan
from .ids import kind_of, moment_of, planned_in, without_moment
from .places import split_place
from .resources import Resource
from .state import Query, State

_NO_IDENTITY = (tag_names.ORIGIN, tag_names.PARTS, tag_names.TRIAL, tag_names.MACHINE, tag_names.COPIED_TO)
"""Of the collection's own tags, those that tell of what carries them, and not for what it was made."""
_HASHED = frozenset({"UserData", "UefiData"})
"""Request parameters whose values may hold secrets: passwords in user data, keys in UEFI variables."""


@dataclass(frozen=True)
class Operation:
    """What must be known of a mutating operation of EC2 to make a call out of changes.

    ``target``: the request's parameter that names the resource; None for what makes a new one.
    ``most``: how many resources one call takes. ``target`` is a list when more than one.
    ``creates``: where the answer has the new id, as a path of keys and indexes; ``Snapshots`` of CreateSnapshots is a
    list, matched to the changes by volume.
    ``token``: whether EC2 recognises a repeated call by its ClientToken.
    ``safe``: whether repeating the call after an unclear answer does no harm (by its nature, or by its token).
    ``already``: EC2's codes that mean that it is so already (a repeated delete).
    """

    target: str | None = None
    most: int = 1
    creates: tuple[str | int, ...] = ()
    token: bool = False
    safe: bool = True
    already: frozenset[str] = frozenset()


OPERATIONS: Mapping[str, Operation] = {
    "CreateTags": Operation("Resources", most=1000),
    "DeleteTags": Operation("Resources", most=1000),
    "StopInstances": Operation("InstanceIds", most=1000),
    "StartInstances": Operation("InstanceIds", most=1000),
    "TerminateInstances": Operation("InstanceIds", most=1000, already=frozenset({"InvalidInstanceID.NotFound"})),
    "ModifyInstanceAttribute": Operation("InstanceId"),
    "RunInstances": Operation(creates=("Instances", 0, "InstanceId"), token=True),
    "CreateVolume": Operation(creates=("VolumeId",), token=True),
    # A repeated call is told that it is so already, and so is one that another run was faster than: the wait tells.
    "AttachVolume": Operation("VolumeId", already=frozenset({"VolumeInUse"})),
    "DetachVolume": Operation("VolumeId", already=frozenset({"IncorrectState", "InvalidAttachment.NotFound"})),
    "DeleteVolume": Operation("VolumeId", already=frozenset({"InvalidVolume.NotFound"})),
    # No client token (EC2 API reference): a repeat spends another of the volume's four modifications a day.
    "ModifyVolume": Operation("VolumeId", safe=False),
    # No client token (EC2 API reference): a repeat makes a second one.
    "CreateSnapshot": Operation(creates=("SnapshotId",), safe=False),
    "CreateSnapshots": Operation(creates=("Snapshots",), safe=False),
    "RegisterImage": Operation(creates=("ImageId",), safe=False),
    "CreateImage": Operation(creates=("ImageId",), safe=False),
    "DeleteSnapshot": Operation("SnapshotId", already=frozenset({"InvalidSnapshot.NotFound"})),
    # No client token either; called in the region, and by the account, where the copy is to be.
    "CopySnapshot": Operation(creates=("SnapshotId",), safe=False),
    "ModifySnapshotAttribute": Operation("SnapshotId"),
    "ModifySnapshotTier": Operation("SnapshotId"),
    "LockSnapshot": Operation("SnapshotId"),
    "UnlockSnapshot": Operation("SnapshotId"),
    "EnableFastSnapshotRestores": Operation("SourceSnapshotIds", most=10),
    "DisableFastSnapshotRestores": Operation("SourceSnapshotIds", most=10),
    "DeregisterImage": Operation("ImageId", already=frozenset({"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"})),
}


Objection: TypeAlias = Callable[[Sequence[Resource], str], str]
"""From what a `Precondition` has found and the id of the change's resource: why not, empty for no objection."""


@dataclass(frozen=True)
class Precondition:
    """What must still hold right before a change: *query* is asked then, and *objection* reads the answer."""

    query: Query
    objection: Objection = field(compare=False)


@dataclass(frozen=True)
class Change:
    """One mutating call, or one resource's part of a call that takes many.

    ``resource`` is what is changed, or the planned id of what is made. ``parameters`` is the request in boto3's shape
    without that id; planned ids in it are replaced before the call. ``before`` and ``after`` are partial views: what
    the change does to the resource (``before`` None: it is made; ``after`` None: it is gone). ``identity`` finds what
    the call makes or, of ModifyVolume, the modification that it begins, for operations that EC2 would repeat. ``token``
    seeds the ClientToken of operations that have one.
    ``only_while`` is asked before a call that EC2 refused for now is repeated: the resource must still be found.
    ``deferrable``: EC2's codes with which a refusal is no failure; the change is left to a later run.
    ``unless``: questions that are asked right before; when one of them finds something, the change is left out.
    ``regardless``: it builds on nothing that the plan waits for, so it is carried out also when the wait of an earlier
    stage has ended badly; its own failure is a note then.
    ``passed_over``: ids of what ``identity`` finds and the plan has not chosen; it is never taken for what is made.
    ``provided``: asked right before too; with an objection the stage fails (`Superseded`) without a call.
    ``rehearsed``: EC2 is asked before the first change, with DryRun, whether the caller may do it.
    ``region`` is where it is made; with another account's profile behind it, see `place_of`.
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
    only_while: Query | None = None
    deferrable: frozenset[str] = frozenset()
    unless: tuple[Query, ...] = ()
    regardless: bool = False
    passed_over: frozenset[str] = frozenset()
    provided: Precondition | None = None
    rehearsed: bool = False

    @property
    def operation(self) -> Operation:
        """What must be known of the action to call it."""
        return OPERATIONS[self.action]

    @property
    def creates(self) -> bool:
        """Whether it makes something new; `resource` is then a planned id."""
        return bool(self.operation.creates)

    @property
    def own_tags(self) -> dict[str, str]:
        """The collection's own tags that the change puts on what it makes, by which that is known again.

        Those that change in the life of what is made are not among them.
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
        """The change as a user sees it: an entry of the module's ``plan``. ``profile`` only for another account."""
        region, profile = split_place(self.region)
        return {
            "action": self.action,
            "resource": self.resource,
            "region": region,
            **({"profile": profile} if profile else {}),
            "parameters": published_parameters(self.parameters),
            "reason": self.reason,
            "before": None if self.before is None else dict(self.before),
            "after": None if self.after is None else dict(self.after),
            "disruptive": self.disruptive,
        }


def published_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Request parameters as they may be shown and compared between runs.

    Client tokens and the times of the run are left out. User data and UEFI data stand as their hashes, since they may
    hold secrets. The same is applied to a request log when a run is compared with its plan.
    """

    def shown(key: str, value: Any) -> Any:
        if key in _HASHED and isinstance(value, (str, bytes)):
            return "sha256:" + hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()
        if isinstance(value, Mapping):
            if value.get("Key") == tag_names.TAKEN:
                return {"Key": value["Key"]}
            if value.get("Key") == tag_names.RESTORE_STATE and value.get("Value"):
                return {**value, "Value": str(value["Value"]).split(" ", 1)[0]}
            return {name: shown(name, item) for name, item in value.items() if name != "ClientToken"}
        if isinstance(value, (list, tuple)):
            return [shown("", item) for item in value]
        return without_moment(value) if key == "Description" else value

    published: dict[str, Any] = shown("", parameters)
    return published


def tagging(
    resource: str, region: str, present: Mapping[str, str], wanted: Mapping[str, str], reason: str
) -> tuple[Change | None, list[str]]:
    """The CreateTags that makes the tags *present* of a resource hold what is *wanted*, None when they do; and the keys
    for which EC2 has no place there (`tags.with_room`).
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
    """Until when a stage waits: every one of *resources* has reached *goal* (a key of `goals.GOALS`).

    ``about``: what the goal is about beside the resource, such as the instance that a volume is to be attached to.
    ``final``: nothing in the plan builds on it, so ``wait: false`` skips it. ``expect``: fields of the resource's view
    that must then have these values (of a mapping, such as tags, at least these entries); another value is a mismatch
    and fails the stage. ``timeout`` in seconds, None for the task's. ``place``: where the resources are, see `Query`.
    """

    resources: tuple[str, ...]
    goal: str
    final: bool = False
    expect: tuple[tuple[str, Any], ...] = ()
    timeout: float | None = None
    about: str = ""
    place: str = ""


@dataclass(frozen=True)
class Withdrawal:
    """Why a change is left out at the last moment: the name of the guard, and its reason."""

    guard: str
    reason: str


class Recheck(Protocol):
    """What a stage asks again right before its changes, when the run has waited since the plan was made."""

    @property
    def queries(self) -> tuple[Query, ...]:
        """The questions, asked side by side."""

    def withdrawn(self, answers: Mapping[Query, Iterable[Resource]]) -> Mapping[str, Withdrawal]:
        """By resource, why its change is left out."""

    def warning(self, withdrawn: Mapping[str, Withdrawal]) -> str:
        """The sentence that tells the user of it."""


ANY_FAILURE = frozenset({"refused", "failed", "mismatch", "timeout", "unclear"})
"""For `Stage.rollback_on`: whatever goes wrong, the way back is taken."""


@dataclass(frozen=True)
class Stage:
    """Changes that do not depend on each other, made in parallel, then waits.

    ``on_failure``: what is done, in order, when this stage fails in one of the ways named in ``rollback_on``:
    ``refused`` (EC2 said no), ``failed`` (a resource ended in a failed state), ``mismatch`` (``expect`` did not hold),
    ``timeout``, ``unclear`` (no answer, a fault of EC2's or throttling, after all repeats: what was asked for may have
    happened or may not), ``superseded`` (another run was faster, see `Change.provided`). Its changes whose resource was
    never made are skipped. What a stage's own changes made is bound by then.
    ``patience``: EC2 error codes that mean "not now" here; the call is repeated until the task's time is over.
    ``recheck``: see `Recheck`. Where its questions cannot be answered, the stage fails before its first change.
    """

    changes: tuple[Change, ...] = ()
    waits: tuple[Wait, ...] = ()
    on_failure: tuple[Stage, ...] = ()
    rollback_on: frozenset[str] = frozenset()
    patience: frozenset[str] = frozenset()
    recheck: Recheck | None = None


@dataclass(frozen=True)
class Plan:
    """What a module will do, in order, and what it wants the user to know about it.

    ``told``: parts of the module's result that only the planning knows, such as why something stays. ``unfinished``:
    what is told in their place when the plan is not carried out to its end. ``listed``: by action, the list in ``told``
    that names what the action is done to; what EC2 defers, or is not done, is taken out. ``counted``: by action, the
    number in ``told["counts"]`` that goes down for what EC2 defers. ``retold``: turns what is told into what is told
    after changes were withdrawn (`Recheck`). ``explained``: text that
    ``--diff`` shows after the changes; ``shown``: so many changes are shown before it, None for all. ``refused``: what
    the plan leaves out and should have held; the task fails with it once the rest is done, in check mode too.
    ``measured``: the list in ``told`` with an entry for each resource, which has its ``volume_id``. A run puts into its
    ``seconds`` how long it took until the resource was ready. Of a run that has failed the list has only entries for
    which nothing is left to do.
    """

    stages: tuple[Stage, ...] = ()
    warnings: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    unfinished: Mapping[str, Any] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)
    counted: Mapping[str, str] = field(default_factory=dict)
    retold: Callable[[Mapping[str, Any], Mapping[str, Withdrawal]], Mapping[str, Any]] | None = None
    explained: str = ""
    shown: int | None = None
    refused: StorageError | None = None
    measured: str = ""

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in order of the stages."""
        return tuple(change for stage in self.stages for change in stage.changes)

    def without(self, changes: Iterable[Change]) -> Plan:
        """The plan as if it had not held these changes."""
        left_out = {id(change) for change in changes}
        stages = tuple(
            dataclasses.replace(stage, changes=tuple(one for one in stage.changes if id(one) not in left_out))
            for stage in self.stages
        )
        return dataclasses.replace(self, stages=stages)

    @property
    def is_empty(self) -> bool:
        """Nothing will be changed. There may still be something to wait for."""
        return not self.changes

    def published(self) -> list[dict[str, Any]]:
        """The plan as a user sees it: one entry per change, in order."""
        return [change.published() for change in self.changes]


@dataclass(frozen=True)
class Feature:
    """One module's rules, pure functions. The runner does the rest.

    ``parse(params, region)``: the module's options to a spec; SpecError for bad input. No network has been used by
    then.
    ``needs(spec, state)``: the queries whose answers are still missing, most at once; asked until it returns nothing
    new. None for a planner that asks where it needs the answers (`State.require`).
    ``plan(spec, state, now)``: what to do. ``now`` is EC2's time of the last answer. Raises SpecError, Ambiguous,
    UnsafePlan, and NeedsAnswers while a query that it requires is not answered.
    ``result(spec, state)``: the entities that the module returns, as plain data, from the state after the plan
    (predicted in check mode, observed otherwise).
    ``headline(spec, result)``: of the module's result, the figures that matter most, as the end of its ``msg``.
    """

    parse: Callable[[Mapping[str, Any], str], Any]
    plan: Callable[[Any, State, datetime], Plan]
    result: Callable[[Any, State], dict[str, Any]]
    headline: Callable[[Any, Mapping[str, Any]], str] = lambda _spec, _result: ""
    needs: Callable[[Any, State], tuple[Query, ...]] | None = None


def guard(plan: Plan, known: Iterable[str] = ()) -> Plan:
    """*plan*, when it can be carried out as it stands; UnsafePlan says what is wrong with it.

    Every planned id must be made by an earlier stage (or be one of *known*: planned by an earlier task of a check run),
    no stage may hold two changes of the same kind to one resource, since the order within a stage is open (attachments
    of one volume to several instances do not touch each other), and whatever is made, or must not be done twice, must
    be recognisable in a second attempt: by its client token, or by its identity and tags.
    """
    made = {name for resource in known for name in (resource, moment_of(resource))}
    for stage in plan.stages:
        seen: set[tuple[str, ...]] = set()
        for change in stage.changes:
            touched: tuple[str, ...] = (change.action, change.resource)
            if change.action in ("AttachVolume", "DetachVolume"):
                touched = (*touched, str(change.parameters.get("InstanceId")))
            if touched in seen:
                raise UnsafePlan(f"two {change.action} of {' and '.join(touched[1:])} in one stage")
            seen.add(touched)
            if (change.creates and change.operation.token and not change.token) or (
                (change.creates or not change.operation.safe) and change.identity is None
            ):
                raise UnsafePlan(
                    f"{change.action} of {change.resource} could not be told from a second one: no identity or token"
                )
            used = planned_in(change.parameters)
            if not change.creates:
                used |= planned_in(change.resource)
            missing = used - made
            if missing:
                raise UnsafePlan(
                    f"{change.action} of {change.resource} needs {', '.join(sorted(missing))}, which nothing makes"
                )
        for change in stage.changes:
            if change.creates:
                made.update((change.resource, moment_of(change.resource)))
    return plan
