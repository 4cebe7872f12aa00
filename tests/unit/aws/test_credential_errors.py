# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of botocore's search for credentials. They come from botocore itself, since only the traceback tells them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.errors import call_error
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from botocore import credentials, exceptions


def found(raised: Exception | dict[str, Any], profile: str = "shop") -> CallError:
    """The error of a call whose credentials come from a role. *raised* is the error of its source, or its answer."""

    def refresh() -> dict[str, Any]:
        if isinstance(raised, Exception):
            raise raised
        return raised

    source = credentials.DeferredRefreshableCredentials(refresh, "assume-role")
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- the class is botocore's affair
        source.get_frozen_credentials()
    return call_error(caught.value, "ec2", "DeleteSnapshot", {}, resource="snap-1", profile=profile)


EXPIRED = {"access_key": "AKIA", "secret_key": "hidden", "token": "hidden", "expiry_time": "2020-01-01T00:00:00Z"}


def refusal(code: str, status: int) -> exceptions.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(answer, "AssumeRole")


@pytest.mark.parametrize(
    ("raised", "code", "words", "passing"),
    [
        (EXPIRED, "NoCredentials", "clock of this machine", False),
        (FileNotFoundError(2, "No such file", "/token"), "NoCredentials", "FileNotFoundError", False),
        (KeyError("Version"), "NoCredentials", "AWS configuration files", False),
        (refusal("AccessDenied", 403), "AccessDenied", "trust policy", False),
        (refusal("ExpiredToken", 400), "ExpiredToken", "credentials of its source", False),
        (refusal("Throttling", 400), "Throttling", "AssumeRole", True),
        (refusal("InternalFailure", 500), "InternalFailure", "AssumeRole", True),
        (exceptions.EndpointConnectionError(endpoint_url="https://sts"), "EndpointUnreachable", "proxy", True),
        (exceptions.ReadTimeoutError(endpoint_url="https://sts"), "NoAnswer", "proxy", True),
        (exceptions.UnauthorizedSSOTokenError(), "NoCredentials", "aws sso login", False),
        (exceptions.CredentialRetrievalError(provider="p", error_msg="e"), "NoCredentials", "gives no", False),
    ],
)
def test_failed_search_names_profile_and_remedy(
    raised: Exception | dict[str, Any], code: str, words: str, passing: bool
) -> None:
    error = found(raised)
    assert str(error).startswith(f"DeleteSnapshot of snap-1 failed: {code}: ")
    assert "The profile shop" in str(error) and words in str(error)
    assert error.passing == passing
    assert not error.unclear, "the request was never sent"
    assert "hidden" not in str(error)


def test_source_without_a_profile_is_named_as_such() -> None:
    assert "The source of the credentials gives credentials that have already expired" in str(
        found(EXPIRED, profile="")
    )


def test_error_of_the_program_itself_is_raised_again() -> None:
    with pytest.raises(KeyError):
        call_error(KeyError("x"), "ec2", "DeleteSnapshot", {}, profile="shop")
