# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a rotation of images: every decision with its reasons, the counts, and a text for a person.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..._domain.decision_report import MOST_SHOWN, bounded_text, most_shown
from ..._kernel import tags as tag_names
from ..._kernel.display import visible
from ..._kernel.resources import Image
from .guards import Held
from .spec import Action, RotationSpec
from .versions import Line

KEEP, DONE = "keep", "done"


@dataclass(frozen=True)
class Decided:
    """The decisions of one place. ``held``: by image, the guard that keeps it. ``going``: the images on which the
    action is due, even if a limit withholds it. ``parts``: by each such image, the snapshots that EC2 deletes with it.
    """

    line: Line
    held: Mapping[str, Held]
    going: Sequence[Image]
    parts: Mapping[str, tuple[str, ...]]

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield a decision for each image, the newest first."""
        members = sorted(self.line.members, key=lambda image: (image.creation_date or "", image.image_id), reverse=True)
        return (self._entry(image) for image in members)

    def _entry(self, image: Image) -> dict[str, Any]:
        line, held = self.line, self.held.get(image.image_id)
        reasons = list(line.reasons.get(image.image_id, ()))
        guard = held.guard if held is not None else None
        excluded = line.excluded.get(image.image_id)
        if excluded is not None:
            reasons, guard = [excluded.reason], excluded.guard
        elif held is not None:
            reasons = [held.reason]
        decision = line.spec.action.value if image.image_id in self.parts else KEEP
        if excluded is None and not line.reasons.get(image.image_id) and line.is_done(image):
            decision, reasons = DONE, [f"already {_shown(line.spec.action, image)}"]
        return {
            "decision": decision,
            "image_id": image.image_id,
            "version": image.tags.get(tag_names.VERSION),
            "region": line.place.region,
            "profile": line.place.profile,
            "creation_date": image.creation_date,
            "reasons": reasons,
            "guard": guard,
            "snapshot_ids": list(self.parts.get(image.image_id, ())),
        }


def _shown(action: Action, image: Image) -> str:
    return "disabled" if image.state == "disabled" else action.deed


class Report:
    """The report about the decisions of all places. *withheld*: a limit or a guard withholds the actions."""

    def __init__(self, spec: RotationSpec, decided: Sequence[Decided], *, withheld: bool) -> None:
        self.spec, self.decided, self.withheld = spec, decided, withheld
        self._entries = [(one, list(one.entries())) for one in decided]

    @property
    def most(self) -> int | None:
        """Return the number of decisions in the report, or None for all."""
        return most_shown(self.spec.report)

    def _all(self) -> Iterator[dict[str, Any]]:
        return (entry for _one, several in self._entries for entry in several)

    def shown(self) -> list[dict[str, Any]]:
        """Return the decisions of the result: by default the actions and the images that a guard keeps."""
        if self.spec.report == "summary":
            return []
        if self.spec.report == "all":
            return list(self._all())
        found = (one for one in self._all() if one["decision"] not in (KEEP, DONE) or one["guard"])
        return list(islice(found, MOST_SHOWN))

    def result(self, fingerprint: str) -> dict[str, Any]:
        """Return the module's own results. *fingerprint*: the hash of the plan, withheld changes included."""
        decisions = [entry["decision"] for entry in self._all()]
        due = [image.image_id for one in self.decided for image in one.going]
        lists: dict[str, list[str]] = {action.deed: [] for action in Action}
        lists[self.spec.action.deed] = [] if self.withheld else due
        return {
            **lists,
            "decisions": self.shown(),
            "counts": {
                "managed": len(decisions),
                "kept": decisions.count(KEEP),
                "done": decisions.count(DONE),
                "changed": 0 if self.withheld else len(due),
                "withheld": len(due) if self.withheld else 0,
            },
            "plan_hash": fingerprint,
        }

    def explained(self) -> str:
        """Return a line for each decision, by place.

        Without an action or a guard, a place is in the text only if the task wants all.
        """
        lines = (line for one, entries in self._entries for line in self._place(one, entries))
        return bounded_text(lines, self.spec.report)

    def _place(self, one: Decided, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        acted_on = any(entry["decision"] not in (KEEP, DONE) or entry["guard"] for entry in entries)
        if not entries or (self.spec.report != "all" and not acted_on):
            return
        yield visible(f"{self.spec.name} in {one.line.place.text}:")
        for entry in entries:
            yield self._line(entry)

    def _line(self, entry: Mapping[str, Any]) -> str:
        due = entry["decision"] not in (KEEP, DONE)
        word = "withheld" if self.withheld and due else entry["decision"]
        why = ", ".join(entry["reasons"]) or "no rule keeps it"
        guard = f" [{entry['guard']}]" if entry["guard"] else ""
        version = visible(f" {entry['version']}") if entry["version"] else ""
        return f"  {word:10} {entry['creation_date']} {entry['image_id']}{version}{guard}: {why}"
