# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and addresses of an instance: the answer to the launch, the effect of a change, and the termination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain import make_instant, make_slow, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


def only(ec2: Any, instance_id: str) -> dict[str, Any]:
    return dict(ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0])


def test_launch_answers_without_a_public_address(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ec2, image = sandbox.client(), sandbox.seed({"image": {"name": "base"}})["base"]
    (row,) = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"]
    assert row["State"]["Name"] == "pending"
    assert "PublicIpAddress" not in row
    assert row["PublicDnsName"] == ""
    (interface,) = row["NetworkInterfaces"]
    assert interface["Attachment"]["Status"] == "attaching"
    assert "Association" not in interface
    assert not [one for one in interface["PrivateIpAddresses"] if "Association" in one]

    shown = only(ec2, row["InstanceId"])
    assert shown["PublicIpAddress"] and shown["PublicDnsName"]
    (interface,) = shown["NetworkInterfaces"]
    assert interface["Attachment"]["Status"] == "attached"
    assert interface["Association"]["PublicIp"] == shown["PublicIpAddress"]


def test_interface_may_be_set_to_outlive_its_instance(sandbox: Sandbox) -> None:
    ec2, web = sandbox.client(), sandbox.seed({"instance": {"name": "web"}})["web"]
    (interface,) = only(ec2, web)["NetworkInterfaces"]
    assert interface["Attachment"]["DeleteOnTermination"] is True
    named, attached = interface["NetworkInterfaceId"], interface["Attachment"]["AttachmentId"]
    for outlives in (True, False):
        change = {"AttachmentId": attached, "DeleteOnTermination": not outlives}
        ec2.modify_network_interface_attribute(NetworkInterfaceId=named, Attachment=change)
        (interface,) = only(ec2, web)["NetworkInterfaces"]
        assert interface["Attachment"]["DeleteOnTermination"] is not outlives
    refused(
        "InvalidAttachmentID.NotFound",
        ec2.modify_network_interface_attribute,
        NetworkInterfaceId=named,
        Attachment={"AttachmentId": "eni-attach-00000000000000000", "DeleteOnTermination": False},
    )
    ec2.modify_network_interface_attribute(NetworkInterfaceId=named, Description={"Value": "front"})
    assert only(ec2, web)["NetworkInterfaces"][0]["Description"] == "front"


def test_terminated_instance_has_no_elastic_ip_any_more(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ec2 = sandbox.client()
    ids = sandbox.seed({"instances": [{"name": "a", "elastic_ip": True}, {"name": "b", "elastic_ip": True}]})
    ec2.terminate_instances(InstanceIds=[ids["a"]])
    addresses = {row["PublicIp"]: row for row in ec2.describe_addresses()["Addresses"]}
    assert set(addresses) == {ids["a/elastic_ip"], ids["b/elastic_ip"]}, "it stays allocated"
    assert not addresses[ids["a/elastic_ip"]].get("InstanceId")
    assert not addresses[ids["a/elastic_ip"]].get("AssociationId")
    assert addresses[ids["b/elastic_ip"]]["InstanceId"] == ids["b"]
    assert only(ec2, ids["b"])["PublicIpAddress"] == ids["b/elastic_ip"]
