# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The obstacles to each strategy, and the choice of ``strategy: auto``.

``auto`` takes the first strategy without an obstacle. It continues the strategy of an interrupted run.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from ..._domain.hold import hold_of, wants_start
from ..._domain.instance_facts import relaunch_troubles, root_volume_troubles
from ..._domain.load_balancers import balancer_queries
from ..._domain.moves import Moves, recorded_moves
from ..._domain.succession import on_trial_for
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan
from ..._kernel.facts import (
    SHUTDOWN_BEHAVIOR,
    USER_DATA,
    attribute_query,
    credit_queries,
    protection_queries,
    type_facts,
    type_queries,
)
from ..._kernel.ids import is_planned
from ..._kernel.plan import Plan
from ..._kernel.proofs import is_taken_of
from ..._kernel.resources import Image, Instance
from ..._kernel.state import Query, State, by_id, images_by_id
from ..._kernel.storage_facts import TAKES_ROOT_VOLUME, root_tasks
from .left_behind import data_volumes, origin_queries, unsaid_troubles
from .moved_parts import move_queries, move_troubles, wanted_moves
from .obstacles import architecture_troubles, hardware_troubles, usable_image, write_troubles
from .options import ATTACHMENTS, AUTO, BURSTABLE, REPLACE_INSTANCE, REPLACE_ROOT_VOLUME, RelaunchSpec
from .retirement import retirement_troubles
from .root_facts import is_current, last_replacement, root_queries, root_snapshot

Obstacles: TypeAlias = Callable[[RelaunchSpec, State, Instance, Image], Iterable[str]]
"""Returns a sentence for each obstacle of one kind."""

MOVED_BY_AUTO: frozenset[str] = frozenset(ATTACHMENTS)
"""The options that a task with ``auto`` need not set, since `replace_instance` moves such attachments."""


# --- replace_instance ------------------------------------------------------------------------------------------------


def _uncarried(_spec: RelaunchSpec, state: State, old: Instance, _image: Image) -> Iterator[str]:
    return (f"{old.instance_id}: {trouble}" for trouble in relaunch_troubles(old, state.region))


def _lost_writes(spec: RelaunchSpec, _state: State, old: Instance, image: Image) -> Iterable[str]:
    return write_troubles(spec, old, image)


def _unretirable(spec: RelaunchSpec, state: State, old: Instance, _image: Image) -> Iterable[str]:
    return retirement_troubles(spec, state, old, wanted_moves(spec, state, old).part_ids)


OBSTACLES_TO_A_SUCCESSOR: tuple[Obstacles, ...] = (
    _uncarried,
    architecture_troubles,
    hardware_troubles,
    unsaid_troubles,
    _lost_writes,
    _unretirable,
    move_troubles,
)


def successor_queries(spec: RelaunchSpec, state: State, current: Instance) -> tuple[Query, ...]:
    """Return the queries for the facts that a successor takes over, and for the obstacles to it."""
    overrides = spec.overrides
    types = {current.instance_type, overrides.instance_type or current.instance_type}
    queries = [
        *images_by_id([spec.image_id]),
        *by_id("DescribeVolumes", "attachment.instance-id", [current.instance_id]),
        *type_queries(*types),
        *protection_queries(current.instance_id),
        *attribute_query(SHUTDOWN_BEHAVIOR, current.instance_id),
    ]
    if overrides.user_data == "keep":
        queries += attribute_query(USER_DATA, current.instance_id)
    if BURSTABLE.match(current.instance_type) and BURSTABLE.match(overrides.instance_type or current.instance_type):
        queries += credit_queries(current.instance_id)
    queries += move_queries(spec, state, current)
    return (*queries, *origin_queries(spec, state, current), *balancer_queries(state, current))


# --- replace_root_volume ---------------------------------------------------------------------------------------------


def _unsuitable_options(spec: RelaunchSpec, _state: State, _old: Instance, _image: Image) -> Iterable[str]:
    return spec.unfit_for_root


def _unsuitable_state(_spec: RelaunchSpec, _state: State, old: Instance, _image: Image) -> Iterator[str]:
    hold = hold_of(old)
    if old.state in ("stopped", "stopping") and not wants_start(old):
        yield (
            f"{old.instance_id} is {old.state}, and EC2 replaces the root volume of a running instance only. Start it "
            "first"
        )
    if old.state in ("running", "pending") and hold is not None and not hold.is_spent(old):
        yield (
            f"{old.instance_id} has a hold (tag ec2ops:restore-state), so another run is about to stop it. Wait for "
            "the end of that run, or remove the tag"
        )


def _later_writes(spec: RelaunchSpec, _state: State, old: Instance, _image: Image) -> Iterator[str]:
    if not spec.lose_writes:
        yield (
            f"lose_writes: EC2 replaces the root volume while {old.instance_id} runs, so the writes to the root "
            "volume since the capture are lost in any case. Set lose_writes: true to accept that"
        )


def _managed(_spec: RelaunchSpec, _state: State, old: Instance, _image: Image) -> Iterator[str]:
    return (f"{old.instance_id}: {trouble}" for trouble in root_volume_troubles(old))


def _unlike(_spec: RelaunchSpec, state: State, old: Instance, image: Image) -> Iterator[str]:
    """Yield the characteristics in which the image differs (EC2 API reference, CreateReplaceRootVolumeTask)."""
    pairs = {
        "product codes": (sorted(image.product_codes), sorted(old.product_codes)),
        "platform": (image.platform_details, old.platform_details),
        "usage operation": (image.usage_operation, old.usage_operation),
        "virtualization": (image.virtualization_type, old.facts.get("VirtualizationType")),
    }
    for name, (wanted, have) in pairs.items():
        if wanted is not None and have is not None and wanted != have:
            shown = [", ".join(item) or "none" if isinstance(item, list) else item for item in (wanted, have)]
            yield f"{image.image_id} has the {name} {shown[0]}, and {old.instance_id} has {shown[1]}"
    metal = type_facts(state, old.instance_type).get("BareMetal")
    if metal and not old.instance_type.startswith("mac"):
        yield f"EC2 does not replace the root volume of the bare metal type {old.instance_type}"


def _without_way_back(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> Iterator[str]:
    """Yield the refusal if a rollback needs a snapshot of the former root volume, and EC2 would not take it."""
    if not needs_snapshot(spec, state):
        return
    part = state.snapshot(root_snapshot(image))
    if part is None or not is_taken_of(part, old.root_volume_id or ""):
        yield (
            f"with this botocore, a rollback needs a snapshot of {old.root_volume_id}, and EC2 only takes one of the "
            f"same lineage. {image.image_id} was not captured from {old.root_volume_id}. Install botocore 1.43.106 or "
            "newer, bake another version, or use on_failure: keep"
        )


OBSTACLES_TO_A_ROOT_VOLUME: tuple[Obstacles, ...] = (
    _unsuitable_options,
    _managed,
    _unsuitable_state,
    architecture_troubles,
    hardware_troubles,
    _unlike,
    _later_writes,
    _without_way_back,
)


def needs_snapshot(spec: RelaunchSpec, state: State) -> bool:
    """Return whether the plan takes a snapshot of the former root volume before the task, since the installed botocore
    cannot name the volume in a rollback.
    """
    return spec.on_failure == "rollback" and TAKES_ROOT_VOLUME.of(state) is not True


def root_volume_queries(spec: RelaunchSpec, state: State, current: Instance) -> tuple[Query, ...]:
    """Return the queries for a new root volume, and for the obstacles to it."""
    wanted = root_snapshot(state.image(spec.image_id)) if needs_snapshot(spec, state) else None
    return (
        *root_queries(spec, current),
        *type_queries(current.instance_type),
        *(by_id("DescribeSnapshots", "snapshot-id", [wanted]) if wanted else ()),
    )


# --- the choice ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """A strategy, and why the run takes it."""

    strategy: str
    reason: str


def with_choice(plan: Plan, choice: Choice | None) -> Plan:
    """Return the plan with the strategy that ``auto`` has chosen, and the reason, in the result."""
    if choice is None:
        return plan
    told = {"strategy": choice.strategy, "strategy_reason": choice.reason}
    report = dataclasses.replace(plan.report, result={**plan.report.result, **told})
    return dataclasses.replace(plan, report=report)


def chosen(spec: RelaunchSpec, state: State, current: Instance) -> tuple[RelaunchSpec, Choice | None]:
    """Return the spec with the strategy of the run, and the choice of ``auto``.

    Raises UnsafePlan with all obstacles if ``auto`` finds no strategy.
    """
    if spec.strategy != AUTO:
        return spec, None
    if is_planned(current.instance_id):
        choice = Choice(REPLACE_INSTANCE, f"{current.instance_id} is only planned")
        return dataclasses.replace(spec, strategy=choice.strategy), choice
    if spec.stage in ("finish", "rollback"):
        continued: Choice | None = Choice(REPLACE_INSTANCE, "the run continues an earlier launch")
    else:
        continued = _continued(spec, state, current)
    choice = continued or _free_of_obstacles(spec, state, current)
    planned = spec
    if choice.strategy == REPLACE_INSTANCE:
        planned = _moving(spec, _launched_moves(state, current) if continued else None)
    return dataclasses.replace(planned, strategy=choice.strategy), choice


def _launched_moves(state: State, current: Instance) -> Moves:
    """Return the record of the moves with which an earlier run has launched the successor."""
    unproven = on_trial_for(state, current.instance_id)
    return recorded_moves(unproven[0] if unproven else current)


_STOPPING = frozenset({"data_volumes", "network_interfaces"})
"""The options whose move stops the predecessor."""


def _moving(spec: RelaunchSpec, record: Moves | None = None) -> RelaunchSpec:
    """Return the spec with ``move`` for each attachment that the task does not decide about.

    A predecessor that is kept also keeps its volumes and interfaces. *record*: the moves of the successor that an
    earlier run has launched. No other part can move to it, since the launch left out the image's copies of these parts
    only.
    """
    named = spec.unsaid & MOVED_BY_AUTO - (_STOPPING if spec.old_instance == "keep" else frozenset())
    if record is not None:
        pairs = (
            ("data_volumes", record.volumes),
            ("network_interfaces", record.interfaces),
            ("elastic_ip", record.allocation_id),
            ("target_groups", record.targets),
        )
        named &= {option for option, part in pairs if part}
    return dataclasses.replace(spec, unsaid=spec.unsaid - named, moved=spec.moved | named)


def _continued(spec: RelaunchSpec, state: State, current: Instance) -> Choice | None:
    """Return the strategy of an earlier run with this image, or None.

    A run writes the tag `tags.LAUNCH_IMAGE` before it begins a task. So an instance without it needs no query.
    """
    if tag_names.LAUNCH_IMAGE not in current.tags:
        if on_trial_for(state, current.instance_id):
            return Choice(REPLACE_INSTANCE, "the run continues an earlier one")
        is_there = current.image_id == spec.image_id
        return (
            Choice(REPLACE_INSTANCE, f"{current.instance_id} already runs from {spec.image_id}") if is_there else None
        )
    state.require(*root_queries(spec, current))
    tasks = root_tasks(state, current.instance_id)
    last = last_replacement(state, current)
    if tasks and (tasks[-1].is_under_way or tasks[-1].state == "failed-detached"):
        return Choice(REPLACE_ROOT_VOLUME, f"{tasks[-1].task_id} is {tasks[-1].state}")
    if on_trial_for(state, current.instance_id):
        return Choice(REPLACE_INSTANCE, "the run continues an earlier one")
    if not is_current(spec, state, current):
        return None
    if last is not None or current.image_id != spec.image_id:
        return Choice(REPLACE_ROOT_VOLUME, f"{current.instance_id} has the root volume of {spec.image_id}")
    return Choice(REPLACE_INSTANCE, f"{current.instance_id} already runs from {spec.image_id}")


def _free_of_obstacles(spec: RelaunchSpec, state: State, current: Instance) -> Choice:
    """Return the first strategy without an obstacle. Raises UnsafePlan with the obstacles to both."""
    moving = _moving(spec)
    state.require(*successor_queries(moving, state, current))
    image = usable_image(spec, state)
    if (
        "data_volumes" in moving.moved
        and data_volumes(current)
        and image.state == "pending"
        and not image.block_devices
    ):
        # Without the image's devices, the run after a check run might take another strategy.
        raise UnsafePlan(
            f"image_id: EC2 does not show the devices of {image.image_id} yet, so the task cannot decide whether the "
            f"data volumes of {current.instance_id} can move. Run the task again when the image is available"
        )
    to_successor = [text for kind in OBSTACLES_TO_A_SUCCESSOR for text in kind(moving, state, current, image)]
    if not to_successor:
        return Choice(REPLACE_INSTANCE, f"a successor can take over everything of {current.instance_id}")
    state.require(*root_volume_queries(spec, state, current))
    to_root = [text for kind in OBSTACLES_TO_A_ROOT_VOLUME for text in kind(spec, state, current, image)]
    if not to_root:
        return Choice(REPLACE_ROOT_VOLUME, f"a successor cannot take over everything: {'; '.join(to_successor)}")
    raise UnsafePlan(
        "strategy: no strategy fits, and the task has changed nothing. Obstacles to replace_instance: "
        f"{'; '.join(to_successor)}. Obstacles to replace_root_volume: {'; '.join(to_root)}"
    )
