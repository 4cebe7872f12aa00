# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""boto3 clients from the connection options of a task, and the errors of making them.

boto3 reads configuration files, and may look for credentials, when it makes a client.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from .._kernel.errors import StorageError

try:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule reports the missing library, with the versions that it needs
    pass

if TYPE_CHECKING:
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
    from botocore.client import BaseClient


def own_client(module: AnsibleAWSModule, service: str, region: str, config: Any) -> BaseClient:
    """Return a client with the module's own connection options. Raises StorageError."""
    with _refused(own_profile(module)):
        client: BaseClient = module.client(service, region=region, aws_config=config)
    return client


def refuse(profile: str, error: Exception, **_more: Any) -> NoReturn:
    """Raise StorageError for an error of a client with the credentials of *profile*.

    The runner lets amazon.aws call this function, which would end the module with a text that has no remedy.
    """
    raise StorageError(_text(error, profile)) from error


def profile_client(module: AnsibleAWSModule, service: str, region: str, profile: str, config: Any) -> BaseClient:
    """Return a client with the credentials of another profile, and with the module's other connection options.

    Raises StorageError.
    """
    with _refused(profile):
        # boto3-stubs has a signature for each service, and the service is a variable here.
        session: Any = boto3.session.Session(profile_name=profile)
        client: BaseClient = session.client(
            service,
            region_name=region,
            endpoint_url=module.params.get("endpoint_url") or None,
            verify=(module.params.get("aws_ca_bundle") or True) if module.params.get("validate_certs", True) else False,
            config=config,
        )
    return client


def own_profile(module: AnsibleAWSModule) -> str:
    """Return the profile of the task, empty without one."""
    return str(module.params.get("profile") or "")


def missing_region(module: AnsibleAWSModule) -> str:
    """Return the reason why the module has no region. amazon.aws hides an unreadable profile or configuration."""
    profile = own_profile(module)
    try:
        boto3.session.Session(profile_name=profile or None)
    except BotoCoreError as error:
        return _text(error, profile)
    return "region: no region is given. Set region, AWS_REGION, or a region in the profile."


@contextmanager
def _refused(profile: str) -> Iterator[None]:
    """Turn the errors of boto3 into StorageError. An error of the program itself passes."""
    try:
        yield
    except Exception as error:
        from .errors import is_search

        if isinstance(error, (BotoCoreError, ClientError, ValueError)) or is_search(error):
            raise StorageError(_text(error, profile)) from error
        raise


def _text(error: Exception, profile: str) -> str:
    from .errors import is_search, search_hint, search_text

    if is_search(error):
        return f"{_label(profile)}: {search_text(error)}. {search_hint(error, profile)}"
    text = str(error).rstrip(".")
    if isinstance(error, ValueError):
        return f"endpoint_url: {text}. Write it as in https://ec2.eu-central-1.amazonaws.com."
    return f"{_label(profile)}: {text}. Check the name, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE."


def _label(profile: str) -> str:
    return f"profile {profile}" if profile else "credentials"
