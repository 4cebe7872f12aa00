# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of an instance's facts, against botocore's model and its documentation; and the tag of the hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold, hold_of, standing_hold
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.instance_facts import (
    ATTRIBUTE_RULES,
    CARRIED,
    DERIVED,
    INSTANCE_RULES,
    REFUSED,
    carried_parameters,
    read_fact,
    refused_facts,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.power_cycle import instance_store_trouble
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "instance_facts.md"
MODEL = botocore.session.get_session().get_service_model("ec2")
NOW = datetime(2026, 11, 23, 12, 0, 30, 500000, tzinfo=UTC)
PLAIN = {"NetworkInterfaces": [{"SubnetId": "subnet-1"}], "RootDeviceType": "ebs", "SourceDestCheck": True}


def leaves(shape: Any, path: str = "") -> Iterator[str]:
    """The dotted paths of all members below a shape, lists looked through."""
    while shape.type_name == "list":
        shape = shape.member
    if shape.type_name != "structure":
        yield path
        return
    for name, member in shape.members.items():
        yield from leaves(member, f"{path}.{name}" if path else name)


def covering(path: str) -> str | None:
    """The path of the rule for *path*: its own, or one above that has no rules for its members."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        candidate = ".".join(parts[:length])
        if candidate in INSTANCE_RULES:
            own = length == len(parts)
            return candidate if own or INSTANCE_RULES[candidate].how != CARRIED else None
    return None


LEAVES = sorted(leaves(MODEL.shape_for("Instance")))


@pytest.mark.parametrize("path", LEAVES)
def test_every_fact_of_an_instance_is_carried_derived_or_refused(path: str) -> None:
    assert covering(path) is not None, f"{path} of botocore's Instance is not in the table"


def test_every_fact_of_the_table_exists() -> None:
    known = {".".join(path.split(".")[:length]) for path in LEAVES for length in range(1, path.count(".") + 2)}
    assert set(INSTANCE_RULES) <= known


def test_the_check_would_miss_a_new_fact() -> None:
    assert covering("BrandNew") is None
    assert covering("MetadataOptions.BrandNew") is None
    assert covering("Tags.BrandNew") is None
    assert covering("State.BrandNew") == "State"


def test_every_attribute_that_ec2_describes_is_in_the_table() -> None:
    asked = MODEL.operation_model("DescribeInstanceAttribute").input_shape.members["Attribute"].enum
    assert set(ATTRIBUTE_RULES) == set(asked)
    answered = {name[0].lower() + name[1:] for name in MODEL.shape_for("InstanceAttribute").members} - {"instanceId"}
    renamed = {
        "kernelId": "kernel",
        "ramdiskId": "ramdisk",
        "groups": "groupSet",
        "blockDeviceMappings": "blockDeviceMapping",
    }
    assert {renamed.get(name, name) for name in answered} == set(ATTRIBUTE_RULES)


def test_every_row_of_the_table_has_a_rule_and_a_reason() -> None:
    for name, rule in {**INSTANCE_RULES, **ATTRIBUTE_RULES}.items():
        assert rule.how in (CARRIED, DERIVED, REFUSED), name
        assert rule.note, name
        assert not rule.to or rule.how == CARRIED, name


def documented() -> dict[tuple[str, str], tuple[str, str]]:
    section, found = "", {}
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        row = re.fullmatch(r"\| `([\w.]+)` \| (\w+) \| (.+) \|", line)
        if row:
            found[section, row[1]] = (row[2], row[3])
    return found


def test_the_documentation_shows_the_same_table() -> None:
    code = {
        (section, name): (rule.how, rule.note)
        for section, rules in (("Members of Instance", INSTANCE_RULES), ("Attributes", ATTRIBUTE_RULES))
        for name, rule in rules.items()
    }
    assert documented() == code


# --- carried ----------------------------------------------------------------------------------------------------------

RUN_INSTANCES = MODEL.operation_model("RunInstances").input_shape


def placed(path: str, shape: Any, value: Any = None) -> Any:
    """A value that fits *shape* at the dotted path, lists on the way with one item."""
    if shape.type_name == "list":
        return [placed(path, shape.member, value)]
    if path:
        head, _between, rest = path.partition(".")
        return {head: placed(rest, shape.members[head], value)}
    if value is not None:
        return value
    return {"boolean": True, "integer": 7, "string": "set"}[shape.type_name]


def parameter_shape(path: str) -> Any:
    shape = RUN_INSTANCES
    for part in path.split("."):
        while shape.type_name == "list":
            shape = shape.member
        shape = shape.members[part]
    return shape


UNCHANGED = sorted(path for path, rule in INSTANCE_RULES.items() if rule.to)


@pytest.mark.parametrize("path", UNCHANGED)
def test_carried_facts_arrive_in_the_documented_parameters(path: str) -> None:
    rule = INSTANCE_RULES[path]
    facts = placed(path, MODEL.shape_for("Instance"))
    value = read_fact(facts, path)
    assert value not in (None, [])
    assert read_fact(carried_parameters(facts), rule.to) == value
    assert (read_fact(carried_parameters(facts, other_type=True), rule.to) is None) == rule.of_type


@pytest.mark.parametrize("path", UNCHANGED)
def test_run_instances_has_the_parameter_and_takes_such_a_value(path: str) -> None:
    fact = MODEL.shape_for("Instance")
    for part in path.split("."):
        while fact.type_name == "list":
            fact = fact.member
        fact = fact.members[part]
    assert parameter_shape(INSTANCE_RULES[path].to).type_name == fact.type_name


@pytest.mark.parametrize("path", [path for path in UNCHANGED if INSTANCE_RULES[path].unset])
def test_a_default_is_not_sent(path: str) -> None:
    for value in INSTANCE_RULES[path].unset:
        assert carried_parameters(placed(path, MODEL.shape_for("Instance"), value)) == {}


# --- refused ----------------------------------------------------------------------------------------------------------

SET: dict[str, Any] = {
    "ElasticGpuAssociations": [{"ElasticGpuId": "egpu-1"}],
    "ElasticInferenceAcceleratorAssociations": [{"ElasticInferenceAcceleratorArn": "arn:aws:x"}],
    "InstanceLifecycle": "spot",
    "MaintenanceOptions": {"RebootMigration": "disabled"},
    "Operator": {"Managed": True, "Principal": "eks.amazonaws.com"},
    "RootDeviceType": "instance-store",
    "SecondaryInterfaces": [{"SecondaryInterfaceId": "si-1"}],
    "SourceDestCheck": False,
}
SET_OF_INTERFACE: dict[str, Any] = {
    "Association": {"CarrierIp": "198.51.100.1"},
    "Attachment": {"DeleteOnTermination": False},
    "Ipv4Prefixes": [{"Ipv4Prefix": "10.0.0.0/28"}],
    "Ipv6Prefixes": [{"Ipv6Prefix": "2001:db8::/80"}],
    "Operator": {"Managed": True},
    "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.1"}, {"PrivateIpAddress": "10.0.0.2"}],
    "SourceDestCheck": False,
}


@pytest.mark.parametrize("path", sorted(path for path, rule in INSTANCE_RULES.items() if rule.how == REFUSED))
def test_refused_facts_are_refused_when_set_and_named(path: str) -> None:
    head, _between, rest = path.partition(".")
    facts: dict[str, Any] = {**PLAIN}
    if head == "NetworkInterfaces":
        part = rest.split(".")[0]
        ours = part in SET_OF_INTERFACE and read_fact(SET_OF_INTERFACE, rest) is not None
        interface = MODEL.shape_for("Instance").members[head].member
        facts[head] = [{part: SET_OF_INTERFACE[part]} if ours else placed(rest, interface)]
    else:
        facts.update({head: SET[head]} if head in SET else placed(path, MODEL.shape_for("Instance")))
    assert [line.partition(":")[0].partition(" ")[0] for line in refused_facts(facts)] == [path]


def test_a_plain_instance_is_not_refused() -> None:
    facts = {
        **PLAIN,
        "Operator": {"Managed": False},
        "MaintenanceOptions": {"AutoRecovery": "default", "RebootMigration": "default"},
        "NetworkInterfaces": [
            {
                "Attachment": {"DeleteOnTermination": True, "NetworkCardIndex": 0, "DeviceIndex": 0},
                "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.1", "Primary": True}],
                "SourceDestCheck": True,
                "Ipv4Prefixes": [],
                "Operator": {"Managed": False},
            }
        ],
    }
    assert refused_facts(facts) == []


def test_instance_without_an_interface_is_refused() -> None:
    (line,) = refused_facts({**PLAIN, "NetworkInterfaces": []})
    assert "the instance has none" in line
    assert refused_facts({**PLAIN, "NetworkInterfaces": [{}, {}]}) == [], "the relaunch moves or keeps the second one"


# --- instance store and the hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"InstanceStorageSupported": False}, None),
        ({"InstanceStorageSupported": True}, "has instance store volumes"),
        (None, "does not say"),
    ],
)
def test_instance_type_shows_whether_a_stop_loses_data(info: dict[str, Any] | None, words: str | None) -> None:
    state = State("r").with_resources([] if info is None else [INSTANCE_TYPE.fact("m5.large", info)])
    trouble = instance_store_trouble(state, Instance("i-00000000000000001", instance_type="m5.large"))
    assert trouble is None if words is None else trouble is not None and words in trouble


def held(value: str, **fields: Any) -> Instance:
    return Instance("i-00000000000000001", tags={"ec2ops:restore-state": value}, **fields)


def test_hold_reads_back_its_record() -> None:
    value = Hold(NOW, NOW + timedelta(minutes=30)).value
    assert value == "running 2026-11-23T12:00:30Z 2026-11-23T12:30:30Z"
    hold = hold_of(held(value))
    assert hold is not None
    assert hold.value == value
    assert hold.until - hold.since == timedelta(minutes=30)


def test_hold_records_a_public_address() -> None:
    until = NOW + timedelta(minutes=30)
    value = Hold(NOW, until, public=True).value
    assert value == Hold(NOW, until).value + " public"
    assert [hold and hold.public for hold in map(hold_of, map(held, (value, Hold(NOW, until).value)))] == [True, False]


@pytest.mark.parametrize(
    ("launched", "stands"), [(NOW - timedelta(days=1), True), (NOW + timedelta(seconds=1), False), (None, True)]
)
def test_outdated_hold_does_not_count(launched: datetime | None, stands: bool) -> None:
    assert (standing_hold(held(Hold(NOW, NOW).value, launch_time=launched)) is not None) is stands


@pytest.mark.parametrize(
    "value",
    [
        "",
        "running",
        "running 2026-11-23T12:00:30Z",
        "stopped 2026-11-23T12:00:30Z 2026-11-23T12:30:30Z",
        "running yesterday today",
        "running 2026-11-23T12:00:30Z 2026-11-23T12:30:30Z more",
        "running 2026-11-23T12:00:30Z 2026-11-23T12:30:30Z ",
        "running 2026-11-23T12:00:30Z 2026-11-23T12:30:30Z public more",
        "running 2026-11-23T12:00:30Z public",
    ],
)
def test_foreign_value_is_no_hold(value: str) -> None:
    assert hold_of(held(value)) is None


@pytest.mark.parametrize(
    ("launched", "spent"),
    [
        (None, False),
        (NOW - timedelta(days=1), False),
        # Started within the second that the tag names: the tag was written after, and has no fraction.
        (NOW.replace(microsecond=200000), False),
        (NOW.replace(microsecond=900000), False),
        (NOW + timedelta(seconds=1), True),
    ],
)
def test_hold_older_than_the_last_start_is_outdated(launched: datetime | None, spent: bool) -> None:
    instance = held(Hold(NOW, NOW + timedelta(minutes=30)).value, launch_time=launched)
    hold = hold_of(instance)
    assert hold is not None
    assert hold.is_spent(instance) is spent
