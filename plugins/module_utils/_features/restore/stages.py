# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes of a restore in order, with the waits of each stage.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..._domain.volume_changes import deletion_of_unmade
from ..._kernel.plan import Change, Stage, Wait, apart
from ..._kernel.resources import Instance, Volume
from .changes import waits


def restore_stages(
    target: Instance | None,
    there: Mapping[str, Volume],
    detached: Mapping[str, Volume],
    creations: Sequence[Change],
    attaches: Sequence[Change],
    *,
    whole: bool,
) -> tuple[Stage, ...]:
    """Attach existing volumes in parallel with the creations, so that a failed creation cannot prevent this.

    *whole*: the volumes are those of one instance, and belong together. Then the first one is attached alone. So if two
    runs restore the instance to two targets, they compete for the first volume, and the later run attaches none.
    Otherwise no volume depends on another one.
    """
    made = [change.resource for change in creations]
    ordered = sorted(attaches, key=lambda change: change.resource in made)
    first = ordered[:1] if len(ordered) > 1 else []
    rest = ordered[len(first) :]
    early = [change for change in rest if change.resource not in made]
    late = [change for change in rest if change.resource in made]
    making = Stage(
        (*creations, *early),
        (*waits(made, "volume_available", final=target is None), *_attached(early)),
        deletion_of_unmade(creations),
        frozenset({"failed"}),
        transaction="" if whole else "creation",
        tied=None if whole else frozenset(made),
    )
    claiming = Stage(tuple(first), _attached(first, "claimed" if whole else "attached"))
    of_new = bool(first) and first[0].resource in made
    several = (
        Stage(waits=tuple(_settling(target, there, detached))),
        *((making, claiming) if of_new else (claiming, making)),
        Stage(tuple(late), _attached([*first, *late] if whole else late)),
    )
    stages = tuple(stage for stage in several if stage.changes or stage.waits)
    return stages if whole else apart(stages)


def _attached(attaches: Sequence[Change], goal: str = "attached") -> tuple[Wait, ...]:
    """Return the wait for attachments to one instance. Later stages depend on the first attachment only."""
    if not attaches:
        return ()
    about = str(attaches[0].parameters["InstanceId"])
    return waits((change.resource for change in attaches), goal, about=about, final=goal == "attached")


def _settling(target: Instance | None, there: Mapping[str, Volume], detached: Mapping[str, Volume]) -> Iterator[Wait]:
    """Yield the waits for a target that starts or stops, and for volumes that are being made, detached or attached.

    EC2 attaches no volume before that.
    """
    if target is not None and target.state in ("pending", "stopping"):
        yield Wait((target.instance_id,), "running" if target.state == "pending" else "stopped")
    making = [item.volume_id for item in there.values() if item.state == "creating"]
    yield from waits(making, "volume_available", final=target is None)
    leaving = [item.volume_id for item in detached.values() if item.attachments]
    yield from waits(leaving, "detached")
    joining = [
        item.volume_id
        for item in there.values()
        if target is not None
        and any(link.instance_id == target.instance_id and link.state == "attaching" for link in item.attachments)
    ]
    yield from waits(joining, "attached", about=target.instance_id if target is not None else "", final=True)
