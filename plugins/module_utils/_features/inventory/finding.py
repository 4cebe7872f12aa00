# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A finding: a resource that costs more than it has to, is at risk, or was left behind.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._kernel.prices import Cost
from ..._kernel.report import risk_order

SEVERITIES = ("high", "medium", "low", "info")

IDS: Mapping[str, str] = {
    "volume-unattached": "medium",
    "volume-of-stopped-instance": "low",
    "volume-gp2": "low",
    "volume-io1": "info",
    "volume-iops-within-gp3": "medium",
    "volume-performance-unused": "medium",
    "volume-unencrypted": "medium",
    "volume-without-policy": "medium",
    "volume-without-recovery-point": "high",
    "volume-recovery-point-late": "high",
    "copy-late": "medium",
    "snapshot-orphaned": "low",
    "snapshot-old": "low",
    "snapshot-unencrypted": "low",
    "snapshot-public": "high",
    "snapshot-shared": "medium",
    "image-unused": "low",
    "image-public": "high",
    "image-shared": "medium",
    "leftover-hold": "high",
    "leftover-swap": "medium",
    "leftover-replacement": "medium",
    "leftover-rejected": "medium",
    "leftover-drill": "medium",
    "leftover-workbench": "medium",
    "leftover-replaced-volume": "low",
    "lock-outlasts-policy": "low",
}
"""The id of every finding, and its severity."""
_PLACES = {finding: place for place, finding in enumerate(IDS)}


@dataclass(frozen=True)
class Amount:
    """The billed quantities of a resource. None: the quantity does not apply."""

    gib: int = 0
    iops: int | None = None
    mibps: int | None = None


@dataclass(frozen=True)
class Finding:
    """A finding about one resource.

    ``also``: other resources of the finding. ``cost``: the monthly cost of the resource, and ``saving`` the part of it
    that the task saves. ``task``: YAML, empty if only a person can decide. ``tags``: those of the resource, for
    `spec.Ignore`. ``ends``: other resources that the task deletes, and ``changes`` all that it changes or deletes, None
    for ``resource`` and ``ends``. ``risk``: the rank of the volume, if the finding is about its recovery.
    ``excludes``: the ids and resources of the findings whose tasks exclude this one, and ``is_outdone`` tells whether
    the saving of one of them counts in the sum instead, see `exclusions`.
    """

    id: str
    kind: str
    resource: str
    reason: str
    name: str = ""
    also: tuple[str, ...] = ()
    cost: Cost | None = None
    saving: Cost | None = None
    amount: Amount = Amount()
    task: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    ends: tuple[str, ...] = ()
    changes: tuple[str, ...] | None = None
    risk: tuple[int, float] = (0, 0.0)
    excludes: tuple[tuple[str, str], ...] = ()
    is_outdone: bool = False

    @property
    def severity(self) -> str:
        """One of `SEVERITIES`."""
        return IDS[self.id]

    @property
    def changed(self) -> tuple[str, ...]:
        """The resources that the task changes or deletes."""
        if self.changes is not None or not self.task:
            return self.changes or ()
        return (self.resource, *self.ends)

    @property
    def order(self) -> tuple[Any, ...]:
        """The key for sorting: the most severe first, then the volume most at risk, then the largest saving, then the
        order of `IDS`. Findings that are not about recovery follow those that are.
        """
        saving = self.saving.most if self.saving is not None else 0.0
        risk = risk_order(self.risk, self.amount.gib, self.resource) if self.risk[0] else (0,)
        return SEVERITIES.index(self.severity), risk, -saving, _PLACES[self.id], self.resource

    def view(self, region: str, account: str | None) -> dict[str, Any]:
        """Return the finding as plain data."""
        return {
            "id": self.id,
            "severity": self.severity,
            "kind": self.kind,
            "resource": self.resource,
            "name": self.name,
            "also": list(self.also),
            "reason": self.reason,
            "cost": None if self.cost is None else self.cost.view(),
            "saving": None if self.saving is None else self.saving.view(),
            "in_sum": self.saving is not None and not self.is_outdone,
            "excludes": [{"id": finding, "resource": resource} for finding, resource in self.excludes],
            "amount": {"gib": self.amount.gib, "iops": self.amount.iops, "mibps": self.amount.mibps},
            "task": self.task,
            "region": region,
            "account": account,
        }
