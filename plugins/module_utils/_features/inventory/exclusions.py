# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The findings whose tasks exclude each other, such as the deletion of a volume and its change to gp3.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from .finding import Finding


def excluding(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, each with those that exclude it, and marked if a larger saving counts in the sum instead.

    Two findings exclude each other if their tasks change or delete the same resource, or if both savings have the cost
    of the same resource. Findings with the same task do not, since one run carries out both. Among equal savings the
    first finding counts.
    """
    rivals = _rivals(findings)
    counted: set[int] = set()
    saving = (number for number in rivals if findings[number].saving is not None)
    for number in sorted(saving, key=lambda one: (-_most(findings[one]), one)):
        if not counted & rivals[number]:
            counted.add(number)
    return [
        finding
        if number not in rivals
        else replace(
            finding,
            excludes=tuple((findings[other].id, findings[other].resource) for other in sorted(rivals[number])),
            is_outdone=finding.saving is not None and number not in counted,
        )
        for number, finding in enumerate(findings)
    ]


def _most(finding: Finding) -> float:
    return finding.saving.most if finding.saving is not None else 0.0


def _rivals(findings: Sequence[Finding]) -> Mapping[int, set[int]]:
    """Return the numbers of the findings that exclude each finding."""
    about: dict[str, list[int]] = defaultdict(list)
    for number, finding in enumerate(findings):
        for resource in {*finding.changed, *_saved(finding)}:
            about[resource].append(number)
    found: dict[int, set[int]] = defaultdict(set)
    for group in about.values():
        for one, other in combinations(group, 2):
            if _is_rival(findings[one], findings[other]):
                found[one].add(other)
                found[other].add(one)
    return found


def _is_rival(one: Finding, other: Finding) -> bool:
    """Return whether two findings that share a resource exclude each other."""
    return one.task != other.task or not set(_saved(one)).isdisjoint(_saved(other))


def _saved(finding: Finding) -> tuple[str, ...]:
    """Return the resources whose cost is in the saving."""
    return () if finding.saving is None else (finding.resource, *finding.ends)
