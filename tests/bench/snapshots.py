# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots by policy: a check run over ten thousand and a hundred thousand, and 400 deleted as fast as EC2 allows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import custodian
from report import Comparison, Row, say, where_time_goes
from runs import HERE, LATENCY, Bench, Broken, Cost, Run
from sandbox.client import Sandbox
from volumes import middle, shape

POLICY = "db-daily"
EACH = 50
"""Snapshots of each volume."""
SELECTED = {"backup": "daily"}
PAGE = 1000
"""The most snapshots that EC2 has in an answer."""
SLOW = 0.8
"""Seconds that a call takes when the time of EC2's pages is measured; see `Snapshots`."""
DELETE = "DeleteSnapshot"
REFUSED = "RequestLimitExceeded"
DAY = 86400.0


@dataclass(frozen=True)
class Check:
    """A check run over `snapshots`: the module's process, the calls that it made, and the bytes of its result."""

    snapshots: int
    module: Cost
    calls: Mapping[str, int]
    size: int

    @property
    def made(self) -> int:
        """How many calls."""
        return sum(self.calls.values())


@dataclass(frozen=True)
class Deletions:
    """The sandbox's log of one side's deletions.

    lasted: seconds from the arrival of the first DeleteSnapshot to that of the last. deleted: snapshots. refused: calls
    of any kind, for their rate. left: snapshots that should be gone. spared: that should stay, and are there.
    """

    lasted: float
    deleted: int
    refused: int
    left: int
    spared: int


@dataclass(frozen=True)
class Peer:
    """The peer's deletions, or why there are none."""

    execution: custodian.Execution | None
    deletions: Deletions | None
    missing: str = ""


class Snapshots:
    """A policy's daily run in check mode, on 200 volumes and on ten times as many; then 400 deletions.

    Each volume has 50 snapshots of the last 50 days, tagged as the policy tags them; today's is due for all, and the
    oldest of each is deleted. The check of many is measured with short calls, and with calls of `SLOW` seconds, EC2's
    time for a page of a thousand. Checks are made by the module's own process, without the start of ansible-playbook.
    The deletions go through ansible-playbook, under EC2's own buckets.
    """

    name = "snapshots"
    title = "Ten thousand snapshots checked, a hundred thousand, and 400 deleted"
    durations: ClassVar[dict[str, float]] = {}

    VOLUMES, MANY = 200, 2000
    MOST_CALLS = 20
    TIMES_THE_LISTING, MORE_SECONDS = 2.0, 1.5
    MOST_MEMORY = 600.0
    TURNS = 3
    DELETED, SPARED = 400, 20
    # DeleteSnapshot: 100 at once, then 5 per second.
    LIMIT = (DELETED - 100) / 5.0
    LONGEST = 1.15
    OLD_DAYS = 30
    # A region for each. Nothing is in EMPTY: there the module is packed as Ansible does it, to be run in the others.
    EMPTY, FEW_REGION, MANY_REGION = "eu-west-3", "eu-west-1", "us-east-1"
    OURS, PEER = "eu-north-1", "eu-central-1"

    def measure(self, bench: Bench) -> Comparison:
        """Ours on few and on many, ours deleting, the peer deleting."""
        modules = {report: self._packed(bench, report) for report in ("actions", "summary")}
        few, listing = self._few(bench, modules["actions"])
        seed_policy(bench.sandbox, self.MANY_REGION, self.MANY)
        many = {report: self._many(bench, module, report) for report, module in modules.items()}
        say("The bare script ...")
        long_listing = self._listing(bench, self.MANY_REGION, self.MANY)
        slow = self._slow(bench, modules["summary"])
        run, ours = self._ours(bench)
        peer = self._peer(bench)
        return Comparison(
            (
                *self._check_rows(few, listing, many),
                *self._listing_rows(many["summary"].module, long_listing, slow),
                *self._deletion_rows(run, ours, peer),
            ),
            {"ours, deletions": run},
            {
                "checks": {
                    "few": shown(few),
                    "listing": asdict(listing),
                    "listing_of_many": asdict(long_listing),
                    "many": {report: shown(check) for report, check in many.items()},
                    "slow": {"check": shown(slow[0]), "listing": asdict(slow[1])},
                },
                "deletions": {"ours": asdict(ours), "peer": asdict(peer)},
            },
            (*self._notes((few, listing), (many, long_listing), run, peer), *slow_notes(*slow)),
            custodian.name(),
        )

    # --- checks ---

    def _packed(self, bench: Bench, report: str) -> Path:
        """The file that Ansible runs for the module in check mode."""
        say(f"snapshots.yml, report: {report}, in {self.EMPTY} ...")
        keep = bench.folder / report
        variables = {
            "policy": POLICY,
            "select": {"tags": SELECTED},
            "allow_empty": True,
            "keep": {"daily": EACH},
            "max_delete": self.MANY,
            "report": report,
        }
        run = bench.run(HERE / "snapshots.yml", self.EMPTY, variables, keep, check=True)
        if run.status or run.changed:
            raise Broken(f"snapshots.yml should have found nothing in {self.EMPTY}, but {run.outcome}:\n{run.output}")
        (module,) = keep.rglob("AnsiballZ_snapshot_rotate.py")
        return module

    def _few(self, bench: Bench, module: Path) -> tuple[Check, Cost]:
        """The medians of the check, and of a bare script that makes its calls for snapshots, in turn."""
        seed_policy(bench.sandbox, self.FEW_REGION, self.VOLUMES)
        checks: list[Check] = []
        listings: list[Cost] = []
        say(f"{module.name}, and a bare script that lists the snapshots, {self.TURNS} times each ...")
        for _turn in range(self.TURNS):
            checks.append(self._check(bench, module, self.FEW_REGION, self.VOLUMES))
            listings.append(self._listing(bench, self.FEW_REGION, self.VOLUMES))
        typical = middle([each.module for each in checks])
        return Check(checks[0].snapshots, typical, checks[0].calls, checks[0].size), middle(listings)

    def _listing(self, bench: Bench, region: str, volumes: int) -> Cost:
        """A bare script that lists the policy's snapshots, as the module asks for them."""
        asked = {
            "Filters": [{"Name": "tag:ec2ops:policy", "Values": [POLICY]}],
            "OwnerIds": ["self"],
            "MaxResults": PAGE,
        }
        before = bench.last_call()
        cost = bench.process(HERE / "bare_calls.py", region, json.dumps([["ec2", "DescribeSnapshots", asked]]))
        made, pages = shape(bench.calls_after(before)), volumes * EACH // PAGE
        if made != {"DescribeSnapshots": pages}:
            raise Broken(f"the bare script should list all snapshots in {pages} pages, but made {made}")
        return cost

    def _many(self, bench: Bench, module: Path, report: str) -> Check:
        """A check of many snapshots."""
        say(f"{module.name}, report: {report}, on {self.MANY * EACH} snapshots ...")
        return self._check(bench, module, self.MANY_REGION, self.MANY)

    def _slow(self, bench: Bench, module: Path) -> tuple[Check, Cost]:
        """One check of many, and the bare script, with the time that EC2 takes for a page of a thousand."""
        bench.sandbox.configure(latency=SLOW)
        try:
            check = self._many(bench, module, "summary")
            say("The bare script, as slowly ...")
            return check, self._listing(bench, self.MANY_REGION, self.MANY)
        finally:
            bench.sandbox.configure(latency=LATENCY)

    def _check(self, bench: Bench, module: Path, region: str, volumes: int) -> Check:
        before = bench.last_call()
        cost, output = bench.answered(module, region)
        answer = json.loads(output[output.index("{") :])
        counts = {key: answer["counts"][key] for key in ("managed", "deleted", "created")}
        wanted = {"managed": volumes * EACH, "deleted": volumes, "created": volumes}
        if counts != wanted:
            raise Broken(f"the check in {region} should have planned {wanted}, but has {counts}")
        return Check(volumes * EACH, cost, shape(bench.calls_after(before)), len(output))

    # --- deletions ---

    def _ours(self, bench: Bench) -> tuple[Run, Deletions]:
        made = seed_cron(bench.sandbox, self.OURS, self.DELETED, self.SPARED, self.OLD_DAYS)
        bench.sandbox.configure(buckets=True)
        say(f"snapshots.yml deletes {self.DELETED} in {self.OURS} ...")
        before = bench.last_call()
        variables = {
            "policy": "legacy",
            "create": "never",
            "adopt": {"tags": {"created-by": "cron"}},
            "keep": {"last": 1},
            "max_delete": 1000,
            "max_delete_percent": 100,
        }
        run = bench.run(HERE / "snapshots.yml", self.OURS, variables)
        return run, deletions(bench, self.OURS, before, made)

    def _peer(self, bench: Bench) -> Peer:
        made = seed_cron(bench.sandbox, self.PEER, self.DELETED, self.SPARED, self.OLD_DAYS)
        say(f"{custodian.name()} deletes {self.DELETED} in {self.PEER} ...")
        before = bench.last_call()
        try:
            execution = custodian.execute(bench, HERE / "peer_snapshots.yml", self.PEER)
        except custodian.Unavailable as error:
            return Peer(None, None, str(error))
        return Peer(execution, deletions(bench, self.PEER, before, made))

    # --- what is shown ---

    def _check_rows(self, few: Check, listing: Cost, many: Mapping[str, Check]) -> list[Row]:
        what = f"{few.snapshots} snapshots, check"
        most = self.TIMES_THE_LISTING * listing.seconds + self.MORE_SECONDS
        rows = [
            Row(
                f"{what}: API calls",
                str(few.made),
                "",
                f"at most {self.MOST_CALLS}",
                few.made <= self.MOST_CALLS,
                binding=True,
            ),
            Row(
                f"{what}: time of the module",
                f"{few.module.seconds:.2f} s",
                "",
                f"at most {most:.2f} s (twice the listing's {listing.seconds:.2f} s, and {self.MORE_SECONDS:g} s)",
                few.module.seconds <= most,
            ),
            Row(f"{what}: memory of the module", f"{few.module.memory:.0f} MB", ""),
        ]
        for report, check in many.items():
            what = f"{check.snapshots} snapshots, check, report: {report}"
            growth = check.module.seconds / few.module.seconds
            times = check.snapshots / few.snapshots
            rows += [
                Row(
                    f"{what}: time of the module",
                    f"{check.module.seconds:.1f} s",
                    "",
                    f"at most {times:g} times that of {few.snapshots}: {growth:.1f}",
                    growth <= times,
                ),
                Row(
                    f"{what}: memory of the module",
                    f"{check.module.memory:.0f} MB",
                    "",
                    f"under {self.MOST_MEMORY:g} MB",
                    check.module.memory < self.MOST_MEMORY,
                    binding=True,
                ),
            ]
        return rows

    def _listing_rows(self, module: Cost, listing: Cost, slow: tuple[Check, Cost]) -> list[Row]:
        """The check of many beside the bare listing, with short calls and with EC2's."""
        check, slow_listing = slow
        what = f"{check.snapshots} snapshots, check"
        return [
            Row(
                f"{what}: time of the module, with {LATENCY * 1000:.0f} ms a call",
                f"{module.seconds:.1f} s",
                "",
                f"at most the bare listing's {listing.seconds:.1f} s",
                module.seconds <= listing.seconds,
            ),
            Row(
                f"{what}: time of the module, with {SLOW:g} s a call",
                f"{check.module.seconds:.1f} s",
                "",
                f"at most a quarter of the bare listing's {slow_listing.seconds:.1f} s",
                check.module.seconds <= slow_listing.seconds / 4,
            ),
        ]

    def _deletion_rows(self, run: Run, ours: Deletions, peer: Peer) -> list[Row]:
        what = f"{self.DELETED} deletions"
        there, most = peer.deletions, self.LIMIT * self.LONGEST
        status = f"ended with {peer.execution.status}" if peer.execution else peer.missing
        return [
            Row(
                f"{what}: from the first to the last",
                f"{ours.lasted:.1f} s",
                f"{there.lasted:.1f} s" if there else "",
                f"at most {most:.0f} s ({self.LONGEST:g} times EC2's limit)",
                ours.lasted <= most,
            ),
            Row(
                f"{what}: deleted",
                str(ours.deleted),
                str(there.deleted) if there else "",
                str(self.DELETED),
                ours.deleted == self.DELETED and ours.left == 0,
                binding=True,
            ),
            Row(
                f"{what}: snapshots that should be gone and are not",
                str(ours.left),
                str(there.left) if there else "",
                "0",
                ours.left == 0,
                binding=True,
            ),
            Row(
                f"{what}: the newest of each, which stay",
                str(ours.spared),
                str(there.spared) if there else "",
                str(self.SPARED),
                ours.spared == self.SPARED,
                binding=True,
            ),
            Row(f"{what}: calls refused for their rate", str(ours.refused), str(there.refused) if there else ""),
            Row(f"{what}: the whole command", f"{run.seconds:.1f} s", seconds(peer)),
            Row(f"{what}: result", run.outcome, status, "changed", run.outcome == "changed", binding=True),
        ]

    def _notes(
        self, few: tuple[Check, Cost], many: tuple[Mapping[str, Check], Cost], run: Run, peer: Peer
    ) -> tuple[str, ...]:
        (check, listing), (checks, long_listing) = few, many
        number, times = self.MANY * EACH, long_listing.seconds / listing.seconds
        says = peer.execution.says if peer.execution else (peer.missing,)
        return (
            (
                f"A call takes {LATENCY * 1000:.0f} ms. In each check today's snapshot is due for every volume, and of "
                f"its {EACH} the oldest goes."
            ),
            f"{check.snapshots} snapshots: {costs(check.module)}. Calls: {counted(check.calls)}.",
            f"{check.snapshots} snapshots, listed by a bare boto3 script: {costs(listing)}.",
            *(
                f"{each.snapshots} snapshots, report: {report}: {costs(each.module)}; {each.size / 1e6:.1f} MB of "
                f"result. Calls: {counted(each.calls)}."
                for report, each in checks.items()
            ),
            f"{number} snapshots, listed by a bare boto3 script: {costs(long_listing)}; {times:.1f} times as long.",
            where_time_goes("our deletions", run),
            f"The peer says: {'; '.join(says) or 'no warning and no error'}.",
        )


def seed_policy(sandbox: Sandbox, region: str, count: int) -> None:
    """Volumes that the policy selects, and its snapshots of them from the last days, at two o'clock, not today."""
    say(f"{count * EACH} snapshots of {count} volumes in {region} ...")
    names = [f"db-{number}" for number in range(count)]
    now = sandbox.now()
    sandbox.seed(
        {
            "region": region,
            "volumes": [{"name": name, "tags": {**SELECTED, "Name": "db"}} for name in names],
            "snapshots": [daily(now - timedelta(days=days), names) for days in range(1, EACH + 1)],
        }
    )


def daily(day: datetime, volumes: Sequence[str]) -> dict[str, Any]:
    """A day's snapshots of all volumes, as seed() takes them, with the tags that the policy gives them."""
    return {
        "times": [f"{day:%Y-%m-%d}T02:00:04+00:00"],
        "volumes": list(volumes),
        "description": f"{POLICY}: {{volume}}, slot {day:%Y-%m-%d}T00:00+00:00",
        "tags": {
            **SELECTED,
            "Name": "db",
            "ec2ops:policy": POLICY,
            "ec2ops:period": f"{day:%Y-%m-%d}T00:00+00:00",
            "ec2ops:source": "{volume}",
            "ec2ops:origin": "gp3 8 3000 125 - - -",
        },
    }


def seed_cron(
    sandbox: Sandbox, region: str, old: int, volumes: int, days: int, tag: str = "cron"
) -> dict[str, list[str]]:
    """Cron's snapshots of volumes: `old` snapshots that are older than `days`, and a newer one of each volume. Their
    ids.
    """
    names = [f"{tag}-{number}" for number in range(volumes)]
    each: dict[str, Any] = {"volumes": names, "tags": {"created-by": tag}}
    made = sandbox.seed(
        {
            "region": region,
            "volumes": [{"name": name} for name in names],
            "snapshots": [
                {**each, "name": "old", "times": [(days + number) * DAY for number in range(old // volumes)]},
                {**each, "name": "new", "times": [DAY]},
            ],
        }
    )
    return {key: made[key] for key in ("old", "new")}


def deletions(bench: Bench, region: str, before: int, made: Mapping[str, Sequence[str]]) -> Deletions:
    """The effect of the calls since `before` on the snapshots of seed_cron() in a region."""
    log = [each for each in bench.calls_after(before) if each["region"] == region]
    asked = [each for each in log if each["action"] == DELETE]
    at = [datetime.fromisoformat(each["time"]).timestamp() for each in asked]
    # Without EC2's buckets: this reads the result, and counts as no tool's call.
    bench.sandbox.configure(buckets=False)
    pages = bench.sandbox.client("ec2", region).get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
    there = {snapshot["SnapshotId"] for page in pages for snapshot in page["Snapshots"]}
    bench.sandbox.configure(buckets=True)
    return Deletions(
        lasted=max(at, default=0.0) - min(at, default=0.0),
        deleted=sum(each["outcome"] == "ok" for each in asked),
        refused=sum(each["outcome"] == REFUSED for each in log),
        left=len(there.intersection(made["old"])),
        spared=len(there.intersection(made["new"])),
    )


def slow_notes(check: Check, listing: Cost) -> tuple[str, ...]:
    """The figures of the check and of the bare listing, with EC2's time for a page."""
    return (
        f"{check.snapshots} snapshots, {SLOW:g} s a call: {costs(check.module)}. Calls: {counted(check.calls)}.",
        f"{check.snapshots} snapshots, {SLOW:g} s a call, listed by a bare boto3 script: {costs(listing)}.",
    )


def shown(check: Check) -> dict[str, Any]:
    """A check's figures."""
    return {"snapshots": check.snapshots, "calls": dict(check.calls), "size": check.size, **asdict(check.module)}


def costs(cost: Cost) -> str:
    """A process's figures, for a sentence."""
    return f"{cost.seconds:.2f} s, of which {cost.cpu:.2f} s computing, and {cost.memory:.0f} MB"


def counted(calls: Mapping[str, int]) -> str:
    """Calls by action, for a sentence."""
    return ", ".join(f"{action} {number}" for action, number in Counter(calls).most_common())


def seconds(peer: Peer) -> str:
    """How long the peer's command took, for a table."""
    return f"{peer.execution.seconds:.1f} s" if peer.execution else ""
