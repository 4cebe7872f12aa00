# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of instance_refresh, checked.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._kernel.errors import SpecError
from ..._kernel.ids import kind_of
from ..._kernel.scaling_facts import ALIASES

ROLLBACK, CANCEL, KEEP = "rollback", "cancel", "keep"
IGNORE = "ignore"
_NAMES: Mapping[str, str] = {
    "min_healthy_percentage": "MinHealthyPercentage",
    "max_healthy_percentage": "MaxHealthyPercentage",
    "instance_warmup": "InstanceWarmup",
    "bake_time": "BakeTime",
    "scale_in_protected_instances": "ScaleInProtectedInstances",
    "standby_instances": "StandbyInstances",
}
"""EC2 Auto Scaling's name of each preference."""
_LIMITS: Mapping[str, tuple[int, int]] = {
    "min_healthy_percentage": (0, 100),
    "max_healthy_percentage": (100, 200),
    "instance_warmup": (0, 86_400),
    "bake_time": (0, 172_800),
}
"""The least and the greatest value of each number (EC2 Auto Scaling API reference, RefreshPreferences)."""
_SPREAD = 100
"""The largest difference between both percentages of healthy instances, from the same reference."""


@dataclass(frozen=True)
class RefreshSpec:
    """``version``: a number, an alias, a planned id, or None for the version that each group names itself.
    ``preferences``: those that the user gave, and no others. ``versions``: the version of single groups, by name.
    ``template_id``: the launch template that each group must have.
    """

    groups: tuple[str, ...]
    version: str | None = None
    preferences: Mapping[str, Any] = field(default_factory=dict)
    on_failure: str = ROLLBACK
    health_timeout: float = 600.0
    versions: Mapping[str, str | None] = field(default_factory=dict)
    template_id: str | None = None

    def version_of(self, group: str) -> str | None:
        """Return the wanted version of a group, or None for the one that the group names itself."""
        return self.versions.get(group, self.version)

    @property
    def ignores_protected(self) -> bool:
        """Instances that are protected from scale-in stay as they are."""
        return bool(self.preferences.get("scale_in_protected_instances") == IGNORE)

    @property
    def ignores_standby(self) -> bool:
        """Instances in Standby stay as they are."""
        return bool(self.preferences.get("standby_instances") == IGNORE)

    def request(self, *, reversible: bool) -> dict[str, Any]:
        """Return the preferences of a new refresh. *reversible*: EC2 Auto Scaling can roll the refresh back itself."""
        given = {
            _NAMES[name]: value.capitalize() if isinstance(value, str) else value
            for name, value in self.preferences.items()
        }
        back = {"AutoRollback": True} if reversible and self.on_failure == ROLLBACK else {}
        return {**given, "SkipMatching": True, **back}


def parse(params: Mapping[str, Any], _region: str) -> RefreshSpec:
    """Return the checked options. Raises SpecError, which names the option."""
    groups = tuple(dict.fromkeys(str(name).strip() for name in params["groups"]))
    if not groups or not all(groups):
        raise SpecError("groups: no group is named. Give the names of Auto Scaling groups.")
    timeout = params["health_timeout"]
    if timeout < 1:
        raise SpecError(f"health_timeout: {timeout} is less than 1 second. Use 1 or more.")
    return RefreshSpec(
        groups,
        _version(params.get("version")),
        _preferences(params.get("preferences") or {}),
        params["on_failure"],
        float(timeout),
        _versions(params.get("versions") or {}, groups),
        params.get("launch_template_id") or None,
    )


def _versions(given: Mapping[str, Any], groups: tuple[str, ...]) -> dict[str, str | None]:
    unknown = sorted(set(given) - set(groups))
    if unknown:
        raise SpecError(
            f"versions: {', '.join(unknown)}: groups does not name it. Correct the name, or add it to groups."
        )
    return {name: _version(value, f"versions.{name}") for name, value in given.items()}


def _version(value: Any, option: str = "version") -> str | None:
    if value is None or value == "":
        return None
    text = str(value)
    if text in ALIASES or (text.isascii() and text.isdigit() and int(text) > 0) or kind_of(text) == "version":
        return text
    raise SpecError(
        f"{option}: {text!r} is not a version of a launch template. Give a number or {' or '.join(ALIASES)}, or remove "
        "the option to use the version that the group names."
    )


def _preferences(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in given.items() if value is not None}
    for name, (low, high) in _LIMITS.items():
        if name in found and not low <= found[name] <= high:
            raise SpecError(f"preferences.{name}: {found[name]} is out of range. Use {low} to {high}.")
    least, most = found.get("min_healthy_percentage"), found.get("max_healthy_percentage")
    if most is None:
        return found
    if least is None:
        raise SpecError("preferences.max_healthy_percentage: needs min_healthy_percentage too. Set both.")
    if most - least > _SPREAD:
        raise SpecError(
            f"preferences.max_healthy_percentage: {most} is more than {_SPREAD} above min_healthy_percentage "
            f"({least}). Use {least + _SPREAD} or less."
        )
    return found
