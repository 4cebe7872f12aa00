# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, steer and inspect a sandbox from another process: for tests, the demo and the benchmark."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload
from urllib.parse import urlencode

from .clock import PRESENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from mypy_boto3_ec2 import EC2Client

#: Where `python -m sandbox` is found.
HOME = Path(__file__).resolve().parent.parent

#: Real seconds in which a started sandbox must serve.
START_LIMIT = 60.0


class SandboxError(Exception):
    """The sandbox could not be started, or its control plane refused a call."""


def living(ec2: Any) -> dict[str, dict[str, Any]]:
    """The instances that are not terminated, by id, as the client *ec2* sees them."""
    rows = [row for group in ec2.describe_instances()["Reservations"] for row in group["Instances"]]
    return {row["InstanceId"]: row for row in rows if row["State"]["Name"] not in ("shutting-down", "terminated")}


class Sandbox:
    """A sandbox that serves at a URL; as a context manager it is stopped at the end, if it was started here."""

    def __init__(self, url: str, process: subprocess.Popen[str] | None = None) -> None:
        self.url = url
        self._process = process
        self._session: Any = None
        self._clients: dict[tuple[Any, ...], Any] = {}
        self._clients_lock = threading.Lock()

    @classmethod
    def start(
        cls,
        *,
        seed: int | None = None,
        durations: Mapping[str, float] | None = None,
        latency: float = 0.0,
        speed: float = 1.0,
        start: str | None = None,
        buckets: bool = False,
        port: int = 0,
        python: str = sys.executable,
        stderr: Path | str | None = None,
    ) -> Self:
        """Start a sandbox on loopback that ends with this process at the latest.

        durations: sandbox seconds by name. latency: sandbox seconds per call. speed: sandbox seconds per real second.
        start: ISO 8601. stderr: a file for its messages; None leaves them on this process's stderr.
        Raises SandboxError when it does not serve within a minute.
        """
        command = [python, "-m", "sandbox", "--port", str(port), "--parent-pid", str(os.getpid())]
        command += ["--latency", str(latency), "--speed", str(speed)]
        command += ["--seed", str(seed)] if seed is not None else []
        command += ["--start", start] if start is not None else []
        command += ["--buckets"] if buckets else []
        for name, seconds in (durations or {}).items():
            command += ["--duration", f"{name}={seconds}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH", "")]))
        with contextlib.ExitStack() as files:
            sink = files.enter_context(Path(stderr).open("ab")) if stderr is not None else None
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink, text=True
            )
        watchdog = threading.Timer(START_LIMIT, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
        finally:
            watchdog.cancel()
        if not line:
            process.kill()
            raise SandboxError(f"the sandbox did not start: `{' '.join(command)}` ended with {process.wait()}")
        return cls(json.loads(line)["url"], process)

    def stop(self) -> None:
        """Stop it, if it was started here; returns when it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process that was started here."""
        return self._process.pid if self._process else None

    # --- AWS clients ---

    def environment(self, *, account: str | None = None, region: str = "us-east-1") -> dict[str, str]:
        """Environment variables with which any AWS client talks to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": account or "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @overload
    def client(
        self,
        service: Literal["ec2"] = "ec2",
        region: str = "us-east-1",
        *,
        account: str | None = None,
        retries: int = 1,
        late: bool = False,
        **config: Any,
    ) -> EC2Client: ...

    @overload
    def client(
        self,
        service: str,
        region: str = "us-east-1",
        *,
        account: str | None = None,
        retries: int = 1,
        late: bool = False,
        **config: Any,
    ) -> Any: ...

    def client(
        self,
        service: str = "ec2",
        region: str = "us-east-1",
        *,
        account: str | None = None,
        retries: int = 1,
        late: bool = False,
        **config: Any,
    ) -> Any:
        """A boto3 client. account: twelve digits. retries: attempts in all. config: of botocore.config.Config.

        The client is for the test itself: its reads are never late, and all other clients see its changes at once.
        All other clients, such as those of `environment`, are under `read_lag`; so is one that is made with late=True.

        The same arguments give the same client, since making one is slow and not thread-safe. botocore's clients
        themselves are thread-safe.
        """
        import boto3
        from botocore.config import Config

        if not late:
            config["user_agent_extra"] = f"{config.get('user_agent_extra', '')} {PRESENT}".strip()
        key = (service, region, account, retries, tuple(sorted(config.items())))
        with self._clients_lock:
            if key not in self._clients:
                # One session keeps the models that it has read.
                self._session = self._session or boto3.session.Session()
                self._clients[key] = self._session.client(
                    service,
                    region_name=region,
                    endpoint_url=self.url,
                    aws_access_key_id=account or "testing",
                    aws_secret_access_key="testing",
                    config=Config(retries={"total_max_attempts": retries, "mode": "standard"}, **config),
                )
            return self._clients[key]

    # --- control plane ---

    def _call(self, method: str, route: str, arguments: Mapping[str, Any] | None = None, wait: float = 60.0) -> Any:
        url, body = f"{self.url}/_sandbox/{route}", None
        if method == "GET":
            url += f"?{urlencode(arguments)}" if arguments else ""
        else:
            body = json.dumps(arguments or {}).encode()
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
        # No proxy of the environment stands between a test and loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=wait) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode("utf-8", "replace")
            with contextlib.suppress(ValueError, KeyError):
                text = json.loads(text)["error"]
            raise SandboxError(f"{method} {route}: {text}") from None
        except OSError as error:
            raise SandboxError(f"{method} {route}: the sandbox at {self.url} does not answer: {error}") from None

    def state(self) -> dict[str, Any]:
        """Time, counts of resources by account and region, and the calls that are paused."""
        return dict(self._call("GET", "state"))

    def reset(self) -> None:
        """A new, empty world: resources, faults, log and tokens are gone, moto's too; the clock and settings stay."""
        self._call("POST", "reset")

    def seed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Make resources without calls; the specification is that of seeding.py."""
        return dict(self._call("POST", "seed", spec, wait=300.0))

    def inspect(self, resource_id: str) -> dict[str, Any]:
        """All facts about a resource in the sandbox, even if EC2 no longer shows the resource."""
        return dict(self._call("GET", "inspect", {"id": resource_id}))

    def marks(self, resource_id: str) -> dict[str, Any]:
        """The marks of a volume, a snapshot, an image or an instance, in the shape of content.marks_of."""
        return dict(self._call("GET", "marks", {"id": resource_id}))

    def answering(self, address: str, region: str = "us-east-1") -> list[dict[str, Any]]:
        """The instances that answer requests at an address now; see serving.py. This is no call in the log."""
        return list(self._call("GET", "answering", {"address": address, "region": region}))

    def add_mark(self, volume_id: str, text: str) -> dict[str, Any]:
        """Write a mark of the test to a volume, and return it."""
        return dict(self._call("POST", "marks/add", {"id": volume_id, "text": text}))

    def log(self, *, after: int = 0, action: str | None = None) -> list[dict[str, Any]]:
        """The calls since the last reset, in order of arrival; see log.Entry for the fields."""
        return list(self._call("GET", "log", {"after": after, **({"action": action} if action else {})}))

    def counts(self) -> dict[str, int]:
        """Calls by action since the last reset."""
        return dict(self._call("GET", "counts"))

    def reset_log(self) -> None:
        """Forget the calls."""
        self._call("POST", "log/reset")

    def add_fault(self, action: str = "*", **rule: Any) -> str:
        """Add a fault; see faults.Rule for the fields. Returns its id."""
        return str(self._call("POST", "faults/add", {"action": action, **rule})["id"])

    def remove_fault(self, fault_id: str) -> None:
        """Remove one fault and release its pauses."""
        self._call("POST", "faults/remove", {"id": fault_id})

    def faults(self) -> dict[str, Any]:
        """`rules` (with `seen` and `hits`) and the calls that are `paused`."""
        return dict(self._call("GET", "faults"))

    def clear_faults(self) -> None:
        """Remove all faults and release all pauses."""
        self._call("POST", "faults/clear")

    @contextlib.contextmanager
    def fault(self, action: str = "*", **rule: Any) -> Iterator[str]:
        """A fault for the length of a with block."""
        fault_id = self.add_fault(action, **rule)
        try:
            yield fault_id
        finally:
            with contextlib.suppress(SandboxError):
                self.remove_fault(fault_id)

    def wait_paused(self, fault_id: str | None = None, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until a call is held by a pause. Raises SandboxError when none is within that many real seconds."""
        paused = self._call("POST", "faults/wait", {"id": fault_id, "seconds": seconds}, wait=seconds + 10)["paused"]
        if paused is None:
            raise SandboxError(f"no call was paused by {fault_id or 'any fault'} within {seconds} s")
        return dict(paused)

    def release(self, name: str | None = None) -> int:
        """Let paused calls go on: those of a fault, one by its id, or all. Returns how many."""
        return int(self._call("POST", "faults/release", {"id": name})["released"])

    def now(self) -> datetime:
        """The sandbox's time."""
        return datetime.fromisoformat(self._call("GET", "clock")["time"])

    def clock(self) -> dict[str, Any]:
        """`time`, `speed` and `jumps`."""
        return dict(self._call("GET", "clock"))

    def move_clock(self, seconds: float) -> datetime:
        """Jump forward; returns the new time."""
        return datetime.fromisoformat(self._call("POST", "clock/move", {"seconds": seconds})["time"])

    def set_speed(self, speed: float) -> None:
        """Sandbox seconds per real second from now on."""
        self._call("POST", "clock/speed", {"speed": speed})

    def configure(self, **settings: Any) -> dict[str, Any]:
        """Change settings (see engine.Config); returns all of them."""
        return dict(self._call("POST", "config", settings))

    def refuse(self, *actions: str) -> None:
        """Answer UnauthorizedOperation to these actions from now on (none: to no action)."""
        self.configure(refused=list(actions))
