# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`changed_blocks: true`: the questions to the EBS direct APIs, and the exact sizes and costs of snapshots."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import codec
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.gateway import Ec2Gateway
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.usage_facts import (
    STORED_BYTES,
    changed_blocks_query,
    snapshot_blocks_query,
)
from test_use import open_state

from inventory_world import HOUR, NOW, POLICY, copy_of, image, plain, report, snap, snapshot, spec_of, vol, volume
from watching import Clock

GIB, BLOCK = 1 << 30, 512 * 1024
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"


def at(number: int, of: int = 1, *, hours: float = 1, **fields: Any) -> Snapshot:
    """A snapshot of an encrypted volume, which EC2 shows without its written blocks unless said."""
    return snapshot(number, of, age=hours * HOUR, **fields)


def asked(state: State, **given: Any) -> list[tuple[str, ...]]:
    """The blocks that are wanted: (snapshot,) for all of them, (before, snapshot) for the changed ones."""
    try:
        planner.plan(spec_of(changed_blocks=True, **given), state, NOW)
    except NeedsAnswers as needed:
        found = [tuple(str(value) for _name, value in one.arguments) for one in needed.queries if one.service == "ebs"]
        return sorted(found, key=lambda one: one[-1])
    return []


def all_asked(state: State, **given: Any) -> list[tuple[str, ...]]:
    """All wanted blocks: those of the first round, and those of the second."""
    found: list[tuple[str, ...]] = []
    while some := asked(state, **given):
        found += some
        state = state.with_answers({_query(one): () for one in some})
    return sorted(found, key=lambda one: one[-1])


def _query(one: tuple[str, ...]) -> Query:
    return snapshot_blocks_query(one[0]) if len(one) == 1 else changed_blocks_query(*one)


LINE = [at(1, hours=3), at(2, hours=2), at(3, hours=1)]


def pair(before: int, after: int) -> tuple[str, str]:
    return snap(before), snap(after)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        # A volume that was made empty: all blocks of the first snapshot, and the changes of the others.
        ([volume(1), *LINE], [(snap(1),), pair(1, 2), pair(2, 3)]),
        # EC2 shows the written blocks of the first one.
        ([volume(1), at(1, hours=3, written_bytes=GIB), *LINE[1:]], [pair(1, 2), pair(2, 3)]),
        # The volume is gone, so nobody knows whether its first snapshot continues another line.
        (LINE, [pair(1, 2), pair(2, 3)]),
        # The volume was made from a snapshot of the account, with the same key.
        ([volume(1, snapshot_id=snap(9)), at(9, 8, hours=90), *LINE], [pair(9, 1), pair(1, 2), pair(2, 3)]),
        # With another key, its first snapshot is full.
        (
            [volume(1, snapshot_id=snap(9)), at(9, 8, hours=90, kms_key_id=KEY), *LINE],
            [(snap(1),), pair(1, 2), pair(2, 3)],
        ),
        # The snapshot of the origin is gone, or another account's, so others may share its blocks.
        ([volume(1, snapshot_id=snap(9)), *LINE], [pair(1, 2), pair(2, 3)]),
        # So may the copied volume.
        ([volume(1, source_volume_id=vol(2)), *LINE], [pair(1, 2), pair(2, 3)]),
        # Pending, failed and archived snapshots are no part of the line.
        (
            [
                volume(1),
                at(1, hours=5),
                at(2, hours=4, state="pending"),
                at(3, hours=3, state="error"),
                at(4, hours=2, storage_tier="archive"),
                at(5, hours=1),
            ],
            [(snap(1),), pair(1, 5)],
        ),
        # A copy has a line that EC2 does not show.
        ([volume(1), at(1, policy=POLICY), copy_of(at(1, policy=POLICY), 2, place=False)], [(snap(1),)]),
    ],
    ids=range(9),
)
def test_blocks_are_asked_where_they_show_what_a_snapshot_stores(
    there: list[Resource], wanted: list[tuple[str, ...]]
) -> None:
    assert all_asked(open_state(*there)) == wanted


def test_only_shown_snapshots_are_asked_about() -> None:
    there = [volume(1), at(1, hours=3), at(2, hours=2, tags={"app": "shop"})]
    assert all_asked(open_state(*there), filters={"app": "shop"}) == [pair(1, 2)]
    assert all_asked(open_state(*there), subjects=["volumes"]) == []


def test_first_call_of_each_operation_is_alone_and_a_missing_permission_ends_them() -> None:
    state = open_state(volume(1), *(at(number, hours=100 - number) for number in range(1, 90)))
    assert asked(state) == [(snap(1),), pair(1, 2)]
    refused = CallError("ListChangedBlocks", "AccessDeniedException", "You may not.")
    denied = changed_blocks_query(*pair(1, 2))
    state = State(
        state.region,
        {**state.resources, **{f.resource_id: f for f in [STORED_BYTES.fact(snap(1), (10 * GIB,))]}},
        state.answered | {denied, snapshot_blocks_query(snap(1))},
        NOW,
        {denied: refused},
        open=True,
    )
    assert asked(state) == []
    document = report(state=state, changed_blocks=True)
    (part,) = document["partial"]
    assert (part["part"], part["permission"]) == ("changed blocks", "ebs:ListChangedBlocks")
    assert part["missing"] == "AWS did not list the changed blocks of 1 snapshot."
    rows = {one["id"]: one for one in document["snapshots"]}
    assert (rows[snap(1)]["stored_gib"], rows[snap(1)]["stored_note"]) == (10.0, None)
    assert (rows[snap(2)]["stored_gib"], rows[snap(2)]["stored_note"]) == (None, "AccessDeniedException: You may not.")


def test_error_about_one_snapshot_removes_the_size_of_that_one_only() -> None:
    there = open_state(volume(1), *LINE)
    error = CallError("ListChangedBlocks", "ResourceNotFoundException", "The snapshot is gone.")
    gone = changed_blocks_query(*pair(1, 2))
    answers: dict[Query, tuple[Resource, ...]] = {
        gone: (),
        snapshot_blocks_query(snap(1)): (STORED_BYTES.fact(snap(1), (40 * GIB,)),),
        changed_blocks_query(*pair(2, 3)): (STORED_BYTES.fact(snap(3), (2 * GIB, GIB)),),
    }
    state = there.with_answers(answers)
    state = State(state.region, state.resources, state.answered, NOW, {gone: error}, open=True)
    assert asked(state) == []
    rows = {one["id"]: one for one in report(state=state, changed_blocks=True)["snapshots"]}
    # 40 x 0.05 and 3 x 0.05 USD. Of the other one, only the size of its volume is known: 100 x 0.05.
    exact = {"exact": True, "basis": "changed blocks"}
    assert rows[snap(1)]["cost"] == {"least": 2.0, "most": 2.0, **exact}
    assert rows[snap(3)]["cost"] == {"least": 0.15, "most": 0.15, **exact}
    assert rows[snap(2)]["cost"] == {"least": 0.0, "most": 5.0, "exact": False, "basis": "full size"}
    assert rows[snap(2)]["stored_note"] == "ResourceNotFoundException: The snapshot is gone."


def known(*there: Resource, **sizes: int) -> State:
    facts = [STORED_BYTES.fact(snap(int(number[1:])), (size,)) for number, size in sizes.items()]
    return open_state(*there, *facts)


def closed(state: State, **given: Any) -> dict[str, Any]:
    """The report of a state in which every query is answered."""
    return plain(planner.result(spec_of(changed_blocks=True, **given), State(state.region, state.resources, now=NOW)))


def test_sum_of_exact_sizes_is_exact_and_the_summary_counts_them() -> None:
    document = closed(known(volume(1), *LINE, s1=10 * GIB, s2=GIB, s3=0))
    snapshots = document["summary"]["snapshots"]
    assert snapshots["exact_sizes"] == 3
    assert snapshots["cost"] == {"least": 0.55, "most": 0.55, "exact": True, "basis": "changed blocks"}


def test_deletion_saves_at_most_what_a_snapshot_stores() -> None:
    # The next snapshot may need the blocks of the deleted one.
    there = [volume(1), at(1, hours=24 * 200), at(2, hours=24 * 100), at(3, hours=1)]
    document = closed(known(*there, s1=10 * GIB, s2=GIB, s3=0))
    old = {one["resource"]: one for one in document["findings"] if one["id"] == "snapshot-old"}
    assert old[snap(1)]["cost"]["least"] == 0.5
    assert old[snap(1)]["saving"] == {"least": 0.0, "most": 0.5, "exact": False, "basis": "changed blocks"}


def test_unused_image_saves_at_most_what_its_snapshots_store() -> None:
    document = closed(known(image(1, 1), at(1, 7, hours=24 * 300), at(2, 7, hours=2), s2=4 * GIB))
    (unused,) = [one for one in document["findings"] if one["id"] == "image-unused"]
    assert (unused["cost"]["most"], unused["saving"]["most"]) == (5.0, 5.0)


def test_report_without_the_option_asks_and_shows_nothing() -> None:
    state = known(volume(1), *LINE, s1=GIB)
    assert planner.plan(spec_of(), state, NOW).changes == ()
    assert {one["stored_gib"] for one in report(state=state)["snapshots"]} == {None}


@pytest.mark.parametrize(
    ("query", "pages", "stored"),
    [
        (
            changed_blocks_query(*pair(1, 2)),
            [
                {
                    "ChangedBlocks": [
                        {"BlockIndex": 0, "FirstBlockToken": "a", "SecondBlockToken": "b"},
                        {"BlockIndex": 1, "SecondBlockToken": "c"},
                        {"BlockIndex": 2, "FirstBlockToken": "d"},
                    ],
                    "BlockSize": BLOCK,
                },
                {"ChangedBlocks": [], "BlockSize": BLOCK},
                {"ChangedBlocks": [{"BlockIndex": 9, "SecondBlockToken": "e"}], "BlockSize": BLOCK},
            ],
            3,
        ),
        (snapshot_blocks_query(snap(2)), [{"Blocks": [{"BlockIndex": 7, "BlockToken": "a"}], "BlockSize": BLOCK}], 1),
        (changed_blocks_query(*pair(1, 2)), [{}], 0),
    ],
    ids=["changed", "all", "empty"],
)
def test_blocks_of_all_pages_count_unless_the_snapshot_lacks_them(
    query: Query, pages: list[dict[str, Any]], stored: int
) -> None:
    (fact,) = codec.decode(query, pages)
    assert STORED_BYTES.read(fact, snap(2)) is not None
    assert sum(STORED_BYTES.read(fact, snap(2)) or ()) == stored * BLOCK


def test_expired_page_token_goes_on_after_the_last_block() -> None:
    query = changed_blocks_query(*pair(1, 2))
    first = codec.query_request(query)
    page = {"ChangedBlocks": [{"BlockIndex": 41, "SecondBlockToken": "a"}], "NextToken": "x"}
    second = codec.next_request(query, first, page)
    assert second is not None
    expired = codec.resumed_request(query, second, page, "ValidationException")
    assert expired == {**first, "StartingBlockIndex": 42}
    # A refusal of the first page, of a page without blocks before it, or for another reason stays a refusal.
    assert codec.resumed_request(query, first, None, "ValidationException") is None
    assert codec.resumed_request(query, second, {"ChangedBlocks": []}, "ValidationException") is None
    assert codec.resumed_request(query, second, page, "AccessDeniedException") is None


class Blocks:
    """The EBS direct APIs, which list no block. ``begun``: the seconds at which the calls begin."""

    meta = SimpleNamespace(endpoint_url="https://ebs.us-east-1.amazonaws.com")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun: list[float] = []

    def list_changed_blocks(self, **_request: Any) -> dict[str, Any]:
        self.begun.append(self.clock.time)
        return {"ChangedBlocks": [], "BlockSize": BLOCK}


def test_calls_keep_to_the_rate_of_the_api() -> None:
    clock = Clock()
    client = Blocks(clock)
    made = Ec2Gateway(
        lambda _service, _region: client,  # type: ignore[arg-type, return-value]
        "us-east-1",
        monotonic=clock.monotonic,
        sleep=clock.sleep,
    )
    for number in range(200):
        made.ask([changed_blocks_query(snap(number), snap(number + 1))])
    # 50 calls a second. The first second begins with a full bucket.
    assert all(sum(start <= one < start + 1 for one in client.begun) <= 100 for start in client.begun)
    assert clock.time == pytest.approx((200 - 30) / 50, rel=0.05)
