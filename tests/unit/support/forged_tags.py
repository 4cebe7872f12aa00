# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots and copies with forged, altered or removed tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from hypothesis import strategies as st

from rotation_world import I1, I2, TODAY, V1, V2, V3, snapshot


def tagged(one: Snapshot, **tags: str | None) -> Snapshot:
    """The snapshot with these tags of ours; None removes one."""
    found = {**one.tags, **{f"ec2ops:{key.replace('_', '-')}": value for key, value in tags.items()}}
    return dataclasses.replace(one, tags={key: value for key, value in found.items() if value is not None})


KEYS = ("policy", "period", "source", "set", "parts", "origin", "copy-of", "taken", "adopted-by", "lock", "shared-with")
VALUES = st.sampled_from(
    (
        "p",
        "q",
        V1,
        V2,
        V3,
        TODAY,
        "2026-11-20T00:00+00:00",
        "9999-12-31T00:00+00:00",
        f"{I1}/{TODAY}",
        f"{I2}/{TODAY}",
        "2999-01-01T00:00:00.000Z",
        "2026-19-39T00:00:00.000Z",
        "us-east-1/snap-00000000000000001",
        "1",
        "9" * 250,
        "",
        "²",
        f"gp3 8 3000 125 us-east-1a {I1} /dev/sdf",
    )
)
FORGERY = st.dictionaries(st.sampled_from([f"ec2ops:{key}" for key in KEYS]), VALUES, max_size=6)


def strangers(forgeries: Iterable[Mapping[str, str]]) -> list[Snapshot]:
    """Snapshots that no policy took, of another volume, of the policy's own, and copies, with these tags."""
    sources = (9, 1, "vol-ffffffff")
    return [
        snapshot(timedelta(hours=1 + 30 * number), sources[number % 3], policy=None, description="", tags=dict(tags))
        for number, tags in enumerate(forgeries)
    ]


HONEST_KEYS = ("period", "source", "set", "origin", "copy-of", "taken", "lock", "shared-with", "adopted-by")
ALTERED = st.dictionaries(
    st.sampled_from([key.replace("-", "_") for key in HONEST_KEYS]), st.one_of(st.none(), VALUES), max_size=5
)


def earlier(copy: Snapshot) -> Snapshot:
    """The copy as the versions before have made it: its time stands in a tag alone."""
    return dataclasses.replace(copy, description=copy.description.rpartition(", taken ")[0])


def first(copy: Snapshot) -> Snapshot:
    """The copy as the first versions made it: its description does not name the original either."""
    source = copy.tags["ec2ops:source"]
    return dataclasses.replace(copy, description=f"p: {source}, from us-east-1")


def recorded(parts: Sequence[Snapshot]) -> list[Snapshot]:
    return [dataclasses.replace(one, description=f"{one.description}, {len(parts)} volumes") for one in parts]
