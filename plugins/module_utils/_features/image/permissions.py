# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Launch permissions of an image, and create-volume permissions of its snapshots: the declared ones, and those that
another account has while it copies.

The tag `tags.SHARED_WITH` on the original names the accounts that have access for their copy only. It is written before
the sharing, so a later run can end the sharing of an interrupted one. Anybody may have written it, so a run ends only
the access of accounts to which the task copies.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.facts import (
    ENCRYPTION_BY_DEFAULT,
    ENCRYPTION_KEY,
    FactKind,
    default_encryption_queries,
    key_of,
    key_query,
)
from ..._kernel.ids import is_planned
from ..._kernel.plan import Change
from ..._kernel.resources import Snapshot
from ..._kernel.state import Query, State
from ..._kernel.storage_facts import (
    LAUNCH_PERMISSIONS,
    VOLUME_PERMISSIONS,
    launch_permissions_query,
    permissions_query,
)
from ..._kernel.tags import boto3_tags
from .distribution_spec import EVERYBODY, Permissions
from .holdings import DEFAULT_KEY, Holding

AccessKind: TypeAlias = FactKind[tuple[str, ...]]


@dataclass(frozen=True)
class Access:
    """The accounts that may use one image or snapshot.

    ``kind``: of the permission. ``present``: now. ``declared``: by the task, None if it leaves others alone.
    ``copying``: accounts that copy it in this run. ``lent``: present accounts that have access for a copy only, as the
    tag records.
    """

    kind: AccessKind
    present: tuple[str, ...]
    declared: tuple[str, ...] | None
    purge: bool
    copying: tuple[str, ...] = ()
    lent: frozenset[str] = frozenset()

    def _keeps(self, name: str) -> bool:
        if self.declared is not None and name in self.declared:
            return True
        exact = self.declared is not None and self.purge
        return name in self.present and name not in self.lent and not exact

    @property
    def before_copies(self) -> list[str]:
        """Return who gets access before the copies begin."""
        return [name for name in self.copying if name not in self.present]

    @property
    def added(self) -> list[str]:
        """Return the further accounts that get access."""
        return [name for name in self.declared or () if name not in self.present and name not in self.copying]

    @property
    def after_copies(self) -> list[str]:
        """Return who loses access once the copies are done."""
        return sorted(name for name in {*self.copying, *self.lent} if not self._keeps(name))

    @property
    def removed(self) -> list[str]:
        """Return who loses access at once."""
        return [name for name in self.present if not self._keeps(name) and name not in self.after_copies]

    @property
    def borrowers(self) -> list[str]:
        """Return who has access for a copy only, as the tag must record before the sharing."""
        return [name for name in self.after_copies if name not in self.present or name in self.lent]


class Sharing:
    """The permissions of one holding. *copying*: the accounts that copy the image in this run.

    *theirs*: all other accounts to which the task copies.
    """

    def __init__(
        self,
        state: State,
        holding: Holding,
        declared: Permissions | None,
        copying: Iterable[str] = (),
        theirs: Iterable[str] = (),
    ) -> None:
        self._state, self._holding, self._declared = state, holding, declared
        self._copying = tuple(sorted({name for name in copying if name != holding.account}))
        self._recorded = tag_names.shared_with(holding.image.tags) & frozenset(theirs)

    def queries(self) -> Iterator[Query]:
        """Yield the queries for the present permissions."""
        image, place = self._holding.image, self._holding.place
        borrowed = bool(self._copying or self._recorded)
        if (self._declared is not None or borrowed) and not self._holding.is_new:
            yield launch_permissions_query(image.image_id, place)
        if borrowed or (self._declared is not None and self._declared.snapshots):
            yield from (permissions_query(name, place) for name in image.snapshot_ids if not is_planned(name))

    @property
    def of_image(self) -> Access:
        """Return who may launch instances from the image."""
        declared = None if self._declared is None else self._but_owner(self._declared.wanted)
        return self._access(LAUNCH_PERMISSIONS, self._holding.image.image_id, declared)

    def of_snapshot(self, name: str) -> Access:
        """Return who may create volumes from a snapshot of the image."""
        users = self._declared is not None and self._declared.snapshots
        declared = self._but_owner(self._declared.user_ids) if users and self._declared is not None else None
        return self._access(VOLUME_PERMISSIONS, name, declared)

    def _but_owner(self, names: Iterable[str]) -> tuple[str, ...]:
        # EC2 accepts a grant to the owner. On a snapshot, EC2 does not show that grant afterwards.
        return tuple(name for name in names if name != self._holding.account)

    def _access(self, kind: AccessKind, resource: str, declared: tuple[str, ...] | None) -> Access:
        present = self._but_owner(kind.of(self._state, resource, self._holding.place) or ())
        purge = self._declared is None or self._declared.purge
        return Access(kind, present, declared, purge, self._copying, self._recorded & frozenset(present))

    # --- the changes ---

    def records(self) -> Iterator[Change]:
        """Yield the change that records who has access for a copy only, before the sharing."""
        image, borrowers = self._holding.image, self._borrowers
        value = " ".join(sorted({*tag_names.shared_with(image.tags), *borrowers}))
        if borrowers and value != image.tags.get(tag_names.SHARED_WITH):
            tag = {tag_names.SHARED_WITH: value}
            after = {"tags": {**image.tags, **tag}}
            yield Change(
                "CreateTags",
                image.image_id,
                self._holding.region,
                {"Tags": boto3_tags(tag)},
                "record the sharing for the copies",
                {"tags": dict(image.tags)},
                after,
            )

    def end_of_records(self) -> Iterator[Change]:
        """Yield the change that removes the record, after the end of the sharing."""
        image = self._holding.image
        left = tag_names.shared_with(image.tags) - self._recorded - frozenset(self._borrowers)
        was = " ".join(sorted({*tag_names.shared_with(image.tags), *self._borrowers}))
        if not self._borrowers and not self._recorded:
            return
        tags = {key: value for key, value in image.tags.items() if key != tag_names.SHARED_WITH}
        value = " ".join(sorted(left))
        yield Change(
            "CreateTags" if value else "DeleteTags",
            image.image_id,
            self._holding.region,
            # DeleteTags removes a tag only if it has the very value.
            {"Tags": boto3_tags({tag_names.SHARED_WITH: value or was})},
            "remove the record of the sharing",
            {"tags": {**tags, tag_names.SHARED_WITH: was}},
            {"tags": {**tags, **({tag_names.SHARED_WITH: value} if value else {})}},
        )

    @property
    def _borrowers(self) -> set[str]:
        parts = (self.of_snapshot(name) for name in self._holding.image.snapshot_ids)
        return {name for access in (self.of_image, *parts) for name in access.borrowers}

    def before_copies(self) -> Iterator[Change]:
        """Yield the changes that give the copying accounts access."""
        return self._all("before_copies", "Add", "share with the account that copies it")

    def added(self) -> Iterator[Change]:
        """Yield the changes that give the declared accounts access."""
        return self._all("added", "Add", "share as declared")

    def removed(self) -> Iterator[Change]:
        """Yield the changes that end access that the task does not declare."""
        return self._all("removed", "Remove", "unshare: not declared")

    def after_copies(self) -> Iterator[Change]:
        """Yield the changes that end the access of copying accounts."""
        return self._all("after_copies", "Remove", "unshare: the copy is done")

    def _all(self, which: str, operation: str, reason: str) -> Iterator[Change]:
        holding, image_id = self._holding, self._holding.image.image_id
        access = self.of_image
        if names := getattr(access, which):
            entries = [_entry(name) for name in names]
            parameters: dict[str, Any] = {"LaunchPermission": {operation: entries}}
            yield self._change("ModifyImageAttribute", image_id, parameters, reason, access, which)
        for name in holding.image.snapshot_ids:
            access = self.of_snapshot(name)
            if users := getattr(access, which):
                parameters = {
                    "Attribute": "createVolumePermission",
                    "OperationType": operation.lower(),
                    "UserIds": list(users),
                }
                change = self._change("ModifySnapshotAttribute", name, parameters, reason, access, which)
                yield replace(change, after_steps=(image_id,))

    def _change(
        self, action: str, resource: str, parameters: dict[str, Any], reason: str, access: Access, which: str
    ) -> Change:
        before, after = (access.kind.view(tuple(names)) for names in _steps(access)[which])
        return Change(action, resource, self._holding.region, parameters, reason, before, after)

    @property
    def final(self) -> list[str] | None:
        """Return who may launch instances from the image in the end, None where the task does not read that."""
        if self._declared is None and not self._copying and not self._recorded:
            return None
        return _steps(self.of_image)["after_copies"][1]


def _steps(access: Access) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by kind of change, who has access before and after it."""
    present = list(access.present)
    found = {}
    for which in ("before_copies", "added", "removed", "after_copies"):
        names = getattr(access, which)
        if which in ("before_copies", "added"):
            after = [*present, *(name for name in names if name not in present)]
        else:
            after = [name for name in present if name not in names]
        found[which] = (present, after)
        present = after
    return found


def _entry(name: str) -> dict[str, str]:
    if name == EVERYBODY:
        return {"Group": name}
    if name.startswith("arn:"):
        return {"OrganizationArn" if ":organization/" in name else "OrganizationalUnitArn": name}
    return {"UserId": name}


# --- encryption ------------------------------------------------------------------------------------------------------


def encryption_queries(holding: Holding) -> Iterator[Query]:
    """Yield the queries that tell whether EC2 would refuse to share the image for its encryption."""
    if any(device.encrypted for device in holding.image.block_devices):
        yield replace(key_query(DEFAULT_KEY, holding.place), optional=True)
    if holding.is_new and holding.copy is not None and holding.copy.kms_key_id is None:
        yield from (replace(query, optional=True) for query in default_encryption_queries(holding.place))


def require_shareable(state: State, holding: Holding, names: Iterable[str], option: str) -> None:
    """Raise SpecError, which names the option, if EC2 would refuse to share the image with *names*.

    EC2 shares nothing that the AWS managed key encrypts, and makes nothing public that is encrypted.
    """
    wanted = list(names)
    if not wanted:
        return
    reason = _managed_key(state, holding)
    copy = holding.copy
    remedy = (
        f"Set {copy.option}.kms_key_id to a key" if copy is not None else "Encrypt the volumes of the source with a key"
    )
    what = f"{holding.image.image_id} in {holding.where}"
    if reason:
        raise SpecError(
            f"{option}: EC2 does not share {what}: {reason}. {remedy} of your own that the other accounts may use"
            + (", and use another version." if not holding.is_new else ".")
        )
    if EVERYBODY in wanted and any(device.encrypted for device in holding.image.block_devices):
        raise SpecError(
            f"{option}: {what} is encrypted, and EC2 makes no encrypted image public. Remove {EVERYBODY}, or use an "
            "image without encryption."
        )


def _managed_key(state: State, holding: Holding) -> str:
    """Return why the AWS managed key encrypts the image, or an empty text."""
    managed = key_of(state, DEFAULT_KEY, holding.place).arn
    copy, place = holding.copy, holding.place
    if holding.is_new and copy is not None and copy.kms_key_id is None:
        encrypts = any(device.encrypted for device in holding.image.block_devices)
        default = ENCRYPTION_KEY.of(state, place) or DEFAULT_KEY
        if (encrypts or ENCRYPTION_BY_DEFAULT.of(state, place)) and default in (DEFAULT_KEY, managed):
            return f"the AWS managed key ({DEFAULT_KEY}) encrypts copies there"
        return ""
    if copy is not None and copy.kms_key_id is not None and holding.is_new:
        named = key_of(state, copy.kms_key_id, place).arn
        return f"{copy.kms_key_id} is the AWS managed key" if managed and named == managed else ""
    for snapshot in holding.snapshots:
        if managed and _key_of(state, snapshot) == managed:
            return f"the AWS managed key ({DEFAULT_KEY}) encrypts {snapshot.snapshot_id}"
    return ""


def _key_of(state: State, snapshot: Snapshot) -> str | None:
    """Return the key of a snapshot, or of the volume that a planned one is taken of."""
    if snapshot.kms_key_id or not is_planned(snapshot.snapshot_id):
        return snapshot.kms_key_id
    volume = state.volume(snapshot.volume_id)
    return volume.kms_key_id if volume is not None else None
