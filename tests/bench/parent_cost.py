# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads an action of the collection as Ansible's strategies do in the parent process. Prints the cost, as JSON.

``botocore``: computed seconds until boto3 and EC2's service model are there; ``all``: those and the collection's own
files. ``memory`` in MB, and how many ``threads`` and ``sockets`` were opened. The process has the modules of a play
loaded before.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from importlib import import_module
from pathlib import Path

from ansible.plugins.loader import action_loader, init_plugin_loader

PLUGINS = ("callback.default", "connection.local", "strategy.linear")
SELF = Path("/proc/self")


def memory() -> float:
    """The memory of this process, in MB."""
    return int((SELF / "statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def sockets() -> int:
    """How many sockets are open."""
    modes = []
    for descriptor in (SELF / "fd").iterdir():
        try:
            modes.append(os.fstat(int(descriptor.name)).st_mode)
        except OSError:  # that of the folder itself
            continue
    return sum(map(stat.S_ISSOCK, modes))


def main() -> None:
    """Loads the action, and prints."""
    for name in ("executor.playbook_executor", *(f"plugins.{plugin}" for plugin in PLUGINS)):
        import_module(f"ansible.{name}")
    init_plugin_loader()
    action_loader.get("ansible.builtin.normal", class_only=True)
    before = memory(), sockets(), threading.active_count()
    began = time.process_time()
    import_module("boto3")
    imported = time.process_time() - began
    from ansible_collections.ec2ops.storage.plugins.module_utils._aws import shared_model

    model = time.process_time()
    shared_model.load()
    loaded = time.process_time() - model
    if action_loader.get("ec2ops.storage.ebs_volume_spec", class_only=True) is None:
        raise SystemExit("there is no such action")
    cost = {
        "botocore": imported + loaded,
        "all": time.process_time() - began,
        "memory": memory() - before[0],
        "sockets": sockets() - before[1],
        "threads": threading.active_count() - before[2],
    }
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
