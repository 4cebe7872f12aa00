# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices of the image that a successor gets no copies of, since moved volumes go there.

Private to this collection.
"""

from __future__ import annotations

from ..._domain.attachments import disk
from ..._domain.moves import Moves
from ..._kernel.resources import Image


def omitted_devices(moves: Moves, image: Image) -> list[str]:
    """Return the device names of the image at which the successor must get no copies, since moved volumes go there."""
    disks = {disk(item.device_name) for item in moves.volumes}
    root = image.root_device_name
    return [
        device.device_name
        for device in image.block_devices
        if device.device_name != root and disk(device.device_name) in disks
    ]
