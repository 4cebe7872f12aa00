# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a rotation: every decision with its reasons, the recovery points, and a text for a person.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from ..._domain.snapshot_sets import Unit
from ..._kernel.display import visible
from ..._kernel.plan import Change
from ..._kernel.times import format_moment
from .capture import Capture
from .copies import Copying
from .keeping import Held, Keeping, Verdict, is_future
from .spec import RotationSpec

MOST_TOLD = 1000
"""The most decisions in a result, unless the task asks for all. A controller keeps every result in memory."""


@dataclass(frozen=True)
class Decided:
    """The decisions of one place. ``going``: the units to be deleted, even if a limit holds the deletion back."""

    keeping: Keeping
    verdict: Verdict
    going: Sequence[Unit]

    def entries(self) -> Iterator[tuple[Unit, dict[str, Any]]]:
        """Yield a decision for each unit that is there."""
        leaving = {unit.key for unit in self.going}
        for unit in self.keeping.scene.units:
            yield unit, self.entry(unit, leaving)

    def entry(self, unit: Unit, leaving: Iterable[str] = ()) -> dict[str, Any]:
        """Return the decision about one unit, as the module returns it."""
        hold = self.verdict.held.get(unit.key)
        reasons = list(self.keeping.kept.get(unit.key, ()))
        excluded = self.keeping.excluded.get(unit.key)
        if hold is None and excluded:
            # Some guards are asked before the rules: these are named too.
            guard, colon, reason = excluded.partition(": ")
            hold = Held(guard, reason) if colon else None
            reasons = [guard]
        if hold is not None:
            reasons = [hold.reason]
        place = self.keeping.scene.place
        return {
            "decision": "delete" if unit.key in leaving else "keep",
            "snapshot_ids": list(unit.ids),
            "source": unit.group or None,
            "region": place.region,
            "profile": place.profile,
            "start_time": format_moment(unit.start_time),
            "reasons": reasons,
            "guard": hold.guard if hold else None,
        }


class Report:
    """The report about the decisions of all places. *withheld*: a limit or a guard holds the deletions back."""

    def __init__(self, spec: RotationSpec, decided: Sequence[Decided], *, withheld: bool) -> None:
        self.spec, self.decided, self.withheld = spec, decided, withheld
        self.entries = [(one, list(one.entries())) for one in decided]

    @property
    def most(self) -> int | None:
        """Return the number of decisions in the report, None for all."""
        return {"actions": MOST_TOLD, "all": None, "summary": 0}[self.spec.report]

    def _all(self) -> Iterator[dict[str, Any]]:
        return (entry for _one, several in self.entries for _unit, entry in several)

    def shown(self) -> list[dict[str, Any]]:
        """Return the decisions of the result: by default deletions, held snapshots, and snapshots of unknown source."""
        if self.spec.captured or self.spec.report == "summary":
            return []
        if self.spec.report == "all":
            return list(self._all())
        found = (item for item in self._all() if item["decision"] != "keep" or item["guard"] or item["source"] is None)
        return list(islice(found, MOST_TOLD))

    def told(self, changes: Sequence[Change], fingerprint: str) -> dict[str, Any]:
        """Return the module's own results. *changes*: all that the plan holds, or would without a limit; *fingerprint*:
        their `plan_hash`.
        """
        counts: Counter[str] = Counter()
        for entry in self._all():
            counts[entry["decision"]] += len(entry["snapshot_ids"])
        made = [change.resource for change in changes if change.action in ("CreateSnapshot", "CreateSnapshots")]
        copied = [change.resource for change in changes if change.action == "CopySnapshot"]
        deleted = [snapshot_id for one in self.decided for unit in one.going for snapshot_id in unit.ids]
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

        Only groups with a deletion or a held unit are in the text, unless the task wants all.
        """
        if self.spec.report == "summary":
            return ""
        lines = [line for one, entries in self.entries for line in self._place(one, entries)]
        more = len(lines) - MOST_TOLD
        if self.spec.report != "all" and more > 0:
            lines[MOST_TOLD:] = [f"and {more} more lines, which report: all shows"]
        return "\n".join(lines) + "\n" if lines else ""

    def _place(self, one: Decided, entries: Sequence[tuple[Unit, Mapping[str, Any]]]) -> Iterator[str]:
        groups: dict[str, list[tuple[Unit, Mapping[str, Any]]]] = defaultdict(list)
        for unit in one.keeping.scene.expected:
            groups[unit.group].append((unit, one.entry(unit)))
        for unit, entry in entries:
            groups[unit.group].append((unit, entry))
        where = "" if one is self.decided[0] else f" in {one.keeping.scene.place.text}"
        for group, units in sorted(groups.items()):
            held = one.verdict.held
            acted_on = not group or any(entry["decision"] == "delete" or unit.key in held for unit, entry in units)
            if self.spec.report != "all" and not acted_on:
                continue
            yield visible(f"{group or 'of unknown source'}{where}:")
            yield from (self._line(entry) for _unit, entry in units)

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
    completed, unless *as_is* leaves this run out. An archived snapshot cannot be restored from at once, so it does not
    count.
    """
    newest: dict[str, Unit] = {}
    for unit in capture.units:
        if unit.state == "completed" and not unit.archived and not is_future(unit, now):
            newest.setdefault(unit.group, unit)
    groups = dict.fromkeys([*(target.group for target in capture.targets), *newest])
    if not as_is and (capture.spec.wait or capture.spec.captured):
        newest |= {unit.group: unit for unit in (*capture.awaited, *capture.expected)}
    due = {target.group for target in capture.due}
    points = []
    for group in filter(None, groups):
        point = newest.get(group)
        told = {"source": group, "due": group in due, **_point(point, now)}
        if copyings:
            told["copies"] = [
                {
                    "region": copying.copy.region,
                    "profile": copying.copy.profile,
                    **_point(copying.recovery_point(group, as_is=as_is), now),
                }
                for copying in copyings
            ]
        points.append(told)
    return points


def _point(unit: Unit | None, now: datetime) -> dict[str, Any]:
    moment = unit.start_time if unit else None
    return {
        "snapshot_ids": list(unit.ids) if unit else [],
        "recovery_point": format_moment(moment) if moment else None,
        "age": max(0, int((now - moment).total_seconds())) if moment else None,
    }


_SNAPSHOT = re.compile(r"snap-[0-9a-f]+")
_BRACKETS = str.maketrans("()", "[]")


def plan_hash(changes: Iterable[Change], names: Mapping[str, str]) -> str:
    """Return the sha256 over the plan's sorted operations, regions, resources and parameters, without times and
    reasons.

    *names*: the planned ids that the current slot's snapshots had, by id. So a check run that plans these snapshots,
    and the run that finds them made, have the same hash for the later changes.
    """

    def text(entry: Mapping[str, Any]) -> str:
        parts = [entry["action"], entry["region"], entry.get("profile"), entry["resource"], entry["parameters"]]
        plain = json.dumps(parts, sort_keys=True)
        # A planned id within another one is written in square brackets.
        return _SNAPSHOT.sub(lambda found: names.get(found[0], found[0]), plain).translate(_BRACKETS)

    entries = sorted(text(change.published()) for change in changes)
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()
