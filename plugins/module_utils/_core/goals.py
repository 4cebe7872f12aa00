# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a wait is over: one pure predicate per goal.

Terminal states that botocore's waiters poll to their end (a snapshot in `error`, an image in `invalid`) fail at once
here.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .resources import Image, Instance, Resource, Snapshot


@dataclass(frozen=True)
class Verdict:
    """``done``, or ``failed`` with the reason that EC2 gives, or neither: ask again. ``seen`` is the state, for
    messages.
    """

    done: bool = False
    failed: bool = False
    seen: str = ""


def _state(resource: Resource | None, good: tuple[str, ...], bad: tuple[str, ...]) -> Verdict:
    if resource is None:
        # A new resource may not be visible yet (EC2 is eventually consistent); the wait's own time limit ends this.
        return Verdict(seen="not visible")
    state = getattr(resource, "state", "")
    reason = getattr(resource, "state_reason", None)
    seen = f"{state} ({reason})" if reason else state
    return Verdict(done=state in good, failed=state in bad, seen=seen)


def _stopped(resource: Resource | None, _extra: Any) -> Verdict:
    # `running` right after StopInstances is an answer from before it; only the end of the instance is a failure.
    return _state(resource, ("stopped",), ("shutting-down", "terminated"))


def _running(resource: Resource | None, _extra: Any) -> Verdict:
    verdict = _state(resource, ("running",), ("shutting-down", "terminated"))
    if verdict.done or verdict.failed or not isinstance(resource, Instance):
        return verdict
    # pending -> stopped: EC2 gave up on the start (EBS limit, key not usable) and says why in StateReason. A `stopped`
    # without a server-side reason is an answer from before StartInstances.
    gave_up = resource.state in ("stopped", "stopping") and (resource.state_reason or "").startswith("Server.")
    return Verdict(failed=gave_up, seen=verdict.seen)


def _healthy(resource: Resource | None, status: Any) -> Verdict:
    """Running, and both of EC2's status checks ``ok``. *status* is (system, instance) of DescribeInstanceStatus."""
    verdict = _running(resource, None)
    if not verdict.done:
        return verdict
    checks = tuple(status or ())
    seen = f"running, status checks {'/'.join(checks) or 'not reported'}"
    # `impaired` may still pass, as AWS documents for slow boots: only the time limit decides.
    return Verdict(done=bool(checks) and all(check == "ok" for check in checks), seen=seen)


def _terminated(resource: Resource | None, _extra: Any) -> Verdict:
    # EC2 forgets a terminated instance after about an hour.
    return Verdict(done=True, seen="gone") if resource is None else _state(resource, ("terminated",), ())


def _completed(resource: Resource | None, _extra: Any) -> Verdict:
    return _state(resource, ("completed",), ("error", "recoverable", "recovering"))


def _captured(resource: Resource | None, _extra: Any) -> Verdict:
    """CreateImage has fixed its point in time: the image names the snapshot of every device it maps."""
    verdict = _state(resource, ("available",), ("invalid", "failed", "error", "deregistered"))
    if verdict.done or verdict.failed or not isinstance(resource, Image):
        return verdict
    devices = [device for device in resource.block_devices if not device.virtual_name]
    return Verdict(done=bool(devices) and all(device.snapshot_id for device in devices), seen=verdict.seen)


def _available(resource: Resource | None, _extra: Any) -> Verdict:
    return _state(resource, ("available",), ("invalid", "failed", "error", "deregistered", "disabled"))


@dataclass(frozen=True)
class Goal:
    """``kind`` of resource it is about; ``verdict`` of a resource and, where ``status`` is set, its status checks."""

    kind: str
    verdict: Callable[[Resource | None, Any], Verdict]
    status: bool = False


GOALS: Mapping[str, Goal] = {
    "stopped": Goal(Instance.kind, _stopped),
    "running": Goal(Instance.kind, _running),
    "healthy": Goal(Instance.kind, _healthy, status=True),
    "terminated": Goal(Instance.kind, _terminated),
    "completed": Goal(Snapshot.kind, _completed),
    "captured": Goal(Image.kind, _captured),
    "available": Goal(Image.kind, _available),
}
