# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The usage reports of an image: which of their entries still count.

Private to this collection.
"""

from __future__ import annotations

from .._kernel.state import State
from .._kernel.storage_facts import USAGE_REPORTS, Usage


def is_superseded(state: State, image_id: str, entry: Usage) -> bool:
    """Return whether a newer report covers the same account and type of resource, and looks at no fewer versions."""
    reports = USAGE_REPORTS.of(state, image_id) or ()
    kind = entry.resource_type
    own = next((report for report in reports if report.report == entry.report), None)
    if own is None or entry.reported is None:
        return False
    return any(
        report.reported > entry.reported
        and kind in report.depths
        and report.depth_of(kind) >= own.depth_of(kind)
        and (not report.accounts or entry.account in report.accounts)
        for report in reports
    )
