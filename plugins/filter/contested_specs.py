# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter contested_specs: declarations that would purge each other's volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.contested import refusals


def contested_specs(hosts: Sequence[str], told: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a sentence for each host with contested declarations, see contested_specs.yml."""
    return refusals({host: list(_purging(one)) for host, one in zip(hosts, told, strict=True)})


def _purging(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a host's declarations that purge undeclared volumes."""
    for spec in told["specs"]:
        if boolean(spec.get("purge_volumes", told["purge"]), strict=False):
            yield spec


class FilterModule:
    """The class that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"contested_specs": contested_specs}
