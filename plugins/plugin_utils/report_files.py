# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the files of a storage report on the controller.

Private to this collection.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.path import unfrackpath
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.display import counted
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._report import page
from ansible_collections.ec2ops.storage.plugins.module_utils._report.changes import changes, read_earlier
from ansible_collections.ec2ops.storage.plugins.module_utils._report.joining import Place, checked, joined, place_row
from ansible_collections.ec2ops.storage.plugins.module_utils._report.texts import changes_text, findings_csv, markdown

PAGE = Path(__file__).parent / "report_page"
NAMES = {"html": "report.html", "json": "report.json", "csv": "findings.csv", "markdown": "report.md"}
"""The files of a report, by format."""

LOST = "the host failed or was unreachable before the report"
ARGUMENT_SPEC = {
    "dest": {"type": "path", "required": True},
    "title": {"type": "str", "default": "Storage report"},
    "since": {"type": "path"},
    "lost": {"type": "list", "elements": "str", "default": []},
    "documents": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "host": {"type": "str", "required": True},
            "path": {"type": "path"},
            "document": {"type": "dict"},
            "error": {"type": "str"},
        },
        "required_one_of": [("path", "document", "error")],
    },
}


class ReportFiles(ActionBase):
    """The action that joins the documents of many hosts. It runs on the controller, and connects to no host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the key figures, and the files by format. In check mode, no file is written."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _found, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        dest = Path(unfrackpath(options["dest"], follow=False))
        writes = not (task_vars or {}).get("ansible_check_mode")
        try:
            places = [place_of(each) for each in options["documents"]]
            places += [Place(host, None, LOST) for host in options["lost"]]
            compared = changes_since(options["since"], dest, places)
            report = joined(places, compared)
            if writes:
                write(dest, rendered(places, report, options["title"]))
        except (SpecError, OSError, ValueError) as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}
        return {
            **result,
            "changed": False,
            "msg": said(report, dest) if writes else f"{said(report, dest)}. Check mode writes no file",
            "files": {kind: str(dest / name) for kind, name in NAMES.items()} if writes else {},
            "figures": report["figures"],
            "changes": compared,
            "places": [place_row(place) for place in places],
        }


def place_of(entry: Mapping[str, Any]) -> Place:
    """Return the place of an entry of ``documents``. Raises SpecError, OSError or ValueError."""
    if entry.get("path"):
        return checked(entry["host"], json.loads(Path(entry["path"]).read_text(encoding="utf-8")))
    if entry.get("document"):
        return checked(entry["host"], entry["document"])
    return Place(entry["host"], None, entry["error"])


MOST_EARLIER = 500_000_000
"""Bytes of an earlier report. Python needs several times as much to read it."""


def changes_since(named: str | None, dest: Path, places: Sequence[Place]) -> dict[str, Any] | None:
    """Return the changes since the report that the user has named, or else since the one in *dest*.

    Returns None if the folder has none that this version can read. Raises SpecError for a named one.
    """
    path = Path(unfrackpath(named, follow=False)) if named else dest / NAMES["json"]
    try:
        return changes(read_earlier(earlier_report(path)), places)
    except (OSError, ValueError, LookupError, TypeError, SpecError) as error:
        if not named:
            return None
        raise SpecError(f"since: {path} is not an earlier report.json: {error}.") from error


def earlier_report(path: Path) -> Any:
    """Return the data of the file. Raises SpecError if it is too large, OSError or ValueError."""
    if path.stat().st_size > MOST_EARLIER:
        raise SpecError(f"it has more than {MOST_EARLIER} bytes")
    return json.loads(path.read_text(encoding="utf-8"))


def rendered(places: Sequence[Place], report: Mapping[str, Any], title: str) -> dict[str, str]:
    """Return the text of each file by format."""
    files = {name: (PAGE / name).read_text(encoding="utf-8") for name in page.FILES}
    return {
        "html": page.html(places, files, title, report["changes"]),
        "json": json.dumps(report, ensure_ascii=False, separators=(",", ":")) + "\n",
        "csv": findings_csv(places),
        "markdown": markdown(places, title, report["changes"]),
    }


def write(dest: Path, texts: Mapping[str, str]) -> None:
    """Write the files into the folder *dest*, for the user alone. A reader never sees a part of a file.

    Raises OSError.
    """
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    for kind, text in texts.items():
        handle, name = tempfile.mkstemp(dir=dest, prefix=f".{NAMES[kind]}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            Path(name).replace(dest / NAMES[kind])
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def said(report: Mapping[str, Any], dest: Path) -> str:
    """Return one line for a person."""
    figures = report["figures"]
    total = sum(figures["findings"].values())
    risk = figures["recovery"]["at_risk"]
    changed = f"; since {report['changes']['since']}: {changes_text(report['changes'])}" if report["changes"] else ""
    return (
        f"{counted(figures['places'], 'place')}, {counted(total, 'finding')} ({figures['findings']['high']} high), "
        f"{counted(risk, 'volume')} at risk{changed}; the report is {dest / NAMES['html']}"
    )
