# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world in the test's own process, served on loopback."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from typing import TYPE_CHECKING

from sandbox import load_handlers
from sandbox.client import Sandbox
from sandbox.control import Control
from sandbox.engine import Engine, World
from sandbox.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

load_handlers()


@pytest.fixture
def world() -> Iterator[World]:
    """An empty world; moto's resources, which belong to the process, are thrown away at the end."""
    made = World(seed=1)
    made.moto.reset(1)
    yield made
    made.reset()


@pytest.fixture
def sandbox(world: World) -> Iterator[Sandbox]:
    """The fixture world, behind HTTP."""
    with Server("127.0.0.1", 0, Engine(world), Control(world)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield Sandbox(server.url)
        world.faults.clear()
        server.shutdown()
