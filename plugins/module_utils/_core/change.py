# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of EC2, what is known of it, and what will be done to it: queries, state, changes and plans.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypeVar

from . import tags as tag_names
from .errors import StorageError, UnsafePlan
from .names import is_planned, kind_of, moment_of, planned_in, substitute
from .resources import Fact, Image, Instance, Resource, Snapshot, Volume, from_view, new_from_view, view

T = TypeVar("T")
_NO_IDENTITY = (tag_names.ORIGIN, tag_names.PARTS, tag_names.TRIAL, tag_names.MACHINE, tag_names.COPIED_TO)
"""Of the collection's own tags, those that tell of what carries them, and not for what it was made."""
_WILD = re.compile(r"[*?\\]")
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


@dataclass(frozen=True)
class Query:
    """One question to AWS, asked with pagination until it is answered whole.

    ``filters`` are EC2's (name, values); ``arguments`` any other parameters of the operation, values hashable (tuples
    for lists). Resources are asked for by a filter on their id, not by an id list: what does not exist is then simply
    not in the answer. ``place``: where it is asked, see `place_of`; empty for the task's own region and account.
    ``optional``: the planner can do a part of its work without the answer, see `State.unanswered`.
    """

    operation: str
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    arguments: tuple[tuple[str, Any], ...] = ()
    service: str = "ec2"
    place: str = ""
    optional: bool = field(default=False, compare=False)


class Struct(tuple[tuple[str, Any], ...]):
    """A structure inside the arguments of a query: (key, value) pairs, hashable."""


def place_of(region: str, profile: str | None = None) -> str:
    """A region, of the task's own account or of that of another profile: ``eu-west-1``, ``eu-west-1@backup``."""
    return f"{region}@{profile}" if profile else region


def split_place(place: str) -> tuple[str, str | None]:
    """The region and, for another account, the profile."""
    region, _at, profile = place.partition("@")
    return region, profile or None


def by_id(operation: str, filter_name: str, ids: Iterable[str], **arguments: Any) -> tuple[Query, ...]:
    """The query for these resources; none for ids that are only planned, and none at all when nothing is left to ask
    for. The ids, or whatever the filter compares, are taken to the letter.

    EC2 takes 200 values in one filter, so more ids make more queries.
    """
    wanted = sorted({resource for resource in ids if resource and not is_planned(resource)})
    return tuple(
        Query(
            operation,
            ((filter_name, tuple(literal(value) for value in wanted[start : start + 200])),),
            tuple(sorted(arguments.items())),
        )
        for start in range(0, len(wanted), 200)
    )


def literal(value: str) -> str:
    """Return the filter value that finds exactly *value*: EC2's wildcards and their escape are plain characters in it.

    Every value of a user's that stands in a filter goes through this function.
    """
    return _WILD.sub(r"\\\g<0>", value)


def images_by_id(ids: Iterable[str]) -> tuple[Query, ...]:
    """The query for these images. EC2 hides disabled ones, and deprecated ones of others, from filters unless asked."""
    return by_id("DescribeImages", "image-id", ids, IncludeDeprecated=True, IncludeDisabled=True)


def tag_filters(tags: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """EC2's filters for what has all these tags, to the letter."""
    return tuple((f"tag:{key}", (literal(value),)) for key, value in sorted(tags.items()))


def own_snapshots(tags: Mapping[str, str]) -> Query:
    """The account's snapshots that have all these tags; without the owner EC2 lists public ones too."""
    return Query("DescribeSnapshots", tag_filters(tags), (("OwnerIds", ("self",)),))


def own_images(*filters: tuple[str, tuple[str, ...]]) -> Query:
    """The account's images that pass the filters, the disabled ones too: they keep name and snapshots."""
    return Query("DescribeImages", filters, (("IncludeDisabled", True), ("Owners", ("self",))))


def resource_key(resource: Resource, place: str = "") -> str:
    """The key under which a state holds the resource: its place and its id, its id alone in the task's own region.

    *place*: that of the query that has found it, for what does not say itself where it is.
    """
    where = resource.place if isinstance(resource, Snapshot) else place
    return f"{where} {resource.resource_id}" if where else resource.resource_id


@dataclass(frozen=True)
class State:
    """What is known of EC2: the resources by place and id (`resource_key`), and which queries have been answered.

    ``now`` is EC2's time once it has answered, for those who can only ask on when they know it. ``unanswered``: the
    optional queries that AWS refused or did not answer, and why. They count as answered, with nothing.
    """

    region: str
    resources: Mapping[str, Resource] = field(default_factory=dict)
    answered: frozenset[Query] = frozenset()
    now: datetime | None = None
    unanswered: Mapping[Query, StorageError] = field(default_factory=dict)

    def _find(self, cls: type[T], resource_id: str | None, place: str = "") -> T | None:
        found = self.resources.get(f"{place} {resource_id}" if place else resource_id or "")
        return found if isinstance(found, cls) else None

    def instance(self, resource_id: str | None) -> Instance | None:
        """The instance of that id, None when there is none or it was not asked for."""
        return self._find(Instance, resource_id)

    def image(self, resource_id: str | None) -> Image | None:
        """The image of that id, None when there is none or it was not asked for."""
        return self._find(Image, resource_id)

    def snapshot(self, resource_id: str | None, place: str = "") -> Snapshot | None:
        """The snapshot of that id in a place, None when there is none or it was not asked for."""
        return self._find(Snapshot, resource_id, place)

    def volume(self, resource_id: str | None) -> Volume | None:
        """The volume of that id, None when there is none or it was not asked for."""
        return self._find(Volume, resource_id)

    def fact(self, fact_id: str, place: str = "") -> Any:
        """The value of a place's answer that is no resource, None when it was not asked for or AWS has none."""
        found = self._find(Fact, fact_id, place)
        return None if found is None else found.value

    def refusal(self, operation: str) -> StorageError | None:
        """Why AWS did not answer an optional query of this operation; None when it answered them all."""
        return next((error for query, error in self.unanswered.items() if query.operation == operation), None)

    def all(self, cls: type[T]) -> Iterator[T]:
        """Every resource of one class, in the order of the answers."""
        return (resource for resource in self.resources.values() if isinstance(resource, cls))

    def with_answers(self, answers: Mapping[Query, Iterable[Resource]]) -> State:
        """This state and what the queries found."""
        resources = dict(self.resources)
        for query, found in answers.items():
            resources.update((resource_key(resource, query.place), resource) for resource in found)
        return dataclasses.replace(self, resources=resources, answered=self.answered | set(answers))

    def with_resources(self, resources: Iterable[Resource]) -> State:
        """This state with these resources in place of what was known of them."""
        return dataclasses.replace(
            self, resources={**self.resources, **{resource_key(resource): resource for resource in resources}}
        )


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
        return value

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
    """One module's rules: four pure functions. The runner does the rest.

    ``parse(params, region)``: the module's options to a spec; SpecError for bad input. No network has been used by
    then.
    ``needs(spec, state)``: the queries whose answers are still missing, most at once; asked until it returns nothing
    new.
    ``plan(spec, state, now)``: what to do. ``now`` is EC2's time. Raises SpecError, Ambiguous, UnsafePlan.
    ``result(spec, state)``: the entities that the module returns, as plain data, from the state after the plan
    (predicted in check mode, observed otherwise).
    """

    parse: Callable[[Mapping[str, Any], str], Any]
    needs: Callable[[Any, State], tuple[Query, ...]]
    plan: Callable[[Any, State, datetime], Plan]
    result: Callable[[Any, State], dict[str, Any]]


def overlay(state: State, entries: Iterable[Mapping[str, Any]], *, everywhere: bool = False) -> State:
    """*state* as it will be once the published plan *entries* have been carried out.

    This is both how a plan predicts its own result (*everywhere*: in all regions that it touches) and how a check run
    composes: the entries of earlier tasks' plans are laid over what EC2 answers, without those of another region. A
    real id that was not read is skipped too: its entry says only what changes, not what the rest is.
    """
    resources = dict(state.resources)
    for entry in entries:
        resource_id, after = entry["resource"], entry.get("after")
        here = entry.get("region") in (None, state.region) and not entry.get("profile")
        if not everywhere and not here:
            continue
        key = resource_id if here else f"{place_of(entry['region'], entry.get('profile'))} {resource_id}"
        known = resources.get(key)
        if after is None:
            resources.pop(key, None)
        elif known is not None:
            resources[key] = from_view(known.kind, after, known)
        elif is_planned(resource_id):
            made = new_from_view(resource_id, after)
            if made is not None:
                resources[key] = made
                # CreateImage takes snapshots by itself: its entry is the only one that tells of them.
                parts = after.get("snapshots") or ()
                taken = (new_from_view(part["snapshot_id"], part) for part in parts if made.kind == "image")
                resources.update({item.resource_id: item for item in taken if item is not None})
    return dataclasses.replace(state, resources=resources)


def bound(state: State, bindings: Mapping[str, str]) -> State:
    """*state* with EC2's ids in place of the planned ones that *bindings* knows, also inside fields and tags."""
    if not bindings:
        return state
    resources: dict[str, Resource] = {}
    for key, resource in state.resources.items():
        place, _space, _id = key.rpartition(f" {resource.resource_id}")
        if not isinstance(resource, Fact):
            fields = view(resource)
            if planned_in(fields):
                resource = from_view(resource.kind, substitute(fields, bindings), resource)
        resources[resource_key(resource, place)] = resource
    return dataclasses.replace(state, resources=resources)


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
