# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits on a poll loop until all goals are reached, as a run does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import Ask, Watch
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Gateway
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.progress import SILENT, Progress
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource


class Clock:
    """Time that passes by sleeping only. ``slept`` has every pause."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def wait_for(
    ask: Ask,
    waits: Sequence[Wait],
    deadline: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
    progress: Progress = SILENT,
) -> dict[str, Resource]:
    """Poll until all *waits* have reached their goals, and return the resources. Raises the first error."""
    return _watched(Watch(ask, monotonic, progress), waits, deadline, monotonic, sleep)


def wait_on(gateway: Gateway, waits: Sequence[Wait], seconds: float = 60.0) -> dict[str, Resource]:
    """Do the same through a gateway."""
    return _watched(gateway.watch(), waits, gateway.monotonic() + seconds, gateway.monotonic, gateway.sleep)


def _watched(
    watch: Watch,
    waits: Sequence[Wait],
    deadline: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> dict[str, Resource]:
    for number, wait in enumerate(waits):
        watch.add((number, 0), wait, deadline)
    seen: dict[str, Resource] = {}
    while (at := watch.next_poll) is not None:
        sleep(max(0.0, at - monotonic()))
        sighting = watch.poll()
        seen.update(sighting.resources)
        for error, _keys in sighting.failed:
            raise error
    return seen
