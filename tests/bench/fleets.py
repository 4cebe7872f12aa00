# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets under EC2's own token buckets: volumes, snapshot sets, stops and starts, and many deletions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from report import Comparison, Row, say
from runs import HERE, LATENCY, RUN_LIMIT, Bench, Broken, Run
from snapshots import EACH, PAGE, POLICY, SELECTED, seed_cron, seed_policy
from volumes import declared

STOP, START, SNAPSHOT = 20.0, 10.0, 15.0
"""Seconds."""
_AT_ONCE = 50
"""The number of instances that one request seeds."""


def bucket_time(calls: int, at_once: int, per_second: float) -> float:
    """Return the seconds that EC2's rate takes for so many calls."""
    return (calls - at_once) / per_second


class Fleets:
    """The cost of fleets under EC2's rates: volumes made and attached, snapshot sets, stops and starts, deletions.

    Nothing waits for a resource that it does not depend on. So a run takes as long as the calls of the slowest bucket,
    and a little more. No peer is run: amazon.aws makes the calls one after the other.
    """

    name = "fleets"
    title = "Fleets, at the rates that EC2 allows"
    durations: ClassVar = {
        "volume_creating": 0.4,
        "volume_attaching": 0.3,
        "instance_stopping": STOP,
        "instance_pending": START,
        "snapshot_pending": SNAPSHOT,
    }

    INSTANCES, VOLUMES = 200, 4
    ATTACH_LIMIT = bucket_time(INSTANCES * VOLUMES, 50, 5)
    SETS_LIMIT = bucket_time(INSTANCES, 100, 5)
    TAGS_LIMIT = bucket_time(INSTANCES * (VOLUMES + 1), 100, 10)
    POWERED = 500
    SNAPSHOTS, DELETED = 50_000, 2_000
    DELETE_LIMIT = bucket_time(DELETED, 100, 5)
    # A region for each, so that none sees another's resources.
    ATTACHED, POWER, SETS, TAGGED = "eu-west-1", "eu-north-1", "eu-central-1", "eu-west-2"
    ROTATION, TWO = "us-east-1", "us-west-2"

    def measure(self, bench: Bench) -> Comparison:
        """Each on fresh buckets, since each has its own region."""
        runs = {
            "volumes": self._volumes(bench),
            "sets": self._sets(bench, self.SETS, {}),
            "sets, tagged one by one": self._sets(bench, self.TAGGED, {"ec2ops:spec": "web"}),
        }
        runs["stopped"], runs["started"] = self._power(bench)
        rows = self._creation_rows(runs["volumes"], runs["sets"], runs["sets, tagged one by one"])
        rows += self._power_rows(runs["stopped"], runs["started"])
        listing, runs["deletions"] = self._rotation(bench)
        rows.append(
            timed(
                f"{self.SNAPSHOTS} snapshots, {self.DELETED} deleted",
                runs["deletions"],
                1.15 * (listing + self.DELETE_LIMIT),
                "1.15 times the time of the listing and the time that the rate of DeleteSnapshot allows",
            )
        )
        runs["first of two"], runs["second of two"], both = self._two(bench)
        rows.append(
            Row(
                f"two runs at once, which delete {self.DELETED // 2} each: time of both",
                f"{both:.1f} s",
                "",
                f"at most {1.15 * self.DELETE_LIMIT:.0f} s "
                "(1.15 times the time that the rate of DeleteSnapshot allows)",
                both <= 1.15 * self.DELETE_LIMIT,
            )
        )
        return Comparison(
            tuple(rows),
            runs,
            {"listing": listing},
            (
                (
                    f"A call takes {LATENCY * 1000:.0f} ms, a stop {STOP:g} s, a start {START:g} s, a snapshot "
                    f"{SNAPSHOT:g} s."
                ),
                (
                    "The rates are those that EC2 publishes: a number of calls at once, then so many per second. The "
                    "time of a run is that of the whole command."
                ),
            ),
            "none",
        )

    # --- volumes and snapshot sets ---

    def _volumes(self, bench: Bench) -> Run:
        ids = seed(bench, self.ATTACHED, self.INSTANCES)
        return execute(bench, "volumes.yml", self.ATTACHED, {"instance_ids": ids, "volumes": declared(self.VOLUMES)})

    def _sets(self, bench: Bench, region: str, tags: Mapping[str, str]) -> Run:
        """Sets of instances whose volumes have names of their own, and *tags* that their snapshots must not have."""
        volumes = [{"tags": {"Name": f"data{number}", **tags}} for number in range(self.VOLUMES)]
        ids = seed(bench, region, self.INSTANCES, data_volumes=volumes, volume_tags={"team": "shop"})
        policy = {"policy": "nightly", "select": {"instance_ids": ids}, "consistency": "instance", "keep": {"last": 7}}
        run = execute(bench, "sets.yml", region, {"policy": policy})
        made = bench.sandbox.client("ec2", region).describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "tag:ec2ops:policy", "Values": ["nightly"]}]
        )["Snapshots"]
        if len(made) != self.INSTANCES * (self.VOLUMES + 1):
            raise Broken(f"sets.yml in {region} should have taken other snapshots than {len(made)}")
        return run

    def _creation_rows(self, volumes: Run, sets: Run, tagged: Run) -> list[Row]:
        return [
            timed(
                f"{self.INSTANCES * self.VOLUMES} volumes made and attached",
                volumes,
                1.2 * self.ATTACH_LIMIT,
                "1.2 times the time that the rate of AttachVolume allows",
            ),
            timed(
                f"snapshot sets of {self.INSTANCES} instances with {self.VOLUMES + 1} volumes",
                sets,
                1.5 * self.SETS_LIMIT + SNAPSHOT,
                "1.5 times the time that the rate of CreateSnapshots allows, and a snapshot",
            ),
            timed(
                "the same, with tags that no call for a set can give",
                tagged,
                1.2 * self.TAGS_LIMIT + SNAPSHOT,
                "1.2 times the time that the rate of CreateTags allows, and a snapshot",
            ),
        ]

    # --- stops and starts ---

    def _power(self, bench: Bench) -> tuple[Run, Run]:
        ids = seed(bench, self.POWER, self.POWERED)
        stopped, started = (
            execute(bench, "power.yml", self.POWER, {"instance_ids": ids, "wanted": wanted})
            for wanted in ("stopped", "running")
        )
        return stopped, started

    def _power_rows(self, stopped: Run, started: Run) -> list[Row]:
        seconds, most = stopped.seconds + started.seconds, 1.15 * (STOP + START) + 3.0
        return [
            Row(
                f"{self.POWERED} instances stopped, then started: time of both",
                f"{seconds:.1f} s",
                "",
                f"at most {most:.1f} s (1.15 times a stop and a start, and 3 s)",
                seconds <= most,
            ),
            Row(
                f"{self.POWERED} instances stopped, then started: calls without polls",
                str(stopped.calls + started.calls),
                "",
            ),
        ]

    # --- deletions ---

    def _rotation(self, bench: Bench) -> tuple[float, Run]:
        """The seconds of a bare script that lists the snapshots, and the run that deletes some of them."""
        count = self.SNAPSHOTS // EACH
        bench.sandbox.configure(buckets=False)
        seed_policy(bench.sandbox, self.ROTATION, count)
        asked = {
            "Filters": [{"Name": "tag:ec2ops:policy", "Values": [POLICY]}],
            "OwnerIds": ["self"],
            "MaxResults": PAGE,
        }
        bare = bench.process(HERE / "bare_calls.py", self.ROTATION, json.dumps([["ec2", "DescribeSnapshots", asked]]))
        bench.sandbox.configure(buckets=True)
        variables = {
            "policy": POLICY,
            "select": {"tags": SELECTED},
            "create": "never",
            "keep": {"daily": EACH - self.DELETED // count},
            "max_delete": self.DELETED,
        }
        return bare.seconds, execute(bench, "snapshots.yml", self.ROTATION, variables, limit=900.0)

    def _two(self, bench: Bench) -> tuple[Run, Run, float]:
        """Two runs that share the buckets of a region, and the seconds from the first start to the last end."""
        bench.sandbox.configure(buckets=False)
        for policy in ("one", "two"):
            seed_cron(bench.sandbox, self.TWO, self.DELETED // 2, 20, 30, policy)
        bench.sandbox.configure(buckets=True)
        began = time.monotonic()
        with ThreadPoolExecutor() as threads:
            first, second = threads.map(lambda policy: self._cron(bench, policy), ("one", "two"))
        return first, second, time.monotonic() - began

    def _cron(self, bench: Bench, policy: str) -> Run:
        variables = {
            "policy": policy,
            "create": "never",
            "adopt": {"tags": {"created-by": policy}},
            "keep": {"last": 1},
            "max_delete": self.DELETED,
            "max_delete_percent": 100,
        }
        return execute(bench, "snapshots.yml", self.TWO, variables, limit=900.0)


def execute(bench: Bench, playbook: str, region: str, variables: Mapping[str, Any], *, limit: float = RUN_LIMIT) -> Run:
    """Run a playbook of this folder. Raises Broken when it fails."""
    say(f"{playbook} in {region} ...")
    run = bench.run(HERE / playbook, region, variables, limit=limit)
    if run.status:
        raise Broken(f"{playbook} ended with {run.status}:\n{run.output[-5000:]}")
    return run


def timed(what: str, run: Run, most: float, why: str) -> Row:
    """Return the row of a run that is to take at most so many seconds."""
    return Row(f"{what}: time", f"{run.seconds:.1f} s", "", f"at most {most:.0f} s ({why})", run.seconds <= most)


def seed(bench: Bench, region: str, count: int, **options: Any) -> list[str]:
    """Make running instances without EC2's buckets, and return their ids. The buckets are on afterwards.

    *options*: more of each instance's, as the sandbox's seeding takes them.
    """
    say(f"{count} instances in {region} ...")
    bench.sandbox.configure(buckets=False, latency=0.0, durations={"instance_pending": 0.0})
    names = [f"web-{number}" for number in range(count)]
    made: dict[str, str] = {}
    for start in range(0, count, _AT_ONCE):
        some = [{"name": name, **options} for name in names[start : start + _AT_ONCE]]
        made |= bench.sandbox.seed({"region": region, "instances": some})
    bench.sandbox.configure(buckets=True, latency=LATENCY, durations={"instance_pending": START})
    return [made[name] for name in names]
