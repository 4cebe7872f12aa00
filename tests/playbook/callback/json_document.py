# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stdout callback like ansible.posix.json: all that it prints is one document at the end."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: json_document
type: stdout
short_description: Print the results as one JSON document
description:
  - For tests. Any other line on the screen breaks the document.
"""


class CallbackModule(CallbackBase):
    """Collects the results by task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "json_document"

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[str, Any] = {}

    def v2_runner_on_ok(self, result: Any) -> None:
        self._results[result._task.get_name()] = result._result

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._display.display(json.dumps(self._results, default=str))
