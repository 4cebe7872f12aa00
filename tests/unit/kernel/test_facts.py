# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of facts: their reading of a state, and the meaning of their values."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import facts, storage_facts
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    ENCRYPTION_BY_DEFAULT,
    ENCRYPTION_QUERY,
    KMS_KEY,
    STOP_PROTECTION,
    UNKNOWN_KEY,
    UNUSABLE_KEY,
    FactKind,
    Key,
    PlaceFactKind,
    key_of,
    key_query,
    usable_key,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import HERE, Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Fact,
    Snapshot,
    facts_in,
    subject_of,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    LAUNCH_PERMISSIONS,
    LOCK,
    LOCKS_QUERY,
    PARAMETER,
    TIERING,
    VOLUME_PERMISSIONS,
    SnapshotLock,
    Tiering,
)

VAULT = Place("eu-west-1", "vault")


def test_each_kind_has_a_name_of_its_own() -> None:
    kinds = [
        kind
        for module in (facts, storage_facts)
        for name, kind in vars(module).items()
        if isinstance(kind, (FactKind, PlaceFactKind)) and name.isupper()
    ]
    names = {(type(kind), kind.name) for kind in kinds}
    assert len(names) == len({id(kind) for kind in kinds}) > 20


def test_fact_is_read_by_its_kind_and_its_subject() -> None:
    fact = LOCK.fact("snap-1", SnapshotLock("governance"))
    assert subject_of(fact) == subject_of(Snapshot("snap-1")) == "snap-1"
    assert LOCK.read(fact, "snap-1") == SnapshotLock("governance")
    assert LOCK.read(fact, "snap-2") is None
    assert TIERING.read(fact, "snap-1") is None
    assert LOCK.read(Snapshot("snap-1"), "snap-1") is None
    assert LOCK.read(None, "snap-1") is None


def test_value_is_that_of_its_place() -> None:
    lock = SnapshotLock("governance")
    query = Query(LOCKS_QUERY.operation, place=VAULT)
    answers = {query: [LOCK.fact("snap-1", lock)], ENCRYPTION_QUERY: [ENCRYPTION_BY_DEFAULT.fact(True)]}
    state = State("us-east-1").with_answers(answers)
    assert (LOCK.of(state, "snap-1", VAULT), LOCK.of(state, "snap-1"), LOCK.of(state, None)) == (lock, None, None)
    assert LOCK.all(state) == {"snap-1": lock}
    assert (ENCRYPTION_BY_DEFAULT.of(state), ENCRYPTION_BY_DEFAULT.of(state, VAULT)) == (True, None)


def test_false_is_an_answer() -> None:
    state = State("us-east-1").with_resources([STOP_PROTECTION.fact("i-1", False)])
    assert (STOP_PROTECTION.of(state, "i-1"), STOP_PROTECTION.of(state, "i-2")) == (False, None)


@pytest.mark.parametrize(
    ("answer", "unusable"), [(usable_key("arn"), False), (UNUSABLE_KEY, True), (UNKNOWN_KEY, False)]
)
def test_key_without_an_answer_is_unknown_and_not_unusable(answer: Key, unusable: bool) -> None:
    state = State("us-east-1").with_answers({key_query("alias/a", VAULT): [KMS_KEY.fact("alias/a", answer)]})
    assert key_of(state, "alias/a", VAULT) == answer
    assert key_of(state, "alias/a", VAULT).is_unusable is unusable
    assert key_of(state, "alias/a", HERE) == UNKNOWN_KEY


@pytest.mark.parametrize(
    ("fact", "shown"),
    [
        (LAUNCH_PERMISSIONS.fact("ami-1", ("1", "all")), {"facts": {"launchPermission": ["1", "all"]}}),
        (VOLUME_PERMISSIONS.fact("snap-1", ()), {"facts": {"createVolumePermission": []}}),
        (PARAMETER.fact("/web", "ami-1"), {"facts": {"parameter": "ami-1"}}),
    ],
)
def test_fact_in_a_view_is_read_back(fact: Fact, shown: dict[str, Any]) -> None:
    kind = next(one for one in (LAUNCH_PERMISSIONS, VOLUME_PERMISSIONS, PARAMETER) if one.name == fact.name)
    assert kind.view(fact.value) == shown
    assert list(facts_in(fact.subject, {**shown, "tags": {}})) == [fact]
    assert list(facts_in(fact.subject, {"tags": {}})) == []


def test_removed_fact_is_none() -> None:
    state = State("us-east-1").with_resources([LOCK.fact("snap-1", SnapshotLock("governance"))])
    assert LOCK.of(state.without([LOCK.id_of("snap-1")]), "snap-1") is None


@pytest.mark.parametrize(
    ("state", "in_force", "removable"),
    [
        ("governance", True, True),
        ("compliance-cooloff", True, True),
        ("compliance", True, False),
        ("expired", False, False),
    ],
)
def test_lock_is_removable_while_ec2_says_so(state: str, in_force: bool, removable: bool) -> None:
    lock = SnapshotLock(state)
    assert (lock.is_in_force, lock.is_removable) == (in_force, removable)


@pytest.mark.parametrize(
    ("last", "in_archive", "moving"),
    [
        ("archival-in-progress", False, True),
        ("archival-failed", False, False),
        ("temporary-restore-in-progress", False, True),
        ("temporary-restore-completed", True, False),
        ("permanent-restore-completed", False, False),
    ],
)
def test_snapshot_restored_for_a_time_stays_in_the_archive(last: str, in_archive: bool, moving: bool) -> None:
    tiering = Tiering("standard", last)
    assert (tiering.is_in_archive, tiering.is_moving) == (in_archive, moving)
    assert Tiering("archive", last).is_in_archive
