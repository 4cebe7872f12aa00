# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hold: the record on an instance that a run has stopped and will start again.

Before a run stops a running instance, it writes the tag ``ec2ops:restore-state`` on it. With this record a later run
can start the instance again, even after a kill.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta

from .._kernel import tags as tag_names
from .._kernel.instance_proofs import has_run_since, is_shown_otherwise, is_stopped_within
from .._kernel.plan import Change
from .._kernel.resources import Instance
from .._kernel.times import format_moment, parse_moment

# --- the record ------------------------------------------------------------------------------------------------------


LONGEST_HOLD = timedelta(days=7)
"""The longest hold, even if a tag claims a longer one. So no tag keeps an instance stopped for years."""

_CLOCKS = timedelta(minutes=1)
"""The largest difference between EC2's times in the answers to two runs."""


@dataclass(frozen=True)
class Hold:
    """The hold in ``ec2ops:restore-state``: the instance ran at ``since``, and a run may keep it stopped until
    ``until``.

    ``public``: the instance had a public address that is not elastic. A stop releases that address, so only this record
    shows it later.
    """

    since: datetime
    until: datetime
    public: bool = False

    @property
    def value(self) -> str:
        """The tag's value."""
        return f"running {format_moment(self.since)} {format_moment(self.until)}{' public' if self.public else ''}"

    def is_spent(self, instance: Instance) -> bool:
        """Return whether the hold is over: the instance ran after the tag was written, or is about to run."""
        return has_run_since(instance, self.since)

    def is_proven(self, instance: Instance) -> bool:
        """Return whether EC2's facts agree with the hold, as far as the instance's state shows them.

        The last stop of a stopped instance must be within the times of the hold, or EC2 reverted a later start. A
        running or stopping instance has no such stop yet. A planned stop is always proven, since this plan makes it.
        """
        if instance.state != "stopped" or is_shown_otherwise(instance):
            return True
        return is_stopped_within(instance, self.since, self.end)

    @property
    def end(self) -> datetime:
        """The end of the hold: ``until``, but at most `LONGEST_HOLD` after its begin."""
        return self.since + LONGEST_HOLD if self._is_too_long else self.until

    def is_over(self, now: datetime, older_than: timedelta) -> bool:
        """Return whether the hold ended more than *older_than* ago."""
        return now - self.end > older_than

    def is_impossible(self, now: datetime) -> bool:
        """Return whether no run can have written the hold: it begins after *now*, ends before it begins, or lasts too
        long.
        """
        return self.since > now + _CLOCKS or self.until < self.since or self._is_too_long

    @property
    def _is_too_long(self) -> bool:
        return self.until - self.since > LONGEST_HOLD


def hold_of(instance: Instance) -> Hold | None:
    """Return the hold on this instance.

    Return None without the tag, or for a value that this collection did not write.
    """
    word, *words = instance.tags.get(tag_names.RESTORE_STATE, "").split(" ")
    if word != "running" or len(words) < 2 or words[2:] not in ([], ["public"]):
        return None
    start, end = parse_moment(words[0]), parse_moment(words[1])
    return Hold(start, end, public=len(words) == 3) if start is not None and end is not None else None


def standing_hold(instance: Instance) -> Hold | None:
    """Return the hold on this instance, unless the hold is over or EC2's facts contradict it."""
    hold = hold_of(instance)
    return None if hold is None or hold.is_spent(instance) or not hold.is_proven(instance) else hold


def lasting_hold(instance: Instance, now: datetime, hold_time: timedelta) -> Hold | None:
    """Return the hold on this instance that a stop by this run can continue.

    The stop must be within the times of the hold, to prove that it belongs to the hold. While the instance runs, a hold
    that is over or ends soon is rewritten, since its run ended before the stop. A hold that begins after *now* is
    rewritten too, since no run can have written it.
    """
    hold = standing_hold(instance)
    if hold is None or instance.state not in ("pending", "running"):
        return hold
    return None if hold.end - now < hold_time / 2 or hold.since > now + _CLOCKS else hold


def forget(instance: Instance, region: str, reason: str) -> Change:
    """Return the change that removes the hold's tag from an instance that runs again, or that no run will start.

    The reason names the time of an existing hold. That of a planned one would differ between a check and the run.
    """
    hold = hold_of(instance)
    since = f" (hold since {format_moment(hold.since)})" if hold and not is_shown_otherwise(instance) else ""
    return Change(
        "DeleteTags",
        instance.instance_id,
        region,
        {"Tags": [{"Key": tag_names.RESTORE_STATE}]},
        reason + since,
        {"tags": dict(instance.tags)},
        {"tags": {key: value for key, value in instance.tags.items() if key != tag_names.RESTORE_STATE}},
    )


def wants_start(instance: Instance) -> bool:
    """Return whether a run has stopped the instance and has not started it again yet."""
    return instance.state in ("stopped", "stopping") and standing_hold(instance) is not None


def held(instance: Instance, now: datetime, hold_time: timedelta) -> Instance:
    """Return the instance as `held_stop` leaves it: stopped, with a hold. A lasting hold keeps its value."""
    tags = dict(instance.tags)
    if lasting_hold(instance, now, hold_time) is None:
        hold = Hold(now, now + hold_time, public=has_passing_address(instance))
        tags[tag_names.RESTORE_STATE] = hold.value
    return dataclasses.replace(instance, state="stopped", tags=tags)


def has_passing_address(instance: Instance) -> bool:
    """Return whether the instance has a public address that a stop releases. An Elastic IP stays with the instance."""
    return instance.public_ip_address is not None and not instance.elastic_ip


def lost_address(instance: Instance) -> str:
    """Return the warning for a stop of an instance that `has_passing_address`."""
    return (
        f"{instance.instance_id} loses its public address {instance.public_ip_address}, and gets another one at its "
        "start"
    )
