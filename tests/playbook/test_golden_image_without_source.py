# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role golden_image when its source is gone: an existing image stays, and a capture is completed."""

from __future__ import annotations

from playbook.seeds import Web
from playbook.support import PLAYS, REGION, described_image, run_playbook
from sandbox.client import Sandbox

PLAY = PLAYS / "golden_image.yml"


def test_a_rerun_after_the_source_is_gone(sandbox: Sandbox, web: Web) -> None:
    """The image of version 1 exists; of version 2 there is the capture that a killed run has left."""
    given = {"golden_image_instance_id": web.instance_id, "golden_image_name": "web", "golden_image_stop": False}
    first = run_playbook(sandbox, PLAY, {**given, "golden_image_version": "1"})
    assert first.status == 0, first.output
    image_id = first.fact("golden_image_result")["image_id"]
    with sandbox.fault("RegisterImage", code="UnauthorizedOperation", status=403):
        assert run_playbook(sandbox, PLAY, {**given, "golden_image_version": "2"}).status != 0

    ec2 = sandbox.client("ec2", REGION)
    ec2.terminate_instances(InstanceIds=[web.instance_id])
    sandbox.move_clock(60)
    listed = run_playbook(sandbox, PLAY, {**given, "golden_image_version": "1"})
    assert listed.status == 0, listed.output
    sandbox.move_clock(3 * 3600)
    for check in (True, False):
        again = run_playbook(sandbox, PLAY, {**given, "golden_image_version": "1"}, check=check)
        assert again.status == 0, again.output
        result = again.fact("golden_image_result")
        assert (result["image_id"], result["changed"], result["plan"]) == (image_id, False, [])

    completed = run_playbook(sandbox, PLAY, {**given, "golden_image_version": "2"})
    assert completed.status == 0, completed.output
    result = completed.fact("golden_image_result")
    assert [entry["action"] for entry in result["plan"]] == ["RegisterImage"]
    assert described_image(sandbox, result["image_id"])["State"] == "available"
    assert f"{web.instance_id} is gone" in completed.output
