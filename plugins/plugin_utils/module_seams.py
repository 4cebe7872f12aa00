# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interfaces between an action and the process of its module, for each version of ansible-core.

Nearly all of them are private to ansible-core.

Private to this collection.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ansible.module_utils import basic
from ansible.module_utils.common import warnings

try:
    from ansible.executor.module_common import _BuiltModule
    from ansible.module_utils import _internal
    from ansible.module_utils._internal import _traceback
    from ansible.module_utils.common.json import Direction, get_module_decoder, get_module_encoder
except ImportError:  # ansible-core 2.18
    _BuiltModule = None

_PROFILE = "legacy"
"""ansible-core's default serialization of parameters and results."""
_SHEBANG = f"#!{sys.executable}"


def module_parameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's options as the process of a module gets them, through JSON and so without vault and tags."""
    if _BuiltModule is None:
        from ansible.module_utils.common.json import AnsibleJSONEncoder

        read = json.loads(json.dumps(arguments, cls=AnsibleJSONEncoder, vault_to_text=True))
    else:
        text = json.dumps(arguments, cls=get_module_encoder(_PROFILE, Direction.CONTROLLER_TO_MODULE))
        read = json.loads(text, cls=get_module_decoder(_PROFILE, Direction.CONTROLLER_TO_MODULE))
    return dict(read)


def built_module(path: str) -> Any:
    """Return the answer of ActionBase._configure_module for the module in the file *path*, without its program."""
    if _BuiltModule is None:
        return ("new", _SHEBANG, b"", path)
    built = _BuiltModule(b_module_data=b"", module_style="new", shebang=_SHEBANG, serialization_profile=_PROFILE)
    return (built, path)


def imported(name: str) -> Any:
    """Return the Python module of this name. The results of later runs get the warnings of its import.

    A process of its own would import it, and get the warnings, for each run.
    """
    with as_module_process(), _with_tracebacks():
        module = import_module(name)
        for noted, found in zip(_NOTED, _COLLECTED, strict=True):
            noted.clear()
            _add(noted, found)
    return module


@contextmanager
def as_module_process() -> Iterator[None]:
    """Let AnsibleModule collect warnings for its result, as in a process of its own.

    In a controller process, ansible-core 2.19 and later would show them at once.
    """
    for noted, collected in zip(_NOTED, _COLLECTED, strict=True):
        collected.clear()
        _add(collected, noted)
    if _BuiltModule is None:
        yield
        return
    _internal.is_controller = False
    try:
        yield
    finally:
        _internal.is_controller = True


@contextmanager
def _with_tracebacks() -> Iterator[None]:
    """Keep the traceback of each warning, so that equal warnings from several places are all kept.

    Since ansible-core 2.19 a module does so until it has its parameters. The tracebacks themselves are not shown.
    """
    if _BuiltModule is None:
        yield
        return
    usual = _traceback._is_traceback_enabled
    _traceback._is_traceback_enabled = lambda _event: True
    try:
        yield
    finally:
        _traceback._is_traceback_enabled = usual


_COLLECTED: tuple[Any, Any] = (warnings._global_warnings, warnings._global_deprecations)
"""The warnings and deprecations of this process: lists in ansible-core 2.18, the keys of dictionaries in later
versions.
"""
_NOTED: tuple[Any, Any] = (type(_COLLECTED[0])(), type(_COLLECTED[1])())
"""Those of imports."""


def _add(to: Any, found: Any) -> None:
    (to.update if isinstance(to, dict) else to.extend)(found)


class WorkerModule(basic.AnsibleModule):
    """AnsibleModule with given `parameters`, which prints its result as in a process of its own."""

    parameters: Mapping[str, Any]

    def _load_params(self) -> None:
        self.params = copy.deepcopy(dict(self.parameters))
        # ansible-core 2.19 and later read some of Ansible's own parameters from here.
        basic._PARSED_MODULE_ARGS = copy.deepcopy(dict(self.parameters))

    def _record_module_result(self, o: Mapping[str, Any]) -> None:
        # ansible-core 2.18 knows no profiles, and does not call this.
        encoder = get_module_encoder(_PROFILE, Direction.MODULE_TO_CONTROLLER)
        sys.stdout.write("\n" + json.dumps(o, cls=encoder) + "\n")
