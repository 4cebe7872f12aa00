# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup refused_variables: unknown variables of the collection's roles and playbooks, and wrong values."""

from __future__ import annotations

DOCUMENTATION = r"""
name: refused_variables
short_description: Find variables that this collection's roles and playbooks refuse
version_added: 0.1.0
author:
  - The ec2ops.storage contributors (@ec2ops)
description:
  - Returns a sentence for each unknown variable of the host with the prefix of one of the given roles or playbooks.
    Roles and playbooks use it to refuse such variables before their first call.
  - Also returns a sentence for each variable of a playbook whose value has the wrong type or is not one of the choices.
    Ansible itself checks the variables of roles.
  - A variable belongs to the role or playbook with the longest name that it begins with. For example,
    C(restore_volumes_zone) belongs to the playbook C(restore_volumes), and not to the role C(restore).
  - If a name differs from a known one by up to two edits or by one word, the sentence suggests the known one. The
    lookup refuses other unknown names too. Names that begin with C(restore_) or C(relaunch_) only cause a warning,
    since other projects use them.
  - The lookup never refuses names that begin with two underscores, or that end in C(_result) or C(_plan).
options:
  _terms:
    description: Names of roles and playbooks of this collection, without the prefix C(ec2ops.storage).
    type: list
    elements: str
    required: true
seealso:
  - plugin: ansible.builtin.varnames
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Validate the variables of a play that uses the role relaunch
  ansible.builtin.assert:
    that: refused | length == 0
    fail_msg: "{{ refused | join(' ') }}"
  vars:
    refused: "{{ query('ec2ops.storage.refused_variables', 'relaunch') }}"
"""

RETURN = r"""
_raw:
  description: A sentence for each variable that is refused.
  type: list
  elements: str
"""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.variables import judge

COLLECTION = Path(__file__).resolve().parents[2]

# The loop variable that a user's files with tasks read.
BESIDE = {"snapshot_policy": frozenset({"snapshot_policy_item"})}


class LookupModule(LookupBase):
    """The class that Ansible loads."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return the sentences. Raises AnsibleError for a name that is no role or playbook."""
        known = known_variables()
        strangers = [term for term in terms if term not in known]
        if strangers:
            raise AnsibleError(f"refused_variables: this collection has no role or playbook {', '.join(strangers)}.")
        given = variables or {}
        verdict = judge(given, terms, known)
        for sentence in verdict.doubtful:
            Display().warning(sentence)
        return [*verdict.refused, *wrong_values(given, terms, self._templar.template)]


@lru_cache
def known_variables() -> Mapping[str, frozenset[str]]:
    """Return the variables of each role and each playbook, from their specifications."""
    known = {
        path.parents[1].name: frozenset().union(*_specified(path).values()) | BESIDE.get(path.parents[1].name, set())
        for path in COLLECTION.glob("roles/*/meta/argument_specs.yml")
    }
    # A role and a playbook of one name share their prefix.
    return {
        **known,
        **{name: frozenset(options) | known.get(name, frozenset()) for name, options in _playbook_options().items()},
    }


def wrong_values(given: Mapping[str, Any], playbooks: Collection[str], rendered: Callable[[Any], Any]) -> list[str]:
    """Return a sentence for each value in *given* that the specification of one of these playbooks does not allow.

    The roles and modules check texts and mappings themselves. Null and an empty text count as unset. *rendered* returns
    the value of a template. The task that uses a template reports its error.
    """
    found = []
    for playbook in playbooks:
        for name, option in _playbook_options().get(playbook, {}).items():
            if name not in given or not (option["type"] in _COMPARED or "choices" in option):
                continue
            try:
                value = rendered(given[name])
            except AnsibleError:
                continue
            if value not in (None, ""):
                compared = {key: option[key] for key in ("type", "choices") if key in option}
                outcome = ArgumentSpecValidator({name: compared}).validate({name: value})
                found += [f"{name}: {text[:1].upper()}{text[1:]}." for text in outcome.error_messages]
    return found


_COMPARED = ("bool", "int")


@lru_cache
def _playbook_options() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    return _options(COLLECTION / "playbooks" / "meta" / "argument_specs.yml")


def _specified(path: Path) -> dict[str, frozenset[str]]:
    """Return the names of the options, by entry point of a role."""
    return {name: frozenset(options) for name, options in _options(path).items()}


def _options(path: Path) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Return the options, by entry point of a role or by playbook."""
    specs = yaml_load(path.read_text(encoding="utf-8"))["argument_specs"]
    return {name: spec.get("options", {}) for name, spec in specs.items()}
