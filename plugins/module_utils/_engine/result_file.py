# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file that gets the whole result of a task, while the task itself returns a bounded part of it.

Private to this collection.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._kernel.errors import SpecError, StorageError
from .._kernel.report import Rows

PACKED = "-"
"""The value of ``result_file`` with which the module returns the document, packed, in `KEY`."""
KEY = "document"


def require_place(path: str) -> None:
    """Raise SpecError unless the folder of *path* takes a new file."""
    if path == PACKED:
        return
    folder = Path(path).parent
    if Path(path).is_dir():
        raise SpecError(f"result_file: {path} is a folder. Name a file.")
    if not os.access(folder, os.W_OK):
        raise SpecError(f"result_file: the task cannot write into the folder {folder}. Create it, or name another.")


def write(path: str, texts: Iterable[str]) -> None:
    """Write *texts* to *path*, with mode 0600. The file has its old content until it has the whole new one.

    Raises StorageError if the file system refuses.
    """
    part = ""
    try:
        # The mode of such a file is 0600.
        handle, part = tempfile.mkstemp(prefix=".ec2ops-", dir=Path(path).parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(texts)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    except OSError as error:
        if part:
            with suppress(OSError):
                Path(part).unlink()
        raise StorageError(f"result_file: the task cannot write {path}: {error.strerror or error}.") from error


def texts_of(document: Any) -> Iterator[str]:
    """Yield the parts of the JSON text of *document*, one for each row of a long list."""
    if isinstance(document, Mapping):
        yield "{"
        for number, (key, value) in enumerate(document.items()):
            yield f"{', ' if number else ''}{json.dumps(str(key))}: "
            yield from texts_of(value)
        yield "}"
    elif isinstance(document, (Rows, list, tuple)):
        yield "["
        for number, row in enumerate(document):
            yield f"{', ' if number else ''}{json.dumps(row, ensure_ascii=False)}"
        yield "]"
    else:
        yield json.dumps(document, ensure_ascii=False)


def packed(document: Any) -> str:
    """Return the document as a text for the way to the controller: gzip and base64."""
    return base64.b64encode(gzip.compress("".join(texts_of(document)).encode(), mtime=0)).decode()


def unpacked(text: str) -> str:
    """Return the JSON text of a `packed` document."""
    return gzip.decompress(base64.b64decode(text)).decode()
