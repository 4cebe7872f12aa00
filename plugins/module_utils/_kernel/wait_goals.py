# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The goals of waits, with one pure predicate for each goal.

A terminal state (a snapshot in `error`, an image in `invalid`) fails at once here. botocore's waiters poll them to
their end.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from . import tags as tag_names
from .facts import STATUS_CHECKS, FactKind, StatusChecks
from .instance_proofs import attached_since
from .resources import Image, Instance, Resource, Snapshot, Volume, VolumeAttachment
from .scaling_facts import INSTANCE_REFRESHES, SCALING_GROUP, InstanceRefresh, ScalingGroup, newest_refresh
from .service_facts import INTERFACE, PROBE, TARGET_HEALTH, Interface, ProbeAnswer, TargetHealth
from .storage_facts import MODIFICATION, PARAMETER, ROOT_TASKS, Modification, RootTask


@dataclass(frozen=True)
class Verdict:
    """The judgement on a resource: ``done``, ``failed``, or neither, which means to ask again. ``seen`` is the state,
    for messages.

    ``stuck``: the goal cannot be reached from this state. The wait has failed, unless the answer is from before the
    call.
    """

    done: bool = False
    failed: bool = False
    seen: str = ""
    stuck: bool = False


Judge: TypeAlias = Callable[["Resource | None", Any, str], "Verdict"]
"""Returns the verdict on a resource (None: not visible), the goal's fact, and the goal's other resource."""


def _state(resource: Resource | None, good: tuple[str, ...], bad: tuple[str, ...]) -> Verdict:
    if resource is None:
        # EC2 is eventually consistent, so a new resource may be invisible. The wait's own time limit ends this.
        return Verdict(seen="not visible")
    state = getattr(resource, "state", "")
    reason = getattr(resource, "state_reason", None)
    seen = f"{state} ({reason})" if reason else state
    return Verdict(done=state in good, failed=state in bad, seen=seen)


def _reaches(good: str, *bad: str) -> Judge:
    """Return a judge: done in the state *good*, failed in one of *bad*."""
    return lambda resource, _fact, _about: _state(resource, (good,), bad)


def _running(resource: Resource | None, _fact: Any, launched: str) -> Verdict:
    """Return done when the instance runs, and failed when EC2 could not start it.

    *launched*: the LaunchTime (ISO 8601) before the start, to recognise an answer from before it. May be empty.
    """
    verdict = _state(resource, ("running",), ("shutting-down", "terminated"))
    if verdict.done or not isinstance(resource, Instance) or not resource.start_failed:
        return verdict
    before = resource.launch_time is not None and resource.launch_time.isoformat() == launched
    if before and not verdict.failed:
        return verdict
    remedy = "Run the task again later"
    if (resource.state_reason or "").startswith("Client.InternalError"):
        # EC2 gives no other reason, since it checks keys only after its answer.
        remedy = "Enable the KMS keys of its volumes, and allow kms:CreateGrant on them"
    return Verdict(failed=True, seen=f"{verdict.seen}: EC2 could not start it. {remedy}")


def _healthy(resource: Resource | None, checks: StatusChecks | None, about: str) -> Verdict:
    """Done when the instance runs and both status checks are ``ok``."""
    verdict = _running(resource, None, about)
    if not verdict.done:
        return verdict
    seen = "not reported" if checks is None else f"{checks.system}/{checks.instance}"
    # `impaired` may still pass, as AWS documents for slow boots. Only the time limit decides.
    return Verdict(done=checks is not None and checks.are_passed, seen=f"running, status checks {seen}")


def _off(resource: Resource | None, _fact: Any, _about: str) -> Verdict:
    """Done when the instance has stopped or ended, so that its volumes can go elsewhere."""
    return _state(resource, ("stopped", "terminated"), ())


def _root_replaced(resource: Resource | None, tasks: tuple[RootTask, ...] | None, task_id: str) -> Verdict:
    """Done when the task has replaced the root volume, and the instance shows it."""
    task = next((one for one in tasks or () if one.task_id == task_id), None)
    if task is None or not isinstance(resource, Instance):
        return Verdict(seen="not shown yet")
    seen = f"{task.state} ({task_id})"
    if task.state == "failed-detached":
        remedy = (
            f"{resource.instance_id} has no root volume attached. Stop it, attach its former root volume (tag "
            f"{tag_names.ROOT_OF}) as {resource.root_device_name}, and start it"
        )
        return Verdict(failed=True, seen=f"{seen}: {remedy}")
    if task.state == "failed":
        return Verdict(
            failed=True, seen=f"{seen}: the instance still has its former root volume {resource.root_volume_id}"
        )
    # An answer from before the exchange shows the former root volume, which was attached earlier.
    since = attached_since(resource, resource.root_volume_id or "")
    is_shown = since is None or task.started is None or since >= task.started.replace(microsecond=0)
    return Verdict(done=task.state == "succeeded" and is_shown, seen=seen)


def _terminated(resource: Resource | None, _fact: Any, _about: str) -> Verdict:
    # EC2 forgets a terminated instance after about an hour.
    return Verdict(done=True, seen="gone") if resource is None else _state(resource, ("terminated",), ())


def _captured(resource: Resource | None, _fact: Any, _about: str) -> Verdict:
    """Done when CreateImage has fixed its point in time: the image names the snapshot of every device."""
    verdict = _state(resource, ("available",), ("invalid", "failed", "error", "deregistered"))
    if verdict.done or verdict.failed or not isinstance(resource, Image):
        return verdict
    devices = [device for device in resource.block_devices if not device.virtual_name]
    return Verdict(done=bool(devices) and all(device.snapshot_id for device in devices), seen=verdict.seen)


# --- volumes ---

_LOST = ("error", "deleting", "deleted")


def _links(volume: Volume) -> tuple[VolumeAttachment, ...]:
    return tuple(link for link in volume.attachments if link.state != "detached")


_MOUNTED = " (its file system is mounted. Unmount it there, or stop the instance, then run the task again)"
_NO_KEY = "EBS could not create it. Often the KMS key is disabled, or these credentials may not use it"


def _shown(links: tuple[VolumeAttachment, ...]) -> str:
    return ", ".join(
        f"busy on {link.instance_id} as {link.device_name}{_MOUNTED}"
        if link.state == "busy"
        else f"{link.state} to {link.instance_id} as {link.device_name}"
        for link in links
    )


def _busy(links: Iterable[VolumeAttachment]) -> bool:
    """Return whether a detachment waits for somebody to unmount the disk."""
    return any(link.state == "busy" for link in links)


def _made(resource: Resource | None, _fact: Any, _about: str) -> Verdict:
    """Done when the volume can be attached, or another run has already attached it."""
    verdict = _state(resource, ("available", "in-use"), _LOST)
    if verdict.failed and verdict.seen == "error":
        # EC2 gives no reason, since it checks keys only after its answer.
        return Verdict(failed=True, seen=f"error ({_NO_KEY})")
    return verdict


def _attached(resource: Resource | None, _fact: Any, instance_id: str) -> Verdict:
    verdict = _state(resource, (), _LOST)
    if verdict.failed or not isinstance(resource, Volume):
        return verdict
    links = _links(resource)
    mine = [link for link in links if link.instance_id == instance_id]
    # A detaching attachment to another instance is an old answer, or is about to end.
    taken = [link for link in links if link.instance_id != instance_id and not link.leaving]
    # EC2 shows an attachment from the call on. If none is there, somebody ended it, or its instance did.
    ended = not mine and (resource.multi_attach_enabled or not links) and resource.state in ("available", "in-use")
    return Verdict(
        done=any(link.state == "attached" for link in mine),
        failed=bool(taken) and not mine and not resource.multi_attach_enabled,
        seen=_shown(links) or f"{resource.state}, attached to no instance",
        stuck=ended or _busy(mine) or (not mine and not resource.multi_attach_enabled and _busy(links)),
    )


def _claimed(resource: Resource | None, fact: Any, instance_id: str) -> Verdict:
    """Return done when EC2 has begun to attach the volume to this instance, so that no other instance gets it."""
    verdict = _attached(resource, fact, instance_id)
    links = _links(resource) if isinstance(resource, Volume) else ()
    mine = any(link.instance_id == instance_id and not link.leaving for link in links)
    return replace(verdict, done=verdict.done or mine)


def _detached(resource: Resource | None, _fact: Any, instance_id: str) -> Verdict:
    if not isinstance(resource, Volume):
        return _state(resource, (), ())
    links = tuple(link for link in _links(resource) if instance_id in ("", link.instance_id))
    if links or instance_id:
        return Verdict(done=not links, seen=_shown(links) or resource.state, stuck=_busy(links))
    return _state(resource, ("available",), _LOST)


def _settled(resource: Resource | None, _fact: Any, _about: str) -> Verdict:
    """Done when no attachment is attaching, detaching or busy."""
    if not isinstance(resource, Volume):
        return _state(resource, (), ())
    links = _links(resource)
    return Verdict(
        done=all(link.state == "attached" for link in links),
        seen=_shown(links) or resource.state,
        stuck=_busy(links),
    )


def _deleted(resource: Resource | None, _fact: Any, _about: str) -> Verdict:
    return Verdict(done=True, seen="gone") if resource is None else _state(resource, ("deleted",), ())


def _modification(
    resource: Resource | None, latest: Modification | None, good: tuple[str, ...], bad: tuple[str, ...]
) -> Verdict:
    """Judge by the state of the volume's latest modification, which is empty without one."""
    lost = _state(resource, (), _LOST)
    if resource is None or lost.failed:
        return lost
    state, message = ("", None) if latest is None else (latest.state, latest.message)
    seen = f"{state or 'not modified'}{f' ({message})' if message else ''}"
    return Verdict(done=state in good, failed=state in bad, seen=seen)


def _modified(resource: Resource | None, latest: Modification | None, _about: str) -> Verdict:
    # `optimizing`: the volume has its new size and type. The rest may take hours and does no harm.
    return _modification(resource, latest, ("optimizing", "completed"), ("failed",))


def _modifiable(resource: Resource | None, latest: Modification | None, _about: str) -> Verdict:
    """Done when EBS takes another modification, if the volume's daily budget has one left."""
    return _modification(resource, latest, ("", "completed", "failed"), ())


def _published(_resource: Resource | None, value: str | None, image_id: str) -> Verdict:
    """Done when the parameter names the image. SSM checks the value of an image parameter after its answer."""
    return Verdict(seen="not visible") if value is None else Verdict(done=value == image_id, seen=value)


# --- Auto Scaling ---


def _refreshed(_resource: Resource | None, refreshes: tuple[InstanceRefresh, ...] | None, former: str) -> Verdict:
    """Return done when the newest refresh of the group is successful. *former*: the refresh before it, or nothing."""
    newest = newest_refresh(refreshes or ())
    if newest is None or newest.refresh_id == former:
        return Verdict(seen="not visible")
    return Verdict(
        done=newest.status == "Successful",
        failed=not newest.is_active and newest.status != "Successful",
        seen=newest.state,
    )


def _refresh_over(_resource: Resource | None, refreshes: tuple[InstanceRefresh, ...] | None, _about: str) -> Verdict:
    """Return done when no refresh of the group is active."""
    active = next((one for one in refreshes or () if one.is_active), None)
    return Verdict(done=refreshes is not None and active is None, seen=active.state if active else "over")


def _group_in_service(_resource: Resource | None, group: ScalingGroup | None, version: str) -> Verdict:
    """Return done when the group has its capacity in service and healthy, all of it of this version of its template.

    Instances that are protected from scale-in or in Standby may have another version, since a refresh may ignore them.
    The overrides of a mixed instances policy have versions of their own.
    """
    if group is None:
        return Verdict(seen="not visible")
    own = {one.template_id for one in group.overrides}
    there = [one for one in group.members if not one.is_leaving]
    serving = [one for one in there if one.is_serving]
    other = [
        one
        for one in there
        if not (one.is_protected or one.is_standby)
        and (one.template is None or (one.template.template_id not in own and one.template.version != version))
    ]
    seen = f"{len(serving)} of {group.capacity} in service and healthy"
    if other:
        seen += f", {len(other)} of another version than {version}"
    return Verdict(done=len(serving) >= group.capacity and not other, seen=seen)


# --- load balancers and probes ---


def _interface_attached(_resource: Resource | None, shown: Interface | None, instance_id: str) -> Verdict:
    """Done when the interface is attached to this instance. Failed when another instance has it."""
    if shown is None:
        return Verdict(seen="not visible")
    mine = shown.instance_id == instance_id
    return Verdict(
        done=mine and shown.attachment_state == "attached",
        failed=bool(shown.instance_id) and not mine and shown.attachment_state in ("attaching", "attached"),
        seen=_link(shown),
        stuck=not shown.instance_id,
    )


def _interface_free(_resource: Resource | None, shown: Interface | None, instance_id: str) -> Verdict:
    """Done when this instance does not have the interface. Without an instance, done when none has it."""
    if shown is None:
        return Verdict(seen="not visible")
    return Verdict(done=shown.instance_id == "" or instance_id not in ("", shown.instance_id), seen=_link(shown))


def _link(shown: Interface) -> str:
    if not shown.instance_id:
        return "attached to no instance"
    return f"{shown.attachment_state} to {shown.instance_id} at device index {shown.device_index}"


def _in_service(_resource: Resource | None, health: TargetHealth | None, _about: str) -> Verdict:
    """Done when the load balancer sends requests to the target, or when no load balancer uses the target group."""
    if health is None:
        return Verdict(seen="not registered")
    seen = f"{health.state} ({health.reason})" if health.reason not in ("", "N/A") else health.state
    return Verdict(
        done=health.state in ("healthy", "InService") or health.reason == "Target.NotInUse",
        failed=health.reason == "Target.IpUnusable",
        seen=seen,
    )


def _drained(_resource: Resource | None, health: TargetHealth | None, _about: str) -> Verdict:
    """Done when the load balancer has finished the requests to a deregistered target."""
    # An answer about a target that is gone has the state `unused`.
    return (
        Verdict(seen="not visible") if health is None else Verdict(done=health.state != "draining", seen=health.state)
    )


def _answers(_resource: Resource | None, answer: ProbeAnswer | None, _about: str) -> Verdict:
    return Verdict(seen="not asked yet") if answer is None else Verdict(done=answer.passed, seen=answer.seen)


@dataclass(frozen=True)
class Goal:
    """The ``kind`` of resource, and its ``verdict``.

    ``fact``: the kind of fact about the resource that the verdict needs too. ``wish``: the aim for messages, with a
    place for the goal's other resource. If it is empty, messages use the goal's name. ``gone``: the usual reason if the
    resource no longer exists.
    """

    kind: str
    verdict: Judge
    fact: FactKind[Any] | None = None
    wish: str = ""
    gone: str = ""

    @property
    def shown_as(self) -> FactKind[Any] | None:
        """The kind of fact that AWS shows in place of a resource, such as a parameter, or None."""
        return self.fact if self.fact is not None and self.fact.name == self.kind else None


GOALS: Mapping[str, Goal] = {
    # `running` right after StopInstances is an old answer. Only the end of the instance is a failure.
    "stopped": Goal(Instance.kind, _reaches("stopped", "shutting-down", "terminated")),
    "off": Goal(Instance.kind, _off, wish="stopped or terminated"),
    "running": Goal(Instance.kind, _running),
    "healthy": Goal(Instance.kind, _healthy, fact=STATUS_CHECKS),
    "root_replaced": Goal(
        Instance.kind, _root_replaced, fact=ROOT_TASKS, wish="an instance with the new root volume of {about}"
    ),
    "terminated": Goal(Instance.kind, _terminated),
    "completed": Goal(Snapshot.kind, _reaches("completed", "error", "recoverable", "recovering")),
    "captured": Goal(Image.kind, _captured),
    "available": Goal(Image.kind, _reaches("available", "invalid", "failed", "error", "deregistered", "disabled")),
    # EBS accepts a CreateVolume with an unusable key, and the volume then vanishes.
    "volume_available": Goal(Volume.kind, _made, wish="available", gone=_NO_KEY),
    "attached": Goal(Volume.kind, _attached, wish="attached to {about}"),
    "claimed": Goal(Volume.kind, _claimed, wish="attached to {about}"),
    "detached": Goal(Volume.kind, _detached, wish="detached from {about}"),
    "settled": Goal(Volume.kind, _settled, wish="attached or detached"),
    "modified": Goal(Volume.kind, _modified, fact=MODIFICATION),
    "modifiable": Goal(Volume.kind, _modifiable, fact=MODIFICATION),
    "deleted": Goal(Volume.kind, _deleted),
    "refreshed": Goal(INSTANCE_REFRESHES.name, _refreshed, fact=INSTANCE_REFRESHES, wish="refreshed"),
    "refresh_over": Goal(
        INSTANCE_REFRESHES.name, _refresh_over, fact=INSTANCE_REFRESHES, wish="without an active refresh"
    ),
    "group_in_service": Goal(
        SCALING_GROUP.name,
        _group_in_service,
        fact=SCALING_GROUP,
        wish="in service with version {about} of its template",
    ),
    "published": Goal(
        PARAMETER.name,
        _published,
        fact=PARAMETER,
        wish="{about}",
        gone="SSM has not accepted the image as its value",
    ),
    "interface_attached": Goal(
        INTERFACE.name, _interface_attached, fact=INTERFACE, wish="attached to {about}", gone="Somebody has deleted it"
    ),
    "interface_free": Goal(
        INTERFACE.name, _interface_free, fact=INTERFACE, wish="detached from {about}", gone="Somebody has deleted it"
    ),
    "in_service": Goal(TARGET_HEALTH.name, _in_service, fact=TARGET_HEALTH, wish="healthy"),
    "drained": Goal(TARGET_HEALTH.name, _drained, fact=TARGET_HEALTH),
    # The other text is the request of the probe, which may hold a secret.
    "answers": Goal(PROBE.name, _answers, fact=PROBE, wish="successful"),
}


def wish(goal: str, about: str = "") -> str:
    """Return a resource's aim for messages: ``attached to i-0abc``."""
    text = GOALS[goal].wish or goal
    return text.format(about=about) if about or "{about}" not in text else goal
