# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter approved_policies: policies that delete only the approved snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.ec2ops.storage.plugins.filter.from_text import from_text
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation import policies


def approved_policies(value: Sequence[Mapping[str, Any]], plans: Any, option: str) -> list[dict[str, Any]]:
    """Return the policies, see approved_policies.yml. Raises AnsibleFilterError for plans of another type."""
    if plans is None or plans == "":
        return [dict(policy) for policy in value]
    return policies.approved_policies(value, from_text(plans, option, "mapping"))


class FilterModule:
    """The class that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"approved_policies": approved_policies}
