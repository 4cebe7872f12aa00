# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instance that an id stands for: itself, or the living one that has replaced it.

A replaced instance is gone from EC2's answers an hour after its end, so the record is a tag on the successor,
``ec2ops:replaces``, with the ids of all it stands for. An operator's inventory may go on naming the first of them.

A successor does not stand for anybody before it has proved itself. How far it is says the tag ``ec2ops:trial`` on it:
``unproven`` from its launch on; ``serving`` once it is healthy and before the old one is touched; ``rejected`` when the
old one has gone on in its place. Without the tag nothing of the old one had to be retired. `relaunch` has the table of
what follows.

`Replacement` derives the phase from that tag, and from facts that overrule it:

======================================= =================== =========================== ==================
predecessor                             no tag, ``serving`` ``unproven``, another word  ``rejected``
======================================= =================== =========================== ==================
runs                                    serving             unproven                    rejected
is off, and its hold stands             serving             unproven                    rejected
is off without one, and ran last        retired             unproven                    rejected
is off without one; successor ran last  retired             retired, in doubt           retired, in doubt
is terminated, or gone                  retired             retired                     retired
======================================= =================== =========================== ==================

A successor stands for its predecessor while it serves, and once the predecessor is retired. *In doubt*: the word and
the facts differ, so a warning names both, a policy backs up both, and nobody ends either.

The tags only say where to look. A successor is believed to replace its direct predecessor, the first id of its tag,
when EC2 shows the ClientToken of that relaunch (`proofs.is_launched_to_replace`). It stands for an older id when EC2
shows the links between, or when the instance of that id is gone: then nobody else can be meant.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from .._kernel import tags as tag_names
from .._kernel.errors import Ambiguous, SpecError, UnsafePlan, listed
from .._kernel.ids import is_planned
from .._kernel.plan import Change, Precondition
from .._kernel.proofs import (
    has_outlasted,
    is_launched_to_replace,
    is_off,
    is_stopped_before,
    launch_tokens,
    launched_at,
)
from .._kernel.resources import Instance, Resource
from .._kernel.state import Query, State, by_id
from .hold import standing_hold

# What `tags.TRIAL` says of a successor. A word that is none of them counts as UNPROVEN.
UNPROVEN, SERVING, REJECTED = "unproven", "serving", "rejected"

# With 32 ClientTokens each, these fit into EC2's 200 values of one filter.
_MOST_IMAGES = 6
# An instance id and the comma before it, as `tags.replaces_value` writes them.
_ONE_MORE = len(",i-0123456789abcdef0")


def lineage_queries(instance_ids: Iterable[str], state: State) -> tuple[Query, ...]:
    """Return the queries that `living` needs: for the instances, and for their successors.

    A full tag may have no room for these ids any more. So the successors of a known successor are asked for too, and so
    is the predecessor of an unproven one.
    """
    ids = sorted({resource for resource in instance_ids if not is_planned(resource)})
    known = [state.instance(item) for item in ids]
    on_trial = [item for item in known if item is not None and item.tags.get(tag_names.TRIAL) not in (None, SERVING)]
    judges = {item for item in map(predecessor, on_trial) if item is not None} - set(ids)
    full = [
        heir.instance_id
        for heir in (successor(state, item) for item in ids)
        if heir is not None and len(heir.tags.get(tag_names.REPLACES, "")) + _ONE_MORE > tag_names.LONGEST_VALUE
    ]
    return (
        *by_id("DescribeInstances", "instance-id", ids),
        *successor_queries(ids),
        *successor_queries(full),
        *by_id("DescribeInstances", "instance-id", judges),
    )


def successor_queries(instance_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the query for successors of these instances."""
    ids = sorted({resource for resource in instance_ids if not is_planned(resource)})
    if not ids:
        return ()
    # The tag holds several ids, so the filter needs wildcards; 200 values is EC2's limit for one filter.
    return tuple(
        Query(
            "DescribeInstances",
            ((f"tag:{tag_names.REPLACES}", tuple(f"*{item}*" for item in ids[start : start + 200])),),
        )
        for start in range(0, len(ids), 200)
    )


def launch_queries(old: Instance, image_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the question whether EC2 shows a successor of *old* from one of the first six images, whatever its tags
    say.

    Asked only where *old* looks retired and nothing claims to replace it: somebody may have removed the tag.
    """
    ids = [item for item in image_ids if not is_planned(item)][:_MOST_IMAGES]
    if not ids or is_planned(old.instance_id) or not is_off(old) or standing_hold(old) is not None:
        return ()
    tokens = tuple(token for item in ids for token in launch_tokens(old.instance_id, item))
    return (Query("DescribeInstances", (("client-token", tokens),)),)


def untagged(state: State, image_ids: Collection[str]) -> list[tuple[Instance, Instance]]:
    """Return the living successors from these images whose tag `tags.REPLACES` is gone or altered: as they are, and
    with it.

    Their ClientToken proves whom of the known instances they were launched to replace.
    """
    found = sorted(state.all(Instance), key=lambda item: item.instance_id)
    pairs = []
    for item in found:
        known = item.alive and item.image_id in image_ids and not is_planned(item.instance_id)
        if not known or predecessor(item) is not None:
            continue
        old = next((one for one in found if is_launched_to_replace(item, one.instance_id)), None)
        if old is not None:
            inherited = tag_names.replaced_ids(old.tags) if predecessor(old) is not None else ()
            value = tag_names.replaces_value(old.instance_id, inherited)
            pairs.append((item, replace(item, tags={**item.tags, tag_names.REPLACES: value})))
    return pairs


def predecessor(heir: Instance) -> str | None:
    """Return the id of the instance that *heir* was launched to replace; None where no ClientToken
    of EC2's proves it.
    """
    first = next(iter(tag_names.replaced_ids(heir.tags)), None)
    return first if first is not None and is_launched_to_replace(heir, first) else None


class Phase(StrEnum):
    """The phase of a replacement."""

    UNPROVEN = "unproven"
    SERVING = "serving"
    REJECTED = "rejected"
    RETIRED = "retired"


@dataclass(frozen=True)
class Replacement:
    """One proven successor, and the predecessor that it was launched to replace; None where EC2 does not show it."""

    predecessor: Instance | None
    successor: Instance

    @property
    def word(self) -> Phase:
        """The word in the tag `tags.TRIAL`. An unknown word counts as unproven."""
        said = self.successor.tags.get(tag_names.TRIAL)
        if said in (None, SERVING):
            return Phase.SERVING
        return Phase.REJECTED if said == REJECTED else Phase.UNPROVEN

    @property
    def phase(self) -> Phase:
        """The phase: see the table of this module."""
        old, new = self.predecessor, self.successor
        if old is None or not old.alive:
            return Phase.RETIRED
        if not is_off(old) or standing_hold(old) is not None:
            return self.word
        return Phase.RETIRED if self.word is Phase.SERVING or has_outlasted(new, old) else self.word

    @property
    def stands(self) -> bool:
        """Return whether the successor stands for its predecessor."""
        return self.phase in (Phase.SERVING, Phase.RETIRED)

    @property
    def in_doubt(self) -> bool:
        """Return whether the tag says that the successor has not served, and EC2's facts say otherwise.

        Also where a hold is to start the predecessor, which is off while the successor runs: nothing proves that hold.
        """
        old, new = self.predecessor, self.successor
        return (
            self.word is not Phase.SERVING and old is not None and old.alive and new.alive and has_outlasted(new, old)
        )


def replacement_of(state: State, heir: Instance) -> Replacement | None:
    """Return the replacement that launched *heir*; None for an instance that no ClientToken proves
    to be a successor.
    """
    old_id = predecessor(heir)
    return None if old_id is None else Replacement(state.instance(old_id), heir)


def doubtful(state: State, instance_id: str) -> list[Replacement]:
    """Return the replacements of this instance, or by it, in which the tag and the facts differ
    (`Replacement.in_doubt`).
    """
    itself = state.instance(instance_id)
    heirs = (*descendants(state, instance_id), *(() if itself is None else (itself,)))
    found = [item for item in (replacement_of(state, heir) for heir in heirs) if item is not None and item.in_doubt]
    return sorted(found, key=lambda item: item.successor.instance_id)


def doubt_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each replacement of these instances in which the tag and the facts differ."""
    found = [item for name in instance_ids for item in doubtful(state, name)]
    return tuple(dict.fromkeys(_doubt(item) for item in found))


def _doubt(replacement: Replacement) -> str:
    heir, old_id = replacement.successor, predecessor(replacement.successor)
    chosen, why = heir.instance_id, ""
    if not replacement.stands:
        chosen, why = str(old_id), f" Its tag {tag_names.RESTORE_STATE} asks to start it."
    return (
        f"The tag {tag_names.TRIAL} of {heir.instance_id} says {heir.tags[tag_names.TRIAL]!r}, but "
        f"{heir.instance_id} ({heir.state}) ran after the last stop of {old_id}, which it was launched to "
        f"replace.{why} For this task {chosen} is in service, and it ends neither. Remove that tag to go on with "
        f"{heir.instance_id}, or start {old_id} to go on with {old_id}"
    )


class _Links:
    """The proven links among the instances of a state, read once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._claims: dict[str, list[tuple[Instance, bool]]] = {}
        for item in state.all(Instance):
            direct = predecessor(item) if tag_names.REPLACES in item.tags else None
            for older in dict.fromkeys(tag_names.replaced_ids(item.tags)) if direct is not None else ():
                self._claims.setdefault(older, []).append((item, older == direct))

    def heirs(self, instance_id: str) -> list[Instance]:
        """Return the proven successors of this instance, dead ones too.

        Where EC2 does not show it alive, also those that carry its id from a predecessor which is gone. While it is
        alive, such a claim proves nothing: anybody who may write tags can make it.
        """
        shown = self._state.instance(instance_id)
        gone = shown is None or not shown.alive
        return [item for item, direct in self._claims.get(instance_id, ()) if gone or direct]

    def descendants(self, instance_id: str) -> dict[str, Instance]:
        """By id, every instance that has replaced this one, directly or through others."""
        found: dict[str, Instance] = {}
        open_ids = [instance_id]
        while open_ids:
            for heir in self.heirs(open_ids.pop()):
                if heir.instance_id not in found and heir.instance_id != instance_id:
                    found[heir.instance_id] = heir
                    open_ids.append(heir.instance_id)
        return found


def descendants(state: State, instance_id: str) -> list[Instance]:
    """Return every instance that has replaced this one, directly or through others that have, as far as EC2 shows; by
    id.
    """
    found = _Links(state).descendants(instance_id)
    return [found[key] for key in sorted(found)]


def ancestors(state: State, heir: Instance) -> tuple[str, ...]:
    """Return the ids that *heir* is proven to stand for, newest first: out of its tag, and the tags of those that it
    replaced.

    An id that its tag alone claims is not among them while EC2 shows that instance alive.
    """
    found: list[str] = []
    open_ones = [heir]
    while open_ones:
        one = open_ones.pop()
        direct = predecessor(one)
        for item in tag_names.replaced_ids(one.tags) if direct is not None else ():
            shown = state.instance(item)
            if item in found or item == heir.instance_id or not (item == direct or shown is None or not shown.alive):
                continue
            found.append(item)
            if shown is not None:
                open_ones.append(shown)
    return tuple(found)


def successor(state: State, instance_id: str) -> Instance | None:
    """Return the living instance that stands for *instance_id* after one or more replacements, None when it was not
    replaced.

    Raises Ambiguous when two living instances are proven successors, and neither replaces the other.
    """
    links = _Links(state)
    claims = {
        key: item for key, item in links.descendants(instance_id).items() if item.alive and not is_on_trial(state, item)
    }
    superseded = {key for key in claims if not claims.keys().isdisjoint(links.descendants(key))}
    newest = [item for key, item in claims.items() if key not in superseded]
    # One whose trial has lost its judge yields to one that serves: a run that came second was ended then.
    newest = [item for item in newest if item.tags.get(tag_names.TRIAL) in (None, SERVING)] or newest
    if len(newest) > 1:
        raise Ambiguous(
            f"{instance_id} has several living successors (tag {tag_names.REPLACES}). Terminate the wrong one, or "
            "remove its tag",
            sorted(candidate.instance_id for candidate in newest),
        )
    return newest[0] if newest else None


def claim_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning about the living instances whose tag claims to replace one of these ids,
    against EC2's facts.
    """
    found = []
    for instance_id in dict.fromkeys(instance_ids):
        proven = {item.instance_id for item in descendants(state, instance_id)}
        found += [
            f"{item.instance_id} claims {instance_id}"
            for item in sorted(state.all(Instance), key=lambda one: one.instance_id)
            if item.alive and item.instance_id not in proven and instance_id in tag_names.replaced_ids(item.tags)
        ]
    if not found:
        return ()
    warning = (
        f"The tag {tag_names.REPLACES} is unproven: {listed(found)}. EC2 shows no ClientToken of a relaunch that "
        "links them. Remove the tag, or terminate the older instance if it was replaced."
    )
    return (warning,)


def require_unclaimed(state: State, instance: Instance, option: str) -> None:
    """Raise UnsafePlan when *instance* is off and a successor claims it through a predecessor that EC2 does not show.

    Such a successor was launched by a relaunch, so the claim may well be true, and the data of *instance* old. One that
    is held by a run is about to run again, so it is not in doubt.
    """
    if instance.state not in ("stopped", "stopping") or standing_hold(instance) is not None:
        return
    proven = descendants(state, instance.instance_id)
    claims = sorted(
        item.instance_id
        for item in state.all(Instance)
        if item.alive
        and instance.instance_id in tag_names.replaced_ids(item.tags)
        and predecessor(item) is not None
        and state.instance(predecessor(item)) is None
        and item not in proven
    )
    if claims:
        raise UnsafePlan(
            f"{option}: {instance.instance_id} is {instance.state}, and {listed(claims)} claims to replace it (tag "
            f"{tag_names.REPLACES}). Nothing proves that, since EC2 does not show the instance between them any "
            f"more. Name {claims[0]} to go on with it, or remove {instance.instance_id} from its tag"
        )


def is_on_trial(state: State, heir: Instance) -> bool:
    """Return whether *heir* has not proved itself, or was rejected, as far as its `Replacement` tells."""
    replacement = replacement_of(state, heir)
    return replacement is not None and not replacement.stands


def on_trial_for(state: State, instance_id: str) -> list[Instance]:
    """Return the living ones that were launched to replace this instance and do not stand for it, by id."""
    found = [item for item in state.all(Instance) if item.alive and predecessor(item) == instance_id]
    return sorted((item for item in found if is_on_trial(state, item)), key=lambda item: item.instance_id)


def losers(state: State, current: Instance) -> list[Instance]:
    """Return the living instances that were launched to replace a predecessor of *current* too, and never served; by
    id.

    Their run lost against the one that launched *current*, and ended before it could terminate them. Only launches that
    a ClientToken proves count, of *current* and its predecessors too. None while *current* does not serve itself: the
    loser may be all that runs then. That they never served is the word of a tag: see `has_lost`.
    """
    if current.state not in ("pending", "running") or current.tags.get(tag_names.TRIAL) not in (None, SERVING):
        return []
    lineage = [current.instance_id]
    one: Instance | None = current
    while one is not None and (older := predecessor(one)) is not None and older not in lineage:
        lineage.append(older)
        one = state.instance(older)
    found = [
        item
        for item in state.all(Instance)
        if item.alive
        and item.instance_id not in lineage
        and item.tags.get(tag_names.TRIAL) not in (None, SERVING)
        and predecessor(item) in lineage[1:]
    ]
    return sorted(found, key=lambda item: item.instance_id)


def has_lost(loser: Instance, current: Instance, race: timedelta) -> bool:
    """Return whether EC2's facts agree that *loser* came second in a race with *current*: launched after it, within
    *race*.

    A tag could call an instance a loser that has served for long, before *current* or beside it.
    """
    first, second = born(current), born(loser)
    return first is not None and second is not None and first <= second <= first + race


def living(state: State, instance_id: str, option: str, *, follow: bool = True) -> Instance:
    """Return the instance that *instance_id* stands for: its living successor, else itself. Without *follow*, itself.

    Raises SpecError, naming *option*, for an id that EC2 does not know, and for a terminated one without a successor.
    """
    heir = successor(state, instance_id) if follow else None
    if heir is not None:
        return heir
    found = state.instance(instance_id)
    if found is None:
        raise SpecError(
            f"{option}: {instance_id} does not exist in {state.region}, and has no successor there. Check the id and "
            "the region"
        )
    if not found.alive:
        raise SpecError(f"{option}: {instance_id} is {found.state}, and has no living successor")
    return found


def born(heir: Instance) -> datetime | None:
    """When *heir* was launched. LaunchTime moves with every start; the first attachment does not."""
    return launched_at(heir)


def started_since(old: Instance, heir: Instance) -> bool:
    """Return whether *old* was started after the launch of *heir*: it has served since."""
    birth = born(heir)
    return birth is not None and old.launch_time is not None and old.launch_time > birth


def trial_record(heir_id: str, tags: Mapping[str, str], word: str, region: str, reason: str) -> Change:
    """Return the change that writes the phase on a successor with these *tags*."""
    record = {tag_names.TRIAL: word}
    parameters = {"Tags": tag_names.boto3_tags(record)}
    return Change("CreateTags", heir_id, region, parameters, reason, {"tags": dict(tags)}, {"tags": {**tags, **record}})


def _rivals_query(old_id: str) -> Query:
    return Query("DescribeInstances", ((f"tag:{tag_names.REPLACES}", (f"*{old_id}*",)),))


def _rivals(found: Sequence[Resource], old_id: str, known: frozenset[str]) -> list[Instance]:
    """Return the living that claim *old_id* and are neither given up nor *known*, the earliest first."""
    shown = State("").with_resources(item for item in found if isinstance(item, Instance))
    # Who was asked for lives, as far as the planner knows: only proven links count.
    shown = shown.with_resources(() if shown.instance(old_id) else (Instance(old_id),))
    claims = [
        item
        for item in descendants(shown, old_id)
        if item.alive and item.instance_id not in known and item.tags.get(tag_names.TRIAL) != REJECTED
    ]
    return sorted(claims, key=_seniority)


def _seniority(heir: Instance) -> tuple[datetime, str]:
    """Return a sort key by which the successor that came first has the lesser value."""
    return born(heir) or heir.launch_time or datetime.max.replace(tzinfo=UTC), heir.instance_id


def _described(heir: Instance) -> str:
    return f"{heir.instance_id} ({heir.state}, from {heir.image_id})"


def unreplaced(old_id: str, image_id: str, known: frozenset[str]) -> Precondition:
    """Return the precondition that nothing else replaces *old_id* since the plan, which rejected the *known* ones.

    A launch from the same image is the same launch: the client token finds it.
    """

    def objection(found: Sequence[Resource], _planned: str) -> str:
        rivals = [
            item for item in _rivals(found, old_id, known) if item.image_id != image_id or predecessor(item) != old_id
        ]
        if not rivals:
            return ""
        return (
            f"image_id: another run has launched {_described(rivals[0])} to replace {old_id} meanwhile, and only one "
            f"successor may serve. Nothing was launched from {image_id}. Run the task again once that replacement is "
            "finished."
        )

    return Precondition(_rivals_query(old_id), objection)


def unrivalled(old_id: str, known: frozenset[str]) -> Precondition:
    """Return the precondition that the change's resource may serve in place of *old_id*. The first of several
    successors may.

    One that serves already is never second. Whoever was launched later looks later, so that it sees the other one. One
    that was given up meanwhile, because the predecessor is back, may not serve either.
    """

    def objection(found: Sequence[Resource], own_id: str) -> str:
        own = next((item for item in found if isinstance(item, Instance) and item.instance_id == own_id), None)
        if own is not None and own.tags.get(tag_names.TRIAL) == REJECTED:
            return (
                f"instance_id: {own_id} is rejected, since another run has started {old_id} again meanwhile. Run the "
                f"task again to replace {old_id}."
            )
        first = next(
            (
                item
                for item in _rivals(found, old_id, known | {own_id})
                if own is None
                or item.tags.get(tag_names.TRIAL) in (None, SERVING)
                or _seniority(item) < _seniority(own)
            ),
            None,
        )
        if first is None:
            return ""
        return (
            f"image_id: {own_id} is rejected, since another run launched {_described(first)} first to replace "
            f"{old_id}. Only one successor may serve. Run the task again once that replacement is finished."
        )

    return Precondition(_rivals_query(old_id), objection)


def is_unretired(old: Instance | None, heir: Instance) -> bool:
    """Return whether *heir* serves, and a run was ended before it had retired *old*; not when *old*
    was started since.
    """
    if old is None or heir.tags.get(tag_names.TRIAL) != SERVING or started_since(old, heir):
        return False
    if old.state in ("pending", "running"):
        return True
    birth = born(heir)
    # What was stopped after the launch is retired: nothing proves that its hold is of this replacement.
    held = old.alive and standing_hold(old) is not None
    return held and (birth is None or not is_off(old) or is_stopped_before(old, birth))


def settling_queries(state: State, instance_id: str) -> tuple[Query, ...]:
    """Return the queries that `require_settled` needs beside `lineage_queries`, if the given id is
    the successor's own.
    """
    given = state.instance(instance_id)
    old_id = predecessor(given) if given is not None and tag_names.TRIAL in given.tags else None
    return () if old_id is None else by_id("DescribeInstances", "instance-id", [old_id])


def require_settled(state: State, instance: Instance, option: str) -> None:
    """Raise UnsafePlan while a replacement of *instance*, or by it, is unfinished, since either may have the data.

    A rejected replacement is finished.
    """
    trials = on_trial_for(state, instance.instance_id)
    pairs = [(instance, heir) for heir in trials if heir.tags[tag_names.TRIAL] != REJECTED]
    old = state.instance(predecessor(instance))
    if old is not None and (is_on_trial(state, instance) or is_unretired(old, instance)):
        pairs.append((old, instance))
    for before, after in pairs:
        serves = after.tags[tag_names.TRIAL] == SERVING
        proof = "serves, but the predecessor is not retired" if serves else "is unproven"
        raise UnsafePlan(
            f"{option}: a replacement is unfinished. {after.instance_id} ({after.state}, from {after.image_id}) was "
            f"launched to replace {before.instance_id} ({before.state}) and {proof}. To finish it, run that relaunch "
            f"again with {after.image_id}, or with its version. To go on with {before.instance_id}, terminate "
            f"{after.instance_id}"
        )


def require_no_way_back(state: State, heir: Instance, instance_id: str, option: str) -> None:
    """Raise UnsafePlan when *heir* is stopped and what it has replaced runs again: somebody went back, and has newer
    data.
    """
    if heir.state not in ("stopped", "stopping"):
        return
    for older_id in (instance_id, *ancestors(state, heir)):
        older = state.instance(older_id)
        # The given id may be of one that was to replace *heir*, and was rejected.
        if older is None or heir.instance_id in ancestors(state, older):
            continue
        if older.state in ("running", "pending"):
            raise UnsafePlan(
                f"{option}: {older_id} is {older.state} again, but its successor {heir.instance_id} is {heir.state}. "
                f"To go on with {older_id}, terminate {heir.instance_id} or remove its tag {tag_names.REPLACES}. To "
                f"go on with {heir.instance_id}, start it"
            )
