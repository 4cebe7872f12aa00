# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dependencies of a plan's steps, as stages and resources give them."""

from __future__ import annotations

from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.graph import Graph, graph_of, rollback_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import ANY_FAILURE, Change, Stage, Wait, apart

A, B, V, W = "i-0000000a", "i-0000000b", "vol-0000000a", "vol-0000000b"
NEW, COPY = planned("snapshot", "new"), planned("snapshot", "copy")


def change(action: str, resource: str, after: tuple[str, ...] = (), **parameters: Any) -> Change:
    return Change(action, resource, "us-east-1", parameters, "the test wants it", after_steps=after)


def wait(resource: str, goal: str = "completed") -> Wait:
    return Wait((resource,), goal)


def needs(graph: Graph, action: str, resource: str) -> set[str]:
    """The steps with an effect that a step needs, directly or through steps that only join others."""
    names = {step.number: name for step in graph.steps if (name := text(step))}
    (step,) = (
        one for one in graph.steps if one.change and (one.change.action, one.change.resource) == (action, resource)
    )
    found, stack = set[str](), list(step.needs)
    while stack:
        number = stack.pop()
        if number in names:
            found.add(names[number])
        else:
            stack += graph.steps[number].needs
    return found


def text(step: Any) -> str:
    if step.change is not None:
        return f"{step.change.action} {step.change.resource}"
    return " ".join(f"{one.goal} {one.resources[0]}" for one in step.waits)


CAPTURE = change("CreateSnapshot", NEW, VolumeId=V)


def test_plain_stage_needs_everything_before() -> None:
    graph = graph_of([Stage((change("StopInstances", A),)), Stage((change("CreateTags", V),))])
    assert needs(graph, "CreateTags", V) == {f"StopInstances {A}"}


def test_step_apart_needs_no_step_about_another_resource() -> None:
    stages = [Stage((change("StopInstances", A),)), Stage((change("CreateTags", V),))]
    assert needs(graph_of(apart(stages)), "CreateTags", V) == set()


def test_steps_of_one_resource_follow_each_other() -> None:
    stages = [Stage((change("StopInstances", A),), (wait(A, "stopped"),)), Stage((change("StartInstances", A),))]
    assert needs(graph_of(apart(stages)), "StartInstances", A) == {f"StopInstances {A}"}


def test_attachment_needs_its_volume_and_its_instance() -> None:
    attach = change("AttachVolume", V, InstanceId=A, Device="/dev/sdf")
    stages = [
        Stage((change("CreateTags", V), change("StopInstances", A), change("StopInstances", B))),
        Stage((attach,)),
    ]
    assert needs(graph_of(apart(stages)), "AttachVolume", V) == {f"CreateTags {V}", f"StopInstances {A}"}


def test_copy_needs_the_capture_and_not_the_lock() -> None:
    stages = [
        Stage((CAPTURE,), (wait(NEW),)),
        Stage((change("LockSnapshot", NEW),)),
        Stage((change("CopySnapshot", COPY, SourceSnapshotId=NEW),)),
    ]
    graph = graph_of(apart(stages))
    assert needs(graph, "CopySnapshot", COPY) == {f"CreateSnapshot {NEW}"}
    assert needs(graph, "LockSnapshot", NEW) == {f"CreateSnapshot {NEW}"}


def test_deletion_needs_the_copy_of_its_snapshot() -> None:
    old = "snap-0000000a"
    stages = [
        Stage((change("CopySnapshot", COPY, SourceSnapshotId=old),), (wait(COPY),)),
        Stage((change("DeleteSnapshot", old), change("DeleteSnapshot", "snap-0000000b"))),
    ]
    graph = graph_of(apart(stages))
    assert needs(graph, "DeleteSnapshot", old) == {f"CopySnapshot {COPY}"}
    assert needs(graph, "DeleteSnapshot", "snap-0000000b") == set()


def test_deletion_needs_the_snapshots_that_it_names() -> None:
    stages = [
        Stage((CAPTURE,)),
        Stage((change("CreateTags", NEW),), (wait(NEW),)),
        Stage((change("LockSnapshot", NEW),)),
        Stage((change("DeleteSnapshot", "snap-0000000a", after=(NEW,)),)),
    ]
    found = needs(graph_of(apart(stages)), "DeleteSnapshot", "snap-0000000a")
    assert found == {f"CreateSnapshot {NEW}", f"CreateTags {NEW}", f"completed {NEW}"}


IMAGE, THERE = planned("image", "web/1"), planned("image", "copy of web/1")


def test_copy_needs_the_available_and_shared_image_and_nothing_of_another_region() -> None:
    def copy(name: str) -> Change:
        return change("CopyImage", planned("image", name), SourceImageId=IMAGE, SourceRegion="us-east-1")

    stages = [
        Stage((change("RegisterImage", IMAGE),), (wait(IMAGE, "available"),)),
        Stage((change("ModifyImageAttribute", IMAGE),)),
        Stage((copy("a"), copy("b"))),
        Stage((change("PutParameter", "/web", (planned("image", "a"),)),)),
    ]
    graph = graph_of(apart(stages))
    assert needs(graph, "CopyImage", planned("image", "b")) == {
        f"RegisterImage {IMAGE}",
        f"ModifyImageAttribute {IMAGE}",
    }
    assert needs(graph, "PutParameter", "/web") == {f"CopyImage {planned('image', 'a')}"}


def test_name_and_snapshots_are_free_once_the_image_is_deregistered() -> None:
    old = "ami-0000000a"
    stages = [
        Stage((change("DeregisterImage", old),)),
        Stage((change("DeleteSnapshot", "snap-0000000a", (old,)),)),
        Stage((change("CopyImage", THERE, (old,), SourceImageId="ami-0000000b"),)),
    ]
    graph = graph_of(apart(stages))
    for action, resource in (("DeleteSnapshot", "snap-0000000a"), ("CopyImage", THERE)):
        assert needs(graph, action, resource) == {f"DeregisterImage {old}"}


def test_wait_does_not_need_tags_of_its_stage() -> None:
    stages = [Stage((CAPTURE,)), Stage((change("CreateTags", NEW),), (wait(NEW),))]
    graph = graph_of(apart(stages))
    (alone,) = (step for step in graph.steps if step.waits)
    assert [text(graph.steps[number]) for number in alone.needs] == [f"CreateSnapshot {NEW}"]


# --- transactions ---


def swap(instance: str, volume: str, back: tuple[Stage, ...] = ()) -> list[Stage]:
    """A volume that leaves an instance and comes back, as three stages of a transaction."""
    stages = (
        Stage((change("StopInstances", instance),), (wait(instance, "stopped"),)),
        Stage((change("DetachVolume", volume, InstanceId=instance),), (wait(volume, "detached"),)),
        Stage((change("AttachVolume", volume, InstanceId=instance, Device="/dev/sdf"),)),
    )
    return [Stage(one.changes, one.waits, back, ANY_FAILURE) for one in stages]


def merged(*several: list[Stage]) -> list[Stage]:
    """Stages side by side."""
    return [
        Stage(
            tuple(change for stage in together for change in stage.changes),
            tuple(wait for stage in together for wait in stage.waits),
            together[0].on_failure,
            ANY_FAILURE,
        )
        for together in zip(*several, strict=True)
    ]


def test_each_instance_has_its_own_transaction() -> None:
    graph = graph_of(apart(merged(swap(A, V), swap(B, W)), "interruption"))
    members = [{text(graph.steps[number]) for number in found} - {""} for found in graph.transactions]
    assert members == [
        {f"StopInstances {A}", f"DetachVolume {V}", f"AttachVolume {V}"},
        {f"StopInstances {B}", f"DetachVolume {W}", f"AttachVolume {W}"},
    ]


def test_plain_stages_are_one_transaction() -> None:
    graph = graph_of(merged(swap(A, V), swap(B, W)))
    (members,) = graph.transactions
    assert len({text(graph.steps[number]) for number in members} - {""}) == 6


def test_transaction_begins_once_its_volumes_are_made() -> None:
    made = planned("volume", "data")
    stages = [
        Stage((change("CreateVolume", made),), (wait(made, "volume_available"),), apart=True),
        *apart(swap(A, V), "interruption"),
        *apart([Stage((change("AttachVolume", made, InstanceId=A, Device="/dev/sdg"),))], "interruption"),
    ]
    assert needs(graph_of(stages), "StopInstances", A) == {f"CreateVolume {made}"}


def test_step_after_a_part_of_a_transaction_needs_the_whole() -> None:
    stages = [*apart(swap(A, V), "interruption"), *apart([Stage((change("DeleteTags", V),))])]
    last = graph_of(stages)
    assert f"AttachVolume {V}" in needs(last, "DeleteTags", V)


def test_only_tied_steps_are_in_a_transaction() -> None:
    attach = change("AttachVolume", W, InstanceId=B, Device="/dev/sdf")
    stages = [
        Stage(stage.changes, stage.waits, apart=True, transaction="interruption", tied=frozenset({A}))
        for stage in [*swap(A, V), Stage((attach,))]
    ]
    graph = graph_of(stages)
    (free,) = (step for step in graph.steps if step.change is attach)
    assert free.transaction is None
    assert len(graph.transactions) == 1


def test_rollback_is_about_the_resources_of_the_transaction_alone() -> None:
    back = (Stage((change("StartInstances", A), change("StartInstances", B)), (Wait((A, B), "running"),)),)
    graph = graph_of(apart(merged(swap(A, V, back), swap(B, W, back)), "interruption"))
    members = [graph.steps[number] for number in sorted(graph.transactions[0])]
    (stage,) = rollback_of(members[0], members)
    assert [one.resource for one in stage.changes] == [A]
    assert [one.resources for one in stage.waits] == [(A,)]


def test_common_source_snapshot_ties_volumes_to_no_transaction() -> None:
    one, two, golden = planned("volume", "one"), planned("volume", "two"), "snap-0000000a"
    creations = [change("CreateVolume", name, SnapshotId=golden) for name in (one, two)]
    made = [Stage(tuple(creations), (wait(one, "volume_available"), wait(two, "volume_available")))]
    graph = graph_of(apart(made, "creation"))
    assert [len(members) for members in graph.transactions] == [2, 2]


def test_snapshot_that_a_transaction_makes_ties_its_volume() -> None:
    copy = planned("volume", "copy")
    stages = [
        Stage((change("DetachVolume", V, InstanceId=A),)),
        Stage((CAPTURE,)),
        Stage((change("CreateVolume", copy, SnapshotId=NEW),)),
    ]
    assert len(graph_of(apart(stages, "interruption")).transactions) == 1


# --- attachments -----------------------------------------------------------------------------------------------------


def attach(volume: str, instance: str = A) -> Change:
    return change("AttachVolume", volume, InstanceId=instance, Device="/dev/sdf")


def test_attachments_to_one_instance_do_not_need_each_other() -> None:
    stages = [Stage((attach(V),), (Wait((V,), "attached", about=A),)), Stage((attach(W),))]
    assert needs(graph_of(apart(stages)), "AttachVolume", W) == set()


def test_attachment_needs_earlier_changes_of_its_instance_past_other_attachments() -> None:
    stages = [
        Stage((change("StopInstances", A),)),
        Stage((change("DetachVolume", "vol-0000000c", InstanceId=A),)),
        Stage((attach(V),)),
        Stage((attach(W),)),
    ]
    assert needs(graph_of(apart(stages)), "AttachVolume", W) == {"DetachVolume vol-0000000c"}


def test_start_needs_all_attachments_to_its_instance() -> None:
    stages = [Stage((attach(V),)), Stage((attach(W),)), Stage((change("StartInstances", A),))]
    found = needs(graph_of(apart(stages)), "StartInstances", A)
    assert found == {f"AttachVolume {V}", f"AttachVolume {W}"}


def test_wait_for_an_attachment_keeps_no_other_one() -> None:
    stages = [Stage(waits=(Wait((V,), "attached", about=A),)), Stage((attach(W), change("StopInstances", A)))]
    graph = graph_of(apart(stages))
    assert needs(graph, "AttachVolume", W) == set()
    assert needs(graph, "StopInstances", A) == {f"attached {V}"}


def test_snapshot_needs_the_removal_of_the_image_that_it_names() -> None:
    image, snapshots = "ami-0000000a", ("snap-0000000a", "snap-0000000b")
    stages = [
        Stage((change("DeregisterImage", image),)),
        Stage(tuple(change("DeleteSnapshot", name, after=(image,)) for name in snapshots)),
    ]
    graph = graph_of(apart(stages))
    assert [needs(graph, "DeleteSnapshot", name) for name in snapshots] == [{f"DeregisterImage {image}"}] * 2


def test_resource_that_ties_steps_need_not_change() -> None:
    """The capture of a detached volume and its copy are rolled back together, although the volume stays as it is."""
    copy = planned("volume", "copy")
    stages = [Stage((CAPTURE,)), Stage((change("CreateVolume", copy, SnapshotId=NEW),))]
    tied = [Stage(one.changes, apart=True, transaction="interruption", tied=frozenset({V})) for one in stages]
    (members,) = graph_of(tied).transactions
    assert len(members) == 4
