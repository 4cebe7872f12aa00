# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Estimate the monthly cost that a plan's volumes add, without a call.

Private to this collection.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._kernel.errors import SpecError
from .._kernel.plan import Change
from .._kernel.prices import CURRENCY, NoPrice, Prices
from .._kernel.resources import view
from .._kernel.state import State

VARIABLE = "EC2OPS_PRICES"
"""The environment variable that names a file of prices on the machine of the module."""
_CHANGING = frozenset({"CreateVolume", "ModifyVolume", "DeleteVolume"})


def price_file() -> str:
    """Return the text of the file that `VARIABLE` names, empty without the variable. Raises SpecError."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{VARIABLE}: the task cannot read {path}: {error}. Name a file of prices in JSON.") from error


def estimate(changes: Iterable[Change], state: State, prices: Prices) -> dict[str, Any] | None:
    """Return the monthly difference of the volumes' cost, also as a text. Return None without a price, and without a
    change that creates, modifies or deletes a volume.

    *state*: EC2's answers before the plan, which show the cost of the volumes that the plan deletes.
    """
    concerned = [change for change in changes if change.action in _CHANGING]
    if not concerned:
        return None
    known: dict[str, Mapping[str, Any]] = {}
    difference, gib = 0.0, 0
    kinds: set[str] = set()
    try:
        for change in concerned:
            old, new = {**_before(change, state, known), **(change.before or {})}, dict(change.after or {})
            known[change.resource] = new
            difference += _cost(new, prices) - _cost(old, prices)
            gib += (new.get("size") or 0) - (old.get("size") or 0)
            kinds |= {str(one["volume_type"]) for one in (old, new) if one.get("volume_type")}
    except NoPrice:
        return None
    about = f"{gib:+d} GiB{f' {min(kinds)}' if len(kinds) == 1 else ''}"
    amount = round(difference, 2)
    return {
        "monthly": amount,
        "currency": CURRENCY,
        "gib": gib,
        "source": prices.source,
        "date": prices.date,
        "text": f"{about}: about {amount:+.2f} {CURRENCY} a month",
    }


def _before(change: Change, state: State, known: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the volume before the change: as the plan has left it, or as EC2 shows it. Empty for a new one."""
    if change.resource in known:
        return known[change.resource]
    shown = state.volume(change.resource)
    return view(shown) if shown is not None else {}


def _cost(volume: Mapping[str, Any], prices: Prices) -> float:
    """Return the monthly cost of the volume. Raises NoPrice, also if its performance is unknown."""
    if not volume.get("size"):
        return 0.0
    kind = str(volume.get("volume_type") or "gp3")
    if kind in ("io1", "io2") and volume.get("iops") is None:
        raise NoPrice(f"{kind}.iops")
    return prices.volume(kind, volume["size"], volume.get("iops"), volume.get("throughput")).most
