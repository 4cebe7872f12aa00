# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup misspelt_variables: variables that no role or playbook of the collection reads."""

from __future__ import annotations

DOCUMENTATION = r"""
name: misspelt_variables
short_description: Find misspelt variables of this collection's roles and playbooks
version_added: 0.1.0
author:
  - The ec2ops.storage contributors (@ec2ops)
description:
  - Returns a sentence for each variable of the host that has the prefix of one of the given roles or playbooks and that
    it does not know. The roles and playbooks of this collection refuse such variables with it, before they do anything.
  - A variable belongs to the role or playbook with the longest name that it begins with. For example,
    C(restore_volumes_zone) belongs to the playbook C(restore_volumes), and not to the role C(restore).
  - A name that is up to two edits, or one word, away from a known one is refused with the known one. Other unknown
    names are refused too, but for those that begin with C(restore_) or C(relaunch_). For these the lookup gives a
    warning, since other projects use such names.
  - Names that begin with two underscores, and names that end in C(_result) or C(_plan), are never refused.
options:
  _terms:
    description: Names of roles and playbooks of this collection, without the collection's.
    type: list
    elements: str
    required: true
seealso:
  - plugin: ansible.builtin.varnames
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Refuse misspelt variables in a play that uses the role relaunch
  ansible.builtin.assert:
    that: misspelt | length == 0
    fail_msg: "{{ misspelt | join(' ') }}"
  vars:
    misspelt: "{{ query('ec2ops.storage.misspelt_variables', 'relaunch') }}"
"""

RETURN = r"""
_raw:
  description: A sentence for each variable that is refused.
  type: list
  elements: str
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.ec2ops.storage.plugins.module_utils._core.variables import judge

COLLECTION = Path(__file__).resolve().parents[2]

# The loop variable that the tasks files of a user read.
BESIDE = {"snapshot_policy": frozenset({"snapshot_policy_item"})}


class LookupModule(LookupBase):
    """What Ansible looks for."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return what the documentation says. Raises AnsibleError for a name that is no role or playbook."""
        known = known_variables()
        strangers = [term for term in terms if term not in known]
        if strangers:
            raise AnsibleError(f"misspelt_variables: {', '.join(strangers)}: no role or playbook of this collection.")
        verdict = judge(variables or {}, terms, known)
        for sentence in verdict.doubtful:
            Display().warning(sentence)
        return list(verdict.refused)


@lru_cache
def known_variables() -> Mapping[str, frozenset[str]]:
    """Return the names of the variables that each role and each playbook reads, as their specifications have them."""
    known = {
        path.parents[1].name: frozenset().union(*_specified(path).values()) | BESIDE.get(path.parents[1].name, set())
        for path in COLLECTION.glob("roles/*/meta/argument_specs.yml")
    }
    return {**known, **_specified(COLLECTION / "playbooks" / "meta" / "argument_specs.yml")}


def _specified(path: Path) -> dict[str, frozenset[str]]:
    """Return the names of the options, by entry point of a role or by playbook."""
    specs = yaml_load(path.read_text(encoding="utf-8"))["argument_specs"]
    return {name: frozenset(spec.get("options", {})) for name, spec in specs.items()}
