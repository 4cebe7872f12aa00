# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies in another region or account: which of the policy's snapshots have to be there, and which are begun now.

A copy has the place of its original: in the order, in its bucket and for its age it counts with the times of that,
which its tags carry. So what is to be copied is decided over the copies that are there and the originals without one
together, and the rules say the same before and after.

Several accounts may copy to one, under policies of one name: a copy's tag names the account, the region and the
snapshot that it was made from, and what others have made is left alone.

EC2 makes a copy incremental when the last one of the same volume in the region has the same key, and begins it when
the one before is over; so a volume's copies are asked for one after the other, the oldest first.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

from ..._domain.snapshot_sets import Slots, Unit, is_set, missing_parts, set_mark
from ..._kernel import tags as tag_names
from ..._kernel.errors import bounded
from ..._kernel.ids import COPIED_VOLUME, copy_description, is_planned, moment_of, planned
from ..._kernel.plan import Change, Stage, Wait, tagging
from ..._kernel.proofs import (
    capture_record,
    copy_misfit,
    copy_record,
    has_proven_time,
    is_copy,
    is_recorded_for,
    source_of,
    time_of,
)
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import Query, State, own_snapshots
from ..._kernel.tags import carried, specification
from ..._kernel.times import format_instant, slot_value
from .accounts import Accounts
from .capture import no_room
from .guards import Guards, sharing
from .keeping import Scene, exclusions
from .retention import decide
from .spec import CopySpec, RotationSpec

IN_FLIGHT = 20
"""EC2 makes so many copies at once in a region ("concurrent snapshot copies per destination region")."""
TOO_MANY = frozenset({"ResourceLimitExceeded"})
DEFAULT_KEY = "alias/aws/ebs"
_LIVING = ("pending", "completed")
_ALONG = (tag_names.PERIOD, tag_names.SET, tag_names.PARTS, tag_names.ORIGIN)
"""The tags of the collection that mean the same on a copy as on its original."""


def copies_query(spec: RotationSpec, copy: CopySpec) -> Query:
    """Return the query for the policy's snapshots at a place of copies."""
    return replace(own_snapshots({tag_names.POLICY: spec.policy}), place=copy.place)


def _key_query(key: str, place: str = "") -> Query:
    return Query("DescribeKey", arguments=(("KeyId", key),), service="kms", place=place, optional=True)


def original_of(snapshot: Snapshot) -> str:
    """Return the id of the snapshot that this one is a copy of, by its tag."""
    return snapshot.tags.get(tag_names.COPY_OF, "").rpartition("/")[2]


class Copying:
    """The copies of one policy in one place.

    *sources*: the originals that may be copied, those that are made in this run too if it waits for them. *home*: all
    that the policy has where the originals are. *names*: by id, what the snapshots of the current slot were called
    before they were made: by that their copies are called too.

    A copy counts when the run that asked for it has recorded so (`proofs.copy_record`) and, while EC2 shows the
    original, fits it. ``unproven``: by id, why a snapshot that claims to be a copy of the policy's does not count.
    ``unplaced``: by id, why a copy in another account may have been made by a third one, so that it does not count
    either. Earlier versions recorded less: see `_doubt`.
    """

    def __init__(
        self,
        spec: RotationSpec,
        copy: CopySpec,
        state: State,
        sources: Sequence[Unit],
        home: Sequence[Unit],
        slots: Slots,
        names: Mapping[str, str],
        guards: Guards,
        now: datetime,
    ) -> None:
        self.spec, self.copy, self.state, self.sources, self.guards, self.now = spec, copy, state, sources, guards, now
        self._names, self._slots = names, slots
        self._homes = {item.snapshot_id: (unit, item) for unit in home for item in unit.snapshots}
        self.waits = spec.wait and copy.wait
        self._accounts = Accounts(spec, state)
        self._no_account = self._accounts.unknown(copy)
        found = (item for item in state.all(Snapshot) if item.place == copy.place)
        self.known = sorted(found, key=lambda item: item.snapshot_id)
        claiming = [
            item
            for item in self.known
            if not self._no_account
            and item.tags.get(tag_names.POLICY) == spec.policy
            and item.tags.get(tag_names.COPY_OF, "").startswith(self._here)
        ]
        self.unproven = {item.snapshot_id: why for item in claiming if (why := self._misfit(item))}
        fitting = [item for item in claiming if item.snapshot_id not in self.unproven]
        self.unplaced = {item.snapshot_id: why for item in fitting if (why := self._unplaced(item))}
        ours = [item for item in fitting if item.snapshot_id not in self.unplaced]
        self.failed = [self._unit((item,), item.snapshot_id) for item in ours if item.state == "error"]
        living = (item for item in ours if item.state in _LIVING)
        self.living = sorted(living, key=lambda item: (bool(self._doubt(item)), *_best_first(item)))
        self.copied: dict[str, Snapshot] = {}
        for item in self.living:
            self.copied.setdefault(original_of(item), item)
        others = [item for item in ours if item.state not in ("error", *_LIVING)]
        self.units = self._units(others)

    # --- what is there ---

    def _misfit(self, copy: Snapshot) -> str:
        """Return why a snapshot that claims to be one of the policy's copies is none, or an empty text."""
        record, original_id = copy_record(copy), original_of(copy)
        if record is None:
            return "its description does not name the volume and the region of an original"
        if not is_recorded_for(record, self.spec.policy) or record.region != self.state.region:
            return "its description names another policy or region"
        if record.account and record.account != self._account_here(copy):
            return f"its description names the account {record.account}"
        if record.original not in ("", original_id):
            return f"its description says that it is a copy of {record.original}"
        if original_id not in self._homes:
            return ""
        original = self._homes[original_id][1]
        if source_of(original) != record.volume:
            return f"its description names {record.volume}, and {original_id} was taken of {source_of(original)}"
        return copy_misfit(copy, original) or ""

    def _account_here(self, copy: Snapshot) -> str:
        """Return the account of the originals. Where no other profile is asked, the owner of the copy tells it."""
        return self._accounts.of(None) or ("" if self.account else copy.owner_id or "")

    def _unplaced(self, copy: Snapshot) -> str:
        """Return why a copy in another account may be that of a third account, or an empty text.

        Several accounts may copy to one, and anybody there who may tag can change the account in the copy's tag. Its
        description names the account. Where it does not, EC2 must show the original, or that its volume is one of this
        account: it gives an id only once.
        """
        record, original_id = copy_record(copy), original_of(copy)
        if not self.account or record is None or record.account or original_id in self._homes:
            return ""
        if record.volume in self._volumes_here:
            return ""
        return f"its description names no account, and EC2 shows neither {original_id} nor {record.volume}"

    @cached_property
    def _volumes_here(self) -> frozenset[str]:
        """The volumes that EC2 shows in the account of the originals, and those that its snapshots were taken of."""
        taken = (item for item in self.state.all(Snapshot) if not item.place and not is_copy(item))
        own = (item.volume_id for item in taken if item.owner_id in (None, self._accounts.of(None)))
        return frozenset((*own, *(volume.volume_id for volume in self.state.all(Volume))))

    def _mark(self, copy: Snapshot) -> str:
        """Return the mark that the copies of one set share, or an empty text for the copy of a single snapshot.

        Facts tell it, in all that the present version copied and of every original that is there. For other copies the
        tag `tags.SET` does, and no such copy is in one set with a proven one.
        """
        home, record = self._homes.get(original_of(copy)), copy_record(copy)
        if home is not None:
            return set_mark(home[0].group, home[0].start_time) if is_set(home[0]) else ""
        if record is not None and record.original:
            if not record.instance:
                return ""
            if record.taken is not None:
                return set_mark(record.instance, record.taken)
        claimed = copy.tags.get(tag_names.SET, "")
        return f"claimed {claimed}" if claimed else ""

    def _doubt(self, copy: Snapshot) -> str:
        """Return why the time or the original of a proven copy is unproven, or an empty text."""
        record, original_id = copy_record(copy), original_of(copy)
        if record is None or has_proven_time(copy):
            return ""
        if not record.original:
            return "its description does not name its original"
        return "" if original_id in self._homes else f"only its tags say when {original_id} was taken, which is gone"

    def _unit(self, snapshots: Sequence[Snapshot], key: str, *, whole: bool = True, lacking: int = 0) -> Unit:
        """Copies as one unit, with the time and the slot of their originals: as EC2 shows these, else as recorded."""
        first, parts = snapshots[0], tuple(snapshots)
        home, record, mark = self._homes.get(original_of(first)), copy_record(first), self._mark(first)
        doubt = next((why for item in snapshots if (why := self._doubt(item))), "")
        if home is not None and not doubt:
            unit = home[0]
            return Unit(key, unit.group, parts, unit.start_time, unit.period, whole, lacking, claimed=unit.claimed)
        if doubt:
            start = max(item.start_time or self.now for item in snapshots)
            return Unit(key, self._doubtful_group(first), parts, start, None, doubt=doubt)
        taken = time_of(first) or self.now
        group = record.instance if mark and record is not None else source_of(first)
        period, claimed = self._slots.made_for(parts, taken)
        return Unit(key, group, parts, taken, period, whole, lacking, claimed=claimed)

    def _doubtful_group(self, copy: Snapshot) -> str:
        """Return the source of the copy from its description, or an empty text if only a tag assigns it to a set."""
        home, record = self._homes.get(original_of(copy)), copy_record(copy)
        if home is not None:
            return home[0].group
        if record is None or (not record.original and self._mark(copy)):
            return ""
        return record.instance or record.volume

    def _units(self, others: Iterable[Snapshot]) -> list[Unit]:
        """Return the copies of the place as units, the newest first. The key of a unit is that of its original.

        Copies of one set are one unit, whole when each of its originals has one. A second copy of the same original
        stands for itself, and so does what is in a state that is none of ours to judge.
        """
        sets: dict[tuple[str, str], list[Snapshot]] = defaultdict(list)
        for original, item in self.copied.items():
            mark = self._mark(item)
            sets[mark, "" if mark else original].append(item)
        units = []
        for (mark, _alone), members in sets.items():
            ordered = sorted(members, key=original_of)
            source = self._source_sets.get(mark)
            whole = source is None or all(item in self.copied for item in source.ids)
            key = original_of(ordered[0]) if source is None else source.key
            recording = next((known[1] for item in ordered if (known := self._homes.get(original_of(item)))), None)
            lacking = missing_parts(ordered, recording) if mark else 0
            units.append(self._unit(ordered, key, whole=whole, lacking=lacking))
        units += [self._unit((item,), item.snapshot_id) for item in (*self._second, *others)]
        units += self.failed
        return sorted(units, key=lambda item: (item.start_time, item.key), reverse=True)

    @cached_property
    def _second(self) -> list[Snapshot]:
        """The second copies of one original: two runs have made it, or one whose answer was lost."""
        return [item for item in self.living if self.copied[original_of(item)] is not item]

    @cached_property
    def _source_sets(self) -> dict[str, Unit]:
        """By the mark of a set, its original."""
        return {set_mark(unit.group, unit.start_time): unit for unit in self.sources if is_set(unit)}

    # --- what is to be copied ---

    @property
    def wanted(self) -> list[Unit]:
        """The originals of which a copy is missing and can be made, the oldest first."""
        return [] if self._no_key or self._no_account else self._missing

    @cached_property
    def _no_key(self) -> str:
        """Return why the key of the place is unusable, or an empty text, also if KMS does not tell."""
        key = self.copy.kms_key_id
        if key is None or self.state.fact(f"{self.copy.place}/{key}/key", self.copy.place) != "":
            return ""
        return (
            f"copies to {self.copy.where}: kms_key_id: {key} is not an enabled KMS key there. Give the ARN, the id "
            "or the alias (alias/…) of one"
        )

    @cached_property
    def _missing(self) -> list[Unit]:
        """The originals whose copy the rules would keep and which is not there whole, the oldest first."""
        missing = {
            unit.key: unit
            for unit in self.sources
            if any(item not in self.copied for item in unit.ids) and not self._unshareable(unit)
        }
        if not missing:
            return []
        left_out = exclusions(self.units, self.guards, self.now)
        counted = {
            unit.key: unit.candidate
            for unit in self.units
            if unit.group and not unit.doubt and (unit.key not in left_out or unit.state == "pending")
        }
        # A copy that is to be there counts as it will: as its original.
        coming = {key: unit.candidate for key, unit in missing.items()}
        decided = decide({**counted, **coming}.values(), self.copy.keep, self.now)
        wanted = (unit for key, unit in missing.items() if decided[key])
        return sorted(wanted, key=lambda one: (one.start_time, one.key))

    @cached_property
    def beginning(self) -> list[tuple[Unit, Snapshot]]:
        """The originals of which a copy is begun now, in order: as many as EC2 makes at once, or all with a wait."""
        missing = [
            (unit, item) for unit in self.wanted for item in unit.snapshots if item.snapshot_id not in self.copied
        ]
        room = IN_FLIGHT - sum(item.state == "pending" for item in self.living)
        return missing if self.waits else missing[: max(0, room)]

    @cached_property
    def begun(self) -> list[Change]:
        """The copies that this run begins, the oldest first."""
        values = tuple(self._copy_of(item) for _unit, item in self.beginning)
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
            self._change(unit, item, identities[number - number % 200])
            for number, (unit, item) in enumerate(self.beginning)
        ]

    @property
    def _here(self) -> str:
        """Return the beginning of the tag of copies from this region, and from this account for other accounts."""
        account = f"{self._accounts.of(None)}/" if self.account else ""
        return f"{account}{self.state.region}/"

    def _copy_of(self, source: Snapshot) -> str:
        return f"{self._here}{source.snapshot_id}"

    @staticmethod
    def _taken(unit: Unit, source: Snapshot) -> str:
        """When the original was taken. When EC2 starts to copy is of no interest."""
        name = source.snapshot_id
        return moment_of(name) if is_planned(name) else format_instant(unit.start_time)

    def _tags(self, unit: Unit, source: Snapshot) -> dict[str, str]:
        own = {
            tag_names.POLICY: self.spec.policy,
            tag_names.COPY_OF: self._copy_of(source),
            tag_names.SOURCE: source_of(source),
            tag_names.TAKEN: self._taken(unit, source),
        }
        along = {key: source.tags[key] for key in _ALONG if key in source.tags}
        own = {**self.spec.tags, **along, **own}
        # An adopted original may have as many tags as EC2 allows, without ours.
        others, _left_out = tag_names.with_room(own, carried(source.tags))
        return {**others, **own}

    def _description(self, unit: Unit, source: Snapshot) -> str:
        """Return the Description of a copy, which outlives its tags."""
        volume, instance = source_of(source), unit.group if is_set(unit) else ""
        name, region, taken = source.snapshot_id, self.state.region, self._taken(unit, source)
        record = capture_record(source)
        return copy_description(
            self.spec.policy,
            volume,
            instance,
            name,
            region,
            taken,
            account=self._accounts.of(None) if self.account else "",
            volumes=(record.volumes if record is not None else None) or 0,
            attached=record.attached if record is not None else "",
            slot=slot_value(record.slot) if record is not None and record.slot is not None else "",
        )

    def _change(self, unit: Unit, source: Snapshot, identity: Query) -> Change:
        tags, name = self._tags(unit, source), self._names.get(source.snapshot_id, source.snapshot_id)
        parameters: dict[str, Any] = {
            "SourceRegion": self.state.region,
            "SourceSnapshotId": source.snapshot_id,
            "Description": self._description(unit, source),
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
        """The place as it will be once all that is begun is completed."""
        made = {item.snapshot_id: change for (_unit, item), change in zip(self.beginning, self.begun, strict=True)}
        expected = []
        for unit in self.wanted:
            if all(item in self.copied or item in made for item in unit.ids):
                parts = [
                    self._as_made(made[original.snapshot_id], original)
                    if original.snapshot_id in made
                    else self.copied[original.snapshot_id]
                    for original in unit.snapshots
                ]
                expected.append(replace(unit, snapshots=tuple(parts), whole=True))
        becoming = {unit.key for unit in expected}
        pending = [unit for unit in self.units if unit.state == "pending" and not unit.doubt]
        awaited = [unit for unit in pending if unit.whole and unit.group]
        # A set of which a part was there is one of the two, and counts whole. So does one that nobody completes.
        coming = {unit.key for unit in self.wanted}
        units = [replace(unit, whole=unit.whole or unit.key not in coming) for unit in self.units]
        units = [unit for unit in units if unit.key not in becoming]
        holders = {snapshot_id: unit for unit in units for snapshot_id in unit.ids}
        repeated = [item for item in self._second if not self._doubt(item)]
        firsts = {item.snapshot_id: holders.get(self.copied[original_of(item)].snapshot_id) for item in repeated}
        second = {name: first for name, first in firsts.items() if first is not None}
        return Scene(
            self.copy.place,
            units,
            expected,
            awaited,
            failed=self.failed,
            second=second,
            known=self.known,
            waits=self.waits,
        )

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
        """Return the key that a copy will have; where nobody tells which that is, the one that the newest copy has."""
        if self.copy.kms_key_id is None and not source.encrypted:
            return None
        told = self.state.fact(f"{self.copy.place}/{self.copy.kms_key_id or DEFAULT_KEY}/key", self.copy.place)
        if told:
            return str(told)
        volume = source_of(source)
        keys = [item.kms_key_id for item in self.copied.values() if item.encrypted and source_of(item) == volume]
        return keys[0] if keys else None

    @property
    def coming(self) -> list[Snapshot]:
        """The copies that this run sees completed."""
        return [item for unit in self.scene.extra for item in unit.snapshots] if self.waits else []

    # --- what leans on what ---

    def depending(self, *, waits: bool) -> Iterator[tuple[str, str]]:
        """Yield the originals, by their unit's key, of which a copy is not seen completed in this run, and why they
        stay.

        *waits*: whether all that is begun is seen completed.
        """
        if waits:
            return
        pending = {original_of(item) for item in self.living if item.state == "pending"}
        for unit in self.sources:
            if pending.intersection(unit.ids):
                yield unit.key, f"its copy in {self.copy.where} is not completed yet"
        for unit in self.wanted:
            yield unit.key, f"its copy in {self.copy.where} is not completed yet"

    # --- other accounts ---

    @property
    def account(self) -> str:
        """The account of the other profile, when it is another one than the task's; else empty."""
        if not self.copy.profile:
            return ""
        theirs = self._accounts.of(self.copy.profile)
        return "" if theirs == self._accounts.of(None) else theirs

    def _unshareable(self, unit: Unit) -> str:
        """Return why EC2 refuses to share a part of the unit with the other account, or an empty text."""
        default = self.state.fact(f"{DEFAULT_KEY}/key")
        for item in unit.snapshots:
            if self.account and item.encrypted and default and item.kms_key_id == default:
                return (
                    f"{item.snapshot_id} cannot be copied to {self.copy.where}: it is encrypted with the default key "
                    f"of the account ({DEFAULT_KEY}), and EC2 shares no such snapshot. Encrypt its volume with a key "
                    "of your own that the other account may use"
                )
        return ""

    def refusals(self) -> list[str]:
        """Return why some wanted copies cannot be made."""
        if self._no_account:
            return [self._no_account]
        missing = [unit for unit in self.sources if any(item not in self.copied for item in unit.ids)]
        unshareable = [text for unit in missing if (text := self._unshareable(unit))]
        return [*unshareable, *([self._no_key] if self._no_key and self._missing else [])]

    def questions(self) -> Iterator[Query]:
        """Yield the queries for keys and, before originals are shared, for their present sharing."""
        begun = [item for _unit, item in self.beginning]
        key = self.copy.kms_key_id or DEFAULT_KEY
        # Without a wait nobody is interested in which key the default one is.
        if begun and (self.copy.kms_key_id is not None or (self.waits and any(item.encrypted for item in begun))):
            yield _key_query(key, self.copy.place)
        if not self.account:
            return
        if any(item.encrypted for unit in self.sources for item in unit.snapshots):
            yield _key_query(DEFAULT_KEY)
        yield from (
            replace(sharing(item.snapshot_id), optional=True) for item in begun if not is_planned(item.snapshot_id)
        )

    def to_share(self) -> list[Snapshot]:
        """Return the originals that are shared for the time of their copy: none that somebody has shared already."""
        found = []
        for _unit, item in self.beginning:
            allowed = self.state.fact(f"{item.snapshot_id}/shared") or ()
            lent = self.account in tag_names.lent_to(item.tags)
            if self.account and (lent or self.account not in allowed):
                found.append(item)
        return found

    def copies_under_way(self, source: Snapshot) -> Query:
        """Return the query that finds a copy of this original under way."""
        claim = ((f"tag:{tag_names.COPY_OF}", (self._copy_of(source),)), ("status", ("pending",)))
        return Query("DescribeSnapshots", claim, (("OwnerIds", ("self",)),), place=self.copy.place)

    def still_needed(self) -> set[str]:
        """Return the originals that must stay shared when this run ends: their copy is under way then."""
        if self.waits:
            return set()
        pending = {original_of(item) for item in self.living if item.state == "pending"}
        return pending | {item.snapshot_id for _unit, item in self.beginning}

    # --- the calls ---

    def stages(self) -> Iterator[Stage]:
        """Yield the stages that copy, one copy of each volume at a time, with a wait after as many as EC2 makes at
        once.
        """
        pending = tuple(item.snapshot_id for item in self.living if item.state == "pending") if self.waits else ()
        changes = list(zip((item for _unit, item in self.beginning), self.begun, strict=True))
        if pending:
            yield Stage(waits=(Wait(pending, "completed", place=self.copy.place),))
        for start in range(0, len(changes), IN_FLIGHT):
            some = changes[start : start + IN_FLIGHT]
            turn: Counter[str] = Counter()
            turns: dict[int, list[Change]] = defaultdict(list)
            for source, change in some:
                turns[turn[source_of(source)]].append(change)
                turn[source_of(source)] += 1
            waits = (
                (Wait(tuple(change.resource for _source, change in some), "completed", place=self.copy.place),)
                if self.waits
                else ()
            )
            for number, together in sorted(turns.items()):
                last = number == len(turns) - 1
                yield Stage(tuple(together), waits if last else (), patience=TOO_MANY if self.waits else frozenset())

    def taggings(self, gone: set[str]) -> Iterator[Change]:
        """Yield the changes that set the user's tags on copies without them."""
        for item in self.living:
            change, _left_out = self._tagging(item)
            if change is not None and item.snapshot_id not in gone:
                yield change

    def _tagging(self, item: Snapshot) -> tuple[Change | None, list[str]]:
        return tagging(item.snapshot_id, self.copy.place, item.tags, self.spec.tags, "tag as declared")

    def warnings(self) -> Iterator[str]:
        """Yield warnings about failed copies, with EC2's reason, and about tags that do not fit on copies."""
        for item in self.living:
            _change, left = self._tagging(item)
            if left:
                yield no_room(item.snapshot_id, left)
        if self.unproven:
            found = "; ".join(bounded(f"{name}: {why}" for name, why in sorted(self.unproven.items())))
            yield (
                f"copies to {self.copy.where}: these have the tags of copies of the policy {self.spec.policy}, but "
                f"are none. They do not count and are kept. Remove their tag {tag_names.COPY_OF}. {found}."
            )
        if self.unplaced:
            found = "; ".join(bounded(f"{name}: {why}" for name, why in sorted(self.unplaced.items())))
            yield (
                f"copies to {self.copy.where}: nothing proves that the originals of {len(self.unplaced)} copies were "
                "in this account. These copies do not count and are kept. Delete those that you do not need. "
                f"{found}."
            )
        for unit in self.failed:
            for item in unit.snapshots:
                yield (
                    f"the copy {item.snapshot_id} of {original_of(item)} in {self.copy.where} has failed: "
                    f"{item.state_reason or 'EC2 does not say why'}. It is deleted, and the next run copies again if "
                    "the rules want it"
                )

    def doubts(self, excluded: Mapping[str, str]) -> Iterator[str]:
        """Yield the copies whose originals are gone and that stay because only tags say when they were taken.

        *excluded*: by unit's key, why it takes part in no rule.
        """
        found = [
            f"{' '.join(unit.ids)}: {unit.doubt}"
            for unit in self.units
            if unit.doubt
            and unit.state == "completed"
            and unit.key in excluded
            and original_of(unit.snapshots[0]) not in self._homes
        ]
        if found:
            yield (
                f"copies to {self.copy.where}: nothing proves when the data of {len(found)} copies was taken. They "
                "replace no other copy, and are kept until newer ones meet all rules. Delete those that you do not "
                f"need. {'; '.join(bounded(found))}."
            )

    # --- what is told ---

    def recovery_point(self, group: str, *, as_is: bool) -> Unit | None:
        """Return the newest good copy of what *group* is; *as_is* without what this run makes."""
        there = self._newest.get(group)
        coming = None if as_is or not self.waits else self._coming.get(group)
        return max((one for one in (there, coming) if one is not None), key=_age, default=None)

    @cached_property
    def _newest(self) -> dict[str, Unit]:
        good = [unit for unit in self.units if unit.state == "completed" and not unit.archived and not unit.doubt]
        return {unit.group: unit for unit in sorted(good, key=_age)}

    @cached_property
    def _coming(self) -> dict[str, Unit]:
        return {unit.group: unit for unit in sorted(self.scene.extra, key=_age)}


def _age(unit: Unit) -> tuple[datetime, str]:
    return unit.start_time, unit.key


def _best_first(snapshot: Snapshot) -> tuple[bool, float, str]:
    start = snapshot.start_time.timestamp() if snapshot.start_time else 0.0
    return (snapshot.state != "completed", start, snapshot.snapshot_id)
