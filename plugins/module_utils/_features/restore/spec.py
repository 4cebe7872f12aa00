# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `snapshot_restore`, and the refusals that need no call to EC2.

Private to this collection.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..._domain.zones import is_zone, unsupported_site
from ..._kernel.errors import SpecError
from ..._kernel.ids import is_planned, require_id
from ..._kernel.tags import LONGEST_VALUE, RESTORES
from .points import parse_time

RESTORE, DRILL = RESTORES
_DRILL_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class RestoreSpec:
    """The restore of ``volume_ids``, or all volumes of ``instance_id``, as they were before a time.

    The target: unattached in ``zone``, or attached to ``target_id``. ``name``: the declaration of all new volumes, or
    empty for a declaration of each volume's own. ``drill_id``: the id of a drill, or empty. ``time_limit``: the task's
    ``wait_timeout``.
    """

    volume_ids: tuple[str, ...] = ()
    instance_id: str = ""
    before: datetime | None = None
    zone: str = ""
    target_id: str = ""
    name: str = ""
    drill_id: str = ""
    time_limit: timedelta = timedelta(seconds=1800)

    @property
    def is_drill(self) -> bool:
        """Return whether the restore deletes its volumes again."""
        return bool(self.drill_id)

    def declaration(self, source: str) -> str:
        """Return the value of ``ec2ops:spec`` on the volume that is restored from the snapshot of *source*."""
        if self.is_drill:
            return f"{DRILL}{source}/{self.drill_id}"
        return self.name or f"{RESTORE}{source}"

    def entry(self, source: str) -> str:
        """Return the value of ``ec2ops:volume`` on this volume: the id of the source. In a restore of an instance, its
        id comes first.
        """
        return f"{self.instance_id}/{source}" if self.instance_id else source


def parse(params: Mapping[str, Any], _region: str) -> RestoreSpec:
    """Return the module's options. Raises SpecError for malformed options, and for options that contradict each other.

    An empty list or text is no value. A drill without a ``drill_id`` draws one.
    """
    given = {name: params.get(name) or "" for name in ("source_instance_id", "zone", "target_instance_id", "name")}
    volume_ids = tuple(dict.fromkeys(text for item in params["source_volume_ids"] or () if (text := item.strip())))
    _require_one_source(volume_ids, given["source_instance_id"])
    drill_id = _drill_id(params)
    _require_one_place(given["zone"], given["target_instance_id"], is_drill=bool(drill_id))
    _require_name(given["name"])
    before = params.get("before") or ""
    return RestoreSpec(
        volume_ids=volume_ids,
        instance_id=given["source_instance_id"],
        before=parse_time(before, "before") if before else None,
        zone=given["zone"],
        target_id=given["target_instance_id"],
        name="" if drill_id else given["name"],
        drill_id=drill_id,
        time_limit=timedelta(seconds=params["wait_timeout"]),
    )


def _require_one_source(volume_ids: tuple[str, ...], instance_id: str) -> None:
    if bool(volume_ids) == bool(instance_id):
        raise SpecError(
            "source_volume_ids: the task needs exactly one of source_volume_ids and source_instance_id. Set one of "
            "them."
        )
    for kind, option, several in (
        ("volume", "source_volume_ids", volume_ids),
        ("instance", "source_instance_id", (instance_id,) if instance_id else ()),
    ):
        for item in several:
            if is_planned(item):
                raise SpecError(f"{option}: {item} is only planned, and has no snapshot. Name an existing one.")
            require_id(kind, item, option)


def _require_one_place(zone: str, target_id: str, *, is_drill: bool) -> None:
    if is_drill and target_id:
        raise SpecError("target_instance_id: a drill attaches nothing. Remove target_instance_id.")
    if not is_drill and bool(zone) == bool(target_id):
        raise SpecError("zone: the task needs exactly one of zone and target_instance_id. Set one of them.")
    if target_id:
        require_id("instance", target_id, "target_instance_id")
    if zone and not is_zone(zone):
        raise SpecError(f"zone: {zone!r} is not the name of a zone. Use a name such as eu-central-1a.")
    site = unsupported_site(zone)
    if site:
        raise SpecError(f"zone: this collection makes no volumes in {site}. Name an Availability Zone.")


def _require_name(name: str) -> None:
    # A drill deletes volumes with such names.
    if name.startswith(DRILL):
        raise SpecError(f"name: names that begin with {DRILL} are for drills, which delete the volumes. Use another.")
    if len(name) > LONGEST_VALUE:
        raise SpecError(f"name: a tag keeps the name, and it has {len(name)} characters. Use {LONGEST_VALUE} or fewer.")


def _drill_id(params: Mapping[str, Any]) -> str:
    """Return the id of a drill, empty for a restore.

    Two drills may begin at the same moment. A drawn id distinguishes them, since otherwise EC2 would give both the same
    volumes.
    """
    given = params.get("drill_id") or ""
    if not params.get("drill"):
        if given:
            raise SpecError("drill_id: only a drill has an id. Set drill: true, or remove drill_id.")
        return ""
    if given and not _DRILL_ID.fullmatch(given):
        raise SpecError(f"drill_id: {given!r} is not 8 hexadecimal digits in lower case. Use an id such as 0a1b2c3d.")
    return given or secrets.token_hex(4)
