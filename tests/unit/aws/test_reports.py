# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reports of the gateway: EC2's state at each poll, the calls that are done, and the pauses before a repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import botocore.exceptions
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.gateway import Ec2Gateway
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.progress import Sight
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Resource, Snapshot, Volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    MODIFICATION,
    Modification,
    Performance,
)

from watching import Clock, wait_for

VOLUME, SNAPSHOT = "vol-00000001", "snap-00000001"


class Recorder:
    """`Progress` that keeps all reports."""

    def __init__(self) -> None:
        self.reports: list[tuple[Any, ...]] = []

    def planned(self, calls: Mapping[str, int]) -> None:
        self.reports.append(("planned", dict(calls)))

    def called(self, operation: str, resources: int, per_second: float | None) -> None:
        self.reports.append(("called", operation, resources, per_second))

    def wait(self) -> Recorder:
        self.reports.append(("wait",))
        return self

    def saw(self, pending: Sequence[Sight], done: int) -> None:
        self.reports.append(("saw", done, *pending))

    def pausing(self, call: str, code: str, seconds: float) -> None:
        self.reports.append(("pausing", call, code, seconds))


def polled(wait: Wait, *answers: Sequence[Resource]) -> list[tuple[Any, ...]]:
    """The reports of a wait whose polls see one answer after the other."""
    left, clock, recorder = list(answers), Clock(), Recorder()

    def ask(queries: Any, _until: float) -> dict[Any, Any]:
        seen = left[0]
        asked = tuple(queries)
        if asked[0].operation != "DescribeVolumesModifications":
            left.pop(0)
        return {query: tuple(one for one in seen if _answers(query, one)) for query in asked}

    wait_for(ask, [wait], 600, clock.monotonic, clock.sleep, recorder)
    return recorder.reports


def _answers(query: Any, resource: Resource) -> bool:
    return isinstance(resource, Fact) == (query.operation == "DescribeVolumesModifications")


def test_poll_reports_the_percentage_of_a_snapshot() -> None:
    pending = Snapshot(SNAPSHOT, "pending", progress="40%")
    assert polled(Wait((SNAPSHOT,), "completed"), [], [pending], [Snapshot(SNAPSHOT)]) == [
        ("wait",),
        ("saw", 0, Sight(SNAPSHOT, "not visible")),
        ("saw", 0, Sight(SNAPSHOT, "pending", 40.0)),
        ("saw", 1),
    ]


def test_poll_reports_the_percentage_of_a_modification() -> None:
    volume = Volume(VOLUME, "in-use")
    states = [
        [volume, MODIFICATION.fact(VOLUME, Modification(state, Performance(), Performance(), progress))]
        for state, progress in (("modifying", 0), ("modifying", 12), ("optimizing", 20), ("completed", 100))
    ]
    assert polled(Wait((VOLUME,), "modifiable"), *states) == [
        ("wait",),
        ("saw", 0, Sight(VOLUME, "modifying", 0.0)),
        ("saw", 0, Sight(VOLUME, "modifying", 12.0)),
        ("saw", 0, Sight(VOLUME, "optimizing", 20.0)),
        ("saw", 1),
    ]


def made(answer: Any) -> tuple[Ec2Gateway, Recorder]:
    """A gateway whose client gives this answer to DeleteSnapshot, or raises it once."""
    left = [answer]

    def delete_snapshot(**_request: Any) -> Any:
        given = left.pop() if left else ANSWER
        if isinstance(given, Exception):
            raise given
        return given

    client: Any = SimpleNamespace(
        delete_snapshot=delete_snapshot, meta=SimpleNamespace(endpoint_url="https://ec2.us-east-1.amazonaws.com")
    )
    clock, recorder = Clock(), Recorder()
    gateway = Ec2Gateway(
        lambda _service, _region: client,
        "us-east-1",
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        jitter=lambda: 1.0,
        progress=recorder,
    )
    return gateway, recorder


ANSWER = {"ResponseMetadata": {"RequestId": "r", "HTTPHeaders": {"date": "Tue, 24 Nov 2026 06:00:00 GMT"}}}
DELETE = Change("DeleteSnapshot", SNAPSHOT, "us-east-1", {}, "a test", after=None)


def test_calls_beyond_the_burst_report_ec2s_rate() -> None:
    gateway, recorder = made(ANSWER)
    for _turn in range(100):
        gateway.perform([DELETE])
    assert recorder.reports[0] == ("called", "DeleteSnapshot", 1, None)
    assert recorder.reports[-1] == ("called", "DeleteSnapshot", 1, 5.0)


def test_pause_before_a_repeat_reports_the_refusal() -> None:
    error = {"Error": {"Code": "RequestLimitExceeded", "Message": "slow down"}}
    gateway, recorder = made(botocore.exceptions.ClientError(error, "DeleteSnapshot"))
    gateway.perform([DELETE])
    (pause, called) = recorder.reports
    assert pause[:3] == ("pausing", f"DeleteSnapshot of {SNAPSHOT}", "RequestLimitExceeded")
    assert called[:3] == ("called", "DeleteSnapshot", 1)
    # The call has succeeded, so a later pause has another reason.
    gateway.sleep(5.0)
    assert len(recorder.reports) == 2
