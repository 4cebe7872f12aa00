# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of roles and playbooks: their owners, and misspelt names."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.variables import judge, nearest, owner_of

from tools.specified import known_variables

KNOWN = {
    "restore": {"restore_zone", "restore_name", "restore_target_instance_id"},
    "restore_volumes": {"restore_volumes_zone", "restore_volumes_hosts"},
    "restore_power": {"restore_power_older_than", "restore_power_hosts"},
    "relaunch": {"relaunch_image_id"},
    "bake_and_relaunch": {"bake_and_relaunch_hold", "bake_and_relaunch_elastic_ip"},
}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("restore_zone", "restore"),
        ("restore_volumes_zone", "restore_volumes"),
        ("restore_power_hosts", "restore_power"),
        ("restore_powerful", "restore"),
        ("bake_and_relaunch_image_id", "bake_and_relaunch"),
        ("relaunch_image_id", "relaunch"),
        ("restore", ""),
        ("__restore_zone", ""),
        ("ansible_host", ""),
    ],
)
def test_a_variable_belongs_to_the_longest_prefix(name: str, owner: str) -> None:
    assert owner_of(name, KNOWN) == owner


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("bake_and_relaunch_hld", "bake_and_relaunch_hold"),
        ("bake_and_relaunch_hodl", "bake_and_relaunch_hold"),
        ("bake_and_relaunch_ip", "bake_and_relaunch_elastic_ip"),
        ("bake_and_relaunch_the_hold", "bake_and_relaunch_hold"),
        ("bake_and_relaunch_hlod_x", None),
        ("bake_and_relaunch_keep", None),
        ("bake_and_relaunch_keep_elastic", None),
    ],
)
def test_two_edits_or_one_word_make_a_misspelling(name: str, near: str | None) -> None:
    assert nearest(name, sorted(KNOWN["bake_and_relaunch"])) == near


def test_nearest_known_name_is_suggested() -> None:
    assert nearest("restore_zame", ["restore_name", "restore_zone"]) == "restore_name"


@pytest.mark.parametrize(
    ("checked", "names", "refused", "doubtful"),
    [
        (["bake_and_relaunch"], ["bake_and_relaunch_hld"], ["bake_and_relaunch_hld"], []),
        (["bake_and_relaunch"], ["bake_and_relaunch_colour"], ["bake_and_relaunch_colour"], []),
        (["bake_and_relaunch"], ["bake_and_relaunch_hold", "hold", "ansible_host"], [], []),
        (["bake_and_relaunch"], ["__bake_and_relaunch_hld", "bake_and_relaunch_result"], [], []),
        (["restore"], ["restore_zon"], ["restore_zon"], []),
        (["restore"], ["restore_colour"], [], ["restore_colour"]),
        (["restore"], ["restore_plan", "restore_result", "restore_of_mine_result"], [], []),
        # The variables of another role are checked where that role is used.
        (["restore"], ["restore_power_hots", "restore_volumes_zon", "bake_and_relaunch_hld"], [], []),
        # A misspelt variable of the playbook has the role's prefix.
        (["restore", "restore_volumes"], ["restore_volume_zone"], ["restore_volume_zone"], []),
        (["restore"], ["restore_hosts"], [], ["restore_hosts"]),
        (["restore", "restore_volumes"], ["restore_hosts"], ["restore_hosts"], []),
    ],
)
def test_unknown_names_are_refused_or_doubted(
    checked: list[str], names: list[str], refused: list[str], doubtful: list[str]
) -> None:
    verdict = judge(names, checked, KNOWN)
    assert [sentence.split(":")[0] for sentence in verdict.refused] == refused
    assert [sentence.split(":")[0] for sentence in verdict.doubtful] == doubtful


def test_a_refusal_names_the_known_variable() -> None:
    (sentence,) = judge(["bake_and_relaunch_hld"], ["bake_and_relaunch"], KNOWN).refused
    assert sentence == (
        "bake_and_relaunch_hld: bake_and_relaunch has no such variable. Did you mean bake_and_relaunch_hold?"
    )


def test_every_name_of_the_collection_is_accepted() -> None:
    known = known_variables()
    names = [name for owner in known for name in known[owner]]
    verdict = judge(names, list(known), known)
    assert (verdict.refused, verdict.doubtful) == ((), ())
    assert {owner_of(name, known) for name in names} == set(known)
