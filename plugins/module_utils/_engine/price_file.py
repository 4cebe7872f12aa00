# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The user's file of prices.

Private to this collection.
"""

from __future__ import annotations

import os
from pathlib import Path

from .._kernel.errors import SpecError

VARIABLE = "EC2OPS_PRICES"
"""The environment variable that names a file of prices on the machine of the module."""


def price_file() -> str:
    """Return the text of the file that `VARIABLE` names, empty without the variable. Raises SpecError."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{VARIABLE}: the task cannot read {path}: {error}. Name a file of prices in JSON.") from error
