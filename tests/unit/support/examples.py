# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of examples for a property."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100


def examples(number: int) -> settings:
    """Return the settings for *number* examples, or for more or fewer where the profile's own number is not `USUAL`."""
    return settings(max_examples=max(1, number * settings().max_examples // USUAL), deadline=None)
