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

*Undecided*: the successor serves by its tag, or for want of one, and nothing else tells that. The predecessor runs, a
hold from before the launch is to start it, or it ran for more than a day after the launch. A warning names both, and a
policy backs up both. Only a tag that is there keeps the predecessor from being started again. A run that finds it after
that day neither retires it nor replaces its successor (`proofs.may_have_run_on`).

Of several successors of one predecessor, the one that was launched last serves if EC2 shows that no two runs raced
(`proofs.launched_last`), else the one of which the tag says so.

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
    LONGEST_RACE,
    LONGEST_TRIAL,
    can_be_on_trial,
    has_outlasted,
    has_retired,
    is_launched_to_replace,
    is_off,
    is_stopped_before,
    last_transition,
    launch_tokens,
    launched_at,
    launched_last,
)
from .._kernel.resources import Instance, Resource
from .._kernel.state import Query, State, by_id, images_by_id
from .._kernel.times import parse_instant
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
    is the predecessor of an unproven one. Where facts and tags do not agree on one of several successors, their images
    tell more. Raises Ambiguous like `successor`.
    """
    ids = sorted({resource for resource in instance_ids if not is_planned(resource)})
    known = [state.instance(item) for item in ids]
    on_trial = [item for item in known if item is not None and item.tags.get(tag_names.TRIAL) not in (None, SERVING)]
    judges = {item for item in map(predecessor, on_trial) if item is not None} - set(ids)
    several = {item: claimants(state, item) for item in ids}
    images = images_by_id(heir.image_id for item in ids for heir in _disputed(state, several[item]))
    asked = state.knows(*images)
    full = [
        heir.instance_id
        for heir in (_one_of(state, item, several[item]) for item in ids if asked)
        if heir is not None and len(heir.tags.get(tag_names.REPLACES, "")) + _ONE_MORE > tag_names.LONGEST_VALUE
    ]
    return (
        *images,
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
    def is_undecided(self) -> bool:
        """Return whether only its tag, or the want of one, tells that the successor serves: no run has retired the
        predecessor.

        It runs, a hold from before the launch is to start it, or it ran on for long after the launch. A successor that
        is only planned is the plan's own.
        """
        old, new = self.predecessor, self.successor
        if old is None or not new.alive or is_planned(new.instance_id) or self.word is not Phase.SERVING:
            return False
        return old.state in ("pending", "running") or self.waits_for_start or self.was_outrun

    @property
    def was_outrun(self) -> bool:
        """Return whether the predecessor is off without a hold, and EC2 shows that it ran on for more than a day after
        the launch.

        A relaunch retires its predecessor at once. So somebody kept both, or gave the successor up.
        """
        old, birth = self.predecessor, born(self.successor)
        if old is None or birth is None or not old.alive or not is_off(old) or standing_hold(old) is not None:
            return False
        stopped = last_transition(old)
        return stopped is not None and stopped - birth > LONGEST_TRIAL

    @property
    def waits_for_start(self) -> bool:
        """Return whether a hold is to start the predecessor, and EC2 shows that its stop came before the launch."""
        old, birth = self.predecessor, born(self.successor)
        held = old is not None and is_off(old) and standing_hold(old) is not None
        return held and old is not None and birth is not None and is_stopped_before(old, birth)

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


def undecided(state: State, instance_id: str) -> list[Replacement]:
    """Return the replacements by those that stand for this instance, as far as they are undecided
    (`Replacement.is_undecided`).
    """
    found = (replacement_of(state, heir) for heir in claimants(state, instance_id))
    return [item for item in found if item is not None and item.is_undecided]


def doubt_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each replacement of these instances in which the tag and the facts differ."""
    found = [item for name in instance_ids for item in doubtful(state, name)]
    return tuple(dict.fromkeys(_doubt(state, item) for item in found))


def _doubt(state: State, replacement: Replacement) -> str:
    heir, old_id = replacement.successor, str(predecessor(replacement.successor))
    chosen, why = heir.instance_id, ""
    remedy = f"Remove that tag to go on with {heir.instance_id}, or start {old_id} to go on with {old_id}"
    if not replacement.stands:
        chosen, why = old_id, f" Its tag {tag_names.RESTORE_STATE} asks to start it."
    other = _likely(state, old_id)
    if other is not None and other.instance_id != heir.instance_id:
        chosen, remedy = other.instance_id, f"Terminate {heir.instance_id} if {other.instance_id} serves"
    return (
        f"The tag {tag_names.TRIAL} of {heir.instance_id} says {heir.tags[tag_names.TRIAL]!r}, but "
        f"{heir.instance_id} ({heir.state}) ran after the last stop of {old_id}, which it was launched to "
        f"replace.{why} For this task {chosen} is in service, and it ends neither. {remedy}"
    )


def undecided_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each replacement of these instances in which only the tag tells who serves."""
    found = [item for name in instance_ids for item in undecided(state, name)]
    return tuple(dict.fromkeys(undecided_warning(item) for item in found))


def undecided_warning(replacement: Replacement) -> str:
    """Return the warning about an undecided replacement. It names both instances."""
    heir, old = replacement.successor, replacement.predecessor
    old_id = old.instance_id if old is not None else ""
    word = heir.tags.get(tag_names.TRIAL)
    said = f"By its tag {tag_names.TRIAL}" if word is not None else f"Without a tag {tag_names.TRIAL}"
    why, remedy = "runs too", f"stop {old_id}"
    if replacement.was_outrun:
        why, remedy = f"is {old.state if old else ''} and ran for more than a day after that", f"terminate {old_id}"
    if replacement.waits_for_start:
        why, remedy = "a hold is to start again", f"remove the tag {tag_names.RESTORE_STATE} of {old_id}"
    return (
        f"{heir.instance_id} ({heir.state}) was launched to replace {old_id}, which {why}. {said}, {heir.instance_id} "
        f"serves, but no fact shows that. Terminate {heir.instance_id} to go on with {old_id}, or {remedy} to go on "
        f"with {heir.instance_id}"
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
            counts = item == direct or (is_gone(state, item) if shown is None else not shown.alive)
            if item in found or item == heir.instance_id or not counts:
                continue
            found.append(item)
            if shown is not None:
                open_ones.append(shown)
    return tuple(found)


def is_gone(state: State, instance_id: str) -> bool:
    """Return whether EC2 was asked for the instance of that id, and does not show it."""
    return state.instance(instance_id) is None and state.was_asked("DescribeInstances", "instance-id", instance_id)


def ancestor_queries(state: State, instance_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the query for the older ids in the tags of these instances. `ancestors` counts one only if EC2 shows that
    its instance is gone.
    """
    known = [item for item in map(state.instance, instance_ids) if item is not None and predecessor(item) is not None]
    older = {name for item in known for name in tag_names.replaced_ids(item.tags)[1:]}
    return by_id("DescribeInstances", "instance-id", sorted(older))


def claimants(state: State, instance_id: str) -> list[Instance]:
    """Return the living instances that are proven to stand for *instance_id* after one or more replacements, by id.

    Of an instance and its successor only the successor. Usually there is one, or none.
    """
    links = _Links(state)
    claims = {
        key: item for key, item in links.descendants(instance_id).items() if item.alive and not is_on_trial(state, item)
    }
    superseded = {key for key in claims if not claims.keys().isdisjoint(links.descendants(key))}
    return [claims[key] for key in sorted(claims.keys() - superseded)]


def successor(state: State, instance_id: str) -> Instance | None:
    """Return the living instance that stands for *instance_id* after one or more replacements, None when it was not
    replaced.

    Raises Ambiguous when two living instances are proven to, neither replaces the other, and nothing tells which of
    them serves.
    """
    return _one_of(state, instance_id, claimants(state, instance_id))


def _one_of(state: State, instance_id: str, found: Sequence[Instance]) -> Instance | None:
    """Return the one of the claimants that serves. Raises Ambiguous where nothing tells which."""
    if len(found) < 2:
        return found[0] if found else None
    chosen = _choice(state, found)
    if chosen is None:
        candidates = _serving_by_tag(found) or found
        raise Ambiguous(
            f"{instance_id} has several living successors (tag {tag_names.REPLACES}). Terminate the wrong one, or "
            "remove its tag",
            sorted(candidate.instance_id for candidate in candidates),
        )
    return chosen


def _likely(state: State, instance_id: str) -> Instance | None:
    """Return the successor of the instance, or None where there is none, and where nothing tells which it is."""
    found = claimants(state, instance_id)
    return found[0] if len(found) == 1 else _choice(state, found)


def _serving_by_tag(claims: Sequence[Instance]) -> list[Instance]:
    """Return those whose tag does not say that they have never served."""
    return [item for item in claims if item.tags.get(tag_names.TRIAL) in (None, SERVING)]


def _choice_by_facts(state: State, claims: Sequence[Instance]) -> Instance | None:
    """Return the one of several claimants that serves as EC2's facts tell. One that was stopped for good does not."""
    images = {item.image_id: state.image(item.image_id) for item in claims}
    dates = {key: parse_instant(image.creation_date or "") for key, image in images.items() if image is not None}
    made = {key: moment for key, moment in dates.items() if moment is not None}
    last = launched_last(claims, made) if len({predecessor(item) for item in claims}) == 1 else None
    if last is None or not is_off(last) or standing_hold(last) is not None or all(map(is_off, claims)):
        return last
    return None


def _choice(state: State, claims: Sequence[Instance]) -> Instance | None:
    """Return the one of several claimants that serves: as EC2's facts tell, else as the tags do. None where none
    tells.
    """
    said = _serving_by_tag(claims)
    return _choice_by_facts(state, claims) or (said[0] if len(said) == 1 else None)


def disputed(state: State, instance_id: str) -> list[Instance]:
    """Return the claimants of *instance_id* where they are several, and facts and tags do not agree on one of them."""
    return _disputed(state, claimants(state, instance_id))


def _disputed(state: State, found: list[Instance]) -> list[Instance]:
    agreed = len(found) < 2 or _serving_by_tag(found) == [_choice_by_facts(state, found)]
    return [] if agreed else found


def outdated_rivals(state: State, heir: Instance) -> frozenset[str]:
    """Return the ids of the other claimants, where EC2's facts tell that *heir* serves: no run works on them."""
    found = claimants(state, predecessor(heir) or "")
    chosen = _choice_by_facts(state, found)
    mine = chosen is not None and chosen.instance_id == heir.instance_id
    return frozenset(item.instance_id for item in found) - {heir.instance_id} if mine else frozenset()


def dispute_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each of these instances of which several successors may serve, but one is chosen."""
    found = ((name, disputed(state, name)) for name in dict.fromkeys(instance_ids))
    chosen = ((name, several, _choice(state, several)) for name, several in found if several)
    return tuple(_dispute(state, name, several, one) for name, several, one in chosen if one is not None)


def _dispute(state: State, instance_id: str, several: Sequence[Instance], chosen: Instance) -> str:
    told = _choice_by_facts(state, several)
    why = "EC2 shows that it was launched last" if told is not None else f"the tags {tag_names.TRIAL} say so"
    words = (f"{item.instance_id} ({item.state}, {item.tags.get(tag_names.TRIAL, 'no tag')})" for item in several)
    return (
        f"{instance_id} has several living successors: {listed(words)}. For this task {chosen.instance_id} is in "
        f"service, since {why}. Terminate the ones that do not serve"
    )


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


def older_id_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each gone instance that only an older id in a tag leads to its successor.

    Each relaunch writes the ids of the whole chain, and EC2 forgets an instance an hour after its end. So nothing
    proves such an id any more.
    """
    found = []
    for instance_id in dict.fromkeys(instance_ids):
        heir = _likely(state, instance_id) if is_gone(state, instance_id) else None
        if heir is None or predecessor(heir) == instance_id:
            continue
        between = [item for item in descendants(state, instance_id) if predecessor(item) == instance_id]
        if not between:
            found.append(
                f"{instance_id} does not exist any more. The tag {tag_names.REPLACES} of {heir.instance_id} says that "
                f"{heir.instance_id} stands for it, and nothing proves that. This task goes on with "
                f"{heir.instance_id}. Name {heir.instance_id} instead of {instance_id}"
            )
    return tuple(found)


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
    loser may be all that runs then. That they never served, and that *current* does, is the word of tags: see
    `has_lost`.
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


def is_proven_loser(state: State, loser: Instance, current: Instance, now: datetime) -> bool:
    """Return whether EC2's facts prove that *current* won a race for their predecessor, and leave room for the claim
    that *loser* never served.

    The predecessor was stopped after the launch of *current* and before that of *loser*. The image of *loser* is older
    than *current*: a run that saw *current* given up would have launched a later version.
    """
    old, first, second = state.instance(predecessor(loser)), born(current), born(loser)
    if old is None or predecessor(current) != old.instance_id or first is None or second is None:
        return False
    image = state.image(loser.image_id)
    made = None if image is None else parse_instant(image.creation_date or "")
    if made is None or made > first or not has_retired(current, old, second):
        return False
    return has_lost(loser, current, LONGEST_RACE) and can_be_on_trial(loser, old, now)


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
    # What was stopped after the launch is retired: nothing proves that its hold is of this replacement.
    held = old.alive and standing_hold(old) is not None
    return held and (born(heir) is None or Replacement(old, heir).waits_for_start)


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
