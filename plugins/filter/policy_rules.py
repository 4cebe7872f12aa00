# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter policy_rules: the rules of policies, for a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.policies import policy_rules


class FilterModule:
    """The class that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"policy_rules": policy_rules}
