# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions that a planner can do without, and arguments that are structures."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import codec
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State, Struct

from sandbox.client import Sandbox
from worlds import sandbox_gateway

LOCKS = "DescribeLockedSnapshots"
OPTIONAL = Query(LOCKS, optional=True)


def test_refused_optional_query_says_why(sandbox: Sandbox) -> None:
    sandbox.refuse(LOCKS)
    made = sandbox_gateway(sandbox)
    failures: dict[Query, StorageError] = {}
    answers = made.ask([OPTIONAL], failures)
    state = State("eu-central-1", unanswered=failures).with_answers(answers)
    assert "ec2:DescribeLockedSnapshots" in str(state.refusal(LOCKS))
    assert OPTIONAL in state.answered
    with pytest.raises(CallError, match="UnauthorizedOperation"):
        made.ask([Query(LOCKS)], failures)


def test_answered_optional_query_is_no_refusal(sandbox: Sandbox) -> None:
    failures: dict[Query, StorageError] = {}
    answers = sandbox_gateway(sandbox).ask([OPTIONAL], failures)
    assert State("eu-central-1", unanswered=failures).with_answers(answers).refusal(LOCKS) is None


def test_optional_query_without_a_failure_list_fails(sandbox: Sandbox) -> None:
    sandbox.refuse(LOCKS)
    with pytest.raises(CallError, match="UnauthorizedOperation"):
        sandbox_gateway(sandbox).ask([OPTIONAL])


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
