# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The graph of a plan: its steps, the steps that each of them depends on, and the transactions.

A planner writes stages, in the order that the user sees. This file derives the dependencies:

- A step of a plain stage depends on every step of the stages before it.
- A step of a stage that is `Stage.apart` depends on earlier steps that change or await its own resource. The step also
  depends on the creation, tags, sharing, waits and removal of every other resource that its request or
  `Change.after_steps` names. The last change of a resource, such as its deletion, also depends on earlier steps that
  use it.
- An attachment also depends on earlier changes of its instance, but not on other attachments to it.
- Steps with one rollback form a transaction. Inside a transaction every stage waits for the one before, and each
  dependent of a part depends on the whole. A transaction begins only once all steps that its own steps depend on are
  done. A resource that the transaction only uses, such as the source snapshot of many volumes, does not join steps.

Dependencies lead only to earlier stages, so the graph has no cycle.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .ids import kind_of, planned_in
from .plan import Change, Stage, Wait


@dataclass
class Step:
    """A change and the waits that show it is done, or waits alone. A step without a change and waits only joins other
    steps.

    ``number``: its place in the plan. ``needs``: the numbers of the steps on which it depends. ``waits``: each for one
    resource. ``transaction``: the number of its transaction, None for a step that is rolled back alone. ``changed``:
    the resources that it changes or awaits. ``joined``: the instances to which it attaches a resource. ``used``: other
    resources that its request names.
    """

    number: int
    stage: Stage
    change: Change | None = None
    waits: tuple[Wait, ...] = ()
    needs: frozenset[int] = frozenset()
    transaction: int | None = None
    changed: frozenset[str] = frozenset()
    joined: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()

    @classmethod
    def of(cls, number: int, stage: Stage, change: Change | None, waits: tuple[Wait, ...]) -> Step:
        """Return the step of a change, of waits or of both, with its resources."""
        changed, joined, used = set[str](), set[str](), set[str]()
        for wait in waits:
            changed.update(wait.resources)
            if kind_of(wait.about):
                (joined if wait.goal in _JOINING else changed).add(wait.about)
        if change is not None:
            changed.add(change.resource)
            instance = change.parameters.get("InstanceId")
            if change.operation.links and isinstance(instance, str):
                (joined if change.operation.joins else changed).add(instance)
            used.update(planned_in(change.parameters), _named(change.parameters))
        joined -= changed
        return cls(
            number,
            stage,
            change,
            waits,
            changed=frozenset(changed),
            joined=frozenset(joined),
            used=frozenset(used - changed - joined),
        )

    @property
    def subjects(self) -> frozenset[str]:
        """The resources that the step changes, awaits or joins."""
        return self.changed | self.joined

    @property
    def resources(self) -> frozenset[str]:
        """All resources of the step."""
        return self.changed | self.joined | self.used


@dataclass(frozen=True)
class Graph:
    """The steps of a plan in the plan's order, and the members of each transaction."""

    steps: tuple[Step, ...]
    transactions: tuple[frozenset[int], ...] = ()


_JOINING = frozenset({"attached", "claimed"})
"""The goals of waits for an attachment."""
_NAMES = frozenset({"InstanceId", "VolumeId", "SnapshotId", "SourceSnapshotId", "ImageId", "SourceImageId"})


def _named(parameters: Any) -> Iterator[str]:
    """Yield the ids in a request. Tags are left out, since anybody may write an id there."""
    if isinstance(parameters, dict):
        for name, value in parameters.items():
            if name in _NAMES and isinstance(value, str):
                yield value
            elif name not in ("Tags", "TagSpecifications"):
                yield from _named(value)
    elif isinstance(parameters, (list, tuple)):
        for value in parameters:
            yield from _named(value)


def graph_of(stages: Sequence[Stage]) -> Graph:
    """Return the graph of a plan's stages."""
    builder = _Builder()
    several = [[Step.of(0, stage, change, waits) for change, waits in _paired(stage)] for stage in stages]
    for steps, union, stage in zip(several, _transactions(stages, several), stages, strict=True):
        builder.add(stage, steps, union)
    for members in builder.members:
        _begin_together(builder.steps, members)
    return Graph(tuple(builder.steps), tuple(frozenset(found) for found in builder.members))


def _begin_together(steps: Sequence[Step], members: set[int]) -> None:
    """Make the first steps of a transaction depend on all outside steps that its members depend on.

    Otherwise an instance would stop and start again for a volume that EC2 cannot make.
    """
    first = min(members)
    outside = {number for member in members for number in steps[member].needs if number not in members}
    before = {number for number in outside if number < first}
    for member in members:
        if members.isdisjoint(steps[member].needs):
            steps[member].needs |= before


def rollback_of(step: Step, members: Iterable[Step]) -> tuple[Stage, ...]:
    """Return the rollback of the transaction in which *step* has failed, for the resources of its *members*."""
    if not step.stage.apart:
        return step.stage.on_failure
    concerned = frozenset[str]().union(*(member.resources for member in members))
    found = []
    for stage in step.stage.on_failure:
        changes = tuple(
            change for change in stage.changes if not concerned.isdisjoint(Step.of(0, stage, change, ()).resources)
        )
        waits = tuple(
            dataclasses.replace(wait, resources=present)
            for wait in stage.waits
            if (present := tuple(resource for resource in wait.resources if resource in concerned))
        )
        if changes or waits:
            found.append(dataclasses.replace(stage, changes=changes, waits=waits))
    return tuple(found)


_WHOLE = ""
"""The name of the transaction that all plain stages of a plan form."""


class _Union:
    """Groups of resources that steps join."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, resource: str) -> str:
        root = resource
        while self._parent.setdefault(root, root) != root:
            root = self._parent[root]
        while self._parent[resource] != root:
            self._parent[resource], resource = root, self._parent[resource]
        return root

    def join(self, resources: Iterable[str]) -> None:
        first, *rest = sorted(resources)
        for other in rest:
            self._parent[self.find(other)] = self.find(first)


def _transactions(stages: Sequence[Stage], several: Sequence[Sequence[Step]]) -> list[_Union | None]:
    """Return, for each stage, the groups of resources of its transactions. None stands for a stage without
    transactions.

    *several*: the steps of each stage.
    """
    subjects: dict[str, set[str]] = defaultdict(set)
    for stage, steps in zip(stages, several, strict=True):
        subjects[stage.transaction].update(stage.tied or (), *(step.subjects for step in steps))
    unions: dict[str, _Union] = defaultdict(_Union)
    found: list[_Union | None] = []
    for stage, steps in zip(stages, several, strict=True):
        if not stage.apart or not stage.transaction:
            found.append(None)
            continue
        union = unions[stage.transaction]
        found.append(union)
        for step in steps:
            others = step.used.union(step.change.after_steps if step.change is not None else ())
            union.join(step.subjects | (others & subjects[stage.transaction]))
    return found


class _Latest:
    """For each resource, the noted steps of the newest stage, and the steps that were noted before that stage."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, list[int], list[int]]] = {}

    def before(self, stage: int, resource: str) -> list[int]:
        """Return the noted steps of the newest stage before this one."""
        newest, steps, earlier = self._found.get(resource, (-1, [], []))
        return earlier if newest == stage else steps

    def note(self, stage: int, resource: str, step: int) -> None:
        """Note a step of this stage about the resource."""
        newest, steps, _earlier = self._found.get(resource, (-1, [], []))
        if newest == stage:
            steps.append(step)
        else:
            self._found[resource] = (stage, [step], steps)


class _Builder:
    """Adds the steps of the stages, one stage after the other."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.members: list[set[int]] = []
        self._stage = -1
        self._changed = _Latest()
        """The steps that change or await a resource."""
        self._joined: dict[str, list[int]] = defaultdict(list)
        """The steps that attach something to an instance."""
        self._made: dict[str, list[int]] = defaultdict(list)
        """The steps that create, await, tag, share or remove a resource."""
        self._used: dict[str, list[int]] = defaultdict(list)
        """The steps that use a resource."""
        self._numbers: dict[tuple[int, str], int] = {}
        self._ended: list[int] = []
        """By transaction, the newest step that joins the whole transaction."""
        self._all: int | None = None
        """The newest step that joins all steps before it."""
        self._in_all = 0
        self._groups: tuple[int, frozenset[str]] = (-1, frozenset())

    def add(self, stage: Stage, steps: Iterable[Step], union: _Union | None) -> None:
        """Add the steps of *stage*. After the steps of a transaction, add a step that joins all its steps so far."""
        self._stage += 1
        before = [] if stage.apart else self._everything(stage)
        first = len(self.steps)
        touched: set[int] = set()
        for step in steps:
            step.number = len(self.steps)
            needs = {*before, *self._needed(step, first)}
            step.transaction = self._transaction(stage, union, step.subjects)
            if step.transaction is not None:
                touched.add(step.transaction)
                if self._ended[step.transaction] >= 0:
                    needs.add(self._ended[step.transaction])
            step.needs = frozenset(needs)
            self._note(step)
        for transaction in sorted(touched):
            self._join(stage, transaction)

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        if step.transaction is not None:
            self.members[step.transaction].add(step.number)
        made = {resource for wait in step.waits for resource in wait.resources}
        change = step.change
        if change is not None and (change.creates or change.operation.readies):
            made.add(change.resource)
        for resource in made:
            self._made[resource].append(step.number)
        for resource in step.used:
            self._used[resource].append(step.number)
        for resource in step.joined:
            self._joined[resource].append(step.number)
        for resource in step.changed:
            self._changed.note(self._stage, resource, step.number)

    def _everything(self, stage: Stage) -> list[int]:
        """Return a step that joins all earlier steps. A plain stage depends on it."""
        new = [step.number for step in self.steps[self._in_all :]]
        if not new:
            return [] if self._all is None else [self._all]
        number = len(self.steps)
        needs = frozenset(new if self._all is None else [*new, self._all])
        self.steps.append(Step(number, stage, needs=needs))
        self._all, self._in_all = number, number + 1
        return [number]

    def _needed(self, step: Step, first: int) -> Iterator[int]:
        """Yield the steps of earlier stages on which a step depends, or the steps that join their transactions.

        *first*: the number of the first step of the stage.
        """
        change, found = step.change, list[int]()
        for resource in step.subjects:
            found += self._changed.before(self._stage, resource)
        for resource in step.changed:
            found += self._joined[resource]
        if change is not None:
            for resource in (*step.used, *change.after_steps):
                found += self._made[resource]
            if change.operation.is_last:
                found += self._used[change.resource]
        else:
            # A wait depends on the changes of its own stage too, but not on tags: they do not lead to its goal.
            for other in self.steps[first:]:
                leads = other.change is not None and not other.change.operation.retags
                if leads and not (step.changed.isdisjoint(other.subjects) and step.joined.isdisjoint(other.changed)):
                    yield other.number
        for number in found:
            if number < first:
                transaction = self.steps[number].transaction
                yield number if transaction is None else self._ended[transaction]

    def _transaction(self, stage: Stage, union: _Union | None, resources: Iterable[str]) -> int | None:
        """Return the number of the transaction of a step about these resources."""
        if stage.apart and union is None:
            return None
        if union is not None and stage.tied is not None and union.find(min(resources)) not in self._tied(stage, union):
            return None
        key = (0, _WHOLE) if union is None else (id(union), union.find(min(resources)))
        if key not in self._numbers:
            self._numbers[key] = len(self.members)
            self.members.append(set())
            self._ended.append(-1)
        return self._numbers[key]

    def _tied(self, stage: Stage, union: _Union) -> frozenset[str]:
        """Return the groups of the resources that join steps of the stage to a transaction."""
        if self._groups[0] != self._stage:
            self._groups = (self._stage, frozenset(union.find(resource) for resource in stage.tied or ()))
        return self._groups[1]

    def _join(self, stage: Stage, transaction: int) -> None:
        """Add a step that joins all steps that the transaction has so far."""
        number = len(self.steps)
        newest = self._ended[transaction]
        needs = {member for member in self.members[transaction] if member > newest}
        if newest >= 0:
            needs.add(newest)
        self.steps.append(Step(number, stage, needs=frozenset(needs), transaction=transaction))
        self.members[transaction].add(number)
        self._ended[transaction] = number


def _paired(stage: Stage) -> Iterator[tuple[Change | None, tuple[Wait, ...]]]:
    """Yield each change of a stage with its own waits, and then every other wait alone.

    Each wait is for one resource.
    """
    alone: list[Wait] = []
    of_changes: dict[int, list[Wait]] = defaultdict(list)
    by_resource: dict[str, list[Change]] = defaultdict(list)
    for change in stage.changes:
        by_resource[change.resource].append(change)
    for wait in stage.waits:
        for resource in wait.resources:
            one = dataclasses.replace(wait, resources=(resource,))
            owners = [change for change in by_resource[resource] if _is_about(change, one)]
            # The effect of a task shows on its instance.
            owners = owners or [change for change in by_resource[wait.about] if change.creates]
            (of_changes[id(owners[0])] if len(owners) == 1 else alone).append(one)
    for change in stage.changes:
        yield change, tuple(of_changes[id(change)])
    for wait in alone:
        yield None, (wait,)


def _is_about(change: Change, wait: Wait) -> bool:
    """Return whether the wait can be for the effect of the change.

    The change must not be about tags, and must have the same instance or none.
    """
    instance = change.parameters.get("InstanceId")
    same = not change.operation.links or not wait.about or instance in (None, wait.about)
    return same and not change.operation.retags
