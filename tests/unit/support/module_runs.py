# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module with the given options, run until it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args


def failed(capsys: pytest.CaptureFixture[str], module: Any, **given: Any) -> str:
    """The message of the module's ``main()`` with these options."""
    with patch_module_args({"region": "us-east-1", **given}), pytest.raises(SystemExit):
        module.main()
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["failed"] is True
    return str(printed["msg"])
