# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance that an id stands for, after one replacement and after many."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.succession import (
    lineage_queries,
    living,
    successor,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.succession_guards import require_no_rollback
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State
from hypothesis import given
from hypothesis import strategies as st

from proven import launched

REGION = "eu-central-1"


def name(number: int) -> str:
    return f"i-{number:017x}"


def chain(length: int) -> list[Instance]:
    """Instance 0, and *length* replacements of it, each of the one before."""
    made = [Instance(name(0), "stopped")]
    for number in range(1, length + 1):
        old = made[-1]
        value = tag_names.replaces_value(old.instance_id, tag_names.replaced_ids(old.tags))
        made.append(launched(Instance(name(number), "stopped", tags={tag_names.REPLACES: value})))
    return [*made[:-1], dataclasses.replace(made[-1], state="running")]


def answer(query: Query, world: list[Instance]) -> list[Instance]:
    """EC2's answers to the two kinds of query."""
    ((field, values),) = query.filters
    if field == "instance-id":
        return [item for item in world if item.instance_id in values]
    return [
        item for item in world if any(value.strip("*") in item.tags.get(tag_names.REPLACES, "") for value in values)
    ]


def asked(instance_id: str, world: list[Instance]) -> tuple[State, int]:
    """The state after all questions, and how many there were."""
    state = State(REGION)
    while True:
        missing = [query for query in lineage_queries([instance_id], state) if query not in state.answered]
        if not missing:
            return state, len(state.answered)
        state = state.with_answers({query: answer(query, world) for query in missing})


@given(length=st.integers(1, 40), start=st.integers(0, 40))
def test_every_id_of_a_chain_stands_for_its_living_end(length: int, start: int) -> None:
    world = chain(length)
    first = name(min(start, length))
    state, _questions = asked(first, world)
    assert living(state, first, "instance_id").instance_id == name(length)


@given(length=st.integers(1, 40))
def test_first_id_is_kept_even_when_all_between_are_gone(length: int) -> None:
    world = chain(length)
    state, _questions = asked(name(0), [world[-1]])
    assert living(state, name(0), "instance_id").instance_id == name(length)
    assert len(world[-1].tags[tag_names.REPLACES]) <= tag_names.LONGEST_VALUE
    assert tag_names.replaced_ids(world[-1].tags)[0] == name(length - 1)


def test_two_questions_are_enough_while_the_tag_has_room() -> None:
    assert asked(name(0), chain(3))[1] == 2
    assert asked(name(2), chain(30))[1] > 2, "an id that was given up is found through its own successors"


def test_instance_without_a_successor_stands_for_itself() -> None:
    world = [Instance(name(1), "running")]
    state, _questions = asked(name(1), world)
    assert successor(state, name(1)) is None
    assert living(state, name(1), "instance_id") == world[0]


def test_two_successors_are_ambiguous_and_unknown_ids_are_refused() -> None:
    twins = [launched(Instance(name(number), "running", tags={tag_names.REPLACES: name(0)})) for number in (1, 2)]
    with pytest.raises(Ambiguous, match=f"{name(1)}, {name(2)}"):
        asked(name(0), twins)
    with pytest.raises(SpecError, match="does not exist in eu-central-1"):
        living(State(REGION), name(0), "instance_id")
    with pytest.raises(SpecError, match="is terminated"):
        living(State(REGION, {name(0): Instance(name(0), "terminated")}), name(0), "instance_id")


@pytest.mark.parametrize("state", ["stopped", "stopping"])
def test_return_to_the_predecessor_is_refused(state: str) -> None:
    new = launched(Instance(name(1), state, tags={tag_names.REPLACES: name(0)}))
    world = State(REGION, {name(0): Instance(name(0), "running"), name(1): new})
    with pytest.raises(UnsafePlan, match=f"{name(0)} is running again, but its successor {name(1)}"):
        require_no_rollback(world, new, name(0), "instance_id")
    stopped = State(REGION, {name(0): Instance(name(0), "stopped"), name(1): new})
    require_no_rollback(stopped, new, name(0), "instance_id")
