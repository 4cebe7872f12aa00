# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts about instances that only EC2 can have written: launches, stops, starts and attachments.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from . import tags as tag_names
from .ids import GENERATIONS, client_token, is_planned
from .resources import Instance

LONGEST_TRIAL = timedelta(days=1)
"""The time after the launch in which a later run terminates a successor with the tag ``rejected``, or retires the
predecessor that runs beside a successor.
"""


LONGEST_RACE = timedelta(minutes=5)
"""The largest delay between the launches of two runs that did not see each other, since a run looks right before its
launch.
"""

LAUNCHING = timedelta(minutes=1)
"""Within this time of its launch an instance gets the volumes that it is launched with."""

# EC2's text for a stop through its API: "User initiated (2026-11-23 19:00:03 GMT)".
_TRANSITION = re.compile(r".*\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")

# The reasons of a stop that somebody wanted (EC2 API reference, StateReason). All other codes with Client. or Server.
# are EC2's own reasons.
_WANTED_STOPS = ("Client.UserInitiatedShutdown", "Client.UserInitiatedHibernate", "Client.InstanceInitiatedShutdown")


def launch_identity(predecessor_id: str, image_id: str) -> tuple[str, ...]:
    """Return the identity from which `ids.client_token` makes the ClientToken of a successor's launch."""
    return ("relaunch", predecessor_id, image_id)


def is_launched_to_replace(successor: Instance, predecessor_id: str) -> bool:
    """Return whether a relaunch of *predecessor_id* launched *successor*: RunInstances got one of this collection's
    ClientTokens.

    EC2 always shows the ClientToken of a launch, and no call can change it later. Somebody who may call RunInstances
    can choose it, so permission to launch instances implies trust. Return True for a planned successor, since this plan
    makes it.
    """
    if is_planned(successor.instance_id):
        return True
    # EC2 may show the image of a later root volume. The tag then names that of the launch, and the token proves it.
    images = {successor.image_id, successor.tags.get(tag_names.LAUNCH_IMAGE, successor.image_id)}
    return any(successor.facts.get("ClientToken") in launch_tokens(predecessor_id, image) for image in images)


def launch_tokens(predecessor_id: str, image_id: str) -> tuple[str, ...]:
    """Return the possible ClientTokens of a successor's launch, one for each generation."""
    identity = launch_identity(predecessor_id, image_id)
    return tuple(client_token(identity, number) for number in range(GENERATIONS))


def last_transition(instance: Instance) -> datetime | None:
    """Return the time of the last stop or termination that EC2 reports in StateTransitionReason, in whole seconds.

    None while the instance runs, and for transitions without a time ("Server.InternalError").
    """
    found = _TRANSITION.fullmatch(str(instance.facts.get("StateTransitionReason") or ""))
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if found else None


def is_start_taken_back(instance: Instance, since: datetime) -> bool:
    """Return whether EC2 itself ended the last start of a stopped instance, and that start came after *since*.

    For example, EC2 accepts a start and then puts the instance back to ``stopped`` if it cannot use the root's key
    (StateReason ``Client.InternalError``). LaunchTime changes with the attempt.
    """
    code = (instance.facts.get("StateReason") or {}).get("Code") or ""
    own = code.startswith(("Client.", "Server.")) and code not in _WANTED_STOPS
    return own and instance.state == "stopped" and instance.launch_time is not None and instance.launch_time >= since


def has_run_since(instance: Instance, since: datetime) -> bool:
    """Return whether EC2 shows that the instance was started after *since*, and that the start succeeded.

    For a stopped instance the last stop must be later than the start. LaunchTime alone proves nothing, since it also
    changes with a start that EC2 reverts. LaunchTime may have fractions of a second and records do not, so the function
    compares whole seconds.
    """
    launched = None if instance.launch_time is None else instance.launch_time.replace(microsecond=0)
    if launched is None or launched <= since:
        return False
    if instance.state != "stopped":
        return True
    stopped = last_transition(instance)
    return stopped is not None and stopped >= launched and not is_start_taken_back(instance, since)


def is_shown_otherwise(instance: Instance) -> bool:
    """Return whether EC2's answer shows another state than the instance has here, since a plan of this run predicts its
    state.
    """
    shown = (instance.facts.get("State") or {}).get("Name")
    return shown is not None and shown != instance.state


def is_stopped_within(instance: Instance, since: datetime, until: datetime) -> bool:
    """Return whether the stop of a stopped instance was between two times, to the second, or EC2 reverted a later
    start.

    This is the proof of a hold: *since* and *until* are the times of its record.
    """
    stopped = last_transition(instance)
    if stopped is not None and since.replace(microsecond=0) <= stopped <= until:
        return True
    return is_start_taken_back(instance, since)


def is_off(instance: Instance) -> bool:
    """Return whether the instance exists and does not run, or is about to stop."""
    return instance.state in ("stopping", "stopped")


def launched_at(instance: Instance) -> datetime | None:
    """Return when the instance was launched: its first attachment. LaunchTime changes with every start, and a new root
    volume is attached later. Return None if the launch is unknown.
    """
    attached = _attachments(instance)
    return min((*attached, *_usage_times(instance))) if attached else None


def attached_since(instance: Instance, volume_id: str) -> datetime | None:
    """Return when the volume was attached to the instance: AttachTime, or None if EC2 shows no such attachment."""
    for device in instance.facts.get("BlockDeviceMappings") or ():
        ebs = device.get("Ebs") or {}
        if ebs.get("VolumeId") == volume_id:
            moment = ebs.get("AttachTime")
            return moment if isinstance(moment, datetime) else None
    return None


def _usage_times(instance: Instance) -> tuple[datetime, ...]:
    """Return UsageOperationUpdateTime, which is never before the launch. After a new root volume, it may be older than
    every AttachTime.
    """
    moment = instance.facts.get("UsageOperationUpdateTime")
    return (moment,) if isinstance(moment, datetime) else ()


def _attachments(instance: Instance, since: datetime | None = None) -> list[datetime]:
    """Return the AttachTime of each block device of the instance that is later than *since*."""
    devices = instance.facts.get("BlockDeviceMappings") or ()
    moments = [(device.get("Ebs") or {}).get("AttachTime") for device in devices]
    return [item for item in moments if isinstance(item, datetime) and (since is None or item > since)]


def is_stopped_before(old: Instance, moment: datetime) -> bool:
    """Return whether *old*, which is off, may have stopped by *moment*.

    Only a later stop in EC2's facts refutes that.
    """
    stopped = last_transition(old)
    return stopped is None or stopped <= moment


def has_outlasted(successor: Instance, old: Instance) -> bool:
    """Return whether *successor* ran last: *old* is off, and *successor* runs, or stopped later than *old*.

    StateTransitionReason shows when each stopped. If EC2 shows no time for one of them, the later LaunchTime decides.
    """
    if not is_off(old):
        return False
    if successor.state in ("pending", "running"):
        return True
    mine, other = last_transition(successor), last_transition(old)
    if mine is None or other is None:
        mine, other = successor.launch_time, old.launch_time
    return is_off(successor) and mine is not None and other is not None and mine > other


def may_have_run_on(old: Instance, successor: Instance, now: datetime) -> bool:
    """Return whether *old* may have run for more than `LONGEST_TRIAL` after the launch of *successor*.

    Then only a tag shows that *successor* serves in its place. EC2's facts are the same if *successor* was rejected. An
    instance that is off may have run until now if EC2 does not show when it stopped. Return False for a planned
    successor, since this plan makes it.
    """
    if is_planned(successor.instance_id) or not old.alive:
        return False
    launched = min((*_attachments(successor), *_usage_times(successor)), default=None)
    stopped = last_transition(old) if is_off(old) else None
    return launched is None or (stopped or now) - launched > LONGEST_TRIAL


def launched_last(successors: Sequence[Instance], images_made: Mapping[str, datetime]) -> Instance | None:
    """Return the successor that was launched when the other successors of the predecessor did not serve, or None.

    A relaunch launches none beside a successor that serves, unless two runs race. So the last one counts if it was not
    launched in a race. It was launched more than `LONGEST_RACE` after the others, or the others are older than its
    image. And none of the others was started since then. *images_made*: the known creation dates of images, by id.
    """
    known = [(moment, successor) for successor in successors if (moment := launched_at(successor)) is not None]
    if len(known) < max(len(successors), 2):
        return None
    *others, (moment, last) = sorted(known, key=lambda item: (item[0], item[1].instance_id))
    before = others[-1][0]
    made = images_made.get(last.image_id)
    raced = moment - before <= LONGEST_RACE and (made is None or made <= before)
    restarted = any(successor.launch_time is None or successor.launch_time > moment for _moment, successor in others)
    return None if raced or restarted else last


def has_retired(successor: Instance, old: Instance, until: datetime) -> bool:
    """Return whether EC2 shows that *old* was stopped after the launch of *successor*, and not after *until*.

    A successor that was launched after that stop has not retired *old* itself.
    """
    launched, stopped = launched_at(successor), last_transition(old)
    if not is_off(old) or launched is None or stopped is None:
        return False
    return launched.replace(microsecond=0) <= stopped <= until


def can_be_on_trial(successor: Instance, old: Instance, now: datetime) -> bool:
    """Return whether EC2's facts allow the claim that *successor* was launched to replace *old* and has never served.

    A tag claims that, and no fact can prove it. These facts refute it: *successor* is older than
    `LONGEST_TRIAL`; it has an Elastic IP, a volume that came later, or was started again; *old* is gone, or ran when
    *successor* was launched and is off now. Return True for a planned successor, since this plan makes it.
    """
    if is_planned(successor.instance_id):
        return True
    born = launched_at(successor)
    if born is None or not old.alive or now - min((born, *_usage_times(successor))) > LONGEST_TRIAL:
        return False
    settled = born + LAUNCHING
    restarted = successor.launch_time is not None and successor.launch_time > settled
    if successor.has_elastic_ip or restarted or _attachments(successor, settled):
        return False
    return not is_off(old) or is_stopped_before(old, born)
