# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A replacement: one predecessor, one successor, and the phase.

A successor does not stand for its predecessor before it has proved itself. Its tag ``ec2ops:trial`` has the phase:
``unproven`` from its launch on, ``serving`` once it is healthy and before the predecessor is touched, ``rejected`` when
the predecessor has served in its place. Without the tag, the predecessor did not have to be retired.

`Replacement` derives the phase from that tag, and from facts that overrule it:

======================================= =================== =========================== ==================
predecessor                             no tag, ``serving`` ``unproven``, another word  ``rejected``
======================================= =================== =========================== ==================
runs                                    serving             unproven                    rejected
is off, and its hold stands             serving             unproven                    rejected
is off without one, and ran last        retired             unproven                    rejected
is off without one; successor ran last  retired             retired, in doubt           retired, in doubt
is terminated, or gone                  retired             retired                     retired
======================================= =================== =========================== ==================

A successor stands for its predecessor while it serves, and once the predecessor is retired.

*In doubt*: the tag and the facts differ. A warning names both, a policy backs up both, and no run stops or terminates
either instance.

*Undecided*: only its tag, or the lack of one, says that the successor serves. The predecessor runs, a hold from before
the launch asks to start it, or it ran for more than a day after the launch. A warning names both, and a policy backs up
both. Only an existing tag prevents another start of the predecessor. If a run finds the predecessor after that day, it
neither retires it nor replaces its successor (`instance_proofs.may_have_run_on`).

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .._kernel import tags as tag_names
from .._kernel.ids import is_planned
from .._kernel.instance_proofs import (
    LONGEST_TRIAL,
    has_outlasted,
    is_launched_to_replace,
    is_off,
    is_stopped_before,
    last_transition,
    launched_at,
    launched_last,
)
from .._kernel.plan import Change
from .._kernel.resources import Instance
from .._kernel.state import State
from .._kernel.times import parse_instant
from .hold import standing_hold

# The values of `tags.TRIAL` on a successor. Any other value counts as UNPROVEN.
UNPROVEN = "unproven"
SERVING = "serving"
REJECTED = "rejected"


def predecessor(successor: Instance) -> str | None:
    """Return the id of the instance that *successor* was launched to replace, or None if no ClientToken proves it."""
    first = next(iter(tag_names.replaced_ids(successor.tags)), None)
    return first if first is not None and is_launched_to_replace(successor, first) else None


class Phase(StrEnum):
    """The phase of a replacement."""

    UNPROVEN = "unproven"
    SERVING = "serving"
    REJECTED = "rejected"
    RETIRED = "retired"


@dataclass(frozen=True)
class Replacement:
    """One proven successor, and the predecessor that it was launched to replace (None if EC2 does not show it)."""

    predecessor: Instance | None
    successor: Instance

    @property
    def word(self) -> Phase:
        """The phase that the tag `tags.TRIAL` names. An unknown value counts as unproven."""
        said = self.successor.tags.get(tag_names.TRIAL)
        if said in (None, SERVING):
            return Phase.SERVING
        return Phase.REJECTED if said == REJECTED else Phase.UNPROVEN

    @property
    def phase(self) -> Phase:
        """The phase: see the table of this module."""
        old, new = self.predecessor, self.successor
        if old is None or not old.alive:
            return Phase.RETIRED
        if not is_off(old) or standing_hold(old) is not None:
            return self.word
        return Phase.RETIRED if self.word is Phase.SERVING or has_outlasted(new, old) else self.word

    @property
    def stands(self) -> bool:
        """Return whether the successor stands for its predecessor."""
        return self.phase in (Phase.SERVING, Phase.RETIRED)

    @property
    def is_undecided(self) -> bool:
        """Return whether no run has retired the predecessor, so that only the tag, or its absence, shows a serving
        successor.

        The predecessor runs, a hold from before the launch asks to start it, or it ran on for long after the launch.
        Return False for a planned successor, since this plan makes it.
        """
        old, new = self.predecessor, self.successor
        if old is None or not new.alive or is_planned(new.instance_id) or self.word is not Phase.SERVING:
            return False
        return old.state in ("pending", "running") or self.waits_for_start or self.was_outrun

    @property
    def was_outrun(self) -> bool:
        """Return whether the predecessor is off without a hold, and EC2 shows that it ran on for more than a day after
        the launch.

        A relaunch retires its predecessor at once. So somebody kept both, or rejected the successor.
        """
        old, birth = self.predecessor, born(self.successor)
        if old is None or birth is None or not old.alive or not is_off(old) or standing_hold(old) is not None:
            return False
        stopped = last_transition(old)
        return stopped is not None and stopped - birth > LONGEST_TRIAL

    @property
    def waits_for_start(self) -> bool:
        """Return whether a hold asks to start the predecessor, and EC2 shows that its stop came before the launch."""
        old, birth = self.predecessor, born(self.successor)
        held = old is not None and is_off(old) and standing_hold(old) is not None
        return held and old is not None and birth is not None and is_stopped_before(old, birth)

    @property
    def in_doubt(self) -> bool:
        """Return whether the tag says that the successor has not served, and EC2's facts say otherwise.

        This includes a stopped predecessor with a hold while the successor runs, since that hold is not proven.
        """
        old, new = self.predecessor, self.successor
        return (
            self.word is not Phase.SERVING and old is not None and old.alive and new.alive and has_outlasted(new, old)
        )


def replacement_of(state: State, successor: Instance) -> Replacement | None:
    """Return the replacement that launched *successor*, or None if no ClientToken proves it to be a successor."""
    old_id = predecessor(successor)
    return None if old_id is None else Replacement(state.instance(old_id), successor)


def is_on_trial(state: State, successor: Instance) -> bool:
    """Return whether *successor* has not proved itself, or was rejected, as its `Replacement` shows."""
    replacement = replacement_of(state, successor)
    return replacement is not None and not replacement.stands


def born(successor: Instance) -> datetime | None:
    """Return when *successor* was launched. LaunchTime changes with every start, but the first attachment does not."""
    return launched_at(successor)


def started_since(old: Instance, successor: Instance) -> bool:
    """Return whether *old* was started after the launch of *successor*, so that it has served since then."""
    birth = born(successor)
    return birth is not None and old.launch_time is not None and old.launch_time > birth


def trial_record(successor_id: str, tags: Mapping[str, str], word: str, region: str, reason: str) -> Change:
    """Return the change that writes the phase on a successor with these *tags*."""
    record = {tag_names.TRIAL: word}
    parameters = {"Tags": tag_names.boto3_tags(record)}
    return Change(
        "CreateTags", successor_id, region, parameters, reason, {"tags": dict(tags)}, {"tags": {**tags, **record}}
    )


def is_unretired(old: Instance | None, successor: Instance) -> bool:
    """Return whether *successor* serves, a run ended before it had retired *old*, and *old* was not
    started since then.
    """
    if old is None or successor.tags.get(tag_names.TRIAL) != SERVING or started_since(old, successor):
        return False
    if old.state in ("pending", "running"):
        return True
    # A predecessor that was stopped after the launch is retired: nothing proves that its hold is of this replacement.
    held = old.alive and standing_hold(old) is not None
    return held and (born(successor) is None or Replacement(old, successor).waits_for_start)


def choice_by_facts(state: State, claims: Sequence[Instance]) -> Instance | None:
    """Return the claimant that serves as EC2's facts show. A claimant that was stopped for good does not serve."""
    images = {item.image_id: state.image(item.image_id) for item in claims}
    dates = {key: parse_instant(image.creation_date or "") for key, image in images.items() if image is not None}
    made = {key: moment for key, moment in dates.items() if moment is not None}
    last = launched_last(claims, made) if len({predecessor(item) for item in claims}) == 1 else None
    if last is None or not is_off(last) or standing_hold(last) is not None or all(map(is_off, claims)):
        return last
    return None
