# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences between an entry and its volume: modified, swapped, attached anew or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    ENCRYPTION_BY_DEFAULT,
    KMS_KEY,
    UNKNOWN_KEY,
    usable_key,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource, VolumeAttachment

from in_process import OTHER_ZONE, ZONE
from volume_plans import Case, check, declared, no, ok, plan_of
from volume_world import DETACHED, IO2, KEY, OTHER_KEY, SWAP, WEB, Ec2, Entry, instance, modification, swapped, volume


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
    # options that the volume's own values rule out
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
    # differences that only a swap can change
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
    drifts("the zone", {"zone": ZONE}, {}, facts=[ENCRYPTION_BY_DEFAULT.fact(True)]),
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
            facts=[KMS_KEY.fact(said, usable_key(KEY))],
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
            facts=[KMS_KEY.fact(said, usable_key(OTHER_KEY))],
            **SWAP,
        )
        for how, said in (("ARN", OTHER_KEY), ("alias", "alias/b"))
    ),
    drifts(
        "a key with the encryption, by its alias",
        {},
        {"encrypted": True, "kms_key_id": "alias/b"},
        *swapped(),
        facts=[KMS_KEY.fact("alias/b", usable_key(OTHER_KEY))],
        **SWAP,
    ),
    drifts(
        "a key that KMS does not show is no reason to swap",
        {"encrypted": True, "kms_key_id": KEY},
        {"encrypted": True, "kms_key_id": "alias/b"},
        facts=[KMS_KEY.fact("alias/b", UNKNOWN_KEY)],
        **SWAP,
    ),
    # encryption by default
    drifts(
        "unencrypted, as said, in an account that encrypts",
        {},
        {"encrypted": False},
        facts=[ENCRYPTION_BY_DEFAULT.fact(True)],
    ),
    refuses(
        "an unencrypted copy, in an account that encrypts",
        {"encrypted": False, "zone": OTHER_ZONE, "attachments": ()},
        {"encrypted": False},
        "encrypted: false | encryption by default",
        facts=[ENCRYPTION_BY_DEFAULT.fact(True)],
        **SWAP,
    ),
]


@pytest.mark.parametrize("case", DRIFT)
def test_each_difference_is_repaired_or_refused(case: Case) -> None:
    check(case)


def test_an_unresolved_key_is_a_warning() -> None:
    ec2 = Ec2(
        instance(), volume(1, WEB, name="data", encrypted=True, kms_key_id=KEY), KMS_KEY.fact("alias/b", UNKNOWN_KEY)
    )
    plan = plan_of(declared({"name": "data", "encrypted": True, "kms_key_id": "alias/b"}), ec2)
    (warning,) = plan.warnings
    assert "volumes[0] (data)" in warning
    assert "alias/b" in warning
    assert KEY in warning


def test_all_refused_differences_are_named_at_once() -> None:
    ec2 = Ec2(instance(), volume(1, name="data", zone=OTHER_ZONE, encrypted=True, kms_key_id=KEY))
    with pytest.raises(UnsafePlan) as refused:
        plan_of(declared({"name": "data", "encrypted": True, "kms_key_id": OTHER_KEY}), ec2)
    for word in (f"availability_zone {OTHER_ZONE} -> {ZONE}", f"kms_key_id {KEY} -> {OTHER_KEY}", "replace: snapshot"):
        assert word in str(refused.value)
