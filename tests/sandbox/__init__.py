# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An EC2 that behaves: states that take time, limits, faults on demand, volumes with content. See README.md."""

from __future__ import annotations

import importlib

#: The modules whose handlers make up the storage family.
DOMAIN = (
    "tags", "volumes", "volume_attributes", "snapshots", "sharing", "tiers", "locks", "fast_restore", "images",
    "image_usage", "instance_refreshes", "instances", "launch_templates", "parameters", "recycle_bin", "root_tasks",
    "addresses", "interfaces", "target_groups", "metrics", "changed_blocks", "price_list",
)  # fmt: skip


def load_handlers() -> None:
    """Import the modules that register handlers."""
    for name in DOMAIN:
        importlib.import_module(f"{__name__}.{name}")
