# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate`: a warning names the snapshots that a changed task leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from rotation_world import DAY, I1, V1, V2, Account, created, days, machine, planned, snapshot, snapshot_set, volume

WHOLE: dict[str, Any] = {"consistency": "instance", "select": {"instance_ids": [I1]}, "keep": {"last": 2}}
BY_VOLUME: dict[str, Any] = {"select": {"instance_ids": [I1]}, "keep": {"last": 2}}


def test_volume_snapshots_left_by_a_switch_to_sets_are_named() -> None:
    account = Account.of(machine(1, 1, 2), days(2, 1), days(1, 2), days(1, 9))
    (warning,) = planned(account, **WHOLE).warnings
    assert "3 snapshots" in warning
    assert "consistency: volume" in warning
    assert V1 in warning
    assert V2 in warning


def test_sets_left_by_a_switch_to_volumes_are_named() -> None:
    account = Account.of(machine(1, 1, 2), snapshot_set(DAY, 1, 1, 2))
    (warning,) = planned(account, **BY_VOLUME).warnings
    assert "2 snapshots" in warning
    assert "consistency: instance" in warning
    assert I1 in warning


def test_snapshots_of_the_same_form_are_not_named() -> None:
    assert planned(Account.of(machine(1, 1, 2), snapshot_set(DAY, 1, 1, 2)), **WHOLE).warnings == ()
    assert planned(Account.of(machine(1, 1, 2), days(2, 1), days(1, 2)), **BY_VOLUME).warnings == ()


def test_first_snapshots_of_a_renamed_policy_are_named() -> None:
    tags = {"by": "cron"}
    old = [snapshot(number * DAY, policy="old", tags=tags) for number in (1, 2)]
    given = {"adopt": {"tags": tags}, "keep": {"last": 2}}
    (warning,) = planned(Account.of(volume(1), old), **given).warnings
    assert all(
        part in warning for part in ("has no snapshots yet", f"but the policy old has 2 of {V1}", "ec2ops:policy")
    )
    assert planned(Account.of(volume(1), old, days(1)), **given).warnings == ()
    assert planned(Account.of(volume(2), old), **{**given, "select": {"volume_ids": [V2]}}).warnings == ()


def test_account_that_copies_no_longer_name_is_named() -> None:
    shared = snapshot(DAY, tags={"ec2ops:shared-with": "444455556666"})
    plan = planned(Account.of(volume(1), shared), keep={"last": 2})
    (warning,) = plan.warnings
    assert all(part in warning for part in ("444455556666", shared.snapshot_id, "copies"))


COPIES: dict[str, Any] = {"copies": [{"region": "eu-west-1", "keep": {"last": 9}}], "keep": {"last": 9}}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("eu-west-1", []),
        ("eu-north-1", ["eu-north-1"]),
        ("eu-west-1,us-east-2@backup", ["us-east-2 (profile backup)"]),
        ("ap-south-1,eu-north-1", ["ap-south-1", "eu-north-1"]),
        (",", []),
    ],
)
def test_place_that_copies_no_longer_name_is_named(value: str, named: list[str]) -> None:
    left = snapshot(DAY, tags={"ec2ops:copied-to": value})
    warnings = [text for text in planned(Account.of(volume(1), left), **COPIES).warnings if "any more" in text]
    assert len(warnings) == len(named)
    for text, place in zip(warnings, named, strict=True):
        assert f"no entry copies to {place} any more" in text
        assert left.snapshot_id in text


def test_renamed_profile_is_no_other_place() -> None:
    left = snapshot(DAY, tags={"ec2ops:copied-to": "eu-west-1@backup"})
    given = {**COPIES, "copies": [{**COPIES["copies"][0], "profile": "vault"}]}
    assert not any("any more" in text for text in planned(Account.of(volume(1), left), **given).warnings)


def test_new_snapshots_record_the_places_of_their_copies() -> None:
    change, copy = created(planned(Account.of(volume(1)), **COPIES))
    assert "ec2ops:copied-to" not in copy.own_tags
    assert (change.after or {})["tags"]["ec2ops:copied-to"] == "eu-west-1"
    assert "ec2ops:copied-to" not in change.own_tags
    full = {f"t{number}": "" for number in range(42)}
    change, _copy = created(planned(Account.of(volume(1, tags=full)), **COPIES, copy_volume_tags=True))
    assert "ec2ops:copied-to" not in (change.after or {})["tags"]
    (change,) = created(planned(Account.of(volume(1)), keep={"last": 9}))
    assert "ec2ops:copied-to" not in (change.after or {})["tags"]
