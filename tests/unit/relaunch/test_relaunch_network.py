# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relaunch and the network of the predecessor: an interface that outlives it, and its Elastic IP."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import Machine, machine, run
from sandbox.client import Sandbox


def baked(web: Machine) -> str:
    given = {"name": "web", "version": "1", "require_stopped": False}
    return str(run(web.sandbox, module=ami_bake, source_instance_id=web.instance_id, **given).result["image_id"])


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_interface_set_to_outlive_its_instance_refuses_the_stop(sandbox: Sandbox, check: bool) -> None:
    web = machine(sandbox)
    row = web.ec2.describe_instances(InstanceIds=[web.instance_id])["Reservations"][0]["Instances"][0]
    (interface,) = row["NetworkInterfaces"]
    web.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=interface["NetworkInterfaceId"],
        Attachment={"AttachmentId": interface["Attachment"]["AttachmentId"], "DeleteOnTermination": False},
    )
    given = {"instance_ids": [web.instance_id], "state": "stopped", "remember": True, "for_relaunch": True}
    stopped = run(sandbox, module=instance_power, check=check, **given)
    assert "interface" in stopped.failed
    assert stopped.actions == []
    assert web.state == "running"


@pytest.mark.parametrize(("old_instance", "stays"), [("terminate", False), ("stop", True), ("keep", True)])
def test_kept_predecessor_keeps_its_elastic_ip(sandbox: Sandbox, old_instance: str, stays: bool) -> None:
    web = machine(sandbox, elastic_ip=True)
    given = {"instance_id": web.instance_id, "image_id": baked(web), "elastic_ip": "keep", "old_instance": old_instance}
    (address,) = [row["PublicIp"] for row in web.ec2.describe_addresses()["Addresses"]]
    ended = run(sandbox, module=instance_relaunch, **given)
    assert ended.failed == ""
    told = [warning for warning in ended.warnings if f"Elastic IP {address}" in warning]
    assert len(told) == 1
    assert (f"these stay with {web.instance_id}" in told[0]) is stays
    assert ("is associated with no instance once" in told[0]) is not stays
    sandbox.move_clock(60)
    (row,) = web.ec2.describe_addresses()["Addresses"]
    assert (row.get("InstanceId") == web.instance_id) is stays
