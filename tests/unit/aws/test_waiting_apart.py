# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits that share a poll, of which AWS refuses one query: the waits that need it fail, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import Sighting, Watch
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Resource, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

from watching import Clock

HERE, THERE, WEB = "snap-00000001", "snap-00000002", "i-00000001"
WAITS = {
    (0, 0): Wait((HERE,), "completed"),
    (1, 0): Wait((THERE,), "completed", place=Place("eu-west-1")),
    (2, 0): Wait((WEB,), "running"),
}


def polled(error: CallError, operation: str, place: str) -> tuple[Sighting, int]:
    """The first poll of the waits, of which AWS answers one query with this error, and the number of rounds."""
    clock, rounds = Clock(), 0

    def ask(queries: Iterable[Query], _until: float) -> Mapping[Query, tuple[Resource, ...]]:
        nonlocal rounds
        rounds += 1
        asked = list(queries)
        if any((query.operation, query.place) == (operation, place) for query in asked):
            raise error
        return {query: (Instance(WEB),) if query.operation == "DescribeInstances" else shown(query) for query in asked}

    def shown(query: Query) -> tuple[Resource, ...]:
        return tuple(Snapshot(name) for _filter, values in query.filters for name in values)

    watch = Watch(ask, clock.monotonic)
    for key, wait in WAITS.items():
        watch.add(key, wait, 100.0)
    clock.sleep(1.0)
    return watch.poll(), rounds


@pytest.mark.parametrize(
    ("operation", "place", "failed"),
    [
        ("DescribeSnapshots", "eu-west-1", (1, 0)),
        ("DescribeSnapshots", "", (0, 0)),
        ("DescribeInstances", "", (2, 0)),
    ],
)
def test_refused_query_fails_the_waits_that_need_it(operation: str, place: str, failed: tuple[int, int]) -> None:
    error = CallError(operation, "UnauthorizedOperation", "no")
    sighting, _rounds = polled(error, operation, place)
    assert sighting.failed == ((error, (failed,)),)
    assert set(sighting.reached) == WAITS.keys() - {failed}


def test_passing_error_is_not_asked_again_for_each_wait() -> None:
    error = CallError("DescribeSnapshots", "InternalError", "later", passing=True)
    sighting, rounds = polled(error, "DescribeSnapshots", "eu-west-1")
    assert (sighting.failed, sighting.reached, rounds) == ((), (), 1)
