# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module in Ansible's worker process, if the user sees no difference from a process of its own.

Ansible's strategies load the class of an action plugin in the parent process, and then fork the workers. So this file,
when it is loaded, reads EC2's service model once for all workers.

Private to this collection.
"""

from __future__ import annotations

import gc
import io
import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.release import __version__ as core_version

from .compiled_files import compiled_files

with compiled_files():
    from ansible_collections.ec2ops.storage.plugins.module_utils._aws import (
        errors,
        fact_readers,
        probing,
        scaling_readers,
        shared_model,
        splitting,
        usage_readers,
        waiting,
    )
    from ansible_collections.ec2ops.storage.plugins.module_utils._engine import apply, estimates

    from .module_seams import as_module_process, built_module, imported, module_parameters
    from .result_files import ResultFile
    from .worker import Worker

CORES = ("2.18", "2.19", "2.20", "2.21")
"""The versions of ansible-core whose private interfaces `module_seams` knows.

With other versions, the module runs in its own process.
"""

SHARED = (apply, errors, estimates, fact_readers, probing, scaling_readers, splitting, usage_readers, waiting)
"""The files that the engine loads with their first use. All workers share what the parent has loaded."""

MODULES = "ansible_collections.ec2ops.storage.plugins.modules"
HAS_BOTO3 = shared_model.load()


class InProcess(NormalAction):
    """The action of a module that may run in the worker process. All other parts are Ansible's usual action.

    ansible-core's own ``_execute_module`` prepares the options and reads the result. Only the parts that build a module
    and start its process differ. ``name`` is the name of the module.
    """

    name: str
    module: Any
    _parameters: Mapping[str, Any] | None = None
    _takes_over = False

    def __init_subclass__(cls) -> None:
        """Import the module, once for all workers."""
        super().__init_subclass__()
        with compiled_files():
            cls.module = imported(f"{MODULES}.{cls.name}")

    def _execute_module(self, *arguments: Any, task_vars: dict[str, Any] | None = None, **more: Any) -> Any:
        self._variables = task_vars or {}
        self._takes_over = self._may_take_over(self._variables)
        file = ResultFile(self._task.args, self._connection.transport == "local", self._loader.path_dwim)
        if file.is_wanted and not more.get("module_args"):
            more["module_args"] = file.arguments
        try:
            return file.taken_from(super()._execute_module(*arguments, task_vars=task_vars, **more))
        finally:
            self._takes_over = False

    def _may_take_over(self, variables: Mapping[str, Any]) -> bool:
        """Return whether a module in its own process would use the same machine, user and Python."""
        return (
            HAS_BOTO3
            and core_version.startswith(tuple(f"{core}." for core in CORES))
            and self._is_wanted("ec2ops_in_process", variables)
            and self._connection.transport == "local"
            and not self._connection.become
            and not self._task.async_val
            and not any(self._task.environment or ())
            # A user who keeps the files of modules wants to run them again.
            and not constants.DEFAULT_KEEP_REMOTE_FILES
            and self._is_own_python(variables)
        )

    def _is_wanted(self, name: str, variables: Mapping[str, Any]) -> bool:
        """Return the value of a user's variable that is true by default."""
        return bool(boolean(self._templar.template(variables.get(name, True)), strict=False))

    def _is_own_python(self, variables: Mapping[str, Any]) -> bool:
        """Return whether the module would run with this process's Python, or with one that Ansible chooses."""
        host = self._task.delegate_to
        of_host = (variables.get("ansible_delegated_vars") or {}).get(host, {}) if host else variables
        chosen = str(
            self._templar.template(constants.config.get_config_value("INTERPRETER_PYTHON", variables=of_host))
        ).strip()
        return not chosen or chosen.startswith("auto") or chosen == sys.executable

    # The next three methods are those of ansible-core's ActionBase.

    def _is_pipelining_enabled(self, *arguments: Any, **more: Any) -> bool:
        # With pipelining, no folder for temporary files is made.
        return self._takes_over or super()._is_pipelining_enabled(*arguments, **more)

    def _configure_module(self, module_name: str, module_args: Mapping[str, Any], task_vars: Any) -> Any:
        if not self._takes_over:
            return super()._configure_module(module_name=module_name, module_args=module_args, task_vars=task_vars)
        self._parameters = module_parameters(module_args)
        return built_module(self.module.__file__)

    def _low_level_execute_command(self, *arguments: Any, **more: Any) -> Any:
        if not self._takes_over:
            return super()._low_level_execute_command(*arguments, **more)
        status, output, errors = self._run_here()
        return {
            "rc": status,
            "stdout": output,
            "stdout_lines": output.splitlines(),
            "stderr": errors,
            "stderr_lines": errors.splitlines(),
        }

    def _run_here(self) -> tuple[int, str, str]:
        """Run the module, and return the status, output and errors that its process would have had."""
        # This process ends with the task. The garbage collector would search all inherited objects, and the kernel
        # would copy each page of them.
        gc.freeze()
        output = io.StringIO()
        shows = self._is_wanted("ec2ops_progress", self._variables) and not self._task.no_log
        worker = Worker(self._parameters or {}, self._variables.get("inventory_hostname", ""), shows=shows)
        with redirect_stdout(output), as_module_process():
            try:
                self.module.PROGRAM.run(worker)
            except SystemExit as end:
                return int(end.code or 0), output.getvalue(), ""
            except Exception:
                return 1, output.getvalue(), traceback.format_exc()
        return 1, output.getvalue(), "The module ended without a result."
