# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.ec2ops.storage.plugins.plugin_utils.in_process import InProcess


class ActionModule(InProcess):
    name = "image_workbench"
