# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""block_devices that EC2 takes for no image: the plan refuses them, whichever operation makes the image."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import Ended, Machine, machine, run
from sandbox.client import Sandbox


@pytest.fixture
def web(sandbox: Sandbox) -> Machine:
    """An instance with a root volume of 8 GiB, gp3."""
    return machine(sandbox)


def bake(web: Machine, *, check: bool = False, **more: Any) -> Ended:
    given = {"name": "web", "version": "1", "source_instance_id": web.instance_id, "require_stopped": False}
    return run(web.sandbox, module=ami_bake, check=check, **{**given, **more})


@pytest.mark.parametrize("method", ["image", "snapshot"])
@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ({"volume_size": 4}, "4 GiB is smaller than its snapshot"),
        ({"volume_type": "st1"}, "a root volume cannot be of type st1"),
        ({"iops": 80000}, "80000 iops on 8 GiB are more than gp3's 500 per GiB"),
        ({"throughput": 2000}, "2000 MiB/s need at least 8000 iops"),
    ],
)
def test_override_that_no_volume_can_have_is_refused_in_the_plan(
    web: Machine, method: str, check: bool, override: dict[str, Any], problem: str
) -> None:
    web.sandbox.reset_log()
    ended = bake(web, check=check, method=method, block_devices=[{"device_name": "/dev/xvda", **override}])
    assert ended.failed.startswith("block_devices: /dev/xvda: ")
    assert problem in ended.failed
    assert ended.result["error"]["code"] == "SpecError"
    assert not [entry for entry in web.sandbox.log() if entry["action"].startswith(("Create", "Register"))]


@pytest.mark.parametrize(
    "override",
    [{"volume_size": 20}, {"volume_type": "io2", "iops": 500}, {"throughput": 200}, {"delete_on_termination": False}],
)
def test_override_that_create_image_takes_is_applied(web: Machine, override: dict[str, Any]) -> None:
    ended = bake(web, method="image", block_devices=[{"device_name": "/dev/xvda", **override}])
    assert (ended.failed, ended.actions) == ("", ["CreateImage"])
