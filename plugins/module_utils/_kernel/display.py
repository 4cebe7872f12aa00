# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make text safe for the screen of a person who approves a plan by eye.

Other people write tag values. A newline in such a value can add a line to a diff, and a bidirectional mark can reverse
a line (Unicode Technical Report 36, "Bidirectional Text Spoofing").

Private to this collection.
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""The Unicode categories without a visible glyph: control characters, format characters, private characters,
surrogates, line breaks.
"""


def visible(text: str) -> str:
    """Return *text* with the Python escape of every character that moves, hides or breaks other text."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def visible_lines(text: str) -> str:
    """Return *text* with each of its lines made `visible`, and with the same line ends."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 snapshot``, ``2 snapshots``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
