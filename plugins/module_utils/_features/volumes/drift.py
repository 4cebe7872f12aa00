# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drift between a volume and its entry, the parameters of a new volume, and EBS's limits of changes in place.

Values are compared as EBS will show them. A value that EBS raises or derives by itself is no drift.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..._domain.volume_types import VOLUME_TYPES, kept_performance, normalised, performance_of
from ..._kernel.errors import SpecError
from ..._kernel.facts import ENCRYPTION_BY_DEFAULT, key_of, key_query
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import Query, State
from ..._kernel.storage_facts import MODIFICATION
from .match import Match
from .spec import VolumeSpec, require_values
from .targets import Target

# ModifyVolume: "Changing type to io1/io2/gp3 without Iops" gives 3,000; throughput is 125 unless gp3 stays gp3. A gp2
# volume that becomes gp3 keeps its performance instead.
_DEFAULT_IOPS = 3000

Fields = dict[str, tuple[Any, Any]]
"""From the field to (wanted, actual)."""


@dataclass(frozen=True)
class Drift:
    """The drift by its repair: ``modify`` in place, ``swap`` through a snapshot, ``never``."""

    modify: Fields = field(default_factory=dict)
    swap: Fields = field(default_factory=dict)
    never: Fields = field(default_factory=dict)


def shown(fields: Fields) -> str:
    """Return ``size 10 -> 20, volume_type gp2 -> gp3``, for messages."""
    return ", ".join(f"{name} {actual} -> {wanted}" for name, (wanted, actual) in fields.items())


def key_queries(match: Match, *, using: bool = False) -> tuple[Query, ...]:
    """Return the query for the key of a name. An ARN needs a query only if the task uses the key."""
    wanted = match.target.spec.kms_key_id
    if wanted is None or (":key/" in wanted and not using):
        return ()
    return (key_query(wanted),)


def key_arn(state: State, wanted: str) -> str | None:
    """Return the key's ARN, or None if KMS gives no answer or has no such key. None is never a reason for a swap."""
    if ":key/" in wanted:
        return wanted
    return key_of(state, wanted).arn


def coming(state: State, volume: Volume) -> Mapping[str, Any]:
    """Return the values that EBS shows once a running modification has taken effect."""
    values = {
        "size": volume.size,
        "volume_type": volume.volume_type,
        "iops": volume.iops,
        "throughput": volume.throughput,
        "multi_attach_enabled": volume.multi_attach_enabled,
    }
    latest = MODIFICATION.of(state, volume.volume_id)
    # Until the modification takes effect, the volume shows its old values, and the answer may be older than the
    # modification.
    if latest is not None and latest.is_under_way and asdict(latest.original) == values:
        values.update((name, value) for name, value in asdict(latest.target).items() if value is not None)
    return values


def compare(match: Match, state: State) -> Drift:
    """Return the drift between the match's volume and its entry.

    Raises SpecError for values that the volume's type does not take, since an entry without a type was not checked
    before.
    """
    volume, target = match.volume, match.target
    if volume is None:
        return Drift()
    spec = target.spec
    drift = Drift()
    actual = coming(state, volume)
    for name, wanted in _wanted(match, actual).items():
        if wanted == actual[name]:
            continue
        never = _never(volume, name, wanted, actual)
        (drift.never if never else drift.modify)[name] = (wanted, actual[name])
    if volume.availability_zone != target.zone:
        drift.swap["availability_zone"] = (target.zone, volume.availability_zone)
    if spec.encrypted is not None and spec.encrypted != volume.encrypted:
        (drift.swap if spec.encrypted else drift.never)["encrypted"] = (spec.encrypted, volume.encrypted)
    if spec.kms_key_id is not None and volume.encrypted:
        arn = key_arn(state, spec.kms_key_id)
        if arn is not None and arn != volume.kms_key_id:
            drift.swap["kms_key_id"] = (arn, volume.kms_key_id)
    return drift


def _never(volume: Volume, name: str, wanted: Any, actual: Mapping[str, Any]) -> bool:
    """Return whether neither EBS nor a swap can make this change: shrinking, and changes that Multi-Attach forbids.

    EBS sets Multi-Attach of an io1 volume only at its creation, and does not modify an io1 volume with it. An io2
    volume with Multi-Attach can lose it only while it is attached to at most one instance, and cannot change its type.
    """
    if name == "size" and wanted < actual[name]:
        return True
    if name == "volume_type" and actual["multi_attach_enabled"]:
        return True
    if volume.volume_type == "io1" and (volume.multi_attach_enabled or name == "multi_attach_enabled"):
        return True
    return name == "multi_attach_enabled" and not wanted and len(volume.attachments) > 1


def _wanted(match: Match, actual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wanted values of the volume, and the values that follow from them. Only properties that the entry sets
    change.
    """
    spec, label = match.target.spec, match.target.label
    volume_type = spec.volume_type or actual["volume_type"]
    same_type = volume_type == actual["volume_type"]
    rules = VOLUME_TYPES.get(volume_type)
    size = actual["size"] if spec.size is None else spec.size
    iops, throughput = normalised(volume_type, *_asked(spec, volume_type, actual))
    if rules is not None and rules.iops is not None and iops is None:
        iops = actual["iops"] if same_type else _DEFAULT_IOPS
    if rules is not None and rules.throughput is not None and throughput is None and same_type:
        throughput = actual["throughput"]
    said = {"volume_type": spec.volume_type, "size": spec.size, "iops": spec.iops, "throughput": spec.throughput}
    if any(value is not None for value in said.values()):
        require_values(label, volume_type, size, iops, throughput, boot=match.is_root)
    performance = performance_of(volume_type, size, iops, throughput)
    wanted: dict[str, Any] = {}
    if spec.size is not None:
        wanted["size"] = size
    if spec.volume_type is not None:
        wanted["volume_type"] = volume_type
    # gp2's iops follow from its size.
    grown_gp2 = volume_type == "gp2" and size != actual["size"]
    if spec.iops is not None or not same_type or grown_gp2:
        wanted["iops"] = performance["iops"]
    if spec.throughput is not None or not same_type:
        wanted["throughput"] = performance["throughput"]
    _require_multi_attach_type(match, actual, volume_type)
    if spec.multi_attach is not None:
        wanted["multi_attach_enabled"] = spec.multi_attach
    return wanted


def _require_multi_attach_type(match: Match, actual: Mapping[str, Any], volume_type: str) -> None:
    """Raise SpecError for a type without multi_attach if the entry asks for it, or the volume has it."""
    spec, label, rules = match.target.spec, match.target.label, VOLUME_TYPES.get(volume_type)
    if rules is not None and rules.multi_attach:
        return
    if spec.multi_attach:
        raise SpecError(f"{label}: multi_attach: {volume_type} volumes do not support it. Use io1 or io2")
    if spec.multi_attach is None and actual["multi_attach_enabled"] and rules is not None:
        raise SpecError(
            f"{label}: volume_type: {volume_type} volumes have no multi_attach, but this volume has it. First set "
            "multi_attach: false in a separate run"
        )


def _asked(spec: VolumeSpec, volume_type: str, actual: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the entry's (iops, throughput). If the entry has none, a gp2 volume that becomes gp3 keeps its own."""
    if (actual.get("volume_type"), volume_type) != ("gp2", "gp3"):
        return spec.iops, spec.throughput
    iops, throughput = kept_performance(actual["size"], actual["iops"])
    return (
        iops if spec.iops is None else spec.iops,
        throughput if spec.throughput is None else spec.throughput,
    )


# ModifyVolume's names of the fields of `Drift.modify` and `coming`.
_PARAMETERS = {
    "size": "Size",
    "volume_type": "VolumeType",
    "iops": "Iops",
    "throughput": "Throughput",
    "multi_attach_enabled": "MultiAttachEnabled",
}


_WAS = ("size", "volume_type", "iops")


def modify_request(match: Match, drift: Drift) -> dict[str, Any]:
    """Return ModifyVolume's parameters for the whole drift, in one call.

    With another type, the entry's performance is sent too, since EBS would use its defaults. EBS keeps the performance
    of a gp2 volume only if the request has neither iops nor throughput. So if the entry sets one, the request also has
    the kept value of the other.
    """
    spec = match.target.spec
    volume_type = spec.volume_type or (match.volume.volume_type if match.volume else "")
    asked = (spec.iops, spec.throughput)
    if asked != (None, None) and match.volume is not None:
        was = {name: drift.modify[name][1] if name in drift.modify else getattr(match.volume, name) for name in _WAS}
        asked = _asked(spec, volume_type, was)
    iops, throughput = normalised(volume_type, *asked)
    retyped = "volume_type" in drift.modify
    values = {
        "size": spec.size,
        "volume_type": spec.volume_type,
        "iops": iops,
        "throughput": throughput,
        "multi_attach_enabled": spec.multi_attach,
    }
    return {
        parameter: values[name]
        for name, parameter in _PARAMETERS.items()
        if values[name] is not None and (name in drift.modify or (retyped and name in ("iops", "throughput")))
    }


# --- the parameters of a new volume ----------------------------------------------------------------------------------


# More than 40 lines: each parameter and each field of the view has one.
def creation(
    target: Target, tags: Mapping[str, str], state: State, *, old: Volume | None = None, snapshot_id: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return CreateVolume's parameters (without tags) and the view of the new volume.

    *old*: the replaced volume, whose values count if the entry has none; *snapshot_id* is then its snapshot. Raises
    SpecError without a size and a snapshot, and for values that EBS does not take.
    """
    spec = target.spec
    source = state.snapshot(snapshot_id) if old is None else None
    was = coming(state, old) if old is not None else {}
    volume_type = spec.volume_type or was.get("volume_type") or "gp3"
    size = _new_size(target, was, source)
    iops, throughput = _new_performance(spec, volume_type, was)
    require_values(target.label, volume_type, size, iops, throughput)
    multi_attach = _new_multi_attach(target, volume_type, old)
    encrypted = _encrypted(target.label, spec, state, old or source)
    _require_key(target, state)
    parameters = {
        "AvailabilityZone": target.zone,
        "VolumeType": volume_type,
        "Size": size,
        "SnapshotId": snapshot_id,
        "Iops": iops,
        "Throughput": throughput,
        "Encrypted": True if spec.encrypted else None,
        "KmsKeyId": spec.kms_key_id,
        "VolumeInitializationRate": spec.initialization_rate,
        "MultiAttachEnabled": True if multi_attach else None,
    }
    after: dict[str, Any] = {
        "state": "available",
        "size": size,
        "volume_type": volume_type,
        **performance_of(volume_type, size, iops, throughput),
        "encrypted": encrypted,
        "kms_key_id": _key(target, state, old or source) if encrypted else None,
        "availability_zone": target.zone,
        "snapshot_id": snapshot_id,
        "multi_attach_enabled": multi_attach,
        "attachments": [],
        "tags": dict(tags),
    }
    return {name: value for name, value in parameters.items() if value is not None}, after


def _new_size(target: Target, was: Mapping[str, Any], source: Snapshot | None) -> int:
    """Return the size of a new volume in GiB: that of the entry, of the replaced volume, or of the snapshot."""
    spec = target.spec
    size = spec.size if spec.size is not None else was.get("size") or _size_of(source)
    if size is None:
        raise SpecError(f"{target.label}: size: is required for a new volume without a snapshot. Set it")
    if source is not None and size < source.volume_size:
        raise SpecError(
            f"{target.label}: size: {size} GiB is smaller than the snapshot {source.snapshot_id} "
            f"({source.volume_size} GiB). Use {source.volume_size} or more"
        )
    return int(size)


def _new_performance(spec: VolumeSpec, volume_type: str, was: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return IOPS and MiB/s of a new volume: those of the entry, or those of a replaced volume of the same type."""
    iops, throughput = normalised(volume_type, *_asked(spec, volume_type, was))
    rules = VOLUME_TYPES.get(volume_type)
    if rules is not None and was.get("volume_type") == volume_type:
        iops = was["iops"] if iops is None and rules.iops is not None else iops
        throughput = was["throughput"] if throughput is None and rules.throughput is not None else throughput
    return iops, throughput


def _new_multi_attach(target: Target, volume_type: str, old: Volume | None) -> bool:
    wanted, rules = target.spec.multi_attach, VOLUME_TYPES.get(volume_type)
    multi_attach = wanted if wanted is not None else old is not None and old.multi_attach_enabled
    if multi_attach and not (rules is not None and rules.multi_attach):
        raise SpecError(f"{target.label}: multi_attach: {volume_type} volumes do not support it. Use io1 or io2")
    return multi_attach


def _require_key(target: Target, state: State) -> None:
    key = target.spec.kms_key_id
    if key is not None and key_of(state, key).is_unusable:
        raise SpecError(
            f"{target.label}: kms_key_id: {key} is not an enabled KMS key in {state.region}. Give the ARN, the "
            "id or the alias (alias/…) of one"
        )


def _key(target: Target, state: State, source: Volume | Snapshot | None) -> str | None:
    """Return the key's ARN, or None if it is unknown before the call, such as the account's default key.

    A volume from another account's snapshot gets the default key too, not the snapshot's. (EBS user guide, encryption
    outcomes of a snapshot that is shared with you.)
    """
    if target.spec.kms_key_id is not None:
        return key_arn(state, target.spec.kms_key_id)
    if source is None or (isinstance(source, Snapshot) and not _is_own(target, source)):
        return None
    return source.kms_key_id


def _is_own(target: Target, snapshot: Snapshot) -> bool:
    """Return whether the account owns the snapshot.

    The target's instances show the account. A search by tags finds only snapshots of that account.
    """
    accounts = {instance.owner_id for instance in target.instances if instance.owner_id}
    if accounts and snapshot.owner_id:
        return snapshot.owner_id in accounts
    return target.spec.snapshot_tags is not None


def _size_of(source: Snapshot | None) -> int | None:
    return None if source is None else source.volume_size


def _encrypted(label: str, spec: VolumeSpec, state: State, source: Volume | Snapshot | None) -> bool:
    """Return whether the new volume will be encrypted. Raises SpecError if the entry says otherwise."""
    by_default = bool(ENCRYPTION_BY_DEFAULT.of(state))
    from_source = source is not None and source.encrypted
    if spec.encrypted is False and from_source:
        raise SpecError(
            f"{label}: encrypted: false: a volume from an encrypted snapshot is always encrypted. Remove the option"
        )
    if spec.encrypted is False and by_default:
        raise SpecError(
            f"{label}: encrypted: false: this account encrypts every new volume in {state.region} (EBS encryption by "
            "default). Remove the option"
        )
    return bool(spec.encrypted) or from_source or by_default
