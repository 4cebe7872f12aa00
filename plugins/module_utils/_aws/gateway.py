# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EC2 over boto3: queries with all their pages, single writes, waits. Every repeat of a call happens in this file.

Private to this collection.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.amazon.aws.plugins.module_utils.common import set_collection_info

from .._kernel.errors import StorageError, listed
from .._kernel.failures import TOKEN_SPENT, CallError
from .._kernel.places import Place
from .._kernel.plan import Change
from .._kernel.progress import SILENT, Progress
from .._kernel.resources import Resource
from .._kernel.service_facts import PROBE_SERVICE
from .._kernel.state import Query, by_id
from . import codec, decoding, shared_model
from .connecting import own_client, profile_client
from .lean_parser import parser_factory
from .pacing import PACED, Pacer

try:
    from botocore import xform_name
    from botocore.config import Config
    from botocore.utils import parse_timestamp
except ImportError:  # AnsibleAWSModule reports the missing library, with the versions that it needs
    pass

if TYPE_CHECKING:
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
    from botocore.client import BaseClient

    from .waiting import Watch

Connect = Callable[[str, str], "BaseClient"]
"""Make the boto3 client for (service, place); see `place_of`."""

# How long a call is repeated, in seconds from its first try, by the reason of its failure.
READ_THROTTLED = 60.0
WRITE_THROTTLED = 300.0
UNCLEAR = 30.0
UNREACHABLE_AT_FIRST = 2.0
"""The limit for an unreachable address before the first answer. The address is probably wrong, and the user should
learn that soon.
"""
PARALLEL = 8
NAP = 0.2
"""Seconds after which a sleep checks whether the task was interrupted."""


def module_clients(module: AnsibleAWSModule) -> Connect:
    """Return a function that makes clients from the module's connection options.

    These clients never let botocore repeat a call, whatever ``aws_config``, AWS_MAX_ATTEMPTS and AWS_RETRY_MODE say.
    botocore would repeat creates without a client token, and would count all its attempts as one call. amazon.aws
    merges ``aws_config`` last, so this function overrides these values of the user.
    """
    set_collection_info(collection_name="ec2ops.storage")

    def connect(service: str, place: str) -> BaseClient:
        where = Place.parse(place)
        region, profile = where.region, where.profile
        asked = dict(module.params.get("aws_config") or {})
        options = {
            "connect_timeout": 4,
            "read_timeout": 20,
            "max_pool_connections": 2 * PARALLEL,
            **asked,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        }
        try:
            config = Config(**options)
        except TypeError as error:
            raise StorageError(f"aws_config: {error}") from error
        with shared_model.sessions(_parse_quickly):
            if profile is None:
                return own_client(module, service, region, config)
            return profile_client(module, service, region, profile, config)

    return connect


def _parse_quickly(session: Any) -> None:
    """Make the clients of the session use the lean parser and `read_time`."""
    session.register_component("response_parser_factory", parser_factory(read_time))


def read_time(value: Any) -> datetime:
    """Return the time in an answer: a text, or the seconds since 1970. Raises ValueError for any other text.

    Python's own reader, in C, takes EC2's form. botocore's reader takes all other forms. On a large page, botocore's
    reader needs as long for the times as botocore needs for all the rest.
    """
    if isinstance(value, str) and value.endswith("Z"):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    moment: datetime = parse_timestamp(value)
    return moment


def _label(changes: Sequence[Change]) -> str:
    names = [change.resource for change in changes]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _incomplete(changes: Sequence[Change], made: Mapping[str, str]) -> CallError:
    """Return the error of a CreateSnapshots that has left out some volumes. The other snapshots exist."""
    missing = [change.source for change in changes if change.resource not in made]
    return CallError(
        changes[0].action,
        "IncompleteAnswer",
        f"EC2 took no snapshot of {listed(missing)}",
        resource=str(changes[0].parameters.get("InstanceSpecification", {}).get("InstanceId") or _label(changes)),
        hint="EC2 skips a volume that is detached during the call. Run the task again to take a whole set.",
        made=made,
    )


class Stopped(BaseException):
    """The task was interrupted, so no further call may begin. Only the end of the task may catch it."""


class Ec2Gateway:
    """`ports.Gateway` over boto3 clients. Each client is made on first use, one per service and region.

    *progress* gets the reports about waits, finished calls and pauses. *profile* is the task's own, for messages. Tests
    pass *monotonic* and *sleep* to scale time.
    """

    def __init__(
        self,
        connect: Connect,
        region: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
        progress: Progress = SILENT,
        profile: str = "",
    ) -> None:
        self._connect = connect
        self._region = region
        self._profile = profile
        self._monotonic = monotonic
        self._stopped = False
        self._sleep = self._rest if sleep is None else sleep
        self._jitter = jitter
        self._progress = progress
        self._thread = threading.local()
        self._pacer = Pacer(monotonic, self._sleep)
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], BaseClient] = {}
        self._calls: Counter[str] = Counter()
        self._answered = False
        self._date: tuple[str, datetime | None, float] | None = None

    @property
    def region(self) -> str:
        """Return the place of every query that names none."""
        return self._region

    @property
    def calls(self) -> Mapping[str, int]:
        """Return the number of requests sent, by operation. Repeats count too."""
        with self._lock:
            return dict(sorted(self._calls.items()))

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self._monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for *seconds* of `monotonic`. After a refused call of this thread, report it as a pause."""
        refused: tuple[str, str] | None = getattr(self._thread, "refused", None)
        if refused is not None:
            self._progress.pausing(*refused, seconds)
        self._sleep(seconds)

    def stop(self) -> None:
        """End all sleeps, and let no further call begin. A thread that begins a call gets the exception Stopped.

        Calls that are under way end by themselves. A signal handler may call this, so it takes no lock.
        """
        self._stopped = True

    def _require_going_on(self) -> None:
        if self._stopped:
            raise Stopped

    def _rest(self, seconds: float) -> None:
        """Sleep in naps, so that `stop` soon ends it."""
        end = self._monotonic() + seconds
        while (left := end - self._monotonic()) > 0:
            self._require_going_on()
            time.sleep(min(left, NAP))

    def now(self) -> datetime:
        """Return EC2's time: the Date header of the first answer, plus the time since. Raises
        StorageError without one.
        """
        if self._date is None:
            # The cheapest call that every user of this collection may make. No instance has this id.
            self.ask(by_id("DescribeInstances", "instance-id", ["i-00000000"]))
        if self._date is None or self._date[1] is None:
            seen = "none" if self._date is None else repr(self._date[0])
            raise StorageError(
                f"EC2's answer has no readable Date header ({seen}), and the task decides by EC2's time only. "
                "Check the proxy or simulator between this machine and the endpoint."
            )
        return self._date[1] + timedelta(seconds=self._monotonic() - self._date[2])

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        """Return the answers with all their pages. Several queries run in parallel. Raises CallError, see the port."""
        return self._ask(queries, None, failures)

    def watch(self) -> Watch:
        """Return a new poll loop for waits."""
        from .waiting import Watch

        return Watch(self._ask, self._monotonic, self._progress)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        """Make one call for *changes*, and return the id of each new resource. Raises CallError, see the port."""
        made = self._perform(changes, generation)
        first = changes[0]
        # With several resources in one call, their number does not show how long the rest takes.
        rate = self._pacer.rate(first.action, first.region) if first.operation.most == 1 else None
        self._progress.called(first.action, len(changes), rate)
        return made

    def _perform(self, changes: Sequence[Change], generation: int) -> Mapping[str, str]:
        first = changes[0]
        request = codec.change_request(changes, generation)
        try:
            answer = self._call(
                first.operation.service,
                first.region,
                first.action,
                request,
                resource=_label(changes),
                repeat=first.operation.safe,
                write=True,
            )
        except CallError as error:
            if len(changes) == 1 and error.code in first.operation.already:
                return {}
            raise
        try:
            spent = codec.token_spent(first, answer)
            if spent:
                gone = codec.created_ids(changes, answer)[first.resource]
                raise CallError(first.action, TOKEN_SPENT, spent, resource=first.resource, spent=gone)
            refused = codec.refused_part(answer)
            if refused is not None:
                resource, code, message = refused
                raise CallError(first.action, code, message, resource=resource)
            made = codec.created_ids(changes, answer)
        except (KeyError, IndexError) as error:
            raise CallError(
                first.action, "UnexpectedAnswer", f"the answer has no id for {error}", resource=_label(changes)
            ) from error
        if first.creates and len(made) < len(changes):
            raise _incomplete(changes, made)
        return made

    def rehearse(self, change: Change) -> None:
        """Ask EC2 with DryRun whether it would carry out *change*. Raises CallError, see the port."""
        request = {**codec.change_request([change]), "DryRun": True}
        try:
            self._call("ec2", change.region, change.action, request, resource=change.resource)
        except CallError as error:
            # EC2 says yes with this error (EC2 API reference, DryRun).
            if error.code == "DryRunOperation":
                return
            raise
        raise CallError(
            change.action,
            "UnexpectedAnswer",
            "the endpoint ignored DryRun and may have carried out the call",
            resource=change.resource,
        )

    def _ask(
        self, queries: Iterable[Query], until: float | None, failures: dict[Query, StorageError] | None = None
    ) -> dict[Query, tuple[Resource, ...]]:
        def answer(query: Query) -> tuple[Resource, ...]:
            try:
                return self._answer(query, until)
            except CallError as error:
                if failures is None or not query.optional:
                    raise
                failures[query] = error
                return ()

        wanted = list(dict.fromkeys(queries))
        asked = dict.fromkeys((query.service, query.place) for query in wanted if query.service != PROBE_SERVICE)
        for service, place in asked:
            # The clients are made here and not in the threads, since making one is not thread-safe, and its errors end
            # the module.
            self._client(service, place or self._region)
        if len(wanted) < 2:
            return {query: answer(query) for query in wanted}
        with ThreadPoolExecutor(max_workers=min(PARALLEL, len(wanted))) as pool:
            return dict(zip(wanted, pool.map(answer, wanted), strict=True))

    def _answer(self, query: Query, until: float | None) -> tuple[Resource, ...]:
        if query.service == PROBE_SERVICE:
            from .probing import probe

            return probe(query)
        if query.operation == "DescribeSnapshots":
            from . import splitting

            return splitting.read(query, lambda part: self._pages(part, until), PARALLEL)
        # Decode page by page, since boto3's dictionaries are several times as large as the resources.
        return codec.decode(query, self._pages(query, until))

    def _pages(self, query: Query, until: float | None) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] | None = codec.query_request(query)
        page: Mapping[str, Any] | None = None
        while request is not None:
            try:
                page = self._call(query.service, query.place or self._region, query.operation, request, until=until)
            except CallError as error:
                resumed = codec.resumed_request(query, request, page, error.code)
                if resumed is not None:
                    request, page = resumed, None
                    continue
                if error.code not in codec.LISTINGS[query.operation].unknown:
                    raise
                page = {decoding.UNKNOWN: error.code}
            yield page
            request = codec.next_request(query, request, page)

    def _client(self, service: str, region: str) -> BaseClient:
        with self._lock:
            key = (service, region)
            if key not in self._clients:
                self._clients[key] = self._connect(service, region)
            return self._clients[key]

    # More than 40 lines: one loop, whose steps all depend on the same attempt.
    def _call(
        self,
        service: str,
        region: str,
        operation: str,
        request: Mapping[str, Any],
        *,
        resource: str = "",
        repeat: bool = True,
        write: bool = False,
        until: float | None = None,
    ) -> Mapping[str, Any]:
        """Make one call.

        Throttled calls are always repeated. After an unclear answer the call is repeated only with *repeat*. Raises
        CallError.
        """
        client = self._client(service, region)
        method = _method(client, operation)
        started = self._monotonic()
        attempt = 0
        while True:
            if service in PACED:
                self._pacer.acquire(operation, region)
            self._require_going_on()
            with self._lock:
                self._calls[operation] += 1
            try:
                answer: Mapping[str, Any] = method(**request)
            except Exception as raised:  # call_error raises every other exception again
                from .errors import call_error

                place = Place.parse(region)
                error = call_error(
                    raised,
                    service,
                    operation,
                    request,
                    resource=resource,
                    endpoint=client.meta.endpoint_url,
                    profile=place.profile or self._profile,
                )
                if region != self._region:
                    error = error.in_place(place)
                self._note(getattr(raised, "response", None))
                self._thread.refused = (f"{operation} of {resource}" if resource else operation, error.code)
                limit = self._patience(error, region, repeat, write)
                delay = min(0.2 * 2**attempt, 8.0) * (0.5 + self._jitter() / 2)
                end = started + limit if until is None else min(started + limit, until)
                if self._monotonic() + delay > end:
                    raise error from raised
                self.sleep(delay)
                attempt += 1
            else:
                if service == "ec2" and "RequestId" not in (answer.get("ResponseMetadata") or {}):
                    from .errors import stranger

                    raise stranger(operation, resource=resource, endpoint=client.meta.endpoint_url)
                self._note(answer)
                self._thread.refused = None
                return answer

    def _patience(self, error: CallError, region: str, repeat: bool, write: bool) -> float:
        """Return the seconds within which the call may be repeated after *error*."""
        if not error.passing:
            return 0.0
        from .errors import is_throttling

        if is_throttling(error):
            self._pacer.throttled(error.operation, region)
            return WRITE_THROTTLED if write else READ_THROTTLED
        if error.unclear and not repeat:
            return 0.0
        return UNCLEAR if self._answered else UNREACHABLE_AT_FIRST

    def _note(self, answer: Mapping[str, Any] | None) -> None:
        """Keep EC2's time from the first answer, even from a refusal."""
        if answer is None or self._date is not None:
            return
        header = str(((answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}).get("date", ""))
        received = self._monotonic()
        try:
            moment: datetime | None = parsedate_to_datetime(header).astimezone(UTC)
        except (TypeError, ValueError):
            moment = None
        with self._lock:
            self._answered = True
            if self._date is None:
                self._date = (header, moment, received)


def _method(client: Any, operation: str) -> Callable[..., Mapping[str, Any]]:
    """Return the client's method for the operation. Raises CallError if botocore is too old."""
    method: Callable[..., Mapping[str, Any]] | None = getattr(client, xform_name(operation), None)
    if method is None:
        raise CallError(
            operation, "UnknownOperation", "this botocore does not know the operation", hint="Install a newer boto3."
        )
    return method
