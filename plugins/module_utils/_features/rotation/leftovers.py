# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots that a policy has taken and its task no longer names, with warnings about them.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from ..._domain.snapshot_sets import SnapshotSet, instance_of
from ..._kernel import tags as tag_names
from ..._kernel.errors import listed
from ..._kernel.places import Place
from ..._kernel.proofs import source_of
from ..._kernel.resources import Snapshot
from ..._kernel.state import Query, by_id
from .adoption import belongs
from .capture import Capture


class Leftovers:
    """The policy's snapshots outside its task's present selection.

    *known*: all snapshots of the region that have been read. *retired*: the volumes of instances whose successors are
    captured. The rules delete the snapshots of these volumes over time. *accounts*: the accounts that get copies, or
    None if they are unknown.
    """

    def __init__(
        self, capture: Capture, known: Iterable[Snapshot], retired: Iterable[str], accounts: frozenset[str] | None
    ) -> None:
        self._capture, self._known, self._accounts = capture, known, accounts
        self._captured = {volume.volume_id for target in capture.targets for volume in target.volumes}
        self._selected = self._captured.union(retired, capture.spec.volume_ids)

    @cached_property
    def _own(self) -> list[SnapshotSet]:
        """Return the sets that the policy has taken."""
        return [a_set for a_set in self._capture.sets if self._capture.is_own(a_set)]

    def _outside(self, sets: Iterable[SnapshotSet]) -> set[str]:
        """Return the volumes of the policy's own sets in *sets* that the policy does not select.

        Without a selection, return none.
        """
        if not self._capture.spec.selects:
            return set()
        own = (item for a_set in sets if self._capture.is_own(a_set) for item in a_set.good)
        return {source for item in own if (source := source_of(item))} - self._selected

    def questions(self, leaving: Iterable[SnapshotSet]) -> tuple[Query, ...]:
        """Return the queries that show whether the unselected volumes whose snapshots may be deleted still exist."""
        found = by_id("DescribeVolumes", "volume-id", self._outside(leaving))
        return tuple(replace(query, optional=True) for query in found)

    def unclear(self, leaving: Iterable[SnapshotSet]) -> dict[str, str]:
        """Return, by set's key, why sets of unselected volumes are kept, since EC2 did not answer whether the volumes
        exist.
        """
        sets = list(leaving)
        if not any(query in self._capture.state.unanswered for query in self.questions(sets)):
            return {}
        return {
            a_set.key: f"EC2 did not answer whether {a_set.group} still exists"
            for a_set in sets
            if self._outside([a_set])
        }

    def first_questions(self) -> Iterator[Query]:
        """If this policy has no snapshots, yield the query for other policies' snapshots of the selected volumes, since
        somebody may have renamed the policy.

        One filter finds the snapshots that other policies made, and those that this policy adopted.
        """
        if self._own or self._capture.sets:
            return
        for query in by_id("DescribeSnapshots", "volume-id", self._captured, OwnerIds=("self",)):
            keys = ("tag-key", (tag_names.POLICY, tag_names.ADOPTED_BY))
            yield replace(query, filters=(*query.filters, keys), optional=True)

    def outside_warnings(self, going: Iterable[SnapshotSet]) -> Iterator[str]:
        """Yield the warning about existing volumes that are not selected and whose snapshots are deleted.

        Two tasks that share a policy name delete each other's snapshots, and EC2 does not show which of the two took
        one.
        """
        state, policy = self._capture.state, self._capture.spec.policy
        outside = self._outside(going)
        there = [item for item in sorted(outside) if (volume := state.volume(item)) is not None and volume.alive]
        if there:
            verb = "exists and is" if len(there) == 1 else "exist and are"
            yield (
                f"policy: {policy} deletes snapshots of {listed(there)}, which {verb} not selected. If another "
                f"task uses the name {policy} with other rules, give each task a name of its own."
            )

    def warnings(self) -> Iterator[str]:
        """Yield warnings about leftovers of a changed task, as far as the answers show them."""
        yield from self._other_consistency()
        yield from self._other_names()
        yield from self._unadopted()
        yield from self._other_accounts()
        yield from self._other_places()

    def _other_consistency(self) -> Iterator[str]:
        """Yield the warning about snapshots of the selected volumes with the other ``consistency``. No new snapshots
        replace them.
        """
        whole = self._capture.spec.whole_instances
        left = [
            a_set
            for a_set in self._own
            if any(instance_of(item) for item in a_set.snapshots) is not whole
            and any(source_of(item) in self._captured for item in a_set.snapshots)
        ]
        if left:
            number = sum(len(a_set.snapshots) for a_set in left)
            yield (
                f"consistency: {number} snapshots of {listed(sorted({a_set.group for a_set in left}))} were taken with "
                f"consistency: {'volume' if whole else 'instance'}. No new snapshot replaces them, so the rules "
                "always keep the newest. Delete them when the new snapshots reach back far enough."
            )

    def _other_names(self) -> Iterator[str]:
        """Yield warnings about other policies' snapshots of the selected volumes, before the first snapshot of this
        policy.
        """
        current = {a_set.key for a_set in self._capture.current.values()}
        if any(a_set.key not in current for a_set in self._own):
            return
        found: dict[str, list[str]] = defaultdict(list)
        for item in self._known:
            policy = item.tags.get(tag_names.POLICY, self._capture.spec.policy)
            if policy != self._capture.spec.policy and source_of(item) in self._captured:
                found[policy].append(source_of(item))
        for policy, sources in sorted(found.items()):
            yield (
                f"policy: {self._capture.spec.policy} has no snapshots yet, but the policy {policy} has "
                f"{len(sources)} of {listed(sorted(set(sources)))}. A renamed policy no longer retains its former "
                f"snapshots. Keep the old name, or remove the tag {tag_names.POLICY} of these snapshots, adopt them, "
                f"and name {policy} in adopt.policies."
            )

    def _unadopted(self) -> Iterator[str]:
        """Yield the warning about snapshots that this policy has claimed and that its task no longer adopts.

        The warning covers only snapshots that have been read.
        """
        spec = self._capture.spec
        left = [
            item
            for item in self._known
            if item.tags.get(tag_names.ADOPTED_BY) == spec.policy
            and tag_names.COPY_OF not in item.tags
            and not belongs(spec, item)
        ]
        if left:
            sources = sorted({source_of(item) or item.snapshot_id for item in left})
            yield (
                f"adopt: the policy {spec.policy} has claimed {len(left)} snapshots of {listed(sources)} that adopt "
                "no longer names, and does not retain them. Name them in adopt again, or remove their tag "
                f"{tag_names.ADOPTED_BY}."
            )

    def _other_accounts(self) -> Iterator[str]:
        """Yield warnings about originals that are shared for a copy with an account that no longer gets copies."""
        if self._accounts is None:
            return
        found: dict[str, list[str]] = defaultdict(list)
        for a_set in self._own:
            for item in a_set.snapshots:
                for account in tag_names.shared_with(item.tags):
                    if account not in self._accounts:
                        found[account].append(item.snapshot_id)
        for account, names in sorted(found.items()):
            yield (
                f"copies: no entry copies to the account {account}, and the tag {tag_names.SHARED_WITH} says that "
                f"{listed(sorted(names))} is shared with it for a copy. Nothing proves that, so no run unshares it. "
                "Unshare it yourself and remove the tag. No run deletes the copies there."
            )

    def _other_places(self) -> Iterator[str]:
        """Yield warnings about originals from the time when the policy had copies in a place that now gets none.

        A renamed profile counts as the same place if another entry copies to its region, since EC2 does not show the
        difference.
        """
        copies = self._capture.spec.copies
        places = {copy.place for copy in copies}
        foreign = {copy.region for copy in copies if copy.profile}
        found: dict[Place, list[str]] = defaultdict(list)
        for a_set in self._own:
            for item in a_set.snapshots:
                for place in map(Place.parse, tag_names.copied_to(item.tags)):
                    if place not in places and not (place.profile and place.region in foreign):
                        found[place].append(item.snapshot_id)
        for place, names in sorted(found.items()):
            yield (
                f"copies: no entry copies to {place.text} any more, where copies of {listed(sorted(names))} may "
                "be. No run deletes them. Delete them yourself, or name the place again."
            )
