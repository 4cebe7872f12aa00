# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that gets a whole result, for a module that runs on another machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import result_file
from ansible_collections.ec2ops.storage.plugins.plugin_utils.result_files import ResultFile

DOCUMENT = {"region": "us-east-1", "rows": [{"id": "vol-1"}]}


def of(path: Path | str, *, here: bool = False) -> ResultFile:
    return ResultFile({"result_file": str(path), "region": "us-east-1"}, here, lambda name: f"/play/{name}")


def test_module_on_the_controller_writes_the_file_itself() -> None:
    assert of("report.json", here=True).arguments["result_file"] == "/play/report.json"
    assert not of("", here=True).is_wanted


def test_document_of_another_machine_becomes_the_file_on_the_controller(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    file = ResultFile({"result_file": str(path)}, False, lambda name: name)
    assert file.arguments == {"result_file": "-"}
    assert file.taken_from({"changed": False, "document": result_file.packed(DOCUMENT)}) == {"changed": False}
    assert json.loads(path.read_text()) == DOCUMENT
    # A check run and a failed one return no document.
    assert file.taken_from({"failed": True}) == {"failed": True}


def test_user_who_wants_the_document_gets_it() -> None:
    file = of("-")
    assert not file.is_wanted
    assert file.taken_from({"document": "x"}) == {"document": "x"}


def test_file_that_cannot_be_written_fails_the_task(tmp_path: Path) -> None:
    file = ResultFile({"result_file": str(tmp_path / "none" / "x.json")}, False, lambda name: name)
    with pytest.raises(AnsibleActionFail, match=r"result_file: the task cannot write .*: No such file"):
        file.taken_from({"document": result_file.packed(DOCUMENT)})
