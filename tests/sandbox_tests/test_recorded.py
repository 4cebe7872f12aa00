# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox answers as real AWS has answered: the table of recorded.py."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from domain import make_instant
from recorded import ABSENT, ROWS, SCENERY, Call, Row

from sandbox.client import Sandbox
from sandbox.control import Control
from sandbox.engine import Engine, World
from sandbox.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture(scope="module")
def instant() -> Iterator[Sandbox]:
    """A sandbox in which nothing takes time. Each row has resources of its own in it."""
    world = World(seed=1)
    world.moto.reset(1)
    make_instant(world)
    with Server("127.0.0.1", 0, Engine(world), Control(world)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield Sandbox(server.url)
        server.shutdown()
    world.reset()


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """The value with ids for the words in braces."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, dict):
        return {key: filled(item, names) for key, item in value.items()}
    return [filled(item, names) for item in value] if isinstance(value, list) else value


def made(sandbox: Sandbox, call: Call, names: dict[str, str]) -> dict[str, Any]:
    """The answer to a call; the ids that it gives are added to the names."""
    client = sandbox.client(call.service, call.region, account=call.caller, parameter_validation=False)
    answer = dict(getattr(client, xform_name(call.operation))(**filled(dict(call.params), names)))
    for name, place in call.gives.items():
        names[name] = at(answer, place)
    return answer


def at(answer: Any, place: str) -> Any:
    """Return the value there, or ABSENT."""
    for step in place.split("."):
        if isinstance(answer, list):
            answer = answer[int(step)] if int(step) < len(answer) else ABSENT
        else:
            answer = answer.get(step, ABSENT)
        if answer is ABSENT:
            break
    return answer


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_recorded_answer_is_given(instant: Sandbox, row: Row) -> None:
    names = dict(instant.seed(SCENERY))
    for call in row.before:
        made(instant, call, names)
    if row.code:
        with pytest.raises(ClientError) as caught:
            made(instant, row.call, names)
        error = caught.value.response["Error"]
        assert (error["Code"], filled(row.text, names) in error["Message"]) == (row.code, True), error
        return
    answer = made(instant, row.call, names)
    wanted = filled(dict(row.shows), names)
    assert {place: at(answer, place) for place in wanted} == wanted


def test_each_row_has_a_source_and_a_name_of_its_own() -> None:
    assert [row.name for row in ROWS if not row.source] == []
    assert [name for name, count in Counter(row.name for row in ROWS).items() if count > 1] == []
