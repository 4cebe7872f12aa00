# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's server application in this process, which answers every call without a handler of the sandbox."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlencode

from botocore.parsers import EC2QueryParser
from botocore.serialize import EC2Serializer

from . import wire
from .errors import Ec2Error

if TYPE_CHECKING:
    from .clock import Clock
    from .engine import Call, Reply, Request

# Read by moto when it is first used: no bulk of preloaded AMIs and their snapshots.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
os.environ.pop("MOTO_ACCOUNT_ID", None)

#: Headers that the HTTP server sets itself, or that are not passed on.
_OWN_HEADERS = frozenset({"date", "server", "content-length", "connection", "x-amzn-requestid", "transfer-encoding"})

_BY_ID = frozenset({"DisableKey", "EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"})
_KEY_ARN = re.compile(rb'"KeyId":\s*"arn:[^":]+:kms:[^":]+:[0-9]{12}:key/([^"]+)"')
_CODE = re.compile(rb"<Code>([^<]*)</Code>")


class MotoSide:
    """moto's application, asked over WSGI. Callers hold the world's lock: moto is not made for threads."""

    #: moto keeps its resources per process, so there is one time for them: the clock of the side made last.
    clock: ClassVar[Clock]

    def __init__(self, clock: Clock, seed: int | None = None) -> None:
        # Modules of moto take this function when they are imported, so it is replaced before they are.
        import moto.core.utils

        MotoSide.clock = clock
        moto.core.utils.utcnow = _utcnow
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._app = DomainDispatcherApplication(create_backend_app)
        # Instances by account and region, as moto has shown them since the last change of anything.
        self._shown: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        self._seed(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forget all of moto's resources."""
        from moto.moto_api._internal.models import moto_api_backend

        moto_api_backend.reset()
        self._shown.clear()
        self._seed(seed)

    @staticmethod
    def _seed(seed: int | None) -> None:
        if seed is not None:
            from moto.moto_api._internal import mock_random

            mock_random.seed(seed)

    @staticmethod
    @contextmanager
    def instance_id(chosen: str | None) -> Iterator[None]:
        """Inside, a launched instance gets the chosen id; None leaves the choice to moto."""
        from moto.ec2.models import instances

        own = instances.random_instance_id
        if chosen:
            instances.random_instance_id = lambda: chosen
        try:
            yield
        finally:
            instances.random_instance_id = own

    @staticmethod
    def account_of(access_key: str) -> str:
        """The account that an access key of moto's IAM or STS belongs to; the default one for a key that moto lacks."""
        from moto.iam.models import get_account_id_from

        return str(get_account_id_from(access_key))

    def warm_up(self) -> None:
        """Import the modules that the first EC2 call needs, so that no test pays for them."""
        self.call("DescribeRegions", {}, account="123456789012", region="us-east-1")

    # --- EC2 ---

    def call(self, action: str, params: Mapping[str, Any], *, account: str, region: str) -> dict[str, Any]:
        """An EC2 call with boto3-shaped parameters and answer.

        UserData is base64 text, as it travels on the wire. Raises Ec2Error with moto's code, or InvalidAction for an
        action that moto lacks.
        """
        model = wire.operation_model(action)
        if model is None:
            raise Ec2Error("InvalidAction", f"The action {action} is not valid for this web service.")
        serialized = EC2Serializer().serialize_to_request(dict(params), model)
        form = serialized["body"]
        body = urlencode(form).encode("utf-8") if isinstance(form, Mapping) else form
        status, headers, answer = self._ask_ec2(action, body, account, region)
        parsed: dict[str, Any] = _parser().parse(
            {"body": answer, "headers": headers, "status_code": status}, model.output_shape
        )
        parsed.pop("ResponseMetadata", None)
        return parsed

    def instances(self, instance_ids: Iterable[str], *, account: str, region: str) -> dict[str, dict[str, Any]]:
        """moto's rows of these instances by id. Moto takes long for each, so it is asked once after a change."""
        shown = self._shown.setdefault((account, region), {})
        missing = [instance_id for instance_id in instance_ids if instance_id not in shown]
        if missing:
            answer = self.call("DescribeInstances", {"InstanceIds": missing}, account=account, region=region)
            shown |= {row["InstanceId"]: row for one in answer["Reservations"] for row in one["Instances"]}
        return shown

    def forward_ec2(self, request: Request, call: Call, request_id: str) -> Reply:
        """Pass a client's EC2 call on unchanged.

        Raises Ec2Error for moto's errors, so that all errors look the same.
        """
        from .engine import Reply

        body = call.body if not call.query else b"&".join(filter(None, (call.body, call.query.encode("latin-1"))))
        _status, _headers, answer = self._ask_ec2(request.action, body, request.account, request.region)
        return Reply(200, answer, [("Content-Type", "text/xml;charset=UTF-8")])

    def _ask_ec2(self, action: str, body: bytes, account: str, region: str) -> tuple[int, dict[str, str], bytes]:
        if not action.startswith(("Describe", "Get")):
            self._shown.clear()
        headers = {
            "host": f"ec2.{region}.amazonaws.com",
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "authorization": f"AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/ec2/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        try:
            status, answered, answer = self._wsgi("POST", "/", "", headers, body, account)
        except NotImplementedError as error:
            raise _not_implemented(action, error) from None
        if status < 400:
            return status, dict(answered), answer
        if not _CODE.search(answer):
            raise RuntimeError(f"moto answers {status} to {action}: {_page_text(answer)[-300:]}")
        refusal = _parser().parse({"body": answer, "headers": {}, "status_code": status}, None)["Error"]
        # Some of moto's texts show Python's set of one id, and some are missing.
        text = re.sub(r"\{('[^']*')\}", r"\1", str(refusal.get("Message") or "")).replace("''", "'")
        raise Ec2Error(str(refusal["Code"]), text or f"{refusal['Code']} in {action}", status)

    # --- every other service ---

    def forward(self, call: Call, account: str) -> Reply:
        """Pass a client's call to any service on, and moto's answer back without its Date.

        Raises Ec2Error InvalidAction for an action that moto lacks.
        """
        from .engine import Reply

        self._shown.clear()
        try:
            status, headers, body = self._wsgi(
                call.method, call.path, call.query, call.headers, _key_by_id(call), account
            )
        except NotImplementedError as error:
            raise Ec2Error("InvalidAction", f"This sandbox does not have the operation: {error}") from None
        kept = [(name, value) for name, value in headers if name.lower() not in _OWN_HEADERS]
        code = ""
        if status >= 400:
            found = _CODE.search(body) or re.search(rb'"__type":\s*"(?:[^"#]*#)?([^"]*)"', body)
            code = found.group(1).decode("utf-8", "replace") if found else ""
        return Reply(status, body, kept, code)

    def _wsgi(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, account: str
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "RAW_URI": path,
            "REQUEST_URI": path + (f"?{query}" if query else ""),
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "HTTP_X_MOTO_ACCOUNT_ID": account,
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            if key == "CONTENT_TYPE":
                environ[key] = value
            elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING", "X_MOTO_ACCOUNT_ID"):
                environ[f"HTTP_{key}"] = value
        answered: list[Any] = []

        def start_response(status: str, answer_headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            answered[:] = [int(status.split(" ", 1)[0]), answer_headers]
            return lambda data: None

        chunks = self._app(environ, start_response)
        try:
            answer = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return answered[0], answered[1], answer


def _key_by_id(call: Call) -> bytes:
    """The call's body. KMS takes a key's ARN everywhere; moto takes only its id to enable, disable or delete it."""
    if call.headers.get("x-amz-target", "").rpartition(".")[2] not in _BY_ID:
        return call.body
    return _KEY_ARN.sub(rb'"KeyId": "\1"', call.body)


def _not_implemented(action: str, error: NotImplementedError) -> Ec2Error:
    """A feature that moto lacks: a filter (it knows fewer than EC2, and refuses all others in the same way), or an
    action.
    """
    found = re.match(r"The filter '([^']*)' for", str(error))
    if found:
        return Ec2Error("InvalidParameterValue", f"The filter '{found.group(1)}' is invalid")
    return Ec2Error("InvalidAction", f"The action {action} is not valid for this web service.")


def _utcnow() -> datetime:
    """Return the time for moto: the sandbox's clock.

    For STS it is at least the real time. Clients compare the expiration of credentials with their own clock, and a
    sandbox may have begun in the past.
    """
    now = MotoSide.clock.now().replace(tzinfo=None)
    caller = sys._getframe(1).f_globals["__name__"]
    return max(now, datetime.now(UTC).replace(tzinfo=None)) if caller == "moto.sts.models" else now


@cache
def _parser() -> Any:
    """Return botocore's parser. It takes None for the shape of an answer, which its stubs deny."""
    return EC2QueryParser()


def _page_text(page: bytes) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.decode("utf-8", "replace")).split())
