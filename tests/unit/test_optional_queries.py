# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions whose refusal is an answer, and arguments that are structures."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import codec
from ansible_collections.ec2ops.storage.plugins.module_utils._core.change import Query, State, Struct, refusal
from ansible_collections.ec2ops.storage.plugins.module_utils._ports import CallError
from worlds import sandbox_gateway

from sandbox.client import Sandbox

LOCKS = "DescribeLockedSnapshots"


def test_a_refused_optional_query_says_why(sandbox: Sandbox) -> None:
    sandbox.refuse(LOCKS)
    made = sandbox_gateway(sandbox)
    optional = Query(LOCKS, optional=True)
    state = State("eu-central-1").with_answers(made.ask([optional]))
    assert "ec2:DescribeLockedSnapshots" in refusal(state, LOCKS)
    assert optional in state.answered
    with pytest.raises(CallError, match="UnauthorizedOperation"):
        made.ask([Query(LOCKS)])


def test_an_answered_optional_query_is_no_refusal(sandbox: Sandbox) -> None:
    answers = sandbox_gateway(sandbox).ask([Query(LOCKS, optional=True)])
    assert refusal(State("eu-central-1").with_answers(answers), LOCKS) == ""


def test_other_failures_of_an_optional_query_are_failures(sandbox: Sandbox) -> None:
    sandbox.add_fault(LOCKS, code="InvalidParameterValue", status=400)
    with pytest.raises(CallError, match="InvalidParameterValue"):
        sandbox_gateway(sandbox).ask([Query(LOCKS, optional=True)])


def test_structures_become_dictionaries() -> None:
    inner = Struct((("OptionName", "version-depth"), ("OptionValues", ("10000",))))
    outer = Struct((("ResourceType", "ec2:LaunchTemplate"), ("ResourceTypeOptions", (inner,))))
    query = Query("DescribeImageReferences", arguments=(("ResourceTypes", (outer,)),))
    assert hash(query) == hash(Query("DescribeImageReferences", arguments=(("ResourceTypes", (outer,)),)))
    assert codec.query_request(query) == {
        "ResourceTypes": [
            {
                "ResourceType": "ec2:LaunchTemplate",
                "ResourceTypeOptions": [{"OptionName": "version-depth", "OptionValues": ["10000"]}],
            }
        ]
    }
