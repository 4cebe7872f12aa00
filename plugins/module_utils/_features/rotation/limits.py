# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The limits that withhold the deletions of a plan, by their number, their percentage, and the number of snapshots
left.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..._domain.snapshot_sets import SnapshotSet
from ..._kernel.errors import UnsafePlan, bounded
from .keeping import Keeping
from .report import Decided
from .spec import RotationSpec

PERCENT_FROM = 10
"""The number of deletions from which ``max_delete_percent`` applies, since each of a few snapshots is a large part."""


def refusal(
    spec: RotationSpec,
    decided: Sequence[Decided],
    keepings: Sequence[Keeping],
    *,
    due: bool,
    fingerprint: str | None,
) -> UnsafePlan | None:
    """Return the error for deletions that limits or failing guards withhold, or None.

    The limits count the deletions of all places, and this region comes first. *due*: the plan captures or copies.
    *fingerprint*: the plan's hash, or None for a plan without changes.
    """
    broken = bounded(text for one in decided for text in one.verdict.failing)
    beyond = dict(_beyond(spec, decided, keepings))
    broken += beyond.values()
    if spec.min_keep > 1:
        broken += bounded(_below_minimum(spec, keepings[0], decided[0].going))
    expected = spec.expected_plan
    if expected is not None and fingerprint not in (None, expected):
        broken.append(f"expected_plan is {expected}, and this plan is {fingerprint}")
    if not broken:
        return None
    done = " The due snapshots are taken all the same." if due else ""
    approve = f" Review the deletions with --check --diff. {_approval(beyond)}" if beyond else ""
    return UnsafePlan(f"Nothing is deleted: {'; '.join(broken)}.{done}{approve}")


def _beyond(spec: RotationSpec, decided: Iterable[Decided], keepings: Iterable[Keeping]) -> Iterator[tuple[str, str]]:
    """Yield the option and the sentence of each limit that the number of deletions exceeds. Failed snapshots do not
    count.
    """
    number = sum(len(a_set.good) for one in decided for a_set in one.going)
    if number > spec.max_delete:
        yield "max_delete", f"max_delete is {spec.max_delete}, and {number} snapshots would be deleted"
    sets = [a_set for keeping in keepings for a_set in keeping.scene.sets]
    completed = sum(len(a_set.snapshots) for a_set in sets if a_set.state == "completed")
    if number >= PERCENT_FROM and number * 100 > completed * spec.max_delete_percent:
        yield (
            "max_delete_percent",
            (
                f"max_delete_percent is {spec.max_delete_percent}, and {number} of {completed} completed snapshots "
                "would be deleted"
            ),
        )


def _below_minimum(spec: RotationSpec, keeping: Keeping, going: Iterable[SnapshotSet]) -> list[str]:
    """Return a sentence for each source that would have too few snapshots left. Copies have other rules."""
    left = left_over(keeping, going, waits=keeping.scene.waits)
    return [
        f"min_keep is {spec.min_keep}, and {group} would have {number} left"
        for group, number in left.items()
        if number < spec.min_keep
    ]


def left_over(keeping: Keeping, going: Iterable[SnapshotSet], *, waits: bool) -> dict[str, int]:
    """Return, by source that loses a set, the number of completed sets that are left after the deletions.

    *waits*: whether the unfinished sets count as completed.
    """
    scene = keeping.scene
    there = Counter(a_set.group for a_set in scene.sets if a_set.state == "completed")
    there.update(a_set.group for a_set in (scene.extra if waits else ()))
    leaving = Counter(a_set.group for a_set in going if a_set.state not in ("error", "incomplete"))
    return {group: there[group] - count for group, count in sorted(leaving.items())}


def _approval(limits: Iterable[str]) -> str:
    """Return how a person can approve the deletions that these limits withhold."""
    return f"To approve them, raise {' and '.join(limits)} and set expected_plan to the plan_hash of that check."
