# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Device names that are free or taken, and how many volumes an instance takes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.device_names import automatic_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Instance, VolumeAttachment

from volume_plans import Case, check, declared, no, ok, plan_of
from volume_world import DB, LETTERS, SWAP, WEB, Ec2, instance, steps, swapped, volume, was_at


def attaches(*devices: str, first: int = 1) -> list[str]:
    return [f"AttachVolume vol-{number} to i-1 {device}" for number, device in enumerate(devices, first)]


MOVED_IN_USE = {"in_use": "detach"}
XVD = list(automatic_names(instance()))[11:87]
MANY_TYPE = INSTANCE_TYPE.fact("m5.large", {"Hypervisor": "nitro"})
DEVICES = [
    ok(
        "chosen in order",
        [volume(1, name="a"), volume(2, name="b"), volume(3, name="c")],
        [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        *attaches("/dev/sdf", "/dev/sdg", "/dev/sdh"),
    ),
    ok(
        "not one that is in use, by whatever name",
        [volume(1, name="a"), volume(2, name="b"), volume(8, WEB, "/dev/xvdf"), volume(9, WEB, "/dev/sdh")],
        [{"name": "a"}, {"name": "b"}],
        *attaches("/dev/sdg", "/dev/sdi"),
    ),
    ok(
        "not one that another entry names",
        [volume(1, name="a"), volume(2, name="b")],
        [{"name": "a"}, {"name": "b", "device_name": "/dev/xvdf"}],
        *attaches("/dev/sdg", "/dev/xvdf"),
    ),
    ok(
        "beyond the recommended ones",
        [
            MANY_TYPE,
            instance(),
            volume(1, name="a"),
            *(volume(10 + n, WEB, f"/dev/sd{letter}") for n, letter in enumerate(LETTERS)),
        ],
        [{"name": "a"}],
        *attaches("/dev/xvdba"),
    ),
    no(
        "none is left",
        [
            MANY_TYPE,
            instance(),
            volume(1, name="a"),
            *(volume(10 + n, WEB, device) for n, device in enumerate(automatic_names(instance()))),
        ],
        [{"name": "a"}],
        SpecError,
        "volumes[0] (a) | no device name is free | i-1 | device_name",
        whole=True,
    ),
    ok(
        "free on all of the instances",
        [
            *(instance(one) for one in (WEB, DB)),
            volume(1, name="a", group="web", volume_type="io2", iops=100, multi_attach_enabled=True),
            volume(8, WEB, "/dev/sdf"),
            volume(9, DB, "/dev/sdg"),
        ],
        [{"name": "a", "multi_attach": True}],
        "AttachVolume vol-1 to i-1 /dev/sdh | AttachVolume vol-1 to i-2 /dev/sdh",
        instance_ids=[WEB, DB],
        spec="web",
    ),
    # the record of its former place
    ok(
        "where it was",
        [volume(1, name="a", tags=was_at(f"{WEB} /dev/sdj"))],
        [{"name": "a"}],
        *attaches("/dev/sdj"),
        "DeleteTags vol-1 was-at",
    ),
    ok(
        "where it was, whatever the record says of the instance's end",
        [volume(1, name="a", tags=was_at(f"{WEB} /dev/sdj delete"))],
        [{"name": "a"}],
        *attaches("/dev/sdj"),
        "DeleteTags vol-1 was-at",
    ),
    ok(
        "where it was, but for what the user says",
        [volume(1, name="a", tags=was_at(f"{WEB} /dev/sdj delete"))],
        [{"name": "a", "device_name": "/dev/sdk", "delete_on_termination": False}],
        *attaches("/dev/sdk"),
        "DeleteTags vol-1 was-at",
    ),
    ok(
        "where another one was is not chosen",
        [volume(1, name="a"), volume(2, name="b", tags=was_at(f"{WEB} /dev/sdf"))],
        [{"name": "a"}, {"name": "b"}],
        *attaches("/dev/sdg", "/dev/sdf"),
        "DeleteTags vol-2 was-at",
    ),
    ok(
        "where it was, unless another entry names that",
        [volume(1, name="a", tags=was_at(f"{WEB} /dev/sdf"))],
        [{"name": "a"}, {"name": "b", "size": 1, "device_name": "/dev/sdf"}],
        "CreateVolume new i-1/b | AttachVolume vol-1 to i-1 /dev/sdg",
        "AttachVolume new i-1/b to i-1 /dev/sdf | DeleteTags vol-1 was-at",
    ),
    ok(
        "where it was, unless that is taken now",
        [volume(1, name="a", tags=was_at(f"{WEB} /dev/sdf")), volume(9, WEB, "/dev/sdf")],
        [{"name": "a"}],
        *attaches("/dev/sdg"),
        "DeleteTags vol-1 was-at",
    ),
    # freed in the same run
    ok(
        "freed by one that is detached",
        [volume(1, WEB, name="a"), volume(2, name="b")],
        [{"name": "a", "state": "detached"}, {"name": "b", "device_name": "/dev/sdf"}],
        "DetachVolume vol-1 from i-1 | AttachVolume vol-2 to i-1 /dev/sdf",
        **MOVED_IN_USE,
    ),
    ok(
        "freed by one that is purged",
        [volume(1, WEB), volume(2, name="b")],
        [{"name": "b", "device_name": "/dev/xvdf"}],
        "DetachVolume vol-1 from i-1 | AttachVolume vol-2 to i-1 /dev/xvdf",
        purge_volumes=True,
        **MOVED_IN_USE,
    ),
    ok(
        "exchanged",
        [volume(1, WEB, "/dev/sdf", name="a"), volume(2, WEB, "/dev/sdg", name="b")],
        [{"name": "a", "device_name": "/dev/sdg"}, {"name": "b", "device_name": "/dev/sdf"}],
        "CreateTags vol-1 was-at | CreateTags vol-2 was-at | DetachVolume vol-1 from i-1",
        "DetachVolume vol-2 from i-1 | AttachVolume vol-1 to i-1 /dev/sdg",
        "AttachVolume vol-2 to i-1 /dev/sdf | DeleteTags vol-1 was-at | DeleteTags vol-2 was-at",
        **MOVED_IN_USE,
    ),
    ok(
        "freed already, in a moment",
        [
            instance(state="stopped"),
            volume(1, name="a", attachments=(VolumeAttachment(WEB, "/dev/sdf", "detaching"),)),
            volume(2, name="b"),
        ],
        [{"name": "a", "state": "detached"}, {"name": "b", "device_name": "/dev/sdf"}],
        "AttachVolume vol-2 to i-1 /dev/sdf",
    ),
    # occupied
    *(
        no(
            f"occupied, as {device}",
            [volume(1, WEB, "/dev/sdf"), volume(2, name="b")],
            [{"name": "b", "device_name": device}],
            UnsafePlan,
            f"volumes[0] (b) | {device} | i-1 | vol-1 | leave device_name out",
        )
        for device in ("/dev/sdf", "/dev/xvdf", "sdf")
    ),
    no(
        "occupied by the root volume",
        [volume(2, name="b")],
        [{"name": "b", "device_name": "/dev/sda"}],
        UnsafePlan,
        "volumes[0] (b) | /dev/sda | vol-f001",
    ),
    no(
        "occupied by another entry's volume, which stays",
        [volume(1, WEB, "/dev/sdf", name="a"), volume(2, name="b")],
        [{"name": "a"}, {"name": "b", "device_name": "/dev/sdf"}],
        UnsafePlan,
        "volumes[1] (b) | /dev/sdf | vol-1",
    ),
]


@pytest.mark.parametrize("case", DEVICES)
def test_device_names_follow_the_declaration(case: Case) -> None:
    check(case)


def test_a_device_that_an_earlier_task_has_planned_is_occupied() -> None:
    ec2 = Ec2(instance())
    earlier = plan_of(declared({"name": "a", "size": 1, "device_name": "/dev/sdf"}), ec2).published()
    with pytest.raises(UnsafePlan, match=r"\(new volume i-\d+/a\) at /dev/xvdf is the volume 'a'"):
        plan_of(declared({"name": "b", "size": 1, "device_name": "/dev/xvdf"}), ec2, earlier)
    chosen = plan_of(declared({"name": "b", "size": 1}), ec2, earlier)
    assert "AttachVolume new i-1/b to i-1 /dev/sdg" in steps(chosen)


def limits(kind: str, most: int | None, **more: Any) -> Fact:
    return INSTANCE_TYPE.fact("t", {"EbsInfo": {"MaximumEbsAttachments": most, "AttachmentLimitType": kind}, **more})


def small(interfaces: int = 1, **fields: Any) -> Instance:
    return instance(instance_type="t", facts={"NetworkInterfaces": [{}] * interfaces}, **fields)


NEW = {"name": "new", "size": 1}
NEW_STEPS = ("CreateVolume new i-1/new", "AttachVolume new i-1/new to i-1 /dev/sdg")
CLUSTER = {"name": "new", "size": 4, "volume_type": "io2", "iops": 100, "multi_attach": True}
LOG = volume(1, WEB, "/dev/sdf", name="log")


@pytest.mark.parametrize(
    "case",
    [
        ok("dedicated, within", [limits("dedicated", 3), small(), LOG], [NEW], *NEW_STEPS),
        ok("shared, within", [limits("shared", 3), small(), LOG], [NEW], *NEW_STEPS),
        ok("no limit is told", [limits("shared", None), small(), LOG], [NEW], *NEW_STEPS),
        ok("the type is not told", [small(), LOG], [NEW], *NEW_STEPS),
        ok(
            "nothing is attached",
            [limits("shared", 1), small(), LOG],
            [{"name": "log", "size": 20}],
            "ModifyVolume vol-1 Size=20",
        ),
        ok(
            "one goes, one comes",
            [limits("shared", 3), small(), LOG],
            [NEW, {"name": "log", "state": "detached"}],
            "CreateVolume new i-1/new | DetachVolume vol-1 from i-1",
            "AttachVolume new i-1/new to i-1 /dev/sdg",
            in_use="detach",
        ),
        ok(
            "a swap takes no more",
            [limits("shared", 3), small(), volume(1, WEB, name="data")],
            [{"name": "data", "encrypted": True}],
            *swapped(),
            **SWAP,
        ),
        *(
            no(
                title,
                [limits(kind, most), small(interfaces), LOG],
                [NEW],
                UnsafePlan,
                f"volumes[0] (new) of i-1 | type t | {most} volumes | have {have} | First detach other volumes",
                whole=True,
            )
            for title, kind, most, interfaces, have in (
                ("dedicated, beyond", "dedicated", 2, 1, "3"),
                ("shared, beyond", "shared", 2, 1, "3"),
                ("shared with interfaces, beyond", "shared", 3, 2, "3"),
            )
        ),
        no(
            "several, beyond together",
            [limits("dedicated", 3), small(), LOG],
            [NEW, {**NEW, "name": "newer"}],
            UnsafePlan,
            "volumes[0] (new) of i-1, volumes[1] (newer) of i-1 | 3 volumes | have 4",
            whole=True,
        ),
        no(
            "multi-attach needs Nitro",
            [limits("shared", None, Hypervisor="xen"), small()],
            [CLUSTER],
            UnsafePlan,
            "i-1 | multi_attach | type t | Nitro",
            whole=True,
        ),
    ],
)
def test_attachment_limit_of_the_instance_type_is_enforced(case: Case) -> None:
    check(case)
