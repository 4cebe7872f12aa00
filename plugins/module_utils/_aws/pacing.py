# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWS's published request rates: one token bucket per operation and region.

Private to this collection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """EC2's bucket of one operation: it allows ``burst`` calls at once, and then ``per_second``."""

    burst: float
    per_second: float


_READ = Rate(100, 20)
# A describe call with neither a filter nor pagination has its own bucket, of half the size.
_READ_UNBOUNDED = Rate(50, 10)
_WRITE = Rate(50, 5)
_WRITE_LISTED = Rate(100, 5)

PACED = frozenset({"ec2", "cloudwatch", "ebs"})
"""The services whose calls have a pace."""

# "Request throttling for the Amazon EC2 API": the actions whose bucket differs from that of their category.
RATES: Mapping[str, Rate] = {
    "CreateTags": Rate(100, 10),
    "DeleteTags": Rate(100, 10),
    "RunInstances": Rate(5, 2),
    "StartInstances": Rate(5, 2),
    "CopyImage": Rate(100, 1),
    "DescribeInstanceStatus": _READ_UNBOUNDED,
    # CloudWatch also limits the data points in a second, and one answer may have 100,800 of them.
    "GetMetricData": Rate(8, 4),
    # "Quotas for Amazon EBS": requests per account.
    "ListChangedBlocks": Rate(50, 50),
    "ListSnapshotBlocks": Rate(50, 50),
    **dict.fromkeys(
        (
            "CreateSnapshot",
            "CreateSnapshots",
            "DeleteSnapshot",
            "CreateVolume",
            "DeleteVolume",
            "DeregisterImage",
            "ModifyImageAttribute",
            "ModifySnapshotAttribute",
            "TerminateInstances",
        ),
        _WRITE_LISTED,
    ),
}


def rate_of(operation: str) -> Rate:
    """Return the bucket that every account has for this operation. AWS can raise it."""
    return RATES.get(operation) or (_READ if operation.startswith(("Describe", "Get", "List")) else _WRITE)


JITTER = 0.4
"""The difference, in seconds, that the travel times of calls to EC2 may have. EC2 counts calls on arrival, and the
first calls travel longer, since they open connections.
"""


class _Bucket:
    """Our estimate of EC2's bucket.

    The estimate never exceeds the tokens that EC2's bucket certainly has when a call arrives.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.most = max(1.0, rate.burst - JITTER * rate.per_second)
        self.tokens = self.most
        self.factor = 1.0
        self.filled = now
        self.slowed = now

    def fill(self, now: float) -> None:
        # Others use the account's bucket too, as EC2's refusal shows. Our share grows back within a minute.
        if self.factor < 1.0:
            self.factor = min(1.0, self.factor + (now - max(self.filled, self.slowed)) / 60)
        self.tokens = min(self.most, self.tokens + (now - self.filled) * self.rate.per_second * self.factor)
        self.filled = now


class Pacer:
    """Delay calls so that EC2 does not throttle them. The object is safe for threads. The caller passes the functions
    for the time and for a sleep.

    A burst that fits into the bucket, less the share for `JITTER`, does not wait. If EC2 still throttles, other callers
    use the bucket too, and the rate is halved.
    """

    def __init__(self, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def _bucket(self, operation: str, region: str) -> _Bucket:
        now = self._monotonic()
        bucket = self._buckets.setdefault((operation, region), _Bucket(rate_of(operation), now))
        bucket.fill(now)
        return bucket

    def acquire(self, operation: str, region: str) -> None:
        """Take a token, and wait until it is available."""
        with self._lock:
            bucket = self._bucket(operation, region)
            # The balance may become negative: the next caller waits longer, which spreads calls at the rate.
            bucket.tokens -= 1
            delay = max(0.0, -bucket.tokens / (bucket.rate.per_second * bucket.factor))
        if delay > 0:
            self._sleep(delay)

    def rate(self, operation: str, region: str) -> float | None:
        """Return the calls per second from now on, or None while the bucket is not empty."""
        with self._lock:
            bucket = self._bucket(operation, region)
            return None if bucket.tokens > 0 else bucket.rate.per_second * bucket.factor

    def throttled(self, operation: str, region: str) -> None:
        """Note that EC2 throttled a call. The bucket is now empty. For a while it refills at half the rate, but never
        below a sixteenth of EC2's rate.
        """
        with self._lock:
            bucket = self._bucket(operation, region)
            now = self._monotonic()
            # Calls that were under way together are throttled together, which is one signal.
            if bucket.factor == 1.0 or now - bucket.slowed >= 1.0:
                bucket.factor = max(bucket.factor / 2, 1 / 16)
                bucket.slowed = now
            bucket.tokens = min(bucket.tokens, 0.0)
