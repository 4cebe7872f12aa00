# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches on the sandbox that move data, address and load balancers: whole, killed, failed, and run again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import REGION, Ended, Killed, KillingGateway, Machine, RefusingGateway, machine, run
from sandbox.client import Sandbox, living
from worlds import sandbox_gateway

ALL = {"data_volumes": "move", "elastic_ip": "move", "target_groups": "move"}


@dataclass
class Service:
    """A web server with a data volume, an Elastic IP, two target groups and a Classic Load Balancer."""

    sandbox: Sandbox
    web: Machine
    allocation: str
    data: str
    image_id: str
    groups: dict[str, str]

    def relaunch(self, **more: Any) -> Ended:
        given = {"instance_id": self.web.instance_id, "image_id": self.image_id, **ALL, **more}
        return run(self.sandbox, module=instance_relaunch, **{"health": {"timeout": 60}, **given})

    def kill(self, nth: int, **more: Any) -> None:
        with pytest.raises(Killed):
            self.relaunch(gateway=KillingGateway(sandbox_gateway(self.sandbox, REGION), nth), **more)

    def instances(self) -> dict[str, dict[str, Any]]:
        return living(self.web.ec2)

    @property
    def names(self) -> dict[str, str]:
        """Short names: old, new, and further successors by their ids."""
        found = self.instances()
        others = [name for name in found if name != self.web.instance_id]
        return {self.web.instance_id: "old", **dict.fromkeys(others, "new")}

    def places(self) -> dict[str, Any]:
        """Where EC2 shows each part, and the state of each instance."""
        ec2, names = self.web.ec2, self.names
        (volume,) = ec2.describe_volumes(VolumeIds=[self.data])["Volumes"]
        (address,) = ec2.describe_addresses(AllocationIds=[self.allocation])["Addresses"]
        rows, targets = self.instances(), {}
        addresses = {row.get("PrivateIpAddress"): names[name] for name, row in rows.items()}
        for kind, arn in self.groups.items():
            answer = self.sandbox.client("elbv2").describe_target_health(TargetGroupArn=arn)
            targets[kind] = sorted(
                f"{names.get(one['Target']['Id']) or addresses.get(one['Target']['Id'])}:{one['Target']['Port']}"
                for one in answer["TargetHealthDescriptions"]
                if one["TargetHealth"]["State"] != "draining"
            )
        (classic,) = self.sandbox.client("elb").describe_load_balancers()["LoadBalancerDescriptions"]
        return {
            "data": [(names[one["InstanceId"]], one["Device"]) for one in volume["Attachments"]],
            "address": names.get(address.get("InstanceId", "")),
            "targets": targets,
            "classic": sorted(names.get(one["InstanceId"], "gone") for one in classic["Instances"]),
            "states": {names[name]: row["State"]["Name"] for name, row in rows.items()},
            "tags": {
                names[name]: sorted(tag["Key"] for tag in row.get("Tags", []) if tag["Key"].startswith("ec2ops:"))
                for name, row in rows.items()
            },
        }


BEFORE = {
    "data": [("old", "/dev/sdf")],
    "address": "old",
    "targets": {"instance": ["old:8080", "old:8443"], "ip": ["old:80"]},
    "classic": ["old"],
    "states": {"old": "running"},
    "tags": {"old": []},
}
MOVED = {
    "data": [("new", "/dev/sdf")],
    "address": "new",
    "targets": {"instance": ["new:8080", "new:8443"], "ip": ["new:80"]},
    "classic": ["new"],
    "states": {"old": "stopped", "new": "running"},
    "tags": {"old": [], "new": ["ec2ops:replaces", "ec2ops:trial"]},
}


@pytest.fixture
def service(sandbox: Sandbox) -> Service:
    sandbox.configure(options={"unhealthy_launches": False})
    web = machine(sandbox, data=1, elastic_ip=True)
    (row,) = [item for group in web.ec2.describe_instances()["Reservations"] for item in group["Instances"]]
    (address,) = web.ec2.describe_addresses()["Addresses"]
    data = next(one["Ebs"]["VolumeId"] for one in row["BlockDeviceMappings"] if one["DeviceName"] == "/dev/sdf")
    elb, classic = sandbox.client("elbv2"), sandbox.client("elb")
    balancer = elb.create_load_balancer(Name="web", Subnets=[row["SubnetId"]])["LoadBalancers"][0]["LoadBalancerArn"]
    groups = {}
    for kind, port in (("instance", 8080), ("ip", 80)):
        made = elb.create_target_group(Name=kind, Protocol="HTTP", Port=port, VpcId=row["VpcId"], TargetType=kind)
        groups[kind] = made["TargetGroups"][0]["TargetGroupArn"]
        action = {"Type": "forward", "TargetGroupArn": groups[kind]}
        elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=port, DefaultActions=[action])
    ports = [{"Id": web.instance_id, "Port": port} for port in (8080, 8443)]
    elb.register_targets(TargetGroupArn=groups["instance"], Targets=ports)
    elb.register_targets(TargetGroupArn=groups["ip"], Targets=[{"Id": row["PrivateIpAddress"]}])
    listener = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80}
    classic.create_load_balancer(LoadBalancerName="shop", Listeners=[listener], AvailabilityZones=["us-east-1a"])
    classic.register_instances_with_load_balancer(LoadBalancerName="shop", Instances=[{"InstanceId": web.instance_id}])
    baked = run(
        sandbox, module=ami_bake, name="web", version="1", source_instance_id=web.instance_id, require_stopped=False
    )
    return Service(sandbox, web, address["AllocationId"], data, baked.result["image_id"], groups)


def test_everything_moves_and_the_second_run_changes_nothing(service: Service) -> None:
    assert service.places() == BEFORE
    planned = service.relaunch(check=True)
    assert service.places() == BEFORE
    ended = service.relaunch()
    assert not ended.failed
    assert ended.actions == planned.actions
    assert service.places() == MOVED
    assert service.relaunch(check=True).actions == []
    assert service.relaunch().actions == []


# By the number of changing calls: the launch, the note of its address, the stop of the successor, the hold, the stop of
# the predecessor, detach, attach, start, address, the two target groups, the Classic Load Balancer, the mark, and five
# calls of the retirement.


@pytest.mark.parametrize("nth", [6, 9, 16])
def test_killed_after_a_call_the_next_run_moves_the_rest(service: Service, nth: int) -> None:
    service.kill(nth)
    ended = service.relaunch()
    assert not ended.failed, ended.failed
    assert service.places() == MOVED
    assert service.relaunch().actions == []


@pytest.mark.parametrize(("nth", "unclear"), [(7, False), (9, True), (13, False)])
def test_refused_call_returns_everything(service: Service, nth: int, unclear: bool) -> None:
    gateway = RefusingGateway(sandbox_gateway(service.sandbox, REGION), nth, unclear=unclear)
    assert service.relaunch(gateway=gateway).failed
    assert service.places() == BEFORE


@pytest.mark.parametrize("nth", [15, 18])
def test_killed_rollback_is_finished_by_the_next_run(service: Service, nth: int) -> None:
    refusing = RefusingGateway(sandbox_gateway(service.sandbox, REGION), 11, unclear=False)
    with pytest.raises(Killed):
        service.relaunch(gateway=KillingGateway(refusing, nth))
    assert service.relaunch().failed
    assert service.places() == BEFORE


def test_parts_return_from_a_successor_that_somebody_has_terminated(service: Service) -> None:
    service.kill(8)
    (new,) = [name for name, short in service.names.items() if short == "new"]
    service.web.ec2.terminate_instances(InstanceIds=[new])
    ended = service.relaunch()
    assert "and never served in place of" in ended.failed
    assert service.places() == BEFORE
    assert not service.relaunch().failed
    assert service.places() == MOVED


class TerminatingGateway:
    """Terminates the successor right before its start with the volumes."""

    def __init__(self, inner: Any, service: Service) -> None:
        self._inner, self._service = inner, service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        first = changes[0]
        if first.action == "StartInstances" and first.resource != self._service.web.instance_id:
            self._service.web.ec2.terminate_instances(InstanceIds=[first.resource])
        found: Mapping[str, str] = self._inner.perform(changes, generation)
        return found


def test_rollback_returns_the_parts_of_a_successor_that_ends_during_the_run(service: Service) -> None:
    gateway = TerminatingGateway(sandbox_gateway(service.sandbox, REGION), service)
    assert service.relaunch(gateway=gateway).failed
    assert service.places() == BEFORE


def test_predecessor_without_its_volumes_is_never_started(service: Service) -> None:
    service.kill(6)
    for given in ({"state": "running"}, {"state": "restored", "force_start": True}):
        ended = run(service.sandbox, module=instance_power, instance_ids=[service.web.instance_id], **given)
        assert "would start without them" in ended.failed
    ended = run(service.sandbox, module=instance_power, state="restored")
    assert not ended.failed
    assert service.places()["states"] == {"old": "stopped", "new": "stopped"}
    assert not service.relaunch().failed
    assert service.places() == MOVED


class _Page(BaseHTTPRequestHandler):
    """Answers 200 under /good with the right password, and 503 elsewhere."""

    def do_GET(self) -> None:
        good = self.path == "/good?token=hush" and self.headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
        self.send_response(200 if good else 503)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Write nothing."""


@pytest.fixture
def page() -> Any:
    server = HTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_probes_decide_and_no_message_has_their_secrets(service: Service, page: int) -> None:
    bad = {"url": f"http://user:secret@127.0.0.1:{page}/bad?token=hush", "timeout": 8}
    ended = service.relaunch(health=bad)
    assert f"GET http://127.0.0.1:{page}/bad?... should become successful but is still answered with status 503" in (
        ended.failed
    )
    assert not [word for word in ("secret", "hush") if word in f"{ended.failed}{ended.result}{ended.warnings}"]
    assert service.places() == BEFORE
    good = {"url": f"http://user:secret@127.0.0.1:{page}/good?token=hush", "tcp_port": page, "timeout": 60}
    with socket.create_server(("127.0.0.1", 0)):
        # The private address of the sandbox's instance is out of reach, so only the Elastic IP's move is left to fail.
        assert "TCP connection to" in service.relaunch(health=good).failed
    assert service.places() == BEFORE
    assert not service.relaunch(health={**good, "tcp_port": None}).failed
    assert service.places() == MOVED


def test_stages_leave_the_decision_to_the_user(service: Service) -> None:
    launched = service.relaunch(stage="launch")
    unproven = launched.result["unproven"]
    assert unproven["state"] == "running"
    assert service.places()["address"] == "new"
    assert service.relaunch(stage="launch").actions == []
    assert not service.relaunch(stage="rollback").failed
    assert service.places() == BEFORE
    assert service.relaunch(stage="rollback").actions == []
    service.relaunch(stage="launch")
    assert not service.relaunch(stage="finish").failed
    assert service.places() == MOVED
    assert service.relaunch(stage="finish").actions == []
