# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module in this process, on the sandbox: the module's own options, the runner, the real gateway.

A run can be killed after any of its changing calls, or refused one of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import runner
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.options import COMMON, Options, module_arguments
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.operations import OPERATIONS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import (
    Change,
    published_parameters,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.progress import SILENT
from ansible_collections.ec2ops.storage.plugins.modules import ebs_volume_spec

from sandbox.client import Sandbox
from worlds import sandbox_gateway

REGION = "us-east-1"
ZONE, OTHER_ZONE = "us-east-1a", "us-east-1b"


class Killed(BaseException):
    """The process is gone: nothing may catch it."""


@dataclass
class Ended:
    """How a run ended. ``failed`` is the message of a failed one."""

    result: dict[str, Any] = field(default_factory=dict)
    failed: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def actions(self) -> list[str]:
        """The plan's operations, in order."""
        return [entry["action"] for entry in self.result.get("plan", [])]


class _Shell:
    def __init__(self, params: Mapping[str, Any], check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.diff = True
        self.ended = Ended()
        self.progress = SILENT

    def warn(self, message: str) -> None:
        self.ended.warnings.append(message)

    def exit(self, result: Mapping[str, Any]) -> None:
        self.ended.result = dict(result)

    def fail(self, message: str, result: Mapping[str, Any]) -> None:
        self.ended.result, self.ended.failed = dict(result), message


def options(module: Any = ebs_volume_spec, **given: Any) -> dict[str, Any]:
    """The task's options with the module's defaults, checked as Ansible does."""
    arguments = module_arguments(COMMON, Options(module.ARGUMENT_SPEC))
    validated = ArgumentSpecValidator(arguments["argument_spec"]).validate({"wait_timeout": 3600, **given})
    if validated.error_messages:
        raise ValueError(validated.error_messages)
    return dict(validated.validated_parameters)


def run(
    sandbox: Sandbox,
    *,
    check: bool = False,
    gateway: Any = None,
    module: Any = ebs_volume_spec,
    alone: bool = True,
    **given: Any,
) -> Ended:
    """One task, run to its success or failure.

    A run that changes is compared with its plan, if nobody else makes calls meanwhile (*alone*).
    """
    shell = _Shell(options(module, **given), check)
    # A process takes longer to start than reads are late; here the run before may have ended just now.
    sandbox.move_clock(0)
    after = max((entry["sequence"] for entry in sandbox.log()), default=0)
    runner.execute(module.FEATURE, shell, gateway or sandbox_gateway(sandbox, REGION))
    ended = shell.ended
    if alone and not ended.failed:
        done = changing_calls(sandbox, after)
        planned = [] if check else expected_calls(ended.result)
        if sorted(map(repr, done)) != sorted(map(repr, planned)):
            raise AssertionError(f"done:\n{_lines(done)}\nplanned:\n{_lines(planned)}")
    return ended


def _lines(calls: Sequence[Any]) -> str:
    return "\n".join(map(str, calls))


def machine(sandbox: Sandbox, name: str = "web", data: int = 0, **row: Any) -> Machine:
    """A running instance in the first zone, unless said otherwise."""
    names = sandbox.seed({"instance": {"name": name, "data_volumes": data, **row}})
    return Machine(sandbox, names[name], names[f"{name}/root"])


def changing_calls(sandbox: Sandbox, after: int) -> list[tuple[str, str, Any]]:
    """(action, id, parameters) of each change, one for each resource, without refused calls."""
    found = []
    for entry in sandbox.log(after=after):
        action, parameters = entry["action"], dict(entry["params"])
        if action.startswith("elasticloadbalancing:"):
            parameters = _nested(parameters)
        service, _colon, name = action.rpartition(":")
        action = name if service in ("ssm", "autoscaling", "elasticloadbalancing") else action
        is_read = name.startswith(("Describe", "Get", "List")) or action.startswith(("kms:", "sts:"))
        if is_read or entry["outcome"] != "ok":
            continue
        found += [
            (action, resource, _plain(published_parameters(parameters))) for resource in _targets(action, parameters)
        ]
    return found


def _targets(action: str, parameters: dict[str, Any]) -> list[str]:
    # Botocore adds them to CopySnapshot.
    for name in ("DestinationRegion", "PresignedUrl"):
        parameters.pop(name, None)
    target = OPERATIONS[action].target
    value = "" if target is None else parameters.pop(target)
    return value if isinstance(value, list) else [value]


def _nested(form: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a call to a load balancer in boto3's shape, from its form."""
    found: dict[str, Any] = {}
    lists: dict[tuple[str, int], dict[str, Any]] = {}
    for key, value in form.items():
        name, _member, rest = key.partition(".member.")
        if not rest:
            found[key] = value
            continue
        number, _dot, inner = rest.partition(".")
        lists.setdefault((name, int(number)), {})[inner] = int(value) if inner == "Port" else value
    for (name, _number), item in sorted(lists.items()):
        found.setdefault(name, []).append(item)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def expected_calls(result: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """The plan, with EC2's ids for the planned ones; the snapshots of one CreateSnapshots are one call."""
    bindings = result["planned_ids"]
    calls = []
    for entry in result["plan"]:
        target = "" if OPERATIONS[entry["action"]].target is None else substitute(entry["resource"], bindings)
        call = (entry["action"], target, _plain(substitute(entry["parameters"], bindings)))
        if entry["action"] != "CreateSnapshots" or call not in calls:
            calls.append(call)
    return calls


class KillingGateway:
    """The gateway of a process that is killed right after EC2 has carried out its *nth* changing call, from 1."""

    def __init__(self, gateway: Any, nth: int) -> None:
        self._gateway = gateway
        self._left = nth
        self._lock = threading.Lock()
        self._dead = False

    def __getattr__(self, name: str) -> Any:
        if self._dead:
            raise Killed
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        answer: Mapping[str, str] = self.__getattr__("perform")(changes, generation)
        if last:
            self._dead = True
            raise Killed
        return answer


class RefusingGateway:
    """The gateway of a run whose *nth* changing call, counted from 1, EC2 refuses; later ones it takes.

    *unclear*: EC2 has carried it out, and answers with an error of its own.
    """

    def __init__(self, gateway: Any, nth: int, *, unclear: bool) -> None:
        self._gateway = gateway
        self._left = nth
        self._unclear = unclear
        self._lock = threading.Lock()
        self.refused = 0
        """The number of changes in the refused call."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        first = changes[0]
        self.refused = len(changes) if last else self.refused
        if last and not self._unclear:
            raise CallError(first.action, "UnauthorizedOperation", "You are not authorized.", resource=first.resource)
        answer: Mapping[str, str] = self._gateway.perform(changes, generation)
        if last:
            message = "An internal error has occurred"
            raise CallError(first.action, "InternalError", message, resource=first.resource, unclear=True, passing=True)
        return answer


@dataclass
class Machine:
    """A running instance with a root and volumes that it writes to."""

    sandbox: Sandbox
    instance_id: str
    root_volume_id: str

    @property
    def ec2(self) -> Any:
        return self.sandbox.client("ec2", REGION)

    @property
    def state(self) -> str:
        found = self.ec2.describe_instances(InstanceIds=[self.instance_id])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    @property
    def tags(self) -> dict[str, str]:
        found = self.ec2.describe_instances(InstanceIds=[self.instance_id])["Reservations"][0]["Instances"][0]
        return {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}

    def attached(self) -> dict[str, str]:
        """Device name to volume id, without the root volume."""
        found = self.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [self.instance_id]}])
        return {
            link["Device"]: volume["VolumeId"]
            for volume in found["Volumes"]
            for link in volume["Attachments"]
            if link["InstanceId"] == self.instance_id and volume["VolumeId"] != self.root_volume_id
        }


def volumes(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Every volume, by id, as EC2 shows it; tags as a dictionary under ``tags``."""
    found = sandbox.client("ec2", REGION).describe_volumes()["Volumes"]
    return {
        item["VolumeId"]: {**item, "tags": {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}} for item in found
    }


def snapshots(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Every snapshot of the account, by id."""
    found = sandbox.client("ec2", REGION).describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return {item["SnapshotId"]: item for item in found}


def texts(sandbox: Sandbox, resource_id: str) -> list[str]:
    """The marks that a volume or snapshot holds, oldest first: moment and text."""
    return [f"{mark['time']} {mark['text']}" for mark in sandbox.marks(resource_id)["marks"]]
