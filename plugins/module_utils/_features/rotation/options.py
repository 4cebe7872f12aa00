# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specification of `snapshot_rotate`, with which the role snapshot_policy checks its policies.

Private to this collection.
"""

from __future__ import annotations

from typing import Any

from ..._domain.retention_options import COPIES_OF, ENFORCED_GUARD, EXAMPLES_OF_LIMITS, KEEP, LIMITS

_MODES = {"type": "str", "choices": ["keep", "report", "fail"]}

GUARDS = {
    "image": ENFORCED_GUARD,
    "locked": ENFORCED_GUARD,
    "backup": ENFORCED_GUARD,
    "managed": _MODES,
    "public": _MODES,
    "shared": _MODES,
    "fast_restore": _MODES,
    "archived": _MODES,
    "copy_source": _MODES,
    "newest_copy": _MODES,
    "last": _MODES,
    "creating": _MODES,
    "protected": _MODES,
}
COPY = {
    **COPIES_OF,
    "kms_key_id": {"type": "str", "no_log": False},
    "wait": {"type": "bool", "default": False},
}
LOCK = {
    "mode": {"type": "str", "choices": ["governance", "compliance", "unlocked"], "required": True},
    "duration": {"type": "str"},
    "cool_off": {"type": "str"},
    "accept_compliance": {"type": "bool", "default": False},
}
FAST_RESTORE = {
    "zones": {"type": "list", "elements": "str", "required": True},
    "newest": {"type": "int", "default": 1},
}
SELECT = {
    "volume_ids": {"type": "list", "elements": "str"},
    "instance_ids": {"type": "list", "elements": "str"},
    "tags": {"type": "dict"},
    "allow_missing": {"type": "bool", "default": False},
}
ADOPT = {
    "tags": {"type": "dict", "required": True},
    "policies": {"type": "list", "elements": "str", "default": []},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "policy": {"type": "raw", "required": True},
    "state": {"type": "str", "choices": ["captured", "applied"], "default": "applied"},
    "select": {"type": "dict", "options": SELECT},
    "allow_empty": {"type": "bool", "default": False},
    "create": {"type": "str", "choices": ["due", "never"], "default": "due"},
    "every": {"type": "str", "default": "24h"},
    "consistency": {"type": "str", "choices": ["volume", "instance"], "default": "volume"},
    "exclude_boot_volume": {"type": "bool", "default": False},
    "exclude_volume_ids": {"type": "list", "elements": "str"},
    "tags": {"type": "dict"},
    "copy_volume_tags": {"type": "bool", "default": True},
    "keep": {"type": "dict", "options": KEEP},
    "copies": {"type": "list", "elements": "dict", "options": COPY},
    "archive_after": {"type": "str"},
    "lock": {"type": "dict", "options": LOCK},
    "fast_restore": {"type": "dict", "options": FAST_RESTORE},
    "adopt": {"type": "dict", "options": ADOPT},
    "guards": {"type": "dict", "options": GUARDS},
    "max_delete_percent": {"type": "int", "default": 50},
    "min_keep": {"type": "int", "default": 1},
    **LIMITS,
}

_KEEP = "keep: {daily: 7, weekly: 4}"
EXAMPLES_OF_MAPPINGS = {
    "select": "select: {tags: {backup: daily}}",
    "select.tags": "select: {tags: {backup: daily}}",
    "tags": "tags: {team: shop}",
    "keep": _KEEP,
    "copies[]": f"copies: [{{region: eu-west-1, {_KEEP}}}]",
    "copies[].keep": _KEEP,
    "adopt": "adopt: {tags: {created-by: cron}}",
    "adopt.tags": "adopt: {tags: {created-by: cron}}",
    **EXAMPLES_OF_LIMITS,
    "lock": "lock: {mode: governance, duration: 28d}",
    "fast_restore": "fast_restore: {zones: [eu-central-1a]}",
    "guards": "guards: {newest_copy: report}",
}
