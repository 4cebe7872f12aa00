# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instances that a plan stops for a detach, and those that an earlier run has left stopped.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._domain.hold import hold_of
from ..._domain.power_cycle import running_of
from ..._kernel.resources import Instance, Volume
from .draft import Draft
from .involved import involved
from .undeclared import purged


def stopping_instances(draft: Draft) -> list[Instance]:
    """Return the running instances that must stop for a detach."""
    if draft.spec.in_use != "stop":
        return []
    found = [draft.state.instance(instance_id) for instance_id, links in draft.leaving.items() if links]
    return running_of(instance for instance in found if instance is not None)


def involved_instances(draft: Draft, stopping: Sequence[Instance]) -> list[Instance]:
    """Return the instances that an earlier run may have stopped for these volumes, and that this run does not stop.

    A hold may belong to somebody else. It belongs to this module if a volume of the declaration claims to have been
    there, and no fact refutes that.
    """
    refused = {match.target.label for match in draft.refused}
    matches = [match for match in draft.matches if match.target.label not in refused]
    own = [item for match in matches for item in (match.volume, *match.replaced, *match.stale)]
    # Without the volume of a refused entry, an instance is not started.
    left = {name for match in draft.refused for name in match.target.instance_ids}
    wanted = set(draft.spec.instance_ids) - left
    own += [item for item in draft.state.all(Volume) if wanted & {link.instance_id for link in item.attachments}]
    own += [*purged(draft), *(draft.state.volume(volume_id) for volume_id, _instance_id in sorted(draft.freed))]
    volumes = [item for item in own if item is not None]
    found, warnings = involved(draft.state, volumes, draft.freed, draft.spec.instance_ids)
    draft.warnings += warnings
    return [item for item in found if item not in stopping and item.instance_id not in left]


def is_over(draft: Draft, instance: Instance) -> bool:
    """Return whether the hold of a running instance is over. The instance must be declared, or EC2 must show that it
    was started since then.

    Any other hold may belong to a run that is about to stop the instance.
    """
    hold = hold_of(instance)
    return instance.instance_id in draft.spec.instance_ids or (hold is not None and hold.is_spent(instance))
