# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots that a policy retains: those that it took, and those that it adopted.

A policy claims an adopted snapshot with the tag ``ec2ops:adopted-by`` before it deletes any. Another policy that adopts
the same snapshots then leaves them alone. Any policy may claim a snapshot without the tag. If somebody removed the tag
of a claim, no fact of EC2 shows the claim. So two policies should not adopt the same snapshots.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from ..._kernel import tags as tag_names
from ..._kernel.display import visible
from ..._kernel.errors import listed
from ..._kernel.plan import Change, tagging
from ..._kernel.proofs import is_copy, policy_named, source_of, taken_for
from ..._kernel.resources import Snapshot
from .capture import no_room
from .guards import Guards
from .spec import RotationSpec

_CONTROLLERS = ("backup", "managed")
"""The guards for snapshots of another service or controller."""


def matches(spec: RotationSpec, snapshot: Snapshot) -> bool:
    """Return whether ``adopt`` names the snapshot, and no other policy has taken it."""
    return _is_named(spec, snapshot) and not _other_maker(spec, snapshot)


def _is_named(spec: RotationSpec, snapshot: Snapshot) -> bool:
    tags = snapshot.tags
    return bool(spec.adopt) and tag_names.POLICY not in tags and spec.adopt.items() <= tags.items()


def _other_maker(spec: RotationSpec, snapshot: Snapshot) -> str:
    """Return the policy that took the snapshot, if its description names one that ``adopt.policies`` does not.

    A missing tag alone does not hand such a snapshot over, since anybody who may write tags can remove it.
    """
    own = any(taken_for(snapshot, policy) for policy in (spec.policy, *spec.adopt_policies))
    return "" if own else policy_named(snapshot)


def belongs(spec: RotationSpec, snapshot: Snapshot) -> bool:
    """Return whether the policy retains the snapshot, if the policy in its tag has taken it."""
    tags = snapshot.tags
    claimed = tags.get(tag_names.ADOPTED_BY, spec.policy) == spec.policy
    return tags.get(tag_names.POLICY) == spec.policy or (claimed and matches(spec, snapshot))


def is_unclaimed(spec: RotationSpec, snapshot: Snapshot) -> bool:
    """Return whether a snapshot that the policy retains is adopted, and no policy has claimed it.

    A snapshot that the policy took itself needs no claim.
    """
    unmarked = tag_names.ADOPTED_BY not in snapshot.tags and tag_names.POLICY not in snapshot.tags
    return unmarked and not taken_for(snapshot, spec.policy)


class Adoption:
    """The snapshots that the policy adopts in its region. A capture adopts nothing."""

    def __init__(self, spec: RotationSpec, known: Iterable[Snapshot], guards: Guards, region: str) -> None:
        self._spec, self._guards, self._region = spec, guards, region
        named = [] if spec.captured else [item for item in known if _is_named(spec, item)]
        self._others = {item.snapshot_id: maker for item in named if (maker := _other_maker(spec, item))}
        self._matching = [item for item in named if item.snapshot_id not in self._others]

    @cached_property
    def _tagged(self) -> list[tuple[Change | None, str, list[str]]]:
        """Return, for each unclaimed snapshot, the change, the snapshot's id, and the keys without room."""
        claim = {tag_names.ADOPTED_BY: self._spec.policy}
        found = []
        for item in self._matching:
            if tag_names.ADOPTED_BY not in item.tags and self._may_be_deleted(item):
                reason = f"adopt for the policy {self._spec.policy}"
                change, left_out = tagging(item.snapshot_id, self._region, item.tags, claim, reason)
                found.append((change, item.snapshot_id, left_out))
        return found

    def _may_be_deleted(self, item: Snapshot) -> bool:
        """Return whether the policy may ever delete the snapshot, since otherwise it needs no claim."""
        foreign = any(reason for mode in ("keep", "fail") for reason in self._guards.stops(item, mode, _CONTROLLERS))
        return item.state in ("pending", "completed") and bool(source_of(item)) and not foreign

    @property
    def claims(self) -> list[Change]:
        """Return the changes that claim the unclaimed snapshots."""
        return [change for change, _snapshot_id, _left_out in self._tagged if change is not None]

    def warnings(self) -> Iterator[str]:
        """Yield warnings about snapshots that other policies have taken or claimed, and about those without room for a
        claim.
        """
        made: dict[str, list[str]] = defaultdict(list)
        for snapshot_id, policy in self._others.items():
            made[policy].append(snapshot_id)
        for policy, names in sorted(made.items()):
            yield (
                f"adopt: the policy {visible(policy)} took {len(names)} of the matching snapshots, as their "
                f"descriptions show. They are left out: {listed(sorted(names))}. To adopt them, name the policy in "
                "adopt.policies."
            )
        taken: dict[str, list[str]] = defaultdict(list)
        for item in self._matching:
            taken[item.tags.get(tag_names.ADOPTED_BY, self._spec.policy)].append(item.snapshot_id)
        for policy, names in sorted(taken.items()):
            if policy != self._spec.policy:
                yield (
                    f"adopt: the policy {policy} has claimed {len(names)} of the matching snapshots. They are left "
                    f"out: {listed(sorted(names))}. To hand them over, remove their tag "
                    f"{tag_names.ADOPTED_BY}."
                )
        for _change, snapshot_id, left_out in self._tagged:
            if left_out:
                yield no_room(snapshot_id, left_out)


def is_another_runs(snapshot: Snapshot) -> bool:
    """Return whether a run of another region has copied the snapshot here, and retains it."""
    return is_copy(snapshot) and tag_names.COPY_OF in snapshot.tags


def unproven_warnings(policy: str, known: Iterable[Snapshot], managed: Iterable[Snapshot]) -> Iterator[str]:
    """Yield the warning about snapshots that carry the policy's name and that the policy did not take."""
    its_own = {item.snapshot_id for item in managed}
    others = [
        item
        for item in known
        if item.snapshot_id not in its_own and item.tags.get(tag_names.POLICY) == policy and not is_another_runs(item)
    ]
    found = [
        f"{item.snapshot_id} (of {source_of(item) or 'an unknown volume'})"
        for item in sorted(others, key=lambda item: item.snapshot_id)
    ]
    if found:
        yield (
            f"policy: the tag {tag_names.POLICY} names {policy} on {len(found)} snapshots that it did not take, "
            f"as their descriptions show. They do not count and are kept: {listed(found)}. Remove the tag, or "
            "remove it and adopt them (adopt.policies names the policy that took them)."
        )
