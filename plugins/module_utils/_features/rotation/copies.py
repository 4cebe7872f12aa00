# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies in another region or account: the snapshots of the policy that need a copy, and the copies that begin now.

The order, the bucket and the age of a copy follow from the times of its original, which the copy's tags have. So the
rules treat existing copies and originals without a copy together, and decide the same before and after the copy.

Several accounts may copy to one, under policies of one name. A copy's tag names the account, the region and the
snapshot that it was made from. The copies of others are left alone.

A copy is incremental if the last copy of the same volume in the region has the same key and is completed. So a volume's
copies are requested one after the other, the oldest first.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

from ..._domain.origins import has_origin, origin_of
from ..._domain.retention import decide
from ..._domain.snapshot_sets import SnapshotSet, is_instance_set
from ..._kernel import tags as tag_names
from ..._kernel.errors import bounded
from ..._kernel.facts import key_of, key_query
from ..._kernel.ids import COPIED_VOLUME, copy_description, is_planned, planned, start_text
from ..._kernel.plan import Change, Stage, Wait, tagging
from ..._kernel.proofs import (
    capture_record,
    source_of,
)
from ..._kernel.resources import Snapshot
from ..._kernel.state import Query, own_snapshots
from ..._kernel.storage_facts import VOLUME_PERMISSIONS, permissions_query
from ..._kernel.tags import carried, specification
from ..._kernel.times import slot_value
from .capture import no_room
from .copied import Copied, original_of
from .guards import Guards
from .keeping import Scene, exclusions
from .spec import CopySpec, RotationSpec

IN_FLIGHT = 20
"""The number of copies that EC2 makes at once in a region ("concurrent snapshot copies per destination region")."""
TOO_MANY = frozenset({"ResourceLimitExceeded"})
DEFAULT_KEY = "alias/aws/ebs"

_ALONG = (tag_names.PERIOD, tag_names.SET, tag_names.PARTS, tag_names.ORIGIN)
"""The tags of the collection with the same meaning on a copy and on its original."""


def copies_query(spec: RotationSpec, copy: CopySpec) -> Query:
    """Return the query for the policy's snapshots at a place of copies."""
    return replace(own_snapshots({tag_names.POLICY: spec.policy}), place=copy.place)


class Copying:
    """The copies of one policy in one place: the existing ones, and those that a plan makes.

    *there*: the existing ones. *names*: by id, the planned ids of the current slot's snapshots, which give the planned
    ids of their copies.
    """

    def __init__(self, there: Copied, names: Mapping[str, str], guards: Guards) -> None:
        self.there, self.guards, self._names = there, guards, names
        self.spec, self.copy, self.state, self.now = there.spec, there.copy, there.state, there.now
        self.sources = there.sources
        self.waits = self.spec.wait and self.copy.wait

    @property
    def account(self) -> str:
        """Return the account of the other profile if it differs from the task's, else an empty text."""
        return self.there.account

    # --- the copies to make ---

    @property
    def wanted(self) -> list[SnapshotSet]:
        """Return the originals whose copy is missing and can be made, the oldest first."""
        return [] if self._no_key or self.there.no_account else self._missing

    @cached_property
    def _no_key(self) -> str:
        """Return why the key of the place is unusable. Return an empty text if it is usable, or if KMS does not
        answer.
        """
        key = self.copy.kms_key_id
        if key is None or not key_of(self.state, key, self.copy.place).is_unusable:
            return ""
        return (
            f"copies to {self.copy.where}: kms_key_id: {key} is not an enabled KMS key there. Give the ARN, the id "
            "or the alias (alias/…) of one"
        )

    @cached_property
    def _missing(self) -> list[SnapshotSet]:
        """Return the originals with a missing or incomplete copy that the rules would keep, the oldest first."""
        missing = {
            a_set.key: a_set
            for a_set in self.sources
            if any(item not in self.there.copied for item in a_set.ids)
            and not (self._unshareable(a_set) or self._is_silent(a_set))
        }
        return self._kept_by_rules(missing)

    def _kept_by_rules(self, missing: Mapping[str, SnapshotSet]) -> list[SnapshotSet]:
        """Return the originals without a copy, by key, whose copy the rules would keep, the oldest first."""
        if not missing:
            return []
        left_out = exclusions(self.there.sets, self.guards, self.now)
        counted = {
            a_set.key: a_set.candidate
            for a_set in self.there.sets
            if a_set.group and not a_set.doubt and (a_set.key not in left_out or a_set.state == "pending")
        }
        # A copy that this run makes counts like its original.
        coming = {key: a_set.candidate for key, a_set in missing.items()}
        decided = decide({**counted, **coming}.values(), self.copy.keep, self.now)
        wanted = (a_set for key, a_set in missing.items() if decided[key])
        return sorted(wanted, key=lambda one: (one.start_time, one.key))

    @cached_property
    def beginning(self) -> list[tuple[SnapshotSet, Snapshot]]:
        """Return, in order, the originals whose copy begins now: all with a wait, or else as many as EC2 copies at
        once.
        """
        missing = [
            (a_set, item)
            for a_set in self.wanted
            for item in a_set.snapshots
            if item.snapshot_id not in self.there.copied
        ]
        room = IN_FLIGHT - sum(item.state == "pending" for item in self.there.living)
        return missing if self.waits else missing[: max(0, room)]

    @cached_property
    def begun(self) -> list[Change]:
        """Return the copies that this run begins, the oldest first."""
        values = tuple(self._copy_of(item) for _set, item in self.beginning)
        identities = {
            # EC2 takes 200 values in one filter.
            start: Query(
                "DescribeSnapshots",
                ((f"tag:{tag_names.COPY_OF}", values[start : start + 200]),),
                (("OwnerIds", ("self",)),),
                place=self.copy.place,
            )
            for start in range(0, len(values), 200)
        }
        return [
            self._change(a_set, item, identities[number - number % 200])
            for number, (a_set, item) in enumerate(self.beginning)
        ]

    def _copy_of(self, source: Snapshot) -> str:
        return f"{self.there.here}{source.snapshot_id}"

    @staticmethod
    def _taken(a_set: SnapshotSet, source: Snapshot) -> datetime | None:
        """Return when the original was taken, or None for a planned one. The start of the copy does not count."""
        return None if is_planned(source.snapshot_id) else a_set.start_time

    def _tags(self, a_set: SnapshotSet, source: Snapshot) -> dict[str, str]:
        own = {
            tag_names.POLICY: self.spec.policy,
            tag_names.COPY_OF: self._copy_of(source),
            tag_names.SOURCE: source_of(source),
            tag_names.TAKEN: start_text(source.snapshot_id, self._taken(a_set, source)),
        }
        along = {key: source.tags[key] for key in _ALONG if key in source.tags}
        if tag_names.ORIGIN not in along and has_origin(source):
            along[tag_names.ORIGIN] = origin_of(source).value
        own = {**self.spec.tags, **along, **own}
        # An adopted original without this policy's tags may have as many tags as EC2 allows.
        others, _left_out = tag_names.with_room(own, carried(source.tags))
        return {**others, **own}

    def _description(self, a_set: SnapshotSet, source: Snapshot) -> str:
        """Return the Description of a copy. Tags can be removed, but a Description cannot."""
        volume, instance = source_of(source), a_set.group if is_instance_set(a_set) else ""
        name, region, taken = source.snapshot_id, self.state.region, self._taken(a_set, source)
        record = capture_record(source)
        return copy_description(
            self.spec.policy,
            volume,
            instance,
            name,
            region,
            taken,
            account=self.there.accounts.of(None) if self.account else "",
            volumes=(record.volumes if record is not None else None) or 0,
            attached=record.attached if record is not None else "",
            slot=slot_value(record.slot) if record is not None and record.slot is not None else "",
        )

    def _change(self, a_set: SnapshotSet, source: Snapshot, identity: Query) -> Change:
        tags, name = self._tags(a_set, source), self._names.get(source.snapshot_id, source.snapshot_id)
        parameters: dict[str, Any] = {
            "SourceRegion": self.state.region,
            "SourceSnapshotId": source.snapshot_id,
            "Description": self._description(a_set, source),
            "TagSpecifications": [specification("snapshot", tags)],
        }
        if self.copy.kms_key_id is not None:
            parameters |= {"Encrypted": True, "KmsKeyId": self.copy.kms_key_id}
        return Change(
            "CopySnapshot",
            planned("snapshot", f"copy of {name} in {self.copy.place}"),
            self.copy.place,
            parameters,
            f"copy to {self.copy.where}, whose rules keep it",
            None,
            {
                "state": "completed" if self.waits else "pending",
                "volume_id": COPIED_VOLUME,
                "volume_size": source.volume_size,
                "encrypted": source.encrypted or self.copy.kms_key_id is not None,
                "description": parameters["Description"],
                "place": self.copy.place,
                "tags": tags,
            },
            identity=identity,
            deferrable=frozenset() if self.waits else TOO_MANY,
        )

    @cached_property
    def scene(self) -> Scene:
        """Return the place with all unfinished copies as completed."""
        expected = list(self._expected())
        becoming = {a_set.key for a_set in expected}
        pending = [a_set for a_set in self.there.sets if a_set.state == "pending" and not a_set.doubt]
        awaited = [a_set for a_set in pending if a_set.whole and a_set.group]
        # An incomplete set without an original that is still to be copied counts as whole, since no run completes it.
        coming = {a_set.key for a_set in self.wanted}
        sets = [replace(a_set, whole=a_set.whole or a_set.key not in coming) for a_set in self.there.sets]
        sets = [a_set for a_set in sets if a_set.key not in becoming]
        return Scene(
            self.copy.place,
            sets,
            expected,
            awaited,
            failed=self.there.failed,
            second=self._second(sets),
            known=self.there.known,
            waits=self.waits,
        )

    def _expected(self) -> Iterator[SnapshotSet]:
        """Yield each original of which all copies exist or begin now, as the set of its copies."""
        begun = zip(self.beginning, self.begun, strict=True)
        made = {original.snapshot_id: self._as_made(change, original) for (_set, original), change in begun}
        copies = {**self.there.copied, **made}
        for a_set in self.wanted:
            if all(item in copies for item in a_set.ids):
                yield replace(a_set, snapshots=tuple(copies[item] for item in a_set.ids), whole=True)

    def _second(self, sets: Iterable[SnapshotSet]) -> dict[str, SnapshotSet]:
        """Return, by the id of each proven second copy of an original, the set with the first one."""
        holders = {snapshot_id: a_set for a_set in sets for snapshot_id in a_set.ids}
        repeated = [item for item in self.there.second if not self.there.doubt(item)]
        firsts = {item.snapshot_id: holders.get(self.there.copied[original_of(item)].snapshot_id) for item in repeated}
        return {name: first for name, first in firsts.items() if first is not None}

    def _as_made(self, change: Change, source: Snapshot) -> Snapshot:
        return Snapshot(
            change.resource,
            start_time=self.now,
            encrypted=source.encrypted or self.copy.kms_key_id is not None,
            kms_key_id=self._key_of(source),
            place=self.copy.place,
            tags=(change.after or {})["tags"],
        )

    def _key_of(self, source: Snapshot) -> str | None:
        """Return the key of the next copy, or the key of the newest copy if KMS does not answer."""
        if self.copy.kms_key_id is None and not source.encrypted:
            return None
        key = key_of(self.state, self.copy.kms_key_id or DEFAULT_KEY, self.copy.place)
        if key.arn is not None:
            return key.arn
        volume = source_of(source)
        keys = [item.kms_key_id for item in self.there.copied.values() if item.encrypted and source_of(item) == volume]
        return keys[0] if keys else None

    @property
    def coming(self) -> list[Snapshot]:
        """Return the copies whose completion this run sees."""
        return [item for a_set in self.scene.extra for item in a_set.snapshots] if self.waits else []

    # --- dependencies ---

    def depending(self, *, waits: bool) -> Iterator[tuple[str, str]]:
        """Yield, by set's key, why originals are kept whose copy this run does not see completed.

        *waits*: whether this run sees the completion of all unfinished copies.
        """
        yield from (
            (a_set.key, f"it has no copy in {self.copy.where}, and this run cannot make one")
            for a_set in self._impossible
        )
        if waits:
            return
        pending = {original_of(item) for item in self.there.living if item.state == "pending"}
        for a_set in self.sources:
            if pending.intersection(a_set.ids):
                yield a_set.key, f"its copy in {self.copy.where} is not completed yet"
        for a_set in self.wanted:
            yield a_set.key, f"its copy in {self.copy.where} is not completed yet"

    def unfinished_of(self, a_set: SnapshotSet) -> tuple[str, ...]:
        """Return the copies of a set's snapshots that are under way, or that this run makes."""
        made = {item.snapshot_id: change for (_set, item), change in zip(self.beginning, self.begun, strict=True)}
        pending = {original_of(item): item.snapshot_id for item in self.there.living if item.state == "pending"}
        found = (made[name].resource if name in made else pending.get(name, "") for name in a_set.ids)
        return tuple(name for name in found if name)

    # --- other accounts ---

    def _unshareable(self, a_set: SnapshotSet) -> str:
        """Return why EC2 refuses to share a part of the set with the other account, or an empty text."""
        default = key_of(self.state, DEFAULT_KEY).arn
        for item in a_set.snapshots:
            if self.account and item.encrypted and default is not None and item.kms_key_id == default:
                return (
                    f"{item.snapshot_id} cannot be copied to {self.copy.where}: it is encrypted with the default key "
                    f"of the account ({DEFAULT_KEY}), and EC2 shares no such snapshot. Encrypt its volume with a key "
                    "of your own that the other account may use"
                )
        return ""

    def _is_silent(self, a_set: SnapshotSet) -> bool:
        """Return whether EC2 has not answered the query for the sharing of a part of the set."""
        return bool(self.account) and any(permissions_query(item) in self.state.unanswered for item in a_set.ids)

    @cached_property
    def _impossible(self) -> list[SnapshotSet]:
        """Return the originals whose copy the rules would keep, and that this run cannot make."""
        if self.there.no_account:
            return list(self.sources)
        missing = (a_set for a_set in self.sources if any(item not in self.there.copied for item in a_set.ids))
        left = {a_set.key: a_set for a_set in missing if self._unshareable(a_set) or self._is_silent(a_set)}
        return [*self._kept_by_rules(left), *(self._missing if self._no_key else ())]

    def refusals(self) -> list[str]:
        """Return why some wanted copies cannot be made. Missing answers are reported elsewhere."""
        if self.there.no_account:
            return [] if self.state.refusal("GetCallerIdentity") is not None else [self.there.no_account]
        unshareable = [text for a_set in self._impossible if (text := self._unshareable(a_set))]
        return [*unshareable, *([self._no_key] if self._no_key and self._missing else [])]

    def questions(self) -> Iterator[Query]:
        """Yield the queries for keys, and for the present sharing of originals before they are shared."""
        begun = [item for _set, item in self.beginning]
        key = self.copy.kms_key_id or DEFAULT_KEY
        # Without a wait the run does not use the default key's id.
        if begun and (self.copy.kms_key_id is not None or (self.waits and any(item.encrypted for item in begun))):
            yield replace(key_query(key, self.copy.place), optional=True)
        if not self.account:
            return
        if any(item.encrypted for a_set in self.sources for item in a_set.snapshots):
            yield replace(key_query(DEFAULT_KEY), optional=True)
        yield from (
            replace(permissions_query(item.snapshot_id), optional=True)
            for item in begun
            if not is_planned(item.snapshot_id)
        )

    def to_share(self) -> list[Snapshot]:
        """Return the originals that this run shares during their copy, without those that somebody has already
        shared.
        """
        found = []
        for _set, item in self.beginning:
            allowed = VOLUME_PERMISSIONS.of(self.state, item.snapshot_id) or ()
            recorded = self.account in tag_names.shared_with(item.tags)
            if self.account and (recorded or self.account not in allowed):
                found.append(item)
        return found

    def copies_under_way(self, source: Snapshot) -> Query:
        """Return the query that finds an unfinished copy of this original."""
        claim = ((f"tag:{tag_names.COPY_OF}", (self._copy_of(source),)), ("status", ("pending",)))
        return Query("DescribeSnapshots", claim, (("OwnerIds", ("self",)),), place=self.copy.place)

    def still_needed(self) -> set[str]:
        """Return the originals that stay shared at the end of this run, since their copy is unfinished."""
        if self.waits:
            return set()
        pending = {original_of(item) for item in self.there.living if item.state == "pending"}
        return pending | {item.snapshot_id for _set, item in self.beginning}

    # --- the calls ---

    def stages(self) -> Iterator[Stage]:
        """Yield the stages that copy. The older snapshots of each volume come first. If the run waits, each stage
        waits for its copies.
        """
        pending = tuple(item.snapshot_id for item in self.there.living if item.state == "pending") if self.waits else ()
        if pending:
            yield Stage(waits=(Wait(pending, "completed", place=self.copy.place),))
        turn: Counter[str] = Counter()
        turns: dict[int, list[Change]] = defaultdict(list)
        for (_set, source), change in zip(self.beginning, self.begun, strict=True):
            turns[turn[source_of(source)]].append(change)
            turn[source_of(source)] += 1
        patience = TOO_MANY if self.waits else frozenset[str]()
        for _number, together in sorted(turns.items()):
            made = tuple(change.resource for change in together)
            waits = (Wait(made, "completed", place=self.copy.place),) if self.waits else ()
            yield Stage(tuple(together), waits, patience=patience)

    def taggings(self, gone: set[str]) -> Iterator[Change]:
        """Yield the changes that set the user's tags on copies without them."""
        for item in self.there.living:
            change, _left_out = self._tagging(item)
            if change is not None and item.snapshot_id not in gone:
                yield change

    def _tagging(self, item: Snapshot) -> tuple[Change | None, list[str]]:
        return tagging(item.snapshot_id, self.copy.place, item.tags, self.spec.tags, "tag as declared")

    def warnings(self) -> Iterator[str]:
        """Yield warnings about failed copies, with EC2's reason, and about tags that do not fit on copies."""
        for item in self.there.living:
            _change, left = self._tagging(item)
            if left:
                yield no_room(item.snapshot_id, left)
        if self.there.unproven:
            found = "; ".join(bounded(f"{name}: {why}" for name, why in sorted(self.there.unproven.items())))
            yield (
                f"copies to {self.copy.where}: snapshots have the tags of copies of the policy {self.spec.policy}, "
                f"but are no copies. They do not count and are kept. Remove their tag {tag_names.COPY_OF}. {found}."
            )
        if self.there.unplaced:
            found = "; ".join(bounded(f"{name}: {why}" for name, why in sorted(self.there.unplaced.items())))
            yield (
                f"copies to {self.copy.where}: nothing proves that the originals of {len(self.there.unplaced)} copies "
                "were in this account. These copies do not count and are kept. Delete those that you do not need. "
                f"{found}."
            )
        for a_set in self.there.failed:
            for item in a_set.snapshots:
                yield (
                    f"the copy {item.snapshot_id} of {original_of(item)} in {self.copy.where} has failed: "
                    f"{item.state_reason or 'EC2 gives no reason'}. It is deleted, and the next run copies again if "
                    "the rules want it"
                )

    def doubts(self, excluded: Mapping[str, str]) -> Iterator[str]:
        """Yield the warning about copies that are kept because their originals are gone and only tags give their time.

        *excluded*: by set's key, why the set takes part in no rule.
        """
        found = [
            f"{' '.join(a_set.ids)}: {a_set.doubt}"
            for a_set in self.there.sets
            if a_set.doubt
            and a_set.state == "completed"
            and a_set.key in excluded
            and original_of(a_set.snapshots[0]) not in self.there.homes
        ]
        if found:
            yield (
                f"copies to {self.copy.where}: nothing proves when the data of {len(found)} copies was taken. They "
                "replace no other copy, and are kept until newer ones meet all rules. Delete those that you do not "
                f"need. {'; '.join(bounded(found))}."
            )

    # --- results ---

    def recovery_point(self, group: str, *, as_is: bool) -> SnapshotSet | None:
        """Return the newest good copy for *group*. With *as_is*, the copies of this run do not count."""
        there = self._newest.get(group)
        coming = None if as_is or not self.waits else self._coming.get(group)
        return max((one for one in (there, coming) if one is not None), key=_age, default=None)

    @cached_property
    def _newest(self) -> dict[str, SnapshotSet]:
        good = [
            a_set for a_set in self.there.sets if a_set.state == "completed" and not a_set.archived and not a_set.doubt
        ]
        return {a_set.group: a_set for a_set in sorted(good, key=_age)}

    @cached_property
    def _coming(self) -> dict[str, SnapshotSet]:
        return {a_set.group: a_set for a_set in sorted(self.scene.extra, key=_age)}


def _age(a_set: SnapshotSet) -> tuple[datetime, str]:
    return a_set.start_time, a_set.key
