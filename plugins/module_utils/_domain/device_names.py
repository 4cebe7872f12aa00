# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device names that EC2 takes, by the virtualization type and the operating system of an instance.

Source: EC2 user guide, "Device names for volumes". EC2 refuses names after xvddx. Only aws-ebs-csi-driver documents
this.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .._kernel.resources import Instance

_LETTERS = re.compile(r"(?:/dev/)?(?:sd|xvd|hd)([a-z0-9]+)")
# The names of all virtualization types. The API also takes them without /dev/.
_DEVICE = re.compile(r"(?:/dev/)?(?:[sh]d[a-z](?:[1-9]|1[0-5])?|xvd[a-c]?[a-z]|xvdd[a-x])")
_PARAVIRTUAL_ONLY = re.compile(r"(?:/dev/)?(?:sd[a-z]\d+|hd[a-z]\d*)")
_HVM_ONLY = re.compile(r"(?:/dev/)?xvd[a-z]{2}")
# /dev/sda1, and /dev/sda or /dev/xvda.
_ROOTS = ("a1", "a")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
# The guide recommends f to p for data volumes. Instance store volumes use b to e, so these come last.
_FIRST, _MORE, _LAST = "fghijklmnop", "qrstuvwxyz", "bcde"


def is_device_name(name: str) -> bool:
    """Return whether EC2 takes the name on instances of some virtualization type."""
    return _DEVICE.fullmatch(name) is not None


def device_letters(name: str) -> str:
    """Return the part that distinguishes devices. The operating system sees ``/dev/sdf`` and ``/dev/xvdf`` as one
    device.
    """
    match = _LETTERS.fullmatch(name)
    return match.group(1) if match else name


def device_trouble(name: str, instance: Instance) -> str:
    """Return why *instance* takes no data volume under this name, with a remedy, or an empty text.

    If facts of the instance are unknown, such as those of a planned one, the name is not refused.
    """
    root = instance.root_device_name
    if root and device_letters(name) in _ROOTS and device_letters(name) != device_letters(root):
        return (
            f"{name} is a name for root volumes, and the root of {instance.instance_id} is at {root}. Declare the root "
            "volume under the name root, or choose another device for this one"
        )
    virtualization = instance.facts.get("VirtualizationType")
    if virtualization == "hvm" and device_letters(name) != "a1" and _PARAVIRTUAL_ONLY.fullmatch(name):
        return (
            f"EC2 takes {name} on paravirtual instances only, and {instance.instance_id} is hvm. Choose a name such as "
            "/dev/sdf or /dev/xvdba"
        )
    if virtualization == "paravirtual" and _HVM_ONLY.fullmatch(name):
        return (
            f"EC2 takes {name} on hvm instances only, and {instance.instance_id} is paravirtual. Choose a name such as "
            "/dev/sdf"
        )
    return ""


def automatic_names(instance: Instance) -> Iterator[str]:
    """Yield the names that suit a data volume, best first.

    An hvm instance has 127 names. This is the largest number of volumes beside the root that a type takes.
    """
    if instance.facts.get("VirtualizationType") == "paravirtual":
        yield from (f"/dev/sd{letter}" for letter in _FIRST + _MORE + _LAST)
    elif is_windows(instance):
        # The guide reserves xvdca to xvdcx for instance store volumes.
        yield from (f"xvd{letter}" for letter in _FIRST + _MORE)
        yield from (f"xvd{pair}" for pair in _pairs("bdac"))
        yield from (f"xvd{letter}" for letter in _LAST)
    else:
        yield from (f"/dev/sd{letter}" for letter in _FIRST)
        yield from (f"/dev/xvd{pair}" for pair in _pairs("bcd"))
        yield from (f"/dev/sd{letter}" for letter in _MORE)
        yield from (f"/dev/xvd{pair}" for pair in _pairs("a"))
        yield from (f"/dev/sd{letter}" for letter in _LAST)


def is_windows(instance: Instance) -> bool:
    """Return whether the instance runs Windows, whose device names have no ``/dev/``."""
    return instance.facts.get("Platform") == "windows" or instance.platform_details.startswith("Windows")


def _pairs(firsts: str) -> Iterator[str]:
    return (first + second for first in firsts for second in _ALPHABET if first + second <= "dx")
