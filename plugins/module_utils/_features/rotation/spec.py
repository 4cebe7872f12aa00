# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `snapshot_rotate`, and the refusals that need no call to EC2.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._domain.destinations import parse_copies
from ..._domain.retention import Keep, parse_keep
from ..._domain.retention_spec import compared_tags, parse_adopt, parse_expected_plan, parse_guards, parse_protect
from ..._kernel.errors import SpecError
from ..._kernel.ids import require_id, require_text
from ..._kernel.places import Destination
from ..._kernel.tags import require_selector_keys, require_tags
from ..._kernel.times import Every, parse_every
from .lifecycle_spec import Lifecycle, parse_lifecycle

GUARDS = (
    "image",
    "locked",
    "backup",
    "managed",
    "public",
    "shared",
    "fast_restore",
    "archived",
    "copy_source",
    "newest_copy",
    "last",
    "creating",
    "protected",
)
MODES = ("keep", "report", "fail")
# EC2 itself refuses these deletions, so the mode ``report`` would have nothing to report.
_ENFORCED = ("image", "locked", "backup")
OWN_TAGS = 8
"""The collection's own tags that a snapshot must have room for: policy, period, source, set, parts, origin, and either
lock and shared-with or taken and copy-of."""
# The characters that EC2 takes in a tag's value. A policy's name becomes such a value, and a part of planned ids.
_POLICY = re.compile(r"[\w .:/=+\-@]{1,128}")


@dataclass(frozen=True)
class CopySpec(Destination):
    """One place of copies, and its rules. ``wait``: the run waits until the copies are completed."""

    region: str
    profile: str | None
    kms_key_id: str | None
    keep: Keep
    wait: bool


@dataclass(frozen=True)
class RotationSpec:
    """The options of the task. Tags of a selection are joined by *and*."""

    policy: str
    captured: bool
    volume_ids: tuple[str, ...]
    instance_ids: tuple[str, ...]
    select_tags: Mapping[str, str]
    allow_empty: bool
    allow_missing: bool
    create: bool
    every: Every
    whole_instances: bool
    exclude_boot_volume: bool
    exclude_volume_ids: tuple[str, ...]
    tags: Mapping[str, str]
    copy_volume_tags: bool
    keep: Keep | None
    adopt: Mapping[str, str]
    protect: Mapping[str, str]
    protect_keys: tuple[str, ...] = ()
    guards: Mapping[str, str] = field(default_factory=dict)
    max_delete: int = 100
    max_delete_percent: int = 50
    min_keep: int = 1
    expected_plan: str | None = None
    report: str = "actions"
    wait: bool = True
    copies: tuple[CopySpec, ...] = ()
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    adopt_policies: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Return whether the task selects any resource for captures."""
        return bool(self.volume_ids or self.instance_ids or self.select_tags)

    def guard(self, name: str) -> str:
        """Return the mode of a guard. ``shared`` is off by default, since it costs a call for every snapshot."""
        return self.guards.get(name, "off" if name == "shared" else "keep")


# More than 40 lines: each option has one.
def parse(params: Mapping[str, Any], region: str) -> RotationSpec:
    """Return the checked options. Raises SpecError with the option, its value, and the accepted values."""
    policy = require_text(params["policy"], "policy")
    if not _POLICY.fullmatch(policy) or policy != policy.strip() or "(" in policy:
        raise SpecError(
            f"policy: EC2 does not take {policy!r} in a tag. Use 1 to 128 letters, digits, spaces and . : / = + - @ _"
        )
    select = params.get("select") or {}
    captured = params.get("state") == "captured"
    whole = params.get("consistency") == "instance"
    keep_options = params.get("keep")
    if keep_options is None and not captured:
        raise SpecError("keep: is required. Set at least one rule, such as daily: 7")
    keep = None if keep_options is None else parse_keep(keep_options)
    every = parse_every(params.get("every") or "24h")
    # A task that only captures checks the copies too, so that it refuses a mistake before the capture.
    copies = parse_copies(params.get("copies"), region, "already has the snapshots", _copy)
    protect, protect_keys = parse_protect(params.get("protect"))
    spec = RotationSpec(
        policy=policy,
        captured=captured,
        volume_ids=_ids("volume", select.get("volume_ids"), "select.volume_ids"),
        instance_ids=_ids("instance", select.get("instance_ids"), "select.instance_ids"),
        select_tags=compared_tags(select.get("tags"), "select.tags", numbers=True),
        allow_empty=bool(params.get("allow_empty")),
        allow_missing=bool(select.get("allow_missing")),
        create=params.get("create", "due") == "due",
        every=every,
        whole_instances=whole,
        exclude_boot_volume=bool(params.get("exclude_boot_volume")),
        exclude_volume_ids=_ids("volume", params.get("exclude_volume_ids"), "exclude_volume_ids"),
        tags=require_tags(params.get("tags") or {}, "tags", ours=OWN_TAGS),
        copy_volume_tags=bool(params.get("copy_volume_tags", True)),
        keep=keep,
        adopt=parse_adopt(params.get("adopt"), "snapshot", "another policy's snapshots"),
        protect=protect,
        protect_keys=protect_keys,
        guards=parse_guards(params.get("guards"), GUARDS, MODES, _ENFORCED),
        max_delete=_bounded(params, "max_delete", 0, None),
        max_delete_percent=_bounded(params, "max_delete_percent", 0, 100),
        min_keep=_bounded(params, "min_keep", 1, None),
        expected_plan=parse_expected_plan(params.get("expected_plan")),
        report=str(params.get("report") or "actions"),
        wait=bool(params.get("wait", True)),
        copies=() if captured else copies,
        lifecycle=parse_lifecycle(params, region, keep, every),
        adopt_policies=_policies((params.get("adopt") or {}).get("policies")),
    )
    _require_sense(spec)
    return spec


def _require_sense(spec: RotationSpec) -> None:
    if spec.whole_instances and spec.volume_ids:
        raise SpecError(
            "select.volume_ids: consistency: instance captures whole instances. Use select.instance_ids or "
            "select.tags, and exclude_volume_ids for volumes outside the set"
        )
    if not spec.whole_instances and (spec.exclude_boot_volume or spec.exclude_volume_ids):
        raise SpecError("exclude_boot_volume and exclude_volume_ids: need consistency: instance")
    if spec.create and not spec.selects:
        raise SpecError(
            "select: names no resource. Set volume_ids, instance_ids or tags, or set create: never to only retain "
            "existing snapshots"
        )


def _ids(kind: str, values: Iterable[str] | None, option: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(require_id(kind, str(value), option) for value in values or ()))


def _policies(names: Iterable[Any] | None) -> tuple[str, ...]:
    """Return the policies whose snapshots may be adopted."""
    found = require_selector_keys(names or (), "adopt.policies")
    if "" in found:
        raise SpecError("adopt.policies: has an empty name. Name the policy that took the snapshots.")
    return found


def _copy(option: str, region: str, profile: str | None, entry: Mapping[str, Any]) -> CopySpec:
    if not entry.get("keep"):
        raise SpecError(f"{option}.keep: is required. Set the rules of this place")
    return CopySpec(
        region=region,
        profile=profile,
        kms_key_id=(entry.get("kms_key_id") or "").strip() or None,
        keep=parse_keep(entry["keep"], f"{option}.keep"),
        wait=bool(entry.get("wait")),
    )


def _bounded(params: Mapping[str, Any], name: str, least: int, most: int | None) -> int:
    default = {"max_delete": 100, "max_delete_percent": 50, "min_keep": 1}[name]
    given = params.get(name)
    value = default if given is None else int(given)
    if value < least or (most is not None and value > most):
        accepted = f"{least} to {most}" if most is not None else f"{least} or more"
        raise SpecError(f"{name}: {value}: {accepted}")
    return value
