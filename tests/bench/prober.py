# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of a service, which asks its address ten times a second whether anybody answers."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self

from sandbox.client import Sandbox

PER_SECOND = 10


@dataclass(frozen=True)
class Probe:
    """One probe: monotonic seconds when its answer arrived, and the instance that answered, empty without one."""

    at: float
    answered: str


class Prober:
    """Probes *address* from the beginning of a with block to its end.

    *volume_id*: the service's data. An instance without this volume does not answer for the service.
    """

    def __init__(self, sandbox: Sandbox, region: str, address: str, volume_id: str = "") -> None:
        self._sandbox, self._region, self._address, self._volume_id = sandbox, region, address, volume_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._error: Exception | None = None
        self.probes: list[Probe] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None and value is None:
            raise self._error

    def _work(self) -> None:
        due = time.monotonic()
        try:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                due = max(due + 1 / PER_SECOND, time.monotonic())
                self.probes.append(self._probe())
        except Exception as error:  # the with block raises it
            self._error = error

    def _probe(self) -> Probe:
        found = [
            one["instance_id"]
            for one in self._sandbox.answering(self._address, self._region)
            if not self._volume_id or self._volume_id in one["volume_ids"]
        ]
        return Probe(time.monotonic(), found[0] if found else "")

    # --- the result ---

    @property
    def failed(self) -> int:
        """The number of probes that nobody answered."""
        return sum(not probe.answered for probe in self.probes)

    @property
    def off(self) -> float:
        """Seconds from the last answer before the longest outage to the first one after it, 0 without an outage.

        This is up to two tenths of a second longer than the outage. An outage at the end of the probes is not over, and
        counts up to the last probe.
        """
        good = [probe.at for probe in self.probes if probe.answered]
        bad = [probe.at for probe in self.probes if not probe.answered]
        if not bad:
            return 0.0
        ends = [self.probes[0].at, *good, self.probes[-1].at]
        return max(end - start for start, end in pairwise(ends) if any(start <= moment <= end for moment in bad))

    @property
    def lag(self) -> float:
        """The longest time between two probes, in seconds: an outage of that length could hide there."""
        return max((later.at - earlier.at for earlier, later in pairwise(self.probes)), default=0.0)

    @property
    def last(self) -> str:
        """The instance that answered the last probe."""
        return self.probes[-1].answered if self.probes else ""
