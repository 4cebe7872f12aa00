# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only programs on this machine may use the control plane, and no web page."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from sandbox.client import Sandbox


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="the address of the server"),
        pytest.param({"Host": "localhost:1"}, 200, id="localhost"),
        pytest.param({"Host": "[::1]:1"}, 200, id="loopback of IPv6"),
        pytest.param({"Host": "rebound.example"}, 403, id="another name for loopback"),
        pytest.param({"Host": ""}, 403, id="no name"),
        pytest.param({"Host": "[::1"}, 403, id="no address"),
        pytest.param({"Origin": "https://page.example"}, 403, id="web page"),
        pytest.param({"Origin": "null"}, 403, id="web page from a file"),
    ],
)
def test_control_plane_answers_local_programs_only(sandbox: Sandbox, headers: dict[str, str], status: int) -> None:
    place = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    connection.request("POST", "/_sandbox/reset", body="{}", headers=headers)
    assert connection.getresponse().status == status
    connection.close()
