# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hash by which a person approves the plan of a check run.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .._kernel.plan import Change

_SNAPSHOT = re.compile(r"snap-[0-9a-f]+")
_BRACKETS = str.maketrans("()", "[]")


def plan_hash(changes: Iterable[Change], names: Mapping[str, str]) -> str:
    """Return the sha256 over the plan's sorted operations, regions, resources and parameters, without times and
    reasons.

    *names*: the planned ids that the current slot's snapshots had, by id. So the later changes have the same hash in a
    check run that plans these snapshots and in a run that finds them.
    """

    def text(entry: Mapping[str, Any]) -> str:
        parts = [entry["action"], entry["region"], entry.get("profile"), entry["resource"], entry["parameters"]]
        plain = json.dumps(parts, sort_keys=True)
        # A planned id within another one is written in square brackets.
        return _SNAPSHOT.sub(lambda found: names.get(found[0], found[0]), plain).translate(_BRACKETS)

    entries = sorted(text(change.published()) for change in changes)
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()
