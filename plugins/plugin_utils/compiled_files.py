# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the compiled form of this collection's Python files, as Python itself does for other packages.

Ansible's loader of collections compiles each file again in each process.

Private to this collection.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

OURS = "ansible_collections.ec2ops.storage.plugins."


class CompiledFiles(MetaPathFinder):
    """A finder that loads this collection's files through ``__pycache__``, and leaves all else to other finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the file of the module *fullname* is, or None for a folder and for other collections."""
        if not fullname.startswith(OURS):
            return None
        found = (_files(folder).find_spec(fullname) for folder in path or ())
        return next((spec for spec in found if spec and spec.loader), None)


@cache
def _files(folder: str) -> FileFinder:
    return FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))


@contextmanager
def compiled_files() -> Iterator[None]:
    """Import this collection's files through ``__pycache__``, as long as the context lasts.

    Other collections, and later imports, go through Ansible's own loader.
    """
    finder = CompiledFiles()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
