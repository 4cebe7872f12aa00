# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The four runs of a change of `ebs_volume_spec` on the sandbox."""

from __future__ import annotations

from typing import Any

from in_process import Ended, run
from sandbox.client import Sandbox


def four(sandbox: Sandbox, **given: Any) -> Ended:
    """Check, run, check again, run again: the plan is the run's, and then there is nothing to do. Returns the run."""
    checked = run(sandbox, check=True, **given)
    assert checked.failed == ""
    ran = run(sandbox, **given)
    assert ran.failed == ""
    assert calls(checked) == calls(ran)
    for check in (True, False):
        again = run(sandbox, check=check, **given)
        assert again.failed == ""
        assert again.result["plan"] == []
        assert again.result["changed"] is False
    return ran


def calls(ended: Ended) -> list[Any]:
    """The plan without the times of the run."""
    return [(entry["action"], entry["resource"], entry["parameters"]) for entry in ended.result["plan"]]
