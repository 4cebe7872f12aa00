# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake`: a version is removed by its tags, so the name that its image would have does not matter."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import REGION, machine, run
from sandbox.client import Sandbox


@pytest.mark.parametrize("version", ["1*", "CORP\\1"])
def test_version_whose_default_name_ec2_does_not_take_is_removed(sandbox: Sandbox, version: str) -> None:
    web = machine(sandbox)
    given = {"module": ami_bake, "name": "web", "version": version}
    source = {"source_instance_id": web.instance_id, "require_stopped": False}
    made = run(sandbox, image_name="web one", **source, **given)
    assert made.failed == ""
    gone = run(sandbox, state="absent", **given)
    assert gone.failed == ""
    assert "DeregisterImage" in gone.actions
    images = sandbox.client("ec2", REGION).describe_images(Owners=["self"])["Images"]
    assert made.result["image_id"] not in [image["ImageId"] for image in images]


def test_new_version_needs_a_name_that_ec2_takes(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    ended = run(sandbox, module=ami_bake, name="web", version="1*", source_instance_id=web.instance_id)
    assert "image_name: EC2 does not take 'web-1*'" in ended.failed
