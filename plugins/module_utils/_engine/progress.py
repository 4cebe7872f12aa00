# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show a person the progress of a run, in lines at a pace that suits logs.

Private to this collection.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .._kernel.display import visible
from .._kernel.progress import Sight, WaitProgress

QUIET = 3.0
"""Seconds before the first line about a wait, a series of calls or a pause."""
SOONEST, SLOWEST, GROWTH = 5.0, 60.0, 1.6
"""Seconds between two lines about the same state: the first interval, the longest one, and the factor of growth."""
OFTEN = 1.0
"""The least number of seconds between two lines, even if the state changes more often."""
_NAMED = 3
"""The number of resources that a line names."""

_VERBS = {
    "Archive": "archived",
    "Attach": "attached",
    "Copy": "copied",
    "Create": "created",
    "Delete": "deleted",
    "Deregister": "deregistered",
    "Detach": "detached",
    "Lock": "locked",
    "Modify": "modified",
    "Register": "registered",
    "Run": "launched",
    "Start": "started",
    "Stop": "stopped",
    "Terminate": "terminated",
}


class _Pace:
    """The moments for lines about a wait, a pause or a series of calls since *began*: when its state changes, and at
    growing intervals.

    The first line comes after `QUIET` seconds.
    """

    def __init__(self, began: float) -> None:
        self.began = began
        self._shown: object = None
        self._interval = SOONEST
        self._next = began + SOONEST
        self._told = began

    def is_due(self, state: object, now: float) -> bool:
        """Return whether a line is due now. The caller shows it, and the next one is due later."""
        if now - self.began < QUIET or now - self._told < OFTEN or (state == self._shown and now < self._next):
            return False
        if state == self._shown:
            self._interval = min(self._interval * GROWTH, SLOWEST)
        self._shown, self._next, self._told = state, now + self._interval, now
        return True


class Reporter:
    """`Progress` in lines of text. *show* gets each line, with no control characters in it.

    *monotonic* returns monotonic seconds.
    """

    def __init__(self, show: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self._show = show
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._planned: Mapping[str, int] = {}
        self._done: dict[str, int] = {}
        self._paces: dict[str, _Pace] = {}

    def planned(self, calls: Mapping[str, int]) -> None:
        """Note the number of resources that the run will change, by operation."""
        self._planned = dict(calls)

    def called(self, operation: str, resources: int, per_second: float | None) -> None:
        """Show the number of finished changes of an operation, if the others have to wait for EC2's rate."""
        now = self._monotonic()
        with self._lock:
            pace = self._paces.setdefault(operation, _Pace(now))
            done = self._done[operation] = self._done.get(operation, 0) + resources
            left = self._planned.get(operation, 0) - done
            if left <= 0 or not pace.is_due("calls", now):
                return
        estimate = f", about {duration(left / per_second)} left" if per_second else ""
        self._tell(f"{done} of {done + left} {_changed(operation)}{estimate}")

    def wait(self) -> WaitProgress:
        """Return the receiver of a wait that begins now."""
        return _Wait(self._tell, self._monotonic)

    def pausing(self, call: str, code: str, seconds: float) -> None:
        """Show a pause, with the refusal before it. Pauses of several calls for the same reason share their lines."""
        now = self._monotonic()
        with self._lock:
            pace = self._paces.setdefault(code, _Pace(now))
            # A long pause is shown when it begins.
            due = pace.is_due("pause", now + seconds)
        if due:
            self._tell(f"{call}: {code}. The next attempt is in {duration(seconds)}")

    def _tell(self, text: str) -> None:
        self._show(visible(text))


@dataclass
class _Start:
    """The first percentage of a resource, and its time."""

    percent: float
    moment: float


class _Wait:
    """`WaitProgress` in lines of text."""

    def __init__(self, tell: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._pace = _Pace(monotonic())
        self._starts: dict[str, _Start] = {}

    def saw(self, pending: Sequence[Sight], done: int) -> None:
        """If a line is due, show the resources of the wait."""
        now = self._monotonic()
        for sight in pending:
            if sight.percent is not None:
                self._starts.setdefault(sight.resource, _Start(sight.percent, now))
        state = (len(pending), frozenset((sight.resource, sight.state) for sight in pending))
        if not pending or not self._pace.is_due(state, now):
            return
        left = [self._left(sight, now) for sight in pending]
        # A wait ends with its last resource.
        estimate = max((seconds for seconds in left if seconds is not None), default=None)
        parts = [_seen(pending)]
        if done + len(pending) > 1:
            parts.insert(0, f"{done} of {done + len(pending)} done")
        parts.append(f"waiting for {duration(now - self._pace.began)}")
        if estimate is not None and None not in left:
            parts.append(f"about {duration(estimate)} left")
        self._tell(", ".join(parts))

    def _left(self, sight: Sight, now: float) -> float | None:
        """Return the estimated seconds until the resource is done, or None if its percentage has not grown yet."""
        start = self._starts.get(sight.resource)
        if start is None or sight.percent is None or sight.percent <= start.percent:
            return None
        return (100 - sight.percent) * (now - start.moment) / (sight.percent - start.percent)


def _seen(pending: Sequence[Sight]) -> str:
    """Return the states of the resources, the least advanced first."""
    slowest = sorted(pending, key=lambda sight: -1.0 if sight.percent is None else sight.percent)[:_NAMED]
    texts = [
        f"{sight.resource} is {sight.state}" + ("" if sight.percent is None else f" ({sight.percent:.0f} %)")
        for sight in slowest
    ]
    more = len(pending) - len(slowest)
    return ", ".join(texts) + (f", and {more} more" if more else "")


def _changed(operation: str) -> str:
    """Return an operation as the result of its calls: ``snapshots deleted`` for DeleteSnapshot."""
    verb, *nouns = re.findall(r"[A-Z][a-z0-9]*", operation)
    if verb not in _VERBS or not nouns:
        return f"calls of {operation} made"
    noun = " ".join(word.lower() for word in nouns).removesuffix("s")
    return f"{noun}s {_VERBS[verb]}"


def duration(seconds: float) -> str:
    """Return a number of seconds for people: ``32 s``, ``12 min``, ``1 h 5 min``."""
    whole = max(1, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
