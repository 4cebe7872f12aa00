# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches on the sandbox that move a second interface: whole, killed, and refused.

The calls: DescribeNetworkInterfaces, DetachNetworkInterface, AttachNetworkInterface, ModifyNetworkInterfaceAttribute,
and DescribeVolumes of an instance_power that looks for moved parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import REGION, Ended, Killed, KillingGateway, Machine, RefusingGateway, machine, run
from sandbox.client import Sandbox, living
from worlds import sandbox_gateway


@dataclass
class Router:
    """A server with an Elastic IP, and with a second interface that has another one. Its source check is off."""

    sandbox: Sandbox
    web: Machine
    extra: str
    image_id: str

    def relaunch(self, **more: Any) -> Ended:
        given = {"instance_id": self.web.instance_id, "image_id": self.image_id, "health": {"timeout": 60}}
        moves = {"network_interfaces": "move", "elastic_ip": "move"}
        given = {name: value for name, value in {**given, **moves, **more}.items() if value is not None}
        return run(self.sandbox, module=instance_relaunch, **given)

    def kill(self, nth: int, **more: Any) -> None:
        with pytest.raises(Killed):
            self.relaunch(gateway=KillingGateway(sandbox_gateway(self.sandbox, REGION), nth), **more)

    def places(self) -> dict[str, Any]:
        """Where EC2 shows both addresses and the interface, and the state of each instance."""
        ec2 = self.web.ec2
        rows = living(ec2)
        names = {name: "old" if name == self.web.instance_id else "new" for name in rows}
        shown = ec2.describe_network_interfaces()["NetworkInterfaces"]
        (extra,) = (one for one in shown if one["NetworkInterfaceId"] == self.extra)
        link = extra["Attachment"]
        addresses = {
            "extra" if one["NetworkInterfaceId"] == self.extra else "first": names.get(one.get("InstanceId", ""))
            for one in ec2.describe_addresses()["Addresses"]
        }
        return {
            "states": {names[name]: row["State"]["Name"] for name, row in rows.items()},
            "checks": {names[name]: row["SourceDestCheck"] for name, row in rows.items()},
            "extra": (names[link["InstanceId"]], link["DeviceIndex"], link["DeleteOnTermination"]),
            "addresses": addresses,
            "interfaces": len(shown),
            "tags": {
                names[name]: sorted(tag["Key"] for tag in row.get("Tags", []) if tag["Key"].startswith("ec2ops:"))
                for name, row in rows.items()
            },
        }


BEFORE = {
    "states": {"old": "running"},
    "checks": {"old": False},
    "extra": ("old", 1, True),
    "addresses": {"first": "old", "extra": "old"},
    "interfaces": 2,
    "tags": {"old": []},
}
MOVED = {
    "states": {"old": "stopped", "new": "running"},
    "checks": {"old": False, "new": False},
    "extra": ("new", 1, True),
    "addresses": {"first": "new", "extra": "new"},
    "interfaces": 3,
    "tags": {"old": [], "new": ["ec2ops:replaces", "ec2ops:trial"]},
}


@pytest.fixture
def router(sandbox: Sandbox) -> Router:
    sandbox.configure(options={"unhealthy_launches": False})
    web = machine(sandbox, elastic_ip=True)
    ec2 = web.ec2
    (row,) = [item for group in ec2.describe_instances()["Reservations"] for item in group["Instances"]]
    ec2.modify_instance_attribute(InstanceId=web.instance_id, SourceDestCheck={"Value": False})
    extra = ec2.create_network_interface(SubnetId=row["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    made = ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=web.instance_id, DeviceIndex=1)
    change = {"AttachmentId": made["AttachmentId"], "DeleteOnTermination": True}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=extra, Attachment=change)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.associate_address(AllocationId=address, NetworkInterfaceId=extra)
    baked = run(
        sandbox, module=ami_bake, name="web", version="1", source_instance_id=web.instance_id, require_stopped=False
    )
    return Router(sandbox, web, extra, baked.result["image_id"])


def test_interface_and_both_addresses_move_and_the_second_run_changes_nothing(router: Router) -> None:
    assert router.places() == BEFORE
    planned = router.relaunch(check=True, strategy="auto", network_interfaces=None)
    assert (planned.failed, planned.result["strategy"]) == ("", "replace_instance")
    assert router.places() == BEFORE
    ended = router.relaunch()
    assert not ended.failed
    assert ended.actions == planned.actions
    assert router.places() == MOVED
    assert router.relaunch(check=True).actions == []
    assert router.relaunch().actions == []
    # The interface ends with the successor as it would have ended with the predecessor.
    (new,) = [one["instance_id"] for one in [ended.result["instance"]]]
    router.web.ec2.terminate_instances(InstanceIds=[new])
    assert router.extra not in str(router.web.ec2.describe_network_interfaces())


@pytest.mark.parametrize("nth", [6, 7])
def test_killed_between_its_calls_the_next_run_moves_the_interface_on(router: Router, nth: int) -> None:
    router.kill(nth)
    ended = run(
        router.sandbox, module=instance_power, instance_ids=[router.web.instance_id], state="restored", force_start=True
    )
    assert "the network interfaces of" in ended.failed
    assert "would start without them" in ended.failed
    ended = router.relaunch()
    assert not ended.failed, ended.failed
    assert router.places() == MOVED
    assert router.relaunch().actions == []


@pytest.mark.parametrize(("nth", "unclear"), [(7, False), (7, True), (8, False)])
def test_refused_call_returns_the_interface_with_its_flag(router: Router, nth: int, unclear: bool) -> None:
    gateway = RefusingGateway(sandbox_gateway(router.sandbox, REGION), nth, unclear=unclear)
    ended = router.relaunch(gateway=gateway)
    if unclear:
        # A look shows that the interface was attached after all.
        assert (ended.failed, router.places()) == ("", MOVED)
        return
    assert ended.failed
    assert router.places() == BEFORE


def test_interface_of_a_successor_that_somebody_terminates_is_not_lost(router: Router) -> None:
    router.kill(8)
    rows = [item for group in router.web.ec2.describe_instances()["Reservations"] for item in group["Instances"]]
    (new,) = [row["InstanceId"] for row in rows if row["InstanceId"] != router.web.instance_id]
    router.web.ec2.terminate_instances(InstanceIds=[new])
    assert "and never served in place of" in router.relaunch().failed
    assert router.places() == BEFORE
    assert not router.relaunch().failed
    assert router.places() == MOVED
