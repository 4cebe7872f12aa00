# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instance that an id stands for: the instance itself, or the living instance that has replaced it.

EC2 forgets a terminated instance after an hour. So the record is a tag on the successor, ``ec2ops:replaces``, with the
ids of all instances that it stands for. An operator's inventory may still name the first of them.

The tags only show where to look. A successor stands for its direct predecessor, the first id in its tag, if EC2 shows
the ClientToken of that relaunch (`instance_proofs.is_launched_to_replace`). It stands for an older id if EC2 shows the
links between the two, or if the older instance is gone, since then the id can mean no other instance.

The last of several successors of one predecessor serves if EC2 shows that no two runs raced
(`instance_proofs.launched_last`). Otherwise the tag `tags.TRIAL` decides.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from .._kernel import tags as tag_names
from .._kernel.errors import Ambiguous, SpecError
from .._kernel.ids import is_planned
from .._kernel.instance_proofs import is_launched_to_replace, is_off, launch_tokens
from .._kernel.resources import Instance
from .._kernel.state import Query, State, by_id, images_by_id
from .hold import standing_hold
from .replacement import SERVING, Replacement, choice_by_facts, is_on_trial, predecessor, replacement_of

# One filter of EC2 takes 200 values, and six images have 32 ClientTokens each.
_MOST_IMAGES = 6
# An instance id and the comma before it, as `tags.replaces_value` writes them.
_ONE_MORE = len(",i-0123456789abcdef0")


def lineage_queries(instance_ids: Iterable[str], state: State) -> tuple[Query, ...]:
    """Return the queries that `living` needs: for the instances, and for their successors.

    A full tag may have no room for these ids any more. So there are also queries for the successors of a known
    successor, and for the predecessor of an unproven one. If facts and tags do not agree on one of several successors,
    the queries also ask for their images. Raises Ambiguous like `successor`.
    """
    ids = sorted({resource for resource in instance_ids if not is_planned(resource)})
    known = [state.instance(item) for item in ids]
    on_trial = [item for item in known if item is not None and item.tags.get(tag_names.TRIAL) not in (None, SERVING)]
    judges = {item for item in map(predecessor, on_trial) if item is not None} - set(ids)
    several = {item: claimants(state, item) for item in ids}
    images = images_by_id(newer.image_id for item in ids for newer in _disputed(state, several[item]))
    asked = state.knows(*images)
    full = [
        newer.instance_id
        for newer in (_one_of(state, item, several[item]) for item in ids if asked)
        if newer is not None and len(newer.tags.get(tag_names.REPLACES, "")) + _ONE_MORE > tag_names.LONGEST_VALUE
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
    """Return the query for a successor of *old* from one of the first six images, with any tags.

    It is asked only if *old* looks retired and no instance claims to replace it, since somebody may have removed the
    tag.
    """
    ids = [item for item in image_ids if not is_planned(item)][:_MOST_IMAGES]
    if not ids or is_planned(old.instance_id) or not is_off(old) or standing_hold(old) is not None:
        return ()
    tokens = tuple(token for item in ids for token in launch_tokens(old.instance_id, item))
    return (Query("DescribeInstances", (("client-token", tokens),)),)


def untagged(state: State, image_ids: Collection[str]) -> list[tuple[Instance, Instance]]:
    """Return the living successors from these images with a missing or altered tag `tags.REPLACES`, as they are and
    with the correct tag.

    Their ClientToken proves which known instance they were launched to replace.
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


def doubtful(state: State, instance_id: str) -> list[Replacement]:
    """Return the replacements in which this instance is the predecessor or the successor, and the tag and the facts
    differ (`Replacement.in_doubt`).
    """
    itself = state.instance(instance_id)
    successors = (*descendants(state, instance_id), *(() if itself is None else (itself,)))
    found = [
        item for item in (replacement_of(state, newer) for newer in successors) if item is not None and item.in_doubt
    ]
    return sorted(found, key=lambda item: item.successor.instance_id)


def undecided(state: State, instance_id: str) -> list[Replacement]:
    """Return the undecided replacements by instances that stand for this one (`Replacement.is_undecided`)."""
    found = (replacement_of(state, newer) for newer in claimants(state, instance_id))
    return [item for item in found if item is not None and item.is_undecided]


class _Links:
    """The proven links among the instances of a state, read once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._claims: dict[str, list[tuple[Instance, bool]]] = {}
        for item in state.all(Instance):
            direct = predecessor(item) if tag_names.REPLACES in item.tags else None
            for older in dict.fromkeys(tag_names.replaced_ids(item.tags)) if direct is not None else ():
                self._claims.setdefault(older, []).append((item, older == direct))

    def successors(self, instance_id: str) -> list[Instance]:
        """Return the proven successors of this instance, including terminated ones.

        If EC2 does not show the instance alive, instances whose tag has its id as an older one count too. While it is
        alive, such a claim proves nothing, since anybody who may write tags can make it.
        """
        shown = self._state.instance(instance_id)
        gone = shown is None or not shown.alive
        return [item for item, direct in self._claims.get(instance_id, ()) if gone or direct]

    def descendants(self, instance_id: str) -> dict[str, Instance]:
        """Return, by id, every instance that has replaced this one, directly or through others."""
        found: dict[str, Instance] = {}
        open_ids = [instance_id]
        while open_ids:
            for newer in self.successors(open_ids.pop()):
                if newer.instance_id not in found and newer.instance_id != instance_id:
                    found[newer.instance_id] = newer
                    open_ids.append(newer.instance_id)
        return found


def descendants(state: State, instance_id: str) -> list[Instance]:
    """Return, by id, every instance that has replaced this one, directly or through other replacements, as far as EC2
    shows them.
    """
    found = _Links(state).descendants(instance_id)
    return [found[key] for key in sorted(found)]


def ancestors(state: State, newer: Instance) -> tuple[str, ...]:
    """Return the ids that *newer* is proven to stand for, newest first, from its tag and the tags of its predecessors.

    An id that only its tag claims does not count while EC2 shows that instance alive.
    """
    found: list[str] = []
    open_ones = [newer]
    while open_ones:
        one = open_ones.pop()
        direct = predecessor(one)
        for item in tag_names.replaced_ids(one.tags) if direct is not None else ():
            shown = state.instance(item)
            counts = item == direct or (is_gone(state, item) if shown is None else not shown.alive)
            if item in found or item == newer.instance_id or not counts:
                continue
            found.append(item)
            if shown is not None:
                open_ones.append(shown)
    return tuple(found)


def is_gone(state: State, instance_id: str) -> bool:
    """Return whether EC2 was asked for the instance with that id, and does not show it."""
    return state.instance(instance_id) is None and state.was_asked("DescribeInstances", "instance-id", instance_id)


def ancestor_queries(state: State, instance_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the query for the older ids in the tags of these instances. `ancestors` counts an id only if EC2 shows
    that its instance is gone.
    """
    known = [item for item in map(state.instance, instance_ids) if item is not None and predecessor(item) is not None]
    older = {name for item in known for name in tag_names.replaced_ids(item.tags)[1:]}
    return by_id("DescribeInstances", "instance-id", sorted(older))


def claimants(state: State, instance_id: str) -> list[Instance]:
    """Return the living instances that are proven to stand for *instance_id* after one or more replacements, by id.

    If one of these instances is the successor of another, only the successor counts. Usually there is one, or none.
    """
    links = _Links(state)
    claims = {
        key: item for key, item in links.descendants(instance_id).items() if item.alive and not is_on_trial(state, item)
    }
    superseded = {key for key in claims if not claims.keys().isdisjoint(links.descendants(key))}
    return [claims[key] for key in sorted(claims.keys() - superseded)]


def successor(state: State, instance_id: str) -> Instance | None:
    """Return the living instance that stands for *instance_id* after one or more replacements, or None if it was not
    replaced.

    Raises Ambiguous if two living instances are proven to stand for it, neither replaces the other, and no fact or tag
    shows which of them serves.
    """
    return _one_of(state, instance_id, claimants(state, instance_id))


def _one_of(state: State, instance_id: str, found: Sequence[Instance]) -> Instance | None:
    """Return the claimant that serves. Raises Ambiguous if no fact or tag shows which one serves."""
    if len(found) < 2:
        return found[0] if found else None
    chosen = _choice(state, found)
    if chosen is None:
        candidates = _serving_by_tag(found) or found
        raise Ambiguous(
            f"{instance_id} has several living successors (tag {tag_names.REPLACES})",
            sorted(candidate.instance_id for candidate in candidates),
            "Terminate the wrong one, or remove its tag",
        )
    return chosen


def _likely(state: State, instance_id: str) -> Instance | None:
    """Return the successor of the instance.

    Return None if there is none, or if no fact or tag shows which one serves.
    """
    found = claimants(state, instance_id)
    return found[0] if len(found) == 1 else _choice(state, found)


def _serving_by_tag(claims: Sequence[Instance]) -> list[Instance]:
    """Return the instances whose tag does not say that they have never served."""
    return [item for item in claims if item.tags.get(tag_names.TRIAL) in (None, SERVING)]


def _choice(state: State, claims: Sequence[Instance]) -> Instance | None:
    """Return the claimant that serves as EC2's facts or the tags show, or None if neither shows it."""
    said = _serving_by_tag(claims)
    return choice_by_facts(state, claims) or (said[0] if len(said) == 1 else None)


def disputed(state: State, instance_id: str) -> list[Instance]:
    """Return the claimants of *instance_id* if there are several, and facts and tags do not agree on one of them."""
    return _disputed(state, claimants(state, instance_id))


def _disputed(state: State, found: list[Instance]) -> list[Instance]:
    agreed = len(found) < 2 or _serving_by_tag(found) == [choice_by_facts(state, found)]
    return [] if agreed else found


def on_trial_for(state: State, instance_id: str) -> list[Instance]:
    """Return, by id, the living instances that were launched to replace this one and do not stand for it."""
    found = [item for item in state.all(Instance) if item.alive and predecessor(item) == instance_id]
    return sorted((item for item in found if is_on_trial(state, item)), key=lambda item: item.instance_id)


def living(state: State, instance_id: str, option: str, *, follow: bool = True) -> Instance:
    """Return the instance that *instance_id* stands for: its living successor, or else the instance itself. Without
    *follow*, return the instance itself.

    Raises SpecError, naming *option*, for an id that EC2 does not know, and for a terminated one without a successor.
    """
    newer = successor(state, instance_id) if follow else None
    if newer is not None:
        return newer
    found = state.instance(instance_id)
    if found is None:
        raise SpecError(
            f"{option}: {instance_id} does not exist in {state.region}, and has no successor there. Check the id and "
            "the region"
        )
    if not found.alive:
        raise SpecError(f"{option}: {instance_id} is {found.state}, and has no living successor")
    return found
