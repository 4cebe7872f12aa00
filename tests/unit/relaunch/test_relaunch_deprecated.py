# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relaunch from a public image that its owner has deprecated: EC2 hides it from filters, and launches it."""

from __future__ import annotations

from ansible_collections.ec2ops.storage.plugins.modules import instance_relaunch

from in_process import machine, run
from sandbox.client import Sandbox


def test_a_deprecated_public_image_is_found(sandbox: Sandbox) -> None:
    vendor = {"name": "linux", "public": True, "deprecated": 3600}
    public = sandbox.seed({"account": "999999999999", "image": vendor})["linux"]
    web = machine(sandbox)
    relaunched = run(
        sandbox,
        module=instance_relaunch,
        check=True,
        instance_id=web.instance_id,
        image_id=public,
    )
    assert relaunched.failed == ""
    assert "RunInstances" in relaunched.actions
