# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""User data that runs again: cloud-init takes a successor for a new instance.

Private to this collection.
"""

from __future__ import annotations

import base64
import gzip
import zlib

from ..._kernel.facts import USER_DATA
from ..._kernel.resources import Instance
from ..._kernel.state import State
from .options import RelaunchSpec

# The first words of user data that carries commands to run (cloud-init, "User data formats"; EC2Launch v2).
_SCRIPTS = ("#!", "<script", "<powershell", "#cloud-boothook", "#include", "Content-Type: multipart", "MIME-Version")
# Keys of a #cloud-config that run commands or write state at the first boot of an instance.
_MODULES = (
    "runcmd", "bootcmd", "write_files", "disk_setup", "fs_setup", "ssh_keys", "chpasswd", "users", "packages",
    "phone_home", "power_state", "mounts", "swap", "ansible", "puppet", "chef", "salt_minion", "snap",
)  # fmt: skip


def repeated_scripts(spec: RelaunchSpec, state: State, old: Instance) -> tuple[str, ...]:
    """Return the warning about kept user data that the successor runs at its first boot, as the predecessor did.

    cloud-init and EC2Launch run most user data once for each instance id, and the successor has a new one. The warning
    is left out only for a ``#cloud-config`` without a key that runs commands or writes state.
    """
    encoded = USER_DATA.of(state, old.instance_id) if spec.overrides.user_data == "keep" else None
    kind = _kind(_text(base64.b64decode(encoded))) if encoded else ""
    if not kind:
        return ()
    warning = (
        f"overrides.user_data: the user data of {old.instance_id} {kind}. The image has run it before, and the "
        "successor runs it again at its first boot, since its instance id is new. Set user_data: drop, or make sure "
        "that a repetition does no harm"
    )
    return (warning,)


def _text(content: bytes) -> str:
    """Return user data as text. cloud-init unpacks gzip."""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return ""
    return content.decode(errors="replace").lstrip("\ufeff \t\r\n")


def _kind(text: str) -> str:
    """Return the effect of the user data, as a clause, or an empty text if it has no side effects."""
    if not text.startswith("#cloud-config"):
        known = text.lower().startswith(tuple(item.lower() for item in _SCRIPTS))
        return "is a script or includes scripts" if known else "is of an unknown format" if text.strip() else ""
    keys = [line.partition(":")[0].strip().strip("\"'") for line in text.splitlines() if line[:1].strip()]
    found = sorted({key for key in keys if key in _MODULES})
    return f"has cloud-config with {', '.join(found)}" if found else ""
