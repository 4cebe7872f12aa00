# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake` on the sandbox: a list of devices, and devices that the image leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from bake_runs import Line, new_line
from sandbox.client import Sandbox
from worlds import new_day


@pytest.fixture
def line(quick_sandbox: Sandbox) -> Line:
    """An instance with a root and two data volumes."""
    new_line(quick_sandbox)
    return Line(new_day(quick_sandbox), data=2)


def devices(line: Line) -> list[str]:
    return sorted(mapping["DeviceName"] for mapping in line.image()["BlockDeviceMappings"])


def names(line: Line) -> list[str]:
    """The devices of the data volumes."""
    return sorted(line.web.attached())


@pytest.mark.parametrize("method", ["snapshot", "image"])
def test_listed_devices_are_captured_at_one_moment(line: Line, method: str) -> None:
    first, _second = names(line)
    _check, done, *_again = line.steps(method=method, devices=["/dev/xvda", first])
    assert done.actions[0] == ("CreateImage" if method == "image" else "CreateSnapshots")
    assert devices(line) == sorted(["/dev/xvda", first])
    assert len({row["StartTime"] for row in line.snapshots()}) == 1
    assert len(line.snapshots()) == 2


@pytest.mark.parametrize("method", ["snapshot", "image"])
def test_omitted_device_is_left_out(line: Line, method: str) -> None:
    first, second = names(line)
    left_out = [{"device_name": first, "omitted": True}]
    line.steps(method=method, devices="all", block_devices=left_out)
    assert devices(line) == sorted(["/dev/xvda", second])
    assert len(line.snapshots()) == 2
    other = line.bake(method=method, devices="all")
    assert "with other devices or block_devices" in other.failed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": "some"}, "devices: 'some' is neither root nor all nor a list"),
        ({"devices": []}, "devices: [] is neither root nor all nor a list"),
        ({"devices": ["/dev/xvda", "/dev/sdz"]}, "devices: the instance has no /dev/sdz"),
        ({"devices": ["FIRST"]}, "devices: an image needs its root device /dev/xvda"),
        (
            {"block_devices": [{"device_name": "/dev/xvda", "omitted": True}]},
            "block_devices: an image needs its root device /dev/xvda",
        ),
        (
            {"block_devices": [{"device_name": "/dev/xvda", "omitted": True, "volume_size": 9}]},
            "block_devices: /dev/xvda: omitted removes the device, so it excludes volume_size",
        ),
    ],
)
def test_bad_choice_of_devices_is_refused_by_name(line: Line, options: dict[str, Any], message: str) -> None:
    if options.get("devices") == ["FIRST"]:
        options = {"devices": names(line)[:1]}
    ended = line.bake(**options)
    assert ended.failed.startswith(message)
    assert line.images() == []
