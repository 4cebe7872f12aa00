# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate`: one place of copies under two names is refused, and a state holds one id of two places."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.accounts import Accounts
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.spec import CopySpec, parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    CALLER_IDENTITY,
    CallerIdentity,
    account_query,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import LOCK, SnapshotLock

from copy_runs import ELSEWHERE, VAULT, Scene, vault
from in_process import REGION
from rotation_runs import DAY, deletes, four, of_policy, ok, rotate
from rotation_world import V1
from sandbox.client import Sandbox
from worlds import new_day

OWN, OTHER = "111111111111", "222222222222"
IDENTITY = "sts:GetCallerIdentity"


def spec_of(*copies: tuple[str, str | None]) -> tuple[CopySpec, ...]:
    given = [{"region": region, "profile": profile, "keep": {"last": 1}} for region, profile in copies]
    return parse({"policy": "p", "select": {"volume_ids": [V1]}, "keep": {"last": 1}, "copies": given}, REGION).copies


def told(**accounts: str) -> State:
    """A state in which STS has answered: by profile, the account; ``own`` for the task's."""
    facts = [CALLER_IDENTITY.fact(CallerIdentity(account or None)) for account in accounts.values()]
    queries = [account_query(Place() if profile == "own" else Place(ELSEWHERE, profile)) for profile in accounts]
    return State(REGION).with_answers({query: [fact] for query, fact in zip(queries, facts, strict=True)})


@pytest.mark.parametrize(
    ("copies", "named"),
    [
        ([(REGION, "mine"), (ELSEWHERE, "mine")], "copies[0]"),
        ([(ELSEWHERE, None), (ELSEWHERE, "mine")], "copies[1]"),
        ([(ELSEWHERE, "a"), ("eu-west-2", "a"), (ELSEWHERE, "b")], "copies[2]"),
    ],
    ids=["home", "a region of the own account", "two profiles of one account"],
)
def test_place_named_twice_is_refused(copies: list[tuple[str, str | None]], named: str) -> None:
    state = told(own=OWN, mine=OWN, a=OTHER, b=OTHER)
    with pytest.raises(SpecError, match="the same place") as refused:
        Accounts(spec_of(*copies), state).require_distinct()
    assert named in str(refused.value)


def test_places_of_different_accounts_or_regions_are_taken() -> None:
    copies = [(REGION, "a"), (ELSEWHERE, None), (ELSEWHERE, "a"), ("eu-west-2", "mine")]
    Accounts(spec_of(*copies), told(own=OWN, mine=OWN, a=OTHER)).require_distinct()


def test_unknown_accounts_are_compared_by_profile_and_region() -> None:
    Accounts(spec_of((ELSEWHERE, "a"), (ELSEWHERE, "b")), told(own=OWN, a="", b="")).require_distinct()


def test_account_is_taken_from_the_owner_in_an_answer() -> None:
    place = Place(ELSEWHERE, "a")
    ours, theirs = Snapshot("snap-1", owner_id=OWN), Snapshot("snap-2", owner_id=OTHER, place=place)
    state = State(REGION).with_answers({Query("DescribeSnapshots"): [ours], Query("X", place=place): [theirs]})
    accounts = Accounts(spec_of((ELSEWHERE, "a"), ("eu-west-2", "a")), state)
    assert (accounts.of(None), accounts.of("a")) == (OWN, OTHER)
    assert list(accounts.questions()) == []


def test_each_profile_needs_one_query() -> None:
    accounts = Accounts(
        spec_of((ELSEWHERE, "a"), ("eu-west-2", "a"), (ELSEWHERE, "b"), (ELSEWHERE, None)), State(REGION)
    )
    assert list(accounts.questions()) == [
        account_query(place) for place in (Place(ELSEWHERE, "a"), Place(ELSEWHERE, "b"), Place())
    ]
    assert list(Accounts(spec_of((ELSEWHERE, None)), State(REGION)).questions()) == []


def test_state_holds_one_id_of_two_places() -> None:
    place = Place(ELSEWHERE, "a")
    here, there = Snapshot("snap-1", state="completed"), Snapshot("snap-1", state="pending", place=place)
    asked = {Query("DescribeSnapshots"): [here], Query("DescribeSnapshots", place=place): [there]}
    for answers in (asked, dict(reversed(asked.items()))):
        state = State(REGION).with_answers(answers)
        assert list(state.all(Snapshot)) in ([here, there], [there, here])
        assert (state.snapshot("snap-1"), state.snapshot("snap-1", place)) == (here, there)


def test_facts_of_two_places_are_distinguished() -> None:
    place = Place(ELSEWHERE, "a")
    lock = LOCK.fact("snap-1", SnapshotLock("governance"))
    state = State(REGION).with_answers({Query("DescribeLockedSnapshots", place=place): [lock]})
    assert LOCK.of(state, "snap-1") is None
    assert LOCK.of(state, "snap-1", place) == lock.value


# --- on the sandbox ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=1.0, snapshot_copying=1.0)


def own_account(sandbox: Sandbox) -> str:
    return str(sandbox.client("sts").get_caller_identity()["Account"])


def test_profile_of_the_own_account_and_region_is_refused_before_anything_is_made(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3, "data")
    given = scene.options({"region": REGION, "profile": own_account(sandbox), "keep": {"daily": 1}}, keep={"daily": 1})
    for check in (True, False):
        ended = rotate(sandbox, check=check, **given)
        assert "copies[0]" in ended.failed
        assert "the same place" in ended.failed
    assert set(of_policy(sandbox)) == set(scene.past)
    assert deletes(sandbox) == []


def test_own_account_by_a_profile_gets_copies_in_another_region_without_sharing(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2, "data")
    place = {"region": ELSEWHERE, "profile": own_account(sandbox), "keep": {"daily": 2}, "wait": True}
    four(sandbox, **scene.options(place))
    assert scene.slots(scene.copies()) == [("data", "0"), ("data", "1")]
    assert "ModifySnapshotAttribute" not in sandbox.counts()


def test_account_is_queried_until_an_answer_shows_it(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2, "data")
    given = scene.options(vault(), vault(region=ELSEWHERE))
    first = ok(rotate(sandbox, **given))
    assert first.result["api_calls"]["GetCallerIdentity"] == 1
    sandbox.move_clock(DAY)
    assert "GetCallerIdentity" not in ok(rotate(sandbox, **given)).result["api_calls"]


def test_unknown_account_withholds_its_copies_and_no_capture(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3, "data")
    given = scene.options(vault(), {"region": ELSEWHERE, "keep": {"daily": 1}, "wait": True}, keep={"daily": 1})
    with sandbox.fault(IDENTITY, occurrence="every", code="AccessDenied", status=403):
        ended = rotate(sandbox, alone=False, **given)
    assert all(part in ended.failed for part in ("AccessDenied", VAULT, "sts:GetCallerIdentity"))
    assert len(ended.result["created"]) == 1
    assert scene.slots(scene.copies()) == [("data", "0")]
    assert scene.copies(REGION, VAULT) == {}
    assert deletes(sandbox) == []
    ok(rotate(sandbox, **given))
    assert scene.slots(scene.copies(REGION, VAULT)) == [("data", "0")]
