# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Warnings about replacements: where tags and facts differ, or only a tag shows which instance serves.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .._kernel import tags as tag_names
from .._kernel.errors import listed
from .._kernel.resources import Instance
from .._kernel.state import State
from .replacement import Replacement, choice_by_facts, predecessor
from .succession import _choice, _likely, descendants, disputed, doubtful, is_gone, undecided


def doubt_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each replacement of these instances in which the tag and the facts differ."""
    found = [item for name in instance_ids for item in doubtful(state, name)]
    return tuple(dict.fromkeys(_doubt(state, item) for item in found))


def _doubt(state: State, replacement: Replacement) -> str:
    successor, old_id = replacement.successor, str(predecessor(replacement.successor))
    chosen, why = successor.instance_id, ""
    remedy = f"Remove that tag to continue with {successor.instance_id}, or start {old_id} to continue with {old_id}"
    if not replacement.stands:
        chosen, why = old_id, f" The tag {tag_names.RESTORE_STATE} of {old_id} asks to start {old_id}."
    other = _likely(state, old_id)
    if other is not None and other.instance_id != successor.instance_id:
        chosen, remedy = other.instance_id, f"Terminate {successor.instance_id} if {other.instance_id} serves"
    return (
        f"The tag {tag_names.TRIAL} of {successor.instance_id} says {successor.tags[tag_names.TRIAL]!r}, but "
        f"{successor.instance_id} ({successor.state}) ran after the last stop of {old_id}, its predecessor.{why} "
        f"This task treats {chosen} as in service, and terminates neither. {remedy}"
    )


def undecided_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each replacement of these instances in which only the tag shows which instance serves."""
    found = [item for name in instance_ids for item in undecided(state, name)]
    return tuple(dict.fromkeys(undecided_warning(item) for item in found))


def undecided_warning(replacement: Replacement) -> str:
    """Return the warning about an undecided replacement. It names both instances."""
    successor, old = replacement.successor, replacement.predecessor
    old_id = old.instance_id if old is not None else ""
    word = successor.tags.get(tag_names.TRIAL)
    new_id = successor.instance_id
    said = f"Its tag {tag_names.TRIAL} says that {new_id} is in service"
    if word is None:
        said = f"{new_id} has no tag {tag_names.TRIAL}, so it counts as in service"
    why, remedy = "runs too", f"stop {old_id}"
    if replacement.was_outrun:
        why, remedy = f"is {old.state if old else ''} and ran for more than a day after that", f"terminate {old_id}"
    if replacement.waits_for_start:
        why, remedy = "a hold will start again", f"remove the tag {tag_names.RESTORE_STATE} of {old_id}"
    return (
        f"{new_id} ({successor.state}) was launched to replace {old_id}, which {why}. {said}, but no fact shows that. "
        f"Terminate {new_id} to continue with {old_id}, or {remedy} to continue with {new_id}"
    )


def dispute_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning for each of these instances with several possible successors, of which one is chosen."""
    found = ((name, disputed(state, name)) for name in dict.fromkeys(instance_ids))
    chosen = ((name, several, _choice(state, several)) for name, several in found if several)
    return tuple(_dispute(state, name, several, one) for name, several, one in chosen if one is not None)


def _dispute(state: State, instance_id: str, several: Sequence[Instance], chosen: Instance) -> str:
    shown = choice_by_facts(state, several)
    why = "EC2 shows that it was launched last" if shown is not None else f"the tags {tag_names.TRIAL} say so"
    words = (f"{item.instance_id} ({item.state}, {item.tags.get(tag_names.TRIAL, 'no tag')})" for item in several)
    return (
        f"{instance_id} has several living successors: {listed(words)}. For this task {chosen.instance_id} is in "
        f"service, since {why}. Terminate the ones that do not serve"
    )


def claim_warnings(state: State, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return one warning about the living instances whose tag claims one of these ids, against EC2's facts."""
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
    """Return one warning for each gone instance whose successor is only found by an older id in a tag.

    Each relaunch writes the ids of the whole chain, and EC2 forgets an instance an hour after its end. So nothing
    proves such an id any more.
    """
    found = []
    for instance_id in dict.fromkeys(instance_ids):
        successor = _likely(state, instance_id) if is_gone(state, instance_id) else None
        if successor is None or predecessor(successor) == instance_id:
            continue
        between = [item for item in descendants(state, instance_id) if predecessor(item) == instance_id]
        if not between:
            found.append(
                f"{instance_id} does not exist any more. The tag {tag_names.REPLACES} of {successor.instance_id} "
                f"claims that {successor.instance_id} is its successor, and nothing proves the claim. This task "
                f"continues with {successor.instance_id}. Name {successor.instance_id} instead of {instance_id}"
            )
    return tuple(found)
