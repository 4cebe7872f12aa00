# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reports about the progress of a run: the resources of a wait, finished calls, and pauses before a repeat.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Sight:
    """A resource that has not reached its goal yet, as EC2 shows it. ``percent`` is None if EC2 shows none."""

    resource: str
    state: str
    percent: float | None = None


class WaitProgress(Protocol):
    """The receiver of reports about a wait, which more resources may join."""

    def saw(self, pending: Sequence[Sight], done: int) -> None:
        """Report the resources that have not reached their goals, and how many have."""


class Progress(Protocol):
    """The receiver of all reports. Several threads may report at the same time."""

    def planned(self, calls: Mapping[str, int]) -> None:
        """Report how many resources the run will change, by operation."""

    def called(self, operation: str, resources: int, per_second: float | None) -> None:
        """Report that a call has changed *resources*.

        *per_second*: the rate of further calls, or None without a limit.
        """

    def wait(self) -> WaitProgress:
        """Report that a wait begins."""

    def pausing(self, call: str, code: str, seconds: float) -> None:
        """Report a pause of *seconds* before *call* is repeated, since AWS has refused it with *code*."""


class Silent:
    """Ignores all reports, for a process that can report only at its end. It is its own `WaitProgress`."""

    def planned(self, calls: Mapping[str, int]) -> None:
        """Ignore the numbers."""

    def called(self, operation: str, resources: int, per_second: float | None) -> None:
        """Ignore the call."""

    def wait(self) -> WaitProgress:
        """Return a receiver that ignores its reports."""
        return self

    def saw(self, pending: Sequence[Sight], done: int) -> None:
        """Ignore the resources."""

    def pausing(self, call: str, code: str, seconds: float) -> None:
        """Ignore the pause."""


SILENT = Silent()
