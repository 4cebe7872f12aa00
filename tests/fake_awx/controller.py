# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller for the tests: the part of AWX's REST API that the modules of awx.awx use, in memory, on loopback.

It starts no job. AWX itself needs Kubernetes.
"""

from __future__ import annotations

import copy
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from fake_awx.kinds import (
    AMAZON,
    ENCRYPTED,
    KINDS,
    LAUNCHED,
    PLAY,
    Kind,
    Object,
    RefusedError,
    checked_inputs,
    checked_launch,
    checked_survey,
    secrets_of,
    with_defaults,
)

PREFIX = "/api/v2/"
PAGE_SIZE = 25
MOST_OBJECTS = 1000
LARGEST_REQUEST = 1_000_000


@dataclass(frozen=True)
class Request:
    """A request that may change an object."""

    method: str
    path: str
    body: Mapping[str, Any]


class Controller:
    """The objects of a controller whose one project has the files of *folder*. It has the organization Default.

    ``requests`` has every request that may change an object, and ``ignored`` the fields in them that AWX ignores.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: list[Request] = []
        self.ignored: set[tuple[str, str]] = set()
        self.token = secrets.token_hex(16)
        self._folder = folder
        self._lock = threading.Lock()
        self._objects: dict[str, dict[int, Object]] = {endpoint: {} for endpoint in KINDS}
        self._links: dict[tuple[str, int, str], list[int]] = {}
        self._surveys: dict[tuple[str, int], Object] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._add("organizations", {"name": "Default"})
        self._add("credential_types", AMAZON)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the modules of awx.awx find this controller."""
        return {
            "CONTROLLER_HOST": f"http://127.0.0.1:{self._server.server_address[1]}",
            "CONTROLLER_OAUTH_TOKEN": self.token,
        }

    # --- for the tests ----------------------------------------------------------------------------------------------

    def one(self, endpoint: str, name: str) -> Object:
        """Return the object with this name or identifier, secrets included. Raise ValueError unless there is one."""
        key = "identifier" if endpoint == "workflow_job_template_nodes" else "name"
        (found,) = [each for each in self._objects[endpoint].values() if each[key] == name]
        return found

    def linked(self, endpoint: str, name: str, relation: str) -> list[str]:
        """Return the names of the objects that an object is linked with."""
        ids = self._links.get((endpoint, self.one(endpoint, name)["id"], relation), [])
        target = self._objects[KINDS[endpoint].links[relation]]
        return [target[each].get("name") or target[each]["identifier"] for each in ids]

    def survey(self, endpoint: str, name: str) -> Object:
        """Return the survey of a template."""
        return self._surveys[endpoint, self.one(endpoint, name)["id"]]

    # --- the API ----------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, body: Object) -> tuple[int, Any]:
        """Return the status and the body of the answer to one request."""
        address = urlsplit(target)
        if not address.path.startswith(PREFIX):
            return HTTPStatus.NOT_FOUND, {"detail": "Not found."}
        words = address.path.removeprefix(PREFIX).strip("/").split("/")
        with self._lock:
            if method != "GET":
                self.requests.append(Request(method, address.path, copy.deepcopy(body)))
            try:
                return self._routed(method, words, dict(parse_qsl(address.query)), body)
            except RefusedError as error:
                return HTTPStatus.BAD_REQUEST, error.answer
            except KeyError:
                return HTTPStatus.NOT_FOUND, {"detail": "Not found."}

    def _routed(self, method: str, words: list[str], query: dict[str, str], body: Object) -> tuple[int, Any]:
        endpoint, *rest = words
        if (method, endpoint) == ("GET", "project_updates"):
            return HTTPStatus.OK, {"id": int(rest[0]), "status": "successful", "finished": True, "failed": False}
        if not rest:
            return self._list(endpoint, query) if method == "GET" else self._create(endpoint, body)
        number = int(rest[0])
        stored = self._objects[endpoint][number]
        match method, rest[1:]:
            case "GET", []:
                return HTTPStatus.OK, self._shown(endpoint, stored)
            case "PATCH", []:
                return self._update(endpoint, stored, body)
            case "GET", ["survey_spec"]:
                return HTTPStatus.OK, self._surveys.get((endpoint, number), {})
            case "POST", ["survey_spec"]:
                checked_survey(body)
                self._surveys[endpoint, number] = body
                return HTTPStatus.OK, {}
            case "POST", ["create_approval_template"]:
                return self._approval(stored, body)
            case "GET", [relation]:
                return self._page(KINDS[endpoint].links[relation], self._related(endpoint, number, relation), query)
            case "POST", [relation]:
                return self._link(endpoint, number, relation, body)
        return HTTPStatus.METHOD_NOT_ALLOWED, {"detail": f'Method "{method}" not allowed.'}

    def _list(self, endpoint: str, query: dict[str, str]) -> tuple[int, Any]:
        endpoints = LAUNCHED if endpoint == "unified_job_templates" else (endpoint,)
        found = []
        for each in endpoints:
            known = {*KINDS[each].fields, *KINDS[each].read_only, "id", "type"}
            wanted = {key: value for key, value in query.items() if key not in ("page", "page_size")}
            if endpoint == each and set(wanted) - known:
                raise RefusedError({"detail": f"{endpoint} has no field named {sorted(set(wanted) - known)}"})
            found += [
                stored
                for stored in self._objects[each].values()
                if all(str(stored.get(key)) == value for key, value in wanted.items())
            ]
        return self._page(endpoint, found, query)

    def _page(self, endpoint: str, found: list[Object], query: dict[str, str]) -> tuple[int, Any]:
        number = int(query.get("page", "1"))
        shown = [self._shown(_endpoint_of(each), each) for each in found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]]
        following = f"{PREFIX}{endpoint}/?page={number + 1}" if number * PAGE_SIZE < len(found) else None
        return HTTPStatus.OK, {"count": len(found), "next": following, "previous": None, "results": shown}

    def _create(self, endpoint: str, body: Object) -> tuple[int, Any]:
        kind = KINDS[endpoint]
        missing = [name for name in kind.required if body.get(name) in (None, "")]
        if missing:
            raise RefusedError({name: ["This field is required."] for name in missing})
        return HTTPStatus.CREATED, self._shown(endpoint, self._add(endpoint, body))

    def _update(self, endpoint: str, stored: Object, body: Object) -> tuple[int, Any]:
        changed = self._checked(endpoint, {**stored, **self._taken(endpoint, body)}, stored)
        stored.update(changed)
        return HTTPStatus.OK, self._shown(endpoint, stored)

    def _approval(self, node: Object, body: Object) -> tuple[int, Any]:
        if node["unified_job_template"] is not None:
            raise RefusedError({"__all__": ["This node has a template already."]})
        made = self._add("workflow_approval_templates", body)
        node["unified_job_template"] = made["id"]
        return HTTPStatus.CREATED, self._shown("workflow_approval_templates", made)

    def _link(self, endpoint: str, number: int, relation: str, body: Object) -> tuple[int, Any]:
        ids = self._links.setdefault((endpoint, number, relation), [])
        target = self._objects[KINDS[endpoint].links[relation]][body["id"]]
        if body.get("disassociate"):
            ids.remove(body["id"])
            return HTTPStatus.NO_CONTENT, None
        others = [self._objects["credentials"][each] for each in ids] if relation == "credentials" else []
        if target.get("credential_type") in [each["credential_type"] for each in others]:
            raise RefusedError({"error": "Cannot assign multiple credentials of one type."})
        if relation.endswith("_nodes") and number in [body["id"], *self._after(body["id"])]:
            raise RefusedError({"Error": "Cycle detected."})
        ids.append(body["id"])
        return HTTPStatus.NO_CONTENT, None

    def _after(self, node: int) -> Iterator[int]:
        """The nodes that follow on a node."""
        for relation in KINDS["workflow_job_template_nodes"].links:
            for each in self._links.get(("workflow_job_template_nodes", node, relation), []):
                yield each
                yield from self._after(each)

    def _related(self, endpoint: str, number: int, relation: str) -> list[Object]:
        target = self._objects[KINDS[endpoint].links[relation]]
        return [target[each] for each in self._links.get((endpoint, number, relation), [])]

    # --- objects ----------------------------------------------------------------------------------------------------

    def _add(self, endpoint: str, body: Mapping[str, Any]) -> Object:
        number = 1 + sum(len(each) for each in self._objects.values())
        if number > MOST_OBJECTS:
            raise RefusedError({"__all__": ["too many objects"]})
        kind = KINDS[endpoint]
        fields = {**copy.deepcopy(dict(kind.fields)), **self._taken(endpoint, body)}
        made = self._checked(endpoint, {**fields, "id": number, "type": kind.type}, None)
        if endpoint == "credential_types":
            made["managed"] = bool(body.get("managed"))
        self._objects[endpoint][number] = made
        return made

    def _taken(self, endpoint: str, body: Mapping[str, Any]) -> Object:
        kind = KINDS[endpoint]
        self.ignored |= {(endpoint, name) for name in body if name not in {*kind.fields, *kind.read_only}}
        return copy.deepcopy({name: value for name, value in body.items() if name in kind.fields})

    def _checked(self, endpoint: str, made: Object, before: Object | None) -> Object:
        """Return the object as AWX stores it. Raise RefusedError if AWX refuses it."""
        kind = KINDS[endpoint]
        for name, target in kind.references.items():
            if made[name] is not None:
                self._referenced(target, name, made[name])
        self._alone(endpoint, kind, made)
        made = with_defaults(endpoint, made)
        if endpoint == "credentials":
            checked_inputs(made["inputs"], self._objects["credential_types"][made["credential_type"]])
            kept = {name: value for name, value in made["inputs"].items() if value != ENCRYPTED or before is None}
            made["inputs"] = {**(before or {"inputs": {}})["inputs"], **kept}
        elif endpoint == "job_templates":
            made["organization"] = self._objects["projects"][made["project"]]["organization"]
            if made["playbook"] not in self._playbooks():
                raise RefusedError({"playbook": ["Playbook not found for project."]})
        elif endpoint == "schedules":
            target = self._referenced("unified_job_templates", "unified_job_template", made["unified_job_template"])
            checked_launch(made, target, self._surveys.get((_endpoint_of(target), target["id"]), {}))
        return made

    def _referenced(self, endpoint: str, name: str, number: int) -> Object:
        endpoints = LAUNCHED if endpoint == "unified_job_templates" else (endpoint,)
        for each in endpoints:
            if number in self._objects[each]:
                return self._objects[each][number]
        raise RefusedError({name: [f'Invalid pk "{number}" - object does not exist.']})

    def _alone(self, endpoint: str, kind: Kind, made: Object) -> None:
        names = [name for name in kind.unique if name in made]
        for other in self._objects[endpoint].values():
            if names and other["id"] != made["id"] and all(other[name] == made[name] for name in names):
                raise RefusedError({"__all__": [f"{kind.type} with this {' and '.join(names)} already exists."]})

    def _playbooks(self) -> set[str]:
        files = [path for path in self._folder.rglob("*.yml") if "tasks" not in path.relative_to(self._folder).parts]
        return {str(path.relative_to(self._folder)) for path in files if PLAY.search(path.read_text(encoding="utf-8"))}

    def _shown(self, endpoint: str, stored: Object) -> Object:
        """Return an object as AWX answers with it."""
        url = f"{PREFIX}{endpoint}/{stored['id']}/"
        shown = {**copy.deepcopy(stored), "url": url, "related": {}, "summary_fields": {}}
        if "survey_enabled" in stored:
            shown["related"]["survey_spec"] = f"{url}survey_spec/"
        if endpoint == "credentials":
            hidden = secrets_of(self._objects["credential_types"][stored["credential_type"]])
            shown["inputs"] = {
                name: ENCRYPTED if name in hidden and value else value for name, value in stored["inputs"].items()
            }
        elif endpoint == "projects":
            shown["scm_revision"] = "0" * 40
            shown["summary_fields"]["current_update"] = {"id": stored["id"]}
        elif endpoint == "workflow_job_template_nodes" and stored["unified_job_template"] is not None:
            number = stored["unified_job_template"]
            target = _endpoint_of(self._referenced("unified_job_templates", "unified_job_template", number))
            shown["related"]["unified_job_template"] = f"{PREFIX}{target}/{number}/"
        return shown


def _endpoint_of(stored: Object) -> str:
    (found,) = [endpoint for endpoint, kind in KINDS.items() if kind.type == stored["type"]]
    return found


def _handler(controller: Controller) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers on one connection. A request without the token is refused."""

        timeout = 10

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            if length > LARGEST_REQUEST:
                return self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"detail": "too large"})
            text = self.rfile.read(length)
            if self.headers.get("Authorization") != f"Bearer {controller.token}":
                return self._send(HTTPStatus.UNAUTHORIZED, {"detail": "Authentication credentials were not provided."})
            return self._send(*controller.answer(self.command, self.path, json.loads(text) if text else {}))

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815 -- the names of http.server

        def _send(self, status: int, body: Any) -> None:
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            """Nothing: the tests read ``Controller.requests``."""

    return Handler
