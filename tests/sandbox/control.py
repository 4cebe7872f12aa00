# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane: JSON over HTTP under `/_sandbox/`, for tests in other processes. README.md lists the routes."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from .engine import DEFAULT_ACCOUNT, Reply, World
from .errors import Ec2Error
from .log import plain
from .wire import timestamp_text

if TYPE_CHECKING:
    from datetime import datetime

Route = Callable[[dict[str, Any]], Any]


class NotFoundError(Exception):
    """No such thing."""


class Control:
    """Answers the control plane of one world: GET takes its arguments from the query, POST from a JSON object."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "state"): self._state,
            ("POST", "reset"): self._reset,
            ("GET", "log"): self._log,
            ("GET", "counts"): self._counts,
            ("POST", "log/reset"): self._log_reset,
            ("GET", "faults"): self._faults,
            ("POST", "faults/add"): self._faults_add,
            ("POST", "faults/remove"): self._faults_remove,
            ("POST", "faults/clear"): self._faults_clear,
            ("POST", "faults/release"): self._faults_release,
            ("POST", "faults/wait"): self._faults_wait,
            ("GET", "clock"): self._clock,
            ("POST", "clock/move"): self._clock_move,
            ("POST", "clock/speed"): self._clock_speed,
            ("GET", "config"): self._config,
            ("POST", "config"): self._config_set,
            ("POST", "seed"): self._seed,
            ("GET", "inspect"): self._inspect,
            ("GET", "marks"): self._marks,
            ("GET", "answering"): self._answering,
            ("POST", "marks/add"): self._marks_add,
        }

    def __call__(self, method: str, path: str, query: str, body: bytes) -> Reply:
        """Answer one call: 200 with a JSON value, or `{"error": ...}` with 400, 404 or 500."""
        name = path.removeprefix("/_sandbox/").strip("/")
        route = self._routes.get((method, name))
        if route is None:
            there = ", ".join(f"{verb} {each}" for verb, each in self._routes)
            return _json(404, {"error": f"no {method} {name}; there are: {there}"})
        try:
            return _json(200, route(_arguments(method, query, body)))
        except NotFoundError as error:
            return _json(404, {"error": str(error)})
        except Ec2Error as error:
            return _json(400, {"error": str(error)})
        except (ValueError, TypeError, KeyError) as error:
            return _json(400, {"error": f"{type(error).__name__}: {error}"})
        except Exception as error:
            traceback.print_exc()
            return _json(500, {"error": f"{type(error).__name__}: {error}"})

    # --- the world ---

    def _state(self, arguments: dict[str, Any]) -> Any:
        world = self.world
        with world.lock:
            regions = [
                {
                    "account": region.account,
                    "region": region.name,
                    "counts": {
                        "volumes": len(region.volumes),
                        "snapshots": len(region.snapshots),
                        "images": len(region.images),
                        "instances": len(region.instances),
                    },
                }
                for region in world.regions()
            ]
        return {"time": timestamp_text(world.clock.now()), "regions": regions, "paused": world.faults.paused()}

    def _reset(self, arguments: dict[str, Any]) -> Any:
        self.world.reset()
        return {}

    def _seed(self, arguments: dict[str, Any]) -> Any:
        from . import seeding

        with self.world.lock:
            return seeding.seed(self.world, arguments)

    def _inspect(self, arguments: dict[str, Any]) -> Any:
        found = self._resource(arguments["id"])
        with self.world.lock:
            return {"kind": found.kind, **_fields(found, self.world.clock.now())}

    def _marks(self, arguments: dict[str, Any]) -> Any:
        from . import content

        with self.world.lock:
            return content.marks_of(self.world, arguments["id"])

    def _answering(self, arguments: dict[str, Any]) -> Any:
        from . import serving

        account, region = arguments.get("account") or DEFAULT_ACCOUNT, arguments["region"]
        with self.world.lock:
            return serving.answering(self.world, account, region, arguments["address"])

    def _marks_add(self, arguments: dict[str, Any]) -> Any:
        from . import content

        with self.world.lock:
            return content.add_mark(self.world, arguments["id"], arguments.get("text", ""))

    def _resource(self, resource_id: str) -> Any:
        with self.world.lock:
            for region in self.world.regions():
                for kept in (region.volumes, region.snapshots, region.images, region.instances):
                    if resource_id in kept:
                        return kept[resource_id]
        raise NotFoundError(f"nothing has the id {resource_id}")

    # --- the log ---

    def _log(self, arguments: dict[str, Any]) -> Any:
        return self.world.log.entries(after=int(arguments.get("after", 0)), action=arguments.get("action") or None)

    def _counts(self, arguments: dict[str, Any]) -> Any:
        return self.world.log.counts()

    def _log_reset(self, arguments: dict[str, Any]) -> Any:
        self.world.log.reset()
        return {}

    # --- faults ---

    def _faults(self, arguments: dict[str, Any]) -> Any:
        return {"rules": self.world.faults.rules(), "paused": self.world.faults.paused()}

    def _faults_add(self, arguments: dict[str, Any]) -> Any:
        return {"id": self.world.faults.add(**arguments).id}

    def _faults_remove(self, arguments: dict[str, Any]) -> Any:
        self.world.faults.remove(arguments["id"])
        return {}

    def _faults_clear(self, arguments: dict[str, Any]) -> Any:
        self.world.faults.clear()
        return {}

    def _faults_release(self, arguments: dict[str, Any]) -> Any:
        return {"released": self.world.faults.release(arguments.get("id"))}

    def _faults_wait(self, arguments: dict[str, Any]) -> Any:
        return {"paused": self.world.faults.wait_paused(arguments.get("id"), float(arguments.get("seconds", 10)))}

    # --- clock and settings ---

    def _clock(self, arguments: dict[str, Any]) -> Any:
        clock = self.world.clock
        jumps = [[timestamp_text(before), timestamp_text(after)] for before, after in clock.jumps]
        return {"time": timestamp_text(clock.now()), "speed": clock.speed, "jumps": jumps}

    def _clock_move(self, arguments: dict[str, Any]) -> Any:
        with self.world.lock:
            moment = self.world.clock.move(float(arguments["seconds"]))
            self.world.settle()
            return {"time": timestamp_text(moment)}

    def _clock_speed(self, arguments: dict[str, Any]) -> Any:
        self.world.clock.set_speed(float(arguments["speed"]))
        return self._clock({})

    def _config(self, arguments: dict[str, Any]) -> Any:
        return self.world.config.as_dict()

    def _config_set(self, arguments: dict[str, Any]) -> Any:
        self.world.config.update(arguments)
        return self.world.config.as_dict()


def _arguments(method: str, query: str, body: bytes) -> dict[str, Any]:
    if method == "GET":
        return dict(parse_qsl(query))
    value = json.loads(body or b"{}")
    if not isinstance(value, dict):
        raise TypeError("the body is a JSON object")
    return value


def _json(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value).encode(), [("Content-Type", "application/json")])


def _fields(resource: Any, now: datetime) -> dict[str, Any]:
    """A resource as JSON can carry it, with its present state; other resources in it stand as their ids."""
    shown = {each.name: _plain(getattr(resource, each.name), now) for each in fields(resource)}
    state = getattr(resource, "state", None)
    return {**shown, "state": state(now)} if callable(state) else shown


def _plain(value: Any, now: datetime) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return value.id if hasattr(value, "id") else _fields(value, now)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, now) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, now) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    return plain(value)
