# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that `snapshot_rotate` and `image_rotate` share: the rules of retention, and the limits of a run.

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
COPIES_OF = {
    "region": {"type": "str", "required": True},
    "profile": _TEXT,
    "keep": {"type": "dict", "required": True, "options": KEEP},
}
"""One place of copies."""
ENFORCED_GUARD = {"type": "str", "choices": ["keep", "fail"]}
"""A guard with which EC2 itself refuses."""
_PROTECT = {
    "tags": {"type": "dict"},
    # Ansible would convert any other value to text.
    "tag_keys": {"type": "list", "elements": "raw", "no_log": False},
}
LIMITS = {
    "protect": {"type": "dict", "options": _PROTECT},
    "max_delete": {"type": "int", "default": 100},
    "expected_plan": _TEXT,
    "report": {"type": "str", "choices": ["actions", "all", "summary"], "default": "actions"},
}
EXAMPLES_OF_LIMITS = {
    "protect": "protect: {tag_keys: [legal-hold]}",
    "protect.tags": "protect: {tags: {legal-hold: active}}",
}
