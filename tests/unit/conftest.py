# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: the two worlds that the engine's cases run in. The mark `sandbox`, which make quick reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore
import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.lean_parser import LeanParser, parser_factory
from botocore.parsers import EC2QueryParser
from botocore.utils import parse_timestamp

from sandbox.client import Sandbox
from sandbox.engine import Config
from worlds import SPEED, START, FakeWorld, SandboxWorld, World


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take a fixture whose name ends in "sandbox", directly or through others: see make quick."""
    for item in items:
        if any(name.endswith("sandbox") for name in getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.sandbox)


@pytest.fixture(scope="session", autouse=True)
def compared_answers() -> Iterator[None]:
    """Let all clients of the tests use the lean parser, and compare each list that it reads with botocore's."""
    lean = LeanParser._handle_list

    def compared(self: LeanParser, shape: Any, node: Any) -> Any:
        found = lean(self, shape, node)
        assert found == EC2QueryParser._handle_list(self, shape, node)
        return found

    def use(session: Any) -> None:
        session.register_component("response_parser_factory", parser_factory(parse_timestamp))

    LeanParser._handle_list = compared
    botocore.register_initializer(use)
    yield
    botocore.unregister_initializer(use)
    LeanParser._handle_list = lean


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=SPEED, seed=1, durations={"snapshot_pending": 2.0, "status_ok": 2.0}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """The sandbox, empty, without faults, with the log reset."""
    shared_sandbox.clear_faults()
    shared_sandbox.reset()
    shared_sandbox.refuse()
    shared_sandbox.configure(
        visibility_delay={"snapshot": 0, "image": 0}, buckets=False, latency=0, read_lag=Config().read_lag
    )
    shared_sandbox.reset_log()
    return shared_sandbox


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    """A sandbox for one file, in which a minute is a second: for tests that live through hours and days."""
    with Sandbox.start(speed=60.0, seed=1, start=START) as sandbox:
        yield sandbox


@pytest.fixture(params=["fake", pytest.param("sandbox", marks=pytest.mark.sandbox)])
def world(request: pytest.FixtureRequest) -> World:
    """Either world; a case with this fixture runs in both."""
    return FakeWorld() if request.param == "fake" else SandboxWorld(request.getfixturevalue("sandbox"))


@pytest.fixture
def fake() -> FakeWorld:
    """The world in memory alone, for tests of the engine and not of EC2."""
    return FakeWorld()
