# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m sandbox`: serve a sandbox on loopback until a signal, or until the parent process is gone."""

from __future__ import annotations

import argparse
import contextlib
import gc
import ipaddress
import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime

from . import load_handlers
from .clock import Clock
from .control import Control
from .engine import Config, Engine, World
from .server import Server


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Serve a sandbox of EC2's storage (and moto's other services) over HTTP on loopback. "
        'One JSON line, {"url": ...}, is printed when it serves.',
        epilog="Clients need AWS_ENDPOINT_URL=<url>, any access key (twelve digits name the account) and any region. "
        "The control plane is under /_sandbox/; see README.md.",
    )
    cli.add_argument("--host", default="127.0.0.1", type=loopback, help="a loopback address (default: %(default)s)")
    cli.add_argument("--port", default=0, type=int, help="0 takes a free port (default: %(default)s)")
    cli.add_argument("--seed", type=int, help="makes the ids of resources the same in every run")
    cli.add_argument(
        "--duration",
        action="append",
        default=[],
        metavar="NAME=SECONDS",
        type=name_and_seconds,
        help="how long a state lasts, in sandbox seconds; may be repeated; --list-durations shows the names",
    )
    cli.add_argument("--list-durations", action="store_true", help="print all durations with their defaults, and exit")
    cli.add_argument("--latency", default=0.0, type=float, help="sandbox seconds added to every call (default: 0)")
    cli.add_argument("--speed", default=1.0, type=float, help="sandbox seconds per real second (default: 1)")
    cli.add_argument("--start", type=moment, help="the sandbox's time at the start, ISO 8601 (default: the real time)")
    cli.add_argument("--buckets", action="store_true", help="throttle with EC2's published token buckets")
    cli.add_argument("--lifetime", type=float, help="exit after so many real seconds (default: serve until a signal)")
    cli.add_argument("--parent-pid", type=int, help="exit when this process is gone")
    return cli


def loopback(text: str) -> str:
    """An address that only this machine can reach."""
    try:
        fine = ipaddress.ip_address(text).is_loopback
    except ValueError:
        fine = text == "localhost"
    if not fine:
        raise argparse.ArgumentTypeError(f"{text} is not a loopback address")
    return text


def name_and_seconds(text: str) -> tuple[str, float]:
    """`snapshot_pending=2.5`."""
    name, _between, seconds = text.partition("=")
    try:
        return name, float(seconds)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SECONDS") from None


def moment(text: str) -> datetime:
    """An ISO 8601 time; UTC when it names no zone."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO 8601 time") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 after an orderly end."""
    cli = parser()
    options = cli.parse_args(arguments)
    load_handlers()
    config = Config()
    try:
        config.update({"durations": dict(options.duration), "latency": options.latency, "buckets": options.buckets})
        clock = Clock(options.speed, options.start)
    except ValueError as error:
        cli.error(str(error))
    if options.list_durations:
        print(json.dumps(config.as_dict()["durations"], indent=2, sort_keys=True))
        return 0
    world = World(clock=clock, config=config, seed=options.seed)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with Server(options.host, options.port, Engine(world), Control(world)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        if options.parent_pid is not None:
            threading.Thread(target=watch, args=(options.parent_pid, stopped), daemon=True).start()
        print(json.dumps({"url": server.url, "pid": os.getpid()}), flush=True)
        warming = threading.Thread(target=warm_up, args=(world,), daemon=True)
        warming.start()
        with contextlib.suppress(KeyboardInterrupt):
            stopped.wait(options.lifetime)
        world.faults.clear()
        server.shutdown()
        warming.join()
    return 0


def warm_up(world: World) -> None:
    """Load the rest of moto while the client is still starting too; a call that needs it waits for the world's lock."""
    with world.lock:
        world.moto.warm_up()
        # The loaded modules are permanent: the collector need not look at them again with every 100,000 rows.
        gc.collect()
        gc.freeze()


def watch(pid: int, stopped: threading.Event) -> None:
    """Stop the server when the process is gone."""
    while not stopped.is_set():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            stopped.set()
            return
        except PermissionError:
            pass
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
