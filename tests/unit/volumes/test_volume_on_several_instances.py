# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that several instances of one declaration share."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import VolumeAttachment

from in_process import OTHER_ZONE, ZONE
from volume_plans import Case, carried_out, check, declared, no, ok, plan_of
from volume_world import (
    BOTH,
    DB,
    DETACHED,
    FAR,
    NODES,
    QUORUM,
    TAKING_OFF,
    WEB,
    Ec2,
    instance,
    modification,
    remembered,
    shared,
    steps,
    vol,
    volume,
)


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
            whole=True,
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
def test_shared_volume_is_attached_to_all_instances(case: Case) -> None:
    check(case)


SIXTEEN = [f"i-{number:017x}" for number in range(0x101, 0x111)]


@pytest.mark.parametrize("how", ["detached", "absent", "moved", "swapped"])
@pytest.mark.parametrize("in_use", ["stop", "detach"])
def test_volume_of_sixteen_nodes_is_detached(how: str, in_use: str) -> None:
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


def test_record_of_earlier_attachments_is_emptied() -> None:
    """The new record has fewer places than the old one."""
    tags = {"ec2ops:was-at": "x", "ec2ops:was-at-2": f"{FAR} /dev/sdf"}
    ec2 = Ec2(*NODES, shared(1, WEB, DB, tags=tags))
    plan = plan_of(declared({**QUORUM, "device_name": "/dev/sdg"}, **BOTH), ec2)
    ec2.carry_out(plan, 1)
    assert {one for one, _device, _flag in remembered(ec2.resources[vol(1)])} == {WEB, DB}
