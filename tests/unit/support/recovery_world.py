# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots and snapshot sets for the choice of a restore."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import format_instant

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
V1, V2 = "vol-00000000000000001", "vol-00000000000000002"
I1 = "i-00000000000000001"
_numbers = iter(range(1, 1_000_000))


def snapshot(age: timedelta = DAY, of: str = V1, *, copy: str = "", **fields: Any) -> Snapshot:
    """A snapshot that the policy made; a *copy* of that id begins an hour after its original."""
    start = NOW - age
    tags = {
        "ec2ops:policy": "p",
        "ec2ops:period": f"{start:%Y-%m-%d}T00:00+00:00",
        "ec2ops:source": of,
        "ec2ops:origin": f"gp3 8 4000 200 us-east-1a {I1} /dev/sdf",
        **({"ec2ops:copy-of": f"us-east-1/{copy}", "ec2ops:taken": format_instant(start)} if copy else {}),
        **fields.pop("tags", {}),
    }
    tags = {key: value for key, value in tags.items() if value is not None}
    if copy:
        start += timedelta(hours=1)
    fields.setdefault("snapshot_id", f"snap-{next(_numbers):017x}")
    instance = tags.get("ec2ops:set", "").partition("/")[0]
    if copy:
        # A copy without its tags has lost its description too: nobody has asked for it in a run.
        named = f"{of} on {instance}" if instance else of
        described = f"p: {named}, {copy}, from us-east-1" if "ec2ops:source" in tags else ""
    else:
        described = f"p: {instance or of}"
    fields.setdefault("description", described)
    fields.setdefault("volume_size", 8)
    return Snapshot(volume_id="vol-ffffffff" if copy else of, start_time=start, tags=tags, **fields)


def whole_set(age: timedelta, *volumes: str, states: Sequence[str] = (), **given: Any) -> list[Snapshot]:
    """The snapshots that one CreateSnapshots took of the instance."""
    name = f"{I1}/{NOW - age:%Y-%m-%d}T00:00+00:00"
    marked = {"ec2ops:set": name, "ec2ops:parts": str(len(volumes)), **given.pop("tags", {})}
    several = states or ["completed"] * len(volumes)
    return [snapshot(age, of, state=state, tags=marked, **given) for of, state in zip(volumes, several, strict=True)]
