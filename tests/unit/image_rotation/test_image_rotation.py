# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `image_rotate` by tables, without a call: refused options, proofs of versions and copies, guards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.image_versions import mark_of, source_hash
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image_rotation.guards import Guards
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image_rotation.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image_rotation.spec import Action, RotationSpec
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image_rotation.versions import Line, soon
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Image,
    ImageDevice,
    Resource,
    Snapshot,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State
from ansible_collections.ec2ops.storage.plugins.modules import image_rotate

from in_process import options

REGION, NEAR = "eu-central-1", Place("eu-west-1")
NOW = datetime(2026, 11, 30, 12, 7, tzinfo=UTC)
GIVEN: dict[str, Any] = {"name": "web", "action": "deregister", "keep": {"last": 1}}


def parsed(**given: Any) -> RotationSpec:
    spec: RotationSpec = FEATURE.parse(options(image_rotate, **{**GIVEN, **given}), REGION)
    return spec


def image(number: int, **fields: Any) -> Image:
    """Version *number*, made that many days before now, as `ami_bake` makes it."""
    made = NOW - timedelta(days=number)
    facts = {"Description": f"web {number} from i-0123456789abcdef0", **fields.pop("facts", {})}
    tags = {"ec2ops:image": "web", "ec2ops:version": str(number), **fields.pop("tags", {})}
    known = {
        "image_id": f"ami-{number:08x}",
        "name": f"web-{number}",
        "owner_id": "123456789012",
        "creation_date": f"{made:%Y-%m-%dT%H:%M:%S.000Z}",
        "block_devices": (ImageDevice("/dev/xvda", f"snap-{number:08x}"),),
    }
    return Image(**{**known, **fields}, tags=tags, facts=facts)


def part(number: int, **fields: Any) -> Snapshot:
    """The snapshot of version *number*."""
    known = {
        "snapshot_id": f"snap-{number:08x}",
        "volume_id": "vol-00000001",
        "description": f"Created by CreateImage(i-0123456789abcdef0) for ami-{number:08x}",
        "start_time": NOW - timedelta(days=number),
        "tags": {"ec2ops:image": "web", "ec2ops:version": str(number)},
    }
    return Snapshot(**{**known, **fields})


def state_of(resources: Iterable[Resource]) -> State:
    return State(REGION, now=NOW).with_resources(resources)


def planned(*resources: Resource, **given: Any) -> Any:
    return FEATURE.plan(parsed(**given), state_of(resources), NOW)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"name": " "}, "name: '' is not the name of an image."),
        ({"name": "(new image web/1)"}, "name: '(new image web/1)' is not the name"),
        ({"keep": {}}, "keep: has no rule, so it would keep only the newest of all images."),
        ({"keep": {"last": "0"}}, "keep.last: '0' is not a number of images."),
        ({"unused_for": "soon"}, "unused_for: 'soon' is not a span of time."),
        ({"adopt": {"tags": {}}}, "adopt.tags: is empty, so it would match every image"),
        ({"adopt": {"tags": {"ec2ops:image": "api"}}}, "adopt.tags: 'ec2ops:image' would adopt the versions"),
        ({"adopt": {"tags": {"by": "*"}}}, "adopt.tags: 'by': '*' has a wildcard"),
        ({"protect": {}}, "protect: tags and tag_keys are empty"),
        ({"protect": {"tag_keys": ["a?"]}}, "protect.tag_keys: 'a?' has a wildcard"),
        ({"copies": [{"region": REGION, "keep": {"last": 1}}]}, f"copies[0].region: {REGION} has the originals."),
        ({"copies": [{"region": "mars", "keep": {"last": 1}}]}, "copies[0].region: 'mars' is not an AWS region."),
        ({"copies": [{"region": NEAR, "keep": {}}]}, "copies[0].keep: has no rule"),
        ({"copies": [{"region": NEAR, "keep": {"last": 1}}] * 2}, f"copies[1]: {NEAR} is listed twice."),
        ({"max_delete": -1}, "max_delete: -1 is negative."),
        ({"expected_plan": " "}, "expected_plan: is empty."),
        ({"check_accounts": True, "guards": {"account": "off"}}, "check_accounts: needs the guard account"),
    ],
)
def test_bad_option_is_refused_by_name(given: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError) as refused:
        parsed(**given)
    assert str(refused.value).startswith(text)


def test_unquoted_off_switches_a_guard_off() -> None:
    assert parsed(guards={"recipe": False}).guard("recipe") == "off"


# --- which images count -----------------------------------------------------------------------------------------------

COPY = {
    "place": NEAR,
    "image_id": "ami-0000c0b1",
    "facts": {"SourceImageId": "ami-00000005", "SourceImageRegion": REGION},
    "tags": {"ec2ops:copy-of": f"{REGION}/ami-00000005"},
}


@pytest.mark.parametrize(
    ("fields", "proven"),
    [
        ({}, True),
        ({"name": "other"}, True),
        ({"facts": {"Description": f"the shop{mark_of('web', '5')}"}, "name": "other"}, True),
        ({"facts": {"Description": "the shop"}}, True),
        ({"facts": {"Description": "the shop"}, "name": "other"}, False),
        ({"facts": {"Description": "web 6 from i-0123456789abcdef0"}}, False),
        ({"tags": {"ec2ops:version": "6"}}, False),
        ({"facts": {"SourceImageId": "ami-00000009"}}, False),
        (
            {
                "facts": {"SourceImageId": "ami-00000009"},
                "tags": {"ec2ops:fingerprint": f"{source_hash('image', 'ami-00000009')}-0"},
            },
            True,
        ),
    ],
)
def test_original_counts_only_if_a_fact_agrees(fields: dict[str, Any], proven: bool) -> None:
    line = Line(parsed(), parsed().keep, state_of([image(5, **fields)]), Place(REGION), NOW, REGION)
    assert bool(line.made) == proven
    assert bool(list(line.warnings())) != proven


@pytest.mark.parametrize(
    ("fields", "known", "proven"),
    [
        ({}, False, True),
        ({"facts": {"SourceImageRegion": "us-east-1"}}, True, False),
        ({"facts": {"SourceImageId": None}}, True, False),
        ({"tags": {"ec2ops:copy-of": f"{REGION}/ami-00000006"}}, True, False),
        ({"facts": {"Description": "a test"}, "name": "other"}, True, True),
        ({"facts": {"Description": "a test"}, "name": "other"}, False, False),
    ],
)
def test_copy_counts_only_if_ec2_records_its_source(fields: dict[str, Any], known: bool, proven: bool) -> None:
    merged: dict[str, Any] = {**COPY, **fields}
    for name in ("facts", "tags"):
        merged[name] = {**COPY[name], **fields.get(name, {})}  # type: ignore[dict-item]
    originals = frozenset({"ami-00000005"} if known else ())
    there = State(NEAR, now=NOW, resources={merged["image_id"]: image(5, **merged)})
    line = Line(parsed(), parsed().keep, there, NEAR, NOW, REGION, originals)
    assert bool(line.made) == proven


def test_copy_of_another_regions_task_is_left_to_it() -> None:
    lodger = image(9, tags={"ec2ops:copy-of": "us-east-1/ami-1"}, facts={"SourceImageId": "ami-1"})
    plan = planned(image(1), lodger)
    assert (plan.changes, plan.warnings) == ((), ())


# --- the action -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "snapshots", "parameters"),
    [
        ({}, {}, {"DeleteAssociatedSnapshots": True}),
        ({}, {"description": "web 2 from i-0123456789abcdef0"}, {"DeleteAssociatedSnapshots": True}),
        ({}, {"description": "nightly"}, {}),
        ({}, {"description": "Created by CreateImage(i-0123456789abcdef0) for ami-00000009"}, {}),
        ({}, {"tags": {"ec2ops:image": "web", "ec2ops:policy": "daily"}}, {}),
        ({"block_devices": ()}, {}, {}),
    ],
)
def test_snapshots_go_only_if_all_were_made_for_the_image(
    fields: dict[str, Any], snapshots: dict[str, Any], parameters: dict[str, Any]
) -> None:
    plan = planned(image(1), part(1), image(2, **fields), part(2, **snapshots))
    (change,) = plan.changes
    assert (change.action, change.resource, change.parameters) == ("DeregisterImage", "ami-00000002", parameters)
    assert bool(plan.warnings) == (not parameters and "block_devices" not in fields)


@pytest.mark.parametrize("action", [one.value for one in Action])
def test_predicted_plan_is_empty(action: str) -> None:
    spec = parsed(action=action)
    state = state_of([*map(image, (1, 2, 3)), *map(part, (1, 2, 3))])
    plan = FEATURE.plan(spec, state, NOW)
    assert [change.resource for change in plan.changes] == ["ami-00000003", "ami-00000002"]
    after = overlay(state, plan.published(), everywhere=True)
    assert FEATURE.plan(spec, after, NOW + timedelta(seconds=90)).changes == ()


@pytest.mark.parametrize(
    ("now", "at"), [((12, 7), (12, 30)), ((12, 0), (12, 30)), ((12, 14), (12, 30)), ((23, 59), (0, 15))]
)
def test_deprecation_begins_at_the_next_quarter_but_one(now: tuple[int, int], at: tuple[int, int]) -> None:
    found = soon(NOW.replace(hour=now[0], minute=now[1]))
    assert (found.hour, found.minute) == at


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("disabled", False),
        ("enabled", True),
        ("enabled-with-cooldown", True),
        ("disabled after 2026-11-30T12:07:01.000Z", True),
        ("disabled after 2026-11-30T12:06:59.000Z", False),
    ],
)
def test_protection_ends_by_the_time_of_ec2(text: str, kept: bool) -> None:
    protected = image(2, facts={"DeregistrationProtection": text})
    assert bool(planned(image(1), protected).changes) != kept
    assert planned(image(1), protected, action="disable").changes


@pytest.mark.parametrize(
    ("state", "reasons"), [("pending", "pending"), ("failed", "failed"), ("available", "last 1 of 1, newest")]
)
def test_unusable_version_displaces_none(state: str, reasons: str) -> None:
    plan = planned(image(1, state=state), image(2), report="all")
    newest = plan.report.result["decisions"][0]
    assert ", ".join(newest["reasons"]) == reasons
    assert bool(plan.changes) == (state == "available")


def test_version_with_a_date_in_the_future_displaces_none() -> None:
    late = replace(image(1), creation_date="2026-12-24T00:00:00.000Z")
    assert planned(late, image(2)).changes == ()


def test_protected_and_managed_versions_take_part_in_no_rule() -> None:
    held = (image(1, tags={"hold": "1"}), image(2, tags={"aws:backup:source-resource": "i-1"}))
    plan = planned(*held, image(3), image(4), protect={"tag_keys": ["hold"]})
    assert [change.resource for change in plan.changes] == ["ami-00000004"]
    assert [one["guard"] for one in plan.report.result["decisions"]] == ["protected", "managed", None]


def test_report_needs_all_accounts_and_both_types() -> None:
    spec = parsed(check_accounts=True)
    line = Line(spec, spec.keep, state_of([image(1), image(2)]), Place(REGION), NOW, REGION)
    assert not Guards(line, {}).wants_report(image(2)), "an image that is not shared needs no report"
