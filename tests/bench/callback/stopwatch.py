# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback that writes the begin, the end and the outcome of every task to a file: one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: stopwatch
type: notification
short_description: Write every task's begin, end and outcome to a file
description:
  - For the benchmark. The file is named by the environment variable C(EC2OPS_BENCH_RECORD).
requirements:
  - enabling in configuration
"""


class CallbackModule(CallbackBase):
    """One line per task and host that has ended, not for skipped ones: task, action, began, ended, outcome, message.

    began, ended: seconds since 1970 on the clock of this machine.
    """

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "stopwatch"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._began: dict[str, float] = {}

    def _write(self, outcome: str, result: Any) -> None:
        ended = time.time()
        row = {
            "task": result._task.get_name(),
            "action": result._task.action,
            "began": self._began.get(result._task._uuid, ended),
            "ended": ended,
            "outcome": outcome,
            "message": str(result._result.get("msg", "")) if outcome == "failed" else "",
        }
        with open(os.environ["EC2OPS_BENCH_RECORD"], "a", encoding="utf-8") as record:  # noqa: PTH123
            record.write(json.dumps(row) + "\n")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._began[task._uuid] = time.time()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("failed", result)
