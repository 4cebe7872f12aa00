# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn botocore's exceptions into CallError: AWS's code and message, the resource, and the remedy.

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
except ImportError:  # AnsibleAWSModule reports the missing library, with the versions that it needs
    pass

# Every code that means "too many calls": EC2's own, and those of the query and JSON services.
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
# With these codes, AWS may or may not have carried out the request.
_SERVER = frozenset(
    {"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "ServerInternal", "RequestTimeout"}
)

# Remedies where the code alone is not enough: patterns of the code and of EC2's text. The first match counts.
_SAID: tuple[tuple[str, str, str], ...] = (
    (
        r"InvalidParameterValue",
        r"The specified keyId\b",
        "Name an enabled KMS key of the destination region that these credentials may use, by its id, ARN or alias.",
    ),
    (
        r"AuthFailure",
        r"Not authorized to use key\b",
        "Allow kms:DescribeKey, kms:CreateGrant and kms:GenerateDataKey* in the key policy and the IAM policies.",
    ),
    (
        r"AuthFailure",
        r"Not authorized for (?:image|snapshot)",
        "Another account owns it. Ask the owner to share it with this account, or to make the call.",
    ),
)
# Remedies by pattern of the code. The first match counts.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"RequestExpired|ExpiredToken.*",
        "The credentials have expired, or this machine's clock is wrong. Get new credentials and run the task again.",
    ),
    (
        r"AuthFailure|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClientException|InvalidAccessKeyId",
        "AWS rejects these credentials. Check access_key, secret_key, session_token, profile, region and the clock.",
    ),
    (r"OptInRequired", "Enable this region in the account, or subscribe to the product."),
    (r"InvalidRegion", "Check the spelling of the region, and that the account has enabled it."),
    (
        r"InvalidSnapshot\.InUse",
        "First deregister the image that uses the snapshot.",
    ),
    (r"VolumeInUse", "First detach the volume."),
    (
        r"InvalidAMIName\.Duplicate",
        "The account has an image of this name in the region. Choose another name, or deregister that image.",
    ),
    (r"InvalidAMIName\.Malformed", "Choose another name."),
    (
        r"InvalidAMIAttributeItemValue|InvalidUserID\.Malformed",
        "Write each account as a text of twelve digits, without hyphens.",
    ),
    (r"UnknownVolumeType", "Use gp3, gp2, io2, io1, st1, sc1 or standard."),
    (r"Invalid\w+\.Malformed", "Check the spelling of the id."),
    (
        r"Invalid\w+\.NotFound|Invalid\w+\.Unavailable",
        "Check the id, the region and the account. An id exists only in the region and account that made it.",
    ),
    (
        r"RequestLimitExceeded|Throttling.*|EC2ThrottledException",
        "The account has used up its request rate for this operation. Run the task again later; it carries on.",
    ),
    (
        r"InsufficientInstanceCapacity|InsufficientHostCapacity|InsufficientReservedInstanceCapacity",
        "EC2 has no such capacity now. Run the task again later, or choose another instance type or zone.",
    ),
    (
        r"Unsupported",
        "EC2 does not offer this configuration here, and waiting does not help. Choose another instance type or zone.",
    ),
    (r"AttachmentLimitExceeded", "The instance or Multi-Attach volume takes no more attachments. First detach one."),
    (
        r"ConcurrentSnapshotLimitExceeded|PendingSnapshotLimitExceeded",
        "No quota raises this limit. Wait until the earlier snapshots are completed, then run the task again.",
    ),
    (r"TagLimitExceeded", "EC2 takes 50 tags on a resource, and no quota raises this limit. First remove some tags."),
    (
        r"VcpuLimitExceeded|InstanceLimitExceeded|\w+LimitExceeded",
        "The account has used up a quota. Service Quotas can raise it.",
    ),
    (
        r"SnapshotCreationPerVolumeRateExceeded",
        "EC2 takes one snapshot of a volume in 15 seconds. Run the task again after that time.",
    ),
    (
        r"VolumeModificationRateExceeded",
        (
            "EBS takes four modifications of a volume within 24 hours. Set on_cooldown: wait, or "
            "on_cooldown: defer to modify it later."
        ),
    ),
    (
        r"IncorrectModificationState",
        "The volume's last modification still runs. Set on_cooldown: wait, or on_cooldown: defer to modify it later.",
    ),
    (
        r"OperationNotPermitted",
        "A lock, a protection, the resource's state or encryption, or an account setting forbids the call.",
    ),
    (
        r"IncorrectState|IncorrectInstanceState",
        "The resource's state does not allow the call. Run the task again when the state has changed.",
    ),
    (
        r"InternalError|InternalFailure|ServiceUnavailable|Unavailable",
        "AWS has a fault. Run the task again; it carries on.",
    ),
)
_UNAUTHORIZED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"}
)
_ENCODED = re.compile(r"\s*Encoded authorization failure message:\s*\S+")
# EC2, IAM and most services name the missing action. EC2 calls other services in its caller's name.
_MISSING = re.compile(r"\bnot authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)")
_UNTIL = re.compile(r"\buntil\s+(.+?)(?:\s+(?:UTC|GMT))?(?:\s+before\b.*|\.?\s*)$")


def is_throttling(error: CallError) -> bool:
    """Return whether AWS refused the call for its rate only. Such a call has had no effect."""
    return error.code in THROTTLING


def _hint(service: str, operation: str, code: str, message: str, request: Mapping[str, Any]) -> str:
    if code in _UNAUTHORIZED:
        return _permission(service, operation, message, request)
    if operation == "RunInstances" and code.startswith("Insufficient"):
        return (
            "EC2 has no such capacity now. The image exists, and the next run continues with the launch. Run the task "
            "again later, or choose another instance type. The image lacks the predecessor's "
            "writes since the capture. Bake another version to include them."
        )
    if operation == "CopySnapshot" and code == "ResourceLimitExceeded":
        return "EC2 limits how many copies run at once. Wait until some are completed, then run the task again."
    said = next((hint for pattern, text, hint in _SAID if re.fullmatch(pattern, code) and re.search(text, message)), "")
    return said or next((hint for pattern, hint in _HINTS if re.fullmatch(pattern, code)), "")


def _permission(service: str, operation: str, message: str, request: Mapping[str, Any]) -> str:
    """Return the remedy for a missing permission, with the action that AWS names, or else that of the operation."""
    prefix = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing"}.get(service, service)
    asked = f"{prefix}:{operation}"
    named = _MISSING.search(message)
    wanted = named[1] if named else asked
    more = ""
    if operation == "GetInstanceUefiData":
        more = ", or give the UEFI variable store in uefi_data"
    elif wanted == asked and "TagSpecifications" in request:
        # EC2 also checks CreateTags when a request tags the new resource.
        more = ", and ec2:CreateTags for the tags of the new resource"
    return f"In the IAM policies of these credentials, allow {wanted}{more}."


def _not_before(code: str, message: str) -> datetime | None:
    """Return when EBS takes the next modification, from "Wait until <time> before you can issue the next …", or None.

    AWS does not document the form of the time. So this function reads ISO 8601, the dates of mail headers and the dates
    that Java prints. A time without a zone is UTC. An older text ("Wait at least 6 hours") has no time.
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
        # Round up, since EBS refuses a call that comes a fraction of a second too early.
        return moment.replace(microsecond=0) + timedelta(seconds=1 if moment.microsecond else 0)
    return None


def _refused(
    error: botocore.ClientError, service: str, operation: str, request: Mapping[str, Any], resource: str
) -> CallError:
    """Return the CallError for an answer of AWS itself."""
    answer = error.response
    code = str(answer.get("Error", {}).get("Code") or "Unknown")
    # The encoded part is a page of cipher text that only sts:DecodeAuthorizationMessage reads. Only `error` keeps it.
    whole = str(answer.get("Error", {}).get("Message") or "").strip()
    message = _ENCODED.sub("", whole).strip()
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    throttled = code in THROTTLING
    # EC2 answers a lack of capacity with 500, but the refusal is clear.
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
    """Return message and remedy for a request that botocore refuses.

    Message and remedy name the parameters, never the values.
    """
    named = re.findall(r"parameter in input: \"(\w+)\"|for parameter ([\w.\[\]]+)", str(error))
    names = ", ".join(sorted({unknown or wrong for unknown, wrong in named}))
    return f"botocore does not accept {names or 'this request'}", "Install a newer boto3 and botocore."


def call_error(
    error: Exception,
    service: str,
    operation: str,
    request: Mapping[str, Any],
    *,
    resource: str = "",
    endpoint: str = "",
    profile: str = "",
) -> CallError:
    """Return the CallError for the exception of a boto3 call. If *error* is not botocore's, it is raised again.

    *endpoint* is the URL of the call, and *profile* that of its credentials. *request* may hold user data. The error
    uses nothing of it except whether it has tags.
    """
    if is_search(error):
        return _not_found(error, operation, resource, profile)
    if isinstance(error, botocore.ClientError):
        return _refused(error, service, operation, request, resource)
    if isinstance(error, (botocore.ParamValidationError, botocore.UnknownParameterError)):
        message, hint = _invalid(error)
        return CallError(operation, "ParamValidation", message, resource=resource, hint=hint)
    if not isinstance(error, (botocore.BotoCoreError, ResponseParserError)):
        raise error
    code, hint, sent = _family(error, _where(endpoint))
    if profile and code == "NoCredentials":
        hint = f"The profile {profile} gives no credentials. Check its settings in the AWS configuration files."
    return CallError(
        operation,
        code,
        # An answer that is no XML, such as a proxy's page: its beginning is enough.
        str(error)[:500],
        resource=resource,
        hint=hint,
        unclear=bool(sent),
        passing=sent is not None,
    )


def is_search(error: BaseException) -> bool:
    """Return whether botocore raised *error* while it looked for credentials, so the request was not sent.

    botocore looks for them when it makes a client, and again before it signs a request. Files, processes and tokens
    raise errors of any class there, such as RuntimeError and FileNotFoundError. Only the traceback tells them from
    errors of the call.
    """
    return _passed(error, "botocore.credentials", "botocore.tokens")


def _asked_for_a_code(error: BaseException) -> bool:
    """Return whether the search asked for an MFA code. A task has no terminal, so the error has many classes."""
    return _passed(error, "getpass")


def _passed(error: BaseException, *modules: str) -> bool:
    """Return whether the traceback of *error* goes through one of these modules."""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__") in modules:
            return True
        frame = frame.tb_next
    return False


def search_text(error: Exception) -> str:
    """Return the text of an error of the search. botocore's own texts stand alone, other texts need their class."""
    if _asked_for_a_code(error):
        return "botocore asked for an MFA code"
    text = str(error)[:500]
    own = isinstance(error, (botocore.BotoCoreError, botocore.ClientError)) or error.__class__ is RuntimeError
    return text if own and text else f"{type(error).__name__}: {text}"


def search_hint(error: Exception, profile: str) -> str:
    """Return the remedy for an error of the search for the credentials of *profile*, or of the machine if empty."""
    source = f"The profile {profile}" if profile else "The source of the credentials"
    if isinstance(error, botocore.ClientError):
        remedy = next((text for pattern, text in _SEARCH_HINTS if re.fullmatch(pattern, _code_of(error))), "")
        return f"{source} needs {error.operation_name}, and AWS refused it. {remedy}".rstrip()
    if isinstance(error, (botocore.ConnectionError, botocore.HTTPClientError)):
        return f"{source} needs an answer of that address. Check endpoint_url, the region, the network and a proxy."
    if isinstance(error, RuntimeError) and "expired" in str(error):
        return (
            f"{source} gives credentials that have already expired. Compare the clock of this machine with AWS's time, "
            "then run the task again."
        )
    if _asked_for_a_code(error):
        return (
            f"{source} needs the code, and a task cannot enter one. First get credentials with the code, and give them "
            "to the task."
        )
    if isinstance(
        error, botocore.UnauthorizedSSOTokenError | botocore.SSOTokenLoadError | botocore.TokenRetrievalError
    ):
        return f"{source} gives no credentials. Sign in again with aws sso login."
    return f"{source} gives no credentials. Check its settings in the AWS configuration files and in the environment."


# Remedies for calls that the search makes, such as AssumeRole.
_SEARCH_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"AccessDenied|AccessDeniedException|UnauthorizedOperation",
        "Allow the call in the policies of the source identity, and name that identity in the role's trust policy.",
    ),
    (
        r"ExpiredToken.*|RequestExpired|InvalidClientTokenId|SignatureDoesNotMatch|InvalidIdentityToken|AuthFailure",
        "Check the credentials of its source, and the clock of this machine.",
    ),
    (r"ForbiddenException|UnauthorizedException", "Sign in again with aws sso login."),
)


def _code_of(error: botocore.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code") or "Unknown")


def _not_found(error: Exception, operation: str, resource: str, profile: str) -> CallError:
    """Return the CallError for a call that was not sent, since the search for its credentials failed."""
    code, passing = "NoCredentials", False
    if isinstance(error, botocore.ClientError):
        code = _code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
        passing = code in THROTTLING or status >= 500
    elif isinstance(error, botocore.BotoCoreError):
        code, _hint, sent = _family(error, "")
        code, passing = ("NoCredentials" if sent is None else code), sent is not None
    hint = search_hint(error, profile)
    return CallError(operation, code, search_text(error), resource=resource, hint=hint, passing=passing)


def _family(error: Exception, where: str) -> tuple[str, str, bool | None]:
    """Return the last three items of the matching row of `_families`."""
    return next(
        ((code, hint, sent) for classes, code, hint, sent in _families(where) if isinstance(error, classes)),
        (type(error).__name__, "", None),
    )


def _where(endpoint: str) -> str:
    return f"Check endpoint_url ({endpoint}), the region, the network and a proxy (HTTPS_PROXY, NO_PROXY)."


def stranger(operation: str, *, resource: str = "", endpoint: str = "") -> CallError:
    """Return the CallError for an answer that is not EC2's. botocore reads a proxy's page as an empty answer."""
    return CallError(
        operation,
        "UnexpectedAnswer",
        "the answer has no request id, so it is not EC2's",
        resource=resource,
        hint=_where(endpoint),
        unclear=True,
        passing=True,
    )


def _families(where: str) -> tuple[tuple[tuple[type[Exception], ...], str, str, bool | None], ...]:
    """Return botocore's own exceptions as (classes, our code, remedy, whether the request may have been sent).

    If the last item is None, a repeat of the call is useless. The first matching row counts.
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
            "The profile gives no credentials. Sign in again (aws sso login), or check its role.",
            None,
        ),
        ((botocore.NoRegionError,), "NoRegion", "Set region, AWS_REGION, or a region in the profile.", None),
        (
            (botocore.SSLError, botocore.InvalidProxiesConfigError),
            "Certificate",
            f"{where} For a private certificate authority, set aws_ca_bundle.",
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
