# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Overrides that do not apply, since the instance runs from the image already.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._domain.instance_facts import read_fact
from ..._kernel.ids import is_planned
from ..._kernel.resources import Instance
from .options import METADATA_OPTIONS, RelaunchSpec


def not_applied(spec: RelaunchSpec, current: Instance) -> tuple[str, ...]:
    """Return the warning for overrides that differ from an instance that is up to date. User data is unknown."""
    wanted, facts = spec.overrides, current.facts
    found = []
    if wanted.instance_type not in (None, current.instance_type):
        found.append(f"instance_type {wanted.instance_type} (now {current.instance_type})")
    if wanted.key_name is not None and wanted.key_name != (facts.get("KeyName") or ""):
        found.append(f"key_name {wanted.key_name or 'none'} (now {facts.get('KeyName') or 'none'})")
    profile, arn = wanted.iam_instance_profile, read_fact(facts, "IamInstanceProfile.Arn") or ""
    if profile is not None and profile not in (arn, arn.rpartition("/")[2]):
        found.append(f"iam_instance_profile {profile or 'none'} (now {arn or 'none'})")
    interface: Mapping[str, Any] = next(iter(facts.get("NetworkInterfaces") or ()), {})
    groups = sorted(item["GroupId"] for item in interface.get("Groups") or ())
    if wanted.security_group_ids is not None and sorted(wanted.security_group_ids) != groups:
        found.append(f"security_group_ids {', '.join(wanted.security_group_ids)} (now {', '.join(groups)})")
    for option, name in METADATA_OPTIONS.items():
        asked, have = wanted.metadata_options.get(name), read_fact(facts, f"MetadataOptions.{name}")
        if asked is not None and asked != have:
            found.append(f"metadata_options.{option} {asked} (now {have or 'unknown'})")
    tags = sorted(key for key, value in (wanted.tags or {}).items() if current.tags.get(key) != value)
    if tags:
        found.append(f"tags {', '.join(tags)}")
    if not found or is_planned(current.instance_id):
        return ()
    warning = (
        f"overrides: {current.instance_id} runs from {current.image_id} already, so the task does not apply these: "
        f"{'; '.join(found)}. Overrides only apply to the launch of a successor"
    )
    return (warning,)
