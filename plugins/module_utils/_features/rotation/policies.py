# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of the role snapshot_policy, and the refusals before the first capture.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .options import ARGUMENT_SPEC

OPTIONS = frozenset(ARGUMENT_SPEC) - {"state"} | {"wait", "wait_timeout"}
"""Options of a policy. The role itself gives ``state`` and ``assume``, and the play gives the connection."""


def refused_policies(policies: Sequence[Mapping[str, Any]], named: str) -> list[str]:
    """Return a sentence for each mistake in *policies*. *named*: the name of their variable.

    A policy needs a name of its own, ``keep``, and only options in `OPTIONS`. The module refuses all other mistakes
    when the role runs the policy.
    """
    refused = []
    for place, policy in enumerate(policies):
        label = f"{named}[{place}]"
        unknown = sorted(str(option) for option in set(policy) - OPTIONS)
        if unknown:
            refused.append(f"{label}: a policy has no option {', '.join(unknown)}. Correct or remove it.")
        if policy.get("policy") in (None, ""):
            refused.append(f"{label}: policy is missing. Give the policy a name.")
        if not policy.get("keep"):
            refused.append(f"{label}: keep is missing. Set its rules, for example {{daily: 7}}.")
    names = Counter(str(policy["policy"]) for policy in policies if policy.get("policy") not in (None, ""))
    refused += [
        f"{named}: {number} policies have the name {name}. Give each a name of its own."
        for name, number in names.items()
        if number > 1
    ]
    return refused


NOT_APPROVED = "missing"
"""An ``expected_plan`` that no plan has, since hashes are longer."""


def approved_policies(policies: Sequence[Mapping[str, Any]], plans: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return *policies*, each with its hash in *plans* as ``expected_plan``, or with `NOT_APPROVED`."""
    return [{**policy, "expected_plan": plans.get(str(policy.get("policy"))) or NOT_APPROVED} for policy in policies]


def policy_rules(policies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the name, the slots and the rules of *policies*, as the option ``policies`` of storage_info takes them."""
    every = ARGUMENT_SPEC["every"]["default"]
    return [
        {"policy": policy["policy"], "every": policy.get("every") or every, "keep": policy["keep"]}
        for policy in policies
    ]
