# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter from_text: values of variables that a survey or a command line gives as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import variables
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from yaml import YAMLError

# Examples by the end of the variable's name.
RIGHT_VALUES = {
    "_aws": "{region: eu-central-1}",
    "_block_devices": "[{device_name: /dev/xvda, volume_size: 20}]",
    "_devices": "[/dev/xvda]",
    "_distribution": "{copies: [{region: eu-west-1}]}",
    "_expected_plans": "{daily: 3f0c9a}",
    "_groups": "[web]",
    "_hardware": "{imds_support: v2.0}",
    "_hosts": "[web1]",
    "_instance_ids": "[i-0123456789abcdef0]",
    "_names": "{vol-0123456789abcdef0: data}",
    "_overrides": "{instance_type: t3.small}",
    "_policies": "[{policy: daily, select: {tags: {backup: daily}}, keep: {daily: 7}}]",
    "_preferences": "{min_healthy_percentage: 90}",
    "_specs": "[{instance_ids: [i-0123456789abcdef0], volumes: [{name: data, size: 20}]}]",
    "_tags": "{team: shop}",
    "_volume_ids": "[vol-0123456789abcdef0]",
    "_volumes": "[{name: data, size: 20}]",
}


def from_text(value: Any, option: str, kind: str) -> Any:
    """Return the mapping or list, see from_text.yml. Raises AnsibleFilterError for a value of another type."""
    if kind == "batches":
        return _batches(value, option)
    example = next((text for ending, text in RIGHT_VALUES.items() if option.endswith(ending)), "")
    try:
        return variables.from_text(value, option, kind, example, _parsed)
    except SpecError as error:
        raise AnsibleFilterError(str(error)) from error


def _batches(value: Any, option: str) -> list[int | str]:
    try:
        return variables.batches(value, option, _parsed)
    except SpecError as error:
        raise AnsibleFilterError(str(error)) from error


def _parsed(text: str) -> Any:
    try:
        # ansible-core marks the origin of a value by a subclass of str, which the C loader refuses.
        return yaml_load(text.encode())
    except YAMLError as error:
        raise ValueError(text) from error


class FilterModule:
    """The class that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"from_text": from_text}
