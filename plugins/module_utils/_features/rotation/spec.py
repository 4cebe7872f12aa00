# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `snapshot_rotate`, and all that can be refused without looking at EC2.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._kernel.errors import SpecError
from ..._kernel.ids import require_id, require_text
from ..._kernel.places import place_of, place_text
from ..._kernel.tags import LONGEST_VALUE, PREFIX, require_selector_keys, require_selector_text, require_tags
from ..._kernel.times import Every, parse_every
from .lifecycle_spec import Upkeep, parse_upkeep
from .retention import Keep, parse_keep

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
# EC2 refuses these deletes itself, so there is nothing to report after the fact.
_ENFORCED = ("image", "locked", "backup")
OWN_TAGS = 8
"""The collection's own tags that a snapshot must have room for: policy, period, source, set, parts, origin, and either
lock and shared-with or taken and copy-of."""
# What EC2 takes in a tag's value; the name of a policy is one, and stands in planned ids.
_POLICY = re.compile(r"[\w .:/=+\-@]{1,128}")


@dataclass(frozen=True)
class CopySpec:
    """Where copies go, and what is kept there. ``wait``: whether a run sees them completed."""

    region: str
    profile: str | None
    kms_key_id: str | None
    keep: Keep
    wait: bool

    @property
    def place(self) -> str:
        """As queries and changes name it."""
        return place_of(self.region, self.profile)

    @property
    def where(self) -> str:
        """As a person reads it."""
        return place_text(self.place)


@dataclass(frozen=True)
class RotationSpec:
    """What the task asks for. Tags to select by are joined by *and*."""

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
    upkeep: Upkeep = field(default_factory=Upkeep)
    adopt_policies: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether anything is to be created from."""
        return bool(self.volume_ids or self.instance_ids or self.select_tags)

    def guard(self, name: str) -> str:
        """The mode of a guard. ``shared`` costs a call for every snapshot: it is off unless it was asked for."""
        return self.guards.get(name, "off" if name == "shared" else "keep")


def parse(params: Mapping[str, Any], region: str) -> RotationSpec:
    """The options, when they can be meant. Raises SpecError, naming the option, its value, and what is accepted."""
    policy = require_text(params["policy"], "policy")
    if not _POLICY.fullmatch(policy) or policy != policy.strip() or "(" in policy:
        raise SpecError(
            f"policy: {policy!r}: 1 to 128 characters out of letters, digits, spaces and . : / = + - @ _, as EC2 takes "
            "them in a tag"
        )
    select = params.get("select") or {}
    captured = params.get("state") == "captured"
    whole = params.get("consistency") == "instance"
    keep_options = params.get("keep")
    if keep_options is None and not captured:
        raise SpecError("keep: it is missing, and nothing would say what stays. At least one rule, such as daily: 7")
    keep = None if keep_options is None else parse_keep(keep_options)
    every = parse_every(params.get("every") or "24h")
    # Looked at also where only the capture is made: what is wrong is said before it.
    copies = _copies(params.get("copies"), region)
    spec = RotationSpec(
        policy=policy,
        captured=captured,
        volume_ids=_ids("volume", select.get("volume_ids"), "select.volume_ids"),
        instance_ids=_ids("instance", select.get("instance_ids"), "select.instance_ids"),
        select_tags=_filters(select.get("tags"), "select.tags", numbers=True),
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
        adopt=_filters((params.get("adopt") or {}).get("tags"), "adopt.tags"),
        protect=_filters((params.get("protect") or {}).get("tags"), "protect.tags"),
        protect_keys=_keys((params.get("protect") or {}).get("tag_keys"), "protect.tag_keys"),
        guards=_guards(params.get("guards") or {}),
        max_delete=_bounded(params, "max_delete", 0, None),
        max_delete_percent=_bounded(params, "max_delete_percent", 0, 100),
        min_keep=_bounded(params, "min_keep", 1, None),
        expected_plan=params.get("expected_plan"),
        report=str(params.get("report") or "actions"),
        wait=bool(params.get("wait", True)),
        copies=() if captured else copies,
        upkeep=parse_upkeep(params, region, keep, every),
        adopt_policies=_policies((params.get("adopt") or {}).get("policies")),
    )
    _require_sense(spec, params)
    return spec


def _require_sense(spec: RotationSpec, params: Mapping[str, Any]) -> None:
    if spec.whole_instances and spec.volume_ids:
        raise SpecError(
            "select.volume_ids: with consistency: instance whole instances are captured: select.instance_ids or "
            "select.tags, and exclude_volume_ids for what shall not be in the set"
        )
    if not spec.whole_instances and (spec.exclude_boot_volume or spec.exclude_volume_ids):
        raise SpecError("exclude_boot_volume and exclude_volume_ids: only with consistency: instance")
    if spec.create and not spec.selects:
        raise SpecError(
            "select: it names nothing to take snapshots of: volume_ids, instance_ids or tags. create: never only "
            "retains what there is"
        )
    if spec.expected_plan is not None and not spec.expected_plan.strip():
        raise SpecError(
            "expected_plan: it is empty, and no plan's hash is; leave it out where no plan has to be approved"
        )
    if params.get("adopt") is not None and not spec.adopt:
        raise SpecError("adopt.tags: no tag; without one it would take every snapshot of the account")
    if params.get("protect") is not None and not spec.protect and not spec.protect_keys:
        raise SpecError(
            "protect: neither tags nor tag_keys has anything, so nothing is protected. Give one of them, such as "
            "tag_keys: [legal-hold], or leave protect out."
        )


def _ids(kind: str, values: Iterable[str] | None, option: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(require_id(kind, str(value), option) for value in values or ()))


def _filters(tags: Mapping[Any, Any] | None, option: str, *, numbers: bool = False) -> dict[str, str]:
    """Tags to find something by. Wildcards are EC2's in a filter, and must not take more than what was written.

    *numbers*: see `tags.require_selector_text`.
    """
    found = require_selector_text(tags or {}, option, numbers=numbers)
    for key, value in found.items():
        if not key or "*" in key or "?" in key or "*" in value or "?" in value:
            raise SpecError(f"{option}: {key!r}: {value!r}: tags are compared literally, without * and ?")
        if len(value) > LONGEST_VALUE:
            raise SpecError(f"{option}: the value of {key!r} has {len(value)} characters; EC2 takes {LONGEST_VALUE}")
        if key.startswith(PREFIX) and option == "adopt.tags":
            raise SpecError(f"adopt.tags: {key!r}: what another policy has made is its own")
    return found


def _policies(names: Iterable[Any] | None) -> tuple[str, ...]:
    """The policies whose snapshots may be adopted."""
    found = require_selector_keys(names or (), "adopt.policies")
    if "" in found:
        raise SpecError("adopt.policies: it has an empty name. Name the policy that took the snapshots.")
    return found


def _keys(keys: Iterable[Any] | None, option: str) -> tuple[str, ...]:
    """The keys of tags to find something by, whatever their values."""
    found = require_selector_keys(keys or (), option)
    for key in found:
        if not key or "*" in key or "?" in key:
            raise SpecError(f"{option}: {key!r}: keys are compared literally, without * and ?.")
    return found


def _guards(given: Mapping[str, Any]) -> dict[str, str]:
    modes: dict[str, str] = {}
    for name, mode in given.items():
        if mode is None:
            continue
        if name not in GUARDS:
            raise SpecError(f"guards.{name}: there is no such guard: {', '.join(GUARDS)}")
        allowed = ("keep", "fail") if name in _ENFORCED else MODES
        if mode not in allowed:
            raise SpecError(f"guards.{name}: {mode!r}: one of {', '.join(allowed)}")
        modes[name] = str(mode)
    return modes


_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")


def _copies(given: Iterable[Mapping[str, Any]] | None, region: str) -> tuple[CopySpec, ...]:
    copies: list[CopySpec] = []
    for number, entry in enumerate(given or ()):
        option = f"copies[{number}]"
        where = str(entry["region"])
        if not _REGION.fullmatch(where):
            raise SpecError(f"{option}.region: {where!r} is no region of AWS, such as eu-west-1")
        profile = entry.get("profile") or None
        if profile is not None and "@" in profile:
            raise SpecError(f"{option}.profile: {profile!r}: a name without @")
        if where == region and profile is None:
            raise SpecError(f"{option}.region: {where} is where the snapshots are; another region, or a profile")
        if not entry.get("keep"):
            raise SpecError(f"{option}.keep: it is missing, and nothing would say what stays there")
        copy = CopySpec(
            region=where,
            profile=profile,
            kms_key_id=(entry.get("kms_key_id") or "").strip() or None,
            keep=parse_keep(entry["keep"], f"{option}.keep"),
            wait=bool(entry.get("wait")),
        )
        if any(one.place == copy.place for one in copies):
            raise SpecError(f"{option}: {copy.where} is there twice")
        copies.append(copy)
    return tuple(copies)


def _bounded(params: Mapping[str, Any], name: str, least: int, most: int | None) -> int:
    default = {"max_delete": 100, "max_delete_percent": 50, "min_keep": 1}[name]
    given = params.get(name)
    value = default if given is None else int(given)
    if value < least or (most is not None and value > most):
        accepted = f"{least} to {most}" if most is not None else f"{least} or more"
        raise SpecError(f"{name}: {value}: {accepted}")
    return value
