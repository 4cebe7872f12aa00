# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback that says at the end whether the process of ansible-playbook has loaded botocore."""

from __future__ import annotations

import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: loaded
type: notification
short_description: Say whether botocore is loaded
description:
  - For tests.
requirements:
  - enabling in configuration
"""


class CallbackModule(CallbackBase):
    """One line."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "loaded"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._display.display(f"botocore: {'botocore' in sys.modules}")
