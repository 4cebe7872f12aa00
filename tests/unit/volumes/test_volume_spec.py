# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `ebs_volume_spec`: the values that EBS takes, and the refusals without a query to EC2.

The ranges and ratios stand here once more, as EC2's reference and its refusals give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.volume_types import normalised, performance_of
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.spec import (
    VolumesSpec,
    device_letters,
    parse,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from hypothesis import given
from hypothesis import strategies as st

from in_process import REGION, ZONE, options

WEB, DB = (f"i-{number:017x}" for number in (1, 2))
MANY = [f"i-{number:017x}" for number in range(1, 18)]
VOLUME, SNAPSHOT = f"vol-{1:017x}", f"snap-{1:017x}"
KEY = "alias/storage"
TYPES = ("gp2", "gp3", "io1", "io2", "sc1", "st1", "standard")
SIZES: Mapping[str, tuple[int, int]] = {
    "gp2": (1, 16384),
    "gp3": (1, 65536),
    "io1": (4, 16384),
    "io2": (4, 65536),
    "sc1": (125, 16384),
    "st1": (125, 16384),
    "standard": (1, 1024),
}
Entry = dict[str, Any]


def declared(*volumes: Entry, **given: Any) -> VolumesSpec:
    return parse(options(**{"instance_ids": [WEB], "volumes": list(volumes), **given}), REGION)


def refusal(*volumes: Entry, **given: Any) -> str:
    with pytest.raises(SpecError) as refused:
        declared(*volumes, **given)
    return str(refused.value)


def least_iops(volume_type: str) -> Entry:
    return {"iops": 100} if volume_type in ("io1", "io2") else {}


# --- one volume -------------------------------------------------------------------------------------------------------

# (the entry beside its name, the value, what would be accepted): all of it is in the message.
REFUSED: list[tuple[Entry, str, str]] = [
    *(({"volume_type": name}, repr(name), ", ".join(TYPES)) for name in ("gp4", "GP3", "")),
    # sizes
    ({"size": 0}, "0", "Use 1 or more"),
    ({"size": -5}, "-5", "Use 1 or more"),
    *(
        ({"volume_type": name, "size": size, **least_iops(name)}, str(size), f"{least} to {most} GiB")
        for name, (least, most) in SIZES.items()
        for size in (-1, 0, least - 1, most + 1)
    ),
    # IOPS
    *(
        ({"volume_type": name}, name, accepted)
        for name, accepted in (("io1", "100 to 64000"), ("io2", "100 to 256000"))
    ),
    *(
        ({"volume_type": name, "iops": 3000}, "3000", "gp3, io1 or io2")
        for name in TYPES
        if name not in ("gp3", "io1", "io2")
    ),
    *(
        ({"volume_type": name, "size": 4096, "iops": iops}, str(iops), accepted)
        for name, values, accepted in (
            ("gp3", (-1, 80001), "3000 to 80000"),
            ("io1", (-1, 0, 99, 64001), "100 to 64000"),
            ("io2", (-1, 0, 99, 256001), "100 to 256000"),
        )
        for iops in values
    ),
    # IOPS by size
    ({"volume_type": "gp3", "size": 6, "iops": 3001}, "3001 iops on 6 GiB", "500 per GiB"),
    ({"volume_type": "gp3", "size": 159, "iops": 80000}, "80000 iops on 159 GiB", "500 per GiB"),
    ({"volume_type": "io1", "size": 4, "iops": 201}, "201 iops on 4 GiB", "50 per GiB"),
    ({"volume_type": "io2", "size": 4, "iops": 4001}, "4001 iops on 4 GiB", "1000 per GiB"),
    # throughput
    *(({"volume_type": name, "throughput": 250, **least_iops(name)}, "250", "gp3") for name in TYPES if name != "gp3"),
    *(({"volume_type": "gp3", "throughput": value}, str(value), "125 to 2000 MiB/s") for value in (-1, 2001)),
    ({"volume_type": "gp3", "throughput": 751}, "751", "at least 3004 iops"),
    ({"volume_type": "gp3", "iops": 3000, "throughput": 751}, "751", "at least 3004 iops"),
    ({"volume_type": "gp3", "size": 100, "iops": 7999, "throughput": 2000}, "2000", "at least 8000 iops"),
    # values that need a certain type, or another option
    *(
        ({"volume_type": name, "multi_attach": True}, name, "io1 or io2")
        for name in TYPES
        if name not in ("io1", "io2")
    ),
    ({"kms_key_id": KEY}, KEY, "encrypted: true"),
    ({"kms_key_id": KEY, "encrypted": False}, KEY, "encrypted: true"),
    ({"snapshot_id": SNAPSHOT, "snapshot": {"tags": {"a": "b"}}}, "snapshot_id: excludes snapshot", "one of them"),
    ({"snapshot": {"tags": {}}}, "snapshot.tags", "at least one tag"),
    ({"snapshot": {"tags": {"a": "b"}, "before": "yesterday"}}, "'yesterday'", "2026-11-23T19:00:00Z"),
    *(
        ({"snapshot_id": SNAPSHOT, "initialization_rate": rate}, str(rate), "100 to 300 MiB/s")
        for rate in (-1, 0, 99, 301)
    ),
    ({"initialization_rate": 200}, "initialization_rate", "snapshot_id or snapshot"),
    # identifiers and devices
    *(
        ({"volume_id": value}, repr(value), "vol- and 17 (or 8) hexadecimal digits")
        for value in ("", "data", "vol-1", SNAPSHOT, "vol-0123456789ABCDEF0", f"{VOLUME}0")
    ),
    *(
        ({"snapshot_id": value}, repr(value), "snap- and 17 (or 8) hexadecimal digits")
        for value in ("", "snap-1", VOLUME)
    ),
    *(
        ({"device_name": value}, repr(value), "/dev/sdf to /dev/sdp")
        for value in (
            "",
            "sd",
            "/dev/sd",
            "/dev/sdF",
            "/dev/sdfgh",
            "/dev/sdzz",
            "/dev/hdba",
            "/dev/xvdea",
            "/dev/xvdzz15",
            "/dev/xvdf1",
            "/dev/xvdba1",
            "/dev/sdf0",
            "/dev/sdf16",
            "/dev/nvme1n1",
            "/dev/vdb",
        )
    ),
    # values that are kept in tags
    ({"tags": {"aws:cost": "1"}}, "'aws:cost'", "AWS reserves keys"),
    ({"tags": {"ec2ops:spec": "web"}}, "'ec2ops:spec'", "this collection reserves keys"),
    ({"tags": {"k" * 128: "1"}}, "k" * 128, "1 to 127 characters"),
    ({"tags": {"team": "x" * 257}}, "257 characters", "256"),
    ({"tags": {f"tag{number}": "" for number in range(46)}}, "46 tags", "50"),
]


@pytest.mark.parametrize(("entry", "value", "accepted"), REFUSED, ids=[str(case[0])[:70] for case in REFUSED])
def test_refusal_names_the_volume_the_value_and_the_accepted_ones(entry: Entry, value: str, accepted: str) -> None:
    message = refusal({"name": "log"}, {"name": "data", **entry})
    assert message.startswith("volumes[1] (data): ")
    assert value in message
    assert accepted in message


@pytest.mark.parametrize(
    ("entry", "label", "words"),
    [
        ({}, "volumes[1]: ", "name: is required without volume_id"),
        ({"name": ""}, "volumes[1]: ", "name: is required without volume_id"),
        ({"name": "", "volume_id": VOLUME}, f"volumes[1] ({VOLUME}): ", "name: a tag keeps the value"),
        ({"name": "x" * 257}, "volumes[1] (xxx", "and it has 257 characters. Use 1 to 256"),
        ({"volume_id": VOLUME, "size": 0}, f"volumes[1] ({VOLUME}): ", "Use 1 or more"),
    ],
)
def test_a_volume_needs_a_name_of_some_kind(entry: Entry, label: str, words: str) -> None:
    message = refusal({"name": "log"}, entry)
    assert message.startswith(label)
    assert words in message


ACCEPTED: list[Entry] = [
    *({"volume_type": name, "size": size, **least_iops(name)} for name, borders in SIZES.items() for size in borders),
    {"size": 1},
    # IOPS: the borders of each type, and of its ratio; gp3's baseline is free of it
    {"volume_type": "gp3", "size": 1, "iops": 3000},
    {"volume_type": "gp3", "size": 7, "iops": 3500},
    {"volume_type": "gp3", "size": 160, "iops": 80000},
    {"volume_type": "io1", "size": 4, "iops": 200},
    {"volume_type": "io1", "size": 1280, "iops": 64000},
    {"volume_type": "io2", "size": 4, "iops": 4000},
    {"volume_type": "io2", "size": 256, "iops": 256000},
    # without a size, only EC2's state shows the ratio
    {"volume_type": "gp3", "iops": 80000},
    # throughput
    {"volume_type": "gp3", "throughput": 125},
    {"volume_type": "gp3", "throughput": 750},
    {"volume_type": "gp3", "size": 16, "iops": 8000, "throughput": 2000},
    # EBS raises these in silence
    *({"volume_type": "gp3", "size": 1, "iops": iops} for iops in (100, 500, 2999)),
    *({"volume_type": "gp3", "throughput": throughput} for throughput in (0, 1, 124)),
    {"volume_type": "gp3", "iops": 500, "throughput": 750},
    # without a type, the volume's own decides
    {"iops": 3000, "throughput": 250},
    {"multi_attach": True},
    *({"volume_type": name, "iops": 100, "multi_attach": True} for name in ("io1", "io2")),
    *({"volume_type": name, "multi_attach": False} for name in ("gp3", "st1")),
    {"encrypted": True, "kms_key_id": KEY},
    *({"snapshot_id": SNAPSHOT, "initialization_rate": rate} for rate in (100, 300)),
    {"snapshot": {"tags": {"a": "b"}}, "initialization_rate": 100},
    {"snapshot_id": "snap-01234567"},
    {"volume_id": "vol-01234567"},
    {"tags": {f"tag{number}": "" for number in range(45)}},
    {"tags": {"k" * 127: "x" * 256}},
    *(
        {"device_name": value}
        for value in (
            "/dev/sdf",
            "/dev/sda1",
            "/dev/xvdaa",
            "/dev/sdf15",
            "/dev/xvdf",
            "/dev/xvdba",
            "/dev/xvddx",
            "/dev/hdb",
            "sdf",
            "xvdf",
        )
    ),
]


@pytest.mark.parametrize("entry", ACCEPTED, ids=[str(case)[:70] for case in ACCEPTED])
def test_performance_that_ebs_takes_is_accepted(entry: Entry) -> None:
    (volume,) = declared({"name": "data", **entry}).volumes
    said = {name: value for name, value in entry.items() if name != "snapshot"}
    assert {name: getattr(volume, name) for name in said} == said


def test_omitted_options_are_none() -> None:
    (volume,) = declared({"name": "data"}).volumes
    said = {name: value for name, value in vars(volume).items() if value is not None}
    assert said == {"label": "volumes[0] (data)", "name": "data", "state": "present"}


@pytest.mark.parametrize(
    ("before", "moment"),
    [
        ("2026-11-23T19:00:00Z", datetime(2026, 11, 23, 19, tzinfo=UTC)),
        ("2026-11-23T21:00:00+02:00", datetime(2026, 11, 23, 19, tzinfo=UTC)),
        ("2026-11-23T19:00:00", datetime(2026, 11, 23, 19, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
    ],
)
def test_a_snapshots_latest_moment(before: str, moment: datetime) -> None:
    (volume,) = declared({"name": "data", "snapshot": {"tags": {"n": 1, "none": ""}, "before": before}}).volumes
    assert (volume.snapshot_tags, volume.snapshot_before) == ({"n": "1", "none": ""}, moment)


# --- what EBS makes of values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("volume_type", "iops", "throughput", "sent"),
    [
        ("gp3", 100, 0, (3000, 125)),
        ("gp3", 99, -1, (99, -1)),
        ("gp3", 500, 1, (3000, 125)),
        ("gp3", 2999, 124, (3000, 125)),
        ("gp3", 3001, 126, (3001, 126)),
        ("gp3", None, None, (None, None)),
        ("io1", 100, None, (100, None)),
        ("gp2", 500, 1, (500, 1)),
        ("gp9", 500, 1, (500, 1)),
    ],
)
def test_iops_below_the_least_are_raised(
    volume_type: str, iops: int | None, throughput: int | None, sent: tuple[int | None, int | None]
) -> None:
    assert normalised(volume_type, iops, throughput) == sent


@pytest.mark.parametrize(
    ("volume_type", "size", "iops", "throughput", "seen"),
    [
        ("gp3", 1, None, None, (3000, 125)),
        ("gp3", 100, 6000, None, (6000, 125)),
        ("gp3", 1, 500, 124, (3000, 125)),
        ("gp2", 1, None, None, (100, None)),
        ("gp2", 33, None, None, (100, None)),
        ("gp2", 34, None, None, (102, None)),
        ("gp2", 5333, None, None, (15999, None)),
        ("gp2", 5334, None, None, (16000, None)),
        ("gp2", 16384, None, None, (16000, None)),
        ("io2", 4, 100, None, (100, None)),
        ("st1", 125, None, None, (None, None)),
        ("standard", 1, None, None, (None, None)),
    ],
)
def test_performance_has_the_values_that_ebs_shows(
    volume_type: str, size: int, iops: int | None, throughput: int | None, seen: tuple[int | None, int | None]
) -> None:
    shown = performance_of(volume_type, size, iops, throughput)
    assert (shown["iops"], shown["throughput"]) == seen


@given(
    volume_type=st.sampled_from(TYPES),
    size=st.none() | st.integers(-2, 70000),
    iops=st.none() | st.integers(-2, 300000),
    throughput=st.none() | st.integers(-2, 2100),
)
def test_any_numbers_are_taken_or_refused_by_name(
    volume_type: str, size: int | None, iops: int | None, throughput: int | None
) -> None:
    entry = {"volume_type": volume_type, "size": size, "iops": iops, "throughput": throughput}
    try:
        declared({"name": "data", **entry})
    except SpecError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.startswith("volumes[0] (data): ")
        return
    sent_iops, sent_throughput = normalised(volume_type, iops, throughput)
    assert size is None or SIZES[volume_type][0] <= size <= SIZES[volume_type][1]
    assert sent_iops is None or volume_type in ("gp3", "io1", "io2")
    if sent_throughput is not None:
        assert volume_type == "gp3"
        assert sent_throughput * 4 <= (sent_iops or 3000)


# --- the root volume --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "value", "accepted"),
    [
        ({"state": "absent"}, "state: absent", "present"),
        ({"state": "detached"}, "state: detached", "present"),
        ({"volume_id": VOLUME}, "volume_id", "root device"),
        ({"device_name": "/dev/xvda"}, "device_name", "root device"),
        ({"snapshot_id": SNAPSHOT}, "snapshot_id", "root device"),
        ({"snapshot": {"tags": {"a": "b"}}}, "snapshot", "root device"),
        ({"volume_type": "io2", "iops": 100, "multi_attach": True}, "multi_attach", "root device"),
        ({"volume_type": "st1"}, "st1", "gp3"),
        ({"volume_type": "sc1"}, "sc1", "gp3"),
    ],
)
def test_root_volume_with_options_of_other_volumes_is_refused(entry: Entry, value: str, accepted: str) -> None:
    message = refusal({"name": "root", **entry})
    assert message.startswith("volumes[0] (root): ")
    assert value in message
    assert accepted in message


def test_the_root_volume_converges_like_any_other() -> None:
    entry = {"size": 20, "volume_type": "io2", "iops": 1000, "tags": {"a": "b"}, "delete_on_termination": False}
    (volume,) = declared({"name": "root", **entry}).volumes
    assert {name: getattr(volume, name) for name in entry} == entry


# --- the declaration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ({"name": "data"}, {"name": "data"}, "name: data"),
        ({"volume_id": VOLUME}, {"volume_id": VOLUME, "name": "data"}, f"volume_id: {VOLUME}"),
        ({"device_name": "/dev/sdf"}, {"device_name": "/dev/sdf"}, "device_name: /dev/sdf"),
        ({"device_name": "/dev/sdf"}, {"device_name": "/dev/xvdf"}, "device_name: /dev/xvdf"),
        ({"device_name": "/dev/xvdba"}, {"device_name": "xvdba"}, "device_name: xvdba"),
    ],
)
def test_two_entries_for_one_volume_are_refused(first: Entry, second: Entry, value: str) -> None:
    name = first.get("name", VOLUME if "volume_id" in first else "log")
    message = refusal({"name": "log", **first} if "volume_id" not in first else first, {"name": "data", **second})
    assert message.startswith("volumes[1] (data): ")
    assert value in message
    assert f"volumes[0] ({name})" in message


def test_several_volumes_without_a_name_or_device_are_no_contradiction() -> None:
    ids = [f"vol-{number:017x}" for number in (1, 2)]
    assert [volume.volume_id for volume in declared(*({"volume_id": one} for one in ids)).volumes] == ids


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/dev/sdf", "/dev/xvdf", True),
        ("sdf", "/dev/sdf", True),
        ("/dev/sda1", "/dev/xvda1", True),
        ("/dev/sdf", "/dev/sdg", False),
        ("/dev/sdf", "/dev/sdf1", False),
        ("/dev/xvdba", "/dev/sdb", False),
        ("(unknown)", "(unknown)", True),
    ],
)
def test_equal_device_names_are_one_device(one: str, other: str, same: bool) -> None:
    assert (device_letters(one) == device_letters(other)) is same


SHARED = {"name": "data", "volume_type": "io2", "iops": 100, "multi_attach": True}


@pytest.mark.parametrize(
    ("given", "volumes", "words"),
    [
        # where the volumes are
        ({"instance_ids": None}, [], ["instance_ids", "availability_zone"]),
        ({"instance_ids": []}, [], ["instance_ids", "availability_zone"]),
        ({"availability_zone": ZONE, "spec": "web"}, [], ["instance_ids", "availability_zone", "not both"]),
        ({"instance_ids": ["web-1"]}, [], ["instance_ids", "'web-1'", "i- and 17 (or 8) hexadecimal digits"]),
        ({"instance_ids": [WEB, VOLUME]}, [], ["instance_ids", repr(VOLUME), "i- and 17 (or 8) hexadecimal digits"]),
        ({"spec": ""}, [], ["spec: a tag keeps the value", "Use 1 to 256"]),
        ({"spec": "x" * 257}, [], ["spec: a tag keeps the value", "Use 1 to 256"]),
        # several instances
        (
            {"instance_ids": [WEB, DB], "spec": "web"},
            [SHARED, {"name": "log"}],
            ["'web'", "volumes[1] (log)", "multi_attach", "Leave spec out"],
        ),
        ({"instance_ids": [WEB, DB], "spec": "web"}, [{"name": "root"}], ["'web'", "volumes[0] (root)"]),
        (
            {"instance_ids": [WEB, DB]},
            [SHARED, {"name": "log"}],
            ["volumes[0] (data)", "multi_attach", "spec must name the cluster"],
        ),
        ({"instance_ids": MANY, "spec": "web"}, [SHARED], ["instance_ids", "17", "16"]),
        (
            {"instance_ids": [WEB, DB]},
            [{"volume_id": VOLUME}],
            [f"volumes[0] ({VOLUME})", "volume_id", "several instances"],
        ),
        # kept unattached
        *(
            ({"instance_ids": None, "availability_zone": zone, "spec": "web"}, [], [repr(zone), "eu-central-1a"])
            for zone in ("us-east-1", "use1-az1", "a", "us-east-1A", "eu-central-1a ")
        ),
        ({"instance_ids": None, "availability_zone": ZONE}, [], ["spec: is missing", "with availability_zone"]),
        *(
            (
                {"instance_ids": None, "availability_zone": ZONE, "spec": "web"},
                [{"name": "data", **entry}],
                ["volumes[0] (data)", *entry, "needs instance_ids"],
            )
            for entry in ({"device_name": "/dev/sdf"}, {"delete_on_termination": False})
        ),
        (
            {"instance_ids": None, "availability_zone": ZONE, "spec": "web"},
            [{"name": "root"}],
            ["volumes[0] (root)", "needs instance_ids"],
        ),
        (
            {"instance_ids": None, "availability_zone": ZONE, "spec": "web", "purge_volumes": True},
            [],
            ["purge_volumes", "needs instance_ids"],
        ),
    ],
)
def test_contradicting_declarations_are_refused(given: Entry, volumes: list[Entry], words: list[str]) -> None:
    message = refusal(*volumes, **given)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("given", "volumes", "shared"),
    [
        ({"instance_ids": MANY[:16], "spec": "web"}, [SHARED], True),
        ({"instance_ids": [WEB, DB], "spec": "web"}, [], True),
        ({"instance_ids": [WEB, DB], "spec": "web"}, [{**SHARED, "volume_id": VOLUME}], True),
        ({"instance_ids": [WEB, DB]}, [{"name": "data"}, {"name": "root"}], False),
        # an id that is named twice counts once
        ({"instance_ids": [WEB, WEB], "spec": "web"}, [{"name": "log"}, {"volume_id": VOLUME}], False),
        ({"instance_ids": [WEB], "spec": "web"}, [SHARED, {"name": "log"}], False),
        ({"instance_ids": [WEB]}, [SHARED], False),
        ({"instance_ids": None, "availability_zone": ZONE, "spec": "web"}, [SHARED, {"volume_id": VOLUME}], False),
    ],
)
def test_several_instances_share_all_volumes_or_none(given: Entry, volumes: list[Entry], shared: bool) -> None:
    assert declared(*volumes, **given).shared is shared


@pytest.mark.parametrize(
    "zone", ["us-east-1a", "ap-southeast-5c", "us-gov-west-1b", "us-west-2-lax-1a", "us-east-1-wl1-bos-wlz-1"]
)
def test_zone_of_each_kind_is_accepted(zone: str) -> None:
    """Zones of a region, Local Zones, and Wavelength Zones."""
    assert declared(instance_ids=None, availability_zone=zone, spec="web").availability_zone == zone


def test_options_of_a_task_are_read() -> None:
    spec = declared(
        {"name": "data", "state": "absent"},
        instance_ids=[DB, WEB, DB],
        purge_volumes=True,
        replace="snapshot",
        wait_timeout=60,
    )
    assert spec.instance_ids == (DB, WEB)
    assert (spec.availability_zone, spec.group) == (None, None)
    assert (spec.purge_volumes, spec.purge_tags, spec.steal, spec.lose_instance_store) == (True, False, False, False)
    assert (spec.final_snapshot, spec.replace, spec.delete_replaced) == (True, True, False)
    assert (spec.in_use, spec.on_cooldown) == ("refuse", "fail")
    assert spec.hold_time == timedelta(seconds=60)
