# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts that a rotation leaves out while AWS does not answer a guard's query, or a place of copies.

The run still takes the due snapshots, since a backup job must not end before its capture. It keeps each snapshot whose
guard or copy is unknown. Then the task fails with AWS's own message.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..._domain.snapshot_sets import SnapshotSet
from ..._kernel.errors import Incomplete, StorageError, UnsafePlan, bounded
from ..._kernel.state import Query, State
from .copies import Copying, copies_query
from .spec import CopySpec, RotationSpec


def copy_queries(spec: RotationSpec) -> Iterator[Query]:
    """Yield the optional queries about the places of copies. A plan for a place needs their answers."""
    yield from (replace(copies_query(spec, copy), optional=True) for copy in spec.copies)


def answering(spec: RotationSpec, state: State) -> list[CopySpec]:
    """Return the places of copies that have answered."""
    return [copy for copy in spec.copies if copies_query(spec, copy) not in state.unanswered]


def planned_for(copyings: Iterable[Copying], state: State) -> list[Copying]:
    """Return the places for which all facts of a copy are known: its key, and the sharing of originals."""
    return [one for one in copyings if not any(query in state.unanswered for query in one.questions())]


def impossible(copyings: Iterable[Copying]) -> StorageError | None:
    """Return the failure of the task for copies that cannot be made, or None."""
    texts = [text for copying in copyings for text in copying.refusals()]
    if not texts:
        return None
    return Incomplete(
        f"{'; '.join(bounded(texts))}. Originals are kept until these copies can be made.", *map(UnsafePlan, texts)
    )


def kept_for(copies: Iterable[CopySpec], sources: Iterable[SnapshotSet]) -> dict[str, str]:
    """Return, by set's key, why an original is kept, since one of these places does not show whether it has a copy."""
    return {a_set.key: f"{copy.where} does not show whether it has a copy" for copy in copies for a_set in sources}


def unanswered(state: State) -> StorageError | None:
    """Return the failure of the task for missing answers of AWS, or None."""
    causes = {str(error): error for error in state.unanswered.values()}
    if not causes:
        return None
    text = " ".join(causes)
    return Incomplete(
        f"{text} The due snapshots are taken all the same. Snapshots that depend on the answer are kept.",
        *causes.values(),
    )


def joined(*errors: StorageError | None) -> StorageError | None:
    """Return the failures as one; the first gives its code."""
    found = [error for error in errors if error is not None]
    if len(found) < 2:
        return found[0] if found else None
    return Incomplete(" ".join(str(error) for error in found), *found)
