# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of the collection on any resource: the plans touch the same resources as without these tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold, standing_hold
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner as image
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner as power
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner as relaunch
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Feature
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Image,
    ImageDevice,
    Instance,
    Snapshot,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forged_values import ABSURD, STRANGER
from image_world import AMI2, NOW, OWNER, SNAP2, SNAP3, VOLUMES, world
from image_world import spec as bake
from power_world import spec as powered
from proven import launched, stopped_at
from relaunch_world import AMI, BASE, IMAGE, NEW, OLD, OLDEST, plain, successor
from relaunch_world import spec as relaunched

THEIRS, THEIR_SNAPSHOT, THEIR_VOLUME = "ami-0000000000000000f", "snap-0000000000000000f", "vol-0000000000000000f"

moments = st.integers(-100, 100).map(lambda hours: NOW + timedelta(hours=hours))
VALUES: Mapping[str, st.SearchStrategy[str]] = {
    tag_names.REPLACES: st.lists(st.sampled_from([OLD, NEW, OLDEST, STRANGER]), max_size=4).map(",".join),
    tag_names.TRIAL: st.sampled_from(["unproven", "serving", "rejected", "odd"]),
    tag_names.RESTORE_STATE: st.builds(lambda since, until: Hold(since, until).value, moments, moments),
    tag_names.IMAGE: st.just("web"),
    tag_names.VERSION: st.sampled_from(["1", "2"]),
    tag_names.FINGERPRINT: st.sampled_from([bake().fingerprint(OLD), bake().fingerprint(STRANGER)]),
    tag_names.MACHINE: st.just("arch=arm64 virt=hvm root=/dev/xvda devices=/dev/xvda+"),
}
forged = st.fixed_dictionaries(
    {}, optional={key: st.one_of(value, st.sampled_from(ABSURD)) for key, value in VALUES.items()}
)


def strangers(tags: Mapping[str, Mapping[str, str]]) -> list[Any]:
    """Resources that no run of ours has made, with these tags by id."""
    facts = {**stopped_at(NOW - timedelta(days=300)), "ClientToken": "terraform"}
    return [
        Instance(STRANGER, "stopped", image_id=AMI, owner_id=OWNER, tags=tags[STRANGER], facts=facts),
        Image(
            THEIRS,
            "database",
            owner_id=OWNER,
            root_device_name="/dev/xvda",
            block_devices=(ImageDevice("/dev/xvda", THEIR_SNAPSHOT),),
            tags=tags[THEIRS],
            facts={"Description": "the database"},
        ),
        Snapshot(THEIR_SNAPSHOT, volume_id=THEIR_VOLUME, start_time=NOW, owner_id=OWNER, tags=tags[THEIR_SNAPSHOT]),
        # A backup of the web server's own volume, which a policy has taken.
        Snapshot(SNAP3, volume_id=VOLUMES[0].volume_id, start_time=NOW, owner_id=OWNER, tags=tags[SNAP3]),
    ]


def changes(
    feature: Feature, wanted: Any, resources: list[Any], *, ways_back: bool = True
) -> list[tuple[Any, ...]] | str:
    """The plan's changes, with those of its rollbacks by default, or the kind of its refusal."""
    try:
        made = feature.plan(wanted, world(*resources, IMAGE), NOW)
    except StorageError as error:
        return type(error).__name__
    stages = [*made.stages, *(back for stage in made.stages for back in stage.on_failure if ways_back)]
    found: list[Change] = [change for stage in stages for change in stage.changes]
    return [(change.action, change.resource, repr(change.parameters)) for change in found]


BAKED = Image(AMI2, "web-2", owner_id=OWNER, block_devices=(ImageDevice("/dev/xvda", SNAP2),))
CASES: list[tuple[str, Feature, Any, list[Any]]] = [
    ("relaunch", relaunch.FEATURE, relaunched(), [plain(owner_id=OWNER)]),
    ("no-op", relaunch.FEATURE, relaunched(image_id=BASE), [plain(owner_id=OWNER)]),
    ("successor", relaunch.FEATURE, relaunched(), [plain(state="stopped"), successor(trial="serving")]),
    ("trial", relaunch.FEATURE, relaunched(old_instance="terminate"), [plain(), successor(trial="unproven")]),
    ("bake", image.FEATURE, bake(require_stopped=False), [plain(owner_id=OWNER)]),
    (
        "bake successor",
        image.FEATURE,
        bake(require_stopped=False),
        [plain(state="stopped"), successor(trial="serving")],
    ),
    ("create image", image.FEATURE, bake(method="image", require_stopped=False), [plain(owner_id=OWNER)]),
    ("remove", image.FEATURE, bake(state="absent", version="2", source_instance_id=None), []),
    ("restore all", power.FEATURE, powered("restored", instance_ids=None), []),
    ("restore", power.FEATURE, powered("restored", instance_ids=[STRANGER]), []),
    ("start", power.FEATURE, powered("running", instance_ids=[OLD]), [plain(state="stopped")]),
]


@pytest.mark.parametrize(("feature", "wanted", "honest"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
@settings(deadline=None)
@given(tags=st.fixed_dictionaries(dict.fromkeys([STRANGER, THEIRS, THEIR_SNAPSHOT, SNAP3], forged)))
def test_forged_tags_on_strangers_change_nothing(
    feature: Feature, wanted: Any, honest: list[Any], tags: dict[str, dict[str, str]]
) -> None:
    untagged = changes(feature, wanted, [*honest, *strangers({name: {} for name in tags})])
    assert changes(feature, wanted, [*honest, *strangers(tags)]) == untagged


LOSING = ("TerminateInstances", "DeleteSnapshot", "DeregisterImage")


@settings(deadline=None)
@given(old_tags=forged, new_tags=forged, gone=st.booleans(), image_id=st.sampled_from([AMI, AMI2]))
def test_altered_tags_on_a_retired_pair_lose_nothing(
    old_tags: dict[str, str], new_tags: dict[str, str], gone: bool, image_id: str
) -> None:
    """The predecessor is stopped, and the successor serves.

    No plan ends the successor unless another instance takes its place.

    A hold with times from EC2's facts makes the predecessor serve again, since no fact distinguishes it from an honest
    hold.
    """
    old = dataclasses.replace(plain(state="stopped"), tags=old_tags)
    assume(standing_hold(old) is None)
    new = dataclasses.replace(launched(successor(trial="serving")), tags=new_tags)
    resources = [*(() if gone else (old,)), new, dataclasses.replace(IMAGE, image_id=AMI2)]
    for given_id in (OLD, NEW):
        wanted = relaunched(instance_id=given_id, image_id=image_id)
        planned = changes(relaunch.FEATURE, wanted, resources, ways_back=False)
        assert isinstance(planned, str) or not any(
            action == "TerminateInstances" and resource == NEW for action, resource, _parameters in planned
        )
        baked = changes(image.FEATURE, bake(source_instance_id=given_id, require_stopped=False), resources)
        assert isinstance(baked, str) or not any(action in LOSING for action, _resource, _parameters in baked)


@settings(deadline=None)
@given(tags=forged)
def test_altered_tags_on_an_image_and_its_capture_lose_nothing(tags: dict[str, str]) -> None:
    capture = Snapshot(
        SNAP2, volume_id=VOLUMES[0].volume_id, start_time=NOW, owner_id=OWNER, description="web 2 from x", tags=tags
    )
    resources = [plain(owner_id=OWNER), dataclasses.replace(BAKED, tags=tags), capture]
    planned = changes(image.FEATURE, bake(version="2", require_stopped=False), resources)
    assert isinstance(planned, str) or not any(action in LOSING for action, _resource, _parameters in planned)
