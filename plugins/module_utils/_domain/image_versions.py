# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts that prove a version of an image, which tags only claim: its descriptions and the hash of its source.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from .._kernel import tags as tag_names
from .._kernel.proofs import is_copy
from .._kernel.resources import Image, Snapshot

LONGEST_DESCRIPTION = 255
"""Characters that EC2 takes in a description."""
MACHINE = re.compile(r", machine ([0-9a-f]{16})(?=$| \[[0-9a-f]{32}\]$)")
"""The hash of a machine record in the description of a capture."""
ANY_MARK = re.compile(r" \[[0-9a-f]{32}\]$")
"""The mark of any version, see `mark_of`."""
PLAIN = re.compile(r".+ .+ from (?:i|snap|ami|vol)-[0-9a-f]{8,17}")
"""The default description of any version."""
_SOURCE = re.compile(r"(i|snap|ami|vol)-[0-9a-f]{8,17}")


def digest(content: list[Any]) -> str:
    """Return 32 hex digits that stand for *content*."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def source_hash(kind: str, source: str) -> str:
    """Return the hash of a source (its kind and id), the first half of a fingerprint.

    *kind* is ``instance``, ``snapshot``, ``image`` or ``volume``.
    """
    return digest([kind, source])


def mark_of(name: str, version: str) -> str:
    """Return the end of a description that identifies the version, after any text."""
    return f" [{hashlib.sha256(json.dumps([name, version]).encode()).hexdigest()[:32]}]"


def is_unmistakable(name: str, version: str) -> bool:
    """Return whether no other name and version make the same plain description.

    The name ``web 1`` with version ``2`` looks like ``web`` with version ``1 2``. Characters that EC2 does not accept
    become question marks. A long text is cut.
    """
    label = f"{name} {version}"
    return label.isascii() and label.count(" ") == 1 and "?" not in label and len(label) <= LONGEST_DESCRIPTION - 40


def names_version(name: str, version: str, text: str) -> bool:
    """Return whether only this version can have such a description, with any source."""
    if text.endswith(mark_of(name, version)):
        return True
    text, beginning = MACHINE.sub("", text), f"{name} {version} from "
    return (
        is_unmistakable(name, version)
        and text.startswith(beginning)
        and _SOURCE.fullmatch(text[len(beginning) :]) is not None
    )


def names_any_version(text: str) -> bool:
    """Return whether the collection writes such a description, for some version."""
    return ANY_MARK.search(text) is not None or PLAIN.fullmatch(MACHINE.sub("", text)) is not None


def description_of(image: Image) -> str:
    """Return the Description, or an empty text. Tags cannot change it."""
    return str(image.facts.get("Description") or "")


def is_named_for(name: str, image: Image, parts: Iterable[Snapshot]) -> bool:
    """Return whether EC2 shows that the image is the version in its tag: by its description, by its name without the
    description of another version, or by the description of a snapshot in *parts*, which was taken for it.
    """
    version = image.tags.get(tag_names.VERSION, "")
    text = description_of(image)
    if not version:
        return False
    if names_version(name, version, text):
        return True
    if any(names_version(name, version, part.description) for part in parts if not is_copy(part)):
        return True
    return image.name == f"{name}-{version}" and not names_any_version(text)


def root_snapshot_id(image: Image) -> str | None:
    """Return the id of the snapshot of the image's root device, or None without one."""
    roots = (item.snapshot_id for item in image.block_devices if item.device_name == image.root_device_name)
    return next(roots, None)


def billing_obstacle(image: Image) -> str:
    """Return why RegisterImage cannot make an image with the billing of *image*, or an empty text.

    Source: EC2 API reference, RegisterImage.
    """
    if not image.product_codes and image.platform_details in (None, "Linux/UNIX"):
        return ""
    codes = " with product codes" if image.product_codes else ""
    return (
        f"{image.image_id} is billed as {image.platform_details}{codes}, and RegisterImage makes images of Linux/UNIX "
        "only. Launch an instance from it, develop there, and bake that instance."
    )
