# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KMS keys behind encrypted volumes and snapshots. The keys are moto's; their policies show who may use them.

The rule is simpler than an evaluation of policies: an account may use its own keys while they are enabled, and those of
another account whose key policy has an allowing statement for it or for everybody.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Request

DEFAULT_KEY = "alias/aws/ebs"
"""The AWS managed key: what it encrypts cannot be shared."""

_ARN = re.compile(r"arn:[^:]+:kms:([^:]+):([0-9]{12}):(?:key|alias)/.+")


def key_arn(request: Request, key: str | None) -> str | None:
    """The ARN of a KMS key given by id, ARN, alias or alias ARN; None if the caller has no such key to use in the
    region.

    None as key is the account's default key for EBS.
    """
    wanted = key or request.home.default_kms_key_id or DEFAULT_KEY
    named = _ARN.fullmatch(wanted)
    if named is not None and named.group(1) != request.region:
        return None
    found = _find(named.group(2) if named else request.account, request.region, wanted)
    return str(found.arn) if found is not None and _usable_by(found, request.account) else None


def unusable(request: Request, key: str) -> str:
    """Why the caller cannot encrypt with a key of the request's region: "invalid", "disabled" or "forbidden"; "" if it
    can.
    """
    named = _ARN.fullmatch(key)
    if named is not None and named.group(1) != request.region:
        return "invalid"
    found = _find(named.group(2) if named else request.account, request.region, key)
    if found is None or found.key_state not in ("Enabled", "Disabled"):
        return "invalid"
    if found.account_id != request.account and not _named(found.policy, request.account):
        return "forbidden"
    return "" if found.key_state == "Enabled" else "disabled"


def may_use(request: Request, arn: str | None) -> bool:
    """Whether the caller may use a key of any account and region, such as the one of a snapshot that it would copy."""
    named = _ARN.fullmatch(arn or "")
    if named is None:
        return False
    found = _find(named.group(2), named.group(1), arn or "")
    return found is not None and _usable_by(found, request.account)


def _find(account: str, region: str, key: str) -> Any:
    from moto.kms.models import kms_backends  # heavy, and only encrypted volumes need it

    try:
        return kms_backends[account][region].describe_key(key)
    except (KeyError, AttributeError):  # moto's errors for an unknown key, and for an unknown alias
        return None


def _usable_by(key: Any, account: str) -> bool:
    if key.key_state != "Enabled":
        return False
    return bool(key.account_id == account) or _named(key.policy, account)


def _named(policy: str, account: str) -> bool:
    """Whether a key policy allows something to an account, or to all."""
    statements = json.loads(policy).get("Statement") or []
    for one in statements if isinstance(statements, list) else [statements]:
        principal = one.get("Principal")
        given = principal.get("AWS", []) if isinstance(principal, dict) else principal
        names = [given] if isinstance(given, str) else given or []
        if one.get("Effect") == "Allow" and any(
            name in ("*", account) or re.match(rf"arn:[^:]+:(?:iam|sts)::{account}:", name) for name in names
        ):
            return True
    return False
