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
from typing import Any

LONGEST_DESCRIPTION = 255
"""Characters that EC2 takes in a description."""
MACHINE = re.compile(r", machine ([0-9a-f]{16})(?=$| \[[0-9a-f]{32}\]$)")
"""The hash of a machine record in the description of a capture."""
ANY_MARK = re.compile(r" \[[0-9a-f]{32}\]$")
"""The mark of any version, see `mark_of`."""
PLAIN = re.compile(r".+ .+ from (?:i|snap|ami)-[0-9a-f]{8,17}")
"""The default description of any version."""
_SOURCE = re.compile(r"(i|snap|ami)-[0-9a-f]{8,17}")


def digest(content: list[Any]) -> str:
    """Return 32 hex digits that stand for *content*."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def source_hash(kind: str, source: str) -> str:
    """Return the hash of a source (its kind and id), the first half of a fingerprint.

    *kind* is ``instance``, ``snapshot`` or ``image``.
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
