# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes of a service from the host that executes the module: one HTTP request, or one TCP connection.

No answer holds a part of the URL, since it may have a password or a token.

Private to this collection.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from urllib.parse import SplitResult, unquote, urlsplit

from .._kernel.ids import planned_in
from .._kernel.probes import HttpProbe, read_request
from .._kernel.resources import Fact
from .._kernel.service_facts import PROBE, ProbeAnswer
from .._kernel.state import Query

LONGEST = 5.0
"""Seconds for each step of one probe, such as the connection or the answer."""


def probe(query: Query) -> tuple[Fact, ...]:
    """Make one probe, and return its answer. No failure of the service raises an error."""
    arguments = dict(query.arguments)
    return (PROBE.fact(arguments["Name"], _answer(arguments["Request"])),)


def _answer(request: str) -> ProbeAnswer:
    if planned_in(request):
        return ProbeAnswer(False, "without an address, since EC2 shows none of this kind")
    wanted, address = read_request(request)
    try:
        if isinstance(wanted, HttpProbe):
            status = _status(urlsplit(wanted.url))
            return ProbeAnswer(status in wanted.statuses, f"answered with status {status}")
        with socket.create_connection((address, wanted.port), timeout=LONGEST):
            return ProbeAnswer(True, "connected")
    except ssl.SSLCertVerificationError as error:
        return ProbeAnswer(False, f"refused: its certificate is not trusted ({error.verify_message})")
    except TimeoutError:
        return ProbeAnswer(False, "without an answer")
    except OSError as error:
        return ProbeAnswer(False, f"without an answer ({error.strerror or type(error).__name__})")
    except (http.client.HTTPException, ValueError) as error:
        return ProbeAnswer(False, f"without a readable answer ({type(error).__name__})")


def _status(url: SplitResult) -> int:
    """Return the status of a GET. A redirection is not followed, and no proxy is used."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=LONGEST)
    headers = {"User-Agent": "ec2ops.storage", "Connection": "close"}
    if url.username is not None:
        secret = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(secret).decode()
    try:
        connection.request("GET", (url.path or "/") + (f"?{url.query}" if url.query else ""), headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
