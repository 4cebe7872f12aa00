# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden data: what every unit test plans and asks, so that a move of code shows whether it changes either.

Each test has two sets of digests in ``golden/<file>.json``: the entries of its published plans, without reasons, and
its queries. A test that has an entry fails when it plans or asks something else. `EC2OPS_GOLDEN=write` writes the
entries of the tests that run, into ``.work/golden``; ``python tests/tools/golden.py`` puts them in place.

Tests that use the sandbox have none: ids and times differ there, and a run sees EC2 at another moment each time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner as image
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner as power
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner as relaunch
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore import planner as restore
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation import planner as snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner as volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from hypothesis import is_hypothesis_test

HERE = Path(__file__).parents[1] / "golden"
WRITTEN = Path(__file__).resolve().parents[3] / ".work" / "golden"
PLANNERS = (image, power, relaunch, restore, snapshot, volume)
_NUMBERED = re.compile(r"snap-[0-9a-f]{17}")


class Recorder:
    """The plans and queries of the running test."""

    def __init__(self) -> None:
        self.plans: list[dict[str, Any]] = []
        self.queries: list[Query] = []

    def entry(self) -> dict[str, str]:
        """The digests of both."""
        plans = {canonical({**entry, "reason": None}) for entry in self.plans}
        queries = {canonical(asked(query)) for query in self.queries}
        # The tests number their snapshots, through all files: which come first is the same in each run, and no more.
        numbered = sorted({name for text in plans | queries for name in _NUMBERED.findall(text)})
        ranks = {name: f"snapshot {rank}" for rank, name in enumerate(numbered)}
        return {"plans": digests(plans, ranks), "queries": digests(queries, ranks)}


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


def canonical(value: Any) -> str:
    """*value* as text, the same in each process."""
    return json.dumps(ordered(value), sort_keys=True, default=str)


def digests(texts: Iterable[str], ranks: Mapping[str, str]) -> str:
    """Eight digits for each text, in order, with the ranks of snapshots in place of their ids."""
    ranked = {_NUMBERED.sub(lambda found: ranks[found[0]], text) for text in texts}
    return " ".join(sorted(hashlib.sha256(text.encode()).hexdigest()[:8] for text in ranked))


def ordered(value: Any) -> Any:
    """*value* with every list in one order: ids that come out of a set have another one in each process."""
    if isinstance(value, dict):
        return {str(key): ordered(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted((ordered(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True, default=str))
    return value


def watch(function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, the `plan` of a planner, noting what it returns. What it asks, `asking.asks` notes."""

    @functools.wraps(function)
    def watched(*arguments: Any, **named: Any) -> Plan:
        found: Plan = function(*arguments, **named)
        recorder.plans += found.published()
        return found

    return watched


for planner in PLANNERS:
    watched = watch(planner.plan)
    planner.plan = watched
    object.__setattr__(planner.FEATURE, "plan", watched)


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
    if is_hypothesis_test(node.obj) or node.get_closest_marker("sandbox") is not None:
        return
    entry = recorder.entry()
    if os.environ.get("EC2OPS_GOLDEN") == "write":
        if entry["plans"] or entry["queries"]:
            WRITTEN.mkdir(parents=True, exist_ok=True)
            with (WRITTEN / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.jsonl").open("a") as written:
                written.write(json.dumps([file, test, entry]) + "\n")
        return
    wanted = golden(file).get(test)
    if wanted is not None:
        assert entry == wanted, "the test plans or asks something else than its golden data say"
