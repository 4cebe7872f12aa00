# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any tags on images and captures: a run neither touches nor uses the resources of another version."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner as image
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image.spec import capture_description
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Image, ImageDevice, Snapshot
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from image_world import NOW, OWNER, VOLUMES, world
from image_world import spec as bake
from relaunch_world import IMAGE, OLD, plain

SHARED = "The web server"
OTHERS = [f"snap-{number:016x}a" for number in range(1, 8)]
OWN, OWN_IMAGE, OTHER_IMAGE, GONE = "snap-0000000000000000b", "ami-0000000000000000b", "ami-0000000000000000c", "ami-0f"
VALUES: Mapping[str, st.SearchStrategy[str]] = {
    tag_names.IMAGE: st.sampled_from(["web", "web 1", ""]),
    tag_names.VERSION: st.sampled_from(["1", "2", "1 2", "x"]),
    tag_names.FINGERPRINT: st.sampled_from([bake().fingerprint(OLD), bake(description=SHARED).fingerprint(OLD), "?"]),
    tag_names.MACHINE: st.just("arch=arm64 virt=hvm root=/dev/xvda devices=/dev/xvda+"),
}
FORGED = st.fixed_dictionaries({}, optional=dict(VALUES))


def others(tags: list[dict[str, str]]) -> list[Any]:
    """Captures of other versions of the same volume, one of them in an image, with these tags."""
    texts = [
        f"web 1 from {OLD}",
        SHARED,
        capture_description(bake(version="1", description=SHARED), OLD),
        f"Created by CreateImage({OLD}) for {GONE}",
        f"Created by CreateImage({OLD}) for {OTHER_IMAGE}",
        f"web 1 2 from {OLD}",
        "",
    ]
    volume = VOLUMES[0].volume_id
    found: list[Any] = [
        Snapshot(name, volume_id=volume, start_time=NOW, owner_id=OWNER, description=text, tags=dict(some))
        for name, text, some in zip(OTHERS, texts, tags, strict=False)
    ]
    device = (ImageDevice("/dev/xvda", OTHERS[4]),)
    facts = {"Description": f"web 1 from {OLD}"}
    return [*found, Image(OTHER_IMAGE, "web-1", owner_id=OWNER, block_devices=device, tags=dict(tags[7]), facts=facts)]


def own(tags: Mapping[str, str], *, registered: bool) -> list[Any]:
    """The capture of version 2, and its image."""
    wanted = bake(version="2")
    identity = {**wanted.identity, tag_names.FINGERPRINT: wanted.fingerprint(OLD), **tags}
    capture = Snapshot(
        OWN,
        volume_id=VOLUMES[0].volume_id,
        start_time=NOW,
        owner_id=OWNER,
        description=f"web 2 from {OLD}",
        tags=identity,
    )
    made = Image(
        OWN_IMAGE,
        "web-2",
        owner_id=OWNER,
        root_device_name="/dev/xvda",
        block_devices=(ImageDevice("/dev/xvda", OWN),),
        tags=identity,
        facts={"Description": f"web 2 from {OLD}"},
    )
    return [capture, *([made] if registered else [])]


def changes(wanted: Any, *resources: Any) -> list[Change]:
    """The plan's changes; none where it refuses."""
    try:
        made = image.FEATURE.plan(wanted, world(*resources, IMAGE), NOW)
    except StorageError:
        return []
    stages = [*made.stages, *(back for stage in made.stages for back in stage.on_failure)]
    return [change for stage in stages for change in stage.changes]


TASKS = {
    "bake": bake(version="2", require_stopped=False),
    "bake with a description": bake(version="2", require_stopped=False, description=SHARED),
    "create image": bake(version="2", require_stopped=False, method="image"),
    "create image with a description": bake(version="2", require_stopped=False, method="image", description=SHARED),
    "capture": bake(version="2", require_stopped=False, state="captured"),
    "remove": bake(version="2", state="absent", source_instance_id=None),
    "remove with a source": bake(version="2", state="absent"),
    "another name": bake(name="web 1", version="2", require_stopped=False, image_name="web-1-2"),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("registered", [None, False, True])
@examples(12)
@given(tags=st.lists(FORGED, min_size=8, max_size=8), altered=FORGED)
def test_snapshot_of_another_version_is_neither_deleted_nor_registered(
    task: str, registered: bool | None, tags: list[dict[str, str]], altered: dict[str, str]
) -> None:
    there = [] if registered is None else own(altered, registered=registered)
    found = changes(TASKS[task], dataclasses.replace(plain(owner_id=OWNER)), *there, *others(tags))
    foreign = {*OTHERS, OTHER_IMAGE}
    for change in found:
        if change.action in ("DeleteSnapshot", "DeregisterImage"):
            assert change.resource not in foreign
        if change.action == "RegisterImage":
            assert not foreign & set(re.findall(r"snap-[0-9a-f]+|ami-[0-9a-f]+", repr(change.parameters)))
