# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets of target groups: a target is ``initial`` before it is healthy, and ``draining`` before it is gone.

moto keeps the groups and load balancers, and would give each target one port and one state. (Elastic Load Balancing
user guide, "Health checks for target groups" and "Deregistration delay", and the API reference of the three calls.)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from .engine import Call, Ec2Error, Reply, World, declare_durations, other_action
from .instances import check_status

if TYPE_CHECKING:
    from .log import Entry
    from .world import Instance, Region

#: How long the health checks of a new target and the last requests of an old one take.
declare_durations(target_initial=2.0, target_draining=2.0)

_NAMESPACE = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"


@dataclass
class RegisteredTarget:
    """A target of a group: an instance's id or an address, with its port."""

    target_id: str
    port: int
    zone: str
    since: datetime
    left: datetime | None = None


def _targets(world: World, arn: str) -> dict[tuple[str, int], RegisteredTarget]:
    return world.targets.setdefault(arn, {})


def _group(entry: Entry) -> Any:
    """moto's target group."""
    from moto.elbv2.models import elbv2_backends  # heavy, and only load balancers need it

    group = elbv2_backends[entry.account][entry.region].target_groups.get(entry.params.get("TargetGroupArn", ""))
    if group is None:
        raise Ec2Error("TargetGroupNotFound", "One or more target groups not found", 400)
    return group


def _asked(entry: Entry, group: Any) -> list[tuple[str, int, str]]:
    """The id, port and zone of each target in a request."""
    found = []
    for number in range(1, 1001):
        beginning = f"Targets.member.{number}."
        target_id = entry.params.get(f"{beginning}Id")
        if target_id is None:
            break
        port = int(entry.params.get(f"{beginning}Port") or group.port)
        found.append((target_id, port, entry.params.get(f"{beginning}AvailabilityZone") or ""))
    return found


@other_action("elasticloadbalancing:RegisterTargets")
def register_targets(world: World, _call: Call, entry: Entry) -> Reply | None:
    """Register targets. An instance must run. A target that drains serves again."""
    group, now, home = _group(entry), world.clock.now(), _home(world, entry)
    asked = _asked(entry, group)
    for target_id, _port, _zone in asked:
        instance = home.instances.get(target_id)
        if group.target_type == "instance" and (instance is None or instance.state(now) != "running"):
            raise Ec2Error(
                "InvalidTarget",
                f"The following targets are not in a running state and cannot be registered: '{target_id}'",
                400,
            )
    for target_id, port, zone in asked:
        present = _targets(world, group.arn).get((target_id, port))
        if present is None or present.left is not None:
            _targets(world, group.arn)[target_id, port] = RegisteredTarget(target_id, port, zone, now)
    return _reply("RegisterTargets", "")


@other_action("elasticloadbalancing:DeregisterTargets")
def deregister_targets(world: World, _call: Call, entry: Entry) -> Reply | None:
    """Let targets drain. "If the specified target does not exist, the action returns successfully"."""
    group, now = _group(entry), world.clock.now()
    for target_id, port, _zone in _asked(entry, group):
        present = _targets(world, group.arn).get((target_id, port))
        if present is not None and present.left is None:
            present.left = now
    return _reply("DeregisterTargets", "")


@other_action("elasticloadbalancing:DescribeTargetHealth")
def describe_target_health(world: World, _call: Call, entry: Entry) -> Reply | None:
    """The targets of a group, or those of the request, with their health."""
    group, now, home = _group(entry), world.clock.now(), _home(world, entry)
    present = _targets(world, group.arn)
    draining = timedelta(seconds=world.config.duration("target_draining"))
    for key, one in list(present.items()):
        instance = home.instances.get(one.target_id)
        ended = group.target_type == "instance" and (instance is None or instance.state(now) == "terminated")
        if ended or (one.left is not None and one.left + draining <= now):
            del present[key]
    asked = [(target_id, port) for target_id, port, _zone in _asked(entry, group)] or list(present)
    rows = []
    for key in asked:
        state, reason = _health(world, home, group, present.get(key), now)
        why = f"<Reason>{reason}</Reason>" if reason else ""
        zone = present[key].zone if key in present else ""
        place = f"<AvailabilityZone>{escape(zone)}</AvailabilityZone>" if zone else ""
        rows.append(
            f"<member><Target><Id>{escape(key[0])}</Id><Port>{key[1]}</Port>{place}</Target>"
            f"<HealthCheckPort>{key[1]}</HealthCheckPort>"
            f"<TargetHealth><State>{state}</State>{why}</TargetHealth></member>"
        )
    return _reply("DescribeTargetHealth", f"<TargetHealthDescriptions>{''.join(rows)}</TargetHealthDescriptions>")


def healthy_instances(world: World, home: Region, arn: str, now: datetime) -> list[Instance]:
    """Return the instances to which a load balancer sends the requests of a target group. Raises KeyError."""
    from moto.elbv2.models import elbv2_backends  # heavy, and only load balancers need it

    group = elbv2_backends[home.account][home.name].target_groups[arn]
    healthy = [one for one in _targets(world, arn).values() if _health(world, home, group, one, now)[0] == "healthy"]
    found = [_instance(world, home, group, one, now) for one in healthy]
    return [one for one in found if one is not None]


def _health(world: World, home: Region, group: Any, one: RegisteredTarget | None, now: datetime) -> tuple[str, str]:
    """The state of a target, and the reason."""
    if one is None:
        return "unused", "Target.NotRegistered"
    if one.left is not None:
        return "draining", "Target.DeregistrationInProgress"
    if not group.load_balancer_arns:
        return "unused", "Target.NotInUse"
    instance = _instance(world, home, group, one, now)
    if instance is None or instance.state(now) != "running":
        return ("unused", "Target.InvalidState") if group.target_type == "instance" else ("unhealthy", "Target.Timeout")
    if one.since + timedelta(seconds=world.config.duration("target_initial")) > now:
        return "initial", "Elb.RegistrationInProgress"
    if check_status(home, instance, now)[0] != "ok" and instance.unhealthy:
        return "unhealthy", "Target.FailedHealthChecks"
    return "healthy", ""


def _instance(world: World, home: Region, group: Any, one: RegisteredTarget, now: datetime) -> Instance | None:
    if group.target_type == "instance":
        return home.instances.get(one.target_id)
    assert world.moto
    alive = [name for name, item in home.instances.items() if item.state(now) not in ("shutting-down", "terminated")]
    rows = world.moto.instances(alive, account=home.account, region=home.name)
    found = [name for name in alive if (rows.get(name) or {}).get("PrivateIpAddress") == one.target_id]
    return home.instances.get(found[0]) if found else None


def _home(world: World, entry: Entry) -> Region:
    return world.region(entry.account, entry.region)


def _reply(name: str, content: str) -> Reply:
    body = (
        f'<{name}Response xmlns="{_NAMESPACE}"><{name}Result>{content}</{name}Result>'
        f"<ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata></{name}Response>"
    ).encode()
    return Reply(200, body, [("Content-Type", "text/xml")])
