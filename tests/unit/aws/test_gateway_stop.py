# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stopped gateway: sleeps end, and no further call begins."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.gateway import Ec2Gateway, Stopped
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import by_id


class Client:
    """Refuses each call for its rate, and counts the calls."""

    meta = SimpleNamespace(endpoint_url="https://ec2.us-east-1.amazonaws.com")

    def __init__(self) -> None:
        self.calls = 0
        self.called = threading.Event()

    def describe_volumes(self, **_request: Any) -> Any:
        import botocore.exceptions

        self.calls += 1
        self.called.set()
        response = {"Error": {"Code": "RequestLimitExceeded", "Message": "slow down"}}
        raise botocore.exceptions.ClientError(response, "DescribeVolumes")


def made() -> tuple[Ec2Gateway, Client]:
    client = Client()
    return Ec2Gateway(lambda _service, _region: client, "us-east-1"), client


QUERIES = by_id("DescribeVolumes", "volume-id", ["vol-00000001"])


def test_stop_ends_a_sleep() -> None:
    gateway, _client = made()
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        sleeping = pool.submit(gateway.sleep, 600.0)
        gateway.stop()
        with pytest.raises(Stopped):
            sleeping.result(30)
    assert time.monotonic() - began < 30


def test_stop_ends_the_repeats_of_a_call() -> None:
    gateway, client = made()
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(gateway.ask, QUERIES)
        assert client.called.wait(30)
        gateway.stop()
        with pytest.raises(Stopped):
            asking.result(30)
    # The rate is refused for a minute before a read gives up.
    assert client.calls < 10


def test_no_call_begins_after_the_stop() -> None:
    gateway, client = made()
    gateway.stop()
    with pytest.raises(Stopped):
        gateway.ask(QUERIES)
    assert client.calls == 0
