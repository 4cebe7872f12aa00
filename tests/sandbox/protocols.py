# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of other services' protocols that the sandbox needs: the name of a call, and an error."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from . import wire

if TYPE_CHECKING:
    from .engine import Call, Reply
    from .errors import Ec2Error


#: The service of IAM's action, where the name in the signature differs.
_NAMES = {"monitoring": "cloudwatch"}

#: The operations of services that speak REST: the method, and the path without its parameters.
_REST = {
    "ebs": (
        ("GET", re.compile(r"/snapshots/(?P<SecondSnapshotId>[^/]+)/changedblocks"), "ListChangedBlocks"),
        ("GET", re.compile(r"/snapshots/(?P<SnapshotId>[^/]+)/blocks"), "ListSnapshotBlocks"),
    ),
}


def read_other(call: Call, service: str) -> tuple[str, dict[str, Any]]:
    """A call's name (`service:Action`, for REST `service:METHOD /path`) and its readable parameters."""
    service = _NAMES.get(service, service)
    for method, path, name in _REST.get(service, ()):
        found = path.fullmatch(call.path)
        if found and method == call.method:
            return f"{service}:{name}", {**found.groupdict(), **dict(parse_qsl(call.query))}
    target = call.headers.get("x-amz-target", "")
    if target:
        try:
            params = json.loads(call.body or b"{}")
        except ValueError:
            params = {}
        return f"{service}:{target.rpartition('.')[2]}", params if isinstance(params, dict) else {}
    if "x-www-form-urlencoded" in call.headers.get("content-type", ""):
        form = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
        if "Action" in form:
            action = form.pop("Action")
            return f"{service}:{action}", {
                name: value for name, value in form.items() if name not in wire.PROTOCOL_PARAMETERS
            }
    return f"{service}:{call.method} {call.path}", {}


def error_reply(call: Call, service: str, error: Ec2Error, request_id: str) -> Reply:
    """An error in the protocol that the call speaks."""
    from .engine import Reply

    if service == "ec2":
        body = wire.render_error(error.code, error.message, request_id)
        return Reply(error.status, body, [("Content-Type", "text/xml;charset=UTF-8")], error.code)
    if "x-www-form-urlencoded" in call.headers.get("content-type", ""):
        kind = "Sender" if error.status < 500 else "Receiver"
        body = (
            f"<ErrorResponse><Error><Type>{kind}</Type><Code>{wire.escaped(error.code)}</Code>"
            f"<Message>{wire.escaped(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        ).encode()
        return Reply(error.status, body, [("Content-Type", "text/xml")], error.code)
    body = json.dumps({"__type": error.code, "message": error.message}).encode()
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", error.code)]
    return Reply(error.status, body, headers, error.code)
