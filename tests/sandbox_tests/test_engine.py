# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a call through the sandbox: caller, known actions, DryRun, client tokens, moto, the log, HTTP."""

from __future__ import annotations

import http.client
import socket
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from sandbox import engine
from sandbox.engine import HANDLERS, Registered, Request, World, action
from sandbox.errors import Ec2Error
from sandbox.tokens import with_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.client import Sandbox

#: An EC2 action without another handler in the sandbox, for the handlers of the tests.
NAME = "CreatePlacementGroup"


def refusal(call: Callable[[], Any]) -> tuple[str, str, int]:
    """Code, message and HTTP status of the error that a boto3 call ends with."""
    with pytest.raises(ClientError) as refused:
        call()
    answer = refused.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Request]]:
    """Register a handler for NAME, and return the list of the requests that took effect."""

    def register(handler: Callable[[Request], dict[str, Any] | None] | None = None, gate: bool | None = None) -> Any:
        seen: list[Request] = []

        def effect(request: Request) -> dict[str, Any] | None:
            answer = handler(request) if handler else None
            seen.append(request)
            return answer

        monkeypatch.setitem(HANDLERS, NAME, Registered(effect, bool(gate)))
        return seen

    return register


def test_access_key_of_twelve_digits_is_the_account(sandbox: Sandbox, handle: Any) -> None:
    seen = handle()
    sandbox.client("ec2", "eu-west-3", account="111122223333").create_placement_group(GroupName="g")
    sandbox.client("ec2", "us-east-2").create_placement_group(GroupName="h")
    assert [(one.account, one.region, one.params) for one in seen] == [
        ("111122223333", "eu-west-3", {"GroupName": "g"}),
        ("123456789012", "us-east-2", {"GroupName": "h"}),
    ]


def test_an_assumed_role_acts_in_its_own_account(sandbox: Sandbox, handle: Any) -> None:
    import boto3

    seen = handle()
    keys = sandbox.client("sts").assume_role(RoleArn="arn:aws:iam::444455556666:role/backup", RoleSessionName="test")[
        "Credentials"
    ]
    session = boto3.Session(
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        region_name="us-east-1",
    )
    session.client("ec2", endpoint_url=sandbox.url).create_placement_group(GroupName="g")
    assert session.client("sts", endpoint_url=sandbox.url).get_caller_identity()["Account"] == "444455556666"
    assert [one.account for one in seen] == ["444455556666"]


def test_call_with_missing_or_rejected_credentials_is_refused(sandbox: Sandbox, handle: Any) -> None:
    seen = handle()
    sandbox.configure(rejected_keys=["testing"])
    assert refusal(lambda: sandbox.client().create_placement_group(GroupName="g")) == (
        "AuthFailure",
        "AWS was not able to validate the provided access credentials",
        401,
    )
    assert refusal(sandbox.client("sts").get_caller_identity)[0] == "InvalidClientTokenId"
    status, _between, body = raw(sandbox, "POST", "/", b"Action=CreatePlacementGroup&Version=2016-11-15")
    assert (status, b"<Code>AuthFailure</Code>" in body) == (401, True)
    assert seen == []


def raw(
    sandbox: Sandbox, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """One call without an AWS client: status, all headers in their order, body."""
    address = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def signed(service: str, region: str = "us-east-1", **more: str) -> dict[str, str]:
    """Headers as a client signs them, as far as the sandbox looks at them."""
    scope = f"AWS4-HMAC-SHA256 Credential=testing/20261123/{region}/{service}/aws4_request, Signature=0"
    return {"Authorization": scope, "Content-Type": "application/x-www-form-urlencoded", **more}


FORMS = {
    "ec2": (signed("ec2"), b"Action=CreatePlacementGroup&Version=2016-11-15&GroupName=g"),
    "ec2 of moto": (signed("ec2"), b"Action=DescribeVpcs&Version=2016-11-15"),
    "ec2 error": (signed("ec2"), b"Action=Nothing&Version=2016-11-15"),
    "sts": (signed("sts"), b"Action=GetCallerIdentity&Version=2011-06-15"),
    "ssm": (
        signed("ssm", **{"X-Amz-Target": "AmazonSSM.DescribeParameters", "Content-Type": "application/x-amz-json-1.1"}),
        b"{}",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_answer_has_one_date_of_the_sandbox_clock(sandbox: Sandbox, world: World, handle: Any, form: str) -> None:
    handle()
    world.clock.move(40 * 86400)
    headers, body = FORMS[form]
    before = world.clock.now().replace(microsecond=0)
    status, answered, _rest = raw(sandbox, "POST", "/", body, headers)
    dates = [value for name, value in answered if name.lower() == "date"]
    assert len(dates) == 1
    assert before <= parsedate_to_datetime(dates[0]) <= world.clock.now()
    assert len([name for name, _value in answered if name.lower() == "x-amzn-requestid"]) == 1
    assert (status == 200) == (form != "ec2 error")


def test_moto_answers_with_the_sandbox_time(sandbox: Sandbox, world: World) -> None:
    world.clock.move(10 * 86400)
    key = sandbox.client().create_launch_template(
        LaunchTemplateName="t", LaunchTemplateData={"InstanceType": "t3.micro"}
    )["LaunchTemplate"]
    assert abs(key["CreateTime"] - world.clock.now()) < timedelta(minutes=1)


def test_dry_run_never_reaches_a_handler_without_a_gate(sandbox: Sandbox, handle: Any) -> None:
    seen = handle()
    code, message, status = refusal(lambda: sandbox.client().create_placement_group(GroupName="g", DryRun=True))
    assert (code, status) == ("DryRunOperation", 412)
    assert message == "Request would have succeeded, but DryRun flag is set."
    assert seen == []


def test_dry_run_stops_a_handler_at_its_gate(sandbox: Sandbox, handle: Any) -> None:
    def handler(request: Request) -> None:
        if request.params["GroupName"] == "bad":
            raise Ec2Error("InvalidParameterValue", "bad name")
        request.dry_run_gate()

    seen = handle(handler, gate=True)
    ec2 = sandbox.client()
    assert refusal(lambda: ec2.create_placement_group(GroupName="bad", DryRun=True))[0] == "InvalidParameterValue"
    assert refusal(lambda: ec2.create_placement_group(GroupName="g", DryRun=True))[::2] == ("DryRunOperation", 412)
    assert seen == []
    ec2.create_placement_group(GroupName="g", DryRun=False)
    assert len(seen) == 1


def test_a_gate_is_found_in_the_handlers_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HANDLERS, NAME, Registered(lambda request: None, False))

    @action(NAME)
    def gated(request: Request) -> None:
        request.dry_run_gate()

    assert HANDLERS[NAME].gate is True

    @action(NAME)
    def plain(request: Request) -> None:
        return None

    assert HANDLERS[NAME].gate is False
    with pytest.raises(ValueError, match="no action MakeCoffee"):
        action("MakeCoffee")(plain)


def test_dry_run_has_no_effect_in_moto_either(sandbox: Sandbox) -> None:
    ec2 = sandbox.client()
    assert refusal(lambda: ec2.create_key_pair(KeyName="k", DryRun=True))[::2] == ("DryRunOperation", 412)
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_refused_action_is_unauthorized(sandbox: Sandbox, handle: Any) -> None:
    seen = handle()
    sandbox.refuse("CreatePlacementGroup", "ssm:Put*")
    code, message, status = refusal(lambda: sandbox.client().create_placement_group(GroupName="g", DryRun=True))
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert "is not authorized to perform: ec2:CreatePlacementGroup" in message
    ssm = sandbox.client("ssm")
    assert refusal(lambda: ssm.put_parameter(Name="/a", Value="b", Type="String"))[0] == "AccessDenied"
    assert ssm.describe_parameters()["Parameters"] == []
    sandbox.refuse()
    sandbox.client().create_placement_group(GroupName="g")
    assert len(seen) == 1


def test_a_tagged_create_needs_create_tags(sandbox: Sandbox, handle: Any) -> None:
    seen = handle()
    sandbox.refuse("ec2:CreateTags")
    tags = [{"ResourceType": "placement-group", "Tags": [{"Key": "a", "Value": "b"}]}]
    ec2 = sandbox.client()
    code, message, _rest = refusal(lambda: ec2.create_placement_group(GroupName="g", TagSpecifications=tags))
    assert (code, "ec2:CreateTags" in message) == ("UnauthorizedOperation", True)
    ec2.create_placement_group(GroupName="g")
    assert len(seen) == 1


def test_unknown_action_is_invalid_action(sandbox: Sandbox) -> None:
    ec2 = sandbox.client()
    assert refusal(lambda: ec2.describe_local_gateways(MaxResults=5))[::2] == ("InvalidAction", 400)
    assert refusal(lambda: ec2.describe_vpcs(Filters=[{"Name": "colour", "Values": ["red"]}])) == (
        "InvalidParameterValue",
        "The filter 'colour' is invalid",
        400,
    )


def test_a_handler_asks_moto_in_its_own_account_and_region(sandbox: Sandbox, world: World, handle: Any) -> None:
    found: list[Any] = []

    def handler(request: Request) -> None:
        vpc = request.moto("CreateVpc", {"CidrBlock": "10.9.0.0/16"})["Vpc"]
        found.append((vpc["VpcId"], vpc["CidrBlock"]))
        try:
            request.moto("DescribeVpcs", {"VpcIds": ["vpc-00000000"]})
        except Ec2Error as error:
            found.append((error.code, error.status))

    handle(handler)
    here = sandbox.client("ec2", "eu-west-1", account="111122223333")
    here.create_placement_group(GroupName="g")
    vpc_id = found[0][0]
    assert found[1] == ("InvalidVpcID.NotFound", 400)
    assert vpc_id in [vpc["VpcId"] for vpc in here.describe_vpcs()["Vpcs"]]
    for other in (sandbox.client("ec2", "eu-west-1"), sandbox.client("ec2", "eu-west-2", account="111122223333")):
        assert vpc_id not in [vpc["VpcId"] for vpc in other.describe_vpcs()["Vpcs"]]


def test_a_defect_in_a_handler_is_an_internal_error_with_a_trace_in_the_log(
    sandbox: Sandbox, handle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(request: Request) -> dict[str, Any]:
        return {"Colour": "red"}

    handle(handler)
    code, message, status = refusal(lambda: sandbox.client().create_placement_group(GroupName="g"))
    assert (code, status) == ("InternalError", 500)
    assert "has no member Colour" in message
    assert "has no member Colour" in sandbox.log()[-1]["trace"]
    assert "has no member Colour" in capsys.readouterr().err


def test_log_has_each_request_and_its_outcome(sandbox: Sandbox, handle: Any) -> None:
    handle()
    ec2 = sandbox.client("ec2", "eu-west-1", user_agent_extra="mine")
    ec2.create_placement_group(GroupName="g", SpreadLevel="rack")
    refusal(lambda: ec2.create_placement_group(GroupName="g", DryRun=True))
    sandbox.client("sts").get_caller_identity()
    first, second, third = sandbox.log()
    assert (first["action"], first["region"], first["account"]) == (NAME, "eu-west-1", "123456789012")
    assert first["params"] == {"GroupName": "g", "SpreadLevel": "rack"}
    assert (first["outcome"], first["status"], first["done"]) == ("ok", 200, True)
    assert "mine" in first["user_agent"]
    assert 0 <= first["duration"] < 5
    assert (second["outcome"], second["status"], second["done"]) == ("DryRunOperation", 412, False)
    assert (third["action"], third["outcome"]) == ("sts:GetCallerIdentity", "ok")
    assert sandbox.counts() == {NAME: 2, "sts:GetCallerIdentity": 1}
    assert sandbox.log(after=first["sequence"], action=NAME) == [second]
    sandbox.reset_log()
    assert (sandbox.log(), sandbox.counts()) == ([], {})
    ec2.create_placement_group(GroupName="g")
    assert sandbox.log()[0]["sequence"] == third["sequence"] + 1


def test_the_log_is_bounded(world: World) -> None:
    from sandbox.log import Log

    log = Log(kept=10)
    for number in range(25):
        log.open("A", "r", "a", {"n": number}, at=world.clock.now(), user_agent="")
    assert [entry["params"]["n"] for entry in log.entries()] == list(range(15, 25))
    assert log.counts() == {"A": 25}


# --- client tokens ---


@pytest.fixture
def makes(handle: Any) -> dict[str, Any]:
    """A handler with client tokens over things that can be deleted: `alive` by id."""
    kept: dict[str, Any] = {"alive": {}}

    def handler(request: Request) -> dict[str, Any]:
        # CreatePlacementGroup has no token of its own in the model: the name carries it.
        request.params["GroupName"], _between, token = request.params["GroupName"].partition("/")
        request.params["ClientToken"] = token

        def make() -> tuple[str, dict[str, Any]]:
            group_id = request.world.new_id("pg")
            kept["alive"][group_id] = "pending"
            return group_id, {"PlacementGroup": {"GroupId": group_id, "State": "pending"}}

        def again(group_id: str) -> dict[str, Any] | None:
            state = kept["alive"].get(group_id)
            return {"PlacementGroup": {"GroupId": group_id, "State": state}} if state else None

        return with_token(request, make, again)

    handle(handler)
    return kept


def test_token_makes_one_resource_and_a_replay_shows_its_present_state(sandbox: Sandbox, makes: Any) -> None:
    def make(name: str, region: str = "us-east-1", **more: Any) -> Any:
        return sandbox.client("ec2", region).create_placement_group(GroupName=name, **more)["PlacementGroup"]

    first = make("g/token")
    makes["alive"][first["GroupId"]] = "available"
    assert make("g/token") == {"GroupId": first["GroupId"], "State": "available"}
    assert make("g/other")["GroupId"] != first["GroupId"]
    assert make("g/token", region="us-west-2")["GroupId"] != first["GroupId"]
    assert make("g/")["GroupId"] != make("g/")["GroupId"]
    assert refusal(lambda: make("h/token"))[0] == "IdempotentParameterMismatch"
    # An explicit default counts as another parameter.
    assert refusal(lambda: make("g/token", PartitionCount=1))[0] == "IdempotentParameterMismatch"
    del makes["alive"][first["GroupId"]]
    code, message, _rest = refusal(lambda: make("g/token"))
    assert (code, "already deleted" in message) == ("IdempotentParameterMismatch", True)


@pytest.mark.parametrize("token", ["x" * 65, "tökén"])
def test_a_token_is_at_most_64_ascii_characters(sandbox: Sandbox, makes: Any, token: str) -> None:
    ec2 = sandbox.client()
    assert refusal(lambda: ec2.create_placement_group(GroupName=f"g/{token}"))[0] == "InvalidParameterValue"
    assert makes["alive"] == {}


# --- visibility, reset, ids ---


def test_new_resource_is_not_visible_for_a_while(world: World) -> None:
    class Thing:
        kind = "snapshot"
        created = world.clock.now()

    def seen(kind: str | None = None) -> bool:
        return Request("A", {}, "1" * 12, "us-east-1", world.clock.now(), world).visible(Thing, kind)

    assert seen()
    world.config.update({"visibility_delay": {"snapshot": 30}})
    assert not seen()
    assert seen("volume")
    world.config.update({"visibility_delay": {"*": 30}})
    assert not seen("volume")
    world.clock.move(31)
    assert seen()
    assert seen("volume")


def test_reset_removes_everything_and_the_same_seed_gives_the_same_ids(sandbox: Sandbox, world: World) -> None:
    def fill() -> tuple[str, str]:
        vpc = sandbox.client().create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
        world.region("123456789012", "us-east-1")
        return vpc, world.new_id("vol")

    first = fill()
    sandbox.add_fault("*", kind="error")
    sandbox.reset()
    assert sandbox.log() == []
    assert sandbox.state()["regions"] == []
    assert sandbox.faults() == {"rules": [], "paused": []}
    assert first[0] not in [vpc["VpcId"] for vpc in sandbox.client().describe_vpcs()["Vpcs"]]
    sandbox.reset()
    assert fill() == first
    assert len(first[1]) == len("vol-") + 17


def test_a_duration_must_be_declared(world: World) -> None:
    with pytest.raises(KeyError, match="no duration is called coffee_break"):
        world.config.duration("coffee_break")
    engine.declare_durations(coffee_break=5)
    try:
        assert world.config.duration("coffee_break") == 5
        world.config.update({"durations": {"coffee_break": 7}})
        assert world.config.duration("coffee_break") == 7
    finally:
        del engine._DECLARED["coffee_break"]


# --- HTTP ---


def test_one_connection_carries_many_calls(sandbox: Sandbox, handle: Any) -> None:
    handle()
    address = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    headers, body = FORMS["ec2"]
    sockets = set()
    for _turn in range(3):
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
        sockets.add(connection.sock)
    connection.close()
    assert len(sockets) == 1
    assert None not in sockets


def test_chunked_bodies_and_continue_are_read(sandbox: Sandbox, handle: Any) -> None:
    seen = handle()
    headers, body = FORMS["ec2"]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(
            f"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
            f"Connection: close\r\n{lines}\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        half = len(body) // 2
        for part in (body[:half], body[half:]):
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [one.params for one in seen] == [{"GroupName": "g"}]


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"POST / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_invalid_http_is_answered_400_and_the_server_lives_on(sandbox: Sandbox, sent: bytes) -> None:
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        first = b""
        try:
            first = connection.recv(100)
        except ConnectionResetError:
            # The kernel answers unread data with a reset, which may overtake the answer.
            first = b"HTTP/1.1 400"
    assert first.startswith(b"HTTP/1.1 400")
    assert sandbox.state()["paused"] == []
