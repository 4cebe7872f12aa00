# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small threaded HTTP/1.1 server with one Date header, the sandbox's, and connections that can be closed on purpose.

The standard library's request handler sets a Date of its own and parses headers with the mail parser, which takes
longer than a handler of ours; hence these few lines.
"""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import struct
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .engine import Call, Engine, Reply
from .faults import ConnectionLostError

if TYPE_CHECKING:
    from io import BufferedIOBase

#: A header section or a body greater than this is no call to EC2.
LONGEST_HEADER = 65_536
LARGEST_BODY = 64 * 1024 * 1024

#: The names by which programs on this machine reach the server.
LOOPBACK = ("localhost", "127.0.0.1", "::1")

#: Real seconds that an idle connection is kept.
IDLE = 300.0

Control = Callable[[str, str, str, bytes], Reply]


class BadRequestError(Exception):
    """The request is not HTTP."""


class Server(socketserver.ThreadingTCPServer):
    """Serves an engine under `/` and its control plane under `/_sandbox/`."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, engine: Engine, control: Control) -> None:
        self.engine = engine
        self.control = control
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Connection)

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self.server_address[:2]
        name = str(host)
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def is_local(self, call: Call) -> bool:
        """Whether a control call names this server in Host and comes from no web page, which would send an Origin.

        A page that somebody opens can send requests to loopback, and by a name of its own that resolves to loopback
        (DNS rebinding) it can read the answers too. The sandbox's clients send neither.
        """
        try:
            name = urlsplit(f"//{call.headers.get('host', '')}").hostname
        except ValueError:
            return False
        return "origin" not in call.headers and name in {*LOOPBACK, str(self.server_address[0])}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report a defect of the server, and not a client that has gone."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Connection(socketserver.StreamRequestHandler):
    """One client connection: calls one after the other."""

    server: Server
    rbufsize = 65_536
    disable_nagle_algorithm = True
    timeout = IDLE

    def handle(self) -> None:
        """Answer calls until the client closes, asks to close, or a fault closes the connection."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while self._one():
                pass

    def _one(self) -> bool:
        try:
            read = read_call(self.rfile, self._continue)
        except BadRequestError as error:
            self._send(Reply(400, str(error).encode(), [("Content-Type", "text/plain")]), keep=False)
            return False
        if read is None:
            return False
        call, keep = read
        if call.path.startswith("/_sandbox/"):
            if not self.server.is_local(call):
                text = b"The control plane answers programs on this machine, and no web pages."
                self._send(Reply(403, text, [("Content-Type", "text/plain")]), keep=False)
                return False
            self._send(self.server.control(call.method, call.path, call.query, call.body), keep)
            return keep
        call.is_gone = self._is_gone
        try:
            reply = self.server.engine.answer(call)
        except ConnectionLostError:
            # A reset, not an orderly end, as a client sees it when a network path dies.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        self._send(reply, keep, head=call.method == "HEAD")
        return keep

    def _continue(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _is_gone(self) -> bool:
        try:
            readable, _writable, _failed = select.select([self.connection], [], [], 0)
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):
            return True

    def _send(self, reply: Reply, keep: bool, head: bool = False) -> None:
        phrase = HTTPStatus(reply.status).phrase if reply.status in HTTPStatus._value2member_map_ else "Unknown"
        lines = [f"HTTP/1.1 {reply.status} {phrase}", f"Date: {self.server.engine.world.clock.http_date()}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        lines += [f"Content-Length: {len(reply.body)}", f"Connection: {'keep-alive' if keep else 'close'}", "", ""]
        self.wfile.write("\r\n".join(lines).encode("latin-1", "replace") + (b"" if head else reply.body))


def read_call(stream: BufferedIOBase, send_continue: Callable[[], None]) -> tuple[Call, bool] | None:
    """Read one request: (call, whether to keep the connection), or None at the end. Raises BadRequestError."""
    line = stream.readline(LONGEST_HEADER)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(f"not an HTTP request: {line[:100]!r}")
    method, target, version = parts
    headers: dict[str, str] = {}
    size = len(line)
    while True:
        line = stream.readline(LONGEST_HEADER)
        size += len(line)
        if not line or size > LONGEST_HEADER:
            raise BadRequestError("the header section does not end or is too long")
        if line in (b"\r\n", b"\n"):
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequestError(f"not a header: {line[:100]!r}")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        send_continue()
    body = _read_body(stream, headers)
    if target.startswith(("http://", "https://")):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    path, _between, query = target.partition("?")
    wish = headers.get("connection", "").lower()
    keep = wish != "close" and (version != "HTTP/1.0" or wish == "keep-alive")
    return Call(method, path, query, headers, body), keep


def _read_body(stream: BufferedIOBase, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        chunks: list[bytes] = []
        total = 0
        while True:
            try:
                length = int(stream.readline(LONGEST_HEADER).split(b";")[0], 16)
            except ValueError:
                raise BadRequestError("a chunk has no length") from None
            total += length
            if length < 0 or total > LARGEST_BODY:
                raise BadRequestError("the body is too large")
            if length == 0:
                while stream.readline(LONGEST_HEADER) not in (b"\r\n", b"\n", b""):
                    pass
                return b"".join(chunks)
            chunks.append(_exactly(stream, length))
            stream.readline(LONGEST_HEADER)
    text = headers.get("content-length", "0")
    if not text.isdigit() or int(text) > LARGEST_BODY:
        raise BadRequestError("the length of the body is not a number, or it is too large")
    return _exactly(stream, int(text))


def _exactly(stream: BufferedIOBase, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise BadRequestError("the body ends early")
    return data
