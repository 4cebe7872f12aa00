# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request log: every call, in the order of arrival, and counts by action."""

from __future__ import annotations

import base64
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .wire import timestamp_text

#: Entries kept; the oldest go first. Counts know all calls since the last reset.
KEPT = 50_000


@dataclass
class Entry:
    """One call. outcome: "" while it runs, "ok", EC2's error code, or "lost" when no answer was sent.

    duration: real seconds. done: whether the handler ran to its end, also when its answer was then lost or replaced by
    an error. trace: the traceback of a defect of the sandbox.
    """

    sequence: int
    time: datetime
    action: str
    region: str
    account: str
    params: Mapping[str, Any]
    user_agent: str
    outcome: str = ""
    status: int = 0
    duration: float = 0.0
    done: bool = False
    trace: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The entry as JSON can carry it."""
        row = dict(self.__dict__)
        row["time"] = timestamp_text(self.time)
        row["params"] = plain(self.params)
        row["duration"] = round(self.duration, 6)
        if not self.trace:
            del row["trace"]
        return row


def plain(value: Any) -> Any:
    """A boto3-shaped value as JSON can carry it: times as EC2's text, bytes as base64."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return timestamp_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value


class Log:
    """The calls of one world."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._counts: Counter[str] = Counter()
        self._sequence = 0

    def open(
        self, action: str, region: str, account: str, params: Mapping[str, Any], *, at: datetime, user_agent: str
    ) -> Entry:
        """Enter a call that has arrived."""
        with self._lock:
            self._sequence += 1
            entry = Entry(self._sequence, at, action, region, account, params, user_agent)
            self._entries.append(entry)
            if action:
                self._counts[action] += 1
            return entry

    def name(self, entry: Entry, action: str, account: str, params: Mapping[str, Any]) -> None:
        """Note the name of an entered call, once it has been read."""
        with self._lock:
            entry.action, entry.account, entry.params = action, account, params
            self._counts[action] += 1

    def close(self, entry: Entry, outcome: str, status: int, duration: float) -> None:
        """Note how a call ended."""
        entry.outcome, entry.status, entry.duration = outcome, status, duration

    def entries(
        self, *, after: int = 0, action: str | None = None, wanted: Callable[[Entry], bool] | None = None
    ) -> list[dict[str, Any]]:
        """The entries as JSON can carry them: those with a sequence greater than after, of one action."""
        with self._lock:
            found = [
                entry
                for entry in self._entries
                if entry.sequence > after and action in (None, entry.action) and (wanted is None or wanted(entry))
            ]
        return [entry.as_dict() for entry in found]

    def counts(self) -> dict[str, int]:
        """Calls by action since the last reset."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def reset(self) -> None:
        """Forget all calls. The sequence goes on, so that a reader's `after` stays right."""
        with self._lock:
            self._entries.clear()
            self._counts.clear()
