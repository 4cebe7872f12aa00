# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Device names by virtualization type and system, and entries at a name that belongs to a root volume."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.device_names import (
    automatic_names,
    device_trouble,
    is_device_name,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Instance,
    Resource,
    VolumeAttachment,
)

from sandbox.errors import Ec2Error
from sandbox.volumes import checked_device
from volume_plans import Case, check, declared, no, ok, plan_of
from volume_world import DB, WEB, Ec2, instance, root_of, steps, volume

HVM = {"VirtualizationType": "hvm"}
PARAVIRTUAL = {"VirtualizationType": "paravirtual"}
ROOTED_AT_SDA1 = dataclasses.replace(instance(facts=HVM), root_device_name="/dev/sda1")
WINDOWS = dataclasses.replace(ROOTED_AT_SDA1, facts={**HVM, "Platform": "windows"}, platform_details="Windows")


def rooted_at_sda1(found: Instance = ROOTED_AT_SDA1) -> list[Resource]:
    """The instance, its root volume at /dev/sda1."""
    root = volume(root_of(WEB), attachments=(VolumeAttachment(WEB, "/dev/sda1", delete_on_termination=True),))
    return [found, root]


# --- names of roots ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        *(
            no(
                f"{device} beside a root at /dev/sda1",
                rooted_at_sda1(),
                [{"name": "data", "device_name": device, "size": 1}],
                SpecError,
                f"volumes[0] (data) of i-1: device_name: {device} is a name for root volumes | i-1 is at /dev/sda1 | "
                "under the name root",
            )
            for device in ("/dev/xvda", "/dev/sda", "xvda")
        ),
        no(
            "/dev/sda1 beside a root at /dev/xvda",
            [instance(facts=HVM)],
            [{"name": "data", "device_name": "/dev/sda1", "size": 1}],
            SpecError,
            "device_name: /dev/sda1 is a name for root volumes | i-1 is at /dev/xvda | under the name root",
        ),
        no(
            "an existing volume is not attached there",
            [instance(), volume(1, name="data")],
            [{"name": "data", "device_name": "/dev/sda1"}],
            SpecError,
            "/dev/sda1 is a name for root volumes",
        ),
        no(
            "a volume is not moved there",
            [*rooted_at_sda1(), volume(1, WEB, name="data")],
            [{"name": "data", "device_name": "/dev/xvda"}],
            SpecError,
            "/dev/xvda is a name for root volumes",
            in_use="detach",
        ),
        ok(
            "a volume that an earlier version has put there stays",
            [*rooted_at_sda1(), volume(1, WEB, "/dev/xvda", name="data")],
            [{"name": "data", "device_name": "/dev/xvda"}],
        ),
        ok(
            "the root's own device is the root",
            rooted_at_sda1(),
            [{"name": "system", "device_name": "/dev/sda1", "size": 20}],
            f"CreateTags {root_of(WEB)} spec,volume".replace("vol-0000000000000f001", "vol-f001"),
            "ModifyVolume vol-f001 Size=20",
        ),
    ],
)
def test_entry_at_a_root_name_is_refused_unless_it_is_the_root(case: Case) -> None:
    check(case)


# --- virtualization types ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        *(
            no(
                f"{device} on hvm",
                [instance(facts=HVM)],
                [{"name": "data", "device_name": device, "size": 1}],
                SpecError,
                f"device_name: EC2 takes {device} on paravirtual instances only, and i-1 is hvm | /dev/sdf",
            )
            for device in ("/dev/sdh1", "/dev/hdf", "/dev/hdf2")
        ),
        no(
            "two letters on paravirtual",
            [instance(facts=PARAVIRTUAL)],
            [{"name": "data", "device_name": "/dev/xvdba", "size": 1}],
            SpecError,
            "device_name: EC2 takes /dev/xvdba on hvm instances only, and i-1 is paravirtual | /dev/sdf",
        ),
        *(
            ok(
                f"{device} on {facts['VirtualizationType']}",
                [instance(facts=facts)],
                [{"name": "data", "device_name": device, "size": 1}],
                f"CreateVolume new i-1/data | AttachVolume new i-1/data to i-1 {device}",
            )
            for device, facts in (
                ("/dev/sdh1", PARAVIRTUAL),
                ("/dev/hdf", PARAVIRTUAL),
                ("/dev/xvddx", HVM),
                ("/dev/sdf", HVM),
            )
        ),
        ok(
            "the type is not known",
            [instance()],
            [{"name": "data", "device_name": "/dev/sdh1", "size": 1}],
            "CreateVolume new i-1/data | AttachVolume new i-1/data to i-1 /dev/sdh1",
        ),
    ],
)
def test_declared_device_fits_the_virtualization_type(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("name", ["/dev/xvddy", "/dev/xvddz", "/dev/xvdea"])
def test_name_after_xvddx_is_refused(name: str) -> None:
    assert not is_device_name(name)
    with pytest.raises(SpecError, match="/dev/xvddx"):
        declared({"name": "data", "device_name": name, "size": 1})


@pytest.mark.parametrize(
    ("found", "virtualization", "first"),
    [
        (instance(facts=HVM), "hvm", "/dev/sdf"),
        (instance(), "hvm", "/dev/sdf"),
        (WINDOWS, "hvm", "xvdf"),
        (instance(facts=PARAVIRTUAL), "paravirtual", "/dev/sdf"),
    ],
)
def test_automatic_names_are_taken_by_ec2(found: Instance, virtualization: str, first: str) -> None:
    names = list(automatic_names(found))
    assert names[0] == first
    assert len(set(names)) == len(names)
    for name in names:
        try:
            checked_device(name, virtualization)
        except Ec2Error as error:
            pytest.fail(str(error))
        assert is_device_name(name)
        assert device_trouble(name, found) == ""


def test_windows_instance_gets_windows_names() -> None:
    ec2 = Ec2(*rooted_at_sda1(WINDOWS))
    ec2.put(rooted_at_sda1()[1])
    plan = plan_of(declared({"name": "a", "size": 1}, {"name": "b", "size": 1}), ec2)
    assert [step for step in steps(plan) if "Attach" in step] == [
        "AttachVolume new i-1/a to i-1 xvdf",
        "AttachVolume new i-1/b to i-1 xvdg",
    ]


# --- as many as the type takes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [instance(facts=HVM), WINDOWS])
def test_type_with_128_volumes_gets_as_many_names(found: Instance) -> None:
    facts: dict[str, Any] = {
        "Hypervisor": "nitro",
        "EbsInfo": {"MaximumEbsAttachments": 128, "AttachmentLimitType": "dedicated"},
    }
    ec2 = Ec2(INSTANCE_TYPE.fact("m5.large", facts), found)
    if found is WINDOWS:
        ec2.put(rooted_at_sda1()[1])
    wanted = [{"name": f"v{number}", "size": 1} for number in range(127)]
    plan = plan_of(declared(*wanted), ec2)
    assert sum(change.action == "AttachVolume" for change in plan.changes) == 127
    ec2.carry_out(plan)


def test_shared_volume_gets_a_name_that_fits_all_instances() -> None:
    nodes = [dataclasses.replace(WINDOWS, state="stopped"), instance(DB, "stopped", facts=HVM)]
    ec2 = Ec2(*nodes)
    ec2.put(rooted_at_sda1()[1])
    entry = {"name": "q", "size": 4, "volume_type": "io2", "iops": 100, "multi_attach": True}
    plan = plan_of(declared(entry, instance_ids=[WEB, DB], spec="web"), ec2)
    devices = {change.parameters["Device"] for change in plan.changes if change.action == "AttachVolume"}
    assert devices <= {"xvdf", "/dev/sdf"}


@pytest.mark.parametrize("name", ["/dev/xvda", "/dev/sda1", "/dev/sdh1", "/dev/xvdba"])
def test_unknown_facts_refuse_nothing(name: str) -> None:
    assert device_trouble(name, Instance("(new instance web)")) == ""
