# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies of docs/iam against the request logs: nothing is missing, and nothing is without a source.

The cases of the matrix run here in this process. Then each action of a case is refused once.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change

from in_process import Ended
from in_process import run as run_module
from module.test_matrix import BY_CRON, CASES, DATA, DISTRIBUTION, Case, World, bake, declare, relaunch, rotate, rotated
from playbook.seeds import seed_web
from playbook.support import REGION
from policies import DELETED, calls, denied, full
from sandbox.client import Sandbox, SandboxError
from tools import iam
from tools.environment import ROOT
from worlds import sandbox_gateway

SPEED = 20.0
OTHER_ACCOUNT = "111122223333"
# The others make no call to AWS.
MODULES = sorted(
    path.stem
    for path in (ROOT / "plugins" / "modules").glob("[a-z]*.py")
    if "Program(" in path.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox.start(speed=SPEED) as sandbox:
        instant = ("volume_", "snapshot_", "image_", "instance_", "status_ok")
        names = [name for name in sandbox.configure()["durations"] if name.startswith(instant)]
        sandbox.configure(durations=dict.fromkeys(names, 0.0), read_lag=0)
        yield sandbox


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    server.refuse()
    return server


def key(world: World, region: str = REGION, account: str | None = None) -> str:
    made = world.sandbox.client("kms", region, account=account).create_key()
    return str(made["KeyMetadata"]["Arn"])


def image(world: World, name: str) -> str:
    filters = [{"Name": "name", "Values": [name]}]
    return str(world.ec2.describe_images(Owners=["self"], Filters=filters)["Images"][0]["ImageId"])


def shared_and_pinned(world: World) -> None:
    """A version is shared with another account, and the default version of a launch template has another one."""
    world.versions(4)
    shared = {"Add": [{"UserId": OTHER_ACCOUNT}]}
    world.ec2.modify_image_attribute(ImageId=image(world, "web-1"), LaunchPermission=shared)
    data: Any = {"ImageId": image(world, "web-2")}
    world.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)


def replaced_a_week_ago(world: World) -> None:
    world.bake(require_stopped=False)
    options = {"instance_id": world.web.instance_id, "image_id": image(world, "web-1"), "data_volumes": "keep"}
    assert run_module(world.sandbox, module=program("instance_relaunch"), alone=False, **options).failed == ""
    world.sandbox.move_clock(8 * 86400)


def reachable(world: World) -> None:
    """The instance has an Elastic IP, and is registered with a target group and a Classic Load Balancer."""
    ec2, elb, classic = (world.sandbox.client(name, REGION) for name in ("ec2", "elbv2", "elb"))
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.associate_address(AllocationId=address, InstanceId=world.web.instance_id)
    (row,) = ec2.describe_instances(InstanceIds=[world.web.instance_id])["Reservations"][0]["Instances"]
    made = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=row["VpcId"], TargetType="instance")
    group = made["TargetGroups"][0]["TargetGroupArn"]
    balancer = elb.create_load_balancer(Name="web", Subnets=[row["SubnetId"]])["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "forward", "TargetGroupArn": group}
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": world.web.instance_id}])
    listener: Any = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80}
    zones = [row["Placement"]["AvailabilityZone"]]
    classic.create_load_balancer(LoadBalancerName="shop", Listeners=[listener], AvailabilityZones=zones)
    classic.register_instances_with_load_balancer(
        LoadBalancerName="shop", Instances=[{"InstanceId": world.web.instance_id}]
    )


def given_image(world: World) -> None:
    """An image of the account that no bake has made, and a launch template with it."""
    world.ec2.create_image(InstanceId=world.web.instance_id, Name="given", NoReboot=True)
    data: Any = {"ImageId": image(world, "given")}
    world.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)


MORE = (
    Case(
        "a version from another image",
        "ami_bake",
        lambda world: {
            "name": "web",
            "version": "1",
            "source_image_id": image(world, "given"),
            "launch_template": {"name": "web"},
        },
        (),
        given_image,
    ),
    Case(
        "absent",
        "ami_bake",
        lambda world: {"name": "web", "version": "1", "state": "absent"},
        (),
        lambda world: (world.stop(), world.bake(launch_permissions=DISTRIBUTION["launch_permissions"])),
    ),
    Case(
        "protected",
        "ami_bake",
        lambda world: bake(world, deregistration_protection="enabled"),
        (),
        lambda world: (world.stop(), world.bake()),
    ),
    Case(
        "copied to another account",
        "ami_bake",
        lambda world: bake(world, copies=[{"region": "eu-west-1", "profile": OTHER_ACCOUNT}]),
        (),
        World.stop,
    ),
    Case(
        "copied with a key",
        "ami_bake",
        lambda world: bake(world, copies=[{"region": "eu-west-2", "kms_key_id": key(world, "eu-west-2")}]),
        (),
        World.stop,
    ),
    Case(
        "a volume with a key",
        "ebs_volume_spec",
        lambda world: declare(world, {"name": "log", "size": 10, "encrypted": True, "kms_key_id": key(world)}),
        (),
    ),
    Case(
        "copied to another account",
        "snapshot_rotate",
        lambda world: rotate(
            world, copies=[{"region": "eu-west-1", "profile": OTHER_ACCOUNT, "keep": {"last": 1}, "wait": True}]
        ),
        (),
    ),
    Case(
        "copied with a key",
        "snapshot_rotate",
        lambda world: rotate(
            world,
            copies=[
                {"region": "eu-west-1", "kms_key_id": key(world, "eu-west-1"), "keep": {"last": 1}, "wait": True},
            ],
        ),
        (),
    ),
    Case(
        "replace by an image of all devices",
        "instance_relaunch",
        lambda world: {
            "instance_id": world.web.instance_id,
            "image_id": image(world, "web-1"),
            "data_volumes": "keep",
        },
        (),
        lambda world: (world.stop(), world.bake(devices="all")),
    ),
    Case(
        "replace the root volume and delete the old one",
        "instance_relaunch",
        lambda world: relaunch(world, strategy="replace_root_volume", old_root_volume="delete"),
        (),
    ),
    Case(
        "replace, and move the address and the targets",
        "instance_relaunch",
        lambda world: relaunch(world, elastic_ip="move", target_groups="move"),
        (),
        reachable,
    ),
    Case(
        "shared and pinned versions",
        "image_rotate",
        lambda _world: {
            "name": "web",
            "action": "deregister",
            "keep": {"last": 1},
            "check_accounts": True,
            "launch_template_versions": "default_and_latest",
            "copies": [{"region": "eu-west-1", "profile": OTHER_ACCOUNT, "keep": {"last": 1}}],
        },
        (),
        shared_and_pinned,
    ),
    Case(
        "a predecessor that is terminated",
        "image_rotate",
        lambda _world: {
            "name": "web",
            "action": "deregister",
            "keep": {"last": 1},
            "retire_predecessors": {"after": "7d"},
        },
        (),
        replaced_a_week_ago,
    ),
    Case(
        "storage with its permissions",
        "storage_info",
        lambda _world: {
            "permissions": True,
            "copy_regions": ["eu-west-1"],
            "metrics": True,
            "changed_blocks": True,
            "price_api": True,
        },
        (),
        lambda world: (world.snapshots(2), world.versions(2)),
    ),
    Case(
        "a new and a changed volume",
        "ebs_volume_spec",
        lambda world: declare(world, {"name": "log", "size": 10}, {**DATA, "size": 30}),
        (),
    ),
    Case(
        "a snapshot that is due, and others that no rule keeps",
        "snapshot_rotate",
        lambda world: rotate(world, keep={"last": 1}, adopt={"tags": BY_CRON}),
        (),
        lambda world: world.snapshots(3),
    ),
    Case(
        "drill",
        "snapshot_restore",
        lambda world: {"source_volume_ids": [world.web.data_volume_id], "drill": True, "drill_id": "0a1b2c3d"},
        (),
        lambda world: world.snapshots(1),
    ),
)


def of(module: str) -> list[Case]:
    # The excluded case begins with a run of ansible-playbook, and makes no call of its own.
    return [case for case in (*CASES, *MORE) if case.module == module and case.before is not rotated]


def program(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.ec2ops.storage.plugins.modules.{name}")


class Watching:
    """The real gateway. ``tags`` has the tags of each resource right before its deletion."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._gateway = sandbox_gateway(sandbox, REGION)
        self.tags: dict[str, Mapping[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        for change in changes:
            if change.action in DELETED:
                with suppress(SandboxError):
                    self.tags[change.resource] = self._sandbox.inspect(change.resource).get("tags") or {}
        return self._gateway.perform(changes, generation)


@dataclass(frozen=True)
class Started:
    """A case's task, to be run with or without check mode, in the world that it begins in."""

    options: Mapping[str, Any]
    run: Callable[..., Ended]


def started(sandbox: Sandbox, case: Case) -> Started:
    """Make the case's world."""
    sandbox.refuse()
    sandbox.reset()
    world = World(sandbox, seed_web(sandbox, REGION))
    case.before(world)
    options = case.options(world)
    sandbox.reset_log()
    return Started(
        options, lambda **given: run_module(sandbox, module=program(case.module), alone=False, **options, **given)
    )


# --- the flows of a module ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flows:
    """All cases of a module. ``shortest``: for each action the case with the fewest calls that makes it.

    ``denied``: the actions that the module's policies do not allow.
    """

    shortest: Mapping[str, Case]
    denied: frozenset[str]


RECORDED: dict[str, Flows] = {}
"""By module, for all tests that this process runs."""


def recorded(sandbox: Sandbox, module: str) -> Flows:
    if module not in RECORDED:
        assert of(module), f"tests/module has no case of {module}"
        RECORDED[module] = flows_of(sandbox, module)
    return RECORDED[module]


def flows_of(sandbox: Sandbox, module: str) -> Flows:
    """Check and run each case."""
    need = iam.needs(module)
    policies = iam.policy(need.in_check_mode()), iam.policy(need)
    found: dict[str, tuple[int, Case]] = {}
    refused: set[str] = set()
    for case in of(module):
        task = started(sandbox, case)
        for check, policy in zip((True, False), policies, strict=True):
            sandbox.reset_log()
            gateway = Watching(sandbox)
            ended = task.run(check=check, gateway=gateway)
            assert not ended.failed, f"{case.name}: {ended.failed}"
            refused |= {f"{case.name}: {each}" for each in denied(policy, calls(sandbox), gateway.tags)}
            for playbook in playbooks_of(module, task.options):
                less = policy_of(playbook, check=check)
                refused |= {f"{playbook}, {case.name}: {each}" for each in denied(less, calls(sandbox), gateway.tags)}
        made = calls(sandbox)
        actions = {full(entry["action"]) for entry in made}
        actions |= {"ec2:CreateTags"} if any(entry["params"].get("TagSpecifications") for entry in made) else set()
        for action in actions:
            if action not in found or len(made) < found[action][0]:
                found[action] = (len(made), case)
    return Flows({action: case for action, (_calls, case) in found.items()}, frozenset(refused))


def playbooks_of(module: str, options: Mapping[str, Any]) -> list[str]:
    """The playbooks with fewer actions than their modules that can run a module with these options.

    A task of the playbook has all of the options, and a value that stands in the playbook is that of the case.
    """
    return [
        playbook
        for playbook in iam.table()["without"]
        if any(
            set(options) <= set(given)
            and all("{{" in str(value) or options.get(name) == value for name, value in given.items())
            for given in tasks_of(playbook, module)
        )
    ]


@cache
def tasks_of(playbook: str, module: str) -> list[dict[str, Any]]:
    """The options of each task of the playbook that runs the module."""

    def found(value: Any) -> Iterator[dict[str, Any]]:
        for each in value if isinstance(value, list) else value.values():
            if isinstance(each, (dict, list)):
                yield from found(each)
        if isinstance(value, dict) and f"ec2ops.storage.{module}" in value:
            yield value[f"ec2ops.storage.{module}"]

    return list(found(yaml.safe_load((ROOT / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8"))))


def policy_of(playbook: str, *, check: bool) -> dict[str, Any]:
    path = iam.FOLDER / f"{playbook}{'-check' if check else ''}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


# --- the tests ------------------------------------------------------------------------------------------------------


def test_every_module_role_and_playbook_has_a_policy() -> None:
    assert sorted(iam.table()["modules"]) == MODULES, "docs/iam/actions.yml needs an entry for each module"
    assert sorted(iam.table()["roles"]) == sorted(path.name for path in (ROOT / "roles").iterdir())
    assert sorted(iam.table()["playbooks"]) == sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def test_policies_are_those_of_the_table() -> None:
    kept = {path: path.read_text(encoding="utf-8") for path in iam.FOLDER.glob("*.json")}
    assert kept == iam.files(), "run `make iam`"
    for path, text in kept.items():
        assert len(re.sub(r"\s", "", text)) <= iam.LARGEST, f"{path.name} is too large for a managed policy"
        sids = [row["Sid"] for row in json.loads(text)["Statement"]]
        assert len(sids) == len(set(sids)) and all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)


def shared_tasks(text: str) -> str:
    """Return the files of playbooks/tasks that *text*, or one of these files, names: with its suffix, or in quotes."""
    left = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "playbooks" / "tasks").glob("*.yml")}
    found = ""
    while named := [stem for stem in left if re.search(rf"\b{stem}\.yml\b|'{stem}'", text + found)]:
        found += "".join(left.pop(stem) for stem in named)
    return found


def test_roles_and_playbooks_name_the_modules_that_they_run() -> None:
    for kind, folder in (("roles", ROOT / "roles"), ("playbooks", ROOT / "playbooks")):
        for name, modules in iam.table()[kind].items():
            paths = [folder / f"{name}.yml"] if kind == "playbooks" else [*(folder / name).rglob("*.yml")]
            text = "".join(path.read_text(encoding="utf-8") for path in paths)
            text += shared_tasks(text) if kind == "playbooks" else ""
            roles = re.findall(r"(?:name|role): ec2ops\.storage\.(\w+)", text)
            used = {module for role in roles for module in iam.table()["roles"].get(role, ())}
            called = re.findall(r"^\s*(?:- )?(?:action: )?ec2ops\.storage\.(\w+)(?=:|$)", text, re.MULTILINE)
            used |= set(called) & set(MODULES)
            assert used == set(modules), name


@pytest.mark.parametrize("module", MODULES)
def test_documentation_has_the_actions_of_the_table(module: str) -> None:
    page = (ROOT / "docs" / "permissions.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {module}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"docs/permissions.md has no section {module}"
    services = "ec2|kms|iam|sts|ssm|autoscaling|elasticloadbalancing|cloudwatch|ebs|pricing"
    named = set(re.findall(rf"`((?:{services}):\w+\*?)`", section[1]))
    row = iam.table()["modules"][module]
    # The managed policy of AWS has the other actions behind DescribeImageReferences.
    told = {name for name, source in row["actions"].items() if source != "behind: DescribeImageReferences"}
    assert named == told


def test_playbooks_with_fewer_actions_are_held_against_the_cases_of_their_modules() -> None:
    told = {"name": "web", "version": "1", "source_instance_id": "i-1", "launch_template": {"name": "web"}}
    assert playbooks_of("ami_bake", told) == ["publish_image"]
    assert playbooks_of("ami_bake", {**told, "copies": []}) == []
    assert playbooks_of("instance_power", {"state": "restored", "older_than": "1h"}) == ["restore_power"]
    assert playbooks_of("instance_power", {"state": "stopped", "instance_ids": ["i-1"]}) == []


@pytest.mark.parametrize("module", MODULES)
def test_request_logs_hold_the_actions_of_the_policy(sandbox: Sandbox, module: str) -> None:
    flows = recorded(sandbox, module)
    assert not flows.denied
    own = iam.table()["modules"][module]["actions"]
    assert {name for name, source in own.items() if source == "run"} <= set(flows.shortest), "no case makes these calls"
    for name, source in own.items():
        kind, _colon, behind = source.partition(": ")
        if kind == "behind":
            pages = iam.table()["behind"][behind]
            assert pages and all(page.startswith("https://docs.aws.amazon.com/") for page in pages), name
            assert behind in {each.partition(":")[2] for each in own}
        elif source != "run":
            assert name.partition(":")[2] in (ROOT / source).read_text(encoding="utf-8"), f"{source}: no {name}"


# --- one action at a time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_missing_permission_is_named_and_each_change_accounted_for(sandbox: Sandbox, module: str) -> None:
    for action, case in sorted(recorded(sandbox, module).shortest.items()):
        run = started(sandbox, case).run
        sandbox.refuse(action)
        ended = run()
        named = [text for text in (ended.failed, *ended.warnings) if action in text]
        silent = action in iam.table()["modules"][module].get("optional", ())
        assert named or silent, f"{case.name}, {action}: {ended.failed or ended.warnings}"
        if not ended.failed or not ended.result.get("plan"):
            continue
        told = [*ended.result["done"], *ended.result["failed_changes"], *ended.result["not_tried"]]
        assert len(told) == len(ended.result["plan"]), f"{case.name}, {action}: {ended.failed}"
        for entry in ended.result["not_tried"]:
            rehearsed = "The call was a DryRun, so the task has changed nothing." in ended.failed
            assert rehearsed or entry["depends_on"], f"{case.name}, {action}: {entry}"


@pytest.mark.parametrize(
    ("name", "refused", "done"),
    [
        ("a new and a changed volume", "CreateVolume", {"ModifyVolume"}),
        ("a new and a changed volume", "ModifyVolume", {"CreateVolume", "AttachVolume"}),
        ("a snapshot that is due, and others that no rule keeps", "CreateSnapshot", {"CreateTags", "DeleteSnapshot"}),
        ("snapshots that are copied, locked and quick to restore", "LockSnapshot", {"CreateSnapshot", "CopySnapshot"}),
        ("volumes restored on an instance", "AttachVolume", {"CreateVolume"}),
    ],
)
def test_work_that_does_not_need_the_permission_is_done(
    sandbox: Sandbox, name: str, refused: str, done: set[str]
) -> None:
    (case,) = [case for case in (*CASES, *MORE) if case.name == name]
    run = started(sandbox, case).run
    sandbox.refuse(refused)
    ended = run()
    assert f"Allow ec2:{refused}" in ended.failed.replace("allow", "Allow")
    assert {entry["action"] for entry in ended.result["done"]} >= done, ended.failed
