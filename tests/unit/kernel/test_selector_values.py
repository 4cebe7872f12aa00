# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of tags to select by: a value that YAML has changed into another type is refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import spec as volume_spec
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import require_selector_text
from ansible_collections.ec2ops.storage.plugins.modules import ebs_volume_spec, snapshot_rotate

from in_process import options
from rotation_world import DAY, Account, days, decision, deleted, ids, parsed, planned, snapshot, volume

NOT_TEXT = [
    (True, "true is a boolean"),
    (False, "false is a boolean"),
    (None, "null is an empty value"),
    (1.5, "1.5 is a number"),
    (["yes"], "['yes'] is a list"),
    ({"a": "b"}, "{'a': 'b'} is a mapping"),
    (date(2026, 11, 29), "2026-11-29 is a date"),
    (datetime(2026, 11, 29, 12, 0, tzinfo=UTC), "2026-11-29 12:00:00+00:00 is a date"),
]


@pytest.mark.parametrize(("value", "told"), NOT_TEXT, ids=[told for _value, told in NOT_TEXT])
@pytest.mark.parametrize("numbers", [True, False])
def test_value_that_is_not_text_is_refused_by_key(value: Any, told: str, numbers: bool) -> None:
    with pytest.raises(SpecError) as refused:
        require_selector_text({"legal-hold": value}, "select.tags", numbers=numbers)
    assert str(refused.value).startswith(f"select.tags: 'legal-hold': {told}, not text. Quote it")


def test_whole_number_is_text_only_where_numbers_are_taken() -> None:
    assert require_selector_text({"room": 12}, "select.tags", numbers=True) == {"room": "12"}
    with pytest.raises(SpecError, match=r"protect\.tags: 'room': 83 is a number, not text\. Quote it.*0123.*12:30"):
        require_selector_text({"room": 83}, "protect.tags", numbers=False)


def test_key_that_is_not_text_is_refused() -> None:
    with pytest.raises(SpecError, match=r"protect\.tags: the key true is a boolean, not text\. Quote it"):
        require_selector_text({True: "x"}, "protect.tags", numbers=False)


@pytest.mark.parametrize("option", ["protect", "adopt"])
@pytest.mark.parametrize("value", [True, None, 83, 750, 1.1, ["yes"]], ids=str)
def test_protect_and_adopt_take_text_only(option: str, value: Any) -> None:
    given = options(snapshot_rotate, policy="p", **{option: {"tags": {"legal-hold": value}}})
    with pytest.raises(SpecError, match=rf"{option}\.tags: 'legal-hold': .*Quote it"):
        parsed(**{option: given[option]})


@pytest.mark.parametrize("value", [True, None, 1.1, ["yes"]], ids=str)
def test_select_refuses_values_other_than_text_and_whole_numbers(value: Any) -> None:
    with pytest.raises(SpecError, match=r"select\.tags: 'backup': .*Quote it"):
        parsed(select={"tags": {"backup": value}})
    assert parsed(select={"tags": {"backup": 7}}).select_tags == {"backup": "7"}


@pytest.mark.parametrize("value", [True, None, 1.1, ["yes"]], ids=str)
def test_snapshot_selector_refuses_values_other_than_text(value: Any) -> None:
    entry = {"name": "data", "device_name": "/dev/sdf", "size": 8, "snapshot": {"tags": {"golden": value}}}
    given = options(ebs_volume_spec, spec="s", instance_id="i-0123456789abcdef0", volumes=[entry])
    with pytest.raises(SpecError, match=r"snapshot\.tags: 'golden': .*Quote it"):
        volume_spec.parse(given, "us-east-1")


# --- protect by key ---------------------------------------------------------------------------------------------------


def test_protect_by_key_keeps_a_snapshot_with_any_value() -> None:
    held = [snapshot(number * DAY, tags={"legal-hold": value}) for number, value in ((3, "yes"), (4, "case 7"))]
    others = days(2)
    plan = planned(Account.of(volume(1), held, others), protect={"tag_keys": ["legal-hold"]}, keep={"last": 1})
    assert deleted(plan) == ids(others)
    for one in held:
        assert decision(plan, one)["guard"] == "protected"
        assert decision(plan, one)["reasons"] == ["tag legal-hold"]


def test_protect_takes_tags_and_keys_together() -> None:
    by_key = snapshot(3 * DAY, tags={"legal-hold": "no"})
    by_tag = snapshot(4 * DAY, tags={"keep": "yes"})
    other = snapshot(5 * DAY, tags={"keep": "no"})
    protect = {"tags": {"keep": "yes"}, "tag_keys": ["legal-hold"]}
    assert deleted(planned(Account.of(volume(1), by_key, by_tag, other), protect=protect, keep={"last": 1})) == ids(
        [other]
    )


@pytest.mark.parametrize("protect", [{}, {"tags": {}}, {"tag_keys": []}, {"tags": None, "tag_keys": None}], ids=str)
def test_protect_without_tags_and_keys_is_refused(protect: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"protect: tags and tag_keys are empty"):
        parsed(protect=protect)


@pytest.mark.parametrize("key", [True, None, 5, "", "legal*", ["legal-hold"]], ids=str)
def test_protect_refuses_a_key_that_is_no_literal_text(key: Any) -> None:
    given = options(snapshot_rotate, policy="p", protect={"tag_keys": [key]})
    with pytest.raises(SpecError, match=r"protect\.tag_keys: "):
        parsed(protect=given["protect"])
