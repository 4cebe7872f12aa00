# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module as a user runs it: check, run, check again, run again, and the sandbox's log compared with the plan.

The four steps of a case are four tasks of one ansible-playbook run, so that forty cases are affordable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, image_workbench

from image_rotation_runs import DAY, seeded
from in_process import run as run_module
from playbook.seeds import DATA_DEVICE, ROOT_DEVICE, Web, at_once, seed_web
from playbook.support import DURATIONS, REGION, Run, assert_done_as_planned, changing_calls, run_playbook
from sandbox.client import Sandbox
from tools.environment import ROOT

STEPS = ("check", "run", "check again", "run again")


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox.start(durations=DURATIONS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    server.reset()
    server.clear_faults()
    return server


def run_task(
    sandbox: Sandbox, folder: Path, module: str, options: Mapping[str, Any], *steps: str, **environment: str
) -> Run:
    """One playbook in which a task runs once for each step; steps that start with ``check`` in check mode."""
    tasks = [
        {
            "name": step,
            f"ec2ops.storage.{module}": dict(options),
            "check_mode": step.startswith("check"),
            "diff": True,
            "ignore_errors": True,
            "environment": environment,
        }
        for step in steps
    ]
    playbook = folder / "playbook.yml"
    defaults = {"group/ec2ops.storage.aws": {"region": REGION}}
    play = {"name": "Steps", "hosts": "localhost", "gather_facts": False, "module_defaults": defaults, "tasks": tasks}
    playbook.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    return run_playbook(sandbox, playbook)


@dataclass(frozen=True)
class World:
    """The start of a case."""

    sandbox: Sandbox
    web: Web

    @property
    def ec2(self) -> Any:
        return self.sandbox.client("ec2", REGION)

    def stop(self, *, held: bool = False) -> None:
        """The instance is stopped; held: by a run that was killed then."""
        if held:
            # The stop lies within the hold, as a run's stop does.
            now = self.sandbox.now()
            since, until = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (now, now + timedelta(seconds=30)))
            tag = {"Key": "ec2ops:restore-state", "Value": f"running {since} {until}"}
            self.ec2.create_tags(Resources=[self.web.instance_id], Tags=[tag])
        self.ec2.stop_instances(InstanceIds=[self.web.instance_id])
        self.ec2.get_waiter("instance_stopped").wait(
            InstanceIds=[self.web.instance_id], WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
        )
        if held:
            self.sandbox.move_clock(60)

    def image(self, name: str = "other", snapshot_id: str | None = None) -> str:
        with at_once(self.sandbox):
            snapshot = snapshot_id or self.ec2.create_snapshot(VolumeId=self.web.root_volume_id)["SnapshotId"]
            mapping = {"DeviceName": ROOT_DEVICE, "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}
            return str(
                self.ec2.register_image(
                    Name=name,
                    Architecture="x86_64",
                    VirtualizationType="hvm",
                    EnaSupport=True,
                    RootDeviceName=ROOT_DEVICE,
                    BlockDeviceMappings=[mapping],
                )["ImageId"]
            )

    def template(self) -> None:
        """A launch template ``web``."""
        data: Any = {"ImageId": "ami-00000001", "InstanceType": "t3.micro"}
        self.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)

    def group(self) -> None:
        """A group ``web`` of a launch template whose default version has changed."""
        self.template()
        self.ec2.create_launch_template_version(
            LaunchTemplateName="web", SourceVersion="1", LaunchTemplateData={"ImageId": self.web.image_id}
        )
        made = self.ec2.modify_launch_template(LaunchTemplateName="web", DefaultVersion="2")
        row = {"name": "web", "template": made["LaunchTemplate"]["LaunchTemplateId"], "instances": [{"version": "1"}]}
        self.sandbox.seed({"region": REGION, "auto_scaling_group": row})

    def bake(self, **options: Any) -> None:
        """The image that a task before has baked."""
        ended = run_module(self.sandbox, module=ami_bake, **bake(self, **options))
        assert ended.failed == ""

    def snapshots(self, number: int) -> list[str]:
        """So many snapshots of the data volume, an hour apart, the oldest first."""
        tags = [{"Key": key, "Value": value} for key, value in BY_CRON.items()]
        made = []
        with at_once(self.sandbox):
            for _turn in range(number):
                self.sandbox.move_clock(3600)
                answer = self.ec2.create_snapshot(
                    VolumeId=self.web.data_volume_id,
                    TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
                )
                made.append(str(answer["SnapshotId"]))
        return made

    def versions(self, number: int, used: int = 0) -> None:
        """So many versions of the image ``web``, one a day, and an older one of a script; an instance has *used*."""
        images = [seeded(one, (number - one + 1) * DAY) for one in range(1, number + 1)]
        script = {"name": "by-cron", "age": 9 * DAY, "tags": BY_CRON}
        ids = self.sandbox.seed({"region": REGION, "images": [*images, script]})
        if used:
            self.sandbox.seed({"region": REGION, "instance": {"name": "user", "image": ids[f"web-{used}"]}})

    def open_bench(self, **options: Any) -> str:
        """The volume of an open workbench, which a task before has made."""
        ended = run_module(self.sandbox, module=image_workbench, alone=False, **workbench(self, **options))
        assert ended.failed == ""
        return str(ended.result["volume_id"])

    def developed(self) -> None:
        """A version whose image exists, and whose workbench is left."""
        volume_id = self.open_bench()
        for state in ("detached",):
            ended = run_module(self.sandbox, module=image_workbench, alone=False, **workbench(self, state=state))
            assert ended.failed == ""
        made = {"name": "web", "version": "2", "source_volume_id": volume_id, "base_image_id": self.web.image_id}
        assert run_module(self.sandbox, module=ami_bake, alone=False, **made).failed == ""


DISTRIBUTION: dict[str, Any] = {
    "copies": [{"region": "eu-west-2"}],
    "launch_permissions": {"user_ids": ["111122223333"], "snapshots": True},
    "deprecate_after": "90d",
    "ssm_parameter": {"name": "/images/web"},
    "launch_template": {"name": "web"},
}


@dataclass(frozen=True)
class Case:
    """``options`` of the task, from the world; ``plan``: the operations expected; ``state``: what the result says."""

    name: str
    module: str
    options: Callable[[World], Mapping[str, Any]]
    plan: tuple[str, ...]
    before: Callable[[World], Any] = lambda _world: None
    state: Mapping[str, Any] = field(default_factory=dict)


def bake(world: World, **options: Any) -> dict[str, Any]:
    return {"name": "web", "version": "1", "source_instance_id": world.web.instance_id, **options}


def workbench(world: World, **options: Any) -> dict[str, Any]:
    launch = {"instance_type": "t3.micro", "availability_zone": f"{REGION}a"}
    return {"name": "web", "version": "2", "source_image_id": world.web.image_id, "launch": launch, **options}


def relaunch(world: World, **options: Any) -> dict[str, Any]:
    return {"instance_id": world.web.instance_id, "image_id": world.image(), "data_volumes": "keep", **options}


def declare(world: World, *volumes: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    return {"instance_ids": [world.web.instance_id], "volumes": list(volumes), **options}


def rotate(world: World, **options: Any) -> dict[str, Any]:
    # A slot that is not over before the test is.
    select = {"instance_ids": [world.web.instance_id]}
    return {"policy": "monthly", "select": select, "every": "1m", "keep": {"last": 2}, **options}


def rotated(world: World) -> None:
    """The policy has been carried out, as a run would leave it, before it had tags of its own."""
    with TemporaryDirectory() as folder:
        run = run_task(world.sandbox, Path(folder), "snapshot_rotate", rotate(world), "run")
        assert [each.outcome for each in run.ours] == ["changed"], run.output


BY_CRON = {"made-by": "cron"}
DATA = {"name": "data", "device_name": DATA_DEVICE}
# Changes side by side, before and after the interruption.
PARALLEL = ("CreateTags", "DeleteTags", "DeleteSnapshot", "ModifyVolume", "CreateVolume", "ModifyInstanceAttribute")
LASTING = tuple(
    f"{deed}Image{what}" for deed in ("Enable", "Disable") for what in ("Deprecation", "DeregistrationProtection")
)
SECURING = ("LockSnapshot", "EnableFastSnapshotRestores")

CASES = (
    Case(
        "stop",
        "instance_power",
        lambda world: {"instance_ids": [world.web.instance_id], "state": "stopped"},
        ("StopInstances",),
        state={"instances.0.state": "stopped"},
    ),
    Case(
        "stop and remember",
        "instance_power",
        lambda world: {"instance_ids": [world.web.instance_id], "state": "stopped", "remember": True},
        ("CreateTags", "StopInstances"),
        state={"instances.0.state": "stopped"},
    ),
    Case(
        "start",
        "instance_power",
        lambda world: {"instance_ids": [world.web.instance_id], "state": "running"},
        ("StartInstances",),
        World.stop,
        {"instances.0.state": "running"},
    ),
    Case(
        "restore",
        "instance_power",
        lambda world: {"instance_ids": [world.web.instance_id], "state": "restored"},
        ("StartInstances", "DeleteTags"),
        lambda world: world.stop(held=True),
        {"instances.0.state": "running"},
    ),
    Case(
        "restore whatever is held",
        "instance_power",
        lambda _world: {"state": "restored", "older_than": "0s"},
        ("StartInstances", "DeleteTags"),
        lambda world: (world.stop(held=True), world.sandbox.move_clock(5)),
    ),
    Case("capture", "ami_bake", lambda world: bake(world, state="captured"), ("CreateSnapshot",), World.stop),
    Case(
        "bake",
        "ami_bake",
        lambda world: bake(world, tags={"team": "shop"}),
        ("CreateSnapshot", "RegisterImage"),
        World.stop,
        {
            "image.state": "available",
            "image.architecture": "x86_64",
            "image.boot_mode": "uefi-preferred",
            "image.tags.team": "shop",
        },
    ),
    Case(
        "bake all devices",
        "ami_bake",
        lambda world: bake(world, devices="all", block_devices=[{"device_name": DATA_DEVICE, "volume_size": 30}]),
        ("CreateSnapshots", "CreateSnapshots", "RegisterImage"),
        World.stop,
        {"image.state": "available"},
    ),
    Case(
        "bake through CreateImage",
        "ami_bake",
        lambda world: bake(world, method="image"),
        ("CreateImage",),
        World.stop,
        {"image.state": "available"},
    ),
    Case(
        "capture through CreateImage",
        "ami_bake",
        lambda world: bake(world, method="image", state="captured"),
        ("CreateImage",),
        World.stop,
    ),
    Case(
        "bake a running instance with consent",
        "ami_bake",
        lambda world: bake(world, require_stopped=False),
        ("CreateSnapshot", "RegisterImage"),
        state={"image.state": "available"},
    ),
    Case(
        "bake, copy, share and publish",
        "ami_bake",
        lambda world: bake(world, **DISTRIBUTION),
        (
            *("CreateSnapshot", "RegisterImage", "CopyImage", "EnableImageDeprecation", "EnableImageDeprecation"),
            *("ModifyImageAttribute", "ModifySnapshotAttribute") * 2,
            *("PutParameter", "PutParameter", "CreateLaunchTemplateVersion", "ModifyLaunchTemplate"),
        ),
        lambda world: (world.stop(), world.template()),
        {"regions.1.region": "eu-west-2", "regions.1.state": "available", "regions.1.error": None},
    ),
    Case(
        "share and publish an existing image",
        "ami_bake",
        lambda world: bake(world, **{**DISTRIBUTION, "description": "web", "imds_support": "v2.0"}),
        (
            *("ModifyImageAttribute", "EnableImageDeprecation") * 2,
            *("ModifyImageAttribute", "ModifyImageAttribute"),
            *("ModifyImageAttribute", "ModifySnapshotAttribute") * 2,
            *("PutParameter", "PutParameter", "CreateLaunchTemplateVersion", "ModifyLaunchTemplate"),
        ),
        lambda world: (world.stop(), world.template(), world.bake(copies=DISTRIBUTION["copies"])),
        {"image.imds_support": "v2.0"},
    ),
    Case(
        "unshare and unprotect an image",
        "ami_bake",
        lambda world: bake(world, launch_permissions={}, deprecate_after="never", deregistration_protection="disabled"),
        ("DisableImageDeprecation", "DisableImageDeregistrationProtection", "ModifyImageAttribute"),
        lambda world: (
            world.stop(),
            world.bake(
                launch_permissions=DISTRIBUTION["launch_permissions"],
                deprecate_after="90d",
                deregistration_protection="enabled",
            ),
        ),
        {"regions.0.shared_with": []},
    ),
    Case(
        "open a workbench",
        "image_workbench",
        workbench,
        ("RunInstances", "CreateVolume", "AttachVolume"),
        state={"phase": "open", "instance.state": "running", "volume.state": "in-use"},
    ),
    Case(
        "open a workbench on an instance",
        "image_workbench",
        lambda world: workbench(world, launch=None, instance_id=world.web.instance_id),
        ("CreateVolume", "AttachVolume"),
        state={"phase": "open", "device_name": "/dev/sdg"},
    ),
    Case(
        "detach a workbench",
        "image_workbench",
        lambda world: workbench(world, state="detached"),
        ("StopInstances", "DetachVolume", "TerminateInstances"),
        World.open_bench,
        {"phase": "detached", "volume.state": "available"},
    ),
    Case(
        "bake a volume",
        "ami_bake",
        lambda world: {
            "name": "web",
            "version": "2",
            "source_volume_id": world.open_bench(launch=None, instance_id=world.web.instance_id),
            "base_image_id": world.web.image_id,
            "require_stopped": False,
        },
        ("CreateSnapshot", "RegisterImage"),
        state={"image.state": "available", "image.boot_mode": "uefi-preferred"},
    ),
    Case(
        "remove a workbench",
        "image_workbench",
        lambda world: workbench(world, state="absent"),
        ("DeleteVolume",),
        World.developed,
        {"phase": "registered", "volume": None},
    ),
    Case(
        "replace",
        "instance_relaunch",
        relaunch,
        ("RunInstances", "CreateTags", "StopInstances"),
        state={"instance.state": "running"},
    ),
    Case(
        "replace and terminate",
        "instance_relaunch",
        lambda world: relaunch(world, old_instance="terminate"),
        ("RunInstances", "CreateTags", "TerminateInstances"),
        state={"instance.state": "running"},
    ),
    Case(
        "replace and keep",
        "instance_relaunch",
        lambda world: relaunch(world, old_instance="keep"),
        ("RunInstances", "DeleteTags"),
        state={"instance.state": "running"},
    ),
    Case(
        "replace the root volume",
        "instance_relaunch",
        lambda world: relaunch(world, strategy="replace_root_volume"),
        ("CreateTags", "CreateTags", "CreateReplaceRootVolumeTask", "CreateTags"),
        state={"instance.state": "running", "strategy": "replace_root_volume"},
    ),
    Case(
        "replace and move the data volumes",
        "instance_relaunch",
        lambda world: relaunch(world, data_volumes="move"),
        (
            "RunInstances",
            "StopInstances",
            "CreateTags",
            "StopInstances",
            "DetachVolume",
            "AttachVolume",
            "StartInstances",
            "CreateTags",
            "DeleteTags",
            "DeleteTags",
        ),
        state={"instance.state": "running"},
    ),
    Case(
        "replace a held instance",
        "instance_relaunch",
        relaunch,
        ("RunInstances", "CreateTags", "DeleteTags"),
        lambda world: world.stop(held=True),
        {"instance.state": "running"},
    ),
    Case(
        "volumes made",
        "ebs_volume_spec",
        lambda world: declare(
            world,
            {"name": "log", "size": 10, "tags": {"team": "shop"}, "delete_on_termination": True},
            {"name": "db", "size": 20, "volume_type": "io2", "iops": 1000, "device_name": "/dev/sdh"},
        ),
        ("CreateVolume",) * 2 + ("AttachVolume",) * 2 + ("ModifyInstanceAttribute",),
        state={"volumes.0.state": "in-use", "volumes.0.device_name": "/dev/sdg", "volumes.1.device_name": "/dev/sdh"},
    ),
    Case(
        "volumes changed in place",
        "ebs_volume_spec",
        lambda world: declare(
            world, {"name": "root", "size": 12}, {**DATA, "size": 30, "iops": 4000, "tags": {"team": "shop"}}
        ),
        ("ModifyVolume", "CreateTags", "ModifyVolume"),
        state={"volumes.0.size": 12, "volumes.1.size": 30, "volumes.1.iops": 4000, "volumes.1.tags.team": "shop"},
    ),
    Case(
        "a volume swapped",
        "ebs_volume_spec",
        lambda world: declare(world, {**DATA, "encrypted": True}, replace="snapshot", in_use="stop"),
        ("CreateTags",) * 3
        + ("StopInstances", "DetachVolume", "CreateSnapshot", "CreateVolume", "AttachVolume", "StartInstances")
        + ("DeleteTags", "DeleteSnapshot", "CreateTags", "DeleteTags", "DeleteTags"),
        state={"volumes.0.encrypted": True, "volumes.0.state": "in-use", "volumes.0.device_name": DATA_DEVICE},
    ),
    Case(
        "a volume detached",
        "ebs_volume_spec",
        lambda world: declare(world, {"volume_id": world.web.data_volume_id, "state": "detached"}, in_use="detach"),
        ("DetachVolume", "CreateTags"),
        state={"volumes.0.state": "available", "volumes.0.device_name": None},
    ),
    Case(
        "a volume absent",
        "ebs_volume_spec",
        lambda world: declare(world, {"volume_id": world.web.data_volume_id, "state": "absent"}, in_use="detach"),
        ("DetachVolume", "CreateSnapshot", "DeleteVolume"),
        state={"volumes.0.volume_id": None},
    ),
    Case(
        "volumes purged",
        "ebs_volume_spec",
        lambda world: declare(world, purge_volumes=True),
        ("DetachVolume",),
        World.stop,
    ),
    Case(
        "a volume kept unattached",
        "ebs_volume_spec",
        lambda world: {
            "availability_zone": f"{REGION}a",
            "spec": "spares",
            "volumes": [{"name": "spare", "size": 125, "volume_type": "st1"}],
        },
        ("CreateVolume",),
        state={"volumes.0.state": "available", "volumes.0.volume_type": "st1"},
    ),
    Case(
        "a group refreshed",
        "instance_refresh",
        lambda _world: {"groups": ["web"], "preferences": {"min_healthy_percentage": 0}},
        ("StartInstanceRefresh",),
        World.group,
        {"groups.0.target": "2", "groups.0.version": "$Default"},
    ),
    Case(
        "a volume restored to a zone",
        "snapshot_restore",
        lambda world: {"source_volume_ids": [world.web.data_volume_id], "zone": f"{REGION}b"},
        ("CreateVolume",),
        lambda world: world.snapshots(2),
        {"volumes.0.zone": f"{REGION}b", "volumes.0.device": None},
    ),
    Case(
        "volumes restored on an instance",
        "snapshot_restore",
        lambda world: {
            "source_volume_ids": [world.web.data_volume_id, world.web.root_volume_id],
            "target_instance_id": world.web.instance_id,
            "name": "beside",
        },
        ("CreateVolume",) * 2 + ("AttachVolume",) * 2,
        lambda world: (world.snapshots(1), world.image()),
        {"volumes.0.zone": f"{REGION}a"},
    ),
    Case(
        "snapshots that are due",
        "snapshot_rotate",
        rotate,
        ("CreateSnapshot",) * 2,
        state={"counts.withheld": 0, "counts.deleted": 0},
    ),
    Case(
        "a set that is due",
        "snapshot_rotate",
        lambda world: rotate(world, consistency="instance", tags={"team": "shop"}),
        ("CreateSnapshots",) * 2,
    ),
    Case(
        "snapshots that are copied, locked and quick to restore",
        "snapshot_rotate",
        lambda world: rotate(
            world,
            copies=[{"region": "eu-west-1", "keep": {"last": 1}, "wait": True}],
            lock={"mode": "governance", "duration": "1d"},
            fast_restore={"zones": [f"{REGION}a"]},
        ),
        ("CreateSnapshot",) * 2 + ("LockSnapshot",) * 2 + ("EnableFastSnapshotRestores",) * 2 + ("CopySnapshot",) * 2,
        state={"counts.withheld": 0, "rpo.0.copies.0.region": "eu-west-1"},
    ),
    Case(
        "tags of snapshots",
        "snapshot_rotate",
        lambda world: rotate(world, tags={"team": "shop"}),
        ("CreateTags",) * 2,
        rotated,
    ),
    Case(
        "snapshots that no rule keeps, and one that an image is made of",
        "snapshot_rotate",
        lambda world: {"policy": "all", "create": "never", "adopt": {"tags": BY_CRON}, "keep": {"last": 1}},
        ("CreateTags",) * 4 + ("DeleteSnapshot",) * 2,
        lambda world: world.image(snapshot_id=world.snapshots(4)[0]),
    ),
    Case(
        "versions that no rule keeps, and one in use",
        "image_rotate",
        lambda _world: {"name": "web", "action": "deregister", "keep": {"last": 1}, "adopt": {"tags": BY_CRON}},
        ("CreateTags", "DeregisterImage", "DeregisterImage", "DeregisterImage"),
        lambda world: world.versions(4, used=2),
        {"counts.kept": 2, "counts.withheld": 0},
    ),
    Case(
        "versions to disable",
        "image_rotate",
        lambda _world: {"name": "web", "action": "disable", "keep": {"daily": 2}},
        ("DisableImage",),
        lambda world: world.versions(3),
        {"counts.managed": 3, "counts.kept": 2},
    ),
    Case(
        "versions to deprecate",
        "image_rotate",
        lambda _world: {"name": "web", "action": "deprecate", "keep": {"within": "12h"}},
        ("EnableImageDeprecation",) * 2,
        lambda world: world.versions(3),
        {"counts.managed": 3, "counts.kept": 1},
    ),
)


def announced(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plan without ``before`` and ``after``, which may show times of the run (how long an instance is held)."""
    return [{key: value for key, value in entry.items() if key not in ("before", "after")} for entry in result["plan"]]


def value_at(result: Mapping[str, Any], path: str) -> Any:
    value: Any = result
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


# The keys that Ansible adds to every result.
NOT_THE_MODULES = {"changed", "diff", "invocation", "warnings", "deprecations", "failed", "_ansible_no_log"}


@cache
def documented(module: str, *returned: str) -> frozenset[str]:
    """The keys that a module's RETURN names, or those of them that it returns in just these cases."""
    source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text(encoding="utf-8")
    text = source.partition('RETURN = r"""')[2].partition('"""')[0]
    return frozenset(
        key for key, entry in yaml.safe_load(text).items() if not returned or entry["returned"] in returned
    )


def contained(module: str, key: str) -> set[str]:
    """The keys that a module's RETURN names of the items of a list."""
    source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text(encoding="utf-8")
    return set(yaml.safe_load(source.partition('RETURN = r"""')[2].partition('"""')[0])[key]["contains"])


COSTING = {
    *("CreateVolume", "ModifyVolume", "DeleteVolume", "CreateSnapshot", "CreateSnapshots", "CopySnapshot"),
    *("DeleteSnapshot", "ModifySnapshotTier", "CreateImage", "RunInstances", "CreateReplaceRootVolumeTask"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_check_and_run_agree_and_repeat_without_changes(sandbox: Sandbox, tmp_path: Path, case: Case) -> None:
    world = World(sandbox, seed_web(sandbox, REGION))
    case.before(world)
    options = case.options(world)
    sandbox.reset_log()
    run = run_task(sandbox, tmp_path, case.module, options, *STEPS)
    log = sandbox.log()
    assert [each.outcome for each in run.ours] == ["changed", "changed", "ok", "ok"], run.output
    check, done, check_again, again = (each.result for each in run.ours)

    assert tuple(entry["action"] for entry in done["plan"]) == case.plan
    assert announced(check) == announced(done), "check mode tells what the run then does"
    headers = [[item.get("after_header") for item in each["diff"]] for each in (check, done)]
    assert headers[0] == headers[1]
    assert check_again["plan"] == again["plan"] == []
    assert not check.get("planned_ids")
    parallel = {"ebs_volume_spec": PARALLEL, "snapshot_rotate": SECURING, "ami_bake": LASTING}.get(case.module, ())
    assert_done_as_planned(done["plan"], log, done["planned_ids"], parallel=parallel)
    assert len(changing_calls(log)) <= len(done["plan"]), "none in the other three steps"
    for result in (check, done, check_again, again):
        assert result["msg"]
        assert set(result) - NOT_THE_MODULES <= documented(case.module), "a key that RETURN does not name"
        assert documented(case.module, "always", "success") <= set(result), "a key that RETURN promises"
        for decision in result.get("decisions", [])[:1]:
            assert set(decision) == contained(case.module, "decisions")

    if "cost_estimate" in documented(case.module):
        assert check["cost_estimate"] == done["cost_estimate"]
        assert check_again["cost_estimate"] is again["cost_estimate"] is None
        # Other regions have no shipped price, and a capture alone does not read the size of the volume.
        is_priced = {entry["region"] for entry in done["plan"]} == {REGION} and case.name != "capture"
        if is_priced and COSTING & set(case.plan):
            assert check["cost_estimate"]["text"], "the plan changes sizes"
    for path, expected in case.state.items():
        assert value_at(done, path) == expected, f"{path} after the run"
        assert value_at(check, path) == expected, f"{path} as predicted"
        assert value_at(again, path) == expected, f"{path} of a run that changes nothing"
    for entry in done["plan"]:
        assert_observed(entry, done)


def assert_observed(entry: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """The plan's prediction of the returned entities equals the state after the waits."""
    entities = [
        *result.get("instances", []),
        *filter(None, [result.get("image"), result.get("instance")]),
        *result.get("snapshots", []),
    ]
    resource = result["planned_ids"].get(entry["resource"], entry["resource"])
    last = [each for each in result["plan"] if each["resource"] == entry["resource"]][-1]
    for entity in entities:
        names = {entity.get(f"{kind}_id") for kind in ("instance", "image", "snapshot")}
        if resource in names and last is entry:
            for key in ("state", "name", "tags", "image_id", "instance_type", "architecture", "virtualization_type"):
                if key in (entry["after"] or {}):
                    wanted = entry["after"][key]
                    assert entity[key] == result["planned_ids"].get(
                        wanted if isinstance(wanted, str) else "", wanted
                    ), key


def test_drill_of_an_id_is_announced_as_it_is_done(sandbox: Sandbox, tmp_path: Path) -> None:
    world = World(sandbox, seed_web(sandbox, REGION))
    world.snapshots(1)
    sandbox.reset_log()
    options = {"source_volume_ids": [world.web.data_volume_id], "drill": True, "drill_id": "0a1b2c3d"}
    run = run_task(sandbox, tmp_path, "snapshot_restore", options, "check", "run")
    check, done = (each.result for each in run.ours)
    assert [each.outcome for each in run.ours] == ["changed", "changed"], run.output
    assert announced(check) == announced(done)
    assert_done_as_planned(done["plan"], sandbox.log(), done["planned_ids"])
    assert (check["volumes"][0]["seconds"], done["volumes"][0]["seconds"] > 0) == (None, True)
    for result in (check, done):
        assert set(result) - NOT_THE_MODULES <= documented("snapshot_restore")
        assert set(result["volumes"][0]) == contained("snapshot_restore", "volumes")


def test_absent_removes_the_resources_of_available(sandbox: Sandbox, tmp_path: Path) -> None:
    world = World(sandbox, seed_web(sandbox, REGION))
    world.stop()
    made = run_task(sandbox, tmp_path, "ami_bake", bake(world), "run").ours[0].result
    sandbox.reset_log()
    run = run_task(sandbox, tmp_path, "ami_bake", {"name": "web", "version": "1", "state": "absent"}, *STEPS)
    check, done, check_again, again = (each.result for each in run.ours)
    assert [each.outcome for each in run.ours] == ["changed", "changed", "ok", "ok"], run.output
    assert [(entry["action"], entry["resource"]) for entry in done["plan"]] == [
        ("DeregisterImage", made["image_id"]),
        ("DeleteSnapshot", made["snapshots"][0]["snapshot_id"]),
    ]
    assert check["plan"] == done["plan"]
    assert check_again["plan"] == again["plan"] == []
    assert_done_as_planned(done["plan"], sandbox.log(), {})
    assert world.ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["web-1"]}])["Images"] == []


def test_absent_is_refused_while_an_instance_runs_from_the_image(sandbox: Sandbox, tmp_path: Path) -> None:
    world = World(sandbox, seed_web(sandbox, REGION))
    world.stop()
    made = run_task(sandbox, tmp_path, "ami_bake", bake(world), "run").ours[0].result
    with at_once(sandbox):
        (user,) = world.ec2.run_instances(ImageId=made["image_id"], MinCount=1, MaxCount=1, InstanceType="t3.micro")[
            "Instances"
        ]
    sandbox.reset_log()
    absent = {"name": "web", "version": "1", "state": "absent"}
    run = run_task(sandbox, tmp_path, "ami_bake", absent, "check", "run")
    assert [each.outcome for each in run.ours] == ["ignored", "ignored"]
    assert all(user["InstanceId"] in str(each.result["msg"]) for each in run.ours)
    assert changing_calls(sandbox.log()) == []
    forced = run_task(sandbox, tmp_path, "ami_bake", {**absent, "force": True}, "run").ours[0]
    assert forced.outcome == "changed", forced.result


def test_many_instances_are_one_call_and_one_poll_loop(sandbox: Sandbox, tmp_path: Path) -> None:
    webs = [seed_web(sandbox, REGION, f"web{number}") for number in range(3)]
    sandbox.reset_log()
    options = {"instance_ids": [web.instance_id for web in webs], "state": "stopped", "remember": True}
    run = run_task(sandbox, tmp_path, "instance_power", options, "run")
    result = run.ours[0].result
    assert [item["state"] for item in result["instances"]] == ["stopped"] * 3, run.output
    assert changing_calls(sandbox.log()) == ["CreateTags", "StopInstances"]
    assert_done_as_planned(result["plan"], sandbox.log(), {})


def test_late_effect_of_a_stop_is_rolled_back(sandbox: Sandbox, tmp_path: Path) -> None:
    """A module survives the death of ansible-playbook; its call may be held up until a later run is over."""
    world = World(sandbox, seed_web(sandbox, REGION))
    held = sandbox.add_fault("StopInstances", kind="pause", when="before")
    options = {"instance_ids": [world.web.instance_id], "state": "stopped", "remember": True}
    with ThreadPoolExecutor() as pool:
        late = pool.submit(run_task, sandbox, tmp_path, "instance_power", options, "run")
        sandbox.wait_paused(held)
        (tmp_path / "other").mkdir()
        other = {"instance_ids": [world.web.instance_id], "state": "restored"}
        assert run_task(sandbox, tmp_path / "other", "instance_power", other, "run").changed == ["run"]
        sandbox.release(held)
        result = late.result().ours[0].result
    assert result["error"]["code"] == "WaitMismatch", result
    assert [entry["action"] for entry in result["rolled_back"]] == ["StartInstances"]
    assert sandbox.inspect(world.web.instance_id)["state"] == "running"


def test_the_image_holds_every_write_up_to_the_stop(sandbox: Sandbox, tmp_path: Path) -> None:
    world = World(sandbox, seed_web(sandbox, REGION))
    sandbox.add_mark(world.web.root_volume_id, "the last order")
    world.stop()
    written = sandbox.marks(world.web.root_volume_id)["marks"]
    made = run_task(sandbox, tmp_path, "ami_bake", bake(world), "run").ours[0].result
    assert any("the last order" in str(mark) for mark in written)
    assert sandbox.marks(made["snapshots"][0]["snapshot_id"])["marks"] == written


REFUSED: tuple[tuple[str, str, Callable[[World], Mapping[str, Any]], str], ...] = (
    ("malformed id", "instance_power", lambda _w: {"instance_ids": ["i-zz"], "state": "stopped"}, "i-zz"),
    (
        "unknown id",
        "instance_power",
        lambda _w: {"instance_ids": ["i-0123456789abcdef0"], "state": "stopped"},
        "i-0123456789abcdef0",
    ),
    ("bad image name", "ami_bake", lambda w: bake(w, image_name="web*{version}"), "image_name"),
    ("running source", "ami_bake", bake, "require_stopped: false"),
    (
        "unknown device",
        "ami_bake",
        lambda w: bake(w, require_stopped=False, block_devices=[{"device_name": "/dev/sdq"}]),
        "/dev/sdq",
    ),
    (
        "smaller than the snapshot",
        "ami_bake",
        lambda w: bake(w, require_stopped=False, block_devices=[{"device_name": ROOT_DEVICE, "volume_size": 1}]),
        "1 GiB is smaller than its snapshot. Use 8 or more",
    ),
    ("taken name", "ami_bake", lambda w: (w.image("web-1"), bake(w, require_stopped=False))[1], "is the name of ami-"),
    (
        "unknown image",
        "instance_relaunch",
        lambda w: {"instance_id": w.web.instance_id, "image_id": "ami-0123456789abcdef0"},
        "ami-0123",
    ),
    (
        "move",
        "instance_relaunch",
        lambda w: relaunch(w, data_volumes="move", old_instance="keep"),
        "old_instance: keep excludes data_volumes: move",
    ),
)


@pytest.mark.parametrize(
    ("module", "options", "text"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_refusal_comes_before_the_first_effect(
    sandbox: Sandbox, tmp_path: Path, module: str, options: Callable[[World], Mapping[str, Any]], text: str
) -> None:
    world = World(sandbox, seed_web(sandbox, REGION))
    given = options(world)
    sandbox.reset_log()
    run = run_task(sandbox, tmp_path, module, given, "check", "run")
    assert [each.outcome for each in run.ours] == ["ignored", "ignored"], run.output
    for each in run.ours:
        assert text in each.result["msg"]
        assert each.result["changed"] is False
    assert changing_calls(sandbox.log()) == []


@pytest.mark.parametrize(
    ("options", "environment", "texts"),
    [
        ({"endpoint_url": "http://127.0.0.1:9"}, {}, ("http://127.0.0.1:9", "endpoint_url")),
        ({"profile": "nobody"}, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ("nobody",)),
        ({}, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ("credentials",)),
        ({"region": ""}, {}, ("region", "AWS_REGION")),
    ],
    ids=["endpoint that does not answer", "unknown profile", "no credentials", "no region"],
)
def test_impossible_connection_is_named(
    sandbox: Sandbox, tmp_path: Path, options: Mapping[str, Any], environment: Mapping[str, str], texts: tuple[str, ...]
) -> None:
    task = {"instance_ids": ["i-0123456789abcdef0"], "state": "stopped", **options}
    run = run_task(sandbox, tmp_path, "instance_power", task, "run", **environment)
    assert run.ours[0].outcome == "ignored"
    for text in texts:
        assert text in run.ours[0].result["msg"]


def test_refusal_by_ec2_reaches_the_user(sandbox: Sandbox, tmp_path: Path) -> None:
    world = World(sandbox, seed_web(sandbox, REGION))
    world.stop()
    sandbox.refuse("RegisterImage")
    try:
        result = run_task(sandbox, tmp_path, "ami_bake", bake(world), "run").ours[0].result
    finally:
        sandbox.refuse()
    assert result["error"]["code"] == "UnauthorizedOperation"
    assert result["error"]["operation"] == "RegisterImage"
    assert "UnauthorizedOperation" in result["msg"]
    assert result["error"]["message"] in result["msg"]
    assert result["changed"] is True, "the capture was made"
    assert [entry["action"] for entry in result["done"]] == ["CreateSnapshot"]


def test_copies_with_a_profile_are_made_in_its_account(sandbox: Sandbox, tmp_path: Path) -> None:
    vault, config = "444455556666", tmp_path / "config"
    config.write_text(f"[profile vault]\naws_access_key_id = {vault}\naws_secret_access_key = testing\n")
    world = World(sandbox, seed_web(sandbox, REGION))
    task = rotate(world, copies=[{"region": REGION, "profile": "vault", "keep": {"last": 1}, "wait": True}])
    run = run_task(sandbox, tmp_path, "snapshot_rotate", task, *STEPS, AWS_CONFIG_FILE=str(config))
    assert [each.outcome for each in run.ours] == ["changed", "changed", "ok", "ok"], run.output
    check, done = (each.result for each in run.ours[:2])
    assert check["plan"] == done["plan"]
    copies = {entry["resource"]: entry for entry in done["plan"] if entry["action"] == "CopySnapshot"}
    assert {(entry["region"], entry["profile"]) for entry in copies.values()} == {(REGION, "vault")}
    there = sandbox.client(region=REGION, account=vault).describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert {one["SnapshotId"] for one in there} == set(done["copied"]) == {done["planned_ids"][name] for name in copies}
    here = sandbox.client(region=REGION)
    for name in done["created"]:
        shared = here.describe_snapshot_attribute(SnapshotId=name, Attribute="createVolumePermission")
        assert shared["CreateVolumePermissions"] == []
    # An unknown profile is named before any change.
    other = rotate(world, policy="p", copies=[{"region": REGION, "profile": "nobody", "keep": {"last": 1}}])
    sandbox.reset_log()
    (failed,) = run_task(sandbox, tmp_path, "snapshot_rotate", other, "run", AWS_CONFIG_FILE=str(config)).ours
    assert (failed.outcome, "nobody" in failed.result["msg"]) == ("ignored", True)
    assert changing_calls(sandbox.log()) == []
