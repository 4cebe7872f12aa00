# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSM parameters that name an image: SSM answers at once, and looks for the image afterwards.

"Because the validation is asynchronous, a successful HTTP 200 response does not guarantee that your parameter was
successfully created or updated" (AWS Systems Manager user guide, "Native parameter support for AMI IDs"). A value that
is no available image of the account, or shared with it, leaves the parameter as it was. The parameters are moto's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .engine import Call, Ec2Error, Reply, World, declare_durations, other_action

if TYPE_CHECKING:
    from .log import Entry

IMAGE = "aws:ec2:image"

#: How long SSM takes to look for the image.
declare_durations(parameter_validation=1.0)


@dataclass(frozen=True)
class Unchecked:
    """A PutParameter that SSM has answered, and will check at a moment."""

    due: datetime
    account: str
    region: str
    value: str
    call: Call


def settle(world: World) -> None:
    """Give the parameters whose check is over their values."""
    now = world.clock.now()
    due = [one for one in world.unchecked if one.due <= now]
    world.unchecked = [one for one in world.unchecked if one.due > now]
    for one in due:
        if _is_image(world, one):
            world.moto.forward(one.call, one.account)


def _is_image(world: World, put: Unchecked) -> bool:
    now = world.clock.now()
    for home in world.regions():
        image = home.images.get(put.value) if home.name == put.region else None
        if image is not None and image.state(now) == "available":
            shared = {one.get("UserId") or one.get("Group") for one in image.launch_permissions}
            return image.owner == put.account or bool({put.account, "all"} & shared)
    return False


@other_action("ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath", "ssm:DescribeParameters")
def read_parameter(world: World, _call: Call, _entry: Entry) -> Reply | None:
    """Give the parameters whose check is over their values, and let moto answer."""
    settle(world)
    return None


@other_action("ssm:PutParameter")
def put_parameter(world: World, call: Call, entry: Entry) -> Reply | None:
    """Answer for a parameter of an image, whose value SSM checks later. moto answers for all others."""
    settle(world)
    params: Mapping[str, Any] = entry.params
    if params.get("DataType") != IMAGE:
        return None
    version = _version(world, entry, str(params.get("Name")))
    if version and not params.get("Overwrite"):
        text = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
        raise Ec2Error("ParameterAlreadyExists", text, 400)
    if not version and not params.get("Type"):
        raise Ec2Error("ValidationException", "A parameter type is required when you create a parameter.", 400)
    due = world.clock.now() + timedelta(seconds=world.config.duration("parameter_validation"))
    world.unchecked.append(Unchecked(due, entry.account, entry.region, str(params.get("Value")), call))
    body = json.dumps({"Version": version + 1, "Tier": "Standard"}).encode()
    return Reply(200, body, [("Content-Type", "application/x-amz-json-1.1")])


def _version(world: World, entry: Entry, name: str) -> int:
    """The version of a parameter, 0 if there is none."""
    from moto.ssm.models import ssm_backends  # heavy, and only parameters need it

    assert world.moto  # moto's backends exist once its application does
    known = ssm_backends[entry.account][entry.region]._parameters
    versions = dict.get(known, known.normalize_name(name))
    return int(versions[-1].version) if versions else 0
