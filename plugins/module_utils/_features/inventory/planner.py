# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of `storage_info`, which never changes anything, and its report.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..._kernel.display import counted, visible
from ..._kernel.plan import Feature, Plan
from ..._kernel.prices import total
from ..._kernel.report import Rows
from ..._kernel.resources import Image, Volume
from ..._kernel.state import State
from ..._kernel.times import EARLIEST, age_text, format_moment
from .exclusions import excluding
from .finding import Finding
from .leftover_findings import instance_leftovers
from .reading import account_of, is_answered, partial, read, warnings
from .recovery import VolumeRecovery, instance_views, policy_views, recoveries
from .rows import holder_rows, image_row, instance_row, relations, snapshot_row, volume_row
from .snapshot_findings import image_findings, snapshot_findings
from .spec import InventorySpec, parse
from .stock import Inventory, Point, chosen
from .summary import (
    at_risk,
    finding_summary,
    image_summary,
    recovery_summary,
    snapshot_summary,
    view_of,
    volume_summary,
)
from .volume_findings import recovery_findings, volume_findings

SCHEMA = "ec2ops.storage/report/1"
MOST_SHOWN = 1000
"""The most findings that reach the controller, unless the user wants all."""
MOST_POLICIES = 100
"""The most policies in the summary that reaches the controller, unless the user wants all."""
_ROWS = ("instances", "volumes", "snapshots", "images", "holders", "relations", "recovery")
_FINDINGS = ("findings", "ignored")


def plan(spec: InventorySpec, state: State, _now: datetime) -> Plan:
    """Return an empty plan once everything is read. Raises NeedsAnswers, or AWS's error if it answers nothing."""
    read(spec, state)
    return Plan(warnings=tuple(visible(text) for text in warnings(partial(spec, state))))


def result(spec: InventorySpec, state: State) -> dict[str, Any]:
    """Return the whole report. Its lists of rows are made while they are read."""
    inventory = Inventory(spec, state, state.now or EARLIEST)
    volumes = [item for item in chosen(inventory, "volumes") if isinstance(item, Volume)]
    points = [item for item in chosen(inventory, "snapshots") if isinstance(item, Point)]
    images = [item for item in chosen(inventory, "images") if isinstance(item, Image)]
    found = recoveries(inventory, volumes)
    # Without an answer about snapshots, nothing is known about the recovery of any volume.
    shown = found if is_answered(state, "snapshots") else []
    account = account_of(state)
    kept, ignored = _sifted(inventory, sorted(_findings(inventory, found, points, images), key=lambda one: one.order))
    instances = list(inventory.instances.values())
    return {
        "schema": SCHEMA,
        "generated": format_moment(inventory.now),
        "region": state.region,
        "account": account,
        "options": spec.view(),
        "partial": partial(spec, state),
        "summary": _summary(inventory, volumes, shown, points, images, kept, len(ignored)),
        "prices": inventory.prices.view(inventory.no_price),
        "instances": Rows(instances, lambda one: instance_row(inventory, one)),
        "volumes": Rows(volumes, lambda one: volume_row(inventory, one)),
        "snapshots": Rows(points, lambda one: snapshot_row(inventory, one)),
        "images": Rows(images, lambda one: image_row(inventory, one)),
        "holders": holder_rows(inventory, images),
        "relations": Rows(list(relations(inventory, volumes, points, images)), lambda one: one),
        "recovery": {
            "volumes": Rows(shown, lambda one: one.view(inventory)),
            "instances": instance_views(inventory, shown),
            "policies": policy_views(inventory),
        },
        "findings": Rows(kept, lambda one: one.view(state.region, account)),
        "ignored": Rows(ignored, lambda one: {**one[0].view(state.region, account), "ignore_reason": one[1]}),
        "findings_left_out": 0,
    }


def _findings(
    inventory: Inventory, found: Iterable[VolumeRecovery], points: Iterable[Point], images: Iterable[Image]
) -> Iterator[Finding]:
    for recovery in found:
        yield from volume_findings(inventory, recovery.volume)
        yield from recovery_findings(inventory, recovery)
    for point in points:
        yield from snapshot_findings(inventory, point)
    for image in images:
        yield from image_findings(inventory, image)
    if "volumes" in inventory.spec.subjects:
        for instance in inventory.instances.values():
            if inventory.spec.shows("volumes", instance.tags):
                yield from instance_leftovers(inventory, instance)


def _sifted(inventory: Inventory, findings: Iterable[Finding]) -> tuple[list[Finding], list[tuple[Finding, str]]]:
    """Return the findings, and those that a rule takes out, each with the reason of the rule."""
    kept: list[Finding] = []
    ignored: list[tuple[Finding, str]] = []
    for finding in findings:
        rules = (rule for rule in inventory.spec.ignore if rule.fits(finding.id, finding.resource, finding.tags))
        rule = next(rules, None)
        if rule is None:
            kept.append(finding)
        else:
            ignored.append((finding, rule.reason))
    return excluding(kept), ignored


def _summary(
    inventory: Inventory,
    volumes: Sequence[Volume],
    found: Sequence[VolumeRecovery],
    points: Sequence[Point],
    images: Sequence[Image],
    findings: Sequence[Finding],
    ignored: int,
) -> dict[str, Any]:
    costs = [*map(inventory.volume_cost, volumes), *(inventory.snapshot_cost(point.snapshot) for point in points)]
    return {
        "volumes": volume_summary(inventory, volumes),
        "snapshots": snapshot_summary(inventory, points),
        "images": image_summary(inventory, images),
        "instances": {
            "count": len(inventory.instances),
            "stopped": sum(item.state == "stopped" for item in inventory.instances.values()),
        },
        "cost": view_of(total(costs)),
        **finding_summary(findings, ignored),
        "recovery": recovery_summary(found),
        "at_risk": at_risk(found),
    }


def bounded(spec: InventorySpec, whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the report that reaches the controller, with plain lists."""
    if spec.report == "all":
        return {key: _plain(value) for key, value in whole.items()}
    left = (*_ROWS, *(_FINDINGS if spec.report == "summary" else ()))
    shown = {key: value for key, value in whole.items() if key not in left}
    shown["summary"] = _bounded_summary(whole["summary"])
    for key in _FINDINGS:
        if key in shown:
            shown[key] = _plain(whole[key].first(MOST_SHOWN))
    shown["findings_left_out"] = len(whole["findings"]) - len(shown.get("findings", ()))
    return shown


def _bounded_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary with the policies that have the most snapshots."""
    by_policy: Mapping[str, int] = summary["snapshots"]["by_policy"]
    largest = sorted(by_policy, key=lambda policy: (-by_policy[policy], policy))[:MOST_POLICIES]
    kept = {policy: by_policy[policy] for policy in sorted(largest)}
    return {**summary, "snapshots": {**summary["snapshots"], "by_policy": kept}}


def _plain(value: Any) -> Any:
    if isinstance(value, Rows):
        return list(value)
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def headline(_spec: InventorySpec, result: Mapping[str, Any]) -> str:
    """Return the number of resources, their cost and the findings."""
    summary = result["summary"]
    counts = ", ".join(counted(summary[f"{kind}s"]["count"], kind) for kind in ("volume", "snapshot", "image"))
    parts = [counts, *_cost(summary["cost"]), _found(summary["findings"])]
    if summary["recovery"]["oldest_age"] is not None:
        parts.append(f"oldest recovery point {age_text(summary['recovery']['oldest_age'])} old")
    return "; ".join(parts)


def _cost(cost: Mapping[str, Any] | None) -> list[str]:
    if cost is None:
        return []
    span = f"{cost['most']:.2f}" if cost["least"] == cost["most"] else f"{cost['least']:.2f} to {cost['most']:.2f}"
    return [f"{span} USD a month"]


def _found(counts: Mapping[str, int]) -> str:
    number = sum(counts.values())
    return f"{counted(number, 'finding')}, {counts['high']} of high severity" if number else "no findings"


_bound: Callable[[Any, Mapping[str, Any]], dict[str, Any]] = bounded
FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline, bounded=_bound, reads_prices=True)
