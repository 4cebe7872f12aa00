# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets under EC2's own token buckets: volumes made and attached, and instances stopped and started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from report import Comparison, Row, say
from runs import HERE, LATENCY, Bench, Broken, Run
from volumes import declared

STOP, START = 20.0, 10.0
"""Seconds."""
_AT_ONCE = 50
"""The number of instances that one request seeds."""


class Fleets:
    """Two hundred instances get four volumes each, and five hundred instances stop and start.

    Nothing waits for a resource that it does not depend on. So a run takes as long as the calls of the slowest bucket,
    and a little more. No peer is run: amazon.aws makes the calls one after the other.
    """

    name = "fleets"
    title = "Two hundred instances with four new volumes each, and five hundred stopped and started"
    durations: ClassVar = {
        "volume_creating": 0.4,
        "volume_attaching": 0.3,
        "instance_stopping": STOP,
        "instance_pending": START,
    }

    INSTANCES, VOLUMES = 200, 4
    POWERED = 500
    # AttachVolume: 50 at once, then 5 per second.
    LIMIT = (INSTANCES * VOLUMES - 50) / 5.0
    TIMES_THE_LIMIT = 1.2
    MOST_SECONDS_POWER = 1.15 * (STOP + START) + 3.0
    # A region for each, so that none sees what is another's.
    ATTACHED, POWER = "eu-west-1", "eu-north-1"

    def measure(self, bench: Bench) -> Comparison:
        """The volumes, then the stop and the start."""
        volumes = self._volumes(bench)
        stopped, started = self._power(bench)
        most = self.LIMIT * self.TIMES_THE_LIMIT
        return Comparison(
            (
                Row(
                    f"{self.INSTANCES * self.VOLUMES} volumes made and attached: time",
                    f"{volumes.seconds:.1f} s",
                    "",
                    f"at most {most:.0f} s ({self.TIMES_THE_LIMIT:g} times what AttachVolume's bucket takes)",
                    volumes.seconds <= most,
                ),
                Row(
                    f"{self.POWERED} instances stopped, then started: time of both",
                    f"{stopped.seconds + started.seconds:.1f} s",
                    "",
                    f"at most {self.MOST_SECONDS_POWER:.1f} s beside the starts of two plays",
                    stopped.seconds + started.seconds <= self.MOST_SECONDS_POWER + 2.0,
                ),
                Row(
                    f"{self.POWERED} instances stopped, then started: calls without polls",
                    str(stopped.calls + started.calls),
                    "",
                ),
            ),
            {"volumes": volumes, "stopped": stopped, "started": started},
            {},
            (f"A call takes {LATENCY * 1000:.0f} ms, a stop {STOP:g} s, a start {START:g} s.",),
            "none",
        )

    def _run(self, bench: Bench, playbook: str, region: str, variables: Mapping[str, Any]) -> Run:
        say(f"{playbook} in {region} ...")
        run = bench.run(HERE / playbook, region, variables)
        if run.status:
            raise Broken(f"{playbook} ended with {run.status}:\n{run.output[-5000:]}")
        return run

    def _volumes(self, bench: Bench) -> Run:
        ids = seed(bench, self.ATTACHED, self.INSTANCES)
        return self._run(bench, "volumes.yml", self.ATTACHED, {"instance_ids": ids, "volumes": declared(self.VOLUMES)})

    def _power(self, bench: Bench) -> tuple[Run, Run]:
        ids = seed(bench, self.POWER, self.POWERED)
        stopped, started = (
            self._run(bench, "power.yml", self.POWER, {"instance_ids": ids, "wanted": wanted})
            for wanted in ("stopped", "running")
        )
        return stopped, started


def seed(bench: Bench, region: str, count: int) -> list[str]:
    """Make running instances without EC2's buckets, and return their ids. The buckets are on afterwards."""
    bench.sandbox.configure(buckets=False, latency=0.0, durations={"instance_pending": 0.0})
    names = [f"web-{number}" for number in range(count)]
    made: dict[str, str] = {}
    for start in range(0, count, _AT_ONCE):
        some = [{"name": name} for name in names[start : start + _AT_ONCE]]
        made |= bench.sandbox.seed({"region": region, "instances": some})
    bench.sandbox.configure(buckets=True, latency=LATENCY, durations={"instance_pending": START})
    return [made[name] for name in names]
