# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The source/destination check of a successor, which RunInstances cannot switch off.

Private to this collection.
"""

from __future__ import annotations

from ..._kernel.plan import ANY_FAILURE, Change, Stage
from ..._kernel.resources import Instance


def source_check(old: Instance, new: Instance, region: str, back: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stage that switches the check of *new* off, or none if it is off already, or on at *old*.

    *back*: the rollback. EC2 takes an instance with several interfaces only by its interface.
    """
    if old.facts.get("SourceDestCheck") is not False or new.facts.get("SourceDestCheck") is False:
        return ()
    several = len(new.interfaces) > 1 and new.primary_interface_id is not None
    action = "ModifyNetworkInterfaceAttribute" if several else "ModifyInstanceAttribute"
    change = Change(
        action,
        str(new.primary_interface_id) if several else new.instance_id,
        region,
        {"SourceDestCheck": {"Value": False}},
        f"switch the source/destination check off, as at {old.instance_id}",
        {},
        {},
    )
    return (Stage((change,), on_failure=back, rollback_on=ANY_FAILURE if back else frozenset()),)
