# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the retention rules, which `snapshot_rotate` and `image_rotate` share.

Private to this collection.
"""

from __future__ import annotations

_TEXT = {"type": "str"}

KEEP = {
    "last": _TEXT,
    "hourly": _TEXT,
    "daily": _TEXT,
    "weekly": _TEXT,
    "monthly": _TEXT,
    "quarterly": _TEXT,
    "yearly": _TEXT,
    "within": _TEXT,
    "hourly_within": _TEXT,
    "daily_within": _TEXT,
    "weekly_within": _TEXT,
    "monthly_within": _TEXT,
    "quarterly_within": _TEXT,
    "yearly_within": _TEXT,
    "timezone": {"type": "str", "default": "UTC"},
    "reference": {"type": "str", "choices": ["latest", "now"], "default": "latest"},
    "oldest": {"type": "bool", "default": False},
}
