# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The attributes of every module of the collection. A module with less support overrides an attribute and gives
    # details.
    DOCUMENTATION = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/ec2ops.storage.aws) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - ec2ops.storage.aws
  check_mode:
    description:
      - Can run in C(check_mode) and return the plan of the same task without a change.
    support: full
  diff_mode:
    description:
      - Returns details on the changes, or on the planned changes in C(check_mode), when in diff mode.
    support: full
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that nothing else changes the module's resources in between.
    support: full
"""
