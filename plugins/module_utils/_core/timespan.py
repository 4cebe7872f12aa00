# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moments and spans: how times are read and written.

Private to this collection.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from .errors import SpecError

_SPAN = re.compile(r"(\d+)\s*(s|min|h|d|w)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_span(value: str, option: str) -> timedelta:
    """A span of fixed length: ``90s``, ``30min``, ``1h``, ``2d``, ``1w``, or several in a row (``1h 30min``)."""
    parts = _SPAN.findall(value)
    if not parts or _SPAN.sub("", value).strip():
        raise SpecError(f"{option}: {value!r} is not a span of time: a number and s, min, h, d or w, such as 1h")
    return timedelta(seconds=sum(int(count) * _SECONDS[unit] for count, unit in parts))


def format_moment(moment: datetime) -> str:
    """``2026-11-23T19:00:00Z``: what is written into tags."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_moment(value: str) -> datetime | None:
    """The moment that `format_moment` wrote, or None for anything else."""
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
