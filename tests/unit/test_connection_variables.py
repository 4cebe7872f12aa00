# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options of a playbook: from three variables, of which two may name one option."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ec2ops.storage.plugins.filter.connection import connection

NO_KEYS = {"access_key": "", "secret_key": "", "session_token": ""}
"""amazon.aws refuses a profile beside the keys of the environment, which AWX's own credential sets."""


@pytest.mark.parametrize(
    ("aws", "region", "profile", "joined"),
    [
        ("", "", "", {}),
        (None, None, None, {}),
        ("", "eu-central-1", "shop", {"region": "eu-central-1", "profile": "shop", **NO_KEYS}),
        ({"region": "eu-central-1"}, "", "shop", {"region": "eu-central-1", "profile": "shop", **NO_KEYS}),
        ({"profile": "shop"}, "", "", {"profile": "shop", **NO_KEYS}),
        ({"profile": "shop", "access_key": "k"}, "", "", {"profile": "shop", **NO_KEYS, "access_key": "k"}),
        ("region: eu-central-1", "eu-central-1", "", {"region": "eu-central-1"}),
        ({"access_key": "k"}, "eu-central-1", "", {"access_key": "k", "region": "eu-central-1"}),
    ],
)
def test_three_variables_are_joined(aws: Any, region: Any, profile: Any, joined: dict[str, Any]) -> None:
    assert connection(aws, "move_volumes", region, profile) == joined


def test_two_regions_are_refused_by_name() -> None:
    said = "move_volumes_region: 'eu-west-1' differs from region in move_volumes_aws"
    with pytest.raises(AnsibleFilterError, match=said):
        connection({"region": "eu-central-1"}, "move_volumes", region="eu-west-1")


def test_options_that_are_no_mapping_are_refused_by_name() -> None:
    with pytest.raises(AnsibleFilterError, match="move_volumes_aws: 'eu-central-1' is not a mapping"):
        connection("eu-central-1", "move_volumes")
