# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary of a report: counts, sums and the two figures that a reader wants first.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from ..._kernel.prices import Cost, total
from ..._kernel.report import risk_order
from ..._kernel.resources import Image, Volume
from .finding import SEVERITIES, Finding
from .recovery import VolumeRecovery
from .snapshot_findings import is_unused
from .spec import seconds
from .stock import Inventory, Point

T = TypeVar("T")
_AGES = (("1d", 1), ("7d", 7), ("30d", 30), ("90d", 90), ("365d", 365))


def view_of(cost: Cost | None) -> dict[str, Any] | None:
    """Return the cost as plain data, None for an unknown one."""
    return None if cost is None else cost.view()


def volume_summary(inventory: Inventory, volumes: Sequence[Volume]) -> dict[str, Any]:
    """Return the counts and costs of volumes."""
    by_type = _grouped(volumes, lambda item: item.volume_type)
    return {
        "count": len(volumes),
        "gib": sum(item.size for item in volumes),
        "cost": view_of(total(map(inventory.volume_cost, volumes))),
        "by_type": {
            kind: {
                "count": len(some),
                "gib": sum(item.size for item in some),
                "cost": view_of(total(map(inventory.volume_cost, some))),
            }
            for kind, some in sorted(by_type.items())
        },
        "by_state": dict(sorted(Counter(item.state for item in volumes).items())),
        "unencrypted": sum(not item.encrypted for item in volumes),
        "unattached": sum(item.state == "available" for item in volumes),
    }


def _grouped(items: Iterable[T], key: Any) -> Mapping[Any, list[T]]:
    found: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found


def snapshot_summary(inventory: Inventory, points: Sequence[Point]) -> dict[str, Any]:
    """Return the counts and the bounds of the costs of snapshots."""
    by_tier = _grouped(points, lambda item: item.snapshot.storage_tier or "standard")
    ages = Counter(_age_of(inventory.age(point.snapshot.start_time)) for point in points)
    return {
        "count": len(points),
        "gib_full": sum(point.snapshot.volume_size for point in points),
        "exact_sizes": sum(point.id in inventory.stored for point in points),
        "cost": view_of(total(inventory.snapshot_cost(point.snapshot) for point in points)),
        "by_tier": {
            tier: {
                "count": len(some),
                "gib_full": sum(point.snapshot.volume_size for point in some),
                "cost": view_of(total(inventory.snapshot_cost(point.snapshot) for point in some)),
            }
            for tier, some in sorted(by_tier.items())
        },
        "by_age": {name: ages[name] for name, _days in _AGES} | {"older": ages["older"]},
        "by_policy": dict(sorted(Counter(point.policy for point in points).items())),
    }


def _age_of(age: timedelta) -> str:
    return next((name for name, days in _AGES if age <= timedelta(days=days)), "older")


def image_summary(inventory: Inventory, images: Sequence[Image]) -> dict[str, Any]:
    """Return the counts of images."""
    return {"count": len(images), "unused": sum(is_unused(inventory, image) for image in images)}


def recovery_summary(found: Sequence[VolumeRecovery]) -> dict[str, Any]:
    """Return the counts of volumes by their recovery. ``oldest_age``: of the newest points, the age of the oldest."""
    ages = [one.age for one in found if one.age is not None]
    return {
        "volumes": len(found),
        "covered": sum(one.is_covered for one in found),
        "uncovered": sum(not one.is_covered for one in found),
        "late": sum(bool(one.is_late) for one in found),
        "oldest_age": seconds(max(ages)) if ages else None,
        "with_copy": sum(bool(one.elsewhere) for one in found),
        "drilled": sum(one.drilled is not None for one in found),
    }


def at_risk(found: Iterable[VolumeRecovery]) -> str | None:
    """Return the volume most at risk, or None. Among equals the largest volume counts, then the lowest id.

    The page of `storage_report` chooses by the same rule.
    """
    ranked = [risk_order(one.risk, one.volume.size, one.volume.volume_id) for one in found if one.risk[0]]
    return min(ranked)[-1] if ranked else None


def savings(findings: Iterable[Finding]) -> Cost | None:
    """Return the sum of the savings. Of savings that exclude each other, the larger one counts."""
    return total(finding.saving for finding in findings if not finding.is_outdone)


def finding_summary(findings: Sequence[Finding], ignored: int) -> dict[str, Any]:
    """Return the counts of findings by severity and id."""
    severities = Counter(finding.severity for finding in findings)
    saving = max(
        (number for number, finding in enumerate(findings) if finding.saving is not None and finding.saving.most > 0),
        key=lambda number: (findings[number].saving or Cost(0, 0)).most,
        default=None,
    )
    return {
        "saving": view_of(savings(findings)),
        "findings": {severity: severities[severity] for severity in SEVERITIES},
        "findings_by_id": dict(sorted(Counter(finding.id for finding in findings).items())),
        "ignored": ignored,
        "largest_saving": saving,
    }
