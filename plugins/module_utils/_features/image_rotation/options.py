# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specification of `image_rotate`.

Private to this collection.
"""

from __future__ import annotations

from typing import Any

from ..._domain.retention_options import COPIES_OF, ENFORCED_GUARD, EXAMPLES_OF_LIMITS, KEEP, LIMITS

_TEXT = {"type": "str"}
_MODES = {"type": "str", "choices": ["keep", "report", "fail", "off"]}

GUARDS = {
    "instance": _MODES,
    "launch_template": _MODES,
    "launch_configuration": _MODES,
    "parameter": _MODES,
    "recipe": _MODES,
    "account": _MODES,
    "managed": _MODES,
    "protected": _MODES,
    "copy_source": _MODES,
    "protection": ENFORCED_GUARD,
    "locked": ENFORCED_GUARD,
}
ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "raw", "required": True},
    "action": {"type": "str", "choices": ["deprecate", "disable", "deregister"], "required": True},
    "keep": {"type": "dict", "options": KEEP, "required": True},
    "adopt": {"type": "dict", "options": {"tags": {"type": "dict", "required": True}}},
    "copies": {"type": "list", "elements": "dict", "options": COPIES_OF},
    "unused_for": _TEXT,
    "launch_template_versions": {"type": "str", "choices": ["all", "default_and_latest"], "default": "all"},
    "check_accounts": {"type": "bool", "default": False},
    "retire_predecessors": {"type": "dict", "options": {"after": {"type": "str", "required": True}}},
    "guards": {"type": "dict", "options": GUARDS},
    **LIMITS,
}

_KEEP = "keep: {last: 3, monthly: 12}"
EXAMPLES_OF_MAPPINGS = {
    "keep": _KEEP,
    "copies[]": f"copies: [{{region: eu-west-1, {_KEEP}}}]",
    "copies[].keep": _KEEP,
    "adopt": "adopt: {tags: {made-by: packer}}",
    "adopt.tags": "adopt: {tags: {made-by: packer}}",
    **EXAMPLES_OF_LIMITS,
    "retire_predecessors": "retire_predecessors: {after: 7d}",
    "guards": "guards: {recipe: off}",
}
