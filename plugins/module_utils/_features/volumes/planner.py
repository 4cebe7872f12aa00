# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes of a declaration: which to create, modify, move, swap, detach or delete.

Changes without an interruption come first. If volumes must be detached from running instances, these follow: a hold,
the stop, the detach, snapshots, copies, the attachments and the start. Only then replaced volumes are given up. From
the first detach to the last attachment every failure is rolled back.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..._domain.attachments import attachment_limit
from ..._domain.device_names import device_letters
from ..._domain.hold import forget, has_passing_address, hold_of, lost_address, wants_start
from ..._domain.instance_facts import type_facts, type_queries
from ..._domain.power_cycle import running_of, stop_queries, stop_troubles
from ..._domain.succession import successor, successor_queries
from ..._domain.volume_changes import capture_of, snapshot_deletion
from ..._kernel import proofs
from ..._kernel import tags as tag_names
from ..._kernel.display import counted
from ..._kernel.errors import Ambiguous, Incomplete, SpecError, StorageError, UnsafePlan, bounded, listed
from ..._kernel.ids import is_planned, kind_of, planned
from ..._kernel.plan import Change, Feature, Plan, Wait
from ..._kernel.resources import Instance, Snapshot, Volume, VolumeAttachment, view
from ..._kernel.state import Query, State, by_id, own_snapshots, tag_filters
from ..._kernel.tags import carried, replaces_value, specification
from .drift import (
    IN_PROGRESS,
    Drift,
    coming,
    compare,
    creation,
    key_arn,
    key_query,
    modification,
    modification_query,
    modify_request,
    shown,
)
from .identity import (
    Match,
    Target,
    boots,
    first_queries,
    gone_queries,
    kept_group_queries,
    matches,
    proof_queries,
    replaced_by,
    strangers,
)
from .involved import involved
from .places import (
    WAS_AT_QUERY,
    Devices,
    Place,
    declared_places,
    deleted_with,
    places_of,
    places_tags,
    recorded_places,
    require_in_region,
    require_supported_site,
)
from .result import result
from .spec import VolumesSpec, parse
from .stages import COOLDOWN, Draft, Move, plain

ARCHIVE = "archive"
"""The tier of a snapshot from which EBS makes no volume. One that is restored for a time is in the standard tier."""

_BY_OTHER_MEANS = "Attach and replace it by other means, then declare it by its volume_id"


def plan(spec: VolumesSpec, state: State, now: datetime) -> Plan:
    """Return the plan that makes the declaration hold. Raises SpecError, Ambiguous, UnsafePlan.

    Three queries suffice for a declaration without drift. More are asked only about changes.
    """
    state.require(*first_queries(spec))
    state.require(*proof_queries(spec, state), *gone_queries(spec, state))
    state.require(*kept_group_queries(spec, state))
    found = _pass(spec, state, now)
    state.require(*found.questions())
    return found.plan()


def _pass(spec: VolumesSpec, state: State, now: datetime) -> _Pass:
    """Return the pass over all entries that are not refused. Raises SpecError and UnsafePlan for bad input of the
    others.

    An entry that only tags lead to its volume, or to none, ends no run. The pass starts again without it.
    """
    refused: dict[int, StorageError] = {}
    while True:
        found = _Pass(spec, state, now, refused=refused)
        if not found.failed:
            return found
        refused = {**refused, **found.failed}


# --- one volume's part of the plan -----------------------------------------------------------------------------------


@dataclass
class _Pass(Draft):
    """A comparison of the declaration with EC2. One pass over the volumes fills the lists, and `plan` orders them.

    The entries ask side by side. The pass notes its queries in ``asked`` and goes on without the answers. Its plan
    counts once all of `questions` is answered.
    """

    matches: tuple[Match, ...] = ()
    asked: list[Query] = field(default_factory=list)
    freed: set[tuple[str, str]] = field(default_factory=set)
    refusals: list[StorageError] = field(default_factory=list)
    refused: Mapping[int, StorageError] = field(default_factory=dict)
    failed: dict[int, StorageError] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = matches(self.spec, self.state)
        self.matches = tuple(
            replace(match, refused=self.refused.get(number, match.refused)) for number, match in enumerate(found)
        )
        self.devices = Devices(self.spec, self.state, self.matches)
        for number, match in enumerate(self.matches):
            try:
                self._one(match)
            except StorageError as error:
                if not match.is_told_by_tags:
                    raise
                self.failed[number] = error
        if self.spec.purge_volumes and self.refusals:
            self.warnings.append("purge_volumes: no volume is detached, since an entry is refused")
        elif self.spec.purge_volumes:
            self._purge()
        self.warnings += _no_longer_declared(self._orphans())

    # --- what else has to be known ---

    @property
    def _is_settled(self) -> bool:
        """Return whether all queries so far are answered. Nothing is refused before."""
        return self.state.knows(*self.asked)

    def questions(self) -> Iterator[Query]:
        """Yield the queries that the pass needed so far."""
        holders = {link.instance_id for links in self.leaving.values() for link in links}
        holders.update(
            link.instance_id for match in self.matches for link in (match.volume.attachments if match.volume else ())
        )
        holders.update(
            place.instance_id
            for match in self.matches
            for volume in (match.volume, *match.replaced)
            if volume is not None
            for place in recorded_places(volume)
        )
        unknown = sorted(item for item in holders if self.state.instance(item) is None)
        yield from by_id("DescribeInstances", "instance-id", unknown)
        yield from self.asked
        stopping = self._stopping()
        yield from stop_queries(stopping, lose_instance_store=self.spec.lose_instance_store)
        joined = {str(change.parameters["InstanceId"]) for change in self.attaches}
        types = {item.instance_type for name in joined if (item := self.state.instance(name)) is not None}
        yield from type_queries(*sorted(types))
        yield from successor_queries(joined.intersection(item.instance_id for item in self._at_rest(joined)))

    # --- one entry ---

    def _one(self, match: Match) -> None:
        refused = match.refused or self._unproven(match)
        if refused is not None:
            self.warnings += match.doubts
            self.refusals.append(refused)
            return
        for stale in match.stale:
            self.cleanup.append(self._delete(stale, "delete the leftover of an interrupted run"))
        volume = match.volume
        state = match.target.spec.state
        self.warnings += match.doubts
        if match.copies:
            copies = listed(item.volume_id for item in match.copies)
            verb = "carries" if len(match.copies) == 1 else "carry"
            self.warnings.append(
                f"{match.target.label}: {copies} {verb} the tags of {match.name} too. Remove {tag_names.SPEC} and "
                f"{tag_names.VOLUME} from the copies, so that tasks find the volume by its name"
            )
        for old in match.replaced:
            self._finish(match, old, volume.volume_id if volume is not None else "")
        if volume is None:
            if state == "present":
                self._create(match)
        elif state == "present":
            self._converge(match, volume)
        else:
            self._take_off(match, volume)
        if volume is not None and volume.operator is not None:
            self._require_untouched(match, volume)

    def _unproven(self, match: Match) -> StorageError | None:
        """Return why the entry is refused: only tags say that this is its volume, and more than tags would change."""
        volume, target = match.volume, match.target
        if not match.unproven or volume is None:
            return None
        links = {link.instance_id: link for link in volume.attachments if not link.leaving}
        if target.spec.state == "detached":
            as_declared = not target.instance_ids & set(links) if target.instances else not links
        else:
            device, flag = target.spec.device_name, target.spec.delete_on_termination
            drift = compare(match, self.state)
            as_declared = set(links) == target.instance_ids and not (drift.modify or drift.swap or drift.never)
            as_declared = as_declared and all(
                device is None or device_letters(device) == device_letters(link.device_name) for link in links.values()
            )
            flags = {deleted_with(self.state, volume, link.instance_id) for link in links.values()}
            as_declared = as_declared and flags <= {flag if flag is not None else True, flag or False}
        if as_declared:
            return None
        return Ambiguous(
            f"{target.label}: the tag {tag_names.REPLACES} says that {volume.volume_id} has replaced "
            f"{target.spec.volume_id}, and nothing proves that any more. To change {volume.volume_id}, name it by its "
            f"own id. To go back to {target.spec.volume_id}, remove that tag"
        )

    def _require_untouched(self, match: Match, volume: Volume) -> None:
        """Raise UnsafePlan for a change of a volume that a service manages, since EC2 refuses it.
        Do not tag it either.
        """
        self.in_place = [one for one in self.in_place if (one.action, one.resource) != ("CreateTags", volume.volume_id)]
        lists = (self.in_place, self.detaches, self.modifications, self.snapshots, self.attaches, self.deletions)
        if any(change.resource == volume.volume_id for changes in lists for change in changes):
            raise UnsafePlan(
                f"{match.target.label}: {volume.volume_id} is managed by {volume.operator} and differs from its "
                "entry. Change it through that service"
            )

    def _converge(self, match: Match, volume: Volume) -> None:
        if volume.state == "error":
            # It may have held data for years, or never have been made: EC2 shows no difference.
            raise UnsafePlan(
                f"{match.target.label}: {volume.volume_id} is in the state error, since EBS has lost it or could not "
                "create it. To get a new one, first delete this one with state: absent and final_snapshot: false"
            )
        self.asked += key_query(match)
        wanted_key = match.target.spec.kms_key_id
        if wanted_key is not None and volume.encrypted and key_arn(self.state, wanted_key) is None:
            self.warnings.append(
                f"{match.target.label}: KMS does not tell the key {wanted_key}, so it is not compared with "
                f"{volume.kms_key_id}"
            )
        drift = compare(match, self.state)
        if drift.swap:
            require_in_region(match.target.label, volume, _BY_OTHER_MEANS)
        self._require_mendable(match, drift)
        self._settle(volume)
        if drift.swap:
            self._swap(match, volume)
            return
        self._tag(match, volume)
        apart = self._apart(match, volume, drift)
        moving = self._place(match, volume, apart=apart)
        self._modify(match, volume, drift, moving=moving, apart=apart)

    def _apart(self, match: Match, volume: Volume, drift: Drift) -> bool:
        """Return whether the volume comes off everywhere for its modification.

        EBS user guide, "Multi-Attach": io2 gets it only while the volume is not attached. Raises UnsafePlan where the
        modification may be deferred, since the volume would be detached in vain.
        """
        enabled, _was = drift.modify.get("multi_attach_enabled", (False, False))
        if not enabled or not volume.attachments:
            return False
        if self.spec.on_cooldown == "defer":
            raise UnsafePlan(
                f"{match.target.label}: multi_attach: only a detached volume gets it, so {volume.volume_id} cannot "
                "defer it. Use on_cooldown: wait or fail"
            )
        return True

    def _require_mendable(self, match: Match, drift: Drift) -> None:
        label = match.target.label
        volume_id = match.volume.volume_id if match.volume else ""
        wanted, actual = drift.never.get("size", (0, 0))
        if wanted < actual:
            raise SpecError(
                f"{label}: size: {wanted} GiB is smaller than {volume_id} ({actual} GiB), and EBS cannot shrink a "
                f"volume. Use {actual} or more"
            )
        if match.volume is not None and drift.never and "encrypted" not in drift.never:
            volume = match.volume
            held = listed(link.instance_id for link in volume.attachments) or "no instance"
            raise SpecError(
                f"{label}: {shown(drift.never)}: EBS does not make this change to {volume_id}, which is of type "
                f"{volume.volume_type}, multi_attach {volume.multi_attach_enabled}, on {held}. "
                f"{_multi_attach_rule(volume, drift)}"
            )
        if drift.never:
            raise SpecError(f"{label}: neither EBS nor a swap can change {volume_id}: {shown(drift.never)}")
        if drift.swap and match.is_root:
            raise UnsafePlan(f"{label}: {volume_id} differs ({shown(drift.swap)}), and a root volume is never swapped")
        if drift.swap and not self.spec.replace:
            raise UnsafePlan(
                f"{label}: EBS cannot change {volume_id} in place: {shown(drift.swap)}. Set replace: snapshot to "
                "swap it for a copy"
            )

    # --- made ---

    def _create(self, match: Match) -> None:
        target, name = match.target, match.name
        snapshot_id = self._source(target)
        self.asked += (Query("GetEbsEncryptionByDefault"), *key_query(match, using=True))
        sourced = target.spec.snapshot_id is not None or target.spec.snapshot_tags is not None
        if sourced and self.state.snapshot(snapshot_id) is None:
            return
        tags = {**(target.spec.tags or {}), **_identity(target, name)}
        new = planned("volume", f"{target.group}/{name}")
        reason = f"create volume {name} for {target.group}"
        if snapshot_id is not None:
            reason += f" from {snapshot_id}"
        change = self._creation(match, new, tags, reason, snapshot_id=snapshot_id)
        self.in_place.append(change)
        self.in_place_waits.append(Wait((new,), "volume_available", final=not target.instances))
        links: list[VolumeAttachment] = []
        for instance in target.instances:
            links = self._attach(match, new, instance, self.devices.choose(match, instance), links)

    def _source(self, target: Target) -> str | None:
        """Return the snapshot that the entry names. Raises SpecError if it does not exist."""
        spec = target.spec
        if spec.snapshot_id is not None:
            self.asked += by_id("DescribeSnapshots", "snapshot-id", [spec.snapshot_id])
            found = self.state.snapshot(spec.snapshot_id)
            if self._is_settled and (found is None or found.state != "completed"):
                seen = "does not exist" if found is None else f"is {found.state}"
                raise SpecError(f"{target.label}: snapshot_id: {spec.snapshot_id} {seen} in {self.state.region}")
            if self._is_settled and found is not None and found.storage_tier == ARCHIVE:
                raise SpecError(
                    f"{target.label}: snapshot_id: {spec.snapshot_id} is archived. Restore it first, with aws ec2 "
                    "restore-snapshot-tier"
                )
            return spec.snapshot_id
        if spec.snapshot_tags is None:
            return None
        self.asked.append(own_snapshots(spec.snapshot_tags))
        fitting = [
            snapshot
            for snapshot in self.state.all(Snapshot)
            if snapshot.state == "completed"
            and all(snapshot.tags.get(key) == value for key, value in spec.snapshot_tags.items())
            and snapshot.start_time is not None
            and (spec.snapshot_before is None or snapshot.start_time < spec.snapshot_before)
        ]
        fitting.sort(key=lambda item: (item.start_time, item.snapshot_id), reverse=True)
        usable = [snapshot.snapshot_id for snapshot in fitting if snapshot.storage_tier != ARCHIVE]
        if usable:
            newest = fitting[0].snapshot_id
            if newest != usable[0]:
                self.warnings.append(f"{target.label}: made from {usable[0]}, since {newest} is archived")
            return usable[0]
        if self._is_settled:
            raise SpecError(self._nothing_to_make_from(target, [snapshot.snapshot_id for snapshot in fitting]))
        return None

    def _nothing_to_make_from(self, target: Target, archived: Sequence[str]) -> str:
        """Return the message for an entry whose tags no usable snapshot has. *archived* snapshots have them."""
        spec = target.spec
        wanted = ", ".join(f"{key}={value}" for key, value in sorted((spec.snapshot_tags or {}).items()))
        before = f" from before {spec.snapshot_before}" if spec.snapshot_before is not None else ""
        text = f"{target.label}: snapshot: no completed snapshot{before} in {self.state.region} has {wanted}"
        if archived:
            text += f" and is not archived. First restore one of {listed(archived)}"
        return text

    def _creation(
        self,
        match: Match,
        new: str,
        tags: Mapping[str, str],
        reason: str,
        *,
        old: Volume | None = None,
        snapshot_id: str | None = None,
    ) -> Change:
        target = match.target
        require_supported_site(target)
        if not target.instances:
            self.asked += by_id("DescribeAvailabilityZones", "zone-name", [target.zone])
            if self._is_settled and not self.state.fact(f"{target.zone}/zone"):
                raise SpecError(f"availability_zone: there is no zone {target.zone} in {self.state.region} to use")
        request, after = creation(target, tags, self.state, old=old, snapshot_id=snapshot_id)
        request["TagSpecifications"] = [specification("volume", tags)]
        own = tag_filters({key: tags[key] for key in (tag_names.SPEC, tag_names.VOLUME)})
        return Change(
            "CreateVolume",
            new,
            self.state.region,
            request,
            reason,
            None,
            after,
            identity=Query("DescribeVolumes", own),
            token=(target.group, match.name, target.zone, snapshot_id or "", old.volume_id if old else ""),
        )

    # --- changed in place ---

    def _tag(self, match: Match, volume: Volume) -> None:
        """Set the user's tags and, on a volume that its tags did not identify, the identity."""
        target = match.target
        wanted = dict(target.spec.tags or {})
        identity = {} if match.is_root and target.spec.name == "root" else _identity(target, match.name)
        late = match.how == "volume_id" and bool(volume.attachments or target.instances)
        if not late:
            wanted.update(identity)
        self.add_tags(self.in_place, volume, wanted, "tag as declared")
        self.warnings += _leaving(match, volume, self.state)
        if late:
            # Named by its id, so it is found again without them; until it is in its place it stays what it was.
            self.add_tags(self.endings[0], volume, identity, "tag as the volume of this entry")
        if self.spec.purge_tags and target.spec.tags is not None:
            surplus = sorted(key for key in carried(volume.tags) if key not in wanted)
            self.remove_tags(self.untagging, volume, surplus, "purge_tags")

    def _modify(self, match: Match, volume: Volume, drift: Drift, *, moving: bool, apart: bool = False) -> None:
        """Plan ModifyVolume for the whole drift: before the interruption or, if *apart*, while the
        volume is detached.
        """
        latest = modification(self.state, volume)
        if drift.modify:
            self.asked.append(modification_query(volume))
        request = modify_request(match, drift)
        several = moving and (volume.attachments or len(match.target.instances) > 1)
        if "MultiAttachEnabled" in request and several and self.spec.on_cooldown == "defer":
            raise UnsafePlan(
                f"{match.target.label}: {volume.volume_id} needs multi_attach before a second attachment, so it "
                "cannot defer it. Use on_cooldown: wait"
            )
        if not request:
            if latest.get("state") == "modifying":
                # What is wanted is on its way already.
                self.in_place_waits.append(Wait((volume.volume_id,), "modified", final=not moving))
            return
        reason, actual = shown(drift.modify), coming(self.state, volume)
        if latest.get("state") in IN_PROGRESS:
            if self.spec.on_cooldown == "defer":
                return
            if self.spec.on_cooldown == "fail":
                raise UnsafePlan(
                    f"{match.target.label}: {volume.volume_id} cannot be changed now ({reason}). A modification is "
                    f"{latest['state']} ({latest.get('progress') or 0} % done). Set on_cooldown: wait, or "
                    "on_cooldown: defer to change it later"
                )
            self.cooling.append(volume.volume_id)
        if latest:
            reason += "; EC2 decides whether the volume's modifications of the last 24 hours allow it"
        changes, waits = (
            (self.modifications, self.modification_waits) if apart else (self.in_place, self.in_place_waits)
        )
        changes.append(
            Change(
                "ModifyVolume",
                volume.volume_id,
                self.state.region,
                request,
                reason,
                dict(actual),
                {**actual, **{name: wanted for name, (wanted, _actual) in drift.modify.items()}},
                identity=modification_query(volume),
                deferrable=COOLDOWN if self.spec.on_cooldown == "defer" else frozenset(),
            )
        )
        waits.append(Wait((volume.volume_id,), "modified", final=not moving))

    # --- attached where it shall be ---

    def _place(self, match: Match, volume: Volume, *, apart: bool = False) -> bool:
        """Plan the attachments to make and to end. If *apart*, all present ones end and come back.

        Returns whether this run attaches anything.
        """
        target = match.target
        known = {link.instance_id: link for link in volume.attachments}
        was_at = declared_places(target, volume) or (declared_places(target, match.old) if match.old else ())
        places = {place.instance_id: place for place in was_at}
        self.warnings += _forgotten_flags(match, (volume, match.old))
        leaving = [] if match.is_root else list(strangers(match, self.state))
        wanted = {instance.instance_id for instance in target.instances}
        # These end without this run: with their instance, or since an earlier run has asked for it.
        ending = [
            link for link in volume.attachments if self._is_dead(link) or (link.leaving and link.instance_id in wanted)
        ]
        joining: list[Instance] = []
        for instance in target.instances:
            link = known.get(instance.instance_id)
            device = target.spec.device_name
            if link is None or link.leaving:
                joining.append(instance)
            elif apart or (
                device is not None and device_letters(device) != device_letters(link.device_name) and not match.is_root
            ):
                leaving.append(link)
                joining.append(instance)
            else:
                if link.state != "attached":
                    self.attach_waits.append(Wait((volume.volume_id,), "attached", about=instance.instance_id))
                self._flag(match, volume, link)
        if joining:
            require_in_region(target.label, volume, _BY_OTHER_MEANS)
            self._ready(volume)
        # A new one that comes off its place has been written to, so nothing goes back to the old one.
        if match.old is not None and match.old.volume_id in match.proven and joining and not leaving:
            # The old one is off already: if the new one cannot take its place, it goes back to it.
            snapshot_id = self._source_of_copy(match.old, volume)
            self.moves.append(Move(match.old, declared_places(target, match.old), volume.volume_id, snapshot_id))
        if leaving:
            back = tuple(
                Place(link.instance_id, link.device_name, deleted_with(self.state, volume, link.instance_id))
                for link in leaving
            )
            if joining:
                self.moves.append(Move(volume, back))
                self._mark(volume, places_of(self.state, volume))
        if leaving or ending:
            why = ", since EBS enables multi_attach only for a volume that is not attached" if apart else ""
            self._detach(match, volume, [*leaving, *ending], why)
        remaining = [link for link in volume.attachments if link not in leaving and link not in ending]
        for instance in joining:
            link = known.get(instance.instance_id)
            was = places.get(instance.instance_id)
            device = was.device_name if was else link.device_name if apart and link is not None else None
            remembered = link is not None and link.delete_on_termination
            remaining = self._attach(
                match,
                volume.volume_id,
                instance,
                self.devices.choose(match, instance, device),
                remaining,
                remembered=remembered,
            )
        self.remove_tags(self.endings[2], volume, tag_names.WAS_AT, "remove the marks of the move")
        if tag_names.SWAP in volume.tags:
            self._end_swap(match, volume.volume_id, volume)
        return bool(joining)

    def _source_of_copy(self, old: Volume, new: Volume) -> str:
        """Return the temporary snapshot of a swap that *new* was made from, or an empty text."""
        sources = (
            item.snapshot_id
            for item in self._snapshots(old, tag_names.SWAP)
            if item.snapshot_id == new.snapshot_id
            and (proofs.is_temporary(item, old.volume_id) or self._is_superseded(old, item))
        )
        return next(sources, "")

    def _end_swap(self, match: Match, new: str, volume: Volume | None = None) -> None:
        """Remove the swap's tag from the copy, before or after the proof of a deletion in its favour.

        *volume*: the copy, if an earlier run made it. That run may have deleted the replaced volume, but not its
        snapshot.
        """
        untagged = self.untagged(new, (tag_names.SWAP,), "remove the marks of the move")
        old_id = volume.tags.get(tag_names.SWAP, "") if volume is not None else ""
        unfinished = {old.volume_id for old in match.replaced}
        if volume is not None and kind_of(old_id) == "volume" and old_id not in unfinished:
            self.asked.append(own_snapshots({tag_names.SWAP: old_id}))
            for item in self.state.all(Snapshot):
                tags = item.tags
                mine = item.snapshot_id == volume.snapshot_id and proofs.is_temporary(item, old_id)
                if mine and tags.get(tag_names.SWAP) == old_id and tag_names.FINAL not in tags:
                    self.leftovers.append(self._forgotten(old_id, item.snapshot_id))
        (self.leftovers or self.endings[2]).append(untagged)

    def _ready(self, volume: Volume) -> None:
        """Wait for a volume that is being created, or whose modification has not taken effect. EC2 does not attach it
        before.
        """
        self.asked.append(modification_query(volume))
        for tag in (tag_names.FINAL, tag_names.SWAP):
            self.asked.append(_snapshot_query(volume, tag))
            self._outdate(volume, self._snapshots(volume, tag))
        if modification(self.state, volume).get("state") == "modifying":
            self.settling.append(Wait((volume.volume_id,), "modified"))

    def _settle(self, volume: Volume) -> None:
        """Wait for a volume that is being created. EC2 does not change it before."""
        if volume.state == "creating":
            self.settling.append(Wait((volume.volume_id,), "volume_available"))

    def _is_dead(self, link: VolumeAttachment) -> bool:
        holder = self.state.instance(link.instance_id)
        return holder is not None and not holder.alive

    def _attach(
        self,
        match: Match,
        volume_id: str,
        instance: Instance,
        device: str,
        others: Sequence[VolumeAttachment] = (),
        *,
        remembered: bool = False,
    ) -> list[VolumeAttachment]:
        """Plan the attachment. Return all attachments after it."""
        require_supported_site(match.target)
        self.devices.require_usable(match, instance)
        links = [*others, VolumeAttachment(instance.instance_id, device)]
        self.attaches.append(
            Change(
                "AttachVolume",
                volume_id,
                self.state.region,
                {"InstanceId": instance.instance_id, "Device": device},
                f"attach volume {match.name} to {instance.instance_id}",
                {"state": "available" if not others else "in-use", "attachments": [plain(link) for link in others]},
                {"state": "in-use", "attachments": [plain(link) for link in links]},
            )
        )
        self.attach_waits.append(Wait((volume_id,), "attached", about=instance.instance_id))
        self.labels[volume_id] = match.target.label
        if instance.state in ("pending", "stopping"):
            goal = "running" if instance.state == "pending" else "stopped"
            self.settling.append(Wait((instance.instance_id,), goal))
        said = match.target.spec.delete_on_termination
        if remembered if said is None else said:
            self.flags[instance.instance_id][device] = True
        return links

    def _flag(self, match: Match, volume: Volume, link: VolumeAttachment) -> None:
        """Set delete-on-termination of an attachment that stays, if the entry has it.

        The tag's claim does not count, since a volume that outlives its instance harms nobody.
        """
        wanted = match.target.spec.delete_on_termination
        if wanted is not None and wanted != deleted_with(self.state, volume, link.instance_id):
            self.flags[link.instance_id][link.device_name] = wanted

    # --- taken off ---

    def _detach(self, match: Match | None, volume: Volume, links: Iterable[VolumeAttachment], why: str = "") -> None:
        remaining = list(volume.attachments)
        label = match.target.label if match is not None else "purge_volumes"
        for link in links:
            holder = self.state.instance(link.instance_id)
            if holder is not None and boots(holder, volume):
                raise UnsafePlan(
                    f"{label}: {volume.volume_id} is the root volume of {holder.instance_id}, which is never detached"
                )
            remaining = [item for item in remaining if item != link]
            self.detach_waits.append(Wait((volume.volume_id,), "detached", about=link.instance_id))
            if holder is not None and not holder.alive:
                continue  # EC2 ends the attachment itself
            self.freed.add((volume.volume_id, link.instance_id))
            if link.leaving and not (link.state == "busy" and self.spec.in_use == "stop"):
                continue  # a stop ends what is busy; else it is unmounted on the machine
            self.leaving[link.instance_id].append(link)
            running = holder is not None and bool(running_of([holder]))
            if running and self.spec.in_use == "stop":
                self._mark(volume, places_of(self.state, volume))
            if running and self.spec.in_use == "refuse" and self._is_settled:
                raise UnsafePlan(
                    f"{label}: {volume.volume_id} must be detached from {link.instance_id}, which is running{why}. "
                    "Set in_use: stop to stop that instance, or in_use: detach to detach it from the running system"
                )
            if holder is not None and holder.state == "stopping":
                # Until it has stopped, it writes.
                self.settling.append(Wait((holder.instance_id,), "stopped"))
            if link.state == "attaching":
                self.settling.append(Wait((volume.volume_id,), "attached", about=link.instance_id))
            if link.leaving:
                continue
            self.detaches.append(
                Change(
                    "DetachVolume",
                    volume.volume_id,
                    self.state.region,
                    {"InstanceId": link.instance_id},
                    f"detach from {link.instance_id}{why}"
                    if match is not None
                    else "detach: no entry names the volume",
                    {"attachments": [plain(item) for item in (*remaining, link)]},
                    {
                        "state": "in-use" if remaining else "available",
                        "attachments": [plain(item) for item in remaining],
                    },
                    disruptive=running,
                )
            )

    def _take_off(self, match: Match, volume: Volume) -> None:
        """Plan ``state: detached`` and ``state: absent``."""
        target = match.target
        absent = target.spec.state == "absent"
        if match.is_root:
            raise UnsafePlan(f"{target.label}: {volume.volume_id} is a root volume, which is never detached or deleted")
        self._settle(volume)
        wanted = {instance.instance_id for instance in target.instances}
        links = [
            link
            for link in volume.attachments
            if absent or not wanted or link.instance_id in wanted or link in list(strangers(match, self.state))
        ]
        if links:
            self._detach(match, volume, links)
        self._forget_swap(volume, absent=absent)
        if absent:
            self._remove(match, volume)
            return
        self._tag(match, volume)
        self.remove_tags(self.endings[2], volume, tag_names.WAS_AT, "forget the former place")

    def _forget_swap(self, volume: Volume, *, absent: bool = False) -> None:
        """Clear the leftovers of an unfinished swap of a volume that is detached or deleted.

        With *absent* the new final snapshot replaces those that could be the final ones: see `_snapshot`.
        """
        if not recorded_places(volume):
            return
        self.asked.append(_snapshot_query(volume, tag_names.SWAP))
        for item in self._snapshots(volume, tag_names.SWAP):
            if volume.attachments or item.state == "error" or proofs.is_temporary(item, volume.volume_id):
                self._outdate(volume, (item,))
            elif not absent or item.tags.get(tag_names.FINAL) != volume.volume_id:
                self.remove_tags(self.cleanup, item, (tag_names.SWAP,), f"keep as a snapshot of {volume.volume_id}")

    def _remove(self, match: Match, volume: Volume) -> None:
        final = self.spec.final_snapshot
        if not final and volume.state != "error" and not _is_known_by_a_fact(match, volume):
            final = True
            self.warnings.append(
                f"{match.target.label}: final_snapshot: only tags say that {volume.volume_id} is {match.name}, so a "
                "final snapshot is taken. Name its volume_id or its device_name to delete it without one"
            )
        if final:
            self._snapshot(match, volume, tag_names.FINAL, _before_deletion(volume))
        self.deletions.append(self._delete(volume, f"delete volume {match.name} of {match.target.group}"))

    def _purge(self) -> None:
        """Detach the data volumes of the instances that no entry names."""
        named = {match.volume.volume_id for match in self.matches if match.volume is not None}
        named.update(old.volume_id for match in self.matches for old in match.replaced)
        wanted = set(self.spec.instance_ids)
        instances = [self.state.instance(instance_id) for instance_id in wanted]
        for volume in self.state.all(Volume):
            links = [link for link in volume.attachments if link.instance_id in wanted]
            if not links or volume.volume_id in named:
                continue
            if any(instance is not None and boots(instance, volume) for instance in instances):
                continue
            if volume.operator is not None:
                self.warnings.append(f"{volume.volume_id} is managed by {volume.operator}, so it is not detached")
                continue
            if self._is_of_another_spec(volume):
                self.warnings.append(
                    f"purge_volumes: {volume.volume_id} stays, since it belongs to the declaration "
                    f"{volume.tags[tag_names.SPEC]!r} as its volume {volume.tags.get(tag_names.VOLUME)!r}. Set "
                    "steal: true to detach it"
                )
                continue
            half = self._half_identity(volume)
            if half:
                self.warnings.append(
                    f"purge_volumes: {volume.volume_id} stays, since it {half}. Write the missing tag, or "
                    "remove the other"
                )
                continue
            if volume.tags.get(tag_names.SPEC) in self._groups:
                self.warnings += _no_longer_declared([volume])
            else:
                self.warnings += self._displaced(volume)
            self._detach(None, volume, links)
            self._forget_swap(volume)
            self.remove_tags(self.endings[2], volume, tag_names.WAS_AT, "forget the former place")
        for volume in self._purged():
            self.remove_tags(self.endings[2], volume, tag_names.WAS_AT, "forget the former place")

    def _half_identity(self, volume: Volume) -> str:
        """Return, as a verb phrase, that the volume lacks one of the two tags of this declaration, else an empty text.

        Somebody may have removed it, and EC2 does not show what the volume was declared as.
        """
        has = [key for key in (tag_names.SPEC, tag_names.VOLUME) if key in volume.tags]
        if len(has) != 1 or volume.tags.get(tag_names.SPEC, self._groups[0]) not in self._groups:
            return ""
        lost = tag_names.VOLUME if has == [tag_names.SPEC] else tag_names.SPEC
        return f"has the tag {has[0]}={volume.tags[has[0]]} but not {lost}"

    def _displaced(self, volume: Volume) -> Iterator[str]:
        """Yield a warning for each new volume that takes the place of one that the purge detaches.

        A declared volume that has lost its tags looks like one that nobody has declared.
        """
        instance_ids = {link.instance_id for link in volume.attachments}
        for change in self.attaches:
            if is_planned(change.resource) and change.parameters["InstanceId"] in instance_ids:
                yield (
                    f"{self.labels[change.resource]}: a new volume is attached, and purge_volumes detaches "
                    f"{volume.volume_id}, which has no tags of this declaration. If {volume.volume_id} is the "
                    "volume of this entry, name it in volume_id"
                )

    def _purged(self) -> list[Volume]:
        """Return the volumes that an interrupted purge has detached from these instances."""
        if not self.spec.purge_volumes:
            return []
        self.asked.append(WAS_AT_QUERY)
        named = {match.volume.volume_id for match in self.matches if match.volume is not None}
        named.update(old.volume_id for match in self.matches for old in match.replaced)
        wanted = set(self.spec.instance_ids)
        return [
            volume
            for volume in self.state.all(Volume)
            if volume.volume_id not in named
            and not volume.attachments
            and not self._is_of_another_spec(volume)
            and wanted.intersection(place.instance_id for place in recorded_places(volume))
        ]

    def _is_of_another_spec(self, volume: Volume) -> bool:
        """Return whether another declaration has the volume, and this task does not steal."""
        spec = volume.tags.get(tag_names.SPEC)
        return spec is not None and spec not in self._groups and not self.spec.steal

    @property
    def _groups(self) -> tuple[str, ...]:
        """The values of the tag `tags.SPEC` that stand for this declaration."""
        return self.spec.instance_ids if self.spec.group is None else (self.spec.group,)

    # --- no longer declared ---

    def _orphans(self) -> list[Volume]:
        """Return volumes with the name of a removed entry, if this run makes a new volume in their declaration.

        A volume from the snapshot in its entry is an additional restore, and no rename. An empty declaration
        leaves all its volumes behind. A purged volume has its own warning.
        """
        names = {(match.target.group, match.name) for match in self.matches}
        making = {
            match.target.group
            for match in self.matches
            if match.volume is None and match.target.spec.state == "present" and match.target.spec.snapshot_id is None
        }
        if not self.spec.volumes and not self.spec.purge_volumes:
            making.update(self._groups)
        named = {
            item.volume_id
            for match in self.matches
            if match.volume is not None
            for item in (match.volume, *match.replaced, *match.stale)
        }
        return [
            volume
            for volume in self.state.all(Volume)
            if volume.alive
            and volume.tags.get(tag_names.SPEC) in making
            and tag_names.VOLUME in volume.tags
            and (volume.tags[tag_names.SPEC], volume.tags[tag_names.VOLUME]) not in names
            and tag_names.REPLACED_BY not in volume.tags
            and volume.volume_id not in named
        ]

    # --- swapped ---

    def _require_all_named(self, match: Match, volume: Volume) -> None:
        """Raise UnsafePlan if a shared volume has other holders. Its swap detaches it everywhere, but attaches the copy
        only here.
        """
        named = {instance.instance_id for instance in match.target.instances}
        others = sorted({link.instance_id for link in volume.attachments} - named)
        if volume.multi_attach_enabled and others and not self.spec.steal:
            raise UnsafePlan(
                f"{match.target.label}: {volume.volume_id} is attached to {listed(others)} too, but its copy would "
                "not be. Name them in instance_ids too, or set steal: true"
            )

    def _swap(self, match: Match, volume: Volume) -> None:
        """Plan the exchange of the volume for its copy, which is made after the detach."""
        target = match.target
        if match.how == "device":
            # Once it is off, nothing but its tags says what it is.
            self.add_tags(self.in_place, volume, _identity(target, match.name), "tag as the volume of this entry")
        new = planned("volume", f"{target.group}/{match.name}")
        places = places_of(self.state, volume)
        self._require_all_named(match, volume)
        if places:
            self._mark(volume, places)
            self._detach(match, volume, volume.attachments)
        else:
            places = declared_places(target, volume)
        final = self.spec.delete_replaced and self.spec.final_snapshot
        reason = f"capture {volume.volume_id} for its copy"
        snapshot = self._snapshot(match, volume, tag_names.SWAP, reason, final=final)
        self.asked += (Query("GetEbsEncryptionByDefault"), modification_query(volume), *key_query(match, using=True))
        self.warnings += _leaving(match, volume, self.state)
        purged = self.spec.purge_tags and target.spec.tags is not None
        tags = {
            **({} if purged else carried(volume.tags)),
            **(target.spec.tags or {}),
            **_identity(target, match.name),
            tag_names.REPLACES: replaces_value(volume.volume_id, tag_names.replaced_ids(volume.tags)),
            # Until it is in its place: what a failed run leaves of it is of no use, and may be deleted.
            tag_names.SWAP: volume.volume_id,
        }
        drift = compare(match, self.state)
        change = self._creation(
            match, new, tags, f"replace {volume.volume_id}: {shown(drift.swap)}", old=volume, snapshot_id=snapshot
        )
        self.creates.append(change)
        self.create_waits.append(Wait((new,), "volume_available", final=not target.instances))
        self.moves.append(Move(volume, places, new, snapshot))
        links: list[VolumeAttachment] = []
        for instance in target.instances:
            was = next((place for place in places if place.instance_id == instance.instance_id), None)
            links = self._attach(
                match,
                new,
                instance,
                self.devices.choose(match, instance, was.device_name if was else None),
                links,
                remembered=was is not None and was.delete_on_termination,
            )
        self._finish(match, volume, new, snapshot)
        self._end_swap(match, new)

    def _finish(self, match: Match, old: Volume, new: str, snapshot: str = "") -> None:
        """Mark a replaced volume, and then release its name or delete it. Its snapshot becomes superfluous.

        *snapshot* is that of a swap in this run; without it, an earlier run may have taken one.
        """
        made = bool(snapshot)
        proven = made or old.volume_id in match.proven
        direct = made or (
            match.volume is not None and tag_names.replaced_ids(match.volume.tags)[:1] == (old.volume_id,)
        )
        if direct or kind_of(old.tags.get(tag_names.REPLACED_BY, "")) != "volume":
            mark = {tag_names.REPLACED_BY: new}
            self.add_tags(self.endings[1], old, mark, f"mark as replaced by {new}")
        deleted = self.spec.delete_replaced and proven
        if self.spec.delete_replaced and not proven:
            self.warnings.append(
                f"{match.target.label}: delete_replaced: {old.volume_id} is kept. EC2 shows no swap snapshot of it "
                f"that {new} was made from, so nothing proves that {new} is its copy. Delete it yourself"
            )
        final = deleted and self.spec.final_snapshot
        # Until the old one is gone, or marked, its snapshot proves the copy.
        last = deleted or not match.target.instances
        forgetting = self.leftovers if last else self.endings[0]
        stays = f"keep as the final snapshot of {old.volume_id}"
        if made and final:
            self.endings[0].append(self.untagged(snapshot, (tag_names.SWAP,), stays))
        elif made:
            forgetting.append(self._forgotten(old.volume_id, snapshot))
        else:
            self.asked.append(_snapshot_query(old, tag_names.SWAP))
            there = self._snapshots(old, tag_names.SWAP)
            if final:
                self._snapshot(match, old, tag_names.FINAL, _before_deletion(old), into=forgetting, final=True)
            self._give_up(old, there, forgetting, newer=final)
        if deleted:
            self.deletions.append(self._delete(old, f"delete: {new} is the copy (delete_replaced)"))
        else:
            own = (tag_names.SPEC, tag_names.VOLUME, *tag_names.WAS_AT)
            self.remove_tags(self.endings[2], old, own, f"release the name to {new}")

    def _forgotten(self, old_id: str, snapshot_id: str) -> Change:
        reason = f"delete: the copy of {old_id} is made"
        before = {"tags": {tag_names.SWAP: old_id}}
        return Change("DeleteSnapshot", snapshot_id, self.state.region, {}, reason, before, None)

    # --- snapshots of what is detached ---

    def _snapshots(self, volume: Volume, tag: str) -> list[Snapshot]:
        """Return the snapshots that runs took of the detached volume. A warning names others with the tag."""
        is_ours = proofs.is_swap_snapshot if tag == tag_names.SWAP else proofs.is_last_snapshot
        tagged = _tagged_snapshots(self.state, volume, tag)
        ours = [item for item in tagged if is_ours(item, volume.volume_id)]
        others = [item.snapshot_id for item in tagged if item not in ours]
        if others:
            word = proofs.SWAP_WORD if tag == tag_names.SWAP else proofs.FINAL_WORD
            self.warnings.append(
                f"{listed(others)}: no run took this as the {word} snapshot of {volume.volume_id}, although its tag "
                f"{tag} says so. It stays as it is. Remove its tag {tag}"
            )
        return ours

    def _snapshot(
        self,
        match: Match,
        volume: Volume,
        tag: str,
        reason: str,
        *,
        final: bool = False,
        into: list[Change] | None = None,
    ) -> str:
        """Plan a snapshot of the detached volume, and return its id.

        A snapshot of an earlier run never counts, since EC2 does not show whether the volume was attached since. The
        new one replaces it, and it is deleted with the changes *into*, or right after the new one is completed.
        *final*: for a swap that deletes the volume.
        """
        self.asked.append(_snapshot_query(volume, tag))
        self._give_up(volume, self._snapshots(volume, tag), self.endings[0] if into is None else into, newer=True)
        if volume.state == "error":
            raise UnsafePlan(
                f"{match.target.label}: {volume.volume_id} is in the state error, and EBS takes no snapshot of it. "
                "Set final_snapshot: false to delete it without one"
            )
        require_in_region(match.target.label, volume, "Delete it without a snapshot: final_snapshot: false")
        swap = tag == tag_names.SWAP
        word = proofs.SWAP_WORD if swap else proofs.FINAL_WORD
        purpose = proofs.Purpose.LAST_SWAP if final else proofs.Purpose.SWAP if swap else proofs.Purpose.FINAL
        tags = {**carried(volume.tags), **(match.target.spec.tags or {}), tag: volume.volume_id}
        if final:
            tags[tag_names.FINAL] = volume.volume_id
        change = capture_of(
            volume,
            word,
            self.state.region,
            reason,
            description=_description(match, purpose, volume),
            tags=tags,
            identity=_snapshot_query(volume, tag),
            older=_tagged_snapshots(self.state, volume, tag),
        )
        self.snapshots.append(change)
        self.snapshot_waits.append(Wait((change.resource,), "completed"))
        return change.resource

    def _give_up(self, volume: Volume, snapshots: Iterable[Snapshot], into: list[Change], *, newer: bool) -> None:
        """Delete snapshots that earlier runs took of the volume, with the changes *into*, as far as facts allow it.

        *newer*: this run takes a newer one, which EC2 accepts once pending ones are completed. A snapshot of an earlier
        version, or of a run long ago, may be a record of another time. It is kept, and a warning names it.
        """
        known = {change.resource for changes in (self.cleanup, into) for change in changes}
        for item in snapshots:
            if item.snapshot_id in known:
                continue
            if volume.attachments or item.state == "error":
                self._outdate(volume, (item,))
            elif proofs.is_temporary(item, volume.volume_id) or (newer and self._is_superseded(volume, item)):
                if newer and item.state == "pending":
                    self.settling.append(Wait((item.snapshot_id,), "completed"))
                reason = f"delete: {volume.volume_id} has a newer one" if newer else "delete: the copy is attached"
                into.append(snapshot_deletion(item, self.state.region, reason))
            else:
                self.remove_tags(into, item, (tag_names.SWAP,), f"keep as a snapshot of {volume.volume_id}")
                self.warnings.append(
                    f"{item.snapshot_id}: an earlier run took this snapshot of {volume.volume_id}, and nothing "
                    "proves that it is superfluous. It is kept. Delete it yourself if you do not need it"
                )

    def _is_superseded(self, volume: Volume, item: Snapshot) -> bool:
        return proofs.is_superseded(item, volume.volume_id, self.now)

    def _outdate(self, volume: Volume, snapshots: Iterable[Snapshot]) -> None:
        """Discard snapshots that are not the volume's final ones any more, since it was attached since, or will be.

        EC2 shows a pending snapshot until it is completed, even if it is deleted. So its tags are removed first, and no
        run looks at it again.
        """
        known = {change.resource for change in (*self.untagging, *self.cleanup)}
        for item in snapshots:
            if item.snapshot_id in known:
                continue
            failed = item.state == "error"
            reason = "discard the failed snapshot" if failed else f"discard: {volume.volume_id} may have newer data"
            of_swap = tag_names.SWAP in item.tags and proofs.is_swap_snapshot(item, volume.volume_id)
            temporary = proofs.is_temporary(item, volume.volume_id)
            useless = failed or temporary or (of_swap and self._is_superseded(volume, item))
            if item.state == "pending" or not useless:
                self.remove_tags(self.untagging, item, (tag_names.FINAL, tag_names.SWAP), reason)
            if useless:
                self.cleanup.append(snapshot_deletion(item, self.state.region, reason))

    # --- tags and deletions ---

    def _mark(self, volume: Volume, places: Sequence[Place]) -> None:
        """Record the volume's place before its detach."""
        if any(change.resource == volume.volume_id for change in self.marks):
            return
        reason = "record the place for the next run"
        self.add_tags(self.marks, volume, places_tags(places, volume.tags), reason)

    def _delete(self, volume: Volume, reason: str) -> Change:
        before = {key: view(volume)[key] for key in ("state", "size", "volume_type", "tags")}
        return Change("DeleteVolume", volume.volume_id, self.state.region, {}, reason, before, None, disruptive=True)

    # --- the whole ---

    def plan(self) -> Plan:
        """Return the plan. Raises UnsafePlan for a plan that EC2 would refuse, or without the user's consent."""
        for change in self.attaches:
            instance_id, device = change.parameters["InstanceId"], change.parameters["Device"]
            label = self.labels[change.resource]
            self.devices.require_free(label, change.resource, instance_id, device, self.freed)
        self._require_limits()
        self._require_unreplaced()
        stopping = self._stopping()
        self._require_stoppable(stopping)
        involved = self._involved(stopping)
        restored = [*stopping, *(item for item in involved if wants_start(item))]
        started = [item for item in involved if item.state in ("running", "pending") and self._is_over(item)]
        self.endings[0] += [forget(item, self.state.region, "end the hold") for item in started]
        self.warnings += [lost_address(item) for item in stopping if has_passing_address(item)]
        stages, warnings = self.stages(stopping, restored), tuple(dict.fromkeys(self.warnings))
        refused = self._refused()
        if refused is not None and not any(stage.changes for stage in stages):
            raise refused
        return Plan(stages, warnings, refused=refused)

    def _refused(self) -> StorageError | None:
        """Return the error of the task after the other entries are applied, or None."""
        if len(self.refusals) < 2:
            return next(iter(self.refusals), None)
        return Incomplete("; ".join(bounded(map(str, self.refusals))), self.refusals[0])

    # --- refused ---

    def _stopping(self) -> list[Instance]:
        """Return the running instances that must stop for a detach."""
        if self.spec.in_use != "stop":
            return []
        found = [self.state.instance(instance_id) for instance_id, links in self.leaving.items() if links]
        return running_of(instance for instance in found if instance is not None)

    def _involved(self, stopping: Sequence[Instance]) -> list[Instance]:
        """Return the instances that an earlier run may have stopped for these volumes, and that this run does not stop.

        A hold may belong to somebody else. It belongs to this module if a volume of the declaration claims to have been
        there, and no fact refutes that.
        """
        own = [item for match in self.matches for item in (match.volume, *match.replaced, *match.stale)]
        wanted = set(self.spec.instance_ids)
        own += [item for item in self.state.all(Volume) if wanted & {link.instance_id for link in item.attachments}]
        own += [*self._purged(), *(self.state.volume(volume_id) for volume_id, _instance_id in sorted(self.freed))]
        volumes = [item for item in own if item is not None]
        found, warnings = involved(self.state, volumes, self.freed, self.spec.instance_ids)
        self.warnings += warnings
        return [item for item in found if item not in stopping]

    def _is_over(self, instance: Instance) -> bool:
        """Return whether the hold of a running instance is over: a declared instance, or one that EC2 shows started
        since.

        Any other hold may belong to a run that is about to stop the instance.
        """
        hold = hold_of(instance)
        return instance.instance_id in self.spec.instance_ids or (hold is not None and hold.is_spent(instance))

    def _require_stoppable(self, stopping: Sequence[Instance]) -> None:
        troubles = [
            f"{instance.instance_id} {trouble}"
            for instance in stopping
            for trouble in stop_troubles(
                self.state, instance, lose_instance_store=self.spec.lose_instance_store, remember=True
            )
        ]
        if troubles:
            raise UnsafePlan(f"in_use: stop: {'; '.join(bounded(troubles))}. Nothing was changed.")

    def _at_rest(self, instance_ids: Iterable[str]) -> list[Instance]:
        """Return the stopped ones among these instances. A relaunch may have retired them."""
        found = [self.state.instance(item) for item in sorted(instance_ids)]
        return [item for item in found if item is not None and item.state in ("stopping", "stopped")]

    def _require_unreplaced(self) -> None:
        """Raise SpecError for an attachment to an instance that a relaunch has retired."""
        joined = {str(change.parameters["InstanceId"]): self.labels[change.resource] for change in self.attaches}
        for instance in self._at_rest(joined):
            heir = successor(self.state, instance.instance_id)
            if heir is not None:
                raise SpecError(
                    f"{joined[instance.instance_id]}: {replaced_by(instance.instance_id, heir)}. To go on with "
                    f"{instance.instance_id}, start it first"
                )

    def _require_limits(self) -> None:
        """Raise an error beyond EC2's limit of attachments for the instance type, and for
        Multi-Attach without Nitro.
        """
        joining: dict[str, list[Change]] = defaultdict(list)
        for change in self.attaches:
            joining[change.parameters["InstanceId"]].append(change)
        shared = {
            match.name
            for match in self.matches
            if match.target.spec.multi_attach and match.target.spec.state == "present"
        }
        for instance_id, changes in joining.items():
            instance = self.state.instance(instance_id)
            if instance is None:
                continue
            facts = type_facts(self.state, instance.instance_type)
            if shared and facts.get("Hypervisor") not in (None, "nitro"):
                raise UnsafePlan(
                    f"{instance_id}: multi_attach: its type {instance.instance_type} is not built on Nitro"
                )
            limit = attachment_limit(self.state, instance)
            leaving = sum(change.parameters["InstanceId"] == instance_id for change in self.detaches)
            if limit is not None and (number := limit.excess(len(changes) - leaving)):
                names = listed(self.labels[change.resource] for change in changes)
                raise UnsafePlan(
                    f"{names}: the type {instance.instance_type} of {instance_id} takes {limit.text}; with these it "
                    f"would have {number}. Detach others first, or choose a larger type"
                )


def _is_known_by_a_fact(match: Match, volume: Volume) -> bool:
    """Return whether a fact ties the volume to the entry: its id, its device, or the snapshot that made it.

    The attachment to the instance alone does not show the entry.
    """
    entry = match.target.spec
    instance_ids = {instance.instance_id for instance in match.target.instances}
    devices = {link.device_name for link in volume.attachments if link.instance_id in instance_ids}
    return (
        is_planned(volume.volume_id)
        or volume.volume_id == entry.volume_id
        or entry.device_name in devices
        or (entry.snapshot_id is not None and volume.snapshot_id == entry.snapshot_id)
    )


def _forgotten_flags(match: Match, volumes: Iterable[Volume | None]) -> Iterator[str]:
    """Yield a warning for each tag that claims delete-on-termination, if the entry does not set it."""
    if match.target.spec.delete_on_termination is not None:
        return
    for volume in volumes:
        if volume is None:
            continue
        for place in recorded_places(volume):
            if place.delete_on_termination and place.instance_id in match.target.instance_ids:
                yield (
                    f"{match.target.label}: the tag {tag_names.WAS_AT[0]} of {volume.volume_id} says that it was "
                    f"deleted with {place.instance_id}, but nothing proves that. Set delete_on_termination: true to "
                    "have it deleted so"
                )


def _leaving(match: Match, volume: Volume, state: State) -> Iterator[str]:
    """Yield a warning for other tasks that declare the volume at its present place, since they would undo the move."""
    target = match.target
    left, name = volume.tags.get(tag_names.SPEC), volume.tags.get(tag_names.VOLUME)
    if left is None:
        return
    if left != target.group:
        yield (
            f"{volume.volume_id} goes from the declaration {left} to {target.group}. Remove {name} from {left}, or "
            "its next run makes a new volume"
        )
    elif match.how == "volume_id":
        away = [link.instance_id for link in strangers(match, state)]
        if volume.availability_zone != target.zone:
            away = away or [volume.availability_zone]
        if away:
            yield (
                f"{volume.volume_id} leaves {listed(away)} and stays in the declaration {left}. Remove {name} from "
                f"the tasks that declare {left} there. Otherwise their next run fails, or takes it back with steal: "
                "true"
            )


def _multi_attach_rule(volume: Volume, drift: Drift) -> str:
    """Return the rule of EBS that forbids the change (EBS user guide, "Multi-Attach"), with the
    remedy if there is one.
    """
    if volume.volume_type == "io1":
        return "An io1 volume has multi_attach from its creation or never, and EBS does not modify one that has it"
    if "volume_type" in drift.never:
        return "The type of a volume with multi_attach cannot change. First set multi_attach: false in a separate run"
    return "An io2 volume can lose multi_attach only while it is attached to at most one instance"


def _no_longer_declared(volumes: Iterable[Volume]) -> Iterator[str]:
    """Yield a warning for each volume that keeps the name of a removed entry."""
    for volume in volumes:
        name = volume.tags.get(tag_names.VOLUME)
        if name is not None:
            yield (
                f"{volume.volume_id} was declared as {name} and is no longer declared. Rename it with volume_id: "
                f"{volume.volume_id} in an entry, or delete it with state: absent"
            )


def _identity(target: Target, name: str) -> dict[str, str]:
    return {tag_names.SPEC: target.group, tag_names.VOLUME: name}


def _before_deletion(volume: Volume) -> str:
    return f"capture {volume.volume_id} before its deletion"


def _description(match: Match, purpose: proofs.Purpose, volume: Volume) -> str:
    """Return the snapshot's Description: first the entry of its volume, at the end its purpose. EC2 takes 255
    characters.
    """
    note = f": {proofs.capture_note(purpose, volume.volume_id)}"
    return f"{match.target.group} {match.name}"[: 255 - len(note)] + note


def _tagged_snapshots(state: State, volume: Volume, tag: str) -> list[Snapshot]:
    return [item for item in state.all(Snapshot) if item.tags.get(tag) == volume.volume_id]


def _snapshot_query(volume: Volume, tag: str) -> Query:
    return own_snapshots({tag: volume.volume_id})


def headline(_spec: VolumesSpec, result: Mapping[str, Any]) -> str:
    """Return how many volumes there are of the declaration, and how many changes EC2 has deferred."""
    there = {entry["volume_id"] for entry in result["volumes"] if entry["volume_id"]}
    deferred = f", {counted(len(result['deferred']), 'change')} deferred" if result["deferred"] else ""
    return f"{counted(len(there), 'volume')} of the declaration{deferred}"


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline)
