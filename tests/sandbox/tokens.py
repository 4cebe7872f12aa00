# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client tokens: the same request twice makes one resource.

As recorded of EC2 (CreateVolume): an exact replay answers the same id in its current state; a changed parameter is
IdempotentParameterMismatch, and a default that is spelled out counts as changed; so is a replay after the thing was
deleted. RunInstances has a code of its own for that: IdempotentInstanceTerminated.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .errors import Ec2Error
from .log import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Request


def with_token(
    request: Request,
    make: Callable[[], tuple[str, dict[str, Any]]],
    again: Callable[[str], dict[str, Any] | None],
    *,
    longest: int = 64,
    same: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make something once per client token.

    make: makes it and returns (id, answer). again: the answer that shows the id in its current state, or None when it
    has been deleted; what it raises is the answer too. same: the parameters as they are compared, where two spellings
    of one are the same.
    A request without a token always makes a resource. A make that raises leaves the token unused.

    Raises Ec2Error InvalidParameterValue for a token longer than `longest` or not ASCII, and
    IdempotentParameterMismatch.
    """
    token = request.params.get("ClientToken")
    if not token:
        return make()[1]
    check_token(token, longest)
    key = (request.account, request.region, request.action, token)
    parameters = fingerprint(request.params if same is None else same)
    known = request.world.tokens.get(key)
    if known is None:
        resource_id, answer = make()
        request.world.tokens[key] = (parameters, resource_id)
        return answer
    if known[0] != parameters:
        raise Ec2Error(
            "IdempotentParameterMismatch",
            f"The client token {token} has been used with other parameters: arguments on this idempotent request are "
            "inconsistent with arguments used in previous request(s).",
        )
    shown = again(known[1])
    if shown is None:
        raise Ec2Error(
            "IdempotentParameterMismatch",
            f"The client token {token} has been used for {known[1]}, which has been already deleted.",
        )
    return shown


def check_token(token: str, longest: int = 64) -> None:
    """Raises Ec2Error InvalidParameterValue for a token that is too long or not ASCII."""
    if len(token) > longest or not token.isascii():
        raise Ec2Error(
            "InvalidParameterValue",
            f"Value ({token}) for parameter clientToken is invalid. Expected at most {longest} ASCII characters.",
        )


def fingerprint(params: dict[str, Any]) -> str:
    """The parameters that a replay must repeat: every parameter but the token and DryRun."""
    kept = {name: value for name, value in params.items() if name not in ("ClientToken", "DryRun")}
    return json.dumps(plain(kept), sort_keys=True, separators=(",", ":"))
