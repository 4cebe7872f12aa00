# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The findings whose savings exclude each other, such as the deletion of a volume and its change to gp3.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .finding import Finding


def excluding(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, each with those that exclude it, and marked if a larger saving counts in the sum instead.

    Findings with a saving exclude each other if they have the same resource, or if the task of one deletes the resource
    of the other. Among equal savings the first finding counts.
    """
    rivals = _rivals(findings)
    counted: set[int] = set()
    for number in sorted(rivals, key=lambda one: (-_most(findings[one]), one)):
        if not counted & rivals[number].keys():
            counted.add(number)
    return [
        finding
        if number not in rivals
        else replace(
            finding,
            excludes=tuple((findings[other].id, findings[other].resource) for other in rivals[number]),
            is_outdone=number not in counted,
        )
        for number, finding in enumerate(findings)
    ]


def _most(finding: Finding) -> float:
    return finding.saving.most if finding.saving is not None else 0.0


def _rivals(findings: Sequence[Finding]) -> Mapping[int, dict[int, None]]:
    """Return the numbers of the findings that exclude each finding, in their order."""
    about: dict[str, list[int]] = defaultdict(list)
    for number, finding in enumerate(findings):
        if finding.saving is not None:
            for resource in dict.fromkeys((finding.resource, *finding.ends)):
                about[resource].append(number)
    found: dict[int, dict[int, None]] = defaultdict(dict)
    for group in about.values():
        if len(group) > 1:
            for number in group:
                found[number].update(dict.fromkeys(other for other in group if other != number))
    return found
