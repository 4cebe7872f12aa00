# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The finder that keeps compiled files, on files of its own."""

from __future__ import annotations

import sys
from importlib.util import cache_from_source, module_from_spec
from pathlib import Path

import pytest
from ansible_collections.ec2ops.storage.plugins.plugin_utils.compiled_files import CompiledFiles, compiled_files

OURS = "ansible_collections.ec2ops.storage.plugins.module_utils."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one Python file and one folder."""
    (tmp_path / "answer.py").write_text("ANSWER = 42\n", encoding="utf-8")
    (tmp_path / "more").mkdir()
    return tmp_path


def test_imported_file_is_kept_compiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    spec = CompiledFiles().find_spec(f"{OURS}answer", [str(folder)])
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.ANSWER == 42
    assert Path(cache_from_source(str(folder / "answer.py"))).is_file()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ansible_collections.amazon.aws.plugins.module_utils.answer", True),
        (f"{OURS}more", True),
        (f"{OURS}missing", True),
        (f"{OURS}answer", False),
    ],
    ids=["another collection", "folder", "missing file", "no folder"],
)
def test_everything_else_is_left_to_other_finders(folder: Path, name: str, path: bool) -> None:
    assert CompiledFiles().find_spec(name, [str(folder)] if path else None) is None


def test_finder_leaves_with_the_context() -> None:
    before = list(sys.meta_path)
    with compiled_files():
        assert isinstance(sys.meta_path[0], CompiledFiles)
    assert sys.meta_path == before
