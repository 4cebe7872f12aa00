# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents as storage_info writes them, made without EC2: a small world by hand, and worlds of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 30, 16, 0, tzinfo=UTC)
DAY = 86_400
ACCOUNT = "123456789012"
GP3, SNAPSHOT = 0.08, 0.05
"""USD per GiB and month."""


def moment(age: int) -> str:
    return (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact(amount: float) -> dict[str, Any]:
    return {"least": round(amount, 4), "most": round(amount, 4), "exact": True, "basis": "price"}


def bounds(most: float) -> dict[str, Any]:
    return {"least": 0.0, "most": round(most, 4), "exact": False, "basis": "full size"}


def total(costs: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [cost for cost in costs if cost is not None]
    if not known:
        return None
    is_exact = all(cost["exact"] for cost in known)
    least, most = (round(sum(cost[key] for cost in known), 4) for key in ("least", "most"))
    return {"least": least, "most": most, "exact": is_exact, "basis": "price" if is_exact else "full size"}


def volume(number: int, gib: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "id": f"vol-{number:017x}",
        "name": f"data-{number}",
        "state": "in-use",
        "type": "gp3",
        "gib": gib,
        "iops": 3000,
        "mibps": 125,
        "encrypted": True,
        "kms_key_id": None,
        "zone": "us-east-1a",
        "created": moment(200 * DAY),
        "age": 200 * DAY,
        "snapshot_id": None,
        "attached_to": [],
        "policies": [],
        "cost": exact(gib * GP3),
        "tags": {},
        "used": None,
        **more,
    }


def snapshot(number: int, source: str, age: int, gib: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "id": f"snap-{number:017x}",
        "name": "",
        "state": "completed",
        "gib": gib,
        "stored_gib": None,
        "tier": "standard",
        "encrypted": True,
        "volume_id": source,
        "source": source,
        "started": moment(age),
        "age": age,
        "policy": None,
        "set": None,
        "copy_of": None,
        "whole": None,
        "drilled": None,
        "lock": None,
        "locked_until": None,
        "shared_with": None,
        "images": [],
        "cost": bounds(gib * SNAPSHOT),
        "tags": {},
        **more,
    }


def finding(kind_of_finding: str, severity: str, resource: str, **more: Any) -> dict[str, Any]:
    return {
        "id": kind_of_finding,
        "severity": severity,
        "kind": "volume",
        "resource": resource,
        "name": "",
        "also": [],
        "reason": f"{resource} is an example of {kind_of_finding}.",
        "cost": None,
        "saving": None,
        "in_sum": more.get("saving") is not None,
        "excludes": [],
        "amount": {"gib": 100, "iops": None, "mibps": None},
        "task": f"- name: Mend {resource}\n  ansible.builtin.debug:\n    msg: {kind_of_finding} of {resource}\n",
        "region": "us-east-1",
        "account": ACCOUNT,
        **more,
    }


def recovery(row: Mapping[str, Any], snapshots: Iterable[Mapping[str, Any]], target: int | None) -> dict[str, Any]:
    """The recovery of a volume; *snapshots* are its own, of any order."""
    own = sorted(snapshots, key=lambda each: each["age"])
    newest = own[0] if own else None
    late = None if target is None else newest is None or newest["age"] > target
    shown = (
        {"region": "us-east-1", "snapshot_id": newest["id"], "moment": newest["started"], "age": newest["age"]}
        if newest
        else None
    )
    return {
        "volume_id": row["id"],
        "name": row["name"],
        "instance_id": "i-00000000000000001" if row["state"] == "in-use" else None,
        "policies": row["policies"],
        "newest": shown,
        "elsewhere": [],
        "target": target,
        "target_from": "rpo_max" if target else None,
        "late": late,
        "whole": None,
        "drilled": None,
        "points": [[each["id"], each["started"], each["policy"], each["locked_until"]] for each in own],
        "forecast": [],
    }


def foreseen(row: dict[str, Any], *, days: int = 14) -> None:
    """Give the points of a recovery a forecast, as the rule ``daily`` makes it."""
    for number, (snapshot_id, taken, _policy, _until) in enumerate(row["points"]):
        age = int((NOW - datetime.fromisoformat(taken)).total_seconds())
        kept_by = [f"daily {taken[:10]}"] if number < days else []
        after = {"deletion": moment(age - days * DAY), "idle_deletion": None if kept_by else moment(-DAY)}
        row["forecast"].append({"snapshot_id": snapshot_id, "kept_by": kept_by, **after})


def document(
    volumes: list[dict[str, Any]],
    snapshots: list[dict[str, Any]],
    findings: list[dict[str, Any]],
    *,
    target: int | None = DAY,
    region: str = "us-east-1",
    **more: Any,
) -> dict[str, Any]:
    """A document whose summary fits its rows."""
    by_source: dict[str, list[dict[str, Any]]] = {row["id"]: [] for row in volumes}
    for each in snapshots:
        by_source.setdefault(each["volume_id"], []).append(each)
    rows = [recovery(row, by_source[row["id"]], target) for row in volumes]
    ranked = sorted(
        findings, key=lambda each: (["high", "medium", "low", "info"].index(each["severity"]), -_saved(each))
    )
    return {
        "schema": "ec2ops.storage/report/1",
        "generated": moment(0),
        "region": region,
        "account": ACCOUNT,
        "options": {
            "rpo_max": target,
            "old_after": 90 * DAY,
            "stopped_after": 30 * DAY,
            "policies": [],
            "subjects": [],
            "filters": {},
        },
        "partial": [],
        "prices": {
            "currency": "USD",
            "source": "shipped",
            "sources": {"gp3.gib": "shipped", "snapshot.gib": "shipped"},
            "date": "2026-11-30",
            "dates": {"shipped": "2026-11-30"},
            "references": [],
            "region": region,
            "missing": [],
        },
        "summary": summary(volumes, snapshots, ranked, rows),
        "instances": [],
        "volumes": volumes,
        "snapshots": snapshots,
        "images": [],
        "holders": [],
        "relations": [[each["id"], "of", each["volume_id"]] for each in snapshots],
        "recovery": {"volumes": rows, "instances": [], "policies": []},
        "findings": ranked,
        "ignored": [],
        **more,
    }


def _saved(each: Mapping[str, Any]) -> float:
    return float(each["saving"]["most"]) if each["saving"] else 0.0


def summary(
    volumes: list[dict[str, Any]],
    snapshots: list[dict[str, Any]],
    findings: list[dict[str, Any]],
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    by_type = {
        kind: {"count": len(own), "gib": sum(each["gib"] for each in own), "cost": total(each["cost"] for each in own)}
        for kind in sorted({each["type"] for each in volumes})
        for own in [[each for each in volumes if each["type"] == kind]]
    }
    kept = {
        "count": len(snapshots),
        "gib_full": sum(each["gib"] for each in snapshots),
        "cost": total(each["cost"] for each in snapshots),
    }
    uncovered = [row for row in rows if not row["policies"]]
    late = [row for row in rows if row["late"]]
    worst = sorted(late, key=lambda row: (row["newest"] is not None, row["volume_id"]))
    savings = [index for index, each in enumerate(findings) if each["saving"]]
    return {
        "volumes": {
            "count": len(volumes),
            "gib": sum(each["gib"] for each in volumes),
            "cost": total(each["cost"] for each in volumes),
            "by_type": by_type,
            "by_state": dict(Counter(each["state"] for each in volumes)),
            "unencrypted": sum(not each["encrypted"] for each in volumes),
            "unattached": sum(each["state"] == "available" for each in volumes),
        },
        "snapshots": {**kept, "by_tier": {"standard": kept} if snapshots else {}, "by_age": {}, "by_policy": {}},
        "images": {"count": 0, "unused": 0},
        "instances": {"count": 0, "stopped": 0},
        "cost": total(each["cost"] for each in [*volumes, *snapshots]),
        "saving": total(each["saving"] for each in findings if each["in_sum"]),
        "findings": {
            each: sum(row["severity"] == each for row in findings) for each in ("high", "medium", "low", "info")
        },
        "findings_by_id": dict(Counter(each["id"] for each in findings)),
        "ignored": 0,
        "recovery": {
            "volumes": len(rows),
            "covered": len(rows) - len(uncovered),
            "uncovered": len(uncovered),
            "late": len(late),
            "oldest_age": max((row["newest"]["age"] for row in rows if row["newest"]), default=None),
            "with_copy": 0,
            "drilled": 0,
        },
        "at_risk": worst[0]["volume_id"] if worst else None,
        "largest_saving": max(savings, key=lambda index: _saved(findings[index])) if savings else None,
    }


def small(region: str = "us-east-1", first: int = 0, **more: Any) -> dict[str, Any]:
    """A document with a volume of every state of recovery, three priced findings, an image and its relations.

    first: added to the numbers of the volumes and snapshots, so that the ids of two documents differ.
    """
    names = ["web-root", "db-data", "scratch", "logs"]
    volumes = [
        volume(first + 1, 20, name=names[0], tags={"Name": names[0], "team": "shop"}, policies=["web-daily"]),
        volume(first + 2, 500, name=names[1], tags={"Name": names[1], "team": "db"}, policies=["db-hourly"]),
        volume(first + 3, 200, name=names[2], tags={"Name": names[2]}, state="available"),
        volume(
            first + 4,
            100,
            name=names[3],
            tags={"Name": names[3], "team": "shop"},
            type="gp2",
            encrypted=False,
            cost=exact(10.0),
        ),
    ]
    snapshots = [
        *(
            snapshot(
                first + 100 + day, volumes[0]["id"], day * DAY + 3600, 20, policy="web-daily", tags={"team": "shop"}
            )
            for day in range(14)
        ),
        *(
            snapshot(
                first + 200 + number,
                volumes[1]["id"],
                2 * DAY + number * 6 * 3600,
                500,
                policy="db-hourly",
                locked_until=moment(-3 * DAY + number * 6 * 3600),
                tags={"team": "db"},
            )
            for number in range(20)
        ),
        *(snapshot(first + 300 + month, volumes[3]["id"], (5 + 30 * month) * DAY, 100) for month in range(5)),
    ]
    findings = [
        finding(
            "volume-without-recovery-point",
            "high",
            volumes[2]["id"],
            name=names[2],
            reason=f"{volumes[2]['id']} (200 GiB gp3) has no recovery point.",
        ),
        finding("volume-recovery-point-late", "high", volumes[3]["id"], name=names[3]),
        finding("volume-unattached", "medium", volumes[2]["id"], name=names[2], cost=exact(16.0), saving=exact(16.0)),
        finding("volume-gp2", "low", volumes[3]["id"], name=names[3], cost=exact(10.0), saving=exact(2.0)),
        finding("snapshot-old", "low", snapshots[-1]["id"], kind="snapshot", cost=bounds(5.0), saving=bounds(5.0)),
        finding("snapshot-shared", "info", snapshots[-2]["id"], kind="snapshot", task=""),
    ]
    made = document(volumes, snapshots, findings, region=region)
    image = "ami-00000000000000001"
    made["images"] = [
        {
            "id": image,
            "name": "web-1",
            "state": "available",
            "created": moment(9 * DAY),
            "age": 9 * DAY,
            "snapshots": [snapshots[3]["id"]],
            "gib": 20,
            "version": "web/1",
            "users": ["i-00000000000000001"],
            "last_launched": None,
            "public": False,
            "cost": None,
            "tags": {},
        }
    ]
    made["relations"] += [
        ["i-00000000000000001", "has", volumes[0]["id"]],
        ["i-00000000000000001", "launched from", image],
        [image, "made of", snapshots[3]["id"]],
        ["lt-00000000000000001", "names", image],
    ]
    made["summary"]["images"]["count"] = 1
    return {**made, **more}


def large(snapshots: int, volumes: int = 2_000, findings: int = 20_000) -> dict[str, Any]:
    """A document with *snapshots* snapshots of *volumes* volumes, and with *findings* findings."""
    teams = ["shop", "db", "search", "mail", "ci", "web"]
    rows = []
    for number in range(volumes):
        team = teams[number % 6]
        tags = {"team": team, "Name": f"n{number}"}
        size = 8 + number % 500
        rows.append(volume(number * 7_919 + 1, size, name=f"{team}-{number}", tags=tags, policies=["daily"]))
    each = -(-snapshots // volumes)
    kept = []
    for number in range(snapshots):
        row = rows[number // each]
        age = (number % each) * DAY + (number // each) * 60
        policy = ("daily", "weekly", "monthly")[number % 3]
        # Ids without a pattern, as EC2 gives them.
        scattered = (number * 0x9E3779B97F4A7C15) % (1 << 68)
        kept.append(snapshot(scattered, row["id"], age, row["gib"], policy=policy, tags={"team": row["tags"]["team"]}))
    found = []
    for number in range(findings):
        severity = ("high", "medium", "low", "info")[number % 4]
        resource = kept[number * len(kept) // findings]["id"]
        more = {"kind": "snapshot", "saving": bounds(1.0 + number % 50), "cost": bounds(60.0)}
        found.append(finding("snapshot-old", severity, resource, **more))
    made = document(rows, kept, found, target=DAY)
    for row in made["recovery"]["volumes"]:
        foreseen(row)
    return made
