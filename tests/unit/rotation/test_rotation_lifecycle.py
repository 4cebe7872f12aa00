# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archive, lock and fast restore of kept snapshots: refusals, queries, changes, and snapshots that are left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.retention import parse_keep
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.snapshot_sets import (
    Slots,
    SnapshotSet,
    snapshot_sets_of,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.guards import Guards
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.lifecycle import (
    ARCHIVE_GUARDS,
    MOST_ARCHIVING,
    LifecycleChanges,
    archive_candidates,
    lifecycle_changes,
    lifecycle_queries,
    released,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.lifecycle_result import (
    lifecycle_deferred,
    lifecycle_result,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.lifecycle_spec import (
    FastRestore,
    Lifecycle,
    Lock,
    locked_for,
    parse_lifecycle,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.spec import GUARDS, parse
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.stock import Stock
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import DEFERRAL, Deferral
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Stage, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Image, ImageDevice, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import (
    Query,
    State,
    resource_key,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    FAST_RESTORES,
    FAST_RESTORES_QUERY,
    IS_PUBLIC,
    LOCK,
    LOCKS_QUERY,
    TIERING,
    TIERINGS_QUERY,
    FastRestoreZone,
    SnapshotLock,
    Tiering,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import parse_every
from hypothesis import given
from hypothesis import strategies as st

from examples import examples

REGION = "us-east-1"
A, B = "us-east-1a", "us-east-1b"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
GOVERNANCE = {"mode": "governance", "duration": "30d"}
COMPLIANCE = {"mode": "compliance", "duration": "1d", "accept_compliance": True}
LOCKED = {"ec2ops:lock": "governance 30d"}


def options(**given_options: Any) -> Lifecycle:
    keep = parse_keep(given_options.pop("keep", {"last": "unlimited"}))
    return parse_lifecycle(given_options, REGION, keep, parse_every(given_options.pop("every", "24h")))


# --- small worlds -----------------------------------------------------------------------------------------------------


def snapshot(name: str, age: timedelta | int, *, policy: str | None = "p", **fields: Any) -> Snapshot:
    """``v1-3``: snapshot 3 of volume 1; *age* in days."""
    start = NOW - (age if isinstance(age, timedelta) else age * DAY)
    tags = {**({"ec2ops:policy": policy} if policy else {}), **fields.pop("tags", {})}
    volume = name.partition("-")[0].replace("v", "vol-")
    described = f"{policy or 'cron'}: {tags.get('ec2ops:set', volume).partition('/')[0]}"
    if "ec2ops:lock" in tags:
        described += f", to be locked: {tags['ec2ops:lock']}"
    given = {"volume_id": volume, "start_time": start, "tags": tags, "description": described, **fields}
    return Snapshot(f"snap-{name}", **given)


def parts(name: str, age: int, *more: str, **fields: Any) -> list[Snapshot]:
    """A set of an instance: ``i1-3`` with the parts a and b."""
    instance = name.partition("-")[0].replace("i", "i-")
    tags = {"ec2ops:set": f"{instance}/{NOW - age * DAY:%Y-%m-%d}", **fields.pop("tags", {})}
    return [snapshot(f"{name}{part}", age, tags=tags, **fields) for part in more or ("a", "b")]


def new(name: str, **tags: str) -> SnapshotSet:
    """This run's snapshot of a volume."""
    volume = name.replace("v", "vol-")
    made = Snapshot(f"(new snapshot p of {volume})", volume_id=volume, tags={"ec2ops:policy": "p", **tags})
    return SnapshotSet(made.snapshot_id, volume, (made,), NOW, None)


def stock(
    *snapshots: Snapshot,
    coming: Iterable[SnapshotSet] = (),
    leaving: Collection[str] = (),
    now: datetime = NOW,
    zone: Any = UTC,
) -> Stock:
    sets = snapshot_sets_of(snapshots, now, Slots(parse_every("24h"), zone))
    going = frozenset(f"snap-{name}" for name in leaving)
    return Stock("p", sets, tuple(coming), going, now, zone)


def state(*facts: Fact) -> State:
    return State(REGION, by_id(facts))


def by_id(facts: Iterable[Fact]) -> dict[str, Fact]:
    return {fact.resource_id: fact for fact in facts}


def lock(name: str, mode: str = "governance", days: int = 30) -> Fact:
    return LOCK.fact(f"snap-{name}", SnapshotLock(mode, datetime(2026, 12, 24, tzinfo=UTC), days))


def fast(name: str, *zones: str, ending: Sequence[str] = ()) -> Fact:
    states = {**dict.fromkeys(zones, "enabled"), **dict.fromkeys(ending, "disabling")}
    return FAST_RESTORES.fact(f"snap-{name}", tuple(FastRestoreZone(*one) for one in states.items()))


def tier(name: str, last: str, where: str = "standard", message: str | None = None) -> Fact:
    return TIERING.fact(f"snap-{name}", Tiering(where, last, message))


def changes(
    lifecycle: Lifecycle, of: Stock, *facts: Fact, held: Mapping[str, str] | Callable[[Snapshot], str] | None = None
) -> LifecycleChanges:
    """The changes, checked as every plan is."""
    ask = held if callable(held) else lambda item: (held or {}).get(item.snapshot_id, "")
    found = lifecycle_changes(lifecycle, of, ask, state(*facts))
    made = [item.snapshot_id for a_set in of.coming for item in a_set.snapshots]
    guard(Plan((*found.before_deletions, *found.after_deletions)), made)
    return found


def done(found: LifecycleChanges) -> list[tuple[str, str]]:
    return [(change.action, change.resource.removeprefix("snap-")) for change in found.all]


def archived(found: LifecycleChanges) -> list[str]:
    return [change.resource.removeprefix("snap-") for change in found.archive]


def waiting(found: LifecycleChanges) -> dict[str, str]:
    return {a_set.key.removeprefix("snap-"): reason for a_set, reason in found.waiting}


# --- options ----------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"archive_after": "soon"}, ["archive_after", "'soon'", "90d", "7d"]),
    ({"archive_after": "0d"}, ["archive_after", "'0d'"]),
    ({"lock": {"mode": "strict", "duration": "1d"}}, ["lock.mode", "'strict'", "governance, compliance, unlocked"]),
    ({"lock": {"mode": None}}, ["lock.mode", "None"]),
    ({"lock": {"mode": "governance"}}, ["lock.duration", "is required", "30d"]),
    ({"lock": {"mode": "governance", "duration": "12h"}}, ["lock.duration", "'12h'", "whole days", "36500d"]),
    ({"lock": {"mode": "governance", "duration": "36h"}}, ["lock.duration", "'36h'", "whole days"]),
    ({"lock": {"mode": "governance", "duration": "0d"}}, ["lock.duration", "'0d'"]),
    ({"lock": {"mode": "governance", "duration": "36501d"}}, ["lock.duration", "'36501d'", "36500d"]),
    ({"lock": {"mode": "governance", "duration": "1y"}}, ["lock.duration", "'1y'"]),
    ({"lock": {"mode": "governance", "duration": "9" * 30 + "d"}}, ["lock.duration", "36500d"]),
    ({"lock": {**GOVERNANCE, "cool_off": "1h"}}, ["lock.cool_off", "compliance"]),
    ({"lock": {"mode": "compliance", "duration": "1d"}}, ["lock.accept_compliance", "1d", "true"]),
    ({"lock": {**COMPLIANCE, "accept_compliance": False}}, ["lock.accept_compliance"]),
    ({"lock": {**COMPLIANCE, "cool_off": "73h"}}, ["lock.cool_off", "'73h'", "72h"]),
    ({"lock": {**COMPLIANCE, "cool_off": "90min"}}, ["lock.cool_off", "'90min'", "whole hours"]),
    ({"lock": {**COMPLIANCE, "cool_off": "0h"}}, ["lock.cool_off", "'0h'"]),
    ({"lock": {"mode": "unlocked", "duration": "1d"}}, ["lock.mode", "duration"]),
    ({"lock": {"mode": "unlocked", "cool_off": "1h"}}, ["lock.mode", "cool_off"]),
    ({"fast_restore": {"newest": 1}}, ["fast_restore.zones", "is required"]),
    ({"fast_restore": {"zones": ["eu-west-1a"]}}, ["fast_restore.zones", "'eu-west-1a'", "us-east-1a"]),
    ({"fast_restore": {"zones": [A, "use1-az2"]}}, ["fast_restore.zones", "'use1-az2'", REGION]),
    ({"fast_restore": {"zones": [REGION]}}, ["fast_restore.zones", "'us-east-1'"]),
    ({"fast_restore": {"zones": [A], "newest": 0}}, ["fast_restore.newest", "0", "less than 1"]),
]


@pytest.mark.parametrize(("given_options", "named"), REFUSED, ids=[str(one) for one, _named in REFUSED])
def test_invalid_values_are_refused_with_the_accepted_ones(given_options: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(SpecError) as refused:
        options(**given_options)
    missing = [text for text in named if text not in str(refused.value)]
    assert missing in ([], ["90d"]), str(refused.value)


def test_given_options_are_read() -> None:
    assert options() == Lifecycle()
    found = options(
        archive_after="90d",
        lock={"mode": "compliance", "duration": "2w", "cool_off": "1d", "accept_compliance": True},
        fast_restore={"zones": [B, A, B], "newest": 2},
    )
    assert found.archive_after is not None
    assert (found.archive_after.text, found.archive_after.fixed) == ("90d", 90 * DAY)
    assert found.lock == Lock("compliance", 14, 24)
    assert found.fast_restore == FastRestore((A, B), 2)
    assert options(fast_restore={"zones": []}).fast_restore == FastRestore((), 1)
    assert options(lock={"mode": "unlocked"}).lock == Lock("unlocked")


@pytest.mark.parametrize("duration", ["1d", "24h", "36500d"])
def test_shortest_and_longest_lock_are_accepted(duration: str) -> None:
    found = options(lock={"mode": "governance", "duration": duration}).lock
    assert found == Lock("governance", 36500 if duration == "36500d" else 1)


def test_new_snapshots_are_marked_to_be_locked_and_the_mark_is_read_back() -> None:
    assert options().own_tags == {}
    assert options(lock={"mode": "unlocked"}).own_tags == {}
    marked = options(lock=GOVERNANCE).own_tags
    assert marked == LOCKED
    assert locked_for(Snapshot("snap-1", tags=marked)) == 30 * DAY
    assert locked_for(Snapshot("snap-1", tags=options(lock=COMPLIANCE).own_tags)) == DAY
    for other in ("", "governance", "governance 0d", "strict 3d", "governance 30d "):
        assert locked_for(Snapshot("snap-1", tags={"ec2ops:lock": other})) is None
    assert locked_for(Snapshot("snap-1")) is None


# (archive_after, keep, every, what the warnings name; empty for none)
COSTS: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("90d", {"monthly": 12}, "24h", []),
    ("90d", {"last": "unlimited"}, "24h", []),
    ("30d", {"daily": 7, "monthly": 12}, "24h", []),  # the daily snapshots are deleted before they are old enough
    ("30d", {"daily": 35, "monthly": 12}, "24h", ["keep.daily: 35"]),
    ("30d", {"monthly": 3}, "24h", ["keep.monthly: 3"]),
    ("30d", {"monthly": 4}, "24h", []),
    ("30d", {"within": "4m", "yearly_within": "3y"}, "24h", []),
    ("30d", {"within": "3m", "yearly_within": "3y"}, "24h", ["keep.within: 3m"]),
    ("30d", {"last": 35}, "24h", ["keep.last: 35"]),
    ("30d", {"last": 35}, "1h", ["keeps a snapshot longer than that"]),
    ("30d", {"last": 35}, "1m", []),
    ("1y", {"daily": 7, "weekly": 4}, "24h", ["keeps a snapshot longer than that"]),
    ("1y", {"daily": 7, "weekly": 4, "oldest": True}, "24h", []),
    ("30d", {"daily": 35, "weekly": 6}, "24h", ["keep.daily: 35 and keep.weekly: 6"]),
    ("30d", {"daily": 10**17, "daily_within": "99999999999y"}, "24h", []),
]


@pytest.mark.parametrize(("after", "keep", "every", "named"), COSTS, ids=[f"{one[0]} {one[1]}" for one in COSTS])
def test_rules_that_make_the_archive_dear_are_warned_of(
    after: str, keep: dict[str, Any], every: str, named: list[str]
) -> None:
    found = options(archive_after=after, keep=keep, every=every).warnings
    assert len(found) == len(named)
    assert all(
        text in warning and f"archive_after: {after}" in warning for text, warning in zip(named, found, strict=True)
    )
    assert options(keep=keep, every=every).warnings == ()
    # The warnings reach the user with the plan.
    assert changes(options(archive_after=after, keep=keep, every=every), stock()).warnings == found


# --- the archive ------------------------------------------------------------------------------------------------------

OLD = "90d"


def test_older_snapshots_are_archived_except_the_newest() -> None:
    of = stock(snapshot("v1-1", 10), snapshot("v1-2", 100), snapshot("v1-3", 200), snapshot("v2-1", 300))
    found = changes(options(archive_after=OLD), of)
    assert archived(found) == ["v1-2", "v1-3"]
    assert waiting(found) == {"v2-1": "the newest snapshot outside the archive"}
    change = found.archive[0]
    assert (change.action, change.region, change.parameters) == (
        "ModifySnapshotTier",
        REGION,
        {"StorageTier": "archive"},
    )
    assert (change.before, change.after) == ({"storage_tier": "standard"}, {"storage_tier": "archive"})
    assert change.reason == "archive: older than 90d"
    assert change.disruptive
    assert "ResourceLimitExceeded" in change.deferrable


def test_the_age_is_exact_and_a_slot_counts_from_its_start() -> None:
    limit = 90 * DAY
    of = stock(
        snapshot("v1-1", 1),
        snapshot("v1-2", limit),
        snapshot("v1-3", limit + timedelta(seconds=1)),
        snapshot("v1-4", limit - timedelta(hours=1), tags={"ec2ops:period": f"{NOW - limit:%Y-%m-%d}T00:00+00:00"}),
    )
    assert archived(changes(options(archive_after=OLD), of)) == ["v1-4", "v1-3"]


def test_months_are_counted_in_the_policys_zone() -> None:
    now = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)  # April 1 in Berlin
    of = [
        snapshot("v1-1", 0, start_time=now - DAY),
        snapshot("v1-2", 0, start_time=datetime(2026, 2, 28, 23, tzinfo=UTC)),
    ]
    one_month = options(archive_after="1m")
    assert archived(changes(one_month, stock(*of, now=now))) == []
    assert archived(changes(one_month, stock(*of, now=now, zone=ZoneInfo("Europe/Berlin")))) == ["v1-2"]


def test_awaited_new_snapshot_counts_as_the_newest() -> None:
    """So the next run finds nothing to do. Without a wait, the former newest snapshot stays in its tier."""
    of = snapshot("v1-1", 100)
    lifecycle = options(archive_after=OLD)
    assert archived(changes(lifecycle, stock(of, coming=[new("v1")]))) == ["v1-1"]
    assert archived(changes(lifecycle, stock(of))) == []
    pending = snapshot("v1-2", 0, state="pending")
    assert archived(changes(lifecycle, stock(of, pending))) == []
    assert archived(changes(lifecycle, stock(of, pending, coming=snapshot_sets_of([pending], NOW)))) == ["v1-1"]


ALONE: list[tuple[str, dict[str, Any], list[Fact], str | None]] = [
    ("another policy's", {"policy": "other"}, [], None),
    ("an adopted one", {"policy": None}, [], None),
    ("pending", {"state": "pending"}, [], None),
    ("failed", {"state": "error"}, [], None),
    ("in the archive", {"storage_tier": "archive"}, [tier("v1-2", "archival-completed", "archive")], None),
    ("in the archive, of which EC2 does not say since when", {"storage_tier": "archive"}, [], None),
    ("on its way there", {}, [tier("v1-2", "archival-in-progress")], None),
    ("back for some days", {}, [tier("v1-2", "temporary-restore-completed")], None),
    ("on its way back", {}, [tier("v1-2", "permanent-restore-in-progress")], "permanent-restore-in-progress"),
    ("back for good", {}, [tier("v1-2", "permanent-restore-completed")], "restored from the archive for good"),
    ("with fast restore", {}, [fast("v1-2", A)], "fast restore"),
]


@pytest.mark.parametrize(("_name", "fields", "facts", "reason"), ALONE, ids=[one[0] for one in ALONE])
def test_unarchivable_snapshot_is_left_in_the_standard_tier(
    _name: str, fields: dict[str, Any], facts: list[Fact], reason: str | None
) -> None:
    of = stock(snapshot("v1-1", 1), snapshot("v1-2", 100, **fields), snapshot("v1-3", 200))
    found = changes(options(archive_after=OLD), of, *facts)
    assert archived(found) == ["v1-3"]
    assert list(waiting(found)) == ([] if reason is None else ["v1-2"])
    assert reason is None or reason in waiting(found)["v1-2"]


def test_snapshots_without_a_rule_or_with_a_guard_are_not_archived() -> None:
    of = stock(snapshot("v1-1", 1), snapshot("v1-2", 100), snapshot("v1-3", 200), leaving=["v1-2"])
    found = changes(options(archive_after=OLD), of, held={"snap-v1-3": "ami-1 (available) is made of it"})
    assert done(found) == []
    assert waiting(found) == {"v1-3": "snap-v1-3: ami-1 (available) is made of it"}


def test_newest_is_a_snapshot_that_can_be_restored() -> None:
    """A snapshot in the archive, on its way, back for some days, or in the future is not the newest."""
    of = stock(
        snapshot("v1-0", -1),
        snapshot("v1-1", 1, storage_tier="archive"),
        snapshot("v1-2", 100),
        snapshot("v1-3", 110),
        snapshot("v1-4", 120),
        snapshot("v1-5", 130),
    )
    facts = [tier("v1-2", "temporary-restore-completed"), tier("v1-3", "archival-in-progress")]
    found = changes(options(archive_after=OLD), of, *facts)
    assert archived(found) == ["v1-5"]
    assert list(waiting(found)) == ["v1-4"]


def test_failed_archival_is_repeated_with_its_reason() -> None:
    of = stock(snapshot("v1-1", 1), snapshot("v1-2", 100))
    (change,) = changes(options(archive_after=OLD), of, tier("v1-2", "archival-failed", message="no room")).archive
    assert change.reason == "archive: older than 90d; the last attempt failed: no room"


def test_set_is_archived_whole_or_not_at_all() -> None:
    of = stock(*parts("i1-1", 1), *parts("i1-2", 100), *parts("i1-3", 200), *parts("i1-4", 300))
    held = {"snap-i1-2b": "public: anybody may use it"}
    found = changes(options(archive_after=OLD), of, tier("i1-4a", "archival-completed", "archive"), held=held)
    # A run archives the rest of a set that an interrupted run has begun.
    assert archived(found) == ["i1-3a", "i1-3b", "i1-4b"]
    assert waiting(found) == {"i1-2a": "snap-i1-2b: public: anybody may use it"}


def test_set_with_a_part_in_the_archive_is_not_the_newest() -> None:
    of = stock(*parts("i1-1", 100), *parts("i1-2", 200), *parts("i1-3", 300))
    facts = [tier("i1-1a", "archival-in-progress")]
    found = changes(options(archive_after=OLD), of, *facts)
    assert archived(found) == ["i1-1b", "i1-3a", "i1-3b"]
    assert list(waiting(found)) == ["i1-2a"]
    assert {item.snapshot_id for item in archive_candidates(options(archive_after=OLD), of)} >= {
        change.resource for change in found.archive
    }


def test_archival_keeps_to_the_quota_and_begins_with_the_oldest() -> None:
    of = [snapshot("v1-0", 1), *(snapshot(f"v1-{number}", 100 + number) for number in range(1, 31))]
    found = changes(options(archive_after=OLD), stock(*of))
    assert archived(found) == [f"v1-{number}" for number in range(6, 31)]
    assert waiting(found) == dict.fromkeys(
        [f"v1-{number}" for number in range(1, 6)], "EC2 archives at most 25 snapshots at once"
    )
    under_way = [tier(f"v1-{number}", "archival-in-progress") for number in range(10, 31)]
    assert archived(changes(options(archive_after=OLD), stock(*of), *under_way)) == [
        f"v1-{one}" for one in range(6, 10)
    ]


def test_archival_of_copies_leaves_the_quota_of_this_region_alone() -> None:
    of = stock(snapshot("v1-0", 1), *(snapshot(f"v1-{number}", 100 + number) for number in range(1, 31)))
    elsewhere = [tier(f"copy-{number}", "archival-in-progress") for number in range(20)]
    keyed = {resource_key(fact, Place("eu-west-1")): fact for fact in elsewhere}
    known = dataclasses.replace(state(), resources=keyed)
    found = lifecycle_changes(options(archive_after=OLD), of, lambda _item: "", known)
    assert len(archived(found)) == MOST_ARCHIVING


def test_volume_with_many_archived_snapshots_delays_no_other() -> None:
    full = [snapshot(f"v1-{number}", 300 + number, storage_tier="archive") for number in range(100, 125)]
    refused = [snapshot(f"v1-{number}", 200 + number) for number in range(30)]
    of = [snapshot("v1-new", 1), *full, *refused, snapshot("v2-0", 1), snapshot("v2-1", 100)]
    found = archived(changes(options(archive_after=OLD), stock(*of)))
    assert len(found) == MOST_ARCHIVING
    assert "v2-1" in found


def test_set_above_the_quota_is_archived_alone() -> None:
    large = [f"{number:02}" for number in range(30)]
    of = [*parts("i1-1", 1), *parts("i1-2", 200, *large), *parts("i2-1", 1), *parts("i2-2", 100)]
    lifecycle = options(archive_after=OLD)
    assert archived(changes(lifecycle, stock(*of))) == [f"i1-2{part}" for part in large]
    busy = tier("x", "archival-in-progress")
    assert archived(changes(lifecycle, stock(*of), busy)) == ["i2-2a", "i2-2b"]


def test_run_without_archive_after_moves_no_snapshot() -> None:
    of = stock(snapshot("v1-1", 1), snapshot("v1-2", 100, storage_tier="archive"), snapshot("v1-3", 200))
    facts = [tier("v1-2", "archival-completed", "archive"), fast("v1-3", A), lock("v1-1")]
    assert changes(options(), of, *facts) == LifecycleChanges()


# --- locks ------------------------------------------------------------------------------------------------------------


def test_new_snapshot_is_locked_once_completed() -> None:
    lifecycle = options(lock=GOVERNANCE)
    made = new("v1", **lifecycle.own_tags)
    (change,) = changes(lifecycle, stock(snapshot("v1-1", 1), coming=[made])).secure
    assert (change.action, change.resource) == ("LockSnapshot", made.key)
    assert change.parameters == {"LockMode": "governance", "LockDuration": 30}
    assert (change.before, change.after, change.reason) == (
        {"lock": None},
        {"lock": "governance 30d"},
        "lock as declared",
    )
    assert not change.deferrable  # a missing lock must give a warning


def test_cooling_off_period_is_sent_with_the_lock() -> None:
    lifecycle = options(lock={**COMPLIANCE, "cool_off": "72h"})
    (change,) = changes(lifecycle, stock(coming=[new("v1", **lifecycle.own_tags)])).secure
    assert change.parameters == {"LockMode": "compliance", "LockDuration": 1, "CoolOffPeriod": 72}


LOCKABLE: list[tuple[str, dict[str, Any], list[Fact], bool]] = [
    ("as an interrupted run has left it", {"tags": LOCKED}, [], True),
    ("locked", {"tags": LOCKED}, [lock("v1-1")], False),
    ("locked otherwise", {"tags": LOCKED}, [lock("v1-1", "compliance-cooloff")], False),
    ("the lock is over", {"tags": LOCKED}, [lock("v1-1", "expired")], False),
    ("made before the option", {}, [], False),
    ("older than its lock would be", {"tags": {"ec2ops:lock": "governance 2d"}}, [], False),
    ("pending, and nobody waits", {"tags": LOCKED, "state": "pending"}, [], False),
    ("failed", {"tags": LOCKED, "state": "error"}, [], False),
    ("another policy's", {"tags": LOCKED, "policy": "other"}, [], False),
]


@pytest.mark.parametrize(("_name", "fields", "facts", "wanted"), LOCKABLE, ids=[one[0] for one in LOCKABLE])
def test_later_run_locks_only_snapshots_marked_for_it(
    _name: str, fields: dict[str, Any], facts: list[Fact], wanted: bool
) -> None:
    of = snapshot("v1-1", 2, **fields)
    found = changes(options(lock=GOVERNANCE), stock(of), *facts)
    assert done(found) == ([("LockSnapshot", "v1-1")] if wanted else [])
    assert [change.reason for change in found.all] == (["lock the unlocked snapshot"] if wanted else [])
    # A snapshot that the plan deletes is not locked.
    assert done(changes(options(lock=GOVERNANCE), stock(of, leaving=["v1-1"]), *facts)) == []


def test_awaited_pending_snapshot_is_locked() -> None:
    of = snapshot("v1-1", 0, state="pending", tags=LOCKED)
    found = changes(options(lock=GOVERNANCE), stock(of, coming=snapshot_sets_of([of], NOW)))
    assert done(found) == [("LockSnapshot", "v1-1")]


def test_snapshot_without_a_wait_is_locked_while_pending() -> None:
    of = snapshot("v1-1", 0, state="pending", tags=LOCKED)
    found = changes(options(lock=GOVERNANCE), dataclasses.replace(stock(of), pending=snapshot_sets_of([of], NOW)))
    assert done(found) == [("LockSnapshot", "v1-1")]


def test_every_part_of_a_set_is_locked_each_once() -> None:
    of = parts("i1-1", 0, "a", "b", "c", tags=LOCKED)
    assert done(changes(options(lock=GOVERNANCE), stock(*of), lock("i1-1b"))) == [
        ("LockSnapshot", "i1-1a"),
        ("LockSnapshot", "i1-1c"),
    ]


def test_only_the_policys_locks_are_removed_on_request() -> None:
    of = stock(
        snapshot("v1-1", 1, tags=LOCKED),
        snapshot("v1-2", 2, tags={"ec2ops:lock": "compliance 30d"}),
        snapshot("v1-3", 3, tags=LOCKED),
        snapshot("v1-4", 4, tags=LOCKED),
        snapshot("v1-5", 5),
        snapshot("v1-6", 6, tags=LOCKED, policy="other"),
        snapshot("v1-7", 90, tags=LOCKED),
        leaving=["v1-7"],
    )
    facts = [
        lock("v1-1"),
        lock("v1-2", "compliance-cooloff"),
        lock("v1-3", "compliance"),
        lock("v1-4", "expired"),
        *(lock(f"v1-{number}") for number in (5, 6, 7)),
    ]
    assert done(changes(options(), of, *facts)) == []
    found = changes(options(lock={"mode": "unlocked"}), of, *facts)
    assert done(found) == [("UnlockSnapshot", name) for name in ("v1-1", "v1-2", "v1-7")]
    assert found.release == found.all
    assert (found.release[0].before, found.release[0].after) == ({"lock": "governance"}, {"lock": None})
    assert len(found.warnings) == 1
    assert "snap-v1-3 (until 2026-12-24T00:00:00Z)" in found.warnings[0]


# --- fast restore -----------------------------------------------------------------------------------------------------


def begun(name: str, *zones: str) -> tuple[str, str, tuple[str, ...]]:
    return ("EnableFastSnapshotRestores", name, zones)


def ended(name: str, *zones: str) -> tuple[str, str, tuple[str, ...]]:
    return ("DisableFastSnapshotRestores", name, zones)


def zoned(found: LifecycleChanges) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (change.action, change.resource.removeprefix("snap-"), tuple(change.parameters["AvailabilityZones"]))
        for change in found.all
    ]


FAST: list[tuple[str, dict[str, Any], list[Fact], list[Any]]] = [
    ("on the newest", {"zones": [A]}, [], [begun("v1-1", A), begun("v2-1", A)]),
    ("in all zones", {"zones": [A, B]}, [], [begun("v1-1", A, B), begun("v2-1", A, B)]),
    ("there already", {"zones": [A]}, [fast("v1-1", A), fast("v2-1", A)], []),
    ("in one of them already", {"zones": [A, B]}, [fast("v1-1", B), fast("v2-1", A, B)], [begun("v1-1", A)]),
    (
        "several of each",
        {"zones": [A], "newest": 2},
        [fast("v1-2", A)],
        [begun("v1-1", A), begun("v2-1", A)],
    ),
    (
        "moves on to the newest",
        {"zones": [A]},
        [fast("v1-2", A), fast("v2-1", A)],
        [ended("v1-2", A), begun("v1-1", A)],
    ),
    (
        "in exactly these zones",
        {"zones": [A]},
        [fast("v1-1", A, B), fast("v2-1", A), fast("v1-3", B)],
        [ended("v1-1", B), ended("v1-3", B)],
    ),
    ("no zones", {"zones": []}, [fast("v1-1", A, B), fast("v1-3", B)], [ended("v1-1", A, B), ended("v1-3", B)]),
    ("on its way out", {"zones": [A]}, [fast("v1-1", ending=[A]), fast("v2-1", A)], [begun("v1-1", A)]),
    ("that of others", {"zones": [A]}, [fast("v1-1", A), fast("v2-1", A), fast("v1-x", A, B)], []),
]


@pytest.mark.parametrize(("_name", "given_options", "facts", "wanted"), FAST, ids=[one[0] for one in FAST])
def test_fast_restore_is_on_the_newest_in_the_zones_and_nowhere_else(
    _name: str, given_options: dict[str, Any], facts: list[Fact], wanted: list[Any]
) -> None:
    of = stock(
        snapshot("v1-1", 1),
        snapshot("v1-2", 2),
        snapshot("v1-3", 3),
        snapshot("v2-1", 1),
        snapshot("v1-x", 0, policy=None),
    )
    found = changes(options(fast_restore=given_options), of, *facts)
    assert sorted(zoned(found)) == sorted(wanted)
    assert done(changes(options(), of, *facts)) == []


def test_newest_counts_only_existing_kept_snapshots() -> None:
    of = [
        snapshot("v1-f", -1),
        snapshot("v1-1", 1, state="pending"),
        snapshot("v1-2", 2, state="error"),
        snapshot("v1-3", 3),
        snapshot("v1-4", 4, storage_tier="archive"),
        snapshot("v1-5", 5),
        snapshot("v1-6", 6),
    ]
    lifecycle = options(fast_restore={"zones": [A]})
    assert zoned(changes(lifecycle, stock(*of, leaving=["v1-3"]), fast("v1-6", A))) == [
        ended("v1-6", A),
        begun("v1-5", A),
    ]
    # A snapshot that this run makes and waits for takes the place of the previous newest.
    made = new("v1")
    found = changes(lifecycle, stock(*of, coming=[made]), fast("v1-3", A))
    assert zoned(found) == [ended("v1-3", A), begun(made.key, A)]


def test_ended_fast_restore_names_its_zones() -> None:
    of = stock(snapshot("v1-1", 1), snapshot("v1-2", 2))
    off, on = changes(options(fast_restore={"zones": [A]}), of, fast("v1-2", A, B)).all
    assert (off.before, off.after) == ({"fast_restore": [A, B]}, {"fast_restore": []})
    assert (off.reason, off.disruptive) == ("end fast restore: not among the newest snapshots", True)
    assert (on.before, on.after, on.reason) == (
        {"fast_restore": []},
        {"fast_restore": [A]},
        "enable fast restore of the newest",
    )
    assert "ResourceLimitExceeded" in on.deferrable


def test_too_large_snapshot_gives_a_warning() -> None:
    of = stock(snapshot("v1-1", 1, volume_size=16385), snapshot("v2-1", 1, volume_size=16384))
    found = changes(options(fast_restore={"zones": [A]}), of)
    assert zoned(found) == [begun("v2-1", A)]
    assert len(found.warnings) == 1
    assert "snap-v1-1 has 16385 GiB" in found.warnings[0]


def test_former_newest_is_archived_in_the_same_run() -> None:
    of = stock(snapshot("v1-1", 100), snapshot("v1-2", 110), snapshot("v1-3", 120), coming=[new("v1")])
    lifecycle = options(archive_after=OLD, fast_restore={"zones": [A], "newest": 2})
    found = changes(lifecycle, of, fast("v1-1", A), fast("v1-2", A))
    assert [change.resource for change in found.release] == ["snap-v1-2"]
    assert archived(found) == ["v1-2", "v1-3"]
    assert waiting(found) == {"v1-1": "snap-v1-1 has fast restore"}


# --- what has to be known ---------------------------------------------------------------------------------------------


def asked(lifecycle: Lifecycle, of: Stock) -> set[Query]:
    return set(lifecycle_queries(lifecycle, of))


def test_unnecessary_queries_are_not_asked() -> None:
    young, old = snapshot("v1-1", 1, tags=LOCKED), snapshot("v1-2", 100)
    assert asked(options(), stock(young, old)) == set()
    everything = options(archive_after=OLD, lock=GOVERNANCE, fast_restore={"zones": [A]})
    assert asked(everything, stock()) == set()
    assert asked(everything, stock(coming=[new("v1", **LOCKED)])) == set()
    assert asked(everything, stock(young, old)) == {TIERINGS_QUERY, FAST_RESTORES_QUERY, LOCKS_QUERY}
    archive = options(archive_after=OLD)
    assert asked(archive, stock(young)) == set()
    assert asked(archive, stock(old)) == set()  # the newest
    assert asked(archive, stock(young, old)) == {TIERINGS_QUERY, FAST_RESTORES_QUERY}
    assert asked(archive, stock(young, dataclasses.replace(old, storage_tier="archive"))) == set()
    assert asked(options(lock=GOVERNANCE), stock(old)) == set()
    assert asked(options(lock={"mode": "unlocked"}), stock(young)) == {LOCKS_QUERY}
    assert asked(options(lock={"mode": "unlocked"}), stock(old)) == set()
    assert [one.snapshot_id for one in archive_candidates(archive, stock(young, old))] == ["snap-v1-2"]
    assert archive_candidates(options(lock=GOVERNANCE), stock(young, old)) == []


def test_query_for_moved_snapshots_uses_ec2s_names() -> None:
    ((name, values),) = TIERINGS_QUERY.filters
    assert name == "last-tiering-operation"
    assert {"archival-in-progress", "permanent-restore-completed", "temporary-restore-failed"} < set(values)
    assert len(values) == 9


def test_the_guards_of_the_archive_are_guards() -> None:
    assert set(ARCHIVE_GUARDS) < set(GUARDS)
    assert "locked" not in ARCHIVE_GUARDS


def guards(world: State, **given_guards: str) -> Guards:
    given_options = {"policy": "p", "create": "never", "keep": {"last": 1}, "guards": given_guards}
    return Guards(parse(given_options, REGION), world, NOW)


def test_guards_keep_snapshots_of_an_image() -> None:
    of = stock(snapshot("v1-1", 1), snapshot("v1-2", 100), snapshot("v1-3", 200))
    image = Image("ami-1", state="disabled", block_devices=(ImageDevice("/dev/xvda", "snap-v1-2"),))
    about = guards(state(IS_PUBLIC.fact("snap-v1-3", True)).with_resources([image]), public="report")

    def held(item: Snapshot) -> str:
        return about.reason(item, ARCHIVE_GUARDS)

    found = changes(options(archive_after=OLD), of, held=held)
    assert archived(found) == []
    assert waiting(found) == {
        "v1-2": "snap-v1-2: ami-1 (disabled) is made of it",
        "v1-3": "snap-v1-3: anybody may use it",
    }


def test_released_snapshot_is_no_longer_guarded() -> None:
    """So the snapshot is deleted in the same run, and the next one has nothing to do."""
    world = state(lock("v1-2"), fast("v1-2", A, B), fast("v1-3", A), lock("v1-3"))
    old, older = snapshot("v1-2", 2, tags=LOCKED), snapshot("v1-3", 3)
    of = stock(snapshot("v1-1", 1), old, older, leaving=["v1-2", "v1-3"])
    lifecycle = options(lock={"mode": "unlocked"}, fast_restore={"zones": [A]})
    found = lifecycle_changes(lifecycle, of, lambda _item: "", world)
    before, after = guards(world), guards(released(world, found))
    assert [name for name, _reason in before.stops(old, "keep")] == ["locked", "fast_restore"]
    assert list(after.stops(old, "keep")) == []
    assert [name for name, _reason in after.stops(older, "keep")] == ["locked"]  # a lock of somebody else
    assert released(world, LifecycleChanges()).resources == world.resources


# --- what is told -----------------------------------------------------------------------------------------------------


def test_result_lists_the_lifecycle_changes() -> None:
    of = stock(snapshot("v1-1", 1, tags=LOCKED), snapshot("v1-2", 100), snapshot("v2-1", 200), snapshot("v2-2", 300))
    lifecycle = options(archive_after=OLD, lock=GOVERNANCE, fast_restore={"zones": [A]})
    held = {"snap-v2-2": "it is public"}
    found = changes(lifecycle, of, fast("v1-2", A), held=held)
    told = lifecycle_result(found, None)
    assert told == {
        "archived": ["snap-v1-2"],
        "archive_waiting": [
            {"snapshot_ids": ["snap-v2-1"], "reason": "the newest snapshot outside the archive"},
            {"snapshot_ids": ["snap-v2-2"], "reason": "snap-v2-2: it is public"},
        ],
        "locked": ["snap-v1-1"],
        "unlocked": [],
        "fast_restored": ["snap-v1-1", "snap-v2-1"],
        "fast_restore_ended": ["snap-v1-2"],
    }
    assert lifecycle_result(found, 1)["archive_waiting"] == told["archive_waiting"][:1]
    assert lifecycle_result(found, 0)["archive_waiting"] == []
    assert all(value == [] for value in lifecycle_result(LifecycleChanges(), None).values())


def test_refused_lifecycle_changes_are_reported() -> None:
    refusal = Deferral("ResourceLimitExceeded", "Too many.")
    one, other = "snap-0000000000000000a", "vol-0000000000000000b"
    world = state(DEFERRAL.fact(one, refusal), DEFERRAL.fact(other, refusal), tier("2", "archival-completed"))
    assert lifecycle_deferred(world) == [{"snapshot_id": one, "code": "ResourceLimitExceeded", "message": "Too many."}]


def test_order_is_release_then_secure_then_archive() -> None:
    of = stock(snapshot("v1-1", 1, tags=LOCKED), snapshot("v1-2", 100))
    lifecycle = options(archive_after=OLD, lock=GOVERNANCE, fast_restore={"zones": [A]})
    found = changes(lifecycle, of, fast("v1-2", A))
    assert found.before_deletions == (Stage(found.release), Stage(found.secure))
    assert found.after_deletions == (Stage(found.archive),)
    assert [len(stage.changes) for stage in (*found.before_deletions, *found.after_deletions)] == [1, 2, 1]
    assert (LifecycleChanges().before_deletions, LifecycleChanges().after_deletions) == ((), ())


# --- properties -------------------------------------------------------------------------------------------------------

TIERS = (None, "archival-in-progress", "archival-failed", "permanent-restore-completed", "temporary-restore-completed")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Lifecycle, Stock, dict[str, Fact], frozenset[str]]:
    """Options, snapshots (of at most two volumes and an instance), EC2's facts, and the verdicts of the guards."""
    found: list[Snapshot] = []
    facts: dict[str, Fact] = {}
    ages = draw(st.lists(st.integers(0, 200), max_size=8))
    for number, age in enumerate(ages):
        tags = draw(st.sampled_from([{}, LOCKED, {"ec2ops:lock": "governance 1d"}]))
        policy = draw(st.sampled_from(["p", "p", "p", None]))
        of = draw(st.sampled_from(["v1", "v2", "i1"]))
        fields: dict[str, Any] = {"tags": tags, "policy": policy}
        fields["state"] = draw(st.sampled_from(["completed"] * 5 + ["pending", "error"]))
        name = f"{of}-{number}"
        made = parts(name, age, **fields) if of == "i1" else [snapshot(name, age, **fields)]
        for item in made:
            key = item.snapshot_id.removeprefix("snap-")
            kind = draw(st.sampled_from(TIERS)) if item.state == "completed" else None
            extra = [tier(key, kind)] if kind else []
            zones = draw(st.lists(st.sampled_from([A, B, "us-east-1c"]), unique=True, max_size=2))
            extra += [fast(key, *zones)] if zones else []
            modes = ["", "governance", "compliance", "compliance-cooloff", "expired"]
            mode = draw(st.sampled_from(modes))
            extra += [lock(key, mode)] if mode else []
            facts.update(by_id(extra))
            found.append(dataclasses.replace(item, storage_tier=draw(st.sampled_from([None, "standard", "archive"]))))
    sets = snapshot_sets_of(found, NOW)
    coming = [new(volume, **LOCKED) for volume in ("v1", "v2") if draw(st.booleans())]
    # A run waits only for snapshots of the current slot.
    recent = [a_set for a_set in sets if a_set.start_time > NOW - timedelta(days=1)]
    coming += [a_set for a_set in recent if a_set.state == "pending" and draw(st.booleans())]
    # As in the rules, the newest completed set of each group stays.
    first = {a_set.group: a_set.key for a_set in reversed(sets) if a_set.state == "completed"}
    leaving = frozenset(a_set.key for a_set in sets if a_set.key not in first.values() and draw(st.booleans()))
    held = frozenset(item.snapshot_id for item in found if draw(st.sampled_from([True, False, False])))
    lifecycle = options(
        archive_after=draw(st.sampled_from([None, "1d", "90d"])),
        lock=draw(st.sampled_from([None, GOVERNANCE, COMPLIANCE, {"mode": "unlocked"}])),
        fast_restore=draw(
            st.sampled_from([None, {"zones": []}, {"zones": [A]}, {"zones": [A, B], "newest": 3}, {"zones": [B]}])
        ),
    )
    return lifecycle, Stock("p", sets, tuple(coming), leaving - {a_set.key for a_set in coming}, NOW, UTC), facts, held


def carried_out(found: LifecycleChanges, facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """EC2's facts afterwards."""
    after = dict(facts)
    for change in found.all:
        name, told = change.resource, change.after or {}
        if change.action == "UnlockSnapshot":
            del after[LOCK.id_of(name)]
            continue
        if change.action == "LockSnapshot":
            fact = LOCK.fact(name, SnapshotLock(told["lock"].split(" ")[0], days=30))
        elif change.action == "ModifySnapshotTier":
            fact = TIERING.fact(name, Tiering("standard", "archival-in-progress"))
        else:
            fact = FAST_RESTORES.fact(name, tuple(FastRestoreZone(zone, "enabling") for zone in told["fast_restore"]))
        after[fact.resource_id] = fact
    return after


def settled(of: Stock, gone: Collection[str] = ()) -> Stock:
    """The state afterwards: awaited snapshots are completed."""
    coming = {a_set.key for a_set in of.coming}
    there = [
        SnapshotSet(
            a_set.key,
            a_set.group,
            tuple(dataclasses.replace(item, state="completed") for item in a_set.snapshots),
            a_set.start_time,
            a_set.period,
        )
        for a_set in of.coming
    ]
    rest = [a_set for a_set in of.sets if a_set.key not in coming and a_set.key not in gone]
    return dataclasses.replace(of, sets=[*there, *rest], coming=())


@examples(200)
@given(worlds())
def test_the_next_run_has_nothing_to_do(world: tuple[Lifecycle, Stock, dict[str, Fact], frozenset[str]]) -> None:
    lifecycle, of, facts, held = world

    def plan(about: Stock, known: Mapping[str, Fact]) -> LifecycleChanges:
        return changes(lifecycle, about, *known.values(), held=lambda item: "held" if item.snapshot_id in held else "")

    found = plan(of, facts)
    after = carried_out(found, facts)
    assert plan(settled(of), after).all == ()
    assert plan(settled(of, of.leaving), after).all == ()
    # Nor when all that has been begun is over.
    moved = {change.resource for change in found.archive}
    later = {
        **after,
        **by_id(tier(name.removeprefix("snap-"), "archival-completed", "archive") for name in moved),
    }
    assert plan(settled(of), later).all == ()


@examples(200)
@given(worlds())
def test_lifecycle_changes_keep_all_invariants(world: tuple[Lifecycle, Stock, dict[str, Fact], frozenset[str]]) -> None:
    lifecycle, of, facts, held = world
    found = changes(lifecycle, of, *facts.values(), held=lambda item: "held" if item.snapshot_id in held else "")
    everything = {a_set.key: a_set for a_set in (*of.sets, *of.coming)}
    own = {
        item.snapshot_id: a_set
        for a_set in everything.values()
        for item in a_set.snapshots
        if all(part.tags.get("ec2ops:policy") == "p" for part in a_set.snapshots)
    }
    assert {change.resource for change in found.all} <= set(own)
    moved = {change.resource for change in found.archive}
    assert not moved & held
    assert not any(own[name].key in of.leaving for name in moved)
    # The only usable snapshot of a source is never archived.
    candidates = {item.snapshot_id for item in archive_candidates(lifecycle, of)}
    assert moved <= candidates
    after = state(*carried_out(found, facts).values())
    for name in moved:
        others = [a_set for a_set in of.good if a_set.group == own[name].group and not moved & set(a_set.ids)]
        assert any(
            all(
                item.storage_tier != "archive" and _at_hand(TIERING.of(after, item.snapshot_id))
                for item in a_set.snapshots
            )
            for a_set in others
        )
    if lifecycle.fast_restore is not None:
        on = {name for name in own if FAST_RESTORES.of(after, name)}
        assert len(on) <= lifecycle.fast_restore.newest * 2 * 3  # sets of two in three groups
        for name in on:
            zones = {item.zone for item in FAST_RESTORES.of(after, name) or ()}
            assert zones <= set(lifecycle.fast_restore.zones)
        assert not on & moved
    locked = {change.resource for change in found.all if change.action == "LockSnapshot"}
    assert not any(own[name].key in of.leaving for name in locked)


def _at_hand(tiering: Tiering | None) -> bool:
    last = tiering.last if tiering is not None else ""
    return not last.endswith("-in-progress") and last not in ("archival-completed", "temporary-restore-completed")


@examples(50)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(
    world: tuple[Lifecycle, Stock, dict[str, Fact], frozenset[str]], random: Any
) -> None:
    lifecycle, of, facts, held = world
    shuffled = list(facts.values())
    random.shuffle(shuffled)

    def hold(item: Snapshot) -> str:
        return "held" if item.snapshot_id in held else ""

    assert changes(lifecycle, of, *shuffled, held=hold) == changes(lifecycle, of, *facts.values(), held=hold)


def test_the_plan_predicts_the_tier() -> None:
    of = [snapshot("v1-1", 1), snapshot("v1-2", 100)]
    found = changes(options(archive_after=OLD), stock(*of))
    world = State(REGION, {item.snapshot_id: item for item in of})
    after = overlay(world, [change.published() for change in found.all])
    predicted = after.snapshot("snap-v1-2")
    assert predicted is not None
    assert predicted.storage_tier == "archive"
    rest = list(after.all(Snapshot))
    assert changes(options(archive_after=OLD), stock(*rest)).all == ()


def actions(found: Iterable[Change]) -> list[str]:
    return [change.action for change in found]


def test_one_run_secures_the_newest_and_archives_the_oldest() -> None:
    """All at once: the new one gets a lock and fast restore, the former newest has neither, the oldest is archived."""
    lifecycle = options(archive_after=OLD, lock=GOVERNANCE, fast_restore={"zones": [A]})
    made = new("v1", **lifecycle.own_tags)
    of = stock(snapshot("v1-1", 1, tags=LOCKED), snapshot("v1-2", 100, tags=LOCKED), coming=[made])
    found = changes(lifecycle, of, lock("v1-1"), fast("v1-1", A))
    assert [(change.action, change.resource) for change in found.all] == [
        ("DisableFastSnapshotRestores", "snap-v1-1"),
        ("LockSnapshot", made.key),
        ("EnableFastSnapshotRestores", made.key),
        ("ModifySnapshotTier", "snap-v1-2"),
    ]
    assert actions(changes(lifecycle, settled(of), *carried_out(found, by_id([lock("v1-1")])).values()).all) == []
