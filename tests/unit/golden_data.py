# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden data: what every unit test plans and asks, so that a move of code shows whether it changes either.

Each test has two sets of digests in ``golden/<file>.json``: the entries of its published plans, without reasons, and
its queries. A test that has an entry fails when it plans or asks something else. `EC2OPS_GOLDEN=write` writes the
entries of the tests that run, into ``.work/golden``; ``python tests/tools/golden.py`` puts them in place.

On the sandbox ids and times differ from run to run, so an id stands for its kind there, and an entry for its shape.
How far EC2 has come when a run looks differs too, on a busy machine the more so: `EC2OPS_GOLDEN=all` compares these
tests as well, and a difference there is a reason to look, no more.
Tests that are killed on the way, or overtaken, find another world each time; they have no golden data.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner as image
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner as power
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner as relaunch
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation import planner as snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner as volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from hypothesis import is_hypothesis_test

HERE = Path(__file__).parent / "golden"
WRITTEN = Path(__file__).resolve().parents[2] / ".work" / "golden"
PLANNERS = (image, power, relaunch, snapshot, volume)
WORLDS = frozenset({"sandbox", "shared_sandbox", "quick_sandbox", "world"})
_ID = re.compile(r"\b(r?[a-z]{1,8})-(?:[0-9a-f]{17}|[0-9a-f]{8})\b")
_VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?|\d{1,3}(?:\.\d{1,3}){3}|\b[0-9a-f]{8,64}\b|\b\d+\b"
)


class Recorder:
    """What the running test has planned and asked."""

    def __init__(self) -> None:
        self.plans: list[dict[str, Any]] = []
        self.queries: list[Query] = []

    def entry(self, *, loose: bool) -> dict[str, str]:
        """The digests of both; *loose* where ids and times differ from run to run."""
        plans = {digest({**entry, "reason": None}, loose) for entry in self.plans}
        queries = {digest(asked(query), loose) for query in self.queries}
        return {"plans": " ".join(sorted(plans)), "queries": " ".join(sorted(queries))}


recorder = Recorder()


def asked(query: Query) -> dict[str, Any]:
    """A query as data."""
    return {
        "service": query.service,
        "operation": query.operation,
        "place": query.place,
        "filters": sorted(map(list, query.filters)),
        "arguments": sorted(map(list, query.arguments)),
    }


def digest(value: Any, loose: bool) -> str:
    """Eight digits that stand for *value*."""
    if loose:
        value = shape(value)
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def shape(value: Any) -> Any:
    """*value* with every id as its kind, without times and numbers, and without what is only seen, such as states."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items() if key not in ("before", "after")}
    if isinstance(value, (list, tuple)):
        return sorted({json.dumps(shape(one), sort_keys=True, default=str) for one in value})
    return _VOLATILE.sub("#", _ID.sub(r"\1", str(value)))


def watch(function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, `plan` or `needs` of a planner, noting what it returns."""

    @functools.wraps(function)
    def watched(*arguments: Any, **named: Any) -> Any:
        found = function(*arguments, **named)
        if isinstance(found, Plan):
            recorder.plans += found.published()
        else:
            recorder.queries += found
        return found

    return watched


for planner in PLANNERS:
    for name in ("plan", "needs"):
        watched = watch(getattr(planner, name))
        setattr(planner, name, watched)
        object.__setattr__(planner.FEATURE, name, watched)


def golden(file: str) -> dict[str, dict[str, str]]:
    """The entries of a test file, by test."""
    path = HERE / f"{file}.json"
    return _read(path) if path.exists() else {}


@functools.cache
def _read(path: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(path.read_text())
    return found


@pytest.fixture(autouse=True)
def golden_data(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare what the test has planned and asked with its golden entry, or write the entry."""
    recorder.plans, recorder.queries = [], []
    yield
    node = request.node
    file, test = Path(str(node.path)).stem, node.nodeid.partition("::")[2]
    if is_hypothesis_test(node.obj):
        return
    loose, wish = not WORLDS.isdisjoint(node.fixturenames), os.environ.get("EC2OPS_GOLDEN", "")
    entry = recorder.entry(loose=loose)
    if wish == "write":
        if entry["plans"] or entry["queries"]:
            WRITTEN.mkdir(parents=True, exist_ok=True)
            with (WRITTEN / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.jsonl").open("a") as written:
                written.write(json.dumps([file, test, entry]) + "\n")
        return
    wanted = golden(file).get(test)
    if wanted is not None and (wish == "all" or not loose):
        assert entry == wanted, "the test plans or asks something else than its golden data say"
