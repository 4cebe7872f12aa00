# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway: pages, repeated calls, EC2's time, pacing, waits; on scripted clients and on the sandbox."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.errors import THROTTLING, call_error
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.gateway import Ec2Gateway, module_clients, read_time
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.pacing import JITTER, RATES, Pacer, Rate, rate_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    CALLER_IDENTITY,
    ENCRYPTION_BY_DEFAULT,
    ENCRYPTION_QUERY,
    KMS_KEY,
    STATUS_CHECKS,
    UNKNOWN_KEY,
    UNUSABLE_KEY,
    CallerIdentity,
    Key,
    StatusChecks,
    account_query,
    key_query,
    status_queries,
    usable_key,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import TOKEN_SPENT, CallError, WaitError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Instance, Snapshot, Volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, by_id
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    MODIFICATION,
    Modification,
    Performance,
    modification_queries,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import specification
from botocore import exceptions as botocore
from botocore.utils import parse_timestamp

from sandbox.client import Sandbox
from watching import Clock, wait_for, wait_on
from worlds import sandbox_gateway

DATE = "Mon, 23 Nov 2026 12:00:00 GMT"
INSTANCE = "i-00000000000000001"
ONE = by_id("DescribeInstances", "instance-id", [INSTANCE])


def answer(date: str | None = DATE, **fields: Any) -> dict[str, Any]:
    headers = {} if date is None else {"date": date}
    return {**fields, "ResponseMetadata": {"RequestId": "1", "HTTPHeaders": headers, "HTTPStatusCode": 200}}


def refusal(code: str, message: str = "no", status: int = 400) -> botocore.ClientError:
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"date": DATE}},
    }
    return botocore.ClientError(response, "Operation")


def instances(*ids: str, **fields: Any) -> dict[str, Any]:
    return {
        "Reservations": [{"Instances": [{"InstanceId": one, "State": {"Name": "running"}, **fields} for one in ids]}]
    }


class Client:
    """A boto3 client whose methods answer from a script, the last entry for ever."""

    def __init__(self, **script: list[Any]) -> None:
        self.script = script
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.meta = SimpleNamespace(endpoint_url="https://ec2.us-east-1.amazonaws.com")
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.script:
            raise AttributeError(name)

        def call(**request: Any) -> Any:
            with self._lock:
                self.asked.append((name, request))
                given = self.script[name].pop(0) if len(self.script[name]) > 1 else self.script[name][0]
            if isinstance(given, Exception):
                raise given
            return given(request) if callable(given) else given

        return call


def gateway(clock: Clock | None = None, **script: list[Any]) -> tuple[Ec2Gateway, Client, Clock]:
    clock = clock or Clock()
    client = Client(**script)
    made = Ec2Gateway(
        lambda _service, _region: client, "us-east-1", monotonic=clock.monotonic, sleep=clock.sleep, jitter=lambda: 1.0
    )
    return made, client, clock


def change(action: str, resource: str, **parameters: Any) -> Change:
    after = {"volume_id": parameters["VolumeId"]} if "VolumeId" in parameters else {}
    return Change(action, resource, "us-east-1", parameters, "a test", after=after, token=("t",))


SNAPSHOT = change("CreateSnapshot", "(new snapshot a)", VolumeId="vol-00000001")
DELETE = change("DeleteSnapshot", "snap-00000001")
LAUNCH = change("RunInstances", "(new instance a)", ImageId="ami-00000001")


# --- rehearsals ---


def test_dry_run_that_would_succeed_is_no_error() -> None:
    made, client, _clock = gateway(run_instances=[refusal("DryRunOperation", "would have succeeded", 412)])
    made.rehearse(LAUNCH)
    ((name, request),) = client.asked
    assert (name, request["DryRun"], request["ImageId"]) == ("run_instances", True, "ami-00000001")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (refusal("UnauthorizedOperation", "not allowed", 403), "UnauthorizedOperation: not allowed"),
        (answer(Instances=[{"InstanceId": INSTANCE}]), "the endpoint ignored DryRun"),
    ],
    ids=["refused", "ignored"],
)
def test_dry_run_that_is_refused_or_ignored_is_an_error(said: Any, words: str) -> None:
    made, client, _clock = gateway(run_instances=[said])
    with pytest.raises(CallError, match=words):
        made.rehearse(LAUNCH)
    assert len(client.asked) == 1


# --- reads ---


def test_pages_are_followed_and_bounded() -> None:
    def page(request: dict[str, Any]) -> dict[str, Any]:
        last = request.get("NextToken") == "two"
        return answer(**instances("i-00000002" if last else "i-00000001"), **({} if last else {"NextToken": "two"}))

    made, client, _clock = gateway(describe_instances=[page])
    assert [one.resource_id for one in made.ask(ONE)[ONE[0]]] == ["i-00000001", "i-00000002"]
    asked = {"Filters": [{"Name": "instance-id", "Values": [INSTANCE]}], "MaxResults": 1000}
    assert client.asked == [("describe_instances", asked), ("describe_instances", {**asked, "NextToken": "two"})]
    assert made.calls == {"DescribeInstances": 2}


def test_an_empty_page_with_a_token_is_not_the_end() -> None:
    made, _client, _clock = gateway(
        describe_instances=[answer(Reservations=[], NextToken="x"), answer(**instances(INSTANCE))]
    )
    assert len(made.ask(ONE)[ONE[0]]) == 1


def test_several_questions_are_asked_in_parallel_with_one_client() -> None:
    meet = threading.Barrier(3, timeout=20)

    def together(_request: dict[str, Any]) -> dict[str, Any]:
        meet.wait()
        return answer()

    made, client, _clock = gateway(
        describe_instances=[together], describe_images=[together], describe_snapshots=[together]
    )
    queries = [Query(name) for name in ("DescribeInstances", "DescribeImages", "DescribeSnapshots")]
    assert made.ask(queries) == dict.fromkeys(queries, ())
    assert len(client.asked) == 3


def test_equal_questions_are_asked_once() -> None:
    made, client, _clock = gateway(describe_instances=[answer()])
    made.ask([*ONE, *ONE])
    assert len(client.asked) == 1


@pytest.mark.parametrize("code", sorted(THROTTLING))
def test_throttled_reads_are_repeated_for_a_minute(code: str) -> None:
    made, client, clock = gateway(describe_instances=[refusal(code, status=503)])
    with pytest.raises(CallError, match=code):
        made.ask(ONE)
    assert 45 < clock.time <= 61
    assert len(client.asked) < 40


def test_a_passing_fault_of_a_read_is_repeated() -> None:
    closed = botocore.ConnectionClosedError(endpoint_url="https://ec2")
    made, _client, _clock = gateway(
        describe_instances=[
            refusal("RequestLimitExceeded", status=503),
            closed,
            refusal("InternalError", status=500),
            answer(),
        ]
    )
    assert made.ask(ONE) == {ONE[0]: ()}
    assert made.calls == {"DescribeInstances": 4}


def test_page_of_a_proxy_is_no_empty_answer() -> None:
    """The page of a proxy or of a hotel's network: botocore finds nothing in it."""
    page = {"ResponseMetadata": {"HTTPHeaders": {"date": DATE}, "HTTPStatusCode": 200}}
    made, _client, _clock = gateway(describe_instances=[page], create_snapshot=[page])
    with pytest.raises(CallError, match=r"not EC2's.* Check endpoint_url") as caught:
        made.ask(ONE)
    assert caught.value.passing
    with pytest.raises(CallError) as caught:
        made.perform([SNAPSHOT])
    assert caught.value.unclear


def test_a_refused_read_is_not_repeated() -> None:
    made, client, clock = gateway(describe_instances=[refusal("InvalidParameterValue", "bad filter")])
    with pytest.raises(CallError, match="DescribeInstances failed: InvalidParameterValue: bad filter"):
        made.ask(ONE)
    assert len(client.asked) == 1
    assert clock.time == 0


def test_nothing_at_the_address_fails_within_seconds() -> None:
    made, client, clock = gateway(
        describe_instances=[botocore.EndpointConnectionError(endpoint_url="http://127.0.0.1:1")]
    )
    with pytest.raises(CallError, match="Check endpoint_url") as failed:
        made.ask(ONE)
    assert failed.value.code == "EndpointUnreachable"
    assert not failed.value.unclear
    assert clock.time <= 2
    assert len(client.asked) > 1


def test_a_silent_address_fails_after_one_timeout() -> None:
    clock = Clock()

    def silence(_request: dict[str, Any]) -> None:
        clock.sleep(20)
        raise botocore.ReadTimeoutError(endpoint_url="https://ec2")

    made, client, _clock = gateway(clock, describe_instances=[silence])
    with pytest.raises(CallError, match="NoAnswer"):
        made.ask(ONE)
    assert len(client.asked) == 1


def test_network_lost_after_an_answer_gets_half_a_minute() -> None:
    lost = botocore.EndpointConnectionError(endpoint_url="https://ec2")
    made, _client, clock = gateway(describe_instances=[answer(), lost])
    made.ask(ONE)
    with pytest.raises(CallError):
        made.ask(ONE)
    assert 20 < clock.time <= 30


@pytest.mark.parametrize(("code", "key"), [("NotFoundException", UNUSABLE_KEY), ("AccessDeniedException", UNKNOWN_KEY)])
def test_a_key_that_cannot_be_resolved_is_an_answer(code: str, key: Key) -> None:
    query = Query("DescribeKey", (), (("KeyId", "alias/db"),), "kms")
    made, _client, _clock = gateway(describe_key=[refusal(code), refusal("KMSInternalException")])
    assert made.ask([query]) == {query: (KMS_KEY.fact("alias/db", key),)}
    with pytest.raises(CallError, match="KMSInternalException"):
        made.ask([query])


def test_operation_that_botocore_lacks_is_named() -> None:
    made, _client, _clock = gateway()
    with pytest.raises(CallError, match="Install a newer boto3"):
        made.ask([Query("DescribeImageReferences", arguments=(("ImageIds", ("ami-00000001",)),))])


# --- writes ---


def test_a_create_without_token_is_called_once_when_the_answer_is_lost() -> None:
    for lost in (botocore.ReadTimeoutError(endpoint_url="x"), refusal("InternalError", status=500)):
        made, client, _clock = gateway(create_snapshot=[lost, answer(SnapshotId="snap-00000002")])
        with pytest.raises(CallError) as failed:
            made.perform([SNAPSHOT])
        assert failed.value.unclear
        assert len(client.asked) == 1


def test_a_create_that_was_never_sent_or_only_throttled_is_repeated() -> None:
    made, client, _clock = gateway(
        create_snapshot=[
            refusal("RequestLimitExceeded", status=503),
            botocore.EndpointConnectionError(endpoint_url="x"),
            answer(SnapshotId="snap-00000002"),
        ]
    )
    assert made.perform([SNAPSHOT]) == {"(new snapshot a)": "snap-00000002"}
    assert len(client.asked) == 3


def test_safe_call_is_repeated_and_a_second_delete_succeeds() -> None:
    made, client, _clock = gateway(
        delete_snapshot=[botocore.ConnectionClosedError(endpoint_url="x"), refusal("InvalidSnapshot.NotFound")]
    )
    assert made.perform([DELETE]) == {}
    assert len(client.asked) == 2


def test_the_launch_token_is_ours_and_changes_with_the_generation() -> None:
    made, client, _clock = gateway(
        run_instances=[answer(Instances=[{"InstanceId": INSTANCE, "State": {"Name": "pending"}}])]
    )
    for generation in (0, 0, 1):
        assert made.perform([LAUNCH], generation) == {"(new instance a)": INSTANCE}
    tokens = [request["ClientToken"] for _name, request in client.asked]
    assert tokens[0] == tokens[1] != tokens[2]
    assert all(len(token) == 64 for token in tokens)


def test_token_of_a_terminated_instance_is_reported() -> None:
    made, _client, _clock = gateway(
        run_instances=[answer(Instances=[{"InstanceId": INSTANCE, "State": {"Name": "terminated"}}])]
    )
    with pytest.raises(CallError) as failed:
        made.perform([LAUNCH])
    assert failed.value.code == TOKEN_SPENT


def test_refused_token_of_a_terminated_instance_is_reported() -> None:
    made, client, _clock = gateway(run_instances=[refusal("IdempotentInstanceTerminated")])
    with pytest.raises(CallError) as failed:
        made.perform([LAUNCH])
    assert (failed.value.code, failed.value.unclear) == ("IdempotentInstanceTerminated", False)
    assert len(client.asked) == 1


def test_token_of_another_volume_is_reported() -> None:
    tags = [{"Key": "ec2ops:spec", "Value": "web"}]
    create = change(
        "CreateVolume", "(new volume a)", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    volume = {"VolumeId": "vol-00000001", "State": "in-use"}
    made, _client, _clock = gateway(create_volume=[answer(**volume, Tags=tags), answer(**volume, Tags=[])])
    assert made.perform([create]) == {"(new volume a)": "vol-00000001"}
    with pytest.raises(CallError, match="vol-00000001, whose tags have changed since") as failed:
        made.perform([create])
    assert failed.value.code == TOKEN_SPENT


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("AttachVolume", "VolumeInUse"),
        ("DetachVolume", "IncorrectState"),
        ("DetachVolume", "InvalidAttachment.NotFound"),
        ("DeleteVolume", "InvalidVolume.NotFound"),
    ],
)
def test_declared_state_that_holds_is_no_error(action: str, code: str) -> None:
    method = action.replace("Volume", "_volume").lower()
    made, _client, _clock = gateway(**{method: [refusal(code), refusal("UnauthorizedOperation", status=403)]})
    wanted = Change(action, "vol-00000001", "us-east-1", {}, "a test")
    assert made.perform([wanted]) == {}
    with pytest.raises(CallError, match="UnauthorizedOperation"):
        made.perform([wanted])


@pytest.mark.parametrize(
    ("message", "hint", "text"),
    [
        ("too many tags", "Remove one.", "A failed: B: too many tags. Remove one."),
        ("Too many tags.", "Remove one.", "A failed: B: Too many tags. Remove one."),
        ("too many tags", "", "A failed: B: too many tags"),
        ("", "Remove one.", "A failed: B. Remove one."),
    ],
)
def test_message_and_remedy_are_two_sentences(message: str, hint: str, text: str) -> None:
    assert str(CallError("A", "B", message, hint=hint)) == text


def test_incomplete_set_is_an_error_that_names_the_missing_volume() -> None:
    wanted = Change("CreateSnapshots", "(new snapshot a)", "us-east-1", {}, "", source="vol-00000009")
    made, _client, _clock = gateway(create_snapshots=[answer(Snapshots=[])])
    with pytest.raises(CallError, match="vol-00000009"):
        made.perform([wanted])


# --- EC2's time ---


def test_now_is_the_first_date_plus_elapsed_time() -> None:
    made, _client, clock = gateway(describe_instances=[answer(), answer("Tue, 24 Nov 2026 00:00:00 GMT")])
    made.ask(ONE)
    clock.sleep(90)
    made.ask(ONE)
    assert made.now() == datetime(2026, 11, 23, 12, 1, 30, tzinfo=UTC)


def test_now_asks_when_nothing_was_asked_yet() -> None:
    made, client, _clock = gateway(describe_instances=[answer()])
    assert made.now() == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert len(client.asked) == 1


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_unreadable_date_is_reported(date: str | None) -> None:
    made, _client, _clock = gateway(describe_instances=[answer(date)])
    with pytest.raises(StorageError, match="no readable Date header"):
        made.now()


# --- errors ---


def told(error: Exception, operation: str = "RunInstances", **request: Any) -> CallError:
    return call_error(error, "ec2", operation, request, resource="(new instance a)", endpoint="https://ec2")


def test_a_refusal_has_code_message_resource_and_hint() -> None:
    error = told(refusal("InsufficientInstanceCapacity", "none left"))
    assert str(error).startswith("RunInstances of (new instance a) failed: InsufficientInstanceCapacity: none left. ")
    assert "Run the task again later" in str(error)
    assert not error.passing


def test_a_missing_permission_names_the_iam_action_without_the_cipher_text() -> None:
    text = "You are not authorized to perform this operation. Encoded authorization failure message: 4JrVbGVzc2FnZQ-_x"
    error = told(refusal("UnauthorizedOperation", text, 403), TagSpecifications=[], UserData="secret")
    assert "allow ec2:RunInstances, and ec2:CreateTags" in str(error)
    assert "4JrVb" not in str(error)
    assert error.message == text
    assert "secret" not in str(error)


def test_launch_without_capacity_says_that_the_image_exists() -> None:
    error = told(refusal("InsufficientInstanceCapacity", "No capacity.", 500))
    assert "The image exists, and the next run continues with the launch." in str(error)


def test_uefi_data_that_may_not_be_read_can_be_given() -> None:
    raised = refusal("UnauthorizedOperation", "You are not authorized.", 403)
    error = call_error(raised, "ec2", "GetInstanceUefiData", {}, resource="i-1")
    assert "ec2:GetInstanceUefiData, or give the UEFI variable store in uefi_data" in str(error)


def test_a_parameter_that_botocore_does_not_know_is_named_without_its_value() -> None:
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
    with pytest.raises(botocore.ParamValidationError) as raised:
        client.run_instances(MinCount="s3cret", MaxCount=1, UserData="s3cret", Novelty="hidden")
    error = told(raised.value)
    assert "Novelty" in str(error)
    assert "MinCount" in str(error)
    assert "s3cret" not in str(error)
    assert "hidden" not in str(error)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (botocore.NoCredentialsError(), "NoCredentials", "access_key"),
        (botocore.NoRegionError(), "NoRegion", "AWS_REGION"),
        (refusal("RequestExpired"), "RequestExpired", "Get new credentials"),
        (refusal("AuthFailure", status=401), "AuthFailure", "rejects these credentials"),
        (refusal("InvalidInstanceID.NotFound"), "InvalidInstanceID.NotFound", "region"),
        (refusal("InvalidSnapshot.NotFound"), "InvalidSnapshot.NotFound", "region"),
        (refusal("RequestLimitExceeded", status=503), "RequestLimitExceeded", "request rate"),
        (refusal("VolumeLimitExceeded"), "VolumeLimitExceeded", "Service Quotas"),
        (refusal("TagLimitExceeded"), "TagLimitExceeded", "First remove some tags"),
        (botocore.SSLError(endpoint_url="https://ec2", error="self-signed"), "Certificate", "aws_ca_bundle"),
        (botocore.ConnectTimeoutError(endpoint_url="https://ec2"), "EndpointUnreachable", "HTTPS_PROXY"),
    ],
)
def test_each_error_family_has_a_remedy(error: Exception, code: str, words: str) -> None:
    made = told(error)
    assert made.code == code
    assert words in str(made)


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-11-24T10:00:00Z", (10, 0, 0)),
        ("2026-11-24T10:00:00.25Z", (10, 0, 1)),
        ("2026-11-24T12:00:00+02:00", (10, 0, 0)),
        ("2026-11-24 10:00:00 UTC", (10, 0, 0)),
        ("2026-11-24 10:00", (10, 0, 0)),
        ("Tue, 24 Nov 2026 10:00:00 GMT", (10, 0, 0)),
        ("Tue Nov 24 10:00:00 UTC 2026", (10, 0, 0)),
        ("later", None),
    ],
)
def test_time_of_the_next_modification_is_read_from_the_refusal(time: str, moment: tuple[int, int, int] | None) -> None:
    expected = None if moment is None else datetime(2026, 11, 24, *moment, tzinfo=UTC)
    text = "You've reached the maximum modification rate per volume limit. Wait until"
    for message in (f"{text} {time} before you can issue the next modification request.", f"{text} {time}."):
        assert told(refusal("VolumeModificationRateExceeded", message)).not_before == expected
    assert told(refusal("Other", f"{text} {time}")).not_before is None


def test_an_older_refusal_of_a_modification_has_no_time() -> None:
    text = "Wait at least 6 hours between modifications per EBS volume."
    error = told(refusal("VolumeModificationRateExceeded", text), "ModifyVolume")
    assert error.not_before is None
    assert "four modifications of a volume within 24 hours" in str(error)


def test_foreign_exception_is_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        told(ZeroDivisionError())


# --- clients ---


@pytest.mark.parametrize("environment", [{}, {"AWS_MAX_ATTEMPTS": "7", "AWS_RETRY_MODE": "adaptive"}])
@pytest.mark.parametrize("config", [None, {"retries": {"max_attempts": 9, "mode": "legacy"}, "read_timeout": 77}])
def test_botocore_never_repeats_a_call(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], config: dict[str, Any] | None
) -> None:
    from ansible.module_utils.testing import patch_module_args
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Listener() as (url, accepted):
        args = {
            "region": "us-east-1",
            "endpoint_url": url,
            "access_key": "testing",
            "secret_key": "testing",
            "aws_config": config,
        }
        with patch_module_args({name: value for name, value in args.items() if value is not None}):
            client = module_clients(AnsibleAWSModule(argument_spec={}))("ec2", "us-east-1")
        with pytest.raises(botocore.BotoCoreError):
            client.create_snapshot(VolumeId="vol-00000001")
        assert len(accepted) == 1
    assert client.meta.config.read_timeout == (77 if config else 20)
    assert "ec2ops.storage" in client.meta.config.user_agent


def test_only_the_clients_of_the_module_read_times_quickly(sandbox: Sandbox) -> None:
    from ansible.module_utils.testing import patch_module_args
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

    sandbox.seed({"volumes": [{"name": "data"}], "snapshots": [{"volumes": ["data"], "times": [60.0]}]})
    args = {"region": "us-east-1", "endpoint_url": sandbox.url, "access_key": "testing", "secret_key": "testing"}
    with patch_module_args(args):
        client = module_clients(AnsibleAWSModule(argument_spec={}))("ec2", "us-east-1")
    usual = boto3.session.Session("testing", "testing").client("ec2", "us-east-1", endpoint_url=sandbox.url)
    quick, slow = (each.describe_snapshots(OwnerIds=["self"])["Snapshots"][0] for each in (client, usual))
    assert quick == slow
    assert quick["StartTime"].tzinfo is UTC
    assert slow["StartTime"].tzinfo is not UTC


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-23T12:00:00Z",
        "2026-11-23T12:00:00.000Z",
        "2026-11-23T12:00:00.123456Z",
        "2026-11-23T12:00:00+01:00",
        "20261123T120000Z",
        "Mon, 23 Nov 2026 12:00:00 GMT",
        "1795435200",
        1795435200,
        1795435200.5,
    ],
)
def test_every_form_of_a_time_is_read_as_by_botocore(value: Any) -> None:
    assert read_time(value) == parse_timestamp(value)
    assert read_time(value).utcoffset() == parse_timestamp(value).utcoffset()


@pytest.mark.parametrize("value", ["", "Z", "soon", "2026-13-40T12:00:00Z"])
def test_invalid_time_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        read_time(value)


class Listener:
    """A server that closes each connection when a request has come in; yields its URL and the connections so far."""

    def __enter__(self) -> tuple[str, list[Any]]:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[Any] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}", self._accepted

    def _serve(self) -> None:
        while True:
            try:
                connection, address = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                self._accepted.append(address)

    def __exit__(self, *_error: object) -> None:
        # accept() is woken by a last connection, then fails on the closed socket.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


# --- pacing ---


def paced(operation: str, count: int, clock: Clock, pacer: Pacer) -> float:
    began = clock.time
    for _turn in range(count):
        pacer.acquire(operation, "us-east-1")
    return clock.time - began


@pytest.mark.parametrize(
    ("operation", "burst", "per_second"),
    [
        ("DescribeSnapshots", 100, 20),
        ("DescribeInstanceStatus", 50, 10),
        ("GetInstanceUefiData", 100, 20),
        ("CreateSnapshot", 100, 5),
        ("DeleteSnapshot", 100, 5),
        ("RegisterImage", 50, 5),
        ("StopInstances", 50, 5),
        ("StartInstances", 5, 2),
        ("RunInstances", 5, 2),
        ("CopyImage", 100, 1),
        ("CreateTags", 100, 10),
        ("ListChangedBlocks", 50, 50),
        ("GetMetricData", 8, 4),
    ],
)
def test_calls_beyond_the_burst_are_sent_at_the_rate(operation: str, burst: int, per_second: float) -> None:
    clock = Clock()
    pacer = Pacer(clock.monotonic, clock.sleep)
    free = int(burst - JITTER * per_second)
    assert paced(operation, free, clock, pacer) == 0
    assert paced(operation, burst - free, clock, pacer) == pytest.approx(JITTER)
    assert paced(operation, 20, clock, pacer) == pytest.approx(20 / per_second, rel=0.01)
    assert rate_of(operation).burst == burst


@pytest.mark.parametrize(
    "operation", ["DeleteSnapshot", "DescribeSnapshots", "CreateTags", "RunInstances", "CopyImage"]
)
@pytest.mark.parametrize("slow", [1, 8])
def test_no_call_is_refused_when_the_first_ones_come_late(operation: str, slow: int) -> None:
    # A pause in which so many threads open their connections. EC2's bucket begins to fill again when the first call
    # arrives, not before.
    clock = Clock()
    pacer = Pacer(clock.monotonic, clock.sleep)
    arrivals = []
    for number in range(300):
        pacer.acquire(operation, "us-east-1")
        arrivals.append(clock.time + (JITTER if number < slow else 0.0))
        if number == slow - 1:
            clock.sleep(JITTER)
    rate = rate_of(operation)
    tokens, filled = rate.burst, min(arrivals)
    for arrived in sorted(arrivals):
        tokens = min(rate.burst, tokens + (arrived - filled) * rate.per_second)
        filled = arrived
        assert tokens >= 1 - 1e-6
        tokens -= 1


def test_bucket_hardly_larger_than_its_rate_lets_calls_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, "RunInstances", Rate(1, 5))
    clock = Clock()
    pacer = Pacer(clock.monotonic, clock.sleep)
    assert paced("RunInstances", 1, clock, pacer) == 0
    assert paced("RunInstances", 10, clock, pacer) == pytest.approx(2.0)


def test_buckets_are_by_operation_and_region_and_fill_again() -> None:
    clock = Clock()
    pacer = Pacer(clock.monotonic, clock.sleep)
    paced("RunInstances", 4, clock, pacer)
    pacer.acquire("RunInstances", "eu-west-1")
    pacer.acquire("StartInstances", "us-east-1")
    assert clock.time == 0
    clock.sleep(10)
    assert paced("RunInstances", 4, clock, pacer) == 0


def test_throttling_empties_the_bucket_and_halves_the_rate_for_a_while() -> None:
    clock = Clock()
    pacer = Pacer(clock.monotonic, clock.sleep)
    pacer.acquire("DeleteSnapshot", "us-east-1")
    for _turn in range(3):
        pacer.throttled("DeleteSnapshot", "us-east-1")
    slow = paced("DeleteSnapshot", 10, clock, pacer)
    assert slow == pytest.approx(4.0, rel=0.1)
    clock.sleep(120)
    paced("DeleteSnapshot", 100, clock, pacer)
    assert paced("DeleteSnapshot", 10, clock, pacer) == pytest.approx(2.0, rel=0.1)


def test_writes_beyond_the_bucket_are_sent_at_ec2s_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    made, client, clock = gateway(delete_snapshot=[answer()])
    for _turn in range(130):
        made.perform([DELETE])
    assert len(client.asked) == 130
    assert clock.time == pytest.approx(6.0 + JITTER, rel=0.05)


# --- waits ---


class Answers:
    """Answers polls from a list of states; the last one for ever."""

    def __init__(self, *states: str, kind: type[Any] = Snapshot) -> None:
        self.states = list(states)
        self.queries: list[tuple[Query, ...]] = []
        self._kind = kind

    def __call__(self, queries: Any, until: float) -> dict[Query, tuple[Any, ...]]:
        asked = tuple(queries)
        self.queries.append(asked)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "throttled":
            raise CallError("DescribeSnapshots", "RequestLimitExceeded", "slow down", passing=True)
        return {query: tuple(self._resources(query, state)) for query in asked}

    def _resources(self, query: Query, state: str) -> Iterator[Any]:
        if query.operation == "DescribeInstanceStatus":
            yield from (
                STATUS_CHECKS.fact(one, StatusChecks("ok", "ok")) for one in dict(query.arguments)["InstanceIds"]
            )
        elif state != "invisible":
            yield from (self._kind(one, state) for one in query.filters[0][1])


def waited(states: Answers, *waits: Wait, limit: float = 600) -> tuple[dict[str, Any], Clock]:
    clock = Clock()
    return wait_for(states, waits, limit, clock.monotonic, clock.sleep), clock


def test_the_first_poll_comes_early_and_the_pauses_grow_to_five_seconds() -> None:
    _seen, clock = waited(Answers(*["pending"] * 25, "completed"), Wait(("snap-00000001",), "completed"))
    assert 0.25 <= clock.slept[0] <= 0.5
    assert [round(each, 6) for each in clock.slept] == sorted(round(each, 6) for each in clock.slept)
    assert clock.slept[-1] == 5.0


def test_resources_are_polled_two_hundred_in_a_query() -> None:
    states = Answers("completed")
    waited(states, Wait(tuple(f"snap-{number:08x}" for number in range(401)), "completed"))
    assert [len(query.filters[0][1]) for query in states.queries[0]] == [200, 200, 1]
    assert len(states.queries) == 1


def test_waits_of_different_kinds_share_the_loop() -> None:
    states = Answers("stopped", kind=Instance)
    waited(states, Wait((INSTANCE,), "stopped"), Wait(("i-00000002",), "stopped", expect=(("state", "stopped"),)))
    assert len(states.queries) == 1
    assert len(states.queries[0]) == 1


def test_healthy_queries_the_status_of_running_instances_only() -> None:
    states = Answers("pending", "running", kind=Instance)
    waited(states, Wait((INSTANCE,), "healthy"))
    assert [query.operation for asked in states.queries for query in asked] == [
        "DescribeInstances",
        "DescribeInstances",
        "DescribeInstanceStatus",
    ]
    assert [
        len(dict(query.arguments)["InstanceIds"]) for query in status_queries(f"i-{n:08x}" for n in range(150))
    ] == [100, 50]


class Modifying:
    """A volume that is being modified to 20 GiB: the answer to each query, in order."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.asked: list[str] = []
        self.size = 8

    def __call__(self, queries: Any, until: float) -> dict[Query, tuple[Any, ...]]:
        (query,) = queries
        self.asked.append(query.operation)
        if query.operation == "DescribeVolumes":
            volume = Volume("vol-00000001", size=self.size)
            # EC2 goes on between two questions.
            self.size = 20 if self.states[:1] != ["modifying"] else 8
            return {query: (volume,)}
        state = self.states.pop(0)
        self.size = 8 if state == "modifying" else 20
        return {query: (modification(state),)}


def modification(state: str) -> Fact:
    return MODIFICATION.fact("vol-00000001", Modification(state, Performance(8), Performance(20), message="no"))


def test_modification_is_queried_before_its_volume() -> None:
    states = Modifying("modifying", "modifying", "optimizing")
    clock = Clock()
    wait = Wait(("vol-00000001",), "modified", expect=(("size", 20),))
    seen = wait_for(states, [wait], 60, clock.monotonic, clock.sleep)
    assert states.asked == ["DescribeVolumesModifications", "DescribeVolumes"] * 3
    assert seen["vol-00000001"] == Volume("vol-00000001", size=20)
    assert seen[MODIFICATION.id_of("vol-00000001")] == modification("optimizing")


def test_a_modification_that_failed_says_why() -> None:
    clock = Clock()
    with pytest.raises(WaitError, match=r"vol-00000001 should become modified but is failed \(no\)"):
        wait_for(Modifying("failed"), [Wait(("vol-00000001",), "modified")], 60, clock.monotonic, clock.sleep)


def test_invisible_new_resource_is_awaited() -> None:
    seen, _clock = waited(
        Answers("invisible", "invisible", "pending", "completed"), Wait(("snap-00000001",), "completed")
    )
    assert seen["snap-00000001"].state == "completed"


def test_visible_resource_may_vanish_for_a_moment() -> None:
    seen, _clock = waited(
        Answers("pending", "invisible", "invisible", "pending", "invisible", "completed"),
        Wait(("snap-00000001",), "completed"),
    )
    assert seen["snap-00000001"].state == "completed"


def test_vanished_resource_is_not_awaited() -> None:
    clock = Clock()
    with pytest.raises(WaitError, match="snap-00000001 should become completed but is gone") as failed:
        wait_for(
            Answers("pending", "pending", "invisible"),
            [Wait(("snap-00000001",), "completed")],
            600,
            clock.monotonic,
            clock.sleep,
        )
    assert failed.value.how == "failed"
    assert 15 < clock.time < 30


def test_expected_end_of_a_resource_is_no_failure() -> None:
    seen, _clock = waited(Answers("pending", "invisible", kind=Volume), Wait(("vol-00000001",), "deleted"))
    assert seen.keys() == {"vol-00000001"}


def test_throttling_is_not_success_and_not_the_end() -> None:
    seen, _clock = waited(
        Answers("throttled", "pending", "throttled", "completed"), Wait(("snap-00000001",), "completed")
    )
    assert seen["snap-00000001"].state == "completed"


def test_wait_without_any_answer_fails_with_its_cause() -> None:
    clock = Clock()
    with pytest.raises(CallError, match="slow down"):
        wait_for(Answers("throttled"), [Wait(("snap-00000001",), "completed")], 3600, clock.monotonic, clock.sleep)
    assert 115 < clock.time < 130


def test_failed_snapshot_ends_the_wait_for_the_others() -> None:
    states = Answers("error")
    with pytest.raises(WaitError) as failed:
        waited(states, Wait(("snap-00000001",), "completed"), Wait(("snap-00000002",), "completed"))
    assert failed.value.how == "failed"
    assert len(states.queries) == 1


def test_timeout_names_each_resource_and_stops_in_time() -> None:
    clock = Clock()
    with pytest.raises(WaitError) as failed:
        wait_for(
            Answers("pending"),
            [Wait(("snap-00000001", "snap-00000002"), "completed")],
            60,
            clock.monotonic,
            clock.sleep,
        )
    assert clock.time == pytest.approx(60)
    assert failed.value.how == "timeout"
    assert failed.value.resources == ("snap-00000001", "snap-00000002")
    assert (
        "Timeout (wait_timeout is over): snap-00000001 should become completed but is still pending; snap-00000002"
        in str(failed.value)
    )


def test_only_differing_tags_are_reported() -> None:
    tags = {"Name": "web", "ec2ops:restore-state": "stopped"}
    found = Instance("i-00000001", "stopped", tags=tags)
    wanted = (("tags", {"ec2ops:restore-state": "running", "Name": "web"}),)
    clock = Clock()
    with pytest.raises(WaitError) as failed:
        wait_for(
            lambda queries, _until: dict.fromkeys(queries, (found,)),
            [Wait(("i-00000001",), "stopped", expect=wanted)],
            60,
            clock.monotonic,
            clock.sleep,
        )
    assert "ec2ops:restore-state in tags is 'stopped', expected 'running'. Another run" in str(failed.value)
    assert "Name" not in str(failed.value)


def test_wait_for_a_thousand_resources_names_ten() -> None:
    with pytest.raises(WaitError, match="and 990 more"):
        waited(Answers("pending"), Wait(tuple(f"snap-{number:08x}" for number in range(1000)), "completed"), limit=3)


# --- on the sandbox ---


def test_answers_of_the_sandbox_have_its_date(sandbox: Sandbox) -> None:
    made = sandbox_gateway(sandbox)
    assert abs((made.now() - sandbox.now()).total_seconds()) < 60


def test_closed_connection_is_unclear_and_only_safe_calls_are_repeated(sandbox: Sandbox) -> None:
    made = sandbox_gateway(sandbox)
    made.ask(ONE)
    sandbox.add_fault("CreateSnapshot", kind="close", occurrence="every")
    with pytest.raises(CallError) as failed:
        made.perform([SNAPSHOT])
    assert failed.value.unclear
    assert sandbox.counts()["CreateSnapshot"] == 1
    sandbox.add_fault("DescribeInstances", kind="close", occurrence={"first": 2})
    made.ask(ONE)
    assert made.calls["DescribeInstances"] == sandbox.counts()["DescribeInstances"]


def test_calls_stay_within_ec2s_buckets(sandbox: Sandbox) -> None:
    sandbox.configure(buckets=True)
    made = sandbox_gateway(sandbox)
    for _turn in range(12):
        with pytest.raises(CallError, match=r"InvalidInstanceID\.NotFound"):
            made.perform([Change("StartInstances", INSTANCE, "us-east-1", {}, "a test")])
    assert made.calls["StartInstances"] <= 13


def test_modifications_keys_and_the_default_encryption_are_read(sandbox: Sandbox) -> None:
    made, ec2 = sandbox_gateway(sandbox), sandbox.client()
    fresh, grown = (ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"] for _turn in range(2))
    wait_on(made, [Wait((fresh, grown), "volume_available")], 60)
    ec2.modify_volume(VolumeId=grown, Size=2)
    wait_on(made, [Wait((fresh, grown), "modifiable")], 60)
    key = sandbox.client("kms").create_key()["KeyMetadata"]["Arn"]
    keys = [key_query(name) for name in (key, "alias/none")]
    (modifications,) = modification_queries([fresh, grown])
    answers = made.ask([modifications, ENCRYPTION_QUERY, *keys])
    (fact,) = answers[modifications]
    latest = MODIFICATION.read(fact, grown)
    assert latest is not None
    assert (latest.state, latest.target.size) == ("completed", 2)
    assert answers[ENCRYPTION_QUERY] == (ENCRYPTION_BY_DEFAULT.fact(False),)
    assert [answers[query] for query in keys] == [
        (KMS_KEY.fact(key, usable_key(key)),),
        (KMS_KEY.fact("alias/none", UNUSABLE_KEY),),
    ]


def test_calls_and_waits_reach_other_regions_and_accounts(sandbox: Sandbox) -> None:
    made, ec2 = sandbox_gateway(sandbox), sandbox.client()
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    wait_on(made, [Wait((volume,), "volume_available")], 60)
    source = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait_on(made, [Wait((source,), "completed")], 60)
    west, other = "us-west-2", "us-west-2@444455556666"
    identity = Query("DescribeSnapshots", (("tag:ec2ops:copy-of", (f"us-east-1/{source}",)),), place=west)
    copy = Change(
        "CopySnapshot",
        planned("snapshot", f"{source} in {west}"),
        west,
        {
            "SourceRegion": "us-east-1",
            "SourceSnapshotId": source,
            "TagSpecifications": [specification("snapshot", {"ec2ops:copy-of": f"us-east-1/{source}"})],
        },
        "a test",
        identity=identity,
    )
    copied = made.perform([copy])[copy.resource]
    seen = wait_on(made, [Wait((copied,), "completed", place=west)], 600)[copied]
    assert isinstance(seen, Snapshot)
    assert (seen.state, seen.place) == ("completed", west)
    account = account_query(Place.parse(other))
    elsewhere = dataclasses.replace(identity, place=other)
    answers = made.ask([identity, elsewhere, account])
    assert [one.resource_id for one in answers[identity]] == [copied]
    assert answers[elsewhere] == ()
    assert answers[account] == (CALLER_IDENTITY.fact(CallerIdentity("444455556666")),)
    said = r"^In us-west-2 \(profile 444455556666\): DescribeSnapshots failed: AuthFailure"
    with sandbox.fault("DescribeSnapshots", code="AuthFailure", status=401), pytest.raises(CallError, match=said):
        made.ask([elsewhere])
