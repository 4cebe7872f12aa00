# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a rotation: every decision with its reasons, the recovery points, and a text for a person.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

from ..._domain.decision_report import MOST_SHOWN, bounded_text, most_shown
from ..._domain.snapshot_sets import SnapshotSet
from ..._kernel.display import visible
from ..._kernel.plan import Change
from ..._kernel.times import format_moment
from .capture import Capture
from .copies import Copying
from .keeping import Held, Keeping, Verdict, is_future
from .spec import RotationSpec


@dataclass(frozen=True)
class Decided:
    """The decisions of one place. ``going``: the sets to delete, even if a limit withholds the deletion."""

    keeping: Keeping
    verdict: Verdict
    going: Sequence[SnapshotSet]

    @cached_property
    def leaving(self) -> frozenset[str]:
        """The keys of the sets to delete."""
        return frozenset(a_set.key for a_set in self.going)

    def hold(self, a_set: SnapshotSet) -> Held | None:
        """Return the guard that keeps the set, also one that was asked before the rules."""
        held = self.verdict.held.get(a_set.key)
        if held is None:
            guard, colon, reason = self.keeping.excluded.get(a_set.key, "").partition(": ")
            held = Held(guard, reason) if colon else None
        return held

    def is_action(self, a_set: SnapshotSet) -> bool:
        """Return whether the set is deleted, a guard keeps it, or its source is unknown."""
        return a_set.key in self.leaving or not a_set.group or self.hold(a_set) is not None

    def entry(self, a_set: SnapshotSet) -> dict[str, Any]:
        """Return the decision about one set, as the module returns it."""
        hold = self.hold(a_set)
        excluded = self.keeping.excluded.get(a_set.key)
        if hold is not None:
            reasons = [hold.reason]
        elif excluded:
            reasons = [excluded]
        else:
            reasons = list(self.keeping.kept.get(a_set.key, ()))
        place = self.keeping.scene.place
        return {
            "decision": "delete" if a_set.key in self.leaving else "keep",
            "snapshot_ids": list(a_set.ids),
            "source": a_set.group or None,
            "region": place.region,
            "profile": place.profile,
            "start_time": format_moment(a_set.start_time),
            "reasons": reasons,
            "guard": hold.guard if hold else None,
        }


class Report:
    """The report about the decisions of all places. *withheld*: a limit or a guard withholds the deletions."""

    def __init__(self, spec: RotationSpec, decided: Sequence[Decided], *, withheld: bool) -> None:
        self.spec, self.decided, self.withheld = spec, decided, withheld

    @property
    def most(self) -> int | None:
        """Return the number of decisions in the report, or None for all."""
        return most_shown(self.spec.report)

    def _all(self) -> Iterator[tuple[Decided, SnapshotSet]]:
        return ((one, a_set) for one in self.decided for a_set in one.keeping.scene.sets)

    def shown(self) -> list[dict[str, Any]]:
        """Return the decisions of the result: by default the deletions, the snapshots that a guard keeps, and snapshots
        of unknown source.
        """
        if self.spec.captured or self.spec.report == "summary":
            return []
        if self.spec.report == "all":
            return [one.entry(a_set) for one, a_set in self._all()]
        found = (one.entry(a_set) for one, a_set in self._all() if one.is_action(a_set))
        return list(islice(found, MOST_SHOWN))

    def result(self, changes: Sequence[Change], fingerprint: str) -> dict[str, Any]:
        """Return the module's own results. *changes*: all changes of the plan, including those that a limit withholds;
        *fingerprint*: their `plan_hash`.
        """
        counts: Counter[str] = Counter()
        for one, a_set in self._all():
            counts["delete" if a_set.key in one.leaving else "keep"] += len(a_set.snapshots)
        made = [change.resource for change in changes if change.action in ("CreateSnapshot", "CreateSnapshots")]
        copied = [change.resource for change in changes if change.action == "CopySnapshot"]
        deleted = [snapshot_id for one in self.decided for a_set in one.going for snapshot_id in a_set.ids]
        return {
            "created": made,
            "copied": copied,
            "deleted": [] if self.withheld else deleted,
            "decisions": self.shown(),
            "counts": {
                "managed": counts.total(),
                "kept": counts["keep"],
                "deleted": 0 if self.withheld else counts["delete"],
                "withheld": counts["delete"] if self.withheld else 0,
                "created": len(made),
                "copied": len(copied),
            },
            "plan_hash": fingerprint,
        }

    def explained(self) -> str:
        """Return a line for each decision, grouped by volume or instance.

        Only groups with a deletion or a set that a guard keeps are in the text, unless the task wants all.
        """
        lines = (line for one in self.decided for line in self._place(one))
        return bounded_text(lines, self.spec.report)

    def _place(self, one: Decided) -> Iterator[str]:
        groups: dict[str, list[SnapshotSet]] = defaultdict(list)
        for a_set in (*one.keeping.scene.expected, *one.keeping.scene.sets):
            groups[a_set.group].append(a_set)
        where = "" if one is self.decided[0] else f" in {one.keeping.scene.place.text}"
        for group, sets in sorted(groups.items()):
            held = one.verdict.held
            acted_on = not group or any(a_set.key in one.leaving or a_set.key in held for a_set in sets)
            if self.spec.report != "all" and not acted_on:
                continue
            yield visible(f"{group or 'of unknown source'}{where}:")
            yield from (self._line(one.entry(a_set)) for a_set in sets)

    def _line(self, entry: Mapping[str, Any]) -> str:
        word = "withheld" if self.withheld and entry["decision"] == "delete" else entry["decision"]
        why = ", ".join(entry["reasons"]) or "no rule keeps it"
        guard = f" [{entry['guard']}]" if entry["guard"] else ""
        return f"  {word:8} {entry['start_time']} {' '.join(entry['snapshot_ids'])}{guard}: {why}"


def recovery_points(
    capture: Capture, copyings: Sequence[Copying], now: datetime, *, as_is: bool = False
) -> list[dict[str, Any]]:
    """Return the newest good snapshot, and the newest good copy in each place, of every volume or instance.

    Volumes and instances count if they are selected or have a snapshot. Snapshots of this run count once it sees them
    completed, unless *as_is* leaves this run out. An archived snapshot does not count, since nobody can restore from it
    at once.
    """
    newest: dict[str, SnapshotSet] = {}
    for a_set in capture.sets:
        if a_set.group in newest or a_set.state != "completed" or a_set.archived or is_future(a_set, now):
            continue
        newest[a_set.group] = a_set
    groups = dict.fromkeys([*(target.group for target in capture.targets), *newest])
    if not as_is and (capture.spec.wait or capture.spec.captured):
        newest |= {a_set.group: a_set for a_set in (*capture.awaited, *capture.expected)}
    due = {target.group for target in capture.due}
    points = []
    for group in filter(None, groups):
        point = newest.get(group)
        entry = {"source": group, "due": group in due, **_point(point, now)}
        if copyings:
            entry["copies"] = [
                {
                    "region": copying.copy.region,
                    "profile": copying.copy.profile,
                    **_point(copying.recovery_point(group, as_is=as_is), now),
                }
                for copying in copyings
            ]
        points.append(entry)
    return points


def _point(a_set: SnapshotSet | None, now: datetime) -> dict[str, Any]:
    moment = a_set.start_time if a_set else None
    return {
        "snapshot_ids": list(a_set.ids) if a_set else [],
        "recovery_point": format_moment(moment) if moment else None,
        "age": max(0, int((now - moment).total_seconds())) if moment else None,
    }
