# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`instance_refresh` on the sandbox: whole refreshes, interruptions, refreshes that fail or take too long."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import instance_refresh

from in_process import REGION, Ended, Killed, KillingGateway, run
from sandbox.client import Sandbox
from worlds import new_day, sandbox_gateway

DURATIONS = {"refresh_pending": 1.0, "refresh_step": 2.0, "refresh_cancelling": 1.0, "refresh_failing": 5.0}


class Fleet:
    """The groups ``fixed`` (version 1) and ``moving`` ($Default) of a launch template whose version 3 is unhealthy."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = new_day(sandbox, **DURATIONS)
        images = sandbox.seed({"images": [{"name": "good"}, {"name": "bad", "unhealthy": True}]})
        made = self.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": images["good"]})
        self.template = made["LaunchTemplate"]["LaunchTemplateId"]
        for image in ("good", "bad"):
            self.ec2.create_launch_template_version(
                LaunchTemplateId=self.template, LaunchTemplateData={"ImageId": images[image]}
            )
        rows = [
            {"name": name, "template": self.template, "version": version, "instances": 3}
            for name, version in (("fixed", "1"), ("moving", "$Default"))
        ]
        sandbox.seed({"auto_scaling_groups": rows})

    @property
    def ec2(self) -> Any:
        return self.sandbox.client("ec2", REGION)

    @property
    def scaling(self) -> Any:
        return self.sandbox.client("autoscaling", REGION)

    def make_default(self, version: str) -> None:
        self.ec2.modify_launch_template(LaunchTemplateId=self.template, DefaultVersion=version)

    def refresh(self, *groups: str, **given: Any) -> Ended:
        return run(self.sandbox, module=instance_refresh, **{"groups": list(groups) or ["fixed"], **given})

    def refreshes(self, name: str = "fixed") -> list[str]:
        """The states of all refreshes, the newest first."""
        found = self.scaling.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"]
        return [one["Status"] for one in found]

    def versions(self, name: str = "fixed") -> tuple[str, list[str]]:
        """The version of a group, and those of its instances."""
        (row,) = self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return row["LaunchTemplate"]["Version"], [one["LaunchTemplate"]["Version"] for one in row["Instances"]]


@pytest.fixture
def fleet(quick_sandbox: Sandbox) -> Fleet:
    return Fleet(quick_sandbox)


def test_groups_are_refreshed_once_and_side_by_side(fleet: Fleet) -> None:
    fleet.make_default("2")
    ended = [fleet.refresh("fixed", "moving", version="2", check=check) for check in (True, False, True, False)]
    assert [one.failed for one in ended] == [""] * 4
    check, done, again, last = ended
    assert check.result["plan"] == done.result["plan"]
    assert (again.actions, last.actions, last.result["changed"]) == ([], [], False)
    assert done.actions == ["StartInstanceRefresh"] * 2
    assert [fleet.versions(name) for name in ("fixed", "moving")] == [("2", ["2"] * 3), ("$Default", ["2"] * 3)]
    assert done.result["msg"] == (
        "2 groups refreshed; fixed runs 3 instances of version 2; moving runs 3 instances of version 2"
    )
    row = done.result["groups"][0]
    assert (row["version"], row["target"], row["instances"]) == ("2", "2", {"2": 3})
    assert (row["refresh"]["status"], row["refresh"]["percentage"]) == ("Successful", 100)


def test_run_after_a_kill_waits_for_the_refresh(fleet: Fleet) -> None:
    with pytest.raises(Killed):
        fleet.refresh(version="2", alone=False, gateway=KillingGateway(sandbox_gateway(fleet.sandbox, REGION), 1))
    assert fleet.refresh(version="3").failed.startswith("groups: the refresh ")
    after = fleet.refresh(version="2")
    assert (after.failed, after.actions) == ("", [])
    assert after.result["groups"][0]["refresh"]["status"] == "Successful"
    assert (fleet.refreshes(), fleet.versions()) == (["Successful"], ("2", ["2"] * 3))


def test_lost_answer_starts_no_second_refresh(fleet: Fleet) -> None:
    fleet.sandbox.add_fault("autoscaling:StartInstanceRefresh", occurrence=1, kind="close", when="after")
    done = fleet.refresh(version="2", alone=False)
    assert (done.failed, fleet.refreshes(), fleet.versions()) == ("", ["Successful"], ("2", ["2"] * 3))


def test_failed_refresh_is_rolled_back_by_the_service(fleet: Fleet) -> None:
    done = fleet.refresh(version="3", alone=False)
    assert "fixed should become refreshed but is RollbackSuccessful" in done.failed
    assert "health checks" in done.failed
    assert (fleet.refreshes(), fleet.versions()) == (["RollbackSuccessful"], ("1", ["1"] * 3))


@pytest.mark.parametrize(
    ("name", "on_failure", "end", "versions"),
    [
        ("fixed", "rollback", "RollbackSuccessful", ("1", ["1", "1", "1"])),
        ("fixed", "cancel", "Cancelled", ("1", ["2", "1", "1"])),
        ("moving", "rollback", "Cancelled", ("$Default", ["2", "1", "1"])),
    ],
)
def test_late_refresh_is_ended(
    fleet: Fleet, name: str, on_failure: str, end: str, versions: tuple[str, list[str]]
) -> None:
    fleet.make_default("2")
    fleet.sandbox.configure(durations={"refresh_step": 60.0})
    late = fleet.refresh(name, version="2", on_failure=on_failure, wait_timeout=100, alone=False)
    assert f"Timeout (wait_timeout is over): {name} should become refreshed but is still InProgress" in late.failed
    assert "The task has ended the work, and the next run begins anew. Set a longer wait_timeout." in late.failed
    assert (fleet.refreshes(name), fleet.versions(name)) == ([end], versions)
    fleet.sandbox.configure(durations={"refresh_step": 1.0})
    assert fleet.refresh(name, version="2").failed == ""
    assert fleet.versions(name)[1] == ["2"] * 3


def test_refresh_of_somebody_else_is_not_ended(fleet: Fleet) -> None:
    """Somebody cancels the refresh of this task, and starts another one."""
    fleet.sandbox.configure(durations={"refresh_step": 1000.0})
    gateway = _Interfering(sandbox_gateway(fleet.sandbox, REGION), fleet)
    late = fleet.refresh(version="2", wait_timeout=60, alone=False, gateway=gateway)
    assert late.failed
    assert fleet.refreshes() == ["InProgress", "Cancelled"]


class _Interfering:
    """A gateway whose first changing call is followed by somebody else's refresh."""

    def __init__(self, gateway: Any, fleet: Fleet) -> None:
        self._gateway, self._fleet, self._done = gateway, fleet, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, *given: Any, **more: Any) -> Any:
        made = self._gateway.perform(*given, **more)
        if not self._done:
            self._done = True
            scaling, name = self._fleet.scaling, {"AutoScalingGroupName": "fixed"}
            scaling.cancel_instance_refresh(**name)
            self._fleet.sandbox.move_clock(2)
            template = {"LaunchTemplateId": self._fleet.template, "Version": "3"}
            scaling.start_instance_refresh(**name, DesiredConfiguration={"LaunchTemplate": template})
        return made
