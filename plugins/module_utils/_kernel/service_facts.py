# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts about the way to a service: Elastic IP addresses, network interfaces, the health of targets, and the answers to
probes.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .facts import FactKind
from .state import Query, Struct, by_id

# --- Elastic IP addresses --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """An Elastic IP address of a VPC, and its association. Without an association, the last three fields are empty."""

    allocation_id: str
    public_ip: str
    instance_id: str = ""
    interface_id: str = ""
    private_ip: str = ""


ADDRESS = FactKind[Address]("address")
"""The subject is the allocation id."""


def address_queries(*, instances: Iterable[str] = (), allocations: Iterable[str] = ()) -> tuple[Query, ...]:
    """Return the queries for the addresses of instances, and for addresses by their allocation ids."""
    return (
        *by_id("DescribeAddresses", "instance-id", instances),
        *by_id("DescribeAddresses", "allocation-id", allocations),
    )


# --- network interfaces ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interface:
    """A network interface, and its attachment. Without one, the last five fields have no value.

    ``addresses``: its private IPv4 addresses. ``is_managed``: an AWS service manages the interface and alone may move
    it.
    """

    interface_id: str
    availability_zone: str = ""
    interface_type: str = "interface"
    is_managed: bool = False
    addresses: tuple[str, ...] = ()
    instance_id: str = ""
    attachment_id: str = ""
    device_index: int | None = None
    attachment_state: str = ""
    delete_on_termination: bool = False


INTERFACE = FactKind[Interface]("interface")
"""The subject is the id of the interface."""


def interface_queries(*, instances: Iterable[str] = (), interfaces: Iterable[str] = ()) -> tuple[Query, ...]:
    """Return the queries for the interfaces of instances, and for interfaces by their ids."""
    return (
        *by_id("DescribeNetworkInterfaces", "attachment.instance-id", instances),
        *by_id("DescribeNetworkInterfaces", "network-interface-id", interfaces),
    )


# --- the health of targets -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TargetHealth:
    """The words of Elastic Load Balancing for the health of one target. ``reason`` is empty for a healthy target."""

    state: str
    reason: str = ""


TARGET_HEALTH = FactKind[TargetHealth]("target")
"""The subject is a `target_name`, or a `member_name`."""

_IN = " in "


def target_name(target_id: str, port: int | None, group_arn: str) -> str:
    """Return the name of one target of a target group, for waits: ``i-…:80 in arn:…``."""
    return f"{target_id}{'' if port is None else f':{port}'}{_IN}{group_arn}"


def member_name(instance_id: str, balancer: str) -> str:
    """Return the name of an instance of a Classic Load Balancer, for waits: ``i-… in NAME``."""
    return f"{instance_id}{_IN}{balancer}"


def target_queries(names: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the health of these targets, by their names."""
    return tuple(_target_query(name) for name in names)


def _target_query(name: str) -> Query:
    target, _in, place = name.partition(_IN)
    if not place.startswith("arn:"):
        instances = (Struct((("InstanceId", target),)),)
        arguments = (("LoadBalancerName", place), ("Instances", instances))
        return Query("DescribeInstanceHealth", arguments=arguments, service="elb")
    # An IPv6 address has colons too, and no target is without its port.
    target_id, _colon, port = target.rpartition(":")
    asked = (Struct((("Id", target_id), ("Port", int(port)))),)
    arguments = (("TargetGroupArn", place), ("Targets", asked))
    return Query("DescribeTargetHealth", arguments=arguments, service="elbv2")


# --- probes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbeAnswer:
    """The answer to one probe: whether it is the wanted one, and the text for messages. It holds no secret."""

    passed: bool
    seen: str


PROBE = FactKind[ProbeAnswer]("probe")
"""The subject is the name of the probe, which holds no secret."""


PROBE_SERVICE = "probe"
"""The service of a probe's query. No service of AWS answers it."""


def probe_query(name: str, request: str) -> Query:
    """Return the query that makes the probe once. *request*: see `probes.read_request`."""
    return Query("Probe", arguments=(("Name", name), ("Request", request)), service=PROBE_SERVICE)
