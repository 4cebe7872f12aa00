# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find instances that several purging declarations name. Each would detach the others' volumes on every run.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ..._kernel.errors import listed

Declaration = Mapping[str, Any]


def refusals(purging: Mapping[str, Iterable[Declaration]]) -> dict[str, str]:
    """Return, by host, why purging declarations of the host are refused: they contest an instance with others.

    *purging* are the declarations that purge, by host. A declaration that several hosts share does not contradict
    itself.
    """
    claims: dict[str, list[tuple[str, Declaration]]] = defaultdict(list)
    for host, declarations in purging.items():
        for declaration in declarations:
            for instance_id in dict.fromkeys(_instance_ids(declaration)):
                claims[instance_id].append((host, declaration))
    by_host: dict[str, list[str]] = defaultdict(list)
    hosts_of: dict[str, list[str]] = {}
    for instance_id, claimed in claims.items():
        if all(declaration == claimed[0][1] for _host, declaration in claimed):
            continue
        hosts_of[instance_id] = list(dict.fromkeys(host for host, _declaration in claimed))
        for host in hosts_of[instance_id]:
            by_host[host].append(instance_id)
    return {
        host: _refusal(ids, dict.fromkeys(rival for one in ids for rival in hosts_of[one]))
        for host, ids in by_host.items()
    }


def _instance_ids(declaration: Declaration) -> Iterable[str]:
    """Yield the ids that a declaration names: one, several, or text with commas, as the module takes them."""
    for option in ("instance_ids", "instance_id"):
        given = declaration.get(option) or ()
        for text in (given,) if isinstance(given, str) else given:
            yield from (part.strip() for part in str(text).split(",") if part.strip())


def _refusal(instance_ids: Iterable[str], hosts: Iterable[str]) -> str:
    rivals = list(hosts)
    where = f", on the hosts {listed(rivals)}" if len(rivals) > 1 else ""
    return (
        f"apply_volume_specs_purge_volumes: several purging declarations name {listed(instance_ids)}{where}. Declare "
        "all volumes of an instance in one of them, or purge in one only."
    )
