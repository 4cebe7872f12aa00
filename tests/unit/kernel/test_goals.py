# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a wait is over, for every state that EC2 has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import StatusChecks
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.service_facts import (
    Interface,
    ProbeAnswer,
    TargetHealth,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    Modification,
    Performance,
    RootTask,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.wait_goals import GOALS, Verdict, wish

PASSED = StatusChecks("ok", "ok")

# goal, state -> done, failed; every state of the kind is there.
INSTANCE_STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
SNAPSHOT_STATES = ("pending", "completed", "error", "recoverable", "recovering")
VOLUME_STATES = ("creating", "available", "in-use", "deleting", "deleted", "error")
LOST = {"deleting", "deleted", "error"}
IMAGE_STATES = ("pending", "available", "invalid", "deregistered", "transient", "failed", "error", "disabled")
TABLE: dict[str, tuple[type[Any], tuple[str, ...], set[str], set[str]]] = {
    "stopped": (Instance, INSTANCE_STATES, {"stopped"}, {"shutting-down", "terminated"}),
    "off": (Instance, INSTANCE_STATES, {"stopped", "terminated"}, set()),
    "running": (Instance, INSTANCE_STATES, {"running"}, {"shutting-down", "terminated"}),
    "terminated": (Instance, INSTANCE_STATES, {"terminated"}, set()),
    "completed": (Snapshot, SNAPSHOT_STATES, {"completed"}, {"error", "recoverable", "recovering"}),
    "available": (Image, IMAGE_STATES, {"available"}, {"invalid", "deregistered", "failed", "error", "disabled"}),
    "captured": (Image, IMAGE_STATES, {"available"}, {"invalid", "deregistered", "failed", "error"}),
    "volume_available": (Volume, VOLUME_STATES, {"available", "in-use"}, LOST),
    "attached": (Volume, VOLUME_STATES, set(), LOST),
    "claimed": (Volume, VOLUME_STATES, set(), LOST),
    "detached": (Volume, VOLUME_STATES, {"available"}, LOST),
    "settled": (Volume, VOLUME_STATES, set(VOLUME_STATES), set()),
    "modified": (Volume, VOLUME_STATES, set(), LOST),
    "modifiable": (Volume, VOLUME_STATES, set(VOLUME_STATES) - LOST, LOST),
    "deleted": (Volume, VOLUME_STATES, {"deleted"}, set()),
}


def judge(goal: str, resource: Resource | None, fact: Any = None, about: str = "") -> Verdict:
    return GOALS[goal].verdict(resource, fact, about)


@pytest.mark.parametrize(
    ("goal", "state"), [(goal, state) for goal, (_cls, states, _done, _failed) in TABLE.items() for state in states]
)
def test_each_state_has_its_verdict(goal: str, state: str) -> None:
    cls, _states, done, failed = TABLE[goal]
    verdict = judge(goal, cls("x", state=state))
    assert (verdict.done, verdict.failed) == (state in done, state in failed)
    # The latest modification of a volume shows whether it can be modified.
    assert state in verdict.seen or "modified" in verdict.seen


def test_all_goals_are_in_the_table() -> None:
    of_groups = {"refreshed", "refresh_over", "group_in_service"}
    of_moves = {"in_service", "drained", "answers", "interface_attached", "interface_free"}
    assert set(GOALS) == {*TABLE, "healthy", "published", "root_replaced", *of_groups, *of_moves}
    assert all(GOALS[goal].kind == cls.kind for goal, (cls, *_rest) in TABLE.items())


@pytest.mark.parametrize("goal", sorted(set(GOALS) - {"terminated", "deleted"}))
def test_invisible_resource_is_neither_done_nor_failed(goal: str) -> None:
    verdict = judge(goal, None)
    assert (verdict.done, verdict.failed) == (False, False)


def test_resource_that_ec2_has_forgotten_has_ended() -> None:
    assert judge("terminated", None).done
    assert judge("deleted", None).done


def test_reason_is_in_the_shown_state() -> None:
    verdict = judge("completed", Snapshot("snap-1", state="error", state_reason="the key is disabled"))
    assert verdict.seen == "error (the key is disabled)"


def test_reverted_start_fails_and_an_old_answer_does_not() -> None:
    gave_up = Instance("i-1", state="stopped", state_reason="Server.InternalError: it broke")
    before = Instance("i-1", state="stopped", state_reason="Client.UserInitiatedShutdown: User initiated shutdown")
    assert judge("running", gave_up).failed
    assert judge("healthy", gave_up, PASSED).failed
    assert not judge("running", before).failed


@pytest.mark.parametrize(
    ("checks", "done"),
    [
        (PASSED, True),
        (StatusChecks("ok", "initializing"), False),
        (StatusChecks("impaired", "ok"), False),
        (None, False),
    ],
)
def test_healthy_needs_both_checks_of_a_running_instance(checks: StatusChecks | None, done: bool) -> None:
    verdict = judge("healthy", Instance("i-1", state="running"), checks)
    assert (verdict.done, verdict.failed) == (done, False)
    assert not judge("healthy", Instance("i-1", state="pending"), PASSED).done


@pytest.mark.parametrize(
    ("state", "attached", "done", "failed"),
    [
        ("pending", -60, False, False),
        ("in-progress", 1, False, False),
        ("failing", 1, False, False),
        ("succeeded", 1, True, False),
        # The task has succeeded, and the answer about the instance is an old one.
        ("succeeded", -60, False, False),
        ("failed", -60, False, True),
        ("failed-detached", None, False, True),
    ],
)
def test_root_is_replaced_once_its_task_has_succeeded_and_the_instance_shows_it(
    state: str, attached: int | None, done: bool, failed: bool
) -> None:
    began = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    devices: tuple[BlockDevice, ...] = ()
    facts: dict[str, Any] = {}
    if attached is not None:
        devices = (BlockDevice("/dev/xvda", "vol-1"),)
        ebs = {"VolumeId": "vol-1", "AttachTime": began + timedelta(seconds=attached)}
        facts = {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": ebs}]}
    instance = Instance("i-1", root_device_name="/dev/xvda", block_devices=devices, facts=facts)
    tasks = (RootTask("replacevol-0", "failed"), RootTask("replacevol-1", state, started=began))
    verdict = judge("root_replaced", instance, tasks, "replacevol-1")
    assert (verdict.done, verdict.failed) == (done, failed)
    assert not judge("root_replaced", instance, tasks[:1], "replacevol-1").failed
    if state == "failed-detached":
        assert "Stop it, attach its former root volume (tag ec2ops:root-of) as /dev/xvda, and start it" in verdict.seen


def test_image_is_captured_once_every_mapped_device_has_its_snapshot() -> None:
    def captured(*devices: ImageDevice) -> bool:
        return judge("captured", Image("ami-1", state="pending", block_devices=devices)).done

    whole, open_one, store = (
        ImageDevice("/dev/a", "snap-1"),
        ImageDevice("/dev/b"),
        ImageDevice("/dev/c", virtual_name="ephemeral0"),
    )
    assert captured(whole, store)
    assert not captured(whole, open_one)
    assert not captured(store)
    assert not captured()


# --- volumes ---

HERE, THERE = "i-00000000000000001", "i-00000000000000002"


def linked(*links: tuple[str, str], multi_attach: bool = False) -> Volume:
    attachments = tuple(VolumeAttachment(instance_id, "/dev/sdf", state) for instance_id, state in links)
    return Volume(
        "vol-1", "in-use" if links else "available", attachments=attachments, multi_attach_enabled=multi_attach
    )


@pytest.mark.parametrize(
    ("links", "done", "failed"),
    [
        ([(HERE, "attached")], True, False),
        ([(HERE, "attaching")], False, False),
        ([(HERE, "busy")], False, False),
        ([(HERE, "detaching")], False, False),
        ([], False, False),
        ([(THERE, "attached")], False, True),
        ([(THERE, "attaching")], False, True),
        ([(THERE, "detaching")], False, False),
        ([(THERE, "detached")], False, False),
        ([(THERE, "detaching"), (HERE, "attached")], True, False),
    ],
)
def test_goal_attached_is_for_one_instance_and_names_another(
    links: list[tuple[str, str]], done: bool, failed: bool
) -> None:
    verdict = judge("attached", linked(*links), about=HERE)
    assert (verdict.done, verdict.failed) == (done, failed)
    assert not failed or THERE in verdict.seen
    shared = judge("attached", linked(*links, multi_attach=True), about=HERE)
    assert (shared.done, shared.failed) == (done, False)


@pytest.mark.parametrize(
    ("links", "from_here", "from_all"),
    [
        ([], True, True),
        ([(HERE, "attached")], False, False),
        ([(HERE, "detaching")], False, False),
        ([(HERE, "busy")], False, False),
        ([(THERE, "attached")], True, False),
        ([(HERE, "detaching"), (THERE, "attached")], False, False),
    ],
)
def test_goal_detached_is_for_one_instance_or_all(
    links: list[tuple[str, str]], from_here: bool, from_all: bool
) -> None:
    here, everywhere = judge("detached", linked(*links), about=HERE), judge("detached", linked(*links))
    assert (here.done, here.failed) == (from_here, False)
    assert (everywhere.done, everywhere.failed) == (from_all, False)
    assert all(state in everywhere.seen and instance_id in everywhere.seen for instance_id, state in links)


@pytest.mark.parametrize(
    ("links", "done", "failed"),
    [
        ([(HERE, "attaching")], True, False),
        ([(HERE, "attached")], True, False),
        ([(HERE, "detaching")], False, False),
        ([(THERE, "attaching")], False, True),
        ([], False, False),
    ],
)
def test_claimed_by_the_instance_from_the_begin_of_an_attachment(
    links: list[tuple[str, str]], done: bool, failed: bool
) -> None:
    verdict = judge("claimed", linked(*links), about=HERE)
    assert (verdict.done, verdict.failed) == (done, failed)


def test_volume_deleted_meanwhile_is_not_attached() -> None:
    assert judge("detached", Volume("vol-1", "deleting"), about=HERE).done


@pytest.mark.parametrize(
    ("states", "done"),
    [
        ((), True),
        (("attached",), True),
        (("attaching",), False),
        (("detaching",), False),
        (("attached", "busy"), False),
    ],
)
def test_volume_is_settled_once_no_attachment_is_on_its_way(states: tuple[str, ...], done: bool) -> None:
    volume = linked(*((f"i-{number}", state) for number, state in enumerate(states)))
    assert judge("settled", volume).done is done


@pytest.mark.parametrize(
    ("state", "modified", "failed", "modifiable"),
    [
        ("modifying", False, False, False),
        ("optimizing", True, False, False),
        ("completed", True, False, True),
        ("failed", False, True, True),
        (None, False, False, True),
    ],
)
def test_modification_follows_its_state_and_options(
    state: str | None, modified: bool, failed: bool, modifiable: bool
) -> None:
    message = "the key is disabled" if failed else None
    fact = None if state is None else Modification(state, Performance(), Performance(), message=message)
    verdict = judge("modified", Volume("vol-1"), fact)
    assert (verdict.done, verdict.failed) == (modified, failed)
    assert ("the key is disabled" in verdict.seen) is failed
    assert judge("modifiable", Volume("vol-1"), fact).done is modifiable


def test_goal_has_a_readable_text() -> None:
    assert wish("attached", HERE) == f"attached to {HERE}"
    assert (wish("detached", HERE), wish("detached")) == (f"detached from {HERE}", "detached")
    assert (wish("volume_available"), wish("stopped")) == ("available", "stopped")


def test_parameter_is_published_once_it_names_the_image() -> None:
    def seen(value: str | None) -> Verdict:
        return judge("published", None, value, about="ami-2")

    assert seen(None) == Verdict(seen="not visible")
    assert (seen("ami-1"), seen("ami-2")) == (Verdict(seen="ami-1"), Verdict(done=True, seen="ami-2"))
    assert wish("published", "ami-2") == "ami-2"


@pytest.mark.parametrize(
    ("goal", "about", "owner", "state", "verdict"),
    [
        ("interface_attached", "i-1", "i-1", "attached", (True, False, False)),
        ("interface_attached", "i-1", "i-1", "attaching", (False, False, False)),
        ("interface_attached", "i-1", "i-2", "detaching", (False, False, False)),
        ("interface_attached", "i-1", "i-2", "attached", (False, True, False)),
        ("interface_attached", "i-1", "", "", (False, False, True)),
        ("interface_free", "", "", "", (True, False, False)),
        ("interface_free", "", "i-1", "detaching", (False, False, False)),
        ("interface_free", "i-1", "i-1", "detaching", (False, False, False)),
        ("interface_free", "i-1", "i-2", "attached", (True, False, False)),
    ],
)
def test_attachment_of_an_interface_decides(
    goal: str, about: str, owner: str, state: str, verdict: tuple[bool, bool, bool]
) -> None:
    shown = Interface("eni-1", instance_id=owner, attachment_state=state, device_index=1 if owner else None)
    found = judge(goal, None, shown, about)
    assert (found.done, found.failed, found.stuck) == verdict


@pytest.mark.parametrize(
    ("goal", "health", "done", "failed"),
    [
        ("in_service", ("healthy", ""), True, False),
        ("in_service", ("InService", "N/A"), True, False),
        ("in_service", ("initial", "Elb.RegistrationInProgress"), False, False),
        ("in_service", ("unhealthy", "Target.Timeout"), False, False),
        ("in_service", ("unused", "Target.NotInUse"), True, False),
        ("in_service", ("unused", "Target.InvalidState"), False, False),
        ("in_service", ("unused", "Target.IpUnusable"), False, True),
        ("drained", ("draining", "Target.DeregistrationInProgress"), False, False),
        ("drained", ("unused", "Target.NotRegistered"), True, False),
    ],
)
def test_health_of_a_target_decides(goal: str, health: tuple[str, str], done: bool, failed: bool) -> None:
    verdict = judge(goal, None, TargetHealth(*health))
    assert (verdict.done, verdict.failed) == (done, failed)


def test_probe_is_named_without_its_request() -> None:
    answer = ProbeAnswer(False, "answered with status 503")
    assert judge("answers", None, answer, about="http 200 http://user:secret@host/") == Verdict(seen=answer.seen)
    assert "secret" not in wish("answers", "http 200 http://user:secret@host/")
