# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wait for a state that can no longer be reached ends early, and its message has a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import GONE, STUCK, UNSEEN
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import WaitError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)

from in_process import REGION, machine, run, volumes
from sandbox.client import Sandbox
from watching import Clock, wait_for
from worlds import sandbox_gateway

HERE, THERE = "i-00000001", "i-00000002"
VOLUME = "vol-00000001"


def polled(wait: Wait, clock: Clock, answers: tuple[Resource | None, ...]) -> None:
    """Waits, for half an hour at most; polls see one answer after the other, and the last one for ever."""
    left = list(answers)

    def ask(queries: Any, _until: float) -> dict[Any, Any]:
        asked = list(queries)
        seen = left.pop(0) if len(left) > 1 else left[0]
        return dict.fromkeys(asked, () if seen is None else (seen,))

    wait_for(ask, [wait], 1800, clock.monotonic, clock.sleep)


def waited(wait: Wait, *answers: Resource | None) -> float:
    """Seconds until the goal is reached."""
    clock = Clock()
    polled(wait, clock, answers)
    return clock.time


def failed(wait: Wait, *answers: Resource | None, within: float) -> str:
    """The message of a wait that has failed *within* so many seconds, give or take some polls."""
    clock = Clock()
    with pytest.raises(WaitError) as caught:
        polled(wait, clock, answers)
    assert caught.value.how == "failed"
    assert within <= clock.time < within + 20
    return str(caught.value)


def attached(*links: tuple[str, str], multi_attach: bool = False) -> Volume:
    found = tuple(VolumeAttachment(instance_id, "/dev/sdf", state) for instance_id, state in links)
    return Volume(VOLUME, "in-use" if found else "available", attachments=found, multi_attach_enabled=multi_attach)


# --- busy -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "about", "state"), [("detached", HERE, "busy"), ("detached", "", "busy"), ("settled", "", "busy")]
)
def test_busy_attachment_fails_early_and_advises_to_unmount(goal: str, about: str, state: str) -> None:
    message = failed(Wait((VOLUME,), goal, about=about), attached((HERE, state)), within=STUCK)
    assert f"busy on {HERE} as /dev/sdf" in message
    assert "Unmount" in message
    assert "stop the instance" in message


def test_disk_that_is_unmounted_in_time_is_detached() -> None:
    wait = Wait((VOLUME,), "detached", about=HERE)
    assert waited(wait, *[attached((HERE, "busy"))] * 5, attached((HERE, "detaching")), attached()) < 60


@pytest.mark.parametrize("multi_attach", [False, True])
def test_attachment_ended_by_others_fails_early(multi_attach: bool) -> None:
    others = [(THERE, "attached")] if multi_attach else []
    message = failed(
        Wait((VOLUME,), "attached", about=HERE),
        attached((HERE, "attaching"), *others, multi_attach=multi_attach),
        attached(*others, multi_attach=multi_attach),
        within=STUCK,
    )
    assert f"{VOLUME} should become attached to {HERE} but is" in message


def test_answer_from_before_the_call_is_no_failure() -> None:
    wait = Wait((VOLUME,), "attached", about=HERE)
    assert waited(wait, attached(), attached(), attached((HERE, "attaching")), attached((HERE, "attached"))) < STUCK


def test_busy_elsewhere_keeps_a_volume_from_its_new_instance() -> None:
    message = failed(Wait((VOLUME,), "attached", about=HERE), attached((THERE, "busy")), within=STUCK)
    assert f"busy on {THERE}" in message


# --- gone -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen_first", [True, False])
def test_volume_that_vanishes_after_creation_names_the_key(seen_first: bool) -> None:
    answers = [Volume(VOLUME, "creating"), None] if seen_first else [None]
    message = failed(Wait((VOLUME,), "volume_available"), *answers, within=GONE if seen_first else UNSEEN)
    assert f"{VOLUME} should become available but {'is gone' if seen_first else 'EC2 does not show it'}" in message
    assert "KMS key" in message


@pytest.mark.parametrize(
    ("goal", "about"),
    [
        ("volume_available", ""),
        ("attached", HERE),
        ("detached", HERE),
        ("settled", ""),
        ("modified", ""),
        ("modifiable", ""),
        ("completed", ""),
        ("captured", ""),
        ("available", ""),
        ("running", ""),
        ("stopped", ""),
        ("healthy", ""),
    ],
)
def test_wait_for_a_resource_that_ec2_never_shows_ends_early(goal: str, about: str) -> None:
    assert "EC2 does not show it" in failed(Wait(("x-00000001",), goal, about=about), None, within=UNSEEN)


@pytest.mark.parametrize(
    ("goal", "shown", "done"),
    [
        ("completed", Snapshot("snap-00000001", "pending"), Snapshot("snap-00000001", "completed")),
        ("running", Instance("i-00000001", "pending"), Instance("i-00000001", "running")),
    ],
)
def test_resource_that_shows_late_is_waited_for(goal: str, shown: Resource, done: Resource) -> None:
    assert waited(Wait((shown.resource_id,), goal), *[None] * 10, shown, done) < UNSEEN


# --- on the sandbox ---------------------------------------------------------------------------------------------------


class KeyGoes:
    """A gateway that disables a key between the plan, in which KMS has confirmed the key, and the first change."""

    def __init__(self, sandbox: Sandbox, disable: Callable[[], Any]) -> None:
        self._gateway = sandbox_gateway(sandbox, REGION)
        self._disable = disable

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Any, generation: int = 0) -> Any:
        self._disable()
        return self._gateway.perform(changes, generation)


def test_volume_with_unusable_key_fails_soon_and_the_next_run_makes_it(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    kms = sandbox.client("kms")
    key = kms.create_key()["KeyMetadata"]
    entry = {"name": "data", "size": 8, "encrypted": True, "kms_key_id": key["Arn"]}
    wanted: dict[str, Any] = {"instance_ids": [web.instance_id], "volumes": [entry]}
    gateway = KeyGoes(sandbox, lambda: kms.disable_key(KeyId=key["KeyId"]))
    first = run(sandbox, **wanted, gateway=gateway, wait_timeout=1800)
    vanished = r"should become available but (is gone|EC2 does not show it) \(EBS could not create it"
    assert re.search(vanished, first.failed)
    assert "KMS key" in first.failed
    assert volumes(sandbox).keys() == {web.root_volume_id}
    kms.enable_key(KeyId=key["KeyId"])
    assert run(sandbox, **wanted).failed == ""
    made = [row for row in volumes(sandbox).values() if "ec2ops:volume" in row["tags"]]
    assert [(row["State"], row["KmsKeyId"]) for row in made] == [("in-use", key["Arn"])]
    assert run(sandbox, **wanted).result["plan"] == []


def test_mounted_disk_is_named_and_the_next_run_carries_on(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=1)
    wanted: dict[str, Any] = {
        "instance_ids": [web.instance_id],
        "volumes": [{"name": "data", "volume_id": web.attached()["/dev/sdf"], "state": "detached"}],
        "in_use": "detach",
    }
    with sandbox.fault("DetachVolume", kind="end"):
        first = run(sandbox, **wanted, wait_timeout=1800)
    assert "busy on" in first.failed
    assert "Unmount it there" in first.failed
    # A busy attachment is planned like a detaching one: it needs no call.
    again = run(sandbox, **wanted, wait_timeout=1800)
    assert "busy on" in again.failed
    assert "DetachVolume" not in again.actions
    sandbox.move_clock(3600)  # the disk is unmounted
    last = run(sandbox, **wanted)
    assert last.failed == ""
    assert "/dev/sdf" not in web.attached()


def test_stop_frees_a_mounted_disk(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=1)
    wanted: dict[str, Any] = {
        "instance_ids": [web.instance_id],
        "volumes": [{"name": "data", "volume_id": web.attached()["/dev/sdf"], "state": "detached"}],
    }
    with sandbox.fault("DetachVolume", kind="end"):
        run(sandbox, **wanted, in_use="detach", wait_timeout=1800)
    stopped = run(sandbox, **wanted, in_use="stop")
    assert stopped.failed == ""
    assert "StopInstances" in stopped.actions
    assert "DetachVolume" not in stopped.actions
    assert web.state == "running"
    assert "/dev/sdf" not in web.attached()
    assert run(sandbox, **wanted, in_use="stop").result["plan"] == []


@pytest.mark.parametrize(("urgent", "longest"), [(False, 5.0), (True, 0.6)])
def test_polls_of_an_urgent_wait_stay_close_together(urgent: bool, longest: float) -> None:
    clock = Clock()

    def ask(queries: Any, _until: float) -> dict[Any, Any]:
        state = "running" if clock.time >= 60.0 else "pending"
        return dict.fromkeys([*queries], (Instance(HERE, state),))

    wait_for(ask, [Wait((HERE,), "running", urgent=urgent)], 300.0, clock.monotonic, clock.sleep)
    assert max(clock.slept) == pytest.approx(longest)
    assert 60.0 <= clock.time <= 60.1 + longest


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0, 8.0])
def test_urgent_wait_ends_late_by_a_fifth_of_a_second_or_a_twentieth_of_its_time(seconds: float) -> None:
    clock = Clock()

    def ask(queries: Any, _until: float) -> dict[Any, Any]:
        return dict.fromkeys([*queries], (Instance(HERE, "running" if clock.time >= seconds else "pending"),))

    wait_for(ask, [Wait((HERE,), "running", urgent=True)], 300.0, clock.monotonic, clock.sleep)
    assert seconds <= clock.time <= seconds + max(0.2, seconds / 20) + 0.01
