# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSM parameters of the data type ``aws:ec2:image``: SSM checks the value after its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from domain import make_instant

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

OTHER = "111122223333"


@pytest.fixture
def image(world: World, sandbox: Sandbox) -> str:
    make_instant(world)
    return str(sandbox.seed({"images": [{"name": "web"}]})["web"])


def put(sandbox: Sandbox, value: str, account: str | None = None, **more: Any) -> int:
    ssm = sandbox.client("ssm", account=account)
    given = {"Name": "/web", "Value": value, "Type": "String", "DataType": "aws:ec2:image", **more}
    return int(ssm.put_parameter(**given)["Version"])


def value(sandbox: Sandbox, account: str | None = None) -> str | None:
    found = sandbox.client("ssm", account=account).get_parameters(Names=["/web"])["Parameters"]
    return str(found[0]["Value"]) if found else None


def test_value_shows_after_the_check(sandbox: Sandbox, image: str) -> None:
    sandbox.configure(durations={"parameter_validation": 5.0})
    assert put(sandbox, image) == 1
    assert value(sandbox) is None
    sandbox.move_clock(6)
    assert value(sandbox) == image


def test_value_that_is_no_available_image_changes_nothing(sandbox: Sandbox, image: str) -> None:
    put(sandbox, image)
    sandbox.move_clock(2)
    for wrong in ("ami-0123456789abcdef0", "notanami"):
        assert put(sandbox, wrong, Overwrite=True) == 2
        sandbox.move_clock(2)
        assert value(sandbox) == image


def test_image_of_another_account_must_be_shared(sandbox: Sandbox, image: str) -> None:
    put(sandbox, image, OTHER)
    sandbox.move_clock(2)
    assert value(sandbox, OTHER) is None
    sandbox.client().modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": OTHER}]})
    put(sandbox, image, OTHER)
    sandbox.move_clock(2)
    assert value(sandbox, OTHER) == image


def test_existing_parameter_is_only_overwritten_on_demand(sandbox: Sandbox, image: str) -> None:
    put(sandbox, image)
    sandbox.move_clock(2)
    with pytest.raises(ClientError, match="ParameterAlreadyExists"):
        put(sandbox, image)


def test_parameter_of_text_is_there_at_once(sandbox: Sandbox, image: str) -> None:
    put(sandbox, image, DataType="text")
    assert value(sandbox) == image
