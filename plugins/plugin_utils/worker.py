# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's worker process as the host of a module, with its screen and its signals.

Private to this collection.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ansible import constants, context
from ansible.module_utils.common.parameters import remove_values
from ansible.utils.display import Display
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.progress import Reporter
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.progress import SILENT, Progress

from .module_seams import WorkerModule

FOR_PEOPLE = frozenset(
    {
        "default",
        "ansible.builtin.default",
        "debug",
        "ansible.posix.debug",
        "yaml",
        "community.general.yaml",
        "default_without_diff",
        "community.general.default_without_diff",
        "awx_display",
    }
)
"""The stdout callbacks that print lines for people. The output of other callbacks may be a document for a program."""
_INTERRUPTING = (signal.SIGALRM, signal.SIGINT)
"""SIGALRM is the end of a task's ``timeout``."""


class Worker:
    """`ports.Host` of a module that runs in Ansible's worker process for *host*, with *parameters*.

    The host shows progress if *shows* is true and the screen is for people.
    """

    lasting = True

    def __init__(self, parameters: Mapping[str, Any], host: str, *, shows: bool) -> None:
        self._parameters = parameters
        self._host = host
        self._shows = shows and is_screen_for_people()
        self._parent = os.getppid()
        self.module_class: type[WorkerModule] = type("Module", (WorkerModule,), {"parameters": parameters})

    def parameters(self) -> Mapping[str, Any]:
        """Return the parameters that Ansible gives to the module."""
        return self._parameters

    def progress(self, secrets: Collection[str]) -> Progress:
        """Return a receiver that shows reports on Ansible's screen, without *secrets*."""
        if not self._shows:
            return SILENT

        def show(text: str) -> None:
            # Nobody reads the pipe of a parent that was killed. A full pipe would stop this process.
            if os.getppid() == self._parent:
                Display().display(f"  [{self._host}] {remove_values(text, secrets)}", color=constants.COLOR_VERBOSE)

        return Reporter(show, time.monotonic)

    @contextmanager
    def interruptible(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call *stop* when a signal interrupts the task, before the handler that Ansible has set.

        That handler raises an exception, and without *stop* the threads of the module would go on.
        """
        usual = {number: signal.getsignal(number) for number in _INTERRUPTING}

        def stopping(number: int, frame: FrameType | None) -> None:
            stop()
            handler = usual[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

        wrapped = [number for number, handler in usual.items() if callable(handler)]
        for number in wrapped:
            signal.signal(number, stopping)
        try:
            yield
        finally:
            for number in wrapped:
                signal.signal(number, usual[number])


def is_screen_for_people() -> bool:
    """Return whether the output of this run of Ansible consists of lines for people.

    The command ``ansible`` uses a callback of its own, whatever the configuration.
    """
    return constants.DEFAULT_STDOUT_CALLBACK in FOR_PEOPLE and "one_line" not in context.CLIARGS
