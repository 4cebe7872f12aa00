# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instances that answer requests at an address, as a client outside of EC2 notices them.

An instance answers while it is ``running`` and not in the middle of a reboot or of a replacement of its root volume. It
is not asked before its address leads to it: an Elastic IP must be associated with it, and a load balancer must find its
target healthy. A ``stopping`` instance and a draining target get no new requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from .addresses import owners_by_interface
from .errors import Ec2Error
from .target_groups import healthy_instances

if TYPE_CHECKING:
    from datetime import datetime

    from .engine import World
    from .world import Instance, Region, Shape


def answering(world: World, account: str, region: str, address: str) -> list[Shape]:
    """Return the instances that answer at an address, each with the volumes attached to it.

    *address*: the id of an instance or of an Elastic IP's allocation, or the ARN of a target group. Raises KeyError for
    an address that does not exist.
    """
    home, now = world.region(account, region), world.clock.now()
    return [
        {"instance_id": one.id, "volume_ids": [volume.id for volume, _link in home.devices(one, now)]}
        for one in _behind(world, home, address, now)
        if one.state(now) == "running" and any(_holds(span, now) for span in one.running())
    ]


def _holds(span: tuple[datetime, datetime | None], now: datetime) -> bool:
    start, end = span
    return start <= now and (end is None or now < end)


def _behind(world: World, home: Region, address: str, now: datetime) -> Iterable[Instance]:
    """The instances to which the address leads."""
    if address.startswith("arn:"):
        return healthy_instances(world, home, address, now)
    if address.startswith("i-"):
        return [home.instances[address]]
    assert world.moto
    moto = partial(world.moto.call, account=home.account, region=home.name)
    try:
        rows = moto("DescribeAddresses", {"AllocationIds": [address]})["Addresses"]
    except Ec2Error as error:
        raise KeyError(str(error)) from None
    by_interface = owners_by_interface(moto)
    owners = [by_interface.get(row.get("NetworkInterfaceId") or "", "") for row in rows]
    return [home.instances[one] for one in owners if one in home.instances]
