# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Options of every module. One that waits for something of its own says so under the option's name: what a module
    # writes there replaces the part of the same name here.
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Wait until what was changed is in its wanted state.
    type: bool
    default: true
  wait_timeout:
    description:
      - How long all waits may take together, in seconds. When the time is over, the task fails; run it again to go on.
    type: int
    default: 1800
  assume:
    description:
      - In check mode only, the C(plan)s returned by earlier tasks of the play. The module plans as if they had been
        carried out.
      - A plan in which Ansible has masked the value of a secret is refused.
    type: list
    elements: raw
    default: []
"""
