# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The options of every module. A module that documents an option of the same name replaces the text here.
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Wait until the changed resources have reached their wanted state.
    type: bool
    default: true
  wait_timeout:
    description:
      - The time limit for all waits together, in seconds. At the end of this time the task fails. Run it again to
        continue.
    type: int
    default: 1800
  assume:
    description:
      - In check mode only, the C(plan)s returned by earlier tasks of the play. The module plans as if those tasks had
        run.
      - The module refuses a plan in which Ansible has masked the value of a secret.
    type: list
    elements: raw
    default: []
"""
