# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of another account that is not shared: EC2 leaves it out of DescribeImages without an error."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import instance_relaunch

from in_process import machine, run
from sandbox.client import Sandbox

OTHER = "111122223333"


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_relaunch_from_an_image_that_is_not_shared_is_refused(sandbox: Sandbox, check: bool) -> None:
    web = machine(sandbox)
    theirs = sandbox.client(account=OTHER)
    owned = sandbox.seed({"account": OTHER, "image": {"name": "theirs"}})["theirs"]
    assert theirs.describe_images(ImageIds=[owned])["Images"]
    assert web.ec2.describe_images(ImageIds=[owned])["Images"] == []
    ended = run(
        sandbox, module=instance_relaunch, check=check, instance_id=web.instance_id, image_id=owned, data_volumes="keep"
    )
    assert owned in ended.failed
    assert "image" in ended.failed
    assert web.ec2.describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
