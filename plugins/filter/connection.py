# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter connection: the connection options of a playbook, from its three variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ec2ops.storage.plugins.filter.from_text import from_text
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.variables import joined_connection
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError


def connection(value: Any, playbook: str, region: str = "", profile: str = "") -> dict[str, Any]:
    """Return the joined options, see connection.yml.

    Raises AnsibleFilterError for values that contradict each other or have the wrong type.
    """
    options = from_text(value, f"{playbook}_aws", "mapping")
    try:
        return joined_connection(options, playbook, {"region": region, "profile": profile})
    except SpecError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The class that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"connection": connection}
