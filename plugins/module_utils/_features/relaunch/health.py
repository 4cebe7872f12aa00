# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The conditions for a healthy successor: status checks, probes, and one timeout for all of them.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..._kernel.errors import SpecError
from ..._kernel.ids import planned
from ..._kernel.plan import Wait
from ..._kernel.probes import ADDRESS_FIELD, HttpProbe, TcpProbe
from ..._kernel.resources import Instance

_MOST_PORTS = 65535
_STATUSES = range(100, 600)
LAUNCHED = "launched"
"""The clock of the waits from the launch on."""
MOVED = "moved"
"""The clock of the waits from the start with the moved volumes on."""


@dataclass(frozen=True)
class Health:
    """The user's conditions. ``public``: the probes use the public address of the successor."""

    status_checks: bool = True
    timeout: int = 600
    probes: tuple[HttpProbe | TcpProbe, ...] = ()
    public: bool = False


def parse_health(params: Mapping[str, Any]) -> Health:
    """Return the conditions of the option `health`. Raises SpecError. No message has a part of the URL."""
    timeout = params.get("timeout")
    if timeout is not None and timeout < 1:
        raise SpecError(f"health.timeout: {timeout} is less than 1 second. Use 1 or more")
    url, port, statuses = params.get("url"), params.get("tcp_port"), params.get("status")
    probes: list[HttpProbe | TcpProbe] = []
    if url is not None:
        _require_url(url)
        probes.append(HttpProbe(url, tuple(_require_status(item) for item in statuses or (200,))))
    elif statuses is not None:
        raise SpecError("health.status: needs url. Set url, or remove status")
    if port is not None:
        if not 1 <= port <= _MOST_PORTS:
            raise SpecError(f"health.tcp_port: {port} is not a port. Use 1 to {_MOST_PORTS}")
        probes.append(TcpProbe(port))
    address = params.get("address")
    if address is not None and not probes:
        raise SpecError("health.address: needs url or tcp_port. Set one of them, or remove address")
    return Health(params.get("status_checks") is not False, timeout or 600, tuple(probes), address == "public")


def _require_status(status: int) -> int:
    if status not in _STATUSES:
        raise SpecError(f"health.status: {status} is not an HTTP status. Use {_STATUSES[0]} to {_STATUSES[-1]}")
    return status


def _require_url(url: str) -> None:
    """Raise SpecError for a URL that no probe can use. The URL may hold a secret, so no message shows it."""
    try:
        parts = urlsplit(url.replace(ADDRESS_FIELD, "192.0.2.1"))
        port = parts.port
    except ValueError:
        raise SpecError(
            "health.url: the given text is not a URL. Write it as in http://{address}:8080/health"
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise SpecError(
            "health.url: the given text is not an HTTP or HTTPS address. Write it as in http://{address}:8080/health"
        )
    if any(not 32 < ord(letter) < 127 for letter in url):
        raise SpecError(
            "health.url: the given text has a space or a character that is not ASCII. Write such a character as %XX"
        )


def planned_address(old: Instance, *, public: bool = False) -> str:
    """Return the planned id of an address of the successor."""
    return planned("address", f"{'public, ' if public else ''}in place of {old.instance_id}")


def planned_interface(old: Instance) -> str:
    """Return the planned id of the primary network interface of the successor."""
    return planned("interface", f"in place of {old.instance_id}")


def probe_waits(health: Health, address: str, clock: str = LAUNCHED) -> tuple[Wait, ...]:
    """Return the waits for the probes of *address* to succeed."""
    timeout = float(health.timeout)
    return tuple(
        Wait((probe.name(address),), "answers", timeout=timeout, about=probe.request(address), clock=clock)
        for probe in health.probes
    )
