# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes of a service: their requests as text, and their names, which hold no secret.

Private to this collection.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

ADDRESS_FIELD = "{address}"
"""The part of a URL in whose place the address of the successor stands."""


@dataclass(frozen=True)
class HttpProbe:
    """A GET of ``url``, which succeeds with one of the ``statuses``. ``url`` may hold a password or a token."""

    url: str
    statuses: tuple[int, ...]

    def name(self, address: str) -> str:
        """Return the name for messages: the URL without user, password, query and fragment."""
        parts = urlsplit(_filled(self.url, address))
        host = parts.netloc.rpartition("@")[2]
        return f"GET {parts.scheme}://{host}{parts.path}{'?...' if parts.query else ''}"

    def request(self, address: str) -> str:
        """Return the text that `read_request` reads."""
        return f"http {','.join(map(str, self.statuses))} {_filled(self.url, address)}"


@dataclass(frozen=True)
class TcpProbe:
    """A connection to ``port``."""

    port: int

    def name(self, address: str) -> str:
        """Return the name for messages."""
        return f"TCP connection to {address} port {self.port}"

    def request(self, address: str) -> str:
        """Return the text that `read_request` reads."""
        return f"tcp {self.port} {address}"


def _filled(url: str, address: str) -> str:
    # An IPv6 address in a URL has brackets.
    return url.replace(ADDRESS_FIELD, f"[{address}]" if ":" in address else address)


def read_request(text: str) -> tuple[HttpProbe | TcpProbe, str]:
    """Return the probe of a request, and the address of a TCP probe, else an empty text."""
    kind, first, rest = text.split(" ", 2)
    if kind == "tcp":
        return TcpProbe(int(first)), rest
    return HttpProbe(rest, tuple(int(status) for status in first.split(","))), ""
