# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refusals while either of two instances may have the data, for an unfinished replacement or a predecessor that runs
again.

Private to this collection.
"""

from __future__ import annotations

from .._kernel import tags as tag_names
from .._kernel.errors import UnsafePlan, listed
from .._kernel.resources import Instance
from .._kernel.state import Query, State, by_id
from .hold import standing_hold
from .replacement import REJECTED, SERVING, is_on_trial, is_unretired, predecessor
from .succession import ancestors, descendants, on_trial_for


def require_unclaimed(state: State, instance: Instance, option: str) -> None:
    """Raise UnsafePlan if *instance* is off and a successor claims it through a predecessor that EC2 does not show.

    A relaunch launched such a successor. Its claim may be true, and *instance* may then have old data. An instance with
    a hold is about to run again, so it is not in doubt.
    """
    if instance.state not in ("stopped", "stopping") or standing_hold(instance) is not None:
        return
    proven = descendants(state, instance.instance_id)
    claims = sorted(
        item.instance_id
        for item in state.all(Instance)
        if item.alive
        and instance.instance_id in tag_names.replaced_ids(item.tags)
        and predecessor(item) is not None
        and state.instance(predecessor(item)) is None
        and item not in proven
    )
    if claims:
        raise UnsafePlan(
            f"{option}: {instance.instance_id} is {instance.state}, and the tag {tag_names.REPLACES} of "
            f"{listed(claims)} names {instance.instance_id}. Nothing proves that replacement, since EC2 does not show "
            f"the instance between them any more. To continue with {claims[0]}, name it. To continue with "
            f"{instance.instance_id}, remove {instance.instance_id} from that tag"
        )


def settling_queries(state: State, instance_id: str) -> tuple[Query, ...]:
    """Return the queries that `require_settled` needs beside `lineage_queries`, if the given id is
    the successor's own.
    """
    given = state.instance(instance_id)
    old_id = predecessor(given) if given is not None and tag_names.TRIAL in given.tags else None
    return () if old_id is None else by_id("DescribeInstances", "instance-id", [old_id])


def require_settled(state: State, instance: Instance, option: str) -> None:
    """Raise UnsafePlan while a replacement with *instance* as predecessor or successor is unfinished, since either may
    have the data.

    A rejected replacement is finished.
    """
    unserving = on_trial_for(state, instance.instance_id)
    pairs = [(instance, successor) for successor in unserving if successor.tags[tag_names.TRIAL] != REJECTED]
    old = state.instance(predecessor(instance))
    if old is not None and (is_on_trial(state, instance) or is_unretired(old, instance)):
        pairs.append((old, instance))
    for before, after in pairs:
        serves = after.tags[tag_names.TRIAL] == SERVING
        proof = "serves, but the predecessor is not retired" if serves else "is unproven"
        raise UnsafePlan(
            f"{option}: a replacement is unfinished. {after.instance_id} ({after.state}, from {after.image_id}) was "
            f"launched to replace {before.instance_id} ({before.state}) and {proof}. To finish it, run that relaunch "
            f"again with {after.image_id}, or with its version. To continue with {before.instance_id}, terminate "
            f"{after.instance_id}"
        )


def require_no_rollback(state: State, successor: Instance, instance_id: str, option: str) -> None:
    """Raise UnsafePlan if *successor* is stopped and its predecessor runs again.

    The predecessor then has newer data.
    """
    if successor.state not in ("stopped", "stopping"):
        return
    for older_id in (instance_id, *ancestors(state, successor)):
        older = state.instance(older_id)
        # The given id may be that of a rejected instance that was launched to replace *successor*.
        if older is None or successor.instance_id in ancestors(state, older):
            continue
        if older.state in ("running", "pending"):
            raise UnsafePlan(
                f"{option}: {older_id} is {older.state} again, but its successor {successor.instance_id} is "
                f"{successor.state}. To continue with {older_id}, terminate {successor.instance_id} or remove its tag "
                f"{tag_names.REPLACES}. To continue with {successor.instance_id}, start it"
            )
