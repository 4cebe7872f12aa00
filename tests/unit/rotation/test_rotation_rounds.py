# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rounds of one plan: what a round has computed serves the next one, until an answer changes it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.planner import FEATURE

from rotation_world import DAY, NOW, Account, deleted, look, parsed, planned, snapshot, volume


def test_snapshot_that_a_later_answer_changes_is_decided_anew() -> None:
    newest, middle, oldest = (snapshot(age * DAY) for age in (1, 2, 3))
    spec = parsed(keep={"last": 2}, create="never")
    state = look(spec, Account.of(volume(), newest, middle, oldest))
    assert deleted(FEATURE.plan(spec, state, NOW)) == {oldest.snapshot_id}
    failed = dataclasses.replace(newest, state="error")
    assert deleted(FEATURE.plan(spec, state.with_resources([failed]), NOW)) == {newest.snapshot_id}


def test_plan_decides_for_the_moment_of_its_first_complete_round() -> None:
    """A span that ends between two rounds would delete a snapshot that no guard has checked."""
    newest, aging = snapshot(DAY), snapshot(2 * DAY)
    rules = {"within": "49h", "reference": "now"}
    spec = parsed(keep=rules, create="never")
    state = look(spec, Account.of(volume(), newest, aging))
    later = NOW + timedelta(hours=2)
    assert deleted(FEATURE.plan(spec, dataclasses.replace(state, now=later), later)) == set()
    found = planned(Account.of(volume(), newest, aging), later, keep=rules, create="never")
    assert deleted(found) == {aging.snapshot_id}
