# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes calls with boto3 and does nothing with the answers: the least time of any module that makes these calls.

Reads JSON: a list of ``[service, operation, parameters]``, first pages only. They go out at once, each in a thread; the
pages that follow are asked for by the tokens in the answers.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore import xform_name

TOKENS = {"NextToken": "NextToken", "NextMarker": "Marker"}
"""Where the next page's token is in an answer, and in the request for it."""


def make(client: Any, operation: str, parameters: dict[str, Any]) -> None:
    """One call, and those for the pages after it."""
    while True:
        answer = getattr(client, xform_name(operation))(**parameters)
        tokens = {TOKENS[name]: answer[name] for name in TOKENS if answer.get(name)}
        if not tokens:
            return
        parameters = {**parameters, **tokens}


def main() -> None:
    calls = json.load(sys.stdin)
    clients = {service: boto3.client(service) for service in dict.fromkeys(service for service, *_rest in calls)}
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        list(pool.map(lambda call: make(clients[call[0]], call[1], call[2]), calls))


if __name__ == "__main__":
    main()
