# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand: errors, lost connections, delays and pauses before or after the effect; throttling."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import Ec2Error

if TYPE_CHECKING:
    from datetime import datetime

    from .clock import Clock
    from .engine import Request

#: error: the error answer. close: the connection is closed without an answer. delay: seconds are added. pause: the call
#: waits until it is released or its client is gone. end: the call succeeds, and what it makes fails later (an
#: asynchronous failure: a snapshot in `error`, an image in `failed`), with `message` as the reason.
KINDS = ("error", "close", "delay", "pause", "end")
WHENS = ("before", "after")

#: Long enough for any test; a forgotten pause must not keep a thread for ever (real seconds).
LONGEST_PAUSE = 600.0


class ConnectionLostError(Exception):
    """The connection is to be closed without an answer."""


@dataclass
class Rule:
    """One fault.

    action: glob over action names (other services as `ssm:PutParameter`). region: glob. occurrence: which of the calls
    that match, counted from 1 since the rule was added: an integer n (the nth only), `{"first": n}`, or "every".
    kind and when: see KINDS and WHENS; `before` the effect nothing has happened, `after` it all has.
    code, message, status: of the error answer. seconds: of a delay, in sandbox time.
    match: parameters that the call must have, by dotted path (`{"InstanceIds.0": "i-1"}`), values as text.
    """

    action: str = "*"
    region: str = "*"
    occurrence: int | str | dict[str, int] = "every"
    kind: str = "error"
    when: str = "before"
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    status: int = 500
    seconds: float = 0.0
    match: dict[str, str] = field(default_factory=dict)
    id: str = ""
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault's kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.when not in WHENS:
            raise ValueError(f"a fault comes before or after the effect, not {self.when!r}")
        which = self.occurrence
        if isinstance(which, dict):
            fine = set(which) == {"first"} and which["first"] > 0
        else:
            fine = which == "every" or (isinstance(which, int) and not isinstance(which, bool) and which > 0)
        if not fine:
            raise ValueError(f'a fault\'s occurrence is n, {{"first": n}} or "every", not {which!r}')
        if self.seconds < 0:
            raise ValueError("a delay is not negative")

    def takes(self, action: str, region: str, params: Mapping[str, Any]) -> bool:
        """Whether this call is hit; counts it if it matches."""
        if not fnmatch.fnmatchcase(action, self.action) or not fnmatch.fnmatchcase(region, self.region):
            return False
        if any(_at(params, path) != value for path, value in self.match.items()):
            return False
        self.seen += 1
        which = self.occurrence
        hit = self.seen <= which["first"] if isinstance(which, dict) else which in ("every", self.seen)
        self.hits += hit
        return hit


def _at(params: Any, path: str) -> str | None:
    for step in path.split("."):
        if isinstance(params, Mapping):
            params = params.get(step)
        elif isinstance(params, list) and step.isdigit() and int(step) < len(params):
            params = params[int(step)]
        else:
            return None
    if isinstance(params, bool):
        return "true" if params else "false"
    return None if params is None else str(params)


@dataclass
class Pause:
    """A call that is held at a pause. id: `<rule id>/<number>`."""

    id: str
    rule: str
    action: str
    region: str
    when: str
    released: threading.Event = field(default_factory=threading.Event)

    def as_dict(self) -> dict[str, str]:
        """As JSON can carry it."""
        return {"id": self.id, "rule": self.rule, "action": self.action, "region": self.region, "when": self.when}


class Plan:
    """The faults that one call has met, in the order of their rules."""

    def __init__(self, faults: Faults, action: str, region: str, rules: list[Rule]) -> None:
        self._faults = faults
        self._action = action
        self._region = region
        self._rules = rules

    @property
    def end(self) -> dict[str, str] | None:
        """The failure of the resource that the call makes, if a rule asks for one."""
        return next(({"code": rule.code, "message": rule.message} for rule in self._rules if rule.kind == "end"), None)

    def before(self, clock: Clock, is_gone: Callable[[], bool]) -> None:
        """Meet the faults before the effect. Raises Ec2Error or ConnectionLostError."""
        self._meet("before", clock, is_gone)

    def after(self, clock: Clock, is_gone: Callable[[], bool]) -> None:
        """Meet the faults after the effect. Raises Ec2Error or ConnectionLostError."""
        self._meet("after", clock, is_gone)

    def _meet(self, when: str, clock: Clock, is_gone: Callable[[], bool]) -> None:
        for rule in self._rules:
            if rule.when != when or rule.kind == "end":
                continue
            if rule.kind == "delay":
                time.sleep(clock.real_seconds(rule.seconds))
            elif rule.kind == "pause":
                self._faults.hold(rule, self._action, self._region, is_gone)
            elif rule.kind == "close":
                raise ConnectionLostError
            else:
                raise Ec2Error(rule.code, rule.message, rule.status)


class Faults:
    """The rules of one world, and the calls that are paused."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rules: dict[str, Rule] = {}
        self._pauses: dict[str, Pause] = {}
        self._number = 0

    def add(self, **fields: Any) -> Rule:
        """Add a rule; see Rule for the fields. Raises ValueError or TypeError for bad ones."""
        rule = Rule(**fields)
        with self._changed:
            self._number += 1
            rule.id = rule.id or f"fault-{self._number}"
            if rule.id in self._rules:
                raise ValueError(f"there is a fault {rule.id} already")
            self._rules[rule.id] = rule
        return rule

    def remove(self, rule_id: str) -> None:
        """Remove one rule and release its pauses. Raises KeyError when there is none."""
        with self._changed:
            del self._rules[rule_id]
        self.release(rule_id)

    def clear(self) -> None:
        """Remove all rules and release all pauses."""
        with self._changed:
            self._rules.clear()
        self.release(None)

    def rules(self) -> list[dict[str, Any]]:
        """The rules as JSON can carry them, `seen` and `hits` counted so far."""
        with self._changed:
            return [dict(rule.__dict__) for rule in self._rules.values()]

    def plan(self, action: str, region: str, params: Mapping[str, Any]) -> Plan:
        """The faults that this call meets; counts it in every rule that matches."""
        if not self._rules:
            return Plan(self, action, region, [])
        with self._changed:
            hit = [rule for rule in self._rules.values() if rule.takes(action, region, params)]
        return Plan(self, action, region, hit)

    # --- pauses ---

    def hold(self, rule: Rule, action: str, region: str, is_gone: Callable[[], bool]) -> None:
        """Hold a call until it is released. Raises ConnectionLostError when its client goes away first."""
        with self._changed:
            if rule.id not in self._rules:
                return  # cleared between the plan and now
            self._number += 1
            pause = Pause(f"{rule.id}/{self._number}", rule.id, action, region, rule.when)
            self._pauses[pause.id] = pause
            self._changed.notify_all()
        end = time.monotonic() + LONGEST_PAUSE
        try:
            while not pause.released.wait(0.02):
                if is_gone() or time.monotonic() > end:
                    raise ConnectionLostError
        finally:
            with self._changed:
                self._pauses.pop(pause.id, None)
                self._changed.notify_all()

    def paused(self) -> list[dict[str, str]]:
        """The calls that are held now."""
        with self._changed:
            return [pause.as_dict() for pause in self._pauses.values()]

    def wait_paused(self, rule_id: str | None, seconds: float) -> dict[str, str] | None:
        """Wait up to that many real seconds until a call is held by the rule (any, when None); the call, or None."""

        def held() -> Pause | None:
            return next((pause for pause in self._pauses.values() if rule_id in (None, pause.rule)), None)

        with self._changed:
            self._changed.wait_for(lambda: held() is not None, timeout=seconds)
            found = held()
            return found.as_dict() if found else None

    def release(self, name: str | None) -> int:
        """Let calls go on: those of a rule, one pause by its id, or all (None). Returns how many."""
        with self._changed:
            chosen = [pause for pause in self._pauses.values() if name in (None, pause.rule, pause.id)]
            for pause in chosen:
                pause.released.set()
            return len(chosen)


# --- token buckets ----------------------------------------------------------------------------------------------------

#: (size, tokens per second) as EC2 publishes them ("Request throttling for the Amazon EC2 API").
READ = (100.0, 20.0)
#: These, without a filter and without pagination.
UNFILTERED = (50.0, 10.0)
UNFILTERED_ACTIONS = frozenset(
    {
        "DescribeInstances",
        "DescribeInstanceStatus",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroups",
        "DescribeSnapshots",
        "DescribeSpotInstanceRequests",
        "DescribeVolumes",
    }
)
MUTATING = (50.0, 5.0)
BY_ACTION: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            "CreateSnapshot",
            "CreateSnapshots",
            "DeleteSnapshot",
            "CreateVolume",
            "DeleteVolume",
            "DeregisterImage",
            "ModifyImageAttribute",
            "ModifySnapshotAttribute",
            "TerminateInstances",
        ),
        (100.0, 5.0),
    ),
    **dict.fromkeys(("CreateTags", "DeleteTags"), (100.0, 10.0)),
    "CopyImage": (100.0, 1.0),
    **dict.fromkeys(("RunInstances", "StartInstances", "EnableFastLaunch", "DisableFastLaunch"), (5.0, 2.0)),
}
#: Tokens per resource, on top of those per request.
RESOURCES: dict[str, tuple[float, float]] = {
    "RunInstances": (1000.0, 2.0),
    "StartInstances": (1000.0, 2.0),
    "StopInstances": (1000.0, 20.0),
    "TerminateInstances": (1000.0, 20.0),
}


class Bucket:
    """One token bucket; it is full when first seen. Times are sandbox times."""

    def __init__(self, size: float, rate: float, now: datetime) -> None:
        self._size = size
        self._rate = rate
        self._tokens = size
        self._at = now

    def fill(self, now: datetime) -> float:
        """The tokens that are there now."""
        passed = max(0.0, (now - self._at).total_seconds())
        self._tokens = min(self._size, self._tokens + passed * self._rate)
        self._at = max(self._at, now)
        return self._tokens

    def take(self, count: float) -> None:
        """Take tokens that fill() has shown to be there."""
        self._tokens -= count


class Buckets:
    """EC2's buckets, per API, account and region."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str, str, str], Bucket] = {}

    def take(self, request: Request, now: datetime) -> None:
        """Pay for a call. Raises RequestLimitExceeded (503) when tokens are missing; a refused call pays nothing."""
        needs = [(rate_class(request.action, request.params), 1.0)]
        if request.action in RESOURCES:
            needs.append((("resources", *RESOURCES[request.action]), float(_resource_count(request))))
        with self._lock:
            chosen = []
            for (label, size, rate), count in needs:
                key = (request.account, request.region, request.action, label)
                bucket = self._buckets.get(key)
                if bucket is None:
                    bucket = self._buckets[key] = Bucket(size, rate, now)
                if bucket.fill(now) < count:
                    raise Ec2Error("RequestLimitExceeded", "Request limit exceeded.", 503)
                chosen.append((bucket, count))
            for bucket, count in chosen:
                bucket.take(count)


def rate_class(action: str, params: Mapping[str, Any]) -> tuple[str, float, float]:
    """The bucket that a call draws from: (label, size, tokens per second)."""
    if action.startswith(("Describe", "Get", "List", "Search")):
        narrowed = any(params.get(name) for name in ("Filters", "MaxResults", "NextToken"))
        if action in UNFILTERED_ACTIONS and not narrowed:
            return ("unfiltered", *UNFILTERED)
        return ("read", *READ)
    return ("mutating", *BY_ACTION.get(action, MUTATING))


def _resource_count(request: Request) -> int:
    if request.action == "RunInstances":
        return int(request.params.get("MaxCount", 1))
    return max(1, len(request.params.get("InstanceIds", ())))
