# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out a plan.

Private to this collection.
"""

from __future__ import annotations

from .._kernel.graph import graph_of
from .._kernel.plan import Plan
from .ports import Gateway, Outcome
from .scheduler import Scheduler


def apply(plan: Plan, gateway: Gateway, *, wait: bool, timeout: float) -> Outcome:
    """Carry out *plan*, and return its outcome. The outcome holds the errors; none is raised.

    With *wait* false, only the waits that a change depends on run. *timeout*, in seconds, bounds all waits and repeats
    together. A failed step ends the steps that depend on it and its transaction, which is rolled back. Everything else
    is done.
    """
    return Scheduler(gateway, graph_of(plan.stages), wait=wait, timeout=timeout).run()
