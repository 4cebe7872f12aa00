# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that a task shows a person who runs without ``--diff``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.headline import _BESIDE, _SAID, headline
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner as image
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner as power
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation import planner as rotation
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner as volumes
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.operations import OPERATIONS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import age_text


def changes(*actions: str) -> list[Change]:
    return [Change(action, f"resource-{number}", "eu-central-1", {}, "a test") for number, action in enumerate(actions)]


@pytest.mark.parametrize(
    ("actions", "planned", "text"),
    [
        ([], False, "no change"),
        (["CreateSnapshot"], False, "1 snapshot taken"),
        (["CreateSnapshot", *["DeleteSnapshot"] * 4], False, "1 snapshot taken, 4 deleted"),
        (["CreateSnapshot", "DeleteSnapshot"], True, "1 snapshot to be taken, 1 to be deleted"),
        (["CreateTags", "StopInstances", "CreateSnapshot"], False, "1 instance stopped, 1 snapshot taken"),
        (["CreateTags", "CreateTags"], False, "2 resources tagged"),
        (["CreateSnapshots", "CreateSnapshots"], False, "2 snapshots taken"),
    ],
)
def test_changes_are_counted_by_effect(actions: list[str], planned: bool, text: str) -> None:
    assert headline(changes(*actions), planned=planned) == text
    assert headline(changes(*actions), "6 kept", planned=planned) == f"{text}; 6 kept"


def test_every_operation_has_its_words() -> None:
    assert set(_SAID) | set(_BESIDE) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_age_is_in_the_largest_unit_with_at_least_two(seconds: int, text: str) -> None:
    assert age_text(seconds) == text


def point(age: int | None) -> dict[str, Any]:
    return {"age": age}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"counts": {"kept": 6}, "rpo": [point(4)]}, "6 kept; newest recovery point 4 s old"),
        ({"counts": {"kept": 6}, "rpo": [point(4), point(7200)]}, "6 kept; oldest recovery point 2 h old"),
        ({"counts": {"kept": 0}, "rpo": [point(None)]}, "0 kept; 1 without a recovery point"),
        ({"rpo": []}, ""),
    ],
)
def test_rotation_summary_counts_kept_snapshots_and_names_the_recovery_point(result: dict[str, Any], text: str) -> None:
    assert rotation.headline(SimpleNamespace(captured=False), result) == text  # type: ignore[arg-type]


def test_capture_names_only_its_snapshots() -> None:
    taken = {"created": ["snap-0123456789abcdef0"], "rpo": [point(0)]}
    nothing = {"created": [], "rpo": [point(4)]}
    capture = SimpleNamespace(captured=True)
    assert rotation.headline(capture, taken) == ""  # type: ignore[arg-type]
    assert rotation.headline(capture, nothing) == "newest recovery point 4 s old"  # type: ignore[arg-type]


def test_other_features_say_how_their_resources_stand() -> None:
    states = {"instances": [{"state": "running"}, {"state": "stopped"}, {"state": "running"}]}
    assert power.headline(None, states) == "2 running, 1 stopped"  # type: ignore[arg-type]
    assert power.headline(None, {"instances": []}) == "no instance"  # type: ignore[arg-type]
    entries = {"volumes": [{"volume_id": "vol-1"}, {"volume_id": None}], "deferred": [{}]}
    assert volumes.headline(None, entries) == "1 volume of the declaration, 1 change deferred"  # type: ignore[arg-type]

    class Spec:
        label = "web/1"

    captured = {"image": None, "snapshots": [{}]}
    assert image.headline(Spec, captured) == "no image web/1, 1 snapshot captured"  # type: ignore[arg-type]
    made = {"image": {"image_id": "ami-1", "state": "available"}, "snapshots": []}
    assert image.headline(Spec, made) == "image web/1 is ami-1, available"  # type: ignore[arg-type]
