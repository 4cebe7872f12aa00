# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any tags on a predecessor, its honest successor and a stranger: no plan acts against the facts.

The successor has served for days. Its predecessor was stopped for it, before its launch or after, or runs again.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold, standing_hold
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner as image
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner as power
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner as relaunch
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import (
    has_outlasted,
    launch_identity,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Feature, Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import BlockDevice, Instance, Volume
from hypothesis import given, settings
from hypothesis import strategies as st

from forged_values import ABSURD, STRANGER
from image_world import AMI2, NOW, OWNER, world
from image_world import spec as bake
from power_world import spec as powered
from proven import stopped_at
from relaunch_world import AMI, IMAGE, NEW, OLD, OLDEST, plain, successor
from relaunch_world import spec as relaunched

HOLD = tag_names.RESTORE_STATE
NEW_ROOT = "vol-0000000000000009a"
BORN = NOW - timedelta(days=3)
moments = st.sampled_from([BORN + timedelta(hours=hours) for hours in (-100, -2, -1, 0, 1, 2, 60, 71, 72, 80, 70000)])
forged = st.fixed_dictionaries(
    {},
    optional={
        tag_names.REPLACES: st.one_of(
            st.lists(st.sampled_from([OLD, NEW, OLDEST, STRANGER]), max_size=3).map(",".join), st.sampled_from(ABSURD)
        ),
        tag_names.TRIAL: st.sampled_from(["unproven", "serving", "rejected", *ABSURD]),
        HOLD: st.one_of(
            st.builds(lambda since, until: Hold(since, until).value, moments, moments), st.sampled_from(ABSURD)
        ),
    },
)
# Most of the time the successor keeps the tag by which it is found, and the predecessor has some hold.
words = st.sampled_from([{}, *({tag_names.TRIAL: word} for word in ("unproven", "serving", "rejected", "odd"))])
holds = st.builds(lambda since, until: {HOLD: Hold(since, until).value}, moments, moments)
altered = st.one_of(forged, words.map(lambda tags: {tag_names.REPLACES: OLD, **tags}))
held = st.one_of(forged, st.just({}), holds)


@st.composite
def worlds(draw: st.DrawFn) -> list[Instance]:
    """The predecessor, the successor of some generation of the token, and a stranger, all with any tags."""
    stopped = draw(st.sampled_from([BORN - timedelta(hours=1), BORN + timedelta(hours=1), None]))
    state, facts = ("running", {}) if stopped is None else ("stopped", dict(stopped_at(stopped)))
    started = NOW - timedelta(hours=1) if stopped is None else BORN - timedelta(days=9)
    old = plain(state=state, launch_time=started, owner_id=OWNER, tags=draw(held), facts=facts)
    token = client_token(launch_identity(OLD, AMI), draw(st.integers(0, 31)))
    new = successor(minutes=3 * 24 * 60, block_devices=(BlockDevice("/dev/xvda", NEW_ROOT, True),))
    off = draw(st.booleans())
    new_facts = {**new.facts, "ClientToken": token, **(stopped_at(NOW - timedelta(minutes=5)) if off else {})}
    new = dataclasses.replace(
        new, state="stopped" if off else "running", owner_id=OWNER, tags=draw(altered), facts=new_facts
    )
    other = dataclasses.replace(plain(state="stopped", tags=draw(forged)), instance_id=STRANGER, owner_id=OWNER)
    return [old, new, other]


def planned(feature: Feature, wanted: Any, found: list[Instance]) -> Plan | None:
    """The plan; None for a refusal of the kinds that an unclear replacement may have."""
    state = world(*found, Volume(NEW_ROOT, size=8), IMAGE, dataclasses.replace(IMAGE, image_id=AMI2))
    try:
        return feature.plan(wanted, state, NOW)
    except (UnsafePlan, Ambiguous):
        return None


def changes(made: Plan | None) -> list[Change]:
    """All changes of the plan and of its rollbacks."""
    stages = () if made is None else [*made.stages, *(back for stage in made.stages for back in stage.on_failure)]
    return [change for stage in stages for change in stage.changes]


def resources(made: Plan | None, *actions: str) -> set[str]:
    return {change.resource for change in changes(made) if change.action in actions}


ids = st.sampled_from([OLD, NEW])


@settings(deadline=None)
@given(found=worlds(), name=ids, image_id=st.sampled_from([AMI, AMI2]), kept=st.sampled_from(["stop", "keep"]))
def test_relaunch_terminates_no_instance_and_starts_only_proven_holds(
    found: list[Instance], name: str, image_id: str, kept: str
) -> None:
    old, new, _stranger = found
    made = planned(relaunch.FEATURE, relaunched(instance_id=name, image_id=image_id, old_instance=kept), found)
    # If a launch of this plan fails, its rollback terminates the new instance.
    launched = resources(made, "RunInstances")
    assert resources(made, "TerminateInstances") <= launched
    assert resources(made, "ModifyInstanceAttribute") <= launched
    startable = {item.instance_id for item in (old, new) if standing_hold(item) is not None}
    assert resources(made, "StartInstances") <= startable
    stopped = resources(made, "StopInstances")
    assert STRANGER not in stopped
    # A stopped instance leaves a running one: its successor, or the other one.
    if stopped and not launched:
        running = {item.instance_id for item in (old, new) if item.state == "running"}
        assert running - stopped


@settings(deadline=None)
@given(found=worlds(), name=ids)
def test_bake_captures_the_instance_that_ran_last_or_names_the_doubt(found: list[Instance], name: str) -> None:
    old, new, _stranger = found
    made = planned(
        image.FEATURE, bake(source_instance_id=name, version="9", state="captured", require_stopped=False), found
    )
    sources = {
        str((change.after or {}).get("volume_id")) for change in changes(made) if change.action.startswith("CreateSnap")
    }
    proven = tag_names.replaced_ids(new.tags)[:1] == (OLD,)
    if made is not None and proven and sources == {old.root_volume_id} and has_outlasted(new, old):
        assert standing_hold(old) is not None
        assert any(NEW in text for text in made.warnings)
    assert not {"TerminateInstances", "StopInstances", "StartInstances"} & {item.action for item in changes(made)}


@settings(deadline=None)
@given(found=worlds(), named=st.sampled_from([None, [OLD], [NEW], [OLD, NEW, STRANGER]]))
def test_restored_starts_only_instances_with_a_proven_hold(found: list[Instance], named: list[str] | None) -> None:
    made = planned(power.FEATURE, powered("restored", instance_ids=named), found)
    startable = {item.instance_id for item in found if standing_hold(item) is not None}
    assert resources(made, "StartInstances") <= startable
    assert {item.action for item in changes(made)} <= {"StartInstances", "DeleteTags"}


@settings(deadline=None)
@given(found=worlds(), name=ids, remember=st.booleans())
def test_stopped_stops_only_named_instances(found: list[Instance], name: str, remember: bool) -> None:
    wanted = powered("stopped", instance_ids=[name], remember=remember, lose_instance_store=True)
    made = planned(power.FEATURE, wanted, found)
    assert {item.resource for item in changes(made)} <= {name}
    state = next(item.state for item in found if item.instance_id == name)
    assert (resources(made, "StopInstances") == {name}) is (state == "running")
