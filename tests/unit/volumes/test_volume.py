# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `ebs_volume_spec`: what it asks, what it plans, what it refuses, and what holds for all its plans.

Every plan of a table is laid over what there is, as a check run does, and carried out by `Ec2`, which is as strict as
EC2: in both worlds there must be nothing left to do.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from threading import Lock
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.device_names import automatic_names
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.spec import VolumesSpec
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import (
    Ambiguous,
    SpecError,
    StorageError,
    UnsafePlan,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import is_planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Fact,
    Instance,
    Resource,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from in_process import OTHER_ZONE, REGION, ZONE
from proven import stopped_at
from volume_world import (
    DB,
    DETACHED,
    FAR,
    IO2,
    KEY,
    NODES,
    NOW,
    OTHER_KEY,
    ROOT_DEVICE,
    ROOTS,
    SWAP,
    WEB,
    Case,
    Ec2,
    Entry,
    Refused,
    all_stages,
    carried_out,
    check,
    declared,
    instance,
    line,
    modification,
    no,
    of_no_use,
    ok,
    plan_of,
    planned,
    read,
    root_of,
    short,
    snap,
    snapshot,
    steps,
    tags_of,
    vol,
    volume,
)

# --- identity ---------------------------------------------------------------------------------------------------------

DATA = {"name": "data", "size": 10}
GONE = instance(DB, "terminated")
TAKEN: Entry = {"steal": True, "in_use": "detach"}

IDENTITY = [
    # by tags
    ok("known by its tags", [volume(1, WEB, name="data")], [DATA]),
    ok("known by its tags, detached", [volume(1, name="data")], [DATA], "AttachVolume vol-1 to i-1 /dev/sdf"),
    ok(
        "found again by a run that died between create and attach",
        [volume(1, name="data", state="creating")],
        [DATA],
        "AttachVolume vol-1 to i-1 /dev/sdf",
    ),
    ok(
        "not there",
        [
            *(instance(one) for one in (WEB, DB)),
            volume(1, WEB),
            volume(2, DB, name="data", group=DB),
            volume(3, WEB, "/dev/sdg", name="log"),
        ],
        [DATA],
        "CreateVolume new i-1/data | AttachVolume new i-1/data to i-1 /dev/sdh",
    ),
    ok(
        "on its way out is gone",
        [volume(1, name="data", state="deleting")],
        [DATA],
        "CreateVolume new i-1/data | AttachVolume new i-1/data to i-1 /dev/sdf",
    ),
    # lost, or never made: nothing of EC2's tells which
    *(
        no(
            f"in the state error, {title}",
            [instance(), volume(1, *at, name=name, state="error")],
            [{"name": "data", **entry}],
            UnsafePlan,
            "volumes[0] (data) | vol-1 | state error | final_snapshot: false",
            replace="snapshot",
            **TAKEN,
        )
        for title, at, name, entry in (
            ("known by its tags", (), "data", {}),
            ("known by its tags, attached", (WEB,), "data", {}),
            ("to be encrypted", (), "data", {"encrypted": True}),
            ("named", (), None, {"volume_id": vol(1)}),
            ("at the device", (WEB,), None, {"device_name": "/dev/sdf"}),
            ("to be absent", (), "data", {"state": "absent"}),
            ("named, to be absent", (), None, {"volume_id": vol(1), "state": "absent"}),
        )
    ),
    ok(
        "in the state error, beside one of the same name in its place",
        [volume(1, name="data", state="error"), volume(2, WEB, name="data")],
        [DATA],
    ),
    ok(
        "in the state error, to be absent without a last snapshot",
        [volume(1, name="data", state="error")],
        [{"name": "data", "state": "absent"}],
        "DeleteVolume vol-1",
        final_snapshot=False,
    ),
    # one device, two names
    ok(
        "adopted at the other name of its device, where it stays",
        [instance(), volume(1, WEB, "/dev/sdf")],
        [{**DATA, "device_name": "/dev/xvdf"}],
        "CreateTags vol-1 spec,volume",
    ),
    ok(
        "stays at the other name of its device",
        [volume(1, WEB, "/dev/xvdf", name="data")],
        [{**DATA, "device_name": "sdf"}],
    ),
    no(
        "two volumes at one device",
        [volume(1, WEB, "/dev/sdf"), volume(2, WEB, "/dev/xvdf")],
        [{**DATA, "device_name": "/dev/sdf"}],
        Ambiguous,
        "volumes[0] (data) | vol-1, vol-2",
    ),
    ok(
        "a spec of its own follows the machine",
        [instance(), GONE, volume(1, DB, name="data", group="web")],
        [DATA],
        "AttachVolume vol-1 to i-1 /dev/sdf",
        spec="web",
    ),
    ok(
        "each instance has its own",
        [instance(), instance(DB), volume(1, WEB, name="data"), volume(2, DB, name="data", group=DB)],
        [DATA],
        instance_ids=[WEB, DB],
    ),
    *(
        no(
            f"two candidates, {title}",
            [volume(1, *at, name="data"), volume(2, name="data")],
            [{**DATA, **entry}],
            Ambiguous,
            "volumes[0] (data) | spec=i-1 | volume=data | vol-1, vol-2",
        )
        for title, at, entry in (
            ("both detached", (), {}),
            ("one in its place, to be absent", (WEB,), {"state": "absent"}),
        )
    ),
    ok("two candidates, one in its place", [volume(1, WEB, name="data"), volume(2, name="data")], [DATA]),
    no(
        "two tasks with one spec do not take each other's",
        [instance(), instance(DB), volume(1, DB, "/dev/sdh", name="data", group="web")],
        [DATA],
        UnsafePlan,
        "volumes[0] (data) | vol-1 | i-2 as /dev/sdh | steal: true",
        spec="web",
    ),
    ok(
        "unless told so",
        [instance(), instance(DB), volume(1, DB, "/dev/sdh", name="data", group="web")],
        [DATA],
        "CreateTags vol-1 was-at | DetachVolume vol-1 from i-2 | AttachVolume vol-1 to i-1 /dev/sdf",
        "DeleteTags vol-1 was-at",
        spec="web",
        **TAKEN,
    ),
    # by id
    ok("named by its id", [volume(1, WEB)], [{"volume_id": vol(1)}], "CreateTags vol-1 spec,volume"),
    ok("named by its id, with its own name", [volume(1, WEB, name="log")], [{"volume_id": vol(1)}]),
    ok(
        "named by its id, with another name",
        [volume(1, WEB, name="log")],
        [{"volume_id": vol(1), "name": "data"}],
        "CreateTags vol-1 volume",
    ),
    ok(
        "named by its id, attached nowhere",
        [volume(1)],
        [{"volume_id": vol(1), "name": "data", "device_name": "/dev/sdh"}],
        "AttachVolume vol-1 to i-1 /dev/sdh | CreateTags vol-1 spec,volume",
    ),
    ok(
        "named by its id, of another spec, taken",
        [volume(1, name="log", group="old")],
        [{"volume_id": vol(1)}],
        "AttachVolume vol-1 to i-1 /dev/sdf | CreateTags vol-1 spec",
        **TAKEN,
    ),
    no(
        "named by an id that does not exist",
        [],
        [{"volume_id": vol(1)}],
        SpecError,
        "volumes[0] | vol-1 does not exist | Check the id and the region",
    ),
    ok("named by an id that does not exist, and should not", [], [{"volume_id": vol(1), "state": "absent"}]),
    no(
        "named by its id, of another spec",
        [volume(1, name="log", group="old")],
        [{"volume_id": vol(1)}],
        UnsafePlan,
        "volumes[0] | vol-1 | 'old' | 'log' | steal: true",
    ),
    no(
        "named by its id, attached to another instance",
        [instance(), instance(DB), volume(1, DB)],
        [{"volume_id": vol(1)}],
        UnsafePlan,
        "vol-1 | i-2 as /dev/sdf | steal: true",
    ),
    no(
        "named by its id, attached to an instance that EC2 does not show",
        [instance(), volume(1, DB)],
        [{"volume_id": vol(1)}],
        UnsafePlan,
        "i-2 as /dev/sdf | steal: true",
    ),
    no(
        "named by its id while another one carries the tags",
        [volume(1, WEB, name="data"), volume(2)],
        [{"volume_id": vol(2), "name": "data"}],
        Ambiguous,
        "volumes[0] (data) | vol-1, vol-2 | another name | move_volumes_names",
    ),
    no(
        "two entries for one volume",
        [volume(1, WEB, name="data")],
        [DATA, {"volume_id": vol(1)}],
        SpecError,
        "volumes[1] (vol-1) | vol-1 | volumes[0] (data)",
    ),
    no(
        "two entries that come to one name",
        [volume(1, WEB, name="data"), volume(2, name="data", group="old")],
        [DATA, {"volume_id": vol(2)}],
        SpecError,
        "volumes[1] (vol-2) | data | volumes[0] (data)",
        **TAKEN,
    ),
    # by device
    ok(
        "what is at the device is adopted",
        [volume(1, WEB, "/dev/sdh", tags={"team": "a"})],
        [{**DATA, "device_name": "/dev/sdh"}],
        "CreateTags vol-1 spec,volume",
    ),
    ok(
        "what is tagged comes before what is at the device",
        [volume(1, WEB, "/dev/sdf", name="data"), volume(2, WEB, "/dev/sdh")],
        [DATA],
    ),
    *(
        no(
            f"what is at the device is not known, so it is not {state}",
            [volume(1, WEB)],
            [{"name": "data", "device_name": "/dev/sdf", "state": state}],
            UnsafePlan,
            "volumes[0] (data) | vol-1 | /dev/sdf | Name it by its volume_id",
            **TAKEN,
        )
        for state in ("detached", "absent")
    ),
    *(
        ok(
            f"what is at the device is another one, so it is not {state}",
            [volume(1, WEB, name="log")],
            [{"name": "data", "device_name": "/dev/sdf", "state": state}],
            **TAKEN,
        )
        for state in ("detached", "absent")
    ),
    no(
        "what is at the device is of another spec",
        [volume(1, WEB, name="data", group="old")],
        [{**DATA, "device_name": "/dev/sdf"}],
        UnsafePlan,
        "volumes[0] (data) | vol-1 | 'old' | steal: true",
    ),
    ok(
        "what is at the device is of another spec, taken",
        [volume(1, WEB, name="data", group="old")],
        [{**DATA, "device_name": "/dev/sdf"}],
        "CreateTags vol-1 spec",
        steal=True,
    ),
    no(
        "what is at the device has another name in the spec",
        [volume(1, WEB, name="log")],
        [{**DATA, "device_name": "/dev/sdf"}],
        UnsafePlan,
        "vol-1 | 'log' | volume_id: vol-1",
    ),
    no(
        "different volumes at the device of several instances",
        [instance(), instance(DB), volume(1, WEB), volume(2, DB)],
        [{"name": "data", "volume_type": "io2", "iops": 100, "multi_attach": True, "device_name": "/dev/sdf"}],
        Ambiguous,
        "volumes[0] (data) | /dev/sdf | vol-1, vol-2",
        instance_ids=[WEB, DB],
        spec="web",
    ),
    # the root volume
    ok(
        "the root volume is changed in place, without tags of ours",
        [],
        [{"name": "root", "size": 20, "tags": {"team": "a"}, "delete_on_termination": False}],
        "CreateTags vol-f001 team | ModifyVolume vol-f001 Size=20",
        "ModifyInstanceAttribute i-1 /dev/xvda=False",
    ),
    ok(
        "the root volume under another name, by its device",
        [],
        [{"name": "system", "device_name": ROOT_DEVICE, "size": 20}],
        "CreateTags vol-f001 spec,volume | ModifyVolume vol-f001 Size=20",
    ),
    ok(
        "the root volume under another name, by its tags, stays at its device",
        [instance(), volume(root_of(WEB), WEB, ROOT_DEVICE, name="system")],
        [{"name": "system", "device_name": "/dev/sdf"}],
    ),
    *(
        no(
            f"the root volume by its {how} is never {state}",
            [instance()],
            [{"name": "data", **entry, "state": state}],
            UnsafePlan,
            "volumes[0] (data) | vol-f001 | root volume",
            **TAKEN,
        )
        for how, entry in (("id", {"volume_id": root_of(WEB)}), ("device", {"device_name": ROOT_DEVICE}))
        for state in ("detached", "absent")
    ),
    *(
        no(
            f"the root volume of another instance is not taken from it, {state}",
            [instance(), instance(DB, "stopped")],
            [{"volume_id": root_of(DB), "state": state}],
            UnsafePlan,
            "vol-f002 | root volume | i-2",
            **TAKEN,
        )
        for state in ("present", "detached", "absent")
    ),
    no(
        "the root volume is not taken by who keeps volumes unattached",
        [instance()],
        [{"volume_id": root_of(WEB), "state": "absent"}],
        UnsafePlan,
        "vol-f001 | root volume",
        instance_ids=None,
        availability_zone=ZONE,
        spec="web",
        **TAKEN,
    ),
    no(
        "the root volume is not swapped",
        [],
        [{"name": "root", "encrypted": True}],
        UnsafePlan,
        "volumes[0] (root) | vol-f001 | encrypted False -> True | root volume is never swapped",
        replace="snapshot",
        **TAKEN,
    ),
    no(
        "no EBS volume at the root device",
        [instance(root_device_type="instance-store"), volume(root_of(WEB))],
        [{"name": "root"}],
        SpecError,
        "volumes[0] (root) | i-1 | no EBS volume at its root device",
    ),
    # instances
    *(
        no(f"an instance that is {state}", [instance(WEB, state)], [DATA], SpecError, f"i-1 | {state}")
        for state in ("terminated", "shutting-down")
    ),
    no(
        "an instance that does not exist",
        [instance(DB)],
        [DATA],
        SpecError,
        "instance_ids | i-1 does not exist | Check the id and the region",
    ),
    # another service's
    ok("managed by a service, as declared", [volume(1, WEB, name="data", operator="eks")], [DATA]),
    *(
        no(
            f"managed by a service, and to be changed: {entry}",
            [volume(1, WEB, name="data", operator="eks")],
            [{**DATA, **entry}],
            UnsafePlan,
            "volumes[0] (data) | vol-1 | managed by eks",
            replace="snapshot",
            **TAKEN,
        )
        for entry in ({"size": 20}, {"encrypted": True}, {"state": "absent"}, {"device_name": "/dev/sdh"})
    ),
    # kept unattached
    *(
        no(
            f"kept unattached in a zone that is {title}",
            facts,
            [DATA],
            SpecError,
            f"availability_zone | no zone {zone}",
            instance_ids=None,
            availability_zone=zone,
            spec="web",
        )
        for title, zone, facts in (
            ("unknown", "us-east-1z", []),
            ("impaired", ZONE, [Fact(f"{ZONE}/zone", False)]),
        )
    ),
    ok(
        "kept unattached, not there",
        [],
        [DATA],
        "CreateVolume new web/data",
        instance_ids=None,
        availability_zone=ZONE,
        spec="web",
    ),
    ok(
        "kept unattached",
        [volume(1, name="data", group="web")],
        [DATA],
        instance_ids=None,
        availability_zone=ZONE,
        spec="web",
    ),
    *(
        ok(
            f"kept unattached, still being made, {title}",
            [instance(), volume(1, name="data", group="web", state="creating")],
            [{**DATA, **entry}],
            *steps,
            instance_ids=None,
            availability_zone=ZONE,
            spec="web",
            replace="snapshot",
        )
        for title, entry, steps in (
            ("and grown", {"size": 20}, ["ModifyVolume vol-1 Size=20"]),
            ("and absent", {"state": "absent"}, ["CreateSnapshot new final of vol-1", "DeleteVolume vol-1"]),
            (
                "and swapped",
                {"encrypted": True},
                [
                    "CreateSnapshot new swap of vol-1 | CreateVolume new web/data | CreateTags vol-1 replaced-by",
                    "DeleteTags vol-1 spec,volume | DeleteSnapshot new swap of vol-1 | DeleteTags new web/data swap",
                ],
            ),
        )
    ),
    no(
        "kept unattached, but attached",
        [instance(), volume(1, WEB, name="data", group="web")],
        [DATA],
        UnsafePlan,
        "vol-1 | i-1 as /dev/sdf | steal: true",
        instance_ids=None,
        availability_zone=ZONE,
        spec="web",
    ),
    ok(
        "kept unattached, taken from where it is",
        [instance(), volume(1, WEB, name="data", group="web")],
        [DATA],
        "DetachVolume vol-1 from i-1",
        instance_ids=None,
        availability_zone=ZONE,
        spec="web",
        **TAKEN,
    ),
]


@pytest.mark.parametrize("case", IDENTITY)
def test_identity(case: Case) -> None:
    check(case)


# --- drift ------------------------------------------------------------------------------------------------------------


def drifts(title: str, is_: Entry, wanted: Entry, *steps: str, facts: Sequence[Resource] = (), **given: Any) -> Any:
    there = [instance(), volume(1, WEB, name="data", **is_), *facts]
    return ok(title, there, [{"name": "data", **wanted}], *steps, **given)


def refuses(
    title: str,
    is_: Entry,
    wanted: Entry,
    words: str,
    facts: Sequence[Resource] = (),
    unsafe: bool = False,
    **given: Any,
) -> Any:
    there = [instance(), volume(1, WEB, name="data", **is_), *facts]
    error = UnsafePlan if unsafe else SpecError
    return no(title, there, [{"name": "data", **wanted}], error, f"volumes[0] (data) | {words}", **given)


def swapped(old: str = "vol-1", device: str = "/dev/sdf", new: str = "new i-1/data") -> list[str]:
    """The steps of a swap of an attached volume whose instance is not stopped for it."""
    return [
        f"CreateTags {old} was-at",
        f"DetachVolume {old} from i-1",
        f"CreateSnapshot new swap of {old}",
        f"CreateVolume {new}",
        f"AttachVolume {new} to i-1 {device}",
        f"DeleteSnapshot new swap of {old}",
        f"CreateTags {old} replaced-by",
        f"DeleteTags {old} spec,volume,was-at",
        f"DeleteTags {new} swap",
    ]


DRIFT = [
    # size
    drifts("size, as it is", {"size": 10}, {"size": 10}),
    drifts("size, grown", {"size": 10}, {"size": 20}, "ModifyVolume vol-1 Size=20"),
    refuses("size, shrunk", {"size": 10}, {"size": 9}, "size | vol-1 | 10 GiB | 9"),
    refuses("size, shrunk, also in a swap", {"size": 10}, {"size": 9, "encrypted": True}, "10 GiB | 9", **SWAP),
    drifts(
        "gp2's IOPS follow its size",
        {"size": 100, "volume_type": "gp2"},
        {"size": 2000},
        "ModifyVolume vol-1 Size=2000",
    ),
    drifts("gp2 as it is", {"size": 2000, "volume_type": "gp2"}, {"size": 2000, "volume_type": "gp2"}),
    # type
    drifts("type, as it is", IO2, IO2),
    drifts("gp2 to gp3", {"volume_type": "gp2"}, {"volume_type": "gp3"}, "ModifyVolume vol-1 VolumeType=gp3"),
    drifts(
        "gp2 to gp3 with less than it has",
        {"volume_type": "gp2", "size": 2000},
        {"volume_type": "gp3"},
        "ModifyVolume vol-1 VolumeType=gp3",
    ),
    drifts(
        "gp2 to gp3 with the IOPS that it has: EBS would make the throughput 125",
        {"volume_type": "gp2", "size": 2000},
        {"volume_type": "gp3", "iops": 6000},
        "ModifyVolume vol-1 VolumeType=gp3 Iops=6000 Throughput=250",
    ),
    drifts(
        "io1 to io2 with the IOPS that it has",
        {"volume_type": "io1", "iops": 500},
        {"volume_type": "io2", "iops": 500},
        "ModifyVolume vol-1 VolumeType=io2 Iops=500",
    ),
    drifts(
        "gp3 to io2 with the IOPS that it has",
        {"iops": 4000, "throughput": 500},
        {"volume_type": "io2", "iops": 4000},
        "ModifyVolume vol-1 VolumeType=io2 Iops=4000",
    ),
    drifts(
        "gp3 to gp2", {"iops": 4000, "throughput": 500}, {"volume_type": "gp2"}, "ModifyVolume vol-1 VolumeType=gp2"
    ),
    drifts("io2 to gp3", IO2, {"volume_type": "gp3"}, "ModifyVolume vol-1 VolumeType=gp3"),
    drifts("gp3 to st1", {"size": 125}, {"volume_type": "st1"}, "ModifyVolume vol-1 VolumeType=st1"),
    drifts(
        "all in one call",
        {"volume_type": "gp2"},
        {"volume_type": "gp3", "size": 20, "iops": 4000, "throughput": 500},
        "ModifyVolume vol-1 Size=20 VolumeType=gp3 Iops=4000 Throughput=500",
    ),
    # IOPS and throughput
    drifts("IOPS", {}, {"iops": 4000}, "ModifyVolume vol-1 Iops=4000"),
    drifts("IOPS, raised by EBS", {}, {"iops": 500}),
    drifts("IOPS back to gp3's least", {"iops": 4000}, {"iops": 500}, "ModifyVolume vol-1 Iops=3000"),
    drifts("throughput", {}, {"throughput": 250}, "ModifyVolume vol-1 Throughput=250"),
    *(drifts(f"throughput {least}, raised by EBS", {}, {"throughput": least}) for least in (0, 1, 124, 125)),
    drifts(
        "throughput back to gp3's least", {"throughput": 250}, {"throughput": 1}, "ModifyVolume vol-1 Throughput=125"
    ),
    drifts("IOPS, throughput stays", {"throughput": 500}, {"iops": 4000}, "ModifyVolume vol-1 Iops=4000"),
    drifts("what is not said stays", {"iops": 4000, "throughput": 500, "size": 50}, {}),
    # what the volume's own values rule out
    refuses("IOPS beyond the volume's size", {}, {"iops": 5001}, "5001 iops on 10 GiB | 500 per GiB"),
    refuses("IOPS on a type without", {"volume_type": "gp2"}, {"iops": 3000}, "gp2 | 3000 | gp3, io1 or io2"),
    refuses("throughput on a type without", IO2, {"throughput": 250}, "io2 | 250 | gp3"),
    refuses("throughput beyond the volume's IOPS", {}, {"throughput": 1000}, "1000 MiB/s | 4000 iops"),
    refuses(
        "IOPS below the volume's throughput",
        {"iops": 4000, "throughput": 1000},
        {"iops": 3000},
        "1000 MiB/s | 4000 iops",
    ),
    refuses("a size beyond the volume's type", {"volume_type": "standard"}, {"size": 1025}, "1 to 1024 GiB | 1025"),
    refuses("a type beyond the volume's size", {"size": 124}, {"volume_type": "st1"}, "125 to 16384 GiB | 124"),
    refuses("a type beyond the volume's size", {"size": 16385}, {"volume_type": "gp2"}, "1 to 16384 GiB | 16385"),
    # multi-attach
    refuses("multi-attach of what serves", IO2, {"multi_attach": True}, "multi_attach | in_use: stop", unsafe=True),
    drifts(
        "multi-attach with the type that has it",
        {},
        {"volume_type": "io2", "iops": 500, "multi_attach": True},
        "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1",
        "ModifyVolume vol-1 VolumeType=io2 Iops=500 MultiAttachEnabled=True | AttachVolume vol-1 to i-1 /dev/sdf",
        "DeleteTags vol-1 was-at",
        in_use="detach",
    ),
    drifts(
        "multi-attach, off",
        {**IO2, "multi_attach_enabled": True},
        {"multi_attach": False},
        "ModifyVolume vol-1 MultiAttachEnabled=False",
    ),
    refuses("multi-attach on a type without", {}, {"multi_attach": True}, "multi_attach | gp3 | io1 or io2"),
    refuses(
        "a type without multi-attach for a volume that has it",
        {**IO2, "multi_attach_enabled": True},
        {"volume_type": "gp3"},
        "gp3 | First set multi_attach: false",
    ),
    refuses(
        "a type without multi-attach, and that off",
        {**IO2, "multi_attach_enabled": True},
        {"volume_type": "gp3", "multi_attach": False},
        "volume_type io2 -> gp3 | First set multi_attach: false",
    ),
    drifts(
        "multi-attach on its way off",
        {**IO2, "multi_attach_enabled": True},
        {"multi_attach": False},
        facts=[modification(volume(1, **IO2, multi_attach_enabled=True), "modifying", multi_attach_enabled=False)],
    ),
    refuses(
        "multi-attach of io1 is for its creation",
        {"volume_type": "io1", "iops": 500},
        {"multi_attach": True},
        "multi_attach | io1 | vol-1",
    ),
    refuses(
        "io1 with multi-attach cannot be modified",
        {"volume_type": "io1", "iops": 500, "multi_attach_enabled": True},
        {"size": 20},
        "io1 | vol-1 | multi_attach",
    ),
    # delete on termination
    drifts("delete on termination", {}, {"delete_on_termination": True}, "ModifyInstanceAttribute i-1 /dev/sdf=True"),
    drifts("delete on termination, as it is", {}, {"delete_on_termination": False}),
    ok(
        "delete on termination of all volumes in one call",
        [
            volume(1, name="data", attachments=(VolumeAttachment(WEB, "/dev/sdf", delete_on_termination=True),)),
            volume(2, WEB, "/dev/sdg", name="log"),
        ],
        [
            {"name": "data", "delete_on_termination": False},
            {"name": "log", "delete_on_termination": True},
            {"name": "new", "size": 1, "delete_on_termination": True},
            {"name": "root", "delete_on_termination": False},
        ],
        "CreateVolume new i-1/new | AttachVolume new i-1/new to i-1 /dev/sdh",
        "ModifyInstanceAttribute i-1 /dev/sdf=False /dev/sdg=True /dev/sdh=True /dev/xvda=False",
    ),
    # tags
    drifts("tags", {"tags": {"a": "1", "b": "2"}}, {"tags": {"b": "3", "c": 4}}, "CreateTags vol-1 b,c"),
    drifts("tags, as they are", {"tags": {"a": "1"}}, {"tags": {"a": "1"}}, purge_tags=True),
    drifts(
        "tags, purged",
        {"tags": {"a": "1", "b": "2", "aws:backup": "x", "ec2ops:policy": "y"}},
        {"tags": {"b": "3"}},
        "DeleteTags vol-1 a | CreateTags vol-1 b",
        purge_tags=True,
    ),
    drifts("tags, all purged", {"tags": {"a": "1"}}, {"tags": {}}, "DeleteTags vol-1 a", purge_tags=True),
    drifts("tags, not purged where none are said", {"tags": {"a": "1"}}, {}, purge_tags=True),
    # where it is attached
    drifts(
        "another device",
        {},
        {"device_name": "/dev/sdh"},
        "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1 | AttachVolume vol-1 to i-1 /dev/sdh",
        "DeleteTags vol-1 was-at",
        in_use="detach",
    ),
    drifts(
        "another device, delete on termination goes with it",
        {"attachments": (VolumeAttachment(WEB, "/dev/sdf", delete_on_termination=True),)},
        {"device_name": "/dev/sdh"},
        "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1 | AttachVolume vol-1 to i-1 /dev/sdh",
        "ModifyInstanceAttribute i-1 /dev/sdh=True | DeleteTags vol-1 was-at",
        in_use="detach",
    ),
    drifts(
        "another device, and no delete on termination any more",
        {"attachments": (VolumeAttachment(WEB, "/dev/sdf", delete_on_termination=True),)},
        {"device_name": "/dev/sdh", "delete_on_termination": False},
        "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1 | AttachVolume vol-1 to i-1 /dev/sdh",
        "DeleteTags vol-1 was-at",
        in_use="detach",
    ),
    # what only a swap can change
    drifts("encrypted", {}, {"encrypted": True}, *swapped(), **SWAP),
    drifts("encrypted, as it is", {"encrypted": True, "kms_key_id": KEY}, {"encrypted": True}),
    drifts(
        "encrypted, while it grows",
        {},
        {"encrypted": True},
        *swapped(),
        facts=[modification(DETACHED, "modifying", size=20)],
        **SWAP,
    ),
    drifts(
        "encrypted, with tags purged",
        {"tags": {"a": "1"}},
        {"encrypted": True, "tags": {}},
        *swapped(),
        purge_tags=True,
        **SWAP,
    ),
    drifts("encrypted, and larger", {}, {"encrypted": True, "size": 20}, *swapped(), **SWAP),
    drifts("the zone", {"zone": ZONE}, {}, facts=[Fact("ebsEncryptionByDefault", True)]),
    ok(
        "the zone: a volume moves with its data",
        [instance(), volume(1, name="data", zone=OTHER_ZONE)],
        [{"name": "data"}],
        "CreateSnapshot new swap of vol-1 | CreateVolume new i-1/data | AttachVolume new i-1/data to i-1 /dev/sdf",
        "DeleteSnapshot new swap of vol-1 | CreateTags vol-1 replaced-by | DeleteTags vol-1 spec,volume",
        "DeleteTags new i-1/data swap",
        **SWAP,
    ),
    refuses(
        "not swapped unless told so",
        {},
        {"encrypted": True},
        "vol-1 | encrypted False -> True | replace: snapshot",
        unsafe=True,
    ),
    refuses(
        "never decrypted", {"encrypted": True, "kms_key_id": KEY}, {"encrypted": False}, "vol-1 | encrypted", **SWAP
    ),
    # keys
    *(
        drifts(
            f"the key by its {how}, as it is",
            {"encrypted": True, "kms_key_id": KEY},
            {"encrypted": True, "kms_key_id": said},
            facts=[Fact(f"{said}/key", KEY)],
        )
        for how, said in (
            ("ARN", KEY),
            ("id", KEY.rpartition("/")[2]),
            ("alias", "alias/a"),
            ("alias's ARN", "arn:aws:kms:us-east-1:1:alias/a"),
        )
    ),
    *(
        drifts(
            f"another key, by its {how}",
            {"encrypted": True, "kms_key_id": KEY},
            {"encrypted": True, "kms_key_id": said},
            *swapped(),
            facts=[Fact(f"{said}/key", OTHER_KEY)],
            **SWAP,
        )
        for how, said in (("ARN", OTHER_KEY), ("alias", "alias/b"))
    ),
    drifts(
        "a key with the encryption, by its alias",
        {},
        {"encrypted": True, "kms_key_id": "alias/b"},
        *swapped(),
        facts=[Fact("alias/b/key", OTHER_KEY)],
        **SWAP,
    ),
    drifts(
        "a key that KMS does not tell is no reason to swap",
        {"encrypted": True, "kms_key_id": KEY},
        {"encrypted": True, "kms_key_id": "alias/b"},
        facts=[Fact("alias/b/key", None)],
        **SWAP,
    ),
    # encryption by default
    drifts(
        "unencrypted, as said, in an account that encrypts",
        {},
        {"encrypted": False},
        facts=[Fact("ebsEncryptionByDefault", True)],
    ),
    refuses(
        "an unencrypted copy, in an account that encrypts",
        {"encrypted": False, "zone": OTHER_ZONE, "attachments": ()},
        {"encrypted": False},
        "encrypted: false | encryption by default",
        facts=[Fact("ebsEncryptionByDefault", True)],
        **SWAP,
    ),
]


@pytest.mark.parametrize("case", DRIFT)
def test_drift(case: Case) -> None:
    check(case)


def test_an_unresolved_key_is_a_warning() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data", encrypted=True, kms_key_id=KEY), Fact("alias/b/key", None))
    plan = plan_of(declared({"name": "data", "encrypted": True, "kms_key_id": "alias/b"}), ec2)
    (warning,) = plan.warnings
    assert "volumes[0] (data)" in warning
    assert "alias/b" in warning
    assert KEY in warning


def test_all_that_cannot_be_mended_is_named_at_once() -> None:
    ec2 = Ec2(instance(), volume(1, name="data", zone=OTHER_ZONE, encrypted=True, kms_key_id=KEY))
    with pytest.raises(UnsafePlan) as refused:
        plan_of(declared({"name": "data", "encrypted": True, "kms_key_id": OTHER_KEY}), ec2)
    for word in (f"availability_zone {OTHER_ZONE} -> {ZONE}", f"kms_key_id {KEY} -> {OTHER_KEY}", "replace: snapshot"):
        assert word in str(refused.value)


# --- made -------------------------------------------------------------------------------------------------------------

MADE = ("CreateVolume new i-1/data", "AttachVolume new i-1/data to i-1 /dev/sdf")
NEWEST = {"snapshot": {"tags": {"app": "db"}}}


@pytest.mark.parametrize(
    ("entry", "there", "request_", "seen"),
    [
        ({"size": 10}, [], {"VolumeType": "gp3", "Size": 10}, {"iops": 3000, "throughput": 125}),
        (
            {"size": 10, "iops": 500, "throughput": 1},
            [],
            {"VolumeType": "gp3", "Size": 10, "Iops": 3000, "Throughput": 125},
            {"iops": 3000, "throughput": 125},
        ),
        (
            {"size": 2000, "volume_type": "gp2"},
            [],
            {"VolumeType": "gp2", "Size": 2000},
            {"iops": 6000, "throughput": None},
        ),
        (
            {"size": 10, **IO2, "multi_attach": True},
            [],
            {"VolumeType": "io2", "Size": 10, "Iops": 5000, "MultiAttachEnabled": True},
            {"multi_attach_enabled": True},
        ),
        ({"size": 10, "multi_attach": False}, [], {"VolumeType": "gp3", "Size": 10}, {"multi_attach_enabled": False}),
        (
            {"size": 125, "volume_type": "st1"},
            [],
            {"VolumeType": "st1", "Size": 125},
            {"iops": None, "throughput": None},
        ),
        ({"size": 10, "encrypted": False}, [], {"VolumeType": "gp3", "Size": 10}, {"encrypted": False}),
        (
            {"size": 10, "encrypted": True, "kms_key_id": "alias/a"},
            [Fact("alias/a/key", KEY)],
            {"VolumeType": "gp3", "Size": 10, "Encrypted": True, "KmsKeyId": "alias/a"},
            {"encrypted": True, "kms_key_id": KEY},
        ),
        ({"size": 10}, [Fact("ebsEncryptionByDefault", True)], {"VolumeType": "gp3", "Size": 10}, {"encrypted": True}),
        (
            {"snapshot_id": snap(1), "initialization_rate": 200},
            [snapshot(1, 9, volume_size=20, encrypted=True)],
            {"VolumeType": "gp3", "Size": 20, "SnapshotId": snap(1), "VolumeInitializationRate": 200},
            {"encrypted": True, "snapshot_id": snap(1)},
        ),
        (
            {"snapshot_id": snap(1), "size": 30},
            [snapshot(1, 9, volume_size=20)],
            {"VolumeType": "gp3", "Size": 30, "SnapshotId": snap(1)},
            {"encrypted": False},
        ),
        (
            NEWEST,
            [
                snapshot(1, 9, tags={"app": "db"}),
                snapshot(2, 9, tags={"app": "db"}, start_time=NOW),
                snapshot(3, 9, "pending", tags={"app": "db"}, start_time=NOW + timedelta(seconds=1)),
                snapshot(4, 9, tags={"app": "web"}, start_time=NOW + timedelta(seconds=1)),
            ],
            {"VolumeType": "gp3", "Size": 10, "SnapshotId": snap(2)},
            {"snapshot_id": snap(2)},
        ),
        (
            {"snapshot": {**NEWEST["snapshot"], "before": "2026-11-23T12:00:00Z"}},
            [snapshot(1, 9, tags={"app": "db"}), snapshot(2, 9, tags={"app": "db"}, start_time=NOW)],
            {"VolumeType": "gp3", "Size": 10, "SnapshotId": snap(1)},
            {"snapshot_id": snap(1)},
        ),
    ],
)
def test_what_a_volume_is_made_with(
    entry: Entry, there: Sequence[Resource], request_: Mapping[str, Any], seen: Mapping[str, Any]
) -> None:
    case = Case("made", [instance(), *there], [{"name": "data", "tags": {"team": "a"}, **entry}], MADE)
    ec2 = check(case)
    change = plan_of(case.spec, case.ec2()).changes[0]
    parameters = dict(change.parameters)
    (tags,) = parameters.pop("TagSpecifications")
    assert parameters == {"AvailabilityZone": ZONE, **request_}
    expected = [("ec2ops:spec", WEB), ("ec2ops:volume", "data"), ("team", "a")]
    assert tags == {"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in expected]}
    made = ec2.resources[ec2.bindings[change.resource]]
    predicted = change.after or {}
    assert {name: predicted[name] for name in seen} == seen
    assert {name: getattr(made, name) for name in seen} == seen


@pytest.mark.parametrize(
    "case",
    [
        no(
            "no size and no snapshot",
            [],
            [{"name": "data"}],
            SpecError,
            "volumes[0] (data) | size: is required | snapshot",
        ),
        no(
            "a snapshot that does not exist",
            [],
            [{"name": "data", "snapshot_id": snap(1)}],
            SpecError,
            "volumes[0] (data) | snapshot_id | snap-1 does not exist",
        ),
        no(
            "a snapshot that is not completed",
            [instance(), snapshot(1, 9, "pending")],
            [{"name": "data", "snapshot_id": snap(1)}],
            SpecError,
            "volumes[0] (data) | snap-1 | pending",
        ),
        no(
            "no snapshot has the tags",
            [instance(), snapshot(1, 9, tags={"app": "db"}, start_time=NOW)],
            [{"name": "data", "snapshot": {**NEWEST["snapshot"], "before": "2026-11-23T12:00:00Z"}}],
            SpecError,
            "volumes[0] (data) | snapshot | app",
        ),
        no(
            "a snapshot larger than the size",
            [instance(), snapshot(1, 9, volume_size=20)],
            [{"name": "data", "snapshot_id": snap(1), "size": 19}],
            SpecError,
            "volumes[0] (data) | 19 GiB | 20 | snap-1",
        ),
        no(
            "a snapshot larger than gp3's ratio needs",
            [instance(), snapshot(1, 9, volume_size=7)],
            [{"name": "data", "snapshot_id": snap(1), "iops": 3501}],
            SpecError,
            "volumes[0] (data) | 3501 iops on 7 GiB | 500 per GiB",
        ),
        no(
            "unencrypted, from an encrypted snapshot",
            [instance(), snapshot(1, 9, encrypted=True)],
            [{"name": "data", "snapshot_id": snap(1), "encrypted": False}],
            SpecError,
            "volumes[0] (data) | encrypted: false | encrypted snapshot",
        ),
        no(
            "unencrypted, in an account that encrypts",
            [instance(), Fact("ebsEncryptionByDefault", True)],
            [{**DATA, "encrypted": False}],
            SpecError,
            f"volumes[0] (data) | encrypted: false | encryption by default | {REGION}",
        ),
        no(
            "multi-attach of the type that a new volume has",
            [],
            [{**DATA, "multi_attach": True}],
            SpecError,
            "volumes[0] (data) | multi_attach | gp3 | io1 or io2",
        ),
        no(
            "values that gp3 does not take",
            [],
            [{**DATA, "throughput": 1000}],
            SpecError,
            "volumes[0] (data) | 1000 MiB/s | 4000 iops",
        ),
        ok("not there, and to be detached", [], [{"name": "data", "state": "detached"}]),
        ok("not there, and to be absent", [], [{"name": "data", "state": "absent"}]),
    ],
)
def test_what_is_not_there(case: Case) -> None:
    check(case)


def test_sources_count_at_creation_only() -> None:
    check(Case("", [instance(), volume(1, WEB, name="data")], [{"name": "data", "snapshot_id": snap(9)}]))


# --- the modification budget ------------------------------------------------------------------------------------------


def modified(title: str, state: str, target: Entry, wanted: Entry, *steps: str, **given: Any) -> Any:
    there = [instance(), volume(1, WEB, name="data"), modification(DETACHED, state, **target)]
    return ok(title, there, [{"name": "data", **wanted}], *steps, **given)


IN_PROGRESS = [("modifying", {"size": 20}), ("optimizing", {"size": 10})]
GROW = "ModifyVolume vol-1 Size=30"


@pytest.mark.parametrize(
    "case",
    [
        *(
            modified(
                f"what is wanted is on its way, {choice}", "modifying", {"size": 20}, {"size": 20}, on_cooldown=choice
            )
            for choice in ("fail", "defer", "wait")
        ),
        *(modified(f"nothing to change, {state}", state, target, {"size": 10}) for state, target in IN_PROGRESS[1:]),
        *(
            modified(f"put off, {state}", state, target, {"size": 30}, on_cooldown="defer")
            for state, target in IN_PROGRESS
        ),
        *(
            modified(f"waited for, {state}", state, target, {"size": 30}, GROW, on_cooldown="wait")
            for state, target in IN_PROGRESS
        ),
        *(
            modified(f"after one that is {state}, {choice}", state, target, {"size": 30}, GROW, on_cooldown=choice)
            for state, target in (("completed", {"size": 10}), ("failed", {"size": 30}))
            for choice in ("fail", "defer", "wait")
        ),
        *(
            no(
                f"refused, {state}",
                [instance(), volume(1, WEB, name="data"), modification(DETACHED, state, **target)],
                [{"name": "data", "size": 30}],
                UnsafePlan,
                f"volumes[0] (data) | vol-1 | size {target['size']} -> 30 | {state} (50 % done) | cooldown: wait",
            )
            for state, target in IN_PROGRESS
        ),
        modified(
            "what is put off holds nothing else back",
            "optimizing",
            {"size": 10},
            {"size": 30, "tags": {"a": "b"}, "delete_on_termination": True},
            "CreateTags vol-1 a | ModifyInstanceAttribute i-1 /dev/sdf=True",
            on_cooldown="defer",
        ),
        ok(
            "what is being modified is attached when that has ended",
            [instance(), volume(1, name="data"), modification(DETACHED, "modifying", size=20)],
            [{"name": "data", "size": 20}],
            "AttachVolume vol-1 to i-1 /dev/sdf",
        ),
        ok(
            "what is being modified is attached when that has ended, whatever it is",
            [instance(), volume(1, name="data"), modification(DETACHED, "modifying", size=20)],
            [{"name": "data"}],
            "AttachVolume vol-1 to i-1 /dev/sdf",
        ),
    ],
)
def test_modifications(case: Case) -> None:
    check(case)


def growth(choice: str, *facts: Resource) -> Plan:
    there = Ec2(instance(), volume(1, WEB, name="data"), *facts)
    return plan_of(declared({"name": "data", "size": 30}, on_cooldown=choice), there)


@pytest.mark.parametrize("choice", ["fail", "defer", "wait"])
def test_what_becomes_of_ec2s_refusal(choice: str) -> None:
    codes = {"IncorrectModificationState", "VolumeModificationRateExceeded"}
    plan = growth(choice)
    (change,) = plan.changes
    (stage,) = (stage for stage in plan.stages if stage.changes)
    assert change.deferrable == (codes if choice == "defer" else set())
    assert stage.patience == (codes if choice == "wait" else set())
    assert stage.waits == (Wait((vol(1),), "modified", final=True),)


def test_the_plan_says_that_ec2_decides() -> None:
    (first,) = growth("fail").changes
    (next_one,) = growth("fail", modification(DETACHED, "completed", size=10)).changes
    assert first.reason == "size 10 -> 30"
    assert "EC2 decides" in next_one.reason
    assert "24 hours" in next_one.reason


def test_a_modification_is_waited_for_before_the_next() -> None:
    plan = growth("wait", modification(DETACHED, "optimizing", size=10))
    assert [(steps(Plan((stage,))), [wait.goal for wait in stage.waits]) for stage in plan.stages] == [
        ([], ["modifiable"]),
        ([GROW], ["modified"]),
    ]


# --- devices and limits -----------------------------------------------------------------------------------------------


def attaches(*devices: str, first: int = 1) -> list[str]:
    return [f"AttachVolume vol-{number} to i-1 {device}" for number, device in enumerate(devices, first)]


def was_at(*places: str) -> dict[str, str]:
    return {"ec2ops:was-at": ",".join(places)}


LETTERS = "fghijklmnop"
MOVED_IN_USE = {"in_use": "detach"}
XVD = list(automatic_names(instance()))[11:87]
MANY_TYPE = Fact("m5.large/type", {"Hypervisor": "nitro"})

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
    # what is remembered of where it was
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
def test_devices(case: Case) -> None:
    check(case)


def test_a_device_that_an_earlier_task_has_planned_is_occupied() -> None:
    ec2 = Ec2(instance())
    earlier = plan_of(declared({"name": "a", "size": 1, "device_name": "/dev/sdf"}), ec2).published()
    with pytest.raises(UnsafePlan, match=r"\(new volume i-\d+/a\) at /dev/xvdf is the volume 'a'"):
        plan_of(declared({"name": "b", "size": 1, "device_name": "/dev/xvdf"}), ec2, earlier)
    chosen = plan_of(declared({"name": "b", "size": 1}), ec2, earlier)
    assert "AttachVolume new i-1/b to i-1 /dev/sdg" in steps(chosen)


def limits(kind: str, most: int | None, **more: Any) -> Fact:
    return Fact("t/type", {"EbsInfo": {"MaximumEbsAttachments": most, "AttachmentLimitType": kind}, **more})


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
                f"volumes[0] (new) of i-1 | type t | {most} volumes | have {have} | Detach others first",
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
        ),
        no(
            "multi-attach needs Nitro",
            [limits("shared", None, Hypervisor="xen"), small()],
            [CLUSTER],
            UnsafePlan,
            "i-1 | multi_attach | type t | Nitro",
        ),
    ],
)
def test_limits_of_the_instance_type(case: Case) -> None:
    check(case)


# --- multi-attach -----------------------------------------------------------------------------------------------------

BOTH: Entry = {"instance_ids": [WEB, DB], "spec": "web"}


def shared(number: int, *at: str, device: str = "/dev/sdf", **fields: Any) -> Volume:
    links = tuple(VolumeAttachment(one, device) for one in at)
    values = {"volume_type": "io2", "iops": 100, "multi_attach_enabled": True, "attachments": links, **fields}
    return volume(number, name="data", group="web", **values)


QUORUM = {"name": "data", "size": 10, "volume_type": "io2", "iops": 100, "multi_attach": True}


@pytest.mark.parametrize(
    "case",
    [
        ok(
            "one volume for all",
            NODES,
            [QUORUM],
            "CreateVolume new web/data | AttachVolume new web/data to i-1 /dev/sdf",
            "AttachVolume new web/data to i-2 /dev/sdf",
            **BOTH,
        ),
        ok("as declared", [*NODES, shared(1, WEB, DB)], [QUORUM], **BOTH),
        ok("one more instance", [*NODES, shared(1, WEB)], [QUORUM], "AttachVolume vol-1 to i-2 /dev/sdf", **BOTH),
        ok(
            "an instance that the task does not name keeps it",
            [*NODES, shared(1, WEB, DB)],
            [QUORUM],
            instance_ids=[WEB],
            spec="web",
        ),
        ok(
            "detached from all",
            [*NODES, shared(1, WEB, DB)],
            [{**QUORUM, "state": "detached"}],
            "DetachVolume vol-1 from i-1 | DetachVolume vol-1 from i-2",
            **BOTH,
        ),
        *(
            ok(
                f"one node leaves, {title}",
                [*NODES, shared(1, WEB, DB)],
                [{"name": "data", "state": "detached", **entry}],
                "DetachVolume vol-1 from i-2",
                instance_ids=[DB],
                spec="web",
                **given,
            )
            for title, entry, given in (
                ("by name", {}, {}),
                ("by id", {"volume_id": vol(1)}, {}),
                ("and steals nothing", {}, {"steal": True}),
            )
        ),
        ok(
            "two nodes leave, and multi_attach need not be said",
            [*NODES, instance(FAR, "stopped"), shared(1, WEB, DB, FAR)],
            [{"name": "data", "state": "detached"}],
            "DetachVolume vol-1 from i-1 | DetachVolume vol-1 from i-2",
            **BOTH,
        ),
        ok(
            "absent, and multi_attach need not be said",
            [*NODES, shared(1, WEB, DB)],
            [{"name": "data", "state": "absent"}],
            "DetachVolume vol-1 from i-1 | DetachVolume vol-1 from i-2 | CreateSnapshot new final of vol-1",
            "DeleteVolume vol-1",
            **BOTH,
        ),
        ok(
            "swapped on all",
            [*NODES, shared(1, WEB, DB)],
            [{**QUORUM, "encrypted": True}],
            "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1 | DetachVolume vol-1 from i-2",
            "CreateSnapshot new swap of vol-1 | CreateVolume new web/data",
            "AttachVolume new web/data to i-1 /dev/sdf | AttachVolume new web/data to i-2 /dev/sdf",
            "DeleteSnapshot new swap of vol-1 | CreateTags vol-1 replaced-by",
            "DeleteTags vol-1 spec,volume,was-at | DeleteTags new web/data swap",
            replace="snapshot",
            **BOTH,
        ),
        ok(
            "attached to one more when it can be",
            [*NODES, volume(1, WEB, name="data", group="web")],
            [{**QUORUM, "iops": 500}],
            "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1",
            "ModifyVolume vol-1 VolumeType=io2 Iops=500 MultiAttachEnabled=True",
            "AttachVolume vol-1 to i-1 /dev/sdf | AttachVolume vol-1 to i-2 /dev/sdf | DeleteTags vol-1 was-at",
            **BOTH,
        ),
        no(
            "attached to one more before it can be",
            [*NODES, volume(1, WEB, name="data", group="web"), modification(DETACHED, "optimizing")],
            [{**QUORUM, "iops": 500}],
            UnsafePlan,
            "volumes[0] (data) | vol-1 | multi_attach",
            on_cooldown="defer",
            **BOTH,
        ),
        no(
            "attached to several before it can be",
            [*NODES, volume(1, name="data", group="web"), modification(DETACHED, "modifying", size=20)],
            [{**QUORUM, "size": 20, "iops": 500}],
            UnsafePlan,
            "volumes[0] (data) | vol-1 | multi_attach",
            on_cooldown="defer",
            **BOTH,
        ),
        no(
            "no multi-attach any more, while attached to several",
            [*NODES, shared(1, WEB, DB)],
            [{**QUORUM, "multi_attach": False}],
            SpecError,
            "volumes[0] (data) | multi_attach | i-2",
            instance_ids=[WEB],
            spec="web",
        ),
        no(
            "across zones",
            [instance(WEB), instance(FAR, zone=OTHER_ZONE)],
            [QUORUM],
            SpecError,
            f"multi_attach | {ZONE} | {OTHER_ZONE}",
            instance_ids=[WEB, FAR],
            spec="web",
        ),
        no(
            "swapped under an instance that the task does not name",
            [*NODES, shared(1, WEB, DB)],
            [{**QUORUM, "encrypted": True}],
            UnsafePlan,
            "vol-1 | is attached to i-2 too | Name them in instance_ids too",
            replace="snapshot",
            in_use="detach",
            instance_ids=[WEB],
            spec="web",
        ),
        no(
            "deleted under an instance that the task does not name",
            [*NODES, shared(1, WEB, DB)],
            [{**QUORUM, "state": "absent"}],
            UnsafePlan,
            "vol-1 | i-2 as /dev/sdf | steal: true detaches it there, and it is absent",
            instance_ids=[WEB],
            spec="web",
        ),
    ],
)
def test_shared_volumes(case: Case) -> None:
    check(case)


SIXTEEN = [f"i-{number:017x}" for number in range(0x101, 0x111)]


@pytest.mark.parametrize("how", ["detached", "absent", "moved", "swapped"])
@pytest.mark.parametrize("in_use", ["stop", "detach"])
def test_a_volume_of_sixteen_nodes_comes_off(how: str, in_use: str) -> None:
    """Each of its places is remembered, and found again after a kill."""
    volumes, given = TAKING_OFF[how]
    entries = [{**QUORUM, "device_name": "/dev/xvdba", **entry} for entry in volumes]
    links = [VolumeAttachment(one, "/dev/xvdba", delete_on_termination=True) for one in SIXTEEN]
    there = [*(instance(one) for one in SIXTEEN), shared(1, attachments=tuple(links))]
    spec = declared(*entries, **{**given, "instance_ids": SIXTEEN, "spec": "web", "in_use": in_use})
    carried_out(spec, Ec2(*there))
    ec2 = Ec2(*there)
    plan = plan_of(spec, ec2)
    number = len([line for line in steps(plan) if line.startswith("DetachVolume")])
    ec2.carry_out(plan, [line.partition(" ")[0] for line in steps(plan)].index("DetachVolume") + number)
    ec2.settle()
    if in_use == "stop" or how in ("moved", "swapped"):
        assert remembered(ec2.resources[vol(1)]) == {(one, "/dev/xvdba", True) for one in SIXTEEN}
    ec2.carry_out(plan_of(spec, ec2))
    assert steps(plan_of(spec, ec2)) == []
    assert {ec2.resources[one].state for one in SIXTEEN} == {"running"}
    if how in ("moved", "swapped"):
        (serving,) = [one for one in ec2.volumes() if len(one.attachments) == len(SIXTEEN)]
        assert not [key for key in serving.tags if "was-at" in key]


def test_places_of_an_earlier_record_are_emptied() -> None:
    """A record of fewer places, over one of many."""
    tags = {"ec2ops:was-at": "x", "ec2ops:was-at-2": f"{FAR} /dev/sdf"}
    ec2 = Ec2(*NODES, shared(1, WEB, DB, tags=tags))
    plan = plan_of(declared({**QUORUM, "device_name": "/dev/sdg"}, **BOTH), ec2)
    ec2.carry_out(plan, 1)
    assert {one for one, _device, _flag in remembered(ec2.resources[vol(1)])} == {WEB, DB}


# --- taken off --------------------------------------------------------------------------------------------------------

STOPPED = instance(state="stopped")
HELD = Hold(NOW - timedelta(minutes=10), NOW + timedelta(minutes=20)).value
LEFT = instance(state="stopped", tags={"ec2ops:restore-state": HELD}, facts=stopped_at(NOW - timedelta(minutes=9)))
PURGE: Entry = {"purge_volumes": True, "in_use": "detach"}
STOP: Entry = {"in_use": "stop"}
STOPPING = ("CreateTags vol-1 was-at", "CreateTags i-1 restore-state", "StopInstances i-1")
STARTING = ("StartInstances i-1", "DeleteTags i-1 restore-state")
# What can be asked of one volume that takes it off.
TAKING_OFF: Mapping[str, tuple[list[Entry], dict[str, Any]]] = {
    "detached": ([{"name": "data", "state": "detached"}], {}),
    "absent": ([{"name": "data", "state": "absent"}], {}),
    "purged": ([], {"purge_volumes": True}),
    "moved": ([{"name": "data", "device_name": "/dev/sdh"}], {}),
    "swapped": ([{"name": "data", "encrypted": True}], {"replace": "snapshot"}),
}

PURGED = [
    ok(
        "what is not named goes, but not the root",
        [
            instance(),
            volume(1, WEB, name="data"),
            volume(2, WEB, "/dev/sdg"),
            volume(3, WEB, "/dev/sdh", name="x", group="y"),
        ],
        [{"name": "data"}],
        "DetachVolume vol-2 from i-1",
        **PURGE,
    ),
    ok("not unless told so", [volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg")], [{"name": "data"}]),
    ok(
        "what is named by its id stays, and so does what is adopted",
        [volume(1, WEB, name="a"), volume(2, WEB, "/dev/sdg")],
        [{"volume_id": vol(1)}, {"name": "b", "device_name": "/dev/sdg"}],
        "CreateTags vol-2 spec,volume",
        **PURGE,
    ),
    ok(
        "another instance's stay",
        [instance(), instance(DB), volume(1, DB), volume(2, WEB)],
        [],
        "DetachVolume vol-2 from i-1",
        **PURGE,
    ),
    ok(
        "a shared volume leaves this instance only",
        [STOPPED, instance(DB), shared(1, WEB, DB)],
        [],
        "DetachVolume vol-1 from i-1",
        purge_volumes=True,
        spec="web",
    ),
    ok("what a service manages stays", [volume(1, WEB, operator="eks")], [], **PURGE),
    ok("the root volume of an instance that does not name its volumes yet", [instance(state="pending")], [], **PURGE),
]


@pytest.mark.parametrize("case", PURGED)
def test_purged(case: Case) -> None:
    check(case)


def test_delete_on_termination_of_an_instance_that_is_pending() -> None:
    entry = {"name": "data", "delete_on_termination": True}
    there = [instance(state="pending"), volume(1, WEB, name="data")]
    check(Case("", there, [entry], ["ModifyInstanceAttribute i-1 /dev/sdf=True"]))


def test_what_a_service_manages_is_a_warning() -> None:
    (warning,) = plan_of(declared(**PURGE), Ec2(instance(), volume(1, WEB, operator="eks"))).warnings
    assert vol(1) in warning
    assert "eks" in warning


def test_the_root_volume_of_an_instance_that_does_not_name_its_volumes_yet() -> None:
    check(Case("", [instance(state="pending")], [{"name": "root", "size": 20}], ["ModifyVolume vol-f001 Size=20"]))


# What leaves: (its spec, its zone, what is given), and what the warning says.
LEAVING: list[tuple[str, str, dict[str, Any], str]] = [
    ("web", ZONE, {"spec": "web"}, "leaves i-2 and stays in the declaration web"),
    ("web", OTHER_ZONE, {"spec": "web"}, "leaves i-2 and stays in the declaration web"),
    ("web", ZONE, {"spec": "web", "instance_ids": None, "availability_zone": OTHER_ZONE}, "leaves i-2 and stays"),
    (DB, ZONE, {}, "goes from the declaration i-2 to i-1"),
    (DB, OTHER_ZONE, {}, "goes from the declaration i-2 to i-1"),
]


@pytest.mark.parametrize(("group", "zone", "given", "words"), LEAVING)
def test_what_declares_a_volume_that_leaves_is_named(group: str, zone: str, given: dict[str, Any], words: str) -> None:
    """Also what shares the name of the spec with the declaration that takes it: it works against that one."""
    ec2 = Ec2(instance(WEB), instance(DB, zone=zone), volume(1, DB, name="data", group=group, zone=zone))
    spec = declared({"volume_id": vol(1)}, **{**TAKEN, "replace": "snapshot", **given})
    (warning,) = plan_of(spec, ec2).warnings
    assert words in short(warning)
    assert "Remove data from" in warning
    ec2.carry_out(plan_of(spec, ec2))
    assert not any("Remove " in one for one in plan_of(spec, ec2).warnings)


@pytest.mark.parametrize("how", TAKING_OFF)
@pytest.mark.parametrize("state", ["running", "pending"])
def test_nothing_is_taken_off_a_running_instance_unless_told_so(how: str, state: str) -> None:
    volumes, given = TAKING_OFF[how]
    label = "volumes[0] (data)" if volumes else "purge_volumes"
    words = [label, "vol-1", "i-1", "running", "in_use: stop", "in_use: detach"]
    check(Case("", [instance(state=state), volume(1, WEB, name="data")], volumes, (), UnsafePlan, words, given))


@pytest.mark.parametrize("in_use", ["refuse", "stop", "detach"])
def test_taken_off_already(in_use: str) -> None:
    leaving = volume(1, name="data", attachments=(VolumeAttachment(WEB, "/dev/sdf", "detaching"),))
    check(Case("", [instance(), leaving], [{"name": "data", "state": "detached"}], given={"in_use": in_use}))


@pytest.mark.parametrize("how", TAKING_OFF)
@pytest.mark.parametrize("in_use", ["refuse", "stop", "detach"])
def test_what_is_taken_off_a_stopped_instance_harms_nobody(how: str, in_use: str) -> None:
    volumes, given = TAKING_OFF[how]
    case = Case("", [STOPPED, volume(1, WEB, name="data")], volumes, given={**given, "in_use": in_use})
    plan = carried_out(case.spec, case.ec2())
    assert "DetachVolume vol-1 from i-1" in steps(plan)
    assert not [change for change in plan.changes if change.action in ("StopInstances", "StartInstances")]
    assert not [change.action for change in plan.changes if change.disruptive and change.action != "DeleteVolume"]


@pytest.mark.parametrize("how", TAKING_OFF)
def test_what_is_taken_off_a_running_system_is_disruptive(how: str) -> None:
    volumes, given = TAKING_OFF[how]
    case = Case("", [instance(), volume(1, WEB, name="data")], volumes, given={**given, "in_use": "detach"})
    plan = carried_out(case.spec, case.ec2())
    (detach,) = (change for change in plan.changes if change.action == "DetachVolume")
    assert detach.disruptive
    assert not [change for change in plan.changes if change.action in ("StopInstances", "StartInstances")]


SWAPPING = (
    "CreateSnapshot new swap of vol-1",
    "CreateVolume new i-1/data",
    "AttachVolume new i-1/data to i-1 /dev/sdf",
)
SWAP_ENDING = (
    "DeleteSnapshot new swap of vol-1",
    "CreateTags vol-1 replaced-by",
    "DeleteTags vol-1 spec,volume,was-at",
    "DeleteTags new i-1/data swap",
)


@pytest.mark.parametrize(
    "case",
    [
        ok(
            "detached",
            [volume(1, WEB, name="data")],
            *TAKING_OFF["detached"][:1],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *STARTING,
            "DeleteTags vol-1 was-at",
            **STOP,
        ),
        ok(
            "deleted: the instance does not wait for the snapshot",
            [volume(1, WEB, name="data")],
            *TAKING_OFF["absent"][:1],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *STARTING,
            "CreateSnapshot new final of vol-1 | DeleteVolume vol-1",
            **STOP,
        ),
        ok(
            "swapped: the instance is started with the new one",
            [volume(1, WEB, name="data")],
            *TAKING_OFF["swapped"][:1],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *SWAPPING,
            *STARTING,
            *SWAP_ENDING,
            replace="snapshot",
            **STOP,
        ),
        ok(
            "two volumes, one stop",
            [volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg", name="log")],
            [{"name": "data", "state": "detached"}, {"name": "log", "state": "detached"}],
            STOPPING[0],
            "CreateTags vol-2 was-at",
            *STOPPING[1:],
            "DetachVolume vol-1 from i-1 | DetachVolume vol-2 from i-1",
            *STARTING,
            "DeleteTags vol-1 was-at | DeleteTags vol-2 was-at",
            **STOP,
        ),
        ok(
            "no stop for what needs none",
            [volume(1, WEB, name="data"), volume(2, name="log")],
            [{"name": "data", "size": 20}, {"name": "log"}],
            "ModifyVolume vol-1 Size=20 | AttachVolume vol-2 to i-1 /dev/sdg",
            **STOP,
        ),
        ok(
            "a killed run has left it stopped: it is started again",
            [LEFT, volume(1, name="data", tags=was_at(f"{WEB} /dev/sdf"))],
            [{"name": "data", "state": "detached"}],
            *STARTING,
            "DeleteTags vol-1 was-at",
            **STOP,
        ),
        ok(
            "somebody else holds it stopped: it stays so",
            [LEFT, volume(1, name="data")],
            [{"name": "data", "state": "detached"}],
            **STOP,
        ),
        ok(
            "what is stopping already is waited for, and not started",
            [instance(state="stopping"), volume(1, WEB, name="data")],
            [{"name": "data", "state": "detached"}],
            "DetachVolume vol-1 from i-1",
            **STOP,
        ),
        *(
            no(
                f"not stopped: {title}",
                [instance(**fields), volume(1, WEB, name="data"), *facts],
                [{"name": "data", "state": "detached"}],
                UnsafePlan,
                f"in_use: stop | i-1 | {words}",
                **STOP,
            )
            for title, fields, facts, words in (
                ("stop protection", {}, [Fact(f"{WEB}/disableApiStop", True)], "DisableApiStop"),
                (
                    "instance store",
                    {"instance_type": "i"},
                    [Fact("i/type", {"InstanceStorageSupported": True})],
                    "lose_instance_store",
                ),
                (
                    "Auto Scaling",
                    {"tags": {"aws:autoscaling:groupName": "g"}},
                    [Fact(f"{WEB}/autoscaling", {"group": "g", "lifecycle": "InService"})],
                    "Auto Scaling group g",
                ),
            )
        ),
        ok(
            "instance store is lost when told so",
            [
                instance(instance_type="i"),
                Fact("i/type", {"InstanceStorageSupported": True}),
                volume(1, WEB, name="data"),
            ],
            [{"name": "data", "state": "detached"}],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *STARTING,
            "DeleteTags vol-1 was-at",
            lose_instance_store=True,
            **STOP,
        ),
    ],
)
def test_stopped_for_it(case: Case) -> None:
    check(case)


def test_a_lost_public_address_is_a_warning() -> None:
    there = [instance(public_ip_address="192.0.2.1"), volume(1, WEB, name="data")]
    (warning,) = plan_of(declared({"name": "data", "state": "detached"}, **STOP), Ec2(*there)).warnings
    assert "192.0.2.1" in warning


# --- the last snapshot ------------------------------------------------------------------------------------------------

ABSENT = [{"name": "data", "state": "absent"}]
FINAL = {"ec2ops:final": vol(1)}
LAST = ("CreateSnapshot new final of vol-1", "DeleteVolume vol-1")
# Nothing tells whether the volume was attached since an earlier run took its snapshot.
ANEW = ("CreateSnapshot new final of vol-1", "DeleteSnapshot snap-1", "DeleteVolume vol-1")


@pytest.mark.parametrize(
    "case",
    [
        ok("after the detach", [STOPPED, volume(1, WEB, name="data")], ABSENT, "DetachVolume vol-1 from i-1", *LAST),
        ok("detached already", [volume(1, name="data")], ABSENT, *LAST),
        ok(
            "none wanted",
            [volume(1)],
            [{**ABSENT[0], "volume_id": vol(1)}],
            "DeleteVolume vol-1",
            final_snapshot=False,
        ),
        ok("none wanted, and only tags say what it is", [volume(1, name="data")], ABSENT, *LAST, final_snapshot=False),
        ok("gone already", [snapshot(1, 1, tags=FINAL)], ABSENT),
        *(
            ok(
                f"found by its tag, {state}",
                [STOPPED, volume(1, name="data"), snapshot(1, 1, state, tags=FINAL)],
                ABSENT,
                *ANEW,
            )
            for state in ("pending", "completed")
        ),
        ok(
            "failed",
            [STOPPED, volume(1, name="data"), snapshot(1, 1, "error", tags=FINAL)],
            ABSENT,
            "DeleteSnapshot snap-1",
            *LAST,
        ),
        ok(
            "not the last one any more: it was attached since",
            [STOPPED, volume(1, WEB, name="data"), snapshot(1, 1, tags=FINAL)],
            ABSENT,
            "DeleteTags snap-1 final | DetachVolume vol-1 from i-1",
            *LAST,
        ),
        ok(
            "another volume's",
            [STOPPED, volume(1, name="data"), snapshot(1, 2, tags={"ec2ops:final": vol(2)})],
            ABSENT,
            *LAST,
        ),
        ok(
            "of what a swap has replaced: the swap's own",
            [STOPPED, volume(1, WEB, name="data")],
            [{"name": "data", "encrypted": True}],
            "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1",
            *SWAPPING,
            "DeleteTags new swap of vol-1 swap | CreateTags vol-1 replaced-by | DeleteTags new i-1/data swap",
            "DeleteVolume vol-1",
            replace="snapshot",
            delete_replaced=True,
        ),
        ok(
            "of what a swap has replaced: none wanted",
            [STOPPED, volume(1, WEB, name="data")],
            [{"name": "data", "encrypted": True}],
            "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1",
            *SWAPPING,
            "CreateTags vol-1 replaced-by | DeleteVolume vol-1 | DeleteSnapshot new swap of vol-1",
            "DeleteTags new i-1/data swap",
            replace="snapshot",
            delete_replaced=True,
            final_snapshot=False,
        ),
    ],
)
def test_final_snapshots(case: Case) -> None:
    check(case)


def test_a_final_snapshot_carries_the_users_tags() -> None:
    ec2 = Ec2(STOPPED, volume(1, name="data", tags={"team": "a", "aws:x": "y"}))
    plan = plan_of(declared({"name": "data", "state": "absent", "tags": {"cost": "b"}}), ec2)
    (made,) = (change for change in plan.changes if change.action == "CreateSnapshot")
    assert made.parameters["VolumeId"] == vol(1)
    assert tags_of(made.parameters) == {"team": "a", "cost": "b", **FINAL}
    assert planner.FEATURE.result(declared(*ABSENT), overlay(read(declared(*ABSENT), ec2)[0], plan.published()))[
        "final_snapshots"
    ] == [{"volume_id": vol(1), "snapshot_id": made.resource}]


@pytest.mark.parametrize("first", ["absent", "swapped"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["detached by a run", "detached by hand"])
def test_a_snapshot_of_a_killed_run_is_not_the_last_one_for_ever(first: str, by_hand: bool) -> None:
    """Killed after the snapshot, attached again by a run, written to, taken off: then the snapshot is too old."""
    ec2 = Ec2(STOPPED, volume(1, WEB, name="data"))
    volumes, given = TAKING_OFF[first]
    killed = plan_of(declared(*volumes, **given), ec2)
    ec2.carry_out(killed, next(n for n, change in enumerate(killed.changes, 1) if change.action == "CreateSnapshot"))
    ec2.settle()
    ec2.carry_out(plan_of(declared({"name": "data"}), ec2))
    ec2.put(instance())
    ec2.write()
    ec2.put(STOPPED)
    if by_hand:
        ec2.put(dataclasses.replace(ec2.resources[vol(1)], attachments=(), state="available"))
    else:
        ec2.carry_out(plan_of(declared(*TAKING_OFF["detached"][0]), ec2))
    written = ec2.written[vol(1)]
    ec2.carry_out(plan_of(declared(*volumes, **given), ec2))
    others = [item for item in ec2.resources if item in ec2.written and item not in (vol(1), root_of(WEB))]
    assert written in [ec2.written[item] for item in others]


@pytest.mark.parametrize("first", ["absent", "swapped"])
def test_a_pending_snapshot_that_is_given_up_is_not_taken_for_the_last_one(first: str) -> None:
    """EC2 shows it until it is complete. Killed once more right after the detach, a run finds no trace of it."""
    ec2 = Ec2(STOPPED, volume(1, WEB, name="data"))
    volumes, given = TAKING_OFF[first]
    spec = declared(*volumes, **given)
    for last in ("CreateSnapshot", "DetachVolume"):
        plan = plan_of(spec, ec2)
        ec2.carry_out(plan, next(n for n, change in enumerate(plan.changes, 1) if change.action == last))
        if last == "CreateSnapshot":
            (given_up,) = ec2.snapshots()
            ec2.put(volume(1, WEB, name="data", tags=ec2.resources[vol(1)].tags))
            ec2.put(instance())
            ec2.write()
            ec2.put(STOPPED)
    assert given_up.snapshot_id in ec2.resources
    ec2._finish(vol(1))
    (made,) = (change for change in plan_of(spec, ec2).changes if change.action == "CreateSnapshot")
    assert made.parameters["VolumeId"] == vol(1)


# --- unfinished swaps -------------------------------------------------------------------------------------------------

PLACE = was_at(f"{WEB} /dev/sdh delete")
SWAP_TAG = {"ec2ops:swap": vol(1)}
ENCRYPT = {"name": "data", "encrypted": True}
OLD = volume(1, name="data", tags=PLACE)
OLD_DONE = volume(1, tags={"ec2ops:replaced-by": vol(2)})
MARKED = volume(1, name="data", tags={**PLACE, "ec2ops:replaced-by": vol(2)})
BOTH_OLD = f"{vol(2)},{vol(1)}"


def heir(number: int = 2, *at: str, replaces: str = vol(1), **fields: Any) -> Volume:
    """What a swap has made, encrypted, and has put into its place."""
    links = tuple(VolumeAttachment(one, "/dev/sdh", delete_on_termination=True) for one in at)
    tags = {"ec2ops:replaces": replaces, **fields.pop("tags", {})}
    fields = {"snapshot_id": snap(number - 1), "create_time": NOW, **fields}
    return volume(number, name="data", encrypted=True, kms_key_id=KEY, attachments=links, tags=tags, **fields)


def copy(number: int = 2, *at: str, replaces: str = vol(1), **fields: Any) -> Volume:
    """What a swap has made, and may not have put into its place yet."""
    tags = {"ec2ops:swap": replaces.partition(",")[0], **fields.pop("tags", {})}
    return heir(number, *at, replaces=replaces, tags=tags, **fields)


def swap(title: str, there: Sequence[Resource], *steps: str, **given: Any) -> Any:
    return ok(title, [STOPPED, *there], [ENCRYPT], *steps, **{"replace": "snapshot", **given})


# That it was deleted with its instance says only a tag, so it is not any more.
ATTACH_AGAIN = ("AttachVolume vol-2 to i-1 /dev/sdh",)
COPY_AGAIN = ("CreateVolume new i-1/data", "AttachVolume new i-1/data to i-1 /dev/sdh")
MARK, UNTAG, TAKEN_OVER = "CreateTags vol-1 replaced-by", "DeleteTags vol-1 spec,volume,was-at", "DeleteTags vol-2 swap"
DONE = (MARK, UNTAG, TAKEN_OVER)
ENDED_ANEW = ("CreateSnapshot new final of vol-1", MARK, "DeleteVolume vol-1 | DeleteSnapshot snap-1", TAKEN_OVER)
DONE_AGAIN = (MARK, UNTAG, "DeleteTags new i-1/data swap")

UNFINISHED = [
    swap(
        "detached",
        [OLD],
        "CreateSnapshot new swap of vol-1",
        *COPY_AGAIN,
        "DeleteSnapshot new swap of vol-1",
        *DONE_AGAIN,
    ),
    *(
        swap(
            f"the snapshot is {state}",
            [OLD, snapshot(1, 1, state, tags=SWAP_TAG)],
            "CreateSnapshot new swap of vol-1",
            *COPY_AGAIN,
            "DeleteSnapshot snap-1 | DeleteSnapshot new swap of vol-1",
            *DONE_AGAIN,
        )
        for state in ("pending", "completed")
    ),
    swap(
        "the snapshot has failed",
        [OLD, snapshot(1, 1, "error", tags=SWAP_TAG)],
        "DeleteSnapshot snap-1 | CreateSnapshot new swap of vol-1",
        *COPY_AGAIN,
        "DeleteSnapshot new swap of vol-1",
        *DONE_AGAIN,
    ),
    *(
        swap(
            f"the copy is {state}",
            [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(state=state)],
            *ATTACH_AGAIN,
            "DeleteSnapshot snap-1",
            *DONE,
        )
        for state in ("creating", "available")
    ),
    # It may have been in its place for a while.
    no(
        "the copy is in the state error",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy(state="error")],
        [ENCRYPT],
        UnsafePlan,
        "volumes[0] (data) | vol-2 | state error",
        replace="snapshot",
    ),
    swap("the copy is attached", [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)], "DeleteSnapshot snap-1", *DONE),
    swap("the snapshot is gone", [OLD, copy(2, WEB)], *DONE),
    swap("the old one is marked", [MARKED, copy(2, WEB)], f"{UNTAG} | {TAKEN_OVER}"),
    swap("the old one is done", [OLD_DONE, copy(2, WEB)], TAKEN_OVER),
    swap("done", [OLD_DONE, heir(2, WEB)]),
    swap("done, and detached since", [OLD_DONE, heir(2)], "AttachVolume vol-2 to i-1 /dev/sdf"),
    swap("the old one is deleted", [heir(2, WEB)]),
    swap(
        "the old one is attached again: it has newer writes",
        [volume(1, WEB, "/dev/sdh", name="data"), snapshot(1, 1, tags=SWAP_TAG), copy()],
        "DeleteVolume vol-2 | DeleteSnapshot snap-1 | CreateTags vol-1 was-at",
        "DetachVolume vol-1 from i-1 | CreateSnapshot new swap of vol-1 | CreateVolume new i-1/data",
        "AttachVolume new i-1/data to i-1 /dev/sdh | DeleteSnapshot new swap of vol-1",
        *DONE_AGAIN,
    ),
    pytest.param(
        Case(
            "both are attached",
            [STOPPED, volume(1, WEB, "/dev/sdg", name="data"), copy(2, WEB)],
            [ENCRYPT],
            (),
            Ambiguous,
            ["volumes[0] (data)", "vol-1, vol-2", "attached again", "replaced-by"],
            {"replace": "snapshot"},
        ),
        id="both are attached",
    ),
    # the wish has changed
    ok(
        "not swapped any more: it goes back",
        [STOPPED, OLD],
        [{"name": "data"}],
        "AttachVolume vol-1 to i-1 /dev/sdh | DeleteTags vol-1 was-at",
    ),
    ok(
        "to be detached: the copy has nothing of its own",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy()],
        [{"name": "data", "state": "detached"}],
        "DeleteVolume vol-2 | DeleteSnapshot snap-1 | DeleteTags vol-1 was-at",
    ),
    ok(
        "to be absent: the copy has nothing of its own",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy()],
        ABSENT,
        "DeleteVolume vol-2 | DeleteSnapshot snap-1",
        *LAST,
    ),
    ok("to be absent: nothing proves the copy", [STOPPED, OLD, copy()], ABSENT, *LAST),
    ok(
        "to be absent: the swap's snapshot goes too",
        [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG)],
        ABSENT,
        "DeleteSnapshot snap-1",
        *LAST,
    ),
    ok(
        "to be absent: the swap's snapshot is the last one",
        [STOPPED, OLD, snapshot(1, 1, tags={**SWAP_TAG, **FINAL})],
        ABSENT,
        *ANEW,
    ),
    ok(
        "to be absent: the copy has taken its place",
        [STOPPED, OLD, copy(2, WEB)],
        ABSENT,
        "DetachVolume vol-2 from i-1 | CreateSnapshot new final of vol-2",
        MARK,
        UNTAG,
        "DeleteVolume vol-2",
    ),
    # the old one is to be deleted
    swap(
        "the snapshot was for a copy alone, and another one is the last one",
        [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)],
        *ENDED_ANEW,
        delete_replaced=True,
    ),
    swap(
        "the snapshot was the last one, and a newer one is",
        [OLD, snapshot(1, 1, tags={**SWAP_TAG, **FINAL}), copy(2, WEB)],
        *ENDED_ANEW,
        delete_replaced=True,
    ),
    swap(
        "the snapshot is kept already",
        [OLD, snapshot(1, 1, tags=FINAL, description=f"web data: swap snapshot of {vol(1)}"), copy(2, WEB)],
        *ENDED_ANEW,
        delete_replaced=True,
    ),
    swap(
        "the snapshot is gone: the old one is not deleted",
        [OLD, copy(2, WEB)],
        *DONE,
        delete_replaced=True,
    ),
    swap(
        "no snapshot is wanted, and none proves the copy",
        [OLD, copy(2, WEB)],
        *DONE,
        delete_replaced=True,
        final_snapshot=False,
    ),
    swap(
        "no snapshot is wanted",
        [OLD, snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)],
        f"{MARK} | DeleteVolume vol-1 | DeleteSnapshot snap-1 | {TAKEN_OVER}",
        delete_replaced=True,
        final_snapshot=False,
    ),
    swap(
        "no snapshot is wanted, and the old one is deleted",
        [snapshot(1, 1, tags=SWAP_TAG), copy(2, WEB)],
        f"DeleteSnapshot snap-1 | {TAKEN_OVER}",
        delete_replaced=True,
        final_snapshot=False,
    ),
    # one after the other
    swap(
        "the second one is done",
        [OLD_DONE, volume(2, tags={"ec2ops:replaced-by": vol(3)}), heir(3, WEB, replaces=BOTH_OLD)],
    ),
    swap(
        "the second one is attached",
        [OLD_DONE, heir(2, tags=PLACE), copy(3, WEB, replaces=BOTH_OLD)],
        "CreateTags vol-2 replaced-by | DeleteTags vol-2 spec,volume,was-at | DeleteTags vol-3 swap",
    ),
    swap(
        "the second one is made",
        [OLD_DONE, heir(2, tags=PLACE), snapshot(2, 2, tags={"ec2ops:swap": vol(2)}), copy(3, replaces=BOTH_OLD)],
        "AttachVolume vol-3 to i-1 /dev/sdh | DeleteSnapshot snap-2",
        "CreateTags vol-2 replaced-by | DeleteTags vol-2 spec,volume,was-at | DeleteTags vol-3 swap",
    ),
    swap(
        "the second one is attached, and neither is finished",
        [MARKED, heir(2, tags=PLACE), copy(3, WEB, replaces=BOTH_OLD)],
        "CreateTags vol-2 replaced-by | DeleteTags vol-2 spec,volume,was-at | DeleteTags vol-1 spec,volume,was-at",
        "DeleteTags vol-3 swap",
    ),
]


@pytest.mark.parametrize("case", UNFINISHED)
def test_unfinished_swaps(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", UNFINISHED)
def test_unfinished_swaps_of_what_is_named_by_its_id(case: Case) -> None:
    """The same follows, whichever of its ids names the volume, where EC2 proves the copy or only tags change."""
    case = dataclasses.replace(case, volumes=[{"volume_id": vol(1), **entry} for entry in case.volumes])
    if case.title == "the old one is deleted":
        assert case.steps == []
    if case.title in ("done, and detached since", "the second one is made"):
        words = ["volumes[0] (data)", "has replaced vol-1", "nothing proves that"]
        case = dataclasses.replace(case, steps=(), refused=Ambiguous, words=words)
    if case.title == "to be absent: the copy has taken its place":
        case = dataclasses.replace(case, steps=())
    check(case)


@pytest.mark.parametrize("state", ["present", "detached", "absent"])
def test_one_volume_in_two_entries_in_the_middle_of_a_swap(state: str) -> None:
    entries = [{"volume_id": vol(1), "name": "other", "state": state}, {"name": "data"}]
    there = [STOPPED, OLD, snapshot(1, 1, tags=SWAP_TAG), copy()]
    plan = plan_of(declared(*entries, replace="snapshot"), Ec2(*there))
    assert isinstance(plan.refused, SpecError)
    message = short(str(plan.refused))
    assert [word for word in ("volumes[1] (data)", "volumes[0] (other)") if word not in message] == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_replaced_volume_stands_for_its_living_replacement(number: int) -> None:
    chain = [OLD_DONE, volume(2, tags={"ec2ops:replaced-by": vol(3)}), heir(3, WEB, replaces=BOTH_OLD)]
    ec2 = Ec2(instance(), *chain)
    spec = declared({"volume_id": vol(number)})
    assert steps(carried_out(spec, ec2)) == []
    (row,) = planner.FEATURE.result(spec, read(spec, ec2)[0])["volumes"]
    assert (row["volume_id"], row["name"], row["replaced"]) == (vol(3), "data", [vol(2), vol(1)])


@pytest.mark.parametrize(
    "case",
    [
        no(
            "its replacement is gone",
            [volume(1, tags={"ec2ops:replaced-by": vol(2)})],
            [{"volume_id": vol(1)}],
            SpecError,
            "volumes[0] (vol-1) | replaced by vol-2 | remove its tag replaced-by",
        ),
        no(
            "two replacements, both attached",
            [instance(), instance(DB), OLD_DONE, heir(2, WEB), heir(3, DB)],
            [{"volume_id": vol(1)}],
            Ambiguous,
            "volumes[0] (vol-1) | vol-2, vol-3",
        ),
        ok("two replacements, one in its place", [OLD_DONE, heir(2, WEB), heir(3)], [{"volume_id": vol(1)}]),
        no(
            "replaced, and its replacement attached elsewhere",
            [instance(), instance(DB), OLD_DONE, heir(2, DB)],
            [{"volume_id": vol(1)}],
            UnsafePlan,
            "vol-2 | i-2 as /dev/sdh | steal: true",
        ),
    ],
)
def test_replaced_volumes(case: Case) -> None:
    check(case)


# --- the number of tags -----------------------------------------------------------------------------------------------


def tagged(many: int, letter: str = "a") -> dict[str, str]:
    return {f"{letter}{number}": "x" for number in range(many)}


TOO_MANY_TAGS = [
    no(
        title,
        [STOPPED, there],
        [entry],
        SpecError,
        f"{resource} would have {many} tags | 50 | {many - 50} of them must go",
        replace="snapshot",
        **TAKEN,
    )
    for title, there, entry, resource, many in (
        ("adopted", volume(1, WEB, tags=tagged(49)), {"name": "data", "device_name": "/dev/sdf"}, "vol-1", 51),
        (
            "declared",
            volume(1, WEB, name="data", tags=tagged(30)),
            {"name": "data", "tags": tagged(20, "b")},
            "vol-1",
            52,
        ),
        (
            "moved",
            volume(1, WEB, name="data", tags=tagged(48)),
            {"name": "data", "device_name": "/dev/sdh"},
            "vol-1",
            51,
        ),
        ("swapped", volume(1, WEB, name="data", tags=tagged(47)), ENCRYPT, "new i-1/data", 51),
        (
            "swapped, tagged",
            volume(1, name="data", tags=tagged(30)),
            {**ENCRYPT, "tags": tagged(18, "b")},
            "new i-1/data",
            52,
        ),
        (
            "a last snapshot",
            volume(1, tags=tagged(50)),
            {"volume_id": vol(1), "state": "absent"},
            "new final of vol-1",
            51,
        ),
    )
]


@pytest.mark.parametrize("case", TOO_MANY_TAGS)
def test_more_tags_than_ec2_takes_are_refused_before_anything_is_done(case: Case) -> None:
    check(case)


def test_aws_own_tags_do_not_count() -> None:
    own = {f"aws:{key}": value for key, value in tagged(9).items()}
    check(
        Case(
            "",
            [STOPPED, volume(1, WEB, tags={**tagged(46), **own})],
            [{**ENCRYPT, "device_name": "/dev/sdf"}],
            [
                "CreateTags vol-1 spec,volume",
                "CreateTags vol-1 was-at",
                "DetachVolume vol-1 from i-1",
                "CreateSnapshot new swap of vol-1",
                "CreateVolume new i-1/data",
                "AttachVolume new i-1/data to i-1 /dev/sdf",
                "DeleteSnapshot new swap of vol-1",
                *DONE_AGAIN,
            ],
            given={"replace": "snapshot"},
        )
    )


def test_tags_that_are_purged_make_room_first() -> None:
    there = [instance(), volume(1, WEB, name="data", tags=tagged(45))]
    ec2 = check(
        Case(
            "",
            there,
            [{"name": "data", "tags": tagged(45, "b")}],
            given={"purge_tags": True},
            steps=[
                f"DeleteTags vol-1 {','.join(sorted(tagged(45)))}",
                f"CreateTags vol-1 {','.join(sorted(tagged(45, 'b')))}",
            ],
        )
    )
    assert len(ec2.resources[vol(1)].tags) == 47


# --- questions --------------------------------------------------------------------------------------------------------


def counted(spec: VolumesSpec, ec2: Ec2) -> dict[str, int]:
    operations = [query.operation for query in read(spec, ec2)[1]]
    return {name: operations.count(name) for name in operations}


NO_OP: Entry = {"DescribeInstances": 1, "DescribeVolumes": 2}


@pytest.mark.parametrize("many", [1, 2, 50, 200])
def test_three_questions_for_what_is_as_declared(many: int) -> None:
    """Whatever the number of instances and volumes; EC2 takes 200 values in a filter."""
    ids = [f"i-{number:017x}" for number in range(1, many + 1)]
    ec2 = Ec2(*(instance(one) for one in ids))
    for at, one in enumerate(ids):
        for number, name in enumerate(("a", "b", "c", "d")):
            ec2.put(
                volume(
                    10 * at + number + 1,
                    one,
                    f"/dev/sd{LETTERS[number]}",
                    name=name,
                    group=one,
                    encrypted=True,
                    kms_key_id=KEY,
                )
            )
    entry = {"size": 10, "encrypted": True, "kms_key_id": KEY, "tags": {}, "delete_on_termination": False}
    spec = declared(*({"name": name, **entry} for name in ("a", "b", "c", "d")), {"name": "root"}, instance_ids=ids)
    assert counted(spec, ec2) == NO_OP
    assert plan_of(spec, ec2).is_empty


@pytest.mark.parametrize(
    ("there", "entry", "given", "more"),
    [
        ([volume(1, WEB, name="data")], {}, PURGE, {"DescribeVolumes": 3}),
        ([volume(1, WEB)], {"volume_id": vol(1)}, {}, {"DescribeVolumes": 4}),
        (
            [volume(1, WEB, name="data", encrypted=True, kms_key_id=KEY), Fact("alias/a/key", KEY)],
            {"encrypted": True, "kms_key_id": "alias/a"},
            {},
            {"DescribeKey": 1},
        ),
        ([volume(1, WEB, name="data")], {"size": 20}, {}, {"DescribeVolumesModifications": 1}),
        ([], {"size": 1}, {}, {"GetEbsEncryptionByDefault": 1, "DescribeInstanceTypes": 1}),
        (
            [volume(1, DB, name="data", group="web"), instance(DB)],
            {},
            {"spec": "web", **TAKEN},
            {
                "DescribeInstances": 2,
                "DescribeInstanceTypes": 1,
                "DescribeVolumesModifications": 1,
                "DescribeSnapshots": 2,
            },
        ),
        (
            [volume(1, WEB, name="data")],
            {"encrypted": True},
            SWAP,
            {
                "GetEbsEncryptionByDefault": 1,
                "DescribeSnapshots": 1,
                "DescribeInstanceTypes": 1,
                "DescribeVolumesModifications": 1,
            },
        ),
        (
            [volume(1, WEB, name="data")],
            {"state": "absent"},
            STOP,
            {"DescribeSnapshots": 1, "DescribeInstanceTypes": 1, "DescribeInstanceAttribute": 1},
        ),
    ],
)
def test_more_is_asked_only_about_what_changes(
    there: Sequence[Resource], entry: Entry, given: Entry, more: Mapping[str, int]
) -> None:
    ec2 = Ec2(instance(), *there)
    assert counted(declared({"name": "data", **entry}, **given), ec2) == {**NO_OP, **more}


def test_eight_new_volumes_take_no_more_questions_than_one() -> None:
    ec2 = Ec2(instance())
    one, eight = (declared(*({"name": f"v{n}", "size": 1} for n in range(count))) for count in (1, 8))
    assert counted(one, ec2) == counted(eight, ec2)


# --- the result -------------------------------------------------------------------------------------------------------


def result(ec2: Ec2, *entries: Entry, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    spec = declared(*entries, **given)
    state, _asked = read(spec, ec2)
    return planner.FEATURE.result(
        spec, overlay(state, planner.plan(spec, state, NOW).published()) if check_mode else state
    )


def test_a_row_for_each_instance_and_volume_in_their_order() -> None:
    ec2 = Ec2(instance(), instance(DB), volume(1, WEB, name="b"), volume(2, DB, "/dev/sdg", name="a", group=DB))
    rows = result(ec2, {"name": "b", "size": 10}, {"name": "a", "size": 10}, instance_ids=[DB, WEB])["volumes"]
    assert [(row["instance_id"], row["spec"], row["name"], row["volume_id"]) for row in rows] == [
        (DB, DB, "b", None),
        (DB, DB, "a", vol(2)),
        (WEB, WEB, "b", vol(1)),
        (WEB, WEB, "a", None),
    ]


def test_a_row_of_what_there_is() -> None:
    links = (VolumeAttachment(WEB, "/dev/sdf", delete_on_termination=True),)
    there = volume(1, name="data", tags={"a": "b", "ec2ops:replaces": vol(9)}, attachments=links, snapshot_id=snap(1))
    (row,) = result(Ec2(instance(), there), {"name": "data"})["volumes"]
    assert row == {
        "instance_id": WEB,
        "spec": WEB,
        "name": "data",
        "volume_id": vol(1),
        "device_name": "/dev/sdf",
        "nvme_path": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol00000000000000001",
        "state": "in-use",
        "size": 10,
        "volume_type": "gp3",
        "iops": 3000,
        "throughput": 125,
        "encrypted": False,
        "kms_key_id": None,
        "availability_zone": ZONE,
        "snapshot_id": snap(1),
        "multi_attach": False,
        "delete_on_termination": True,
        "attachments": [
            {"instance_id": WEB, "device_name": "/dev/sdf", "state": "attached", "delete_on_termination": True}
        ],
        "tags": {"a": "b", "ec2ops:spec": WEB, "ec2ops:volume": "data", "ec2ops:replaces": vol(9)},
        "modification_state": None,
        "next_modification_at": None,
        "drift": {},
        "replaced": [vol(9)],
    }


def test_a_row_of_what_would_be_made() -> None:
    (row,) = result(Ec2(instance()), {"name": "data", "size": 20}, check_mode=True)["volumes"]
    seen = {
        name: row[name] for name in ("volume_id", "device_name", "nvme_path", "state", "size", "delete_on_termination")
    }
    assert seen == {
        "volume_id": f"(new volume {WEB}/data)",
        "device_name": "/dev/sdf",
        "nvme_path": None,
        "state": "in-use",
        "size": 20,
        "delete_on_termination": False,
    }


def test_a_row_of_what_is_absent() -> None:
    (row,) = result(Ec2(STOPPED, volume(1, WEB, name="data")), *ABSENT, check_mode=True)["volumes"]
    assert (row["instance_id"], row["name"], row["volume_id"], row["device_name"]) == (WEB, "data", None, None)


def test_a_row_of_a_shared_volume_on_each_instance() -> None:
    rows = result(Ec2(*NODES, shared(1, WEB, DB)), QUORUM, **BOTH)["volumes"]
    assert [(row["instance_id"], row["volume_id"], row["multi_attach"]) for row in rows] == [
        (WEB, vol(1), True),
        (DB, vol(1), True),
    ]


def test_a_change_that_waits_for_the_modification_in_progress() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), modification(DETACHED, "optimizing", size=10))
    for check_mode in (False, True):
        found = result(ec2, {"name": "data", "size": 30}, check_mode=check_mode, on_cooldown="defer")
        (deferred,) = found["deferred"]
        (row,) = found["volumes"]
        changes = {"size": {"wanted": 30, "actual": 10}}
        assert (deferred["volume_id"], deferred["name"], deferred["changes"]) == (vol(1), "data", changes)
        assert "optimizing" in deferred["reason"]
        assert deferred["next_modification_at"] is None
        assert (row["size"], row["modification_state"], row["drift"]) == (10, "optimizing", changes)


def test_a_change_that_ec2_refuses_for_now() -> None:
    refusal = {"code": "VolumeModificationRateExceeded", "message": "Wait", "not_before": "2026-11-24T10:00:00Z"}
    ec2, spec = (
        Ec2(instance(), volume(1, WEB, name="data")),
        declared({"name": "data", "size": 30}, on_cooldown="defer"),
    )
    state = read(spec, ec2)[0].with_resources([Fact(f"{vol(1)}/deferred", refusal)])
    found = planner.FEATURE.result(spec, state)
    (deferred,), (row,) = found["deferred"], found["volumes"]
    assert deferred["next_modification_at"] == row["next_modification_at"] == "2026-11-24T10:00:00Z"
    assert deferred["changes"] == row["drift"] == {"size": {"wanted": 30, "actual": 10}}


@pytest.mark.parametrize("state", ["modifying", "optimizing", "completed"])
def test_what_a_check_run_plans_is_not_deferred(state: str) -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), modification(DETACHED, state, size=10))
    found = result(ec2, {"name": "data", "size": 30}, check_mode=True, on_cooldown="wait")
    (row,) = found["volumes"]
    assert (found["deferred"], row["drift"], row["size"]) == ([], {}, 30)


# --- interrupted ------------------------------------------------------------------------------------------------------

INTERRUPTED: Mapping[str, tuple[list[Resource], list[Entry], dict[str, Any]]] = {
    "swapped": ([volume(1, WEB, "/dev/sdh", name="data")], [ENCRYPT], SWAP),
    "swapped, stopped": ([volume(1, WEB, "/dev/sdh", name="data")], [ENCRYPT], {**SWAP, **STOP}),
    "swapped, the old one deleted": (
        [volume(1, WEB, name="data")],
        [ENCRYPT],
        {**SWAP, **STOP, "delete_replaced": True},
    ),
    "swapped, the old one deleted without a snapshot": (
        [volume(1, WEB, name="data")],
        [ENCRYPT],
        {**SWAP, "delete_replaced": True, "final_snapshot": False},
    ),
    "swapped, adopted by its device": ([volume(1, WEB)], [{**ENCRYPT, "device_name": "/dev/sdf"}], {**SWAP, **STOP}),
    "swapped, named by its id": ([volume(1, WEB)], [{**ENCRYPT, "volume_id": vol(1)}], {**SWAP, **STOP}),
    "swapped, two of them": (
        [volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdj", name="log")],
        [ENCRYPT, {**ENCRYPT, "name": "log"}],
        {**SWAP, **STOP},
    ),
    "swapped on two instances": (
        [instance(DB), shared(1, WEB, DB)],
        [{**QUORUM, "encrypted": True}],
        {**SWAP, **STOP, **BOTH},
    ),
    "moved to another instance": (
        [instance(DB), volume(1, DB, name="data", group="web")],
        [{"name": "data"}],
        {"spec": "web", **TAKEN, **STOP},
    ),
    "moved to another zone": (
        [instance(FAR, zone=OTHER_ZONE), volume(1, FAR, name="data", group="web", zone=OTHER_ZONE)],
        [{"name": "data"}],
        {"spec": "web", **TAKEN, **SWAP, **STOP},
    ),
    "moved to another device": ([volume(1, WEB, name="data")], [{"name": "data", "device_name": "/dev/sdh"}], STOP),
    "absent": ([volume(1, WEB, name="data")], ABSENT, STOP),
    "detached": ([volume(1, WEB, name="data")], [{"name": "data", "state": "detached"}], STOP),
    "purged": ([volume(1, WEB)], [], {**PURGE, **STOP}),
    "one goes, one comes to its place": (
        [volume(1, WEB, name="data")],
        [{"name": "data", "state": "absent"}, {"name": "log", "size": 1, "device_name": "/dev/sdf"}],
        STOP,
    ),
    "made": ([], [{"name": "data", "size": 1, "delete_on_termination": True}, {"name": "log", "size": 1}], {}),
    "changed": (
        [volume(1, WEB, name="data")],
        [{"name": "data", "size": 20, "delete_on_termination": True, "tags": {"a": "b"}}],
        {"on_cooldown": "wait"},
    ),
}


def scene(there: Iterable[Resource]) -> Ec2:
    return Ec2(instance(), *there)


def world(ec2: Ec2) -> list[str]:
    """All that there is, with one word for all ids that runs have made: the same for equal worlds."""
    seen = []
    for item in ec2.resources.values():
        if not isinstance(item, Fact):
            plain = {
                name: value
                for name, value in vars(item).items()
                if name not in ("start_time", "create_time", "launch_time", "facts")
            }
            seen.append(
                re.sub(
                    r"(vol|snap)-0+a[0-9a-f]{3}\b",
                    r"\1-new",
                    f"{type(item).__name__} {sorted(plain.items(), key=repr)}",
                )
            )
    return sorted(seen)


def assert_no_write_is_lost(ec2: Ec2, volume_ids: Iterable[str]) -> None:
    """What stands for a volume holds all that it held: itself, or what has replaced it, and its last snapshot."""
    for volume_id in volume_ids:
        held = ec2.written.get(volume_id, ())
        heirs = [item for item in ec2.volumes() if volume_id in item.tags.get("ec2ops:replaces", "").split(",")]
        finals = [item for item in ec2.snapshots() if item.tags.get("ec2ops:final") == volume_id]
        kept = [item.resource_id for item in (*heirs, *finals) if not of_no_use(item)]
        assert [one for one in kept if ec2.written.get(one, ())[: len(held)] != held] == []
        assert kept or volume_id in ec2.resources or not held


@pytest.mark.parametrize("settled", [True, False], ids=["later", "at once"])
@pytest.mark.parametrize("name", INTERRUPTED)
def test_killed_at_each_call_and_run_again(name: str, settled: bool) -> None:
    there, volumes, given = INTERRUPTED[name]
    spec = declared(*volumes, **given)
    undisturbed = scene(there)
    calls = len(carried_out(spec, undisturbed).changes)
    for killed in range(1, calls):
        ec2 = scene(there)
        ec2.carry_out(plan_of(spec, ec2), killed)
        if settled:
            ec2.settle()
        plan = plan_of(spec, ec2, now=NOW + timedelta(minutes=1))
        ec2.carry_out(plan)
        ec2.settle()
        assert world(ec2) == world(undisturbed), f"killed after {killed} calls, then {steps(plan)}"
        assert steps(plan_of(spec, ec2)) == []
        assert_no_write_is_lost(ec2, [item.volume_id for item in scene(there).volumes()])


# --- for all declarations and worlds ----------------------------------------------------------------------------------

PERFORMANCES: Sequence[Entry] = (
    {},
    {"volume_type": "gp3"},
    {"volume_type": "gp2"},
    {"volume_type": "io2", "iops": 500},
    {"volume_type": "gp3", "iops": 4000, "throughput": 500},
)
many = examples(200)
PLACES = {WEB: ZONE, DB: ZONE, FAR: OTHER_ZONE}
STATES = st.sampled_from(("running", "running", "stopped", "stopped", "pending", "stopping"))
NAMES = ("data", "log")


@st.composite
def worlds(draw: st.DrawFn) -> list[Resource]:
    """Three instances, one of them in another zone, and up to three data volumes, some of them known by tags."""
    there: list[Resource] = [instance(one, draw(STATES), zone) for one, zone in PLACES.items()]
    free = [(one, device) for one in PLACES for device in ("/dev/sdf", "/dev/sdg")]
    for number in range(1, draw(st.sampled_from((1, 2, 3))) + 1):
        at = draw(st.sampled_from((*free, None)))
        free = [place for place in free if place != at]
        links = (VolumeAttachment(*at, delete_on_termination=draw(st.booleans())),) if at is not None else ()
        key = draw(st.sampled_from((None, None, KEY)))
        group = draw(st.sampled_from((at[0] if at is not None else WEB, "web", None)))
        made = volume(
            number,
            name=NAMES[number % 2] if group is not None else None,
            group=group or "",
            zone=PLACES[at[0]] if at is not None else draw(st.sampled_from((ZONE, OTHER_ZONE))),
            attachments=links,
            encrypted=key is not None,
            kms_key_id=key,
            tags=draw(st.sampled_from(({}, {"team": "a"}))),
            **{"size": draw(st.sampled_from((10, 20))), **draw(st.sampled_from(PERFORMANCES))},
        )
        there.append(made)
        latest = draw(st.sampled_from((None, None, None, "modifying", "optimizing", "completed", "failed")))
        if latest is not None:
            there.append(modification(made, latest, **({"size": 20} if latest == "modifying" else {})))
    if draw(st.integers(0, 3)) == 0:
        there.append(shared(4, *draw(st.sampled_from(((), (WEB,), (WEB, DB)))), device="/dev/sdj"))
    return there


@st.composite
def entries(draw: st.DrawFn, name: str, ids: Sequence[str], kind: str) -> Entry:
    """What is said of one volume; *ids*: what it may be named by."""
    said: Entry = {"name": name, "size": draw(st.sampled_from((20, 20, 30))), **draw(st.sampled_from(PERFORMANCES))}
    if name == "root":
        return {**said, "tags": draw(st.sampled_from((None, {"team": "b"})))}
    said.update(draw(st.sampled_from(({}, {"encrypted": True}, {"encrypted": True, "kms_key_id": "alias/a"}))))
    said["tags"] = draw(st.sampled_from((None, {}, {"team": "b"})))
    said["state"] = draw(st.sampled_from(("present", "present", "present", "present", "detached", "absent")))
    if kind != "several":
        said["volume_id"] = draw(st.sampled_from((None, None, None, *ids[:1])))
    if kind == "shared":
        said.update(volume_type="io2", iops=500, throughput=None, multi_attach=True)
    if kind != "kept":
        # What is to be gone is not looked for by its device: the next run would find the next one there.
        devices = (None, None, "/dev/sdf", "/dev/xvdg") if said["state"] == "present" else (None,)
        said["device_name"] = draw(st.sampled_from(devices))
        said["delete_on_termination"] = draw(st.sampled_from((None, True, False)))
    return said


@st.composite
def declarations(draw: st.DrawFn, ids: Sequence[str]) -> VolumesSpec:
    """Of one instance, of several, of a cluster that shares them, or of none."""
    kind = draw(st.sampled_from(("one", "one", "one", "several", "shared", "kept")))
    names = draw(st.sampled_from((("data",), ("log",), NAMES, NAMES, ())))
    if kind in ("one", "several"):
        names = (*names, *draw(st.sampled_from(((), (), ("root",)))))
    volumes = [draw(entries(name, ids, kind)) for name in names]
    for option in ("device_name", "volume_id"):
        if len(volumes) > 1 and volumes[0].get(option) == volumes[1].get(option):
            volumes[1].pop(option, None)
    where: Mapping[str, Entry] = {
        "one": {
            "instance_ids": [draw(st.sampled_from((WEB, WEB, DB, FAR)))],
            "spec": draw(st.sampled_from((None, "web"))),
        },
        "several": {"instance_ids": [WEB, DB]},
        "shared": {"instance_ids": [WEB, DB], "spec": "web"},
        "kept": {"instance_ids": None, "availability_zone": ZONE, "spec": "web"},
    }
    given = {
        "replace": draw(st.sampled_from(("snapshot", "snapshot", "snapshot", "never"))),
        "steal": draw(st.sampled_from((True, True, True, False))),
        "in_use": draw(st.sampled_from(("stop", "detach", "stop", "detach", "refuse"))),
        "on_cooldown": draw(st.sampled_from(("wait", "defer", "wait", "fail"))),
        **{name: draw(st.booleans()) for name in ("delete_replaced", "final_snapshot", "purge_tags")},
        "purge_volumes": kind != "kept" and draw(st.booleans()),
    }
    return declared(*volumes, **given, **where[kind])


FACTS = (Fact("alias/a/key", OTHER_KEY),)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Ec2, VolumesSpec]:
    """A world, in which a run may have been killed at some call, a moment or long ago; and a declaration."""
    ec2 = Ec2(*FACTS, *draw(worlds()))
    ids = sorted(item.volume_id for item in ec2.volumes() if int(item.volume_id[4:], 16) < ROOTS)
    spec = draw(declarations(ids))
    if draw(st.booleans()):
        found = planned(spec, ec2)
        if found is not None:
            ec2.carry_out(found[1], draw(st.integers(1, 15)))
        if draw(st.booleans()):
            ec2.settle()
        if draw(st.booleans()):
            spec = draw(declarations(ids))
    return ec2, spec


@many
@given(histories())
def test_a_plan_leaves_nothing_to_do(history: tuple[Ec2, VolumesSpec]) -> None:
    ec2, spec = history
    found = planned(spec, ec2)
    if found is not None and not any(takes_back(change, ec2) for change in found[1].changes):
        carried_out(spec, ec2)


def takes_back(change: Change, ec2: Ec2) -> bool:
    """A modification that is under way is undone by another one: the prediction cannot tell them apart."""
    latest = ec2.fact(f"{change.resource}/modification") or {}
    under = change.action == "ModifyVolume" and latest.get("state") == "modifying"
    return under and any(latest["original"][name] == value for name, value in (change.after or {}).items())


@many
@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_answers_does_not_matter(history: tuple[Ec2, VolumesSpec], random: Random) -> None:
    ec2, spec = history
    there = list(ec2.resources.items())
    random.shuffle(there)
    shuffled = Ec2()
    shuffled.resources = dict(there)
    one, other = planned(spec, ec2), planned(spec, shuffled)
    assert one is None or other is not None
    if one is not None and other is not None:
        stages = [[sorted(map(repr, steps(Plan((stage,))))) for stage in plan.stages] for _state, plan in (one, other)]
        assert stages[0] == stages[1]


@many
@given(histories())
def test_what_no_plan_does(history: tuple[Ec2, VolumesSpec]) -> None:
    ec2, spec = history
    found = planned(spec, ec2)
    if found is None:
        return
    _state, plan = found
    roots = {root_of(one) for one in PLACES}
    changes = [change for stage in all_stages(plan) for change in stage.changes]
    # A root volume is never detached, attached, swapped or deleted.
    for change in changes:
        if change.resource in roots or change.parameters.get("VolumeId") in roots:
            assert change.action in ("ModifyVolume", "CreateTags", "DeleteTags")
            assert "ec2ops:replaced-by" not in str(change.parameters)
    # Only what is attached is detached, and no volume is modified twice.
    for action in ("ModifyVolume", "DeleteVolume"):
        touched = [change.resource for change in plan.changes if change.action == action]
        assert sorted(set(touched)) == sorted(touched)
    # No volume gets a new zone without its data.
    for change in plan.changes:
        if change.action == "CreateVolume" and "ec2ops:replaces" in tags_of(change.parameters):
            assert "SnapshotId" in change.parameters


@many
@given(histories())
def test_no_write_is_lost(history: tuple[Ec2, VolumesSpec]) -> None:
    """What `Ec2` counts: a write to each attached volume of a running instance before every call."""
    ec2, spec = history
    found = planned(spec, ec2)
    if found is None or not spec.final_snapshot:
        return
    before = {item.volume_id for item in ec2.volumes() if not of_no_use(item)}
    power = {one: ec2.resources[one].state for one in PLACES}
    ec2.carry_out(found[1])
    ec2.settle()
    assert_no_write_is_lost(ec2, before)
    # The instances are as they were, but for what a killed run had left.
    for one, state in power.items():
        was = "running" if state in ("running", "pending") else "stopped"
        assert ec2.resources[one].state in (was, "running")


@many
@given(histories(), st.integers(1, 12), st.booleans())
def test_a_rerun_after_any_kill_carries_on(history: tuple[Ec2, VolumesSpec], calls: int, settled: bool) -> None:
    ec2, spec = history
    found = planned(spec, ec2)
    # Of what shows the declared values nobody asks whether it is becoming something else.
    strays = any((ec2.fact(f"{one.volume_id}/modification") or {}).get("state") == "modifying" for one in ec2.volumes())
    if found is None:
        return
    ec2.carry_out(found[1], calls)
    if settled:
        ec2.settle()
    if strays and planned(spec, ec2) is None:
        return
    ec2.carry_out(plan_of(spec, ec2, now=NOW + timedelta(minutes=1)))
    assert steps(plan_of(spec, ec2)) == []


class FailingGateway:
    """The engine's gateway to an `Ec2` that refuses the *nth* call."""

    region = REGION

    def __init__(self, ec2: Ec2, nth: int) -> None:
        self.ec2 = ec2
        self.left = nth
        self.time = 0.0
        self.lock = Lock()
        self.calls: Mapping[str, int] = {}

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        assert not any(query.optional for query in queries)
        return {query: self.ec2.ask(query) for query in queries}

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        first = changes[0]
        with self.lock:
            self.left -= 1
            if not self.left:
                raise CallError(first.action, "UnauthorizedOperation", "You are not authorized.")
            for change in changes:
                try:
                    self.ec2.perform(change)
                except Refused as refused:
                    if refused.code not in change.operation.already:
                        raise CallError(change.action, refused.code, str(refused)) from refused
            return {change.resource: self.ec2.bindings[change.resource] for change in changes if change.creates}

    def wait(self, waits: Sequence[Wait], deadline: float) -> Mapping[str, Resource]:
        for wait in waits:
            self.ec2.wait(wait)
        return {}

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.ec2.settle()


def test_the_way_back_finds_its_device_free() -> None:
    """Another volume is to have it."""
    ec2 = Ec2(instance(), volume(1, WEB, name="log"))
    entries = [{"name": "data", "size": 1, "device_name": "/dev/sdf"}, {"name": "log", "encrypted": True}]
    plan = plan_of(declared(*entries, **SWAP), ec2)
    number = steps(plan).index("AttachVolume new i-1/log to i-1 /dev/sdg") + 1
    outcome = apply(plan, FailingGateway(ec2, number), wait=True, timeout=600)
    assert [line(change) for change in outcome.failed] == ["AttachVolume new i-1/log to i-1 /dev/sdg"]
    assert attached(ec2.resources[vol(1)]) == {(WEB, "/dev/sdf", False)}


def test_the_way_back_to_an_instance_that_is_pending() -> None:
    ec2 = Ec2(instance(state="pending"), volume(1, WEB, name="data"))
    plan = plan_of(declared({"name": "data", "encrypted": True}, **SWAP), ec2)
    number = steps(plan).index("CreateSnapshot new swap of vol-1") + 1
    apply(plan, FailingGateway(ec2, number), wait=True, timeout=600)
    assert attached(ec2.resources[vol(1)]) == {(WEB, "/dev/sdf", False)}


def test_the_way_back_of_a_shared_volume() -> None:
    """Attached to the one instance already, it does not get to the other: that has it back, and runs."""
    link = VolumeAttachment(WEB, "/dev/sdf", delete_on_termination=True)
    ec2 = Ec2(instance(), instance(DB), shared(1, attachments=(link,)))
    plan = plan_of(declared({**QUORUM, "device_name": "/dev/sdg"}, **BOTH, **STOP), ec2)
    number = [one.partition(" ")[0] for one in steps(plan)].index("AttachVolume") + 1
    last = steps(plan)[number - 1] == "AttachVolume vol-1 to i-2 /dev/sdg"
    outcome = apply(plan, FailingGateway(ec2, number + last), wait=True, timeout=600)
    assert [line(change) for change in outcome.failed] == ["AttachVolume vol-1 to i-1 /dev/sdg"]
    assert (WEB, "/dev/sdf", True) in attached(ec2.resources[vol(1)])
    assert ec2.resources[WEB].state == "running"


@many
@given(histories(), st.integers(1, 15))
def test_a_failure_on_the_way_leads_back(history: tuple[Ec2, VolumesSpec], nth: int) -> None:
    """What was to come back is where it was, the instances run as they did, and nothing of the copies is left."""
    ec2, spec = history
    found = planned(spec, ec2)
    # What is shared may be in its new place on one instance, and not on another. Cases of their own are above.
    if found is None or spec.shared or any(ec2.resources[one].state == "pending" for one in PLACES):
        return
    before, plan = dict(ec2.resources), found[1]
    outcome = apply(plan, FailingGateway(ec2, nth), wait=True, timeout=600)
    assert outcome.error is None or "UnauthorizedOperation" in str(outcome.error)
    assert [note for note in outcome.notes if "rollback failed" in note] == []
    if not outcome.failed:
        return
    ec2.settle()
    unverified = set(not_verified(plan, outcome.failed))
    swapped = {one.tags["ec2ops:swap"]: one for one in ec2.volumes() if one.attachments and "ec2ops:swap" in one.tags}
    for volume_id in unverified & set(before):
        first = before[volume_id]
        # A copy that was attached before another failed in the same stage stays.
        place = swapped.get(volume_id, ec2.resources[volume_id])
        was = attached(first) or goes_back_to(first, spec.instance_ids)
        assert {one[:2] for one in attached(place)} == {one[:2] for one in was}
        if place.volume_id == volume_id:
            assert attached(place) == was
    made = {outcome.bindings.get(one) for one in unverified if is_planned(one)}
    assert made & set(ec2.resources) <= {one.volume_id for one in swapped.values()}
    for one in PLACES:
        state = before[one].state
        as_before = {"running", "stopped" if state == "stopping" else state}
        assert ec2.resources[one].state in as_before or outcome.failed[0].action == "StartInstances"


def not_verified(plan: Plan, failed: Sequence[Change]) -> Iterator[str]:
    """What comes off to be attached again, and the copies for it, whose attachment has not been waited for."""
    tags = {change.resource: tags_of(change.parameters) for change in plan.changes if change.action == "CreateVolume"}
    taken = {change.resource for change in plan.changes if change.action == "DetachVolume"}
    begun = False
    for stage in plan.stages:
        begun = begun or any(change in stage.changes for change in failed)
        for change in stage.changes if begun else ():
            if change.action == "AttachVolume" and (
                change.resource in taken or "ec2ops:swap" in tags.get(change.resource, {})
            ):
                yield change.resource
                yield tags.get(change.resource, {}).get("ec2ops:swap", change.resource)


def attached(found: Volume) -> set[tuple[str, str, bool]]:
    return {(link.instance_id, link.device_name, link.delete_on_termination) for link in found.attachments}


def remembered(found: Volume) -> set[tuple[str, str, bool]]:
    """Where it was when a run took it off."""
    values = [value for key, value in found.tags.items() if key.startswith("ec2ops:was-at")]
    said = [place.split(" ") for value in values for place in value.split(",") if " " in place]
    return {(place[0], place[1], len(place) == 3) for place in said}


def goes_back_to(found: Volume, instance_ids: Iterable[str]) -> set[tuple[str, str, bool]]:
    """Where a record takes it: to a declared instance, and it is not deleted with that one."""
    return {(one, device, False) for one, device, _flag in remembered(found) if one in set(instance_ids)}
