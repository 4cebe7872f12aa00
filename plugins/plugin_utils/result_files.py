# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``result_file`` names a file on the controller, wherever the module runs.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import result_file
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError


class ResultFile:
    """The file of one task. *is_here*: the module runs on the controller, and writes the file itself.

    *resolved* returns the absolute path of a relative one, as Ansible resolves it in a play.
    """

    def __init__(self, arguments: Mapping[str, Any], is_here: bool, resolved: Callable[[str], str]) -> None:
        self._arguments, self._is_here = arguments, is_here
        given = str(arguments.get("result_file") or "")
        self._path = given if given in ("", result_file.PACKED) else resolved(str(Path(given).expanduser()))

    @property
    def is_wanted(self) -> bool:
        """The task names a file."""
        return self._path not in ("", result_file.PACKED)

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the module's options: the absolute path, or for another machine the request to pack the document."""
        return {**self._arguments, "result_file": self._path if self._is_here else result_file.PACKED}

    def taken_from(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result without the packed document, which is in the file then.

        Raises AnsibleActionFail if the file system refuses.
        """
        text = result.pop(result_file.KEY, None) if self.is_wanted and not self._is_here else None
        if isinstance(text, str):
            try:
                result_file.write(self._path, [result_file.unpacked(text)])
            except StorageError as error:
                raise AnsibleActionFail(str(error)) from error
        return result
