# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A planner's queries, round by round, as the runner answers them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Feature
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, Query, State

ROUNDS = 10
"""No planner asks in more rounds than these."""
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def asks(feature: Feature, spec: Any, state: State, now: datetime = NOW) -> tuple[Query, ...]:
    """Return the queries that the planner asks next; none when it has a plan, or refuses."""
    state = dataclasses.replace(state, open=True)
    try:
        feature.plan(spec, state, now)
    except NeedsAnswers as needed:
        return needed.queries
    except StorageError:
        pass
    return ()


def answered(
    feature: Feature,
    spec: Any,
    answer: Callable[[Query], Iterable[Resource]],
    seen: State,
    now: datetime = NOW,
    entries: Iterable[Mapping[str, Any]] = (),
) -> tuple[State, list[Query]]:
    """Return the state with all answers and *entries*, plans of earlier tasks, and the queries in order."""
    asked: list[Query] = []
    assumed = list(entries)
    for _round in range(ROUNDS):
        state = overlay(seen, assumed) if assumed else seen
        missing = asks(feature, spec, state, now)
        if not missing:
            return state, asked
        asked += missing
        seen = dataclasses.replace(seen.with_answers({query: tuple(answer(query)) for query in missing}), now=now)
    raise AssertionError(f"it asks on and on: {asked}")
