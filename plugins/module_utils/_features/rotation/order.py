# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unfinished snapshots that a deletion depends on.

If a snapshot fails, the run leaves out only the deletions that the rules allow because of it.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from .copies import Copying
from .guards import Guards
from .limits import left_over
from .report import Decided


def completed_before(
    decided: Decided, guards: Guards, copyings: Sequence[Copying], min_keep: int, claimed: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return, by the key of a set to delete, the unfinished snapshots without which it would be kept.

    These are newer snapshots of its source, if a rule, a guard or *min_keep* would keep the set without them, and its
    own copies in the places of *copyings*. *claimed*: the adopted snapshots that this run claims. Until the run has
    claimed them, another policy may count them as its own. So no snapshot of their source is deleted before that.
    """
    found = _newer(decided, guards, min_keep)
    for copying in copyings:
        depending = dict(copying.depending(waits=False))
        for a_set in decided.going:
            if a_set.key in depending:
                found[a_set.key] = (*found.get(a_set.key, ()), *copying.unfinished_of(a_set))
    claims: dict[str, list[str]] = defaultdict(list)
    for one in decided.keeping.scene.sets if claimed else ():
        claims[one.group] += [name for name in one.ids if name in claimed]
    for a_set in decided.going if claimed else ():
        found[a_set.key] = (*found.get(a_set.key, ()), *claims[a_set.group])
    return found


def _newer(decided: Decided, guards: Guards, min_keep: int) -> dict[str, tuple[str, ...]]:
    keeping = decided.keeping
    if not keeping.scene.extra:
        return {}
    verdict = keeping.verdict({}, guards, waits=False)
    kept = {a_set.key for a_set in decided.going if a_set.key in verdict.held or a_set.key in verdict.accused}
    others = [a_set for a_set in decided.going if a_set.key not in kept]
    left = left_over(keeping, others, waits=False)
    kept |= {a_set.key for a_set in others if left.get(a_set.group, min_keep) < min_keep}
    return {a_set.key: keeping.scene.coming(a_set.group) for a_set in decided.going if a_set.key in kept}
