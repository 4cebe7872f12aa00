# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EC2's service model, read once for many processes.

The first client of a process takes most of its time to read the service model. So a process calls `load` before it
forks others, and their clients share the model. `load` makes no connection and no thread, and reads no credentials.

A session of botocore registers 130 handlers, and inspects each of them. So `load` also makes a session, and the first
client of each process uses its copy of that session. The session has no setting and no credential. The process reads
both itself.

The shared model has only the operations of this collection. botocore makes a method for each of EC2's 800 operations
whenever it makes a client, and that took a quarter of the time of a task that changes nothing.

A module that has a process of its own calls no `load`, but its clients read this smaller model too.

Private to this collection.
"""

from __future__ import annotations

import gc
import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from .._kernel.operations import OPERATIONS
from .codec import LISTINGS

try:
    import boto3
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.loaders import JSONFileLoader, Loader, create_loader
    from botocore.session import Session
except ImportError:  # AnsibleAWSModule reports the missing library, with the versions that it needs
    _HAS_BOTO3 = False
else:
    _HAS_BOTO3 = True

_shared: Loader | None = None
_prepared: list[Session] = []
"""The session that the first client of this process uses; empty afterwards."""


def load() -> bool:
    """Read the model, once for this process. Return whether boto3 is installed."""
    if not _HAS_BOTO3:
        return False
    if _shared is None:
        loader = _loader()
        # The user's files and variables are not read here, so a mistake in them does no harm.
        nowhere = {"config_file": os.devnull, "credentials_file": os.devnull, "profile": None, "data_path": None}
        session = Session(session_vars={name: (None, None, value, None) for name, value in nowhere.items()})
        session.register_component("data_loader", loader)
        # Without a signature a client asks for no credentials. The region only matters to the address of calls.
        ours = boto3.session.Session(botocore_session=session)
        ours.client("ec2", region_name="us-east-1", config=Config(signature_version=UNSIGNED)).close()
        _prepared.append(Session())
        # The garbage collector would write to every page of the model, and each process would get its own copy.
        gc.freeze()
    return True


def _loader() -> Loader:
    """Return this process's loader of models. It is made once, and the processes that are forked inherit it."""
    global _shared  # noqa: PLW0603
    if _shared is None:
        _shared = Loader(file_loader=_files(frozenset({*LISTINGS, *OPERATIONS})))
    return _shared


def _files(operations: frozenset[str]) -> JSONFileLoader:
    """Return botocore's reader of files, but with a dict for each mapping, and with only these *operations* of EC2.

    botocore's own OrderedDict takes twice the time.
    """

    class Files(JSONFileLoader):
        def load_file(self, file_path: str) -> Any:
            for suffix, opened in (".json", open), (".json.gz", gzip.open):
                try:
                    with opened(file_path + suffix, "rb") as file:
                        return _ours(json.load(file), operations)
                except FileNotFoundError:
                    continue
            return None

    return Files()


def _ours(document: Any, operations: frozenset[str]) -> Any:
    """Return the content of a file. EC2's service model keeps only these operations."""
    is_ec2 = isinstance(document, dict) and (document.get("metadata") or {}).get("serviceId") == "EC2"
    if is_ec2 and "operations" in document:
        document["operations"] = {name: model for name, model in document["operations"].items() if name in operations}
    return document


@contextmanager
def sessions(*initializers: Callable[[Any], None]) -> Iterator[None]:
    """Call *initializers* with each botocore session that boto3 makes in this context, and let it use `load`'s model.

    Several threads must not use it at once, since it changes settings of the process.
    """
    usual, all_of_them = botocore.session.get_session, (*initializers, _lend)

    def get_session(env_vars: Any = None) -> Any:
        if env_vars is not None or not _prepared:
            return usual(env_vars)
        session = _prepared.pop()
        for initializer in all_of_them:
            initializer(session)
        return session

    botocore.session.get_session = get_session
    for initializer in all_of_them:
        botocore.register_initializer(initializer)
    try:
        yield
    finally:
        botocore.session.get_session = usual
        for initializer in all_of_them:
            botocore.unregister_initializer(initializer)


def _lend(session: Any) -> None:
    """Let *session* read service models from the shared loader."""
    session.register_component("data_loader", _Lent(session, _loader()))


class _Lent:
    """botocore's data loader for a session: the shared one, or its own if its profile has a ``data_path``.

    The session gets its profile only after its components, so the choice waits for the first use.
    """

    def __init__(self, session: Any, shared: Loader) -> None:
        self._session = session
        self._shared = shared

    @cached_property
    def _chosen(self) -> Loader:
        path = self._session.get_config_variable("data_path")
        return self._shared if path is None else create_loader(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen, name)
