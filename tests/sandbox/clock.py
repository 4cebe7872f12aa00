# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's time: it runs at a speed, can jump forward, and never goes back."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

#: In the user agent of a test's own client, whose reads are never late, and whose changes everybody sees at once.
PRESENT = "sandbox-present"


class Clock:
    """The time of a sandbox, in aware UTC.

    speed: sandbox seconds per real second. start: the time at which it begins, the real one when None.
    """

    def __init__(self, speed: float = 1.0, start: datetime | None = None) -> None:
        if speed <= 0:
            raise ValueError(f"a clock's speed is greater than 0, not {speed}")
        self._lock = threading.Lock()
        self._base = (start or datetime.now(UTC)).astimezone(UTC)
        self._real = time.monotonic()
        self._speed = speed
        #: Every jump as (time before, time after): content marks take a jump as one tick.
        self.jumps: list[tuple[datetime, datetime]] = []

    @property
    def speed(self) -> float:
        """Sandbox seconds per real second."""
        return self._speed

    def now(self) -> datetime:
        """The present time."""
        with self._lock:
            return self._now()

    def _now(self) -> datetime:
        return self._base + timedelta(seconds=(time.monotonic() - self._real) * self._speed)

    def move(self, seconds: float) -> datetime:
        """Jump forward; returns the new time. Raises ValueError for a negative jump: timestamps never go backwards."""
        if seconds < 0:
            raise ValueError(f"the clock cannot go back ({seconds} s)")
        with self._lock:
            before = self._now()
            self._base += timedelta(seconds=seconds)
            after = before + timedelta(seconds=seconds)
            if seconds:
                self.jumps.append((before, after))
            return after

    def set_speed(self, speed: float) -> None:
        """Run faster or slower from now on. Raises ValueError for a speed that is not greater than 0."""
        if speed <= 0:
            raise ValueError(f"a clock's speed is greater than 0, not {speed}")
        with self._lock:
            self._base, self._real = self._now(), time.monotonic()
            self._speed = speed

    def real_seconds(self, seconds: float) -> float:
        """How long a span of sandbox seconds really takes."""
        return max(0.0, seconds) / self._speed

    def http_date(self) -> str:
        """The present time as an HTTP Date header."""
        return format_datetime(self.now().replace(microsecond=0), usegmt=True)
