# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An EC2 that behaves: states that take time, limits, faults on demand, volumes with content. See README.md."""

from __future__ import annotations

import importlib
import importlib.util

#: The modules whose handlers make up the storage family.
DOMAIN = ("tags", "volumes", "snapshots", "images", "instances")

#: Not written yet; loaded as soon as it is there.
COMING = ("addons",)


def load_handlers() -> None:
    """Import the modules that register handlers."""
    for name in DOMAIN:
        importlib.import_module(f"{__name__}.{name}")
    for name in COMING:
        if importlib.util.find_spec(f"{__name__}.{name}") is not None:
            importlib.import_module(f"{__name__}.{name}")
