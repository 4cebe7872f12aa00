# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that somebody may write into a tag of the collection."""

from __future__ import annotations

STRANGER = "i-0000000000000000f"
ABSURD = ["", "x", ",", "i-", "2999-01-01T00:00:00Z", "running 2026-19-39T99:00:00Z 2999-01-01T00:00:00Z", "\x00\u202e"]
