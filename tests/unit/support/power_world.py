# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `instance_power` for the tests of its planner."""

from __future__ import annotations

from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner

REGION = "eu-central-1"
ONE, TWO, THREE, FOUR, SUCCESSOR = (f"i-0000000000000000{number}" for number in (1, 2, 3, 4, 9))
DEFAULTS: dict[str, Any] = {
    "instance_ids": [ONE],
    "remember": False,
    "for_relaunch": False,
    "older_than": "1h",
    "force": False,
    "hibernate": False,
    "skip_os_shutdown": False,
    "lose_instance_store": False,
    "force_start": False,
    "wait_timeout": 1800,
}


def spec(state: str, **options: Any) -> planner.PowerSpec:
    return planner.parse({**DEFAULTS, "state": state, **options}, REGION)
