# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""botocore's exceptions as CallError: AWS's code and message, the resource, and what the user can do about it.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from .._kernel.failures import CallError

try:
    from botocore import exceptions as botocore
    from botocore.parsers import ResponseParserError
except ImportError:  # AnsibleAWSModule says so, with the versions that are wanted
    pass

# All families in which AWS says "too many calls": EC2's own, and those of the query and JSON services.
THROTTLING = frozenset(
    {
        "RequestLimitExceeded",
        "Client.RequestLimitExceeded",
        "EC2ThrottledException",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "TransactionInProgressException",
        "SlowDown",
    }
)
# The request was not carried out, or it was and the answer got lost: AWS's side does not know.
_SERVER = frozenset(
    {"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "ServerInternal", "RequestTimeout"}
)

# What to do where the code alone does not tell: patterns of the code and of EC2's text, the first that matches.
_SAID: tuple[tuple[str, str, str], ...] = (
    (
        r"InvalidParameterValue",
        r"The specified keyId\b",
        "Name an enabled KMS key of the destination region that these credentials may use, by its id, ARN or alias.",
    ),
    (
        r"AuthFailure",
        r"Not authorized to use key\b",
        "The key policy and the IAM policies must allow kms:DescribeKey, kms:CreateGrant and kms:GenerateDataKey*.",
    ),
    (
        r"AuthFailure",
        r"Not authorized for (?:image|snapshot)",
        "It belongs to another account: its owner must share it with this one, or make the call.",
    ),
)
# What to do, by the code's family: the first pattern that matches.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"RequestExpired|ExpiredToken.*",
        "The credentials' time is over, or this machine's clock is wrong: get new ones and run again.",
    ),
    (
        r"AuthFailure|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClientException|InvalidAccessKeyId",
        "AWS does not accept these credentials: check access_key, secret_key, session_token, profile, region, clock.",
    ),
    (r"OptInRequired", "The account has not enabled this region, or has not subscribed to the product."),
    (r"InvalidRegion", "Check how the region is written, and that the account has enabled it."),
    (
        r"InvalidSnapshot\.InUse",
        "Deregister the image that uses the snapshot first.",
    ),
    (r"VolumeInUse", "Detach the volume first."),
    (
        r"InvalidAMIName\.Duplicate",
        "The account has an image of that name in the region. Choose another name, or deregister that image.",
    ),
    (r"InvalidAMIName\.Malformed", "Choose another name."),
    (
        r"InvalidAMIAttributeItemValue|InvalidUserID\.Malformed",
        "Give the accounts as text of twelve digits, without hyphens.",
    ),
    (r"UnknownVolumeType", "Use gp3, gp2, io2, io1, st1, sc1 or standard."),
    (r"Invalid\w+\.Malformed", "Check how the id is written."),
    (
        r"Invalid\w+\.NotFound|Invalid\w+\.Unavailable",
        "Check the id, the region and the account: an id is known only where it was made.",
    ),
    (
        r"RequestLimitExceeded|Throttling.*|EC2ThrottledException",
        "The account's request rate for this operation is used up. Run the task again later; it carries on.",
    ),
    (
        r"InsufficientInstanceCapacity|InsufficientHostCapacity|InsufficientReservedInstanceCapacity",
        "EC2 has no such capacity there now. Run the task again later, or choose another instance type or zone.",
    ),
    (
        r"Unsupported",
        "EC2 does not offer this configuration there, and waiting is no remedy. Choose another instance type or zone.",
    ),
    (r"AttachmentLimitExceeded", "The instance, or the multi-attach volume, takes no more attachments: end one first."),
    (
        r"ConcurrentSnapshotLimitExceeded|PendingSnapshotLimitExceeded",
        "No quota raises this. Wait until its earlier snapshots are completed, then run the task again.",
    ),
    (r"TagLimitExceeded", "EC2 takes 50 tags on a resource, and no quota raises that: remove some first."),
    (
        r"VcpuLimitExceeded|InstanceLimitExceeded|\w+LimitExceeded",
        "A quota of the account is used up: Service Quotas can raise it.",
    ),
    (
        r"SnapshotCreationPerVolumeRateExceeded",
        "EC2 takes a snapshot of the same volume once in 15 seconds. Run the task again after that.",
    ),
    (
        r"VolumeModificationRateExceeded",
        (
            "EBS takes four modifications of a volume within 24 hours. on_cooldown: defer leaves this one for later, "
            "wait waits for it."
        ),
    ),
    (
        r"IncorrectModificationState",
        "The volume's last modification is not over. on_cooldown: defer leaves this one for later, wait waits for it.",
    ),
    (
        r"OperationNotPermitted",
        "A protection or lock of the resource, its state or encryption, or a setting of the account forbids it.",
    ),
    (
        r"IncorrectState|IncorrectInstanceState",
        "The resource's state does not allow it. Run the task again when the state has changed.",
    ),
    (
        r"InternalError|InternalFailure|ServiceUnavailable|Unavailable",
        "A fault on AWS's side. Run the task again; it carries on.",
    ),
)
_UNAUTHORIZED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"}
)
_ENCODED = re.compile(r"\s*Encoded authorization failure message:\s*\S+")
# EC2, IAM and most services name the action that is missing; EC2 looks through other services on its caller's behalf.
_MISSING = re.compile(r"\bnot authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)")
_UNTIL = re.compile(r"\buntil\s+(.+?)(?:\s+(?:UTC|GMT))?(?:\s+before\b.*|\.?\s*)$")


def is_throttling(error: CallError) -> bool:
    """Whether AWS refused the call for its rate only. It has had no effect."""
    return error.code in THROTTLING


def _hint(service: str, operation: str, code: str, message: str, request: Mapping[str, Any]) -> str:
    if code in _UNAUTHORIZED:
        return _permission(service, operation, message, request)
    if operation == "RunInstances" and code.startswith("Insufficient"):
        return (
            "EC2 has no such capacity there now. The image exists, and another run goes on with the launch. Run the "
            "task again later, or choose another instance type. What the old instance writes until then is not in the "
            "image, but in another version that is baked later."
        )
    if operation == "CopySnapshot" and code == "ResourceLimitExceeded":
        return "EC2 makes only so many copies at once. Wait until copies are completed, then run the task again."
    said = next((hint for pattern, text, hint in _SAID if re.fullmatch(pattern, code) and re.search(text, message)), "")
    return said or next((hint for pattern, hint in _HINTS if re.fullmatch(pattern, code)), "")


def _permission(service: str, operation: str, message: str, request: Mapping[str, Any]) -> str:
    """The permission that is missing: the one that AWS names, else that of the operation."""
    prefix = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing"}.get(service, service)
    asked = f"{prefix}:{operation}"
    named = _MISSING.search(message)
    wanted = named[1] if named else asked
    more = ""
    if operation == "GetInstanceUefiData":
        more = ", or uefi_data must give the UEFI variable store"
    elif wanted == asked and "TagSpecifications" in request:
        # EC2 checks CreateTags as well for whatever is tagged as it is made.
        more = ", and ec2:CreateTags, since it is tagged as it is made"
    return f"The credentials' IAM policies must allow {wanted}{more}."


def _not_before(code: str, message: str) -> datetime | None:
    """When EBS takes the next modification, from "Wait until <time> before you can issue the next modification …".

    The form of the time is not documented, so ISO 8601 and what mails and Java write are all read; without a zone it is
    UTC. An older text ("Wait at least 6 hours") has none.
    """
    found = _UNTIL.search(message) if code == "VolumeModificationRateExceeded" else None
    if found is None:
        return None
    readers: tuple[Callable[[str], datetime], ...] = (datetime.fromisoformat, parsedate_to_datetime)
    for read in readers:
        try:
            moment = read(found[1])
        except (ValueError, TypeError):
            continue
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        # A part of a second counts as a whole one: not before is not a moment before.
        return moment.replace(microsecond=0) + timedelta(seconds=1 if moment.microsecond else 0)
    return None


def _refused(
    error: botocore.ClientError, service: str, operation: str, request: Mapping[str, Any], resource: str
) -> CallError:
    """What AWS itself has answered."""
    answer = error.response
    code = str(answer.get("Error", {}).get("Code") or "Unknown")
    # The encoded part is a page of cipher text that only sts:DecodeAuthorizationMessage reads: it stays in `error`.
    whole = str(answer.get("Error", {}).get("Message") or "").strip()
    message = _ENCODED.sub("", whole).strip()
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    throttled = code in THROTTLING
    # EC2 answers a lack of capacity with 500, but it is a clear refusal.
    unclear = not throttled and not code.startswith("Insufficient") and (status >= 500 or code in _SERVER)
    hint = _hint(service, operation, code, message, request)
    return CallError(
        operation,
        code,
        message,
        resource=resource,
        hint=hint,
        unclear=unclear,
        passing=unclear or throttled,
        not_before=_not_before(code, message),
        whole=whole,
    )


def _invalid(error: Exception) -> tuple[str, str]:
    """Botocore refuses the request. Its text shows parameters with their values; a report only names them."""
    named = re.findall(r"parameter in input: \"(\w+)\"|for parameter ([\w.\[\]]+)", str(error))
    names = ", ".join(sorted({unknown or wrong for unknown, wrong in named}))
    return f"botocore does not take {names or 'the request as it stands'}", "A newer boto3 and botocore may know it."


def call_error(
    error: Exception,
    service: str,
    operation: str,
    request: Mapping[str, Any],
    *,
    resource: str = "",
    endpoint: str = "",
) -> CallError:
    """The CallError for what a boto3 call raised; *error* itself, raised again, when it is not botocore's.

    *endpoint* is the URL the call went to. Nothing of *request* but the presence of tags is used: it may hold user
    data.
    """
    if isinstance(error, botocore.ClientError):
        return _refused(error, service, operation, request, resource)
    if isinstance(error, (botocore.ParamValidationError, botocore.UnknownParameterError)):
        message, hint = _invalid(error)
        return CallError(operation, "ParamValidation", message, resource=resource, hint=hint)
    if not isinstance(error, (botocore.BotoCoreError, ResponseParserError)):
        raise error
    where = _where(endpoint)
    code, hint, sent = next(
        ((code, hint, sent) for classes, code, hint, sent in _families(where) if isinstance(error, classes)),
        (type(error).__name__, "", None),
    )
    return CallError(
        operation,
        code,
        # Of an answer that is no XML (a proxy's page) the beginning says enough.
        str(error)[:500],
        resource=resource,
        hint=hint,
        unclear=bool(sent),
        passing=sent is not None,
    )


def _where(endpoint: str) -> str:
    return f"Check endpoint_url ({endpoint}), the region, the network and a proxy (HTTPS_PROXY, NO_PROXY)."


def stranger(answer: Mapping[str, Any], operation: str, *, resource: str = "", endpoint: str = "") -> CallError | None:
    """The CallError for an answer that is not EC2's, such as the page of a proxy: botocore reads it as an empty one."""
    if "RequestId" in (answer.get("ResponseMetadata") or {}):
        return None
    return CallError(
        operation,
        "UnexpectedAnswer",
        "the answer is not EC2's: it has no request id",
        resource=resource,
        hint=_where(endpoint),
        unclear=True,
        passing=True,
    )


def _families(where: str) -> tuple[tuple[tuple[type[Exception], ...], str, str, bool | None], ...]:
    """The exceptions of botocore itself: classes, our code, what to do, and whether the request may have been sent.

    None there: asking again is of no use. The first row that matches counts.
    """
    return (
        (
            (botocore.NoCredentialsError, botocore.PartialCredentialsError),
            "NoCredentials",
            "Set access_key and secret_key, profile, or AWS_ACCESS_KEY_ID or AWS_PROFILE, or give the machine a role.",
            None,
        ),
        (
            (
                botocore.CredentialRetrievalError,
                botocore.TokenRetrievalError,
                botocore.UnauthorizedSSOTokenError,
                botocore.SSOTokenLoadError,
            ),
            "NoCredentials",
            "The profile's credentials could not be got: sign in again (aws sso login), or check its role.",
            None,
        ),
        ((botocore.NoRegionError,), "NoRegion", "Set region, AWS_REGION, or a region in the profile.", None),
        (
            (botocore.SSLError, botocore.InvalidProxiesConfigError),
            "Certificate",
            f"{where} For a private authority set aws_ca_bundle.",
            None,
        ),
        (
            (botocore.EndpointConnectionError, botocore.ConnectTimeoutError, botocore.ProxyConnectionError),
            "EndpointUnreachable",
            where,
            False,
        ),
        ((botocore.ReadTimeoutError,), "NoAnswer", where, True),
        ((botocore.HTTPClientError, botocore.IncompleteReadError, ResponseParserError), "ConnectionLost", where, True),
    )
