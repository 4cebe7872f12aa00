# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions to which a failed publication returns its groups."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.refresh.way_back import former_versions


@pytest.mark.parametrize(
    ("own", "instances", "back"),
    [
        ("$Default", {"1": 2}, "$Default"),
        # The group's own number, which is not the default of the template.
        ("5", {"5": 2}, "5"),
        ("5", {"4": 2}, "5"),
        ("$Latest", {"6": 2}, "6"),
        ("$Latest", {"6": 2, "other": 1}, "6"),
        ("$Latest", {"5": 1, "6": 1}, "1"),
        ("$Latest", {}, "1"),
    ],
)
def test_group_returns_to_its_own_version(own: str, instances: dict[str, int], back: str) -> None:
    entry: dict[str, Any] = {
        "action": "StartInstanceRefresh",
        "resource": "web",
        "before": {"version": own, "instances": instances},
    }
    other = {"action": "ModifyLaunchTemplate", "resource": "lt-1", "before": {"default_version": "1"}}
    assert former_versions([other, entry], "1") == {"web": back}


def test_group_without_a_refresh_stays() -> None:
    assert former_versions([], "1") == {}
