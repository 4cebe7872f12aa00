# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase of a replacement, out of a tag and of the facts that overrule it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import LONGEST_HOLD, Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.replacement import Phase, Replacement
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.rivals import has_lost
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import instance_proofs
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance

from proven import stopped_at

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HOLD, TRIAL = "ec2ops:restore-state", "ec2ops:trial"
OLD, NEW, VOLUME = "i-0000000000000000a", "i-0000000000000000b", "vol-0000000000000000b"


def old(state: str = "running", stopped: datetime | None = None, held: bool = False, **fields: Any) -> Instance:
    """The predecessor, launched yesterday. *stopped*: its last stop; *held*: a hold encloses that stop."""
    tags = {HOLD: Hold(stopped - MINUTE, stopped + HOUR).value} if held and stopped else {}
    facts = dict(stopped_at(stopped)) if stopped is not None else {}
    return Instance(OLD, state, launch_time=NOON - 24 * HOUR, tags=tags, facts=facts, **fields)


def new(
    word: str | None = None,
    born: datetime | None = NOON,
    state: str = "running",
    stopped: datetime | None = None,
    **fields: Any,
) -> Instance:
    """The successor with this word in its tag."""
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": VOLUME, "AttachTime": born}}]
    facts = {"BlockDeviceMappings": devices, **(stopped_at(stopped) if stopped is not None else {})}
    facts |= fields.pop("facts", {})
    values = {"launch_time": born, "tags": {} if word is None else {TRIAL: word}, **fields}
    return Instance(NEW, state, facts=facts, **values)


U, S, R, END = Phase.UNPROVEN, Phase.SERVING, Phase.REJECTED, Phase.RETIRED
WORDS = (None, "serving", "unproven", "odd", "rejected")
RUNS, HELD = old(), old("stopped", NOON - MINUTE, held=True)
OFF, ODD_HOLD = old("stopped", NOON + HOUR), dataclasses.replace(old("stopped", NOON + HOUR), tags={HOLD: "x"})


@pytest.mark.parametrize(
    ("predecessor", "successor", "phases"),
    [
        pytest.param(RUNS, {}, (S, S, U, U, R), id="predecessor runs"),
        pytest.param(old("pending"), {}, (S, S, U, U, R), id="predecessor starts"),
        pytest.param(HELD, {}, (S, S, U, U, R), id="predecessor is held"),
        pytest.param(OFF, {}, (END,) * 5, id="predecessor is off"),
        pytest.param(ODD_HOLD, {}, (END,) * 5, id="predecessor is off, and its hold is no hold"),
        pytest.param(old("stopping"), {}, (END,) * 5, id="predecessor stops"),
        pytest.param(
            OFF, {"state": "stopped", "stopped": NOON + 2 * HOUR}, (END,) * 5, id="both are off, the successor ran last"
        ),
        pytest.param(
            OFF,
            {"state": "stopped", "stopped": NOON + MINUTE},
            (END, END, U, U, R),
            id="both are off, the predecessor ran last",
        ),
        pytest.param(old("terminated"), {}, (END,) * 5, id="predecessor is terminated"),
        pytest.param(None, {}, (END,) * 5, id="predecessor is gone"),
    ],
)
def test_phase_follows_tag_and_predecessor(
    predecessor: Instance | None, successor: dict[str, Any], phases: tuple[Phase, ...]
) -> None:
    found = tuple(Replacement(predecessor, new(word, **successor)) for word in WORDS)
    assert tuple(item.phase for item in found) == phases
    for item in found:
        assert item.stands is (item.phase in (S, END))
        overruled = item.stands and item.word is not S and predecessor is not None and predecessor.alive
        assert item.in_doubt is (overruled or (predecessor is HELD and item.word is not S))


NOW = NOON + 3 * HOUR
LATER = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeId": "vol-0000000000000000c", "AttachTime": NOON + HOUR}}


@pytest.mark.parametrize(
    ("successor", "predecessor", "possible"),
    [
        pytest.param(new(), RUNS, True, id="predecessor runs"),
        pytest.param(new(), HELD, True, id="predecessor was stopped before the launch"),
        pytest.param(new(), old("stopped", NOON + 2 * MINUTE, held=True), False, id="predecessor was stopped later"),
        pytest.param(new(), old("terminated"), False, id="predecessor is terminated"),
        pytest.param(new(born=NOW - 24 * HOUR), RUNS, True, id="a day old"),
        pytest.param(new(born=NOW - 25 * HOUR), RUNS, False, id="older than a day"),
        pytest.param(
            new(facts={"UsageOperationUpdateTime": NOON - 48 * HOUR}), RUNS, False, id="older than its root volume"
        ),
        pytest.param(new(born=None), RUNS, False, id="of unknown age"),
        pytest.param(new(elastic_ip=True), RUNS, False, id="has an Elastic IP"),
        pytest.param(new(launch_time=NOON + HOUR), RUNS, False, id="was started again"),
        pytest.param(new(facts={"BlockDeviceMappings": [LATER]}), RUNS, True, id="its first volume is its launch"),
        pytest.param(
            new(facts={"BlockDeviceMappings": [*new().facts["BlockDeviceMappings"], LATER]}),
            RUNS,
            False,
            id="got a volume later",
        ),
        pytest.param(Instance(planned("instance", "x")), RUNS, True, id="planned"),
    ],
)
def test_facts_refute_that_a_successor_never_served(successor: Instance, predecessor: Instance, possible: bool) -> None:
    if successor.launch_time is not None and successor.facts.get("BlockDeviceMappings") == [LATER]:
        successor = dataclasses.replace(successor, launch_time=NOON + HOUR)
    assert instance_proofs.can_be_on_trial(successor, predecessor, NOW) is possible


@pytest.mark.parametrize(
    ("successor", "predecessor", "last"),
    [
        pytest.param(new(), RUNS, False, id="both run"),
        pytest.param(new(), OFF, True, id="runs"),
        pytest.param(new(state="stopped", stopped=NOON + 2 * HOUR), OFF, True, id="stopped later"),
        pytest.param(new(state="stopped", stopped=NOON + HOUR), OFF, False, id="stopped in the same second"),
        pytest.param(new(state="stopped"), OFF, True, id="stopped at an unknown time, started later"),
        pytest.param(
            new(state="stopped", launch_time=NOON - 48 * HOUR),
            OFF,
            False,
            id="stopped at an unknown time, started before",
        ),
        pytest.param(new(state="terminated"), OFF, False, id="terminated"),
    ],
)
def test_last_transition_shows_which_instance_ran_last(successor: Instance, predecessor: Instance, last: bool) -> None:
    assert instance_proofs.has_outlasted(successor, predecessor) is last


def test_attach_time_shows_when_a_volume_was_attached() -> None:
    assert instance_proofs.attached_since(new(), VOLUME) == NOON
    assert instance_proofs.attached_since(new(born=None), VOLUME) is None
    assert instance_proofs.attached_since(new(), "vol-0000000000000000c") is None


@pytest.mark.parametrize(
    ("minutes", "lost"), [(-1, False), (0, True), (10, True), (11, False)], ids=["before", "same", "in time", "late"]
)
def test_loser_of_a_race_was_launched_right_after_the_winner(minutes: int, lost: bool) -> None:
    assert has_lost(new(born=NOON + minutes * MINUTE), new(), 10 * MINUTE) is lost
    assert has_lost(new(born=None), new(), 10 * MINUTE) is False


FAR = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hold", "end", "impossible"),
    [
        pytest.param(Hold(NOON, NOON + HOUR), NOON + HOUR, False, id="of a run"),
        pytest.param(Hold(NOON, FAR), NOON + LONGEST_HOLD, True, id="endless"),
        pytest.param(Hold(FAR, FAR), FAR, True, id="in the future"),
        pytest.param(Hold(NOON, NOON - HOUR), NOON - HOUR, True, id="backwards"),
    ],
)
def test_hold_has_a_longest_time(hold: Hold, end: datetime, impossible: bool) -> None:
    assert hold.end == end
    assert hold.is_impossible(NOW) is impossible
