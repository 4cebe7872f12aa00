# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attributes that EC2 can change on an image: description, IMDS support, deprecation, deregistration protection.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ..._kernel.plan import Change, tagging
from ..._kernel.resources import Image, Snapshot
from ..._kernel.times import format_moment
from .distribution_spec import Distribution
from .holdings import Holding
from .spec import WITHOUT, ImageSpec, described

_LATE = timedelta(hours=12)
"""How far a time of deprecation may lie from the wanted one. A new image gets it before EC2 shows its creation."""
_SOON = timedelta(minutes=2)
"""The time until the deprecation of an image that is old enough. EC2 takes no time in the past."""
_PROTECTION = {"enabled": "enabled", "with_cooldown": "enabled-with-cooldown", "disabled": "disabled"}
"""By choice of the option, EC2's DeregistrationProtection."""


def attribute_changes(
    spec: ImageSpec, holding: Holding, original: Image, now: datetime
) -> tuple[list[Change], list[Change]]:
    """Return the changes of one image's attributes: two lists, since EC2 takes one attribute in a call.

    *original*: the image whose creation begins the time until deprecation.
    """
    first, second = _description(spec, holding), _imds(spec, holding)
    others = [*_deprecation(spec.distribution, holding, original, now), *_protection(spec.distribution, holding)]
    return [*first, *others], list(second)


def _set(
    action: str, holding: Holding, parameters: dict[str, Any], reason: str, before: Any, after: dict[str, Any]
) -> Change:
    return Change(
        action,
        holding.image.image_id,
        holding.region,
        parameters,
        reason,
        {"attributes": before},
        {"attributes": after},
    )


def _description(spec: ImageSpec, holding: Holding) -> Iterator[Change]:
    have = holding.image.facts.get("Description")
    wanted = described(spec, spec.source) if spec.description else None
    if holding.is_new or wanted is None or not holding.image.facts or have == wanted:
        return
    yield _set(
        "ModifyImageAttribute",
        holding,
        {"Description": {"Value": wanted}},
        "set the description as declared",
        {"Description": have},
        {"Description": wanted},
    )


def _imds(spec: ImageSpec, holding: Holding) -> Iterator[Change]:
    wanted, have = spec.hardware.get("imds_support"), holding.image.imds_support
    if wanted in (None, WITHOUT) or have == wanted:
        return
    yield Change(
        "ModifyImageAttribute",
        holding.image.image_id,
        holding.region,
        {"ImdsSupport": {"Value": wanted}},
        f"require IMDS {wanted}. EC2 cannot undo that",
        {"imds_support": have},
        {"imds_support": wanted},
    )


def _deprecation(wanted: Distribution, holding: Holding, original: Image, now: datetime) -> Iterator[Change]:
    have = _moment(holding.image.facts.get("DeprecationTime"))
    before = {"DeprecationTime": None if have is None else format_moment(have)}
    if wanted.never_deprecate and have is not None:
        yield _set("DisableImageDeprecation", holding, {}, "remove the deprecation", before, {"DeprecationTime": None})
    if wanted.deprecate_after is None:
        return
    made = _moment(original.creation_date)
    span = wanted.deprecate_after
    end = (made or now) + span
    if have is not None and not holding.is_new and _fits(have, end, span, now):
        return
    # EC2 takes whole minutes, and no time in the past.
    at = max(end, now + _SOON).replace(second=0, microsecond=0)
    days = f"{span.total_seconds() / 86400:g} days"
    after = {"DeprecationTime": format_moment(at) if made is not None and end > now else "(after the creation)"}
    yield _set(
        "EnableImageDeprecation",
        holding,
        {"DeprecateAt": at},
        f"deprecate {days} after the creation" if end > now else f"deprecate: older than {days}",
        before,
        after,
    )


def _fits(have: datetime, end: datetime, span: timedelta, now: datetime) -> bool:
    """Return whether a time of deprecation is near enough to its wanted *end*, or to now if *end* has passed."""
    return abs(have - end) <= min(_LATE, span / 2) or (end <= now and have <= now + _SOON)


def _protection(wanted: Distribution, holding: Holding) -> Iterator[Change]:
    if wanted.protection is None:
        return
    have = str(holding.image.facts.get("DeregistrationProtection") or "disabled")
    value = _PROTECTION[wanted.protection]
    # Once protection with a cooldown is switched off, EC2 shows "disabled after" and a time.
    if have == value or (value == "disabled" and have.startswith("disabled")):
        return
    action = f"{'Disable' if value == 'disabled' else 'Enable'}ImageDeregistrationProtection"
    parameters = {} if value == "disabled" else {"WithCooldown": value == "enabled-with-cooldown"}
    yield _set(
        action,
        holding,
        parameters,
        f"set the deregistration protection to {value}",
        {"DeregistrationProtection": have},
        {"DeregistrationProtection": value},
    )


def copy_tag_changes(spec: ImageSpec, holding: Holding) -> tuple[list[Change], list[str]]:
    """Return the CreateTags that give an existing copy and its snapshots the tags of the task, and warnings."""
    changes: list[Change] = []
    warnings: list[str] = []
    items: tuple[Image | Snapshot, ...] = (holding.image, *holding.snapshots)
    for item in items if spec.tags and not holding.is_new else ():
        change, left_out = tagging(
            item.resource_id, holding.region, item.tags, spec.tags, f"tag the copy of {spec.label} as declared"
        )
        changes += [change] if change is not None else []
        if left_out:
            warnings.append(f"tags: {item.resource_id} has no room for {', '.join(left_out)}. Remove other tags first.")
    return changes, warnings


def fixed_differences(spec: ImageSpec, holding: Holding, key: str | None) -> Iterator[str]:
    """Yield warnings about options that EC2 cannot change on an existing copy. *key*: the ARN of its KMS key."""
    copy, image = holding.copy, holding.image
    if copy is None or holding.is_new:
        return
    if image.name != spec.image_name:
        yield (
            f"image_name: the copy {image.image_id} in {copy.where} has the name {image.name!r}, and EC2 cannot change "
            "it. Use another version."
        )
    others = {item.kms_key_id or "none" for item in holding.snapshots if item.kms_key_id != key}
    if copy.kms_key_id is not None and key and others:
        yield (
            f"{copy.option}.kms_key_id: the copy {image.image_id} in {copy.where} is encrypted with "
            f"{', '.join(sorted(others))}, and EC2 cannot change it. Use another version, or deregister this copy."
        )


def _moment(value: Any) -> datetime | None:
    """Return a time of EC2's answer about an image, which is a text (``2026-11-23T12:00:00.000Z``)."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
