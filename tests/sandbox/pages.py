# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MaxResults and NextToken."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import Ec2Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .engine import Request

Row = TypeVar("Row")

#: EC2's own names for lists of ids in its texts, where they do not follow from the parameter's name.
_LIST_NAMES = {"InstanceIds": "instancesSet"}


def paged(
    request: Request,
    rows: Iterable[Row],
    minimum: int = 5,
    maximum: int = 1000,
    default: int | None = None,
    *,
    key: Callable[[Row], Any] | None = None,
    ids: str | None = "*",
    strict: bool = False,
) -> tuple[Sequence[Row], str | None]:
    """One page of the rows and the token of the next one (None on the last).

    rows: what the request found, in a stable order. Without MaxResults, NextToken and default it is all of them.
    minimum, maximum: of MaxResults; a smaller one is refused, a greater one counts as the maximum (EC2 took 1,001 for
    the volume calls), or is refused too if strict: for calls whose model names both bounds.
    key: the row's place in the order (rows sorted by it); the token then carries the last row's key, so that rows which
    come or go between two pages neither repeat nor hide others. Without it the token is an offset.
    ids: the parameter that cannot be used together with MaxResults or NextToken: a name, "*" for any list of ids, or
    None.

    Raises Ec2Error InvalidParameterValue (MaxResults), InvalidParameterCombination (ids with paging), and
    InvalidParameterValue for a token that was not given out for this action.
    """
    params = request.params
    size, token = params.get("MaxResults"), params.get("NextToken")
    if size is not None or token:
        _refuse_ids(params, ids)
    if size is not None and size < minimum:
        raise Ec2Error(
            "InvalidParameterValue",
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value greater than {minimum}.",
        )
    if size is not None and strict and size > maximum:
        raise Ec2Error(
            "InvalidParameterValue",
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value not greater than {maximum}.",
        )
    start = token_place(request, token) if token else None
    limit = min(size, maximum) if size is not None else default if default is not None else (maximum if token else None)
    listed = rows if isinstance(rows, (list, tuple)) else list(rows)
    if limit is None:
        return listed, None
    begin = 0
    if start is not None:
        if key is None:
            begin = start if isinstance(start, int) else 0
        else:
            place = tuple(start) if isinstance(start, list) else start
            begin = bisect_right(listed, place, key=key)
    page = listed[begin : begin + limit]
    if begin + limit >= len(listed):
        return page, None
    return page, _make_token(request, key(page[-1]) if key else begin + limit)


def _refuse_ids(params: dict[str, Any], ids: str | None) -> None:
    if ids is None:
        return
    for name in [ids] if ids != "*" else [name for name in params if name.endswith("Ids")]:
        if ids == "*" and name in ("OwnerIds", "RestorableByUserIds"):
            continue
        if params.get(name):
            listed = _LIST_NAMES.get(name, name[0].lower() + name[1:] + "Set")
            other = "maxResults" if params.get("MaxResults") is not None else "nextToken"
            raise Ec2Error(
                "InvalidParameterCombination", f"The parameter {listed} cannot be used with the parameter {other}"
            )


def _seal(text: str) -> str:
    return hashlib.sha256(f"sandbox page {text}".encode()).hexdigest()[:12]


def _make_token(request: Request, place: Any) -> str:
    text = json.dumps([request.action, request.region, place], separators=(",", ":"))
    return base64.urlsafe_b64encode(f"{_seal(text)}{text}".encode()).decode("ascii")


def token_place(request: Request, token: str) -> Any:
    """The place that a token names: the key of the last row of the page before, or an offset.

    This is for handlers that continue after that place, instead of finding all rows for each page. Tuples come as
    lists. Raises Ec2Error InvalidParameterValue for a token that was not given out for this action and region.
    """
    try:
        sealed = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("utf-8")
        text = sealed[12:]
        if _seal(text) == sealed[:12]:
            action, region, place = json.loads(text)
            if (action, region) == (request.action, request.region):
                return place
    except (ValueError, UnicodeError, binascii.Error):
        pass
    raise Ec2Error("InvalidParameterValue", f"Value ( {token} ) for parameter nextToken is invalid. Invalid token.")
