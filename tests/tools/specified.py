# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that the specifications of roles and playbooks have.

The lookup of the collection reads the same files. No test's process may import it, since it loads Ansible's display,
after which modules in this process keep their warnings out of their results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tools.environment import ROOT


def known_variables() -> dict[str, set[str]]:
    """The names of the variables of each role and each playbook."""
    known = {
        path.parents[1].name: {name for spec in _specs(path).values() for name in spec["options"]}
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
    }
    playbooks = _specs(ROOT / "playbooks" / "meta" / "argument_specs.yml")
    # A role and a playbook of one name share their prefix.
    return {**known, **{name: set(spec["options"]) | known.get(name, set()) for name, spec in playbooks.items()}}


def _specs(path: Path) -> dict[str, Any]:
    specs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
    return specs
