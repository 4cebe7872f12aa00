# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page: one HTML file with its style, its scripts and its data.

The page loads nothing. A Content-Security-Policy with the hashes of the scripts enforces this, and lets the browser run
no other script, whatever a tag holds. The data stand in a script element that the browser does not run.

Private to this collection.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .joining import Place
from .page_data import page_data

_UNSAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""The characters that can end a script element, or begin a comment in it, as JSON may write them."""

SCRIPTS = ("d3.min.js", "plot.umd.min.js", "report.js", "tables.js", "charts.js", "graph.js", "main.js")
"""The scripts of the page, in the order in which they run."""
STYLE = "page.css"
FRAME = "page.html"
FILES = (*SCRIPTS, STYLE, FRAME)


def html(
    places: Sequence[Place], files: Mapping[str, str], title: str, changes: Mapping[str, Any] | None = None
) -> str:
    """Return the page. *files*: the text of each of `FILES`. *title*: the heading, as the user wrote it.

    *changes*: those since an earlier report, or None without one.
    """
    return _filled(files, title, embedded(page_data(places, changes)))


def embedded(data: Any) -> str:
    """Return *data* as JSON that can stand in a script element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)


def _filled(files: Mapping[str, str], title: str, data: str) -> str:
    scripts = [files[name] for name in SCRIPTS]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    parts = {
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "title": escape(title),
        "style": files[STYLE],
        "data": data,
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    pieces = files[FRAME].split("@@")
    return "".join(piece if index % 2 == 0 else parts[piece] for index, piece in enumerate(pieces))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
