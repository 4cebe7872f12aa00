# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A check run foresees the size and the encryption of an image's devices, and so does the relaunch that follows it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_relaunch

from in_process import machine, run
from sandbox.client import Sandbox


@pytest.mark.parametrize("options", [{}, {"block_devices": [{"device_name": "/dev/xvda", "volume_size": 30}]}])
def test_size_and_encryption_are_foreseen(sandbox: Sandbox, options: dict[str, Any]) -> None:
    web = machine(sandbox, data=1)
    given = {
        "name": "web",
        "version": "1",
        "source_instance_id": web.instance_id,
        "require_stopped": False,
        "devices": "all",
        **options,
    }
    foreseen = run(sandbox, module=ami_bake, check=True, **given).result["image"]["block_devices"]
    made = run(sandbox, module=ami_bake, **given).result["image"]["block_devices"]
    assert [(item["size"], item["encrypted"]) for item in foreseen] == [
        (item["size"], item["encrypted"]) for item in made
    ]


def test_check_run_of_a_group_reports_a_smaller_root(sandbox: Sandbox) -> None:
    small, large = machine(sandbox, "small"), machine(sandbox, "large")
    size = small.ec2.describe_volumes(VolumeIds=[large.root_volume_id])["Volumes"][0]["Size"]
    small.ec2.modify_volume(VolumeId=large.root_volume_id, Size=size + 10)
    sandbox.move_clock(7 * 3600)
    baked = run(
        sandbox,
        module=ami_bake,
        check=True,
        name="web",
        version="1",
        source_instance_id=small.instance_id,
        require_stopped=False,
    ).result
    ended = run(
        sandbox,
        module=instance_relaunch,
        check=True,
        instance_id=large.instance_id,
        image_id=baked["image_id"],
        assume=[baked["plan"]],
    )
    assert any(f"to {size} GiB" in text and f"from {size + 10} GiB" in text for text in ended.warnings)
