# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata options of a successor: carried over, overridden, and compared with those of the image."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_relaunch

from in_process import machine, run
from relaunch_world import IMAGE, launch, plain, plan, spec
from sandbox.client import Sandbox

IMDSV1 = {"MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 1, "State": "applied"}}
ASKING = dataclasses.replace(IMAGE, imds_support="v2.0")


def test_options_that_are_not_overridden_are_carried_over() -> None:
    wanted = spec(overrides={"metadata_options": {"http_tokens": "required"}})
    made = launch(wanted, plain(facts=IMDSV1))
    assert made.parameters["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


@pytest.mark.parametrize(
    ("image", "facts", "overrides", "warned"),
    [
        (ASKING, IMDSV1, None, True),
        (ASKING, IMDSV1, {"metadata_options": {"http_tokens": "required"}}, False),
        (ASKING, {"MetadataOptions": {"HttpTokens": "required"}}, None, False),
        (ASKING, {}, {"metadata_options": {"http_tokens": "optional"}}, True),
        (ASKING, {}, None, False),
        (IMAGE, IMDSV1, None, False),
    ],
)
def test_successor_that_is_weaker_than_its_image_asks_for_is_warned_of(
    image: Any, facts: dict[str, Any], overrides: Any, warned: bool
) -> None:
    made = plan(spec(overrides=overrides), plain(facts=facts), image=image)
    found = [text for text in made.warnings if "IMDSv1" in text]
    assert bool(found) is warned
    assert all("overrides.metadata_options.http_tokens to required" in text for text in found)


@pytest.mark.parametrize("limit", [0, 65, -1])
def test_hop_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(SpecError, match="http_put_response_hop_limit"):
        spec(overrides={"metadata_options": {"http_put_response_hop_limit": limit}})


def test_override_reaches_the_successor_and_an_older_one_is_named(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    image_id = run(
        sandbox, module=ami_bake, name="web", version="1", source_instance_id=web.instance_id, require_stopped=False
    ).result["image_id"]
    tokens = "required"
    for _again in range(2):
        ended = run(
            sandbox,
            module=instance_relaunch,
            instance_id=web.instance_id,
            image_id=image_id,
            overrides={"metadata_options": {"http_tokens": tokens}},
        )
        assert not ended.failed
        found = web.ec2.describe_instances(InstanceIds=[ended.result["instance_id"]])
        options = found["Reservations"][0]["Instances"][0]["MetadataOptions"]
        assert options["HttpTokens"] == "required"
        tokens = "optional"
    assert ended.actions == []
    assert any("metadata_options.http_tokens optional (now required)" in text for text in ended.warnings)
