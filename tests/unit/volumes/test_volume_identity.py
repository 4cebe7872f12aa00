# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an entry finds its volume: by tags, by its device, or by an id."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import IS_USABLE_ZONE

from in_process import ZONE
from volume_plans import Case, check, no, ok
from volume_world import DATA, DB, ROOT_DEVICE, TAKEN, WEB, instance, root_of, vol, volume

GONE = instance(DB, "terminated")
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
    # lost, or never made: EC2 does not show which
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
        no(f"an instance that is {state}", [instance(WEB, state)], [DATA], SpecError, f"i-1 | {state}", whole=True)
        for state in ("terminated", "shutting-down")
    ),
    no(
        "an instance that does not exist",
        [instance(DB)],
        [DATA],
        SpecError,
        "instance_ids | i-1 does not exist | Check the id and the region",
        whole=True,
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
            whole=True,
            instance_ids=None,
            availability_zone=zone,
            spec="web",
        )
        for title, zone, facts in (
            ("unknown", "us-east-1z", []),
            ("impaired", ZONE, [IS_USABLE_ZONE.fact(ZONE, False)]),
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
def test_entry_finds_its_volume(case: Case) -> None:
    check(case)
