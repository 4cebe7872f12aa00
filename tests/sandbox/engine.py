# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a call: read, log, authorize, throttle, fault, DryRun, handler, fault, answer.

Handlers are plain functions over boto3-shaped dicts, registered with `@action("StopInstances")`. A call without a
handler goes to moto in the same account and region.
"""

from __future__ import annotations

import fnmatch
import random
import re
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from . import wire
from .clock import PRESENT, Clock
from .errors import Ec2Error
from .faults import Buckets, ConnectionLostError, Faults
from .log import Entry, Log
from .protocols import error_reply, read_other
from .regions import region_names

if TYPE_CHECKING:
    from datetime import datetime

    from .instance_refreshes import Group
    from .metrics import Load
    from .moto_side import MotoSide
    from .parameters import Unchecked
    from .target_groups import RegisteredTarget
    from .world import Region

__all__ = [
    "Call",
    "Config",
    "Ec2Error",
    "Engine",
    "Reply",
    "Request",
    "World",
    "action",
    "declare_durations",
    "declare_option",
    "other_action",
]

#: Operations that read, and are late for all other clients.
_READS = ("Describe", "List")

#: The account of every access key that is not itself twelve digits.
DEFAULT_ACCOUNT = "123456789012"

Handler = Callable[["Request"], "dict[str, Any] | None"]

#: The handlers of all modules, by action.
HANDLERS: dict[str, Registered] = {}


@dataclass(frozen=True)
class Registered:
    """A handler, and whether it calls `request.dry_run_gate()` itself."""

    handler: Handler
    gate: bool


def action(name: str, *more: str, gate: bool | None = None) -> Callable[[Handler], Handler]:
    """Register a handler for one action, or for several: `handler(request) -> boto3-shaped result or None`.

    gate: whether the handler calls `request.dry_run_gate()`; None looks for the call in its code. Without one, DryRun
    is answered before the handler, so that it can never have an effect. Raises ValueError for a name that EC2 does not
    have.
    """

    def register(handler: Handler) -> Handler:
        for each in (name, *more):
            if wire.operation_model(each) is None:
                raise ValueError(f"EC2 has no action {each}")
            HANDLERS[each] = Registered(handler, _names_gate(handler) if gate is None else gate)
        return handler

    return register


OtherHandler = Callable[["World", "Call", "Entry"], "Reply | None"]

#: The handlers for calls to other services, by `service:Action`. Where one returns None, moto answers.
OTHERS: dict[str, OtherHandler] = {}


def other_action(*names: str) -> Callable[[OtherHandler], OtherHandler]:
    """Register a handler for calls to another service: `handler(world, call, log entry) -> Reply or None`."""

    def register(handler: OtherHandler) -> OtherHandler:
        OTHERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def _names_gate(handler: Handler) -> bool:
    code = getattr(handler, "__code__", None)
    return code is not None and "dry_run_gate" in code.co_names


#: Sandbox seconds by name, see declare_durations.
_DECLARED: dict[str, float] = {}


def declare_durations(**seconds: float) -> None:
    """Name the durations that a module uses, with their defaults in sandbox seconds."""
    _DECLARED.update(seconds)


#: Other settings of the domain by name: the default, and the check of a new value; see declare_option.
_OPTIONS: dict[str, tuple[Any, Callable[[Any], None]]] = {}


def declare_option(name: str, default: Any, check: Callable[[Any], None] = lambda value: None) -> None:
    """Name a setting. Its values are of the type of the default; check raises ValueError or TypeError for others."""
    _OPTIONS[name] = (default, check)


def default_durations() -> dict[str, float]:
    """All durations that may be set, with their defaults in sandbox seconds."""
    from . import world  # noqa: F401  (where the domain declares its own)

    return dict(_DECLARED)


@dataclass
class Config:
    """The settings that may change while the sandbox runs (CLI options and `POST /_sandbox/config`).

    durations: sandbox seconds by name (a name must have been declared). latency: sandbox seconds added to every call.
    buckets: EC2's published token buckets on or off. visibility_delay: sandbox seconds by resource type (`snapshot`,
    `volume`, `image`, `instance`, `*`) before a new resource shows in reads. read_lag: sandbox seconds by which reads
    are late, see `World.seen`. refused: actions (globs, `ec2:` or another service before them, EC2's without) that
    answer UnauthorizedOperation. rejected_keys: access keys that answer AuthFailure. options: other settings of the
    domain, by names that it has declared.
    """

    durations: dict[str, float] = field(default_factory=dict)
    latency: float = 0.0
    buckets: bool = False
    visibility_delay: dict[str, float] = field(default_factory=dict)
    read_lag: float = 0.25
    refused: list[str] = field(default_factory=list)
    rejected_keys: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def duration(self, name: str) -> float:
        """The duration in seconds: the set value, else the default. Raises KeyError for a name that nobody declared."""
        if name in self.durations:
            return self.durations[name]
        if name in _DECLARED:
            return _DECLARED[name]
        raise KeyError(f"no duration is called {name}; there are: {', '.join(sorted(default_durations()))}")

    def option(self, name: str) -> Any:
        """Return the setting, or its default. Raises KeyError for a name that nobody declared."""
        return self.options[name] if name in self.options else _OPTIONS[name][0]

    def is_refused(self, service: str, action: str) -> bool:
        """Whether the caller is denied an action, such as ("ec2", "CreateTags")."""
        patterns = (pattern if ":" in pattern else f"ec2:{pattern}" for pattern in self.refused)
        return any(fnmatch.fnmatchcase(f"{service}:{action}", pattern) for pattern in patterns)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Lay changes over the settings; mappings are merged. Raises ValueError or TypeError, before any change."""
        readers: dict[str, Callable[[Any], Any]] = {
            "durations": lambda value: {**self.durations, **_seconds_by_name(value, default_durations())},
            "visibility_delay": lambda value: {**self.visibility_delay, **_seconds_by_name(value, VISIBILITY_KINDS)},
            "options": lambda value: {**self.options, **_options(value)},
            "refused": _texts,
            "rejected_keys": _texts,
            "latency": lambda value: _seconds("latency", value),
            "read_lag": lambda value: _seconds("read_lag", value),
            "buckets": _switch,
        }
        unknown = set(changes) - set(readers)
        if unknown:
            raise ValueError(f"no setting is called {', '.join(sorted(unknown))}; there are: {', '.join(readers)}")
        new = {name: readers[name](value) for name, value in changes.items()}
        for name, value in new.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """All settings as JSON can carry them, the declared durations included."""
        return {
            "durations": {**default_durations(), **self.durations},
            "latency": self.latency,
            "buckets": self.buckets,
            "visibility_delay": self.visibility_delay,
            "read_lag": self.read_lag,
            "refused": self.refused,
            "rejected_keys": self.rejected_keys,
            "options": {**{name: default for name, (default, _check) in _OPTIONS.items()}, **self.options},
        }


#: The names in Config.visibility_delay; "*" is every other.
VISIBILITY_KINDS = ("*", "volume", "snapshot", "image", "instance")


def _seconds_by_name(value: Any, known: Collection[str]) -> dict[str, float]:
    for name in value:
        if name not in known:
            raise ValueError(f"nothing is called {name}; there are: {', '.join(known)}")
    return {name: _seconds(name, seconds) for name, seconds in value.items()}


def _options(value: Any) -> dict[str, Any]:
    for name, one in dict(value).items():
        if name not in _OPTIONS:
            raise ValueError(f"no option is called {name}; there are: {', '.join(sorted(_OPTIONS))}")
        default, check = _OPTIONS[name]
        if type(one) is not type(default):
            raise TypeError(f"{name} is of the type {type(default).__name__}, not {one!r}")
        check(one)
    return dict(value)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return [str(item) for item in value]


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def _seconds(name: Any, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise ValueError(f"{name} is a number of seconds, not {value!r}")
    return float(value)


class World:
    """Everything that a reset throws away, and the settings that it keeps.

    lock: held around every handler and every call to moto, so handlers need no locks of their own.
    """

    def __init__(self, *, clock: Clock | None = None, config: Config | None = None, seed: int | None = None) -> None:
        self.clock = clock or Clock()
        self.config = config or Config()
        self.log = Log()
        self.faults = Faults()
        self.lock = threading.RLock()
        #: The id of the next resource by its prefix, for a seed that names ids.
        self.chosen_ids: dict[str, str] = {}
        self.seed = seed
        self._moto: MotoSide | None = None
        self._start()

    def _start(self) -> None:
        self._random = random.Random(self.seed)
        self._regions: dict[tuple[str, str], Region] = {}
        self.buckets = Buckets()
        #: Client tokens, see tokens.py: (account, region, action, token) -> (parameters, resource id).
        self.tokens: dict[tuple[str, str, str, str], tuple[str, str]] = {}
        self._settled: datetime | None = None
        #: The values of image parameters that SSM has not checked yet, see parameters.py.
        self.unchecked: list[Unchecked] = []
        #: The seeded Auto Scaling groups by account and region, and by name, see instance_refreshes.py.
        self.scaling_groups: dict[tuple[str, str], dict[str, Group]] = {}
        #: The seeded activity of each volume by its id, see metrics.py.
        self.loads: dict[str, list[Load]] = {}
        #: The seeded writes to each volume, see changed_blocks.py: (moment, first block, number of blocks).
        self.block_writes: dict[str, list[tuple[datetime, int, int]]] = {}
        #: Further products of the price list, see price_list.py.
        self.products: list[dict[str, Any]] = []
        #: The targets of each target group by its ARN, see target_groups.py.
        self.targets: dict[str, dict[tuple[str, int], RegisteredTarget]] = {}

    def settle(self) -> None:
        """Let all reads from now on show the present state."""
        self._settled = self.clock.now()

    def seen(self) -> datetime:
        """The moment that late reads show: ``read_lag`` ago, or when the world was last settled if that is later."""
        moment = self.clock.now() - timedelta(seconds=self.config.read_lag)
        return moment if self._settled is None else max(moment, self._settled)

    @property
    def moto(self) -> MotoSide:
        """moto's application, made when it is first needed."""
        with self.lock:
            if self._moto is None:
                from .moto_side import MotoSide

                self._moto = MotoSide(self.clock, self.seed)
            return self._moto

    def region(self, account: str, region: str) -> Region:
        """One account's resources in one region, made when first asked for."""
        with self.lock:
            found = self._regions.get((account, region))
            if found is None:
                from .world import Region

                found = self._regions[account, region] = Region(self, account, region)
            return found

    def regions(self) -> list[Region]:
        """All regions that have been touched, of all accounts."""
        return list(self._regions.values())

    def account_of(self, access_key: str) -> str:
        """The account that a key belongs to: a key of twelve digits is one, keys made by IAM and STS know theirs."""
        if len(access_key) == 12 and access_key.isdigit():
            return access_key
        if access_key.startswith(("AKIA", "ASIA", "LKIA", "LSIA")):
            return self.moto.account_of(access_key)
        return DEFAULT_ACCOUNT

    def new_id(self, prefix: str) -> str:
        """A resource id such as `vol-0` and sixteen more hexadecimal digits; the same ones for the same seed."""
        with self.lock:
            return self.chosen_ids.pop(prefix, "") or f"{prefix}-0{self._random.getrandbits(64):016x}"

    def reset(self) -> None:
        """A new, empty world, moto's included: no resources, faults, log or tokens. The clock and settings stay."""
        with self.lock:
            self.faults.clear()
            self.log.reset()
            self._start()
            if self._moto is not None:
                self._moto.reset(self.seed)


@dataclass
class Request:
    """The input of a handler: params are boto3-shaped, now is the sandbox clock's time in aware UTC.

    late: the request is a read that shows a moment of the past; now is that moment.
    """

    action: str
    params: dict[str, Any]
    account: str
    region: str
    now: datetime
    world: World
    access_key: str = "testing"
    end: dict[str, str] | None = None
    late: bool = False

    @property
    def home(self) -> Region:
        """The resources of the request's account in its region."""
        return self.world.region(self.account, self.region)

    def moto(self, action: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An EC2 call made to moto in the same account and region; its answer in boto3's shape.

        Raises Ec2Error with moto's code.
        """
        with self.world.lock:
            return self.world.moto.call(action, params or {}, account=self.account, region=self.region)

    def dry_run_gate(self) -> None:
        """To be called where EC2 would have finished validating; with DryRun it raises DryRunOperation (412)."""
        if self.params.get("DryRun"):
            raise dry_run_operation()

    def visible(self, resource: Any, kind: str | None = None) -> bool:
        """Whether reads show a resource yet; see Config.visibility_delay and Config.read_lag.

        resource: has `created` (aware UTC). kind: the type in visibility_delay, by default `resource.kind`.
        """
        if self.late and resource.created > self.now:
            return False
        delays = self.world.config.visibility_delay
        if not delays:
            return True
        if kind is None:
            kind = str(resource.kind)
        delay = delays.get(kind, delays.get("*", 0.0))
        return delay <= 0 or (self.now - resource.created).total_seconds() >= delay

    def end_state(self) -> dict[str, str] | None:
        """The code and message with which the new resource fails later, if a fault rule of kind `end` asks for it.

        The resource is made and answered as usual, and fails later. Each call meets a rule once, however often it asks.
        """
        return self.end


def _not_validated() -> Ec2Error:
    return Ec2Error("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def dry_run_operation() -> Ec2Error:
    """The answer of DryRun to a permitted call."""
    return Ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


@dataclass
class Call:
    """One request as the HTTP server read it. is_gone tells whether the client has closed its connection."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    is_gone: Callable[[], bool] = lambda: False


@dataclass
class Reply:
    """One answer; headers without Date, Content-Length and Connection, which are the server's. code: of an error."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]
    code: str = ""


@dataclass(frozen=True)
class Caller:
    """The caller, and the called service and region, from the signature's credential scope."""

    access_key: str
    region: str
    service: str


_SCOPE = re.compile(r"Credential=([^/,\s]+)/[0-9]{8}/([^/,\s]+)/([^/,\s]+)/aws4_request")
_HOST = re.compile(r"^([a-z0-9-]+)\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.")


def read_caller(call: Call) -> Caller:
    """Read access key, region and service from the signature, else from the host; unsigned calls have no access key."""
    found = _SCOPE.search(call.headers.get("authorization", ""))
    if found is None and "X-Amz-Credential" in call.query:
        found = _SCOPE.search("Credential=" + dict(parse_qsl(call.query)).get("X-Amz-Credential", ""))
    if found is not None:
        return Caller(*found.groups())
    host = _HOST.match(call.headers.get("host", ""))
    if host is not None:
        return Caller("", host.group(2), host.group(1))
    # Unsigned and without a telling host: EC2's own query form, or something for moto (STS with a web identity, ...).
    is_ec2 = f"Version={wire.service_model().api_version}" in call.body[:200_000].decode("latin-1")
    return Caller("", "us-east-1", "ec2" if is_ec2 else "")


class Engine:
    """Answers AWS calls in a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def answer(self, call: Call) -> Reply:
        """The answer to one call. Raises ConnectionLostError when the connection is to be closed without one."""
        world = self.world
        request_id = str(uuid.uuid4())
        started = time.monotonic()
        caller = read_caller(call)
        ec2 = caller.service == "ec2"
        entry = world.log.open(
            "", caller.region, "", {}, at=world.clock.now(), user_agent=call.headers.get("user-agent", "")
        )
        outcome, status = "lost", 0
        try:
            reply = self._ec2(call, caller, entry, request_id) if ec2 else self._other(call, caller, entry, request_id)
            outcome, status = "ok" if reply.status < 400 else (reply.code or str(reply.status)), reply.status
        except Ec2Error as error:
            outcome, status = error.code, error.status
            reply = error_reply(call, caller.service, error, request_id)
        except ConnectionLostError:
            raise
        except Exception as error:
            # A defect of the sandbox: show it to the test's author, and answer as EC2 answers its own defects.
            outcome, status = "InternalError", 500
            entry.trace = traceback.format_exc()
            print(entry.trace, file=sys.stderr, flush=True)
            defect = Ec2Error("InternalError", f"sandbox: {type(error).__name__}: {error}", 500)
            reply = error_reply(call, caller.service, defect, request_id)
        finally:
            world.log.close(entry, outcome, status, time.monotonic() - started)
        reply.headers.append(("x-amzn-RequestId", request_id))
        return reply

    def _ec2(self, call: Call, caller: Caller, entry: Entry, request_id: str) -> Reply:
        world = self.world
        name, form = wire.read_form(call.body, call.query)
        world.log.name(entry, name, world.account_of(caller.access_key), form)
        params = wire.read_parameters(name, form)
        entry.params = params
        present = PRESENT in call.headers.get("user-agent", "")
        request = Request(
            name, params, entry.account, caller.region, world.clock.now(), world, access_key=caller.access_key
        )
        request.late = not present and name.startswith(_READS) and world.config.read_lag > 0
        needed = ["ec2:" + name, *(["ec2:CreateTags"] if params.get("TagSpecifications") else [])]
        self._authorize(caller, entry.account, needed)
        registered = HANDLERS.get(name)

        def effect() -> Reply:
            # moto honours DryRun on some calls only, and does the work on others.
            if params.get("DryRun") and not (registered and registered.gate):
                raise dry_run_operation()
            with world.lock:
                # The lock is taken inside, so that effects are in the order of their times.
                request.now = world.seen() if request.late else world.clock.now()
                if registered is None:
                    return world.moto.forward_ec2(request, call, request_id)
                result = registered.handler(request)
                if present and not name.startswith((*_READS, "Get")):
                    world.settle()
            return Reply(200, wire.render(name, result, request_id), [("Content-Type", "text/xml;charset=UTF-8")])

        throttle = (lambda: world.buckets.take(request, world.clock.now())) if world.config.buckets else None
        return self._with_faults(call, entry, effect, throttle, request)

    def _other(self, call: Call, caller: Caller, entry: Entry, request_id: str) -> Reply:
        """A call to any other service: logged as `service:Action`, forwarded to moto, under the same faults."""
        world = self.world
        name, params = read_other(call, caller.service)
        world.log.name(entry, name, world.account_of(caller.access_key), params)
        if caller.access_key:
            self._authorize(caller, entry.account, [name])

        def effect() -> Reply:
            with world.lock:
                handler = OTHERS.get(entry.action)
                reply = handler(world, call, entry) if handler is not None else None
                return reply or world.moto.forward(call, entry.account)

        return self._with_faults(call, entry, effect, None, None)

    def _with_faults(
        self,
        call: Call,
        entry: Entry,
        effect: Callable[[], Reply],
        throttle: Callable[[], None] | None,
        request: Request | None,
    ) -> Reply:
        """The call under the faults that are set. A DryRun has no effect that a fault could disturb."""
        world = self.world
        if world.config.latency:
            time.sleep(world.clock.real_seconds(world.config.latency))
        if throttle is not None:
            throttle()
        if entry.params.get("DryRun"):
            return effect()
        plan = world.faults.plan(entry.action, entry.region, entry.params)
        plan.before(world.clock, call.is_gone)
        if request is not None:
            request.end = plan.end
        reply = effect()
        entry.done = reply.status < 400
        plan.after(world.clock, call.is_gone)
        return reply

    def _authorize(self, caller: Caller, account: str, needed: list[str]) -> None:
        config = self.world.config
        if not caller.access_key or caller.access_key in config.rejected_keys:
            if caller.service == "ec2":
                raise _not_validated()
            raise Ec2Error("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        if caller.region not in region_names():
            # A region that does not exist has no endpoint either. The endpoint of another region answers this.
            if caller.service == "ec2":
                raise _not_validated()
            text = f"Credential should be scoped to a valid region, not '{caller.region}'."
            raise Ec2Error("SignatureDoesNotMatch", text, 403)
        for name in needed:
            if config.is_refused(*name.split(":", 1)):
                user = f"arn:aws:iam::{account}:user/{caller.access_key}"
                what = f"{name} on resource: * because no identity-based policy allows the {name} action"
                why = f"{user} is not authorized to perform: {what}"
                if caller.service == "ec2":
                    text = f"You are not authorized to perform this operation. User: {why}"
                    raise Ec2Error("UnauthorizedOperation", text, 403)
                raise Ec2Error("AccessDenied", f"User: {why}", 403)
