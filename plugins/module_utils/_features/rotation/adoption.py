# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which snapshots are a policy's to retain: those that it has made, and those that it has adopted.

A policy claims what it adopts with the tag ``ec2ops:adopted-by`` before it deletes anything. Another policy that adopts
the same snapshots then leaves them alone. A snapshot without the tag is anybody's to claim.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from ..._kernel import tags as tag_names
from ..._kernel.errors import listed
from ..._kernel.plan import Change, tagging
from ..._kernel.proofs import source_of
from ..._kernel.resources import Snapshot
from .capture import no_room
from .guards import Guards
from .spec import RotationSpec

_CONTROLLERS = ("backup", "managed")
"""The guards that leave a snapshot to another service or controller."""


def matches(spec: RotationSpec, tags: Mapping[str, str]) -> bool:
    """Whether ``adopt`` names a snapshot with these tags, and no policy has made it."""
    return bool(spec.adopt) and tag_names.POLICY not in tags and spec.adopt.items() <= tags.items()


def belongs(spec: RotationSpec, tags: Mapping[str, str]) -> bool:
    """Whether the policy retains a snapshot with these tags."""
    claimed = tags.get(tag_names.ADOPTED_BY, spec.policy) == spec.policy
    return tags.get(tag_names.POLICY) == spec.policy or (claimed and matches(spec, tags))


class Adoption:
    """What the policy adopts of the snapshots in its region. A capture adopts nothing."""

    def __init__(self, spec: RotationSpec, known: Iterable[Snapshot], guards: Guards, region: str) -> None:
        self._spec, self._guards, self._region = spec, guards, region
        self._matching = [] if spec.captured else [item for item in known if matches(spec, item.tags)]

    @cached_property
    def _tagged(self) -> list[tuple[Change | None, str, list[str]]]:
        """By snapshot that is not claimed: the change, the snapshot's id, and the keys for which there is no place."""
        claim = {tag_names.ADOPTED_BY: self._spec.policy}
        found = []
        for item in self._matching:
            if tag_names.ADOPTED_BY not in item.tags and self._may_be_deleted(item):
                reason = f"adopt: claim it for the policy {self._spec.policy}"
                change, left_out = tagging(item.snapshot_id, self._region, item.tags, claim, reason)
                found.append((change, item.snapshot_id, left_out))
        return found

    def _may_be_deleted(self, item: Snapshot) -> bool:
        """Whether the policy may ever delete it: only then a claim says anything."""
        foreign = any(reason for mode in ("keep", "fail") for reason in self._guards.stops(item, mode, _CONTROLLERS))
        return item.state in ("pending", "completed") and bool(source_of(item)) and not foreign

    @property
    def claims(self) -> list[Change]:
        """The changes that claim what nobody has claimed yet."""
        return [change for change, _snapshot_id, _left_out in self._tagged if change is not None]

    def warnings(self) -> Iterator[str]:
        """The snapshots that other policies have claimed, and those that have no place for a claim."""
        taken: dict[str, list[str]] = defaultdict(list)
        for item in self._matching:
            taken[item.tags.get(tag_names.ADOPTED_BY, self._spec.policy)].append(item.snapshot_id)
        for policy, names in sorted(taken.items()):
            if policy != self._spec.policy:
                yield (
                    f"adopt: the policy {policy} has claimed {len(names)} snapshots that match, and they are left out: "
                    f"{listed(sorted(names))}. To hand them over, remove their tag "
                    f"{tag_names.ADOPTED_BY}."
                )
        for _change, snapshot_id, left_out in self._tagged:
            if left_out:
                yield no_room(snapshot_id, left_out)
