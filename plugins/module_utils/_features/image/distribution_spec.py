# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `ami_bake` for an image that exists: copies, sharing, attributes, publication.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..._domain.destinations import parse_copies
from ..._kernel.errors import SpecError
from ..._kernel.places import Destination
from ..._kernel.times import parse_span

EVERYBODY = "all"
"""The entry of ``launch_permissions.user_ids`` that makes an image public. It is EC2's name of the group."""
NEVER = "never"
LONGEST = timedelta(days=3650)
"""The longest time until deprecation (EC2 API reference, EnableImageDeprecation: ten years)."""
LONGEST_PUBLIC = timedelta(days=730)
"""The longest time until the deprecation of a public image (EC2 user guide, "Deprecate an AMI")."""

_ACCOUNT = re.compile(r"[0-9]{12}")
_ARN = re.compile(r"arn:[a-z-]+:organizations::[0-9]{12}:(organization/o-[a-z0-9]{10,32}|ou/o-[a-z0-9]{10,32}/ou-.+)")
_PARAMETER = re.compile(r"/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_TEMPLATE_ID = re.compile(r"lt-[0-9a-f]{8,17}")
_TEMPLATE_NAME = re.compile(r"[a-zA-Z0-9()./_-]{3,128}")


@dataclass(frozen=True)
class CopySpec(Destination):
    """One place of a copy. ``option`` names the entry in messages."""

    option: str
    region: str
    profile: str | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True)
class Permissions:
    """The declared launch permissions. ``snapshots``: the accounts may also create volumes from the snapshots."""

    user_ids: tuple[str, ...] = ()
    arns: tuple[str, ...] = ()
    purge: bool = True
    snapshots: bool = False

    @property
    def wanted(self) -> tuple[str, ...]:
        """Return all accounts, organizations, units and `EVERYBODY`."""
        return (*self.user_ids, *self.arns)


@dataclass(frozen=True)
class Publication:
    """The SSM parameter that names the newest image. ``force``: also in place of a newer one."""

    name: str
    force: bool = False


@dataclass(frozen=True)
class TemplateSpec:
    """A launch template, by its id or name. ``version``: the earlier version that becomes the default again."""

    key: str
    by_name: bool
    default: bool = True
    version: int | None = None

    @property
    def option(self) -> str:
        """Return the option that names the launch template."""
        return f"launch_template.{'name' if self.by_name else 'id'}"


@dataclass(frozen=True)
class Distribution:
    """The options, checked. None: the task leaves the attribute alone.

    ``deprecate_after``: counted from the creation of the image. ``never_deprecate``: remove the deprecation.
    """

    copies: tuple[CopySpec, ...] = ()
    permissions: Permissions | None = None
    deprecate_after: timedelta | None = None
    never_deprecate: bool = False
    protection: str | None = None
    parameter: Publication | None = None
    template: TemplateSpec | None = None


def parse_distribution(params: Mapping[str, Any], region: str) -> Distribution:
    """Return the options as a checked spec. Raises SpecError, which names the option."""
    after = params.get("deprecate_after")
    permissions = _permissions(params.get("launch_permissions"), public=bool(params.get("allow_public")))
    public = permissions is not None and EVERYBODY in permissions.user_ids
    if public and after not in (None, NEVER) and _deprecation(str(after)) > LONGEST_PUBLIC:
        raise SpecError(f"deprecate_after: {after} is too long for a public image. Use two years or less, such as 90d.")
    return Distribution(
        copies=parse_copies(params.get("copies"), region, "already has the image", _copy),
        permissions=permissions,
        deprecate_after=None if after in (None, NEVER) else _deprecation(str(after)),
        never_deprecate=after == NEVER,
        protection=params.get("deregistration_protection"),
        parameter=_parameter(params.get("ssm_parameter")),
        template=_template(params.get("launch_template")),
    )


def _copy(option: str, region: str, profile: str | None, entry: Mapping[str, Any]) -> CopySpec:
    return CopySpec(option, region, profile, (entry.get("kms_key_id") or "").strip() or None)


def _permissions(given: Mapping[str, Any] | None, *, public: bool) -> Permissions | None:
    if given is None:
        return None
    option = "launch_permissions"
    users = _users(given.get("user_ids"), f"{option}.user_ids")
    if EVERYBODY in users and not public:
        raise SpecError(
            f"{option}.user_ids: {EVERYBODY} makes the image public. Set allow_public: true if everybody may use it."
        )
    if EVERYBODY in users and given.get("snapshots"):
        raise SpecError(
            f"{option}.snapshots: {EVERYBODY} in user_ids would make the snapshots public. Remove one of the two."
        )
    arns = (
        *_arns(given.get("organization_arns"), f"{option}.organization_arns", "organization/"),
        *_arns(given.get("organizational_unit_arns"), f"{option}.organizational_unit_arns", "ou/"),
    )
    purge = given.get("purge")
    return Permissions(users, arns, purge is None or bool(purge), bool(given.get("snapshots")))


def _users(given: Iterable[Any] | None, option: str) -> tuple[str, ...]:
    """Return the accounts, and `EVERYBODY`, each once. Raises SpecError for any other text."""
    users = tuple(dict.fromkeys(str(item).strip() for item in given or ()))
    for user in users:
        if user != EVERYBODY and not _ACCOUNT.fullmatch(user):
            raise SpecError(
                f"{option}: {user!r} is not an account of twelve digits. Quote it, since YAML reads a leading zero as "
                "an octal number."
            )
    return users


def _arns(given: Iterable[str] | None, option: str, kind: str) -> tuple[str, ...]:
    """Return the ARNs, each once. Raises SpecError for one of another kind."""
    arns = tuple(dict.fromkeys(given or ()))
    for arn in arns:
        found = _ARN.fullmatch(arn)
        if found is None or not found[1].startswith(kind):
            raise SpecError(
                f"{option}: {arn!r} is not an ARN of this kind. Write it as arn:aws:organizations::…:{kind}…"
            )
    return arns


def _deprecation(value: str) -> timedelta:
    span = parse_span(value, "deprecate_after")
    if not timedelta(minutes=1) <= span <= LONGEST:
        raise SpecError(f"deprecate_after: {value} is out of range. Use a minute to ten years, such as 90d.")
    return span


def _parameter(given: Mapping[str, Any] | None) -> Publication | None:
    if given is None:
        return None
    name = str(given["name"])
    if not _PARAMETER.fullmatch(name) or len(name) > 1011:
        raise SpecError(
            f"ssm_parameter.name: SSM does not take {name!r} as a name. Use letters, digits and . - _ between slashes."
        )
    if name.lstrip("/").lower().startswith(("aws", "ssm")):
        raise SpecError(
            f"ssm_parameter.name: SSM reserves names that begin with aws or ssm, such as {name!r}. Use another."
        )
    if "/" in name and not name.startswith("/"):
        raise SpecError(f"ssm_parameter.name: {name!r} has a slash, but does not begin with one. Write '/{name}'.")
    return Publication(name, given.get("publish") == "force")


def _template(given: Mapping[str, Any] | None) -> TemplateSpec | None:
    if given is None:
        return None
    template_id, name, version = (given.get(key) for key in ("id", "name", "version"))
    if bool(template_id) == bool(name):
        raise SpecError("launch_template: the task needs exactly one of id and name. Set one of them.")
    if template_id and not _TEMPLATE_ID.fullmatch(template_id):
        raise SpecError(f"launch_template.id: {template_id!r} is not an id. Write lt- and 17 hexadecimal digits.")
    if name and not _TEMPLATE_NAME.fullmatch(name):
        raise SpecError(
            f"launch_template.name: {name!r} is not the name of a launch template. Use 3 to 128 letters, digits and ( "
            ") . / _ -"
        )
    default = given.get("default")
    if version is not None and (version < 1 or default is False):
        raise SpecError(
            "launch_template.version: this option makes an earlier version the default again. Use a number from 1, and "
            "remove default: false."
        )
    return TemplateSpec(str(template_id or name), bool(name), default is None or bool(default), version)
