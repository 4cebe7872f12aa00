# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `instance_refresh`: which refresh it starts, awaits or refuses, and when there is nothing to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.refresh import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.refresh.spec import RefreshSpec, parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.scaling_facts import (
    INSTANCE_REFRESHES,
    SCALING_GROUP,
    GroupMember,
    InstanceRefresh,
    ScalingGroup,
    TemplateReference,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    TEMPLATE_VERSIONS,
    TemplateVersion,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.wait_goals import GOALS

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LT, REGION = "lt-0123456789abcdef0", "eu-central-1"
NEW = planned("version", f"of {LT} with web/2")
GIVEN: dict[str, Any] = {"groups": ["web"], "on_failure": "rollback", "health_timeout": 600}
VERSIONS = tuple(TemplateVersion(LT, "web", number, number == 2, {"ImageId": f"ami-{number}"}) for number in (1, 2, 3))


def spec(**more: Any) -> RefreshSpec:
    return parse({**GIVEN, **more}, REGION)


def reference(version: str) -> TemplateReference:
    return TemplateReference(LT, "web", version)


def member(version: str, **more: Any) -> GroupMember:
    return GroupMember(f"i-{version}", "InService", "Healthy", reference(version), **more)


def group(version: str, *members: GroupMember, **more: Any) -> ScalingGroup:
    return ScalingGroup("web", reference(version), capacity=len(members), members=members, **more)


def refresh(status: str, version: str = "", **more: Any) -> InstanceRefresh:
    return InstanceRefresh("r-2", status, 40, desired=reference(version) if version else None, **more)


def state(found: ScalingGroup | None, *refreshes: InstanceRefresh, versions: Any = VERSIONS) -> State:
    facts = [INSTANCE_REFRESHES.fact("web", refreshes), TEMPLATE_VERSIONS.fact(LT, versions)]
    if found is not None:
        facts.append(SCALING_GROUP.fact("web", found))
    return State(REGION).with_resources(facts)


def planned_for(given: RefreshSpec, known: State) -> Plan:
    return planner.plan(given, known, NOW)


def calls(made: Plan) -> list[tuple[str, Any]]:
    """The changes as (operation, the version of the desired configuration)."""
    return [
        (
            one.action,
            (one.parameters.get("DesiredConfiguration") or {}).get("LaunchTemplate", {}).get("Version"),
        )
        for one in made.changes
    ]


def goals(made: Plan) -> list[tuple[str, str]]:
    return [(wait.goal, wait.about) for stage in made.stages for wait in stage.waits]


def ending(made: Plan) -> list[str]:
    return [one.action for stage in made.stages for back in stage.on_failure for one in back.changes]


@pytest.mark.parametrize(
    ("version", "own", "runs", "desired"),
    [
        # (the task's version, the group's own, that of its instances, the desired configuration or "nothing")
        (None, "$Default", "2", "nothing"),
        (None, "$Default", "1", None),
        (None, "$Latest", "2", None),
        (None, "$Latest", "3", "nothing"),
        (None, "1", "1", "nothing"),
        ("2", "$Default", "2", "nothing"),
        ("2", "$Default", "1", None),
        ("2", "1", "1", "2"),
        ("2", "1", "2", "2"),
        ("2", "2", "1", None),
        ("3", "$Default", "3", "3"),
        ("$Latest", "3", "3", "$Latest"),
        ("$Latest", "$Latest", "3", "nothing"),
        ("$Default", "$Default", "3", None),
        (NEW, "$Default", "2", None),
        (NEW, "1", "1", NEW),
    ],
)
def test_refresh_starts_unless_all_instances_run_the_version_that_the_group_names(
    version: str | None, own: str, runs: str, desired: str | None
) -> None:
    made = planned_for(spec(version=version), state(group(own, member(runs), member(runs))))
    assert calls(made) == ([] if desired == "nothing" else [("StartInstanceRefresh", desired)])
    assert (desired == "nothing") is (made.stages == ())


@pytest.mark.parametrize(
    ("version", "own", "on_failure", "automatic", "end"),
    [
        ("2", "1", "rollback", True, ["RollbackInstanceRefresh"]),
        ("2", "1", "cancel", False, ["CancelInstanceRefresh"]),
        ("2", "1", "keep", False, []),
        ("2", "2", "rollback", False, ["CancelInstanceRefresh"]),
        ("3", "$Default", "rollback", False, ["CancelInstanceRefresh"]),
        ("$Latest", "1", "rollback", False, ["CancelInstanceRefresh"]),
        (None, "$Latest", "rollback", False, ["CancelInstanceRefresh"]),
    ],
)
def test_rollback_is_asked_for_only_where_the_service_has_one(
    version: str | None, own: str, on_failure: str, automatic: bool, end: list[str]
) -> None:
    made = planned_for(spec(version=version, on_failure=on_failure), state(group(own, member("1"))))
    preferences = made.changes[0].parameters["Preferences"]
    assert preferences == {"SkipMatching": True, **({"AutoRollback": True} if automatic else {})}
    assert ending(made) == end


def test_image_from_a_parameter_cannot_be_rolled_back() -> None:
    versions = (replace(VERSIONS[0], data={"ImageId": "resolve:ssm:/web"}), *VERSIONS[1:])
    made = planned_for(spec(version="2"), state(group("1", member("1")), versions=versions))
    assert ending(made) == ["CancelInstanceRefresh"]


def test_preferences_are_those_of_the_service() -> None:
    given = {"min_healthy_percentage": 100, "max_healthy_percentage": 110, "standby_instances": "terminate"}
    made = planned_for(spec(preferences=given), state(group("$Default", member("1"))))
    assert made.changes[0].parameters == {
        "Preferences": {
            "MinHealthyPercentage": 100,
            "MaxHealthyPercentage": 110,
            "StandbyInstances": "Terminate",
            "SkipMatching": True,
        }
    }
    assert made.changes[0].reason == "replace 1 of 1 instance with version 2 of web"


@pytest.mark.parametrize("status", ["Pending", "InProgress", "Baking"])
@pytest.mark.parametrize(("version", "own", "desired"), [("2", "1", "2"), (None, "$Default", ""), ("2", "2", "")])
def test_refresh_that_means_the_same_is_awaited(status: str, version: str | None, own: str, desired: str) -> None:
    former = InstanceRefresh("r-1", "Cancelled")
    made = planned_for(spec(version=version), state(group(own, member("1")), refresh(status, desired), former))
    assert (calls(made), goals(made)) == ([], [("refreshed", "r-1"), ("group_in_service", "2")])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (refresh("InProgress", "3"), "the refresh r-2 of web goes to version 3 (InProgress, 40% done)"),
        (refresh("InProgress"), "goes to version 1"),
        (refresh("Cancelling", "2"), "Cancelling, 40% done"),
        (refresh("RollbackInProgress", "2", reason="by hand"), "RollbackInProgress (by hand), 40% done"),
        (refresh("Pending", is_mixed=True), "goes to another configuration (Pending"),
        (replace(refresh("Pending"), desired=TemplateReference("lt-1", "db", "2")), "goes to another configuration"),
    ],
)
def test_refresh_that_means_something_else_is_refused_by_name(found: InstanceRefresh, words: str) -> None:
    with pytest.raises(StorageError) as refused:
        planned_for(spec(version="2"), state(group("1", member("1")), found))
    text = str(refused.value)
    assert text.startswith("groups: the refresh r-2 of web goes to ")
    assert words in text
    assert "the task wants version 2 of web. Wait for the end of that refresh, or cancel it" in text


def test_rollback_to_the_wanted_version_is_awaited() -> None:
    found = state(group("1", member("2")), refresh("RollbackInProgress", "2"))
    made = planned_for(spec(version="1"), found)
    assert (calls(made), goals(made)) == ([], [("refresh_over", ""), ("group_in_service", "1")])


@pytest.mark.parametrize("status", ["Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed", "Successful"])
def test_ended_refresh_is_no_obstacle(status: str) -> None:
    made = planned_for(spec(version="2"), state(group("1", member("1")), refresh(status, "3")))
    assert (calls(made), goals(made)[0]) == ([("StartInstanceRefresh", "2")], ("refreshed", "r-2"))


@pytest.mark.parametrize(
    ("members", "preferences", "starts"),
    [
        ([member("1", is_protected=True), member("2")], {"scale_in_protected_instances": "ignore"}, False),
        ([member("1", is_protected=True), member("2")], {"scale_in_protected_instances": "refresh"}, True),
        ([replace(member("1"), lifecycle="Standby"), member("2")], {"standby_instances": "ignore"}, False),
        ([replace(member("1"), lifecycle="Standby"), member("2")], {}, True),
        ([replace(member("1"), lifecycle="Terminating:Wait"), member("2")], {}, False),
        ([replace(member("2"), template=None)], {}, True),
        ([replace(member("2"), template=TemplateReference("lt-1", "db", "2"))], {}, True),
    ],
)
def test_only_instances_that_a_refresh_replaces_count(
    members: list[GroupMember], preferences: dict[str, str], starts: bool
) -> None:
    found = replace(group("$Default", *members), capacity=1)
    assert bool(calls(planned_for(spec(preferences=preferences), state(found)))) is starts


def test_health_gate_is_repeated_by_the_next_run() -> None:
    sick = replace(member("2"), health="Unhealthy")
    made = planned_for(spec(), state(group("$Default", member("2"), sick), refresh("Successful")))
    assert (calls(made), goals(made)) == ([], [("group_in_service", "2")])


def test_plan_predicts_its_own_end() -> None:
    before = state(group("1", member("1")))
    for given in (spec(version="2"), spec(version=NEW)):
        made = planned_for(given, before)
        after = overlay(before, made.published(), everywhere=True)
        assert planned_for(given, after).stages == ()
        assert planner.result(given, after)["groups"][0]["target"] == given.version


@pytest.mark.parametrize(
    ("found", "given", "words"),
    [
        (None, {}, "web does not exist in eu-central-1. Check the name and the region"),
        (ScalingGroup("web"), {}, "web uses a launch configuration, which has no versions"),
        (group("7", member("1")), {}, "web names version 7 of web, which does not exist"),
        (group("1", member("1")), {"version": "9"}, "web cannot run version 9 of web, which does not exist"),
        (group("$Default", member("1"), is_mixed=True), {"version": "3"}, "Set the version in the policy"),
        (
            group("1", member("1")),
            {"version": "2", "launch_template_id": "lt-1"},
            "web uses the launch template web, and launch_template_id is lt-1",
        ),
        (group("1", member("1")), {"version": NEW, "launch_template_id": "lt-1"}, "launch_template_id is lt-1"),
    ],
)
def test_group_that_cannot_be_refreshed_is_refused(
    found: ScalingGroup | None, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(StorageError) as refused:
        planned_for(spec(**given), state(found))
    assert str(refused.value).startswith("groups: ")
    assert words in str(refused.value)
    assert str(refused.value).endswith("The task has changed nothing.")


def test_refused_group_does_not_stop_the_others() -> None:
    known = state(group("$Default", member("1"))).with_resources([INSTANCE_REFRESHES.fact("gone", ())])
    made = planned_for(spec(groups=["gone", "web"]), known)
    assert calls(made) == [("StartInstanceRefresh", None)]
    assert str(made.refused) == (
        "groups: gone does not exist in eu-central-1. Check the name and the region. The task refreshes the other "
        "groups."
    )


def test_refreshes_are_asked_before_the_groups() -> None:
    """A refresh that ends between both answers has then changed the group already."""
    asked: list[list[str]] = []
    known = State(REGION, open=True)
    while True:
        try:
            planned_for(spec(), known)
        except NeedsAnswers as needed:
            asked.append([query.operation for query in needed.queries])
            answers: dict[Any, Any] = {
                query: [SCALING_GROUP.fact("web", group("2", member("2")))] for query in needed.queries
            }
            known = known.with_answers(answers)
        except StorageError:
            break
        else:
            break
    assert asked[:2] == [["DescribeInstanceRefreshes"], ["DescribeAutoScalingGroups"]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": []}, "groups: no group is named"),
        ({"groups": [" "]}, "groups: no group is named"),
        ({"version": "0"}, "version: '0' is not a version of a launch template"),
        ({"version": "newest"}, "Give a number or $Default or $Latest, or remove the option"),
        ({"versions": {"web": "old"}}, "versions.web: 'old' is not a version of a launch template"),
        ({"versions": {"wbe": "1"}}, "versions: wbe: groups does not name it"),
        ({"health_timeout": 0}, "health_timeout: 0 is less than 1 second"),
        (
            {"preferences": {"min_healthy_percentage": 101}},
            "preferences.min_healthy_percentage: 101 is out of range. Use 0 to 100.",
        ),
        ({"preferences": {"max_healthy_percentage": 110}}, "needs min_healthy_percentage too"),
        (
            {"preferences": {"min_healthy_percentage": 50, "max_healthy_percentage": 200}},
            "200 is more than 100 above min_healthy_percentage (50)",
        ),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec(**given)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("members", "done"),
    [
        ([member("2"), member("2")], True),
        ([member("2")], False),
        ([member("2"), member("1")], False),
        ([member("2"), member("2"), member("1", is_protected=True)], True),
        ([member("2"), replace(member("2"), lifecycle="Pending")], False),
        ([member("2"), member("2"), replace(member("1"), lifecycle="Terminating")], True),
        ([member("2"), replace(member("2"), health="Unhealthy")], False),
    ],
)
def test_group_serves_with_its_capacity_healthy_and_of_the_version(members: list[GroupMember], done: bool) -> None:
    found = replace(group("$Default", *members), capacity=2)
    assert GOALS["group_in_service"].verdict(None, found, "2").done is done


@pytest.mark.parametrize(
    ("status", "done", "failed"),
    [
        ("Pending", False, False),
        ("Cancelling", False, False),
        ("RollbackInProgress", False, False),
        ("Successful", True, False),
        ("Failed", False, True),
        ("Cancelled", False, True),
        ("RollbackSuccessful", False, True),
    ],
)
def test_end_of_the_refresh_decides(status: str, done: bool, failed: bool) -> None:
    verdict = GOALS["refreshed"].verdict(None, (refresh(status, reason="x"),), "r-1")
    assert (verdict.done, verdict.failed) == (done, failed)
    assert not GOALS["refreshed"].verdict(None, (refresh("Successful"),), "r-2").done


def test_load_balancer_without_its_health_checks_gives_a_warning() -> None:
    found = group("$Default", member("1"), is_balanced=True, health_check="EC2")
    made = planned_for(spec(), state(found))
    assert "web has a load balancer, but its health check type is EC2" in made.warnings[0]
    assert planned_for(spec(), state(replace(found, health_check="EC2,EBS"))).warnings
    assert planned_for(spec(), state(replace(found, health_check="ELB"))).warnings == ()
    assert planned_for(spec(), state(replace(found, health_check="EBS,ELB"))).warnings == ()


@pytest.mark.parametrize(
    ("versions", "own", "desired"),
    [({"web": "1"}, "2", "1"), ({"web": "2"}, "2", None), ({"web": "$Default"}, "$Default", None), ({}, "1", "3")],
)
def test_version_of_a_single_group_comes_first(versions: dict[str, str], own: str, desired: str | None) -> None:
    made = planned_for(spec(version="3", versions=versions), state(group(own, member("3"))))
    assert calls(made) == [("StartInstanceRefresh", desired)]


@pytest.mark.parametrize("is_mixed", [False, True])
def test_check_run_knows_the_default_that_an_earlier_task_makes(is_mixed: bool) -> None:
    known = state(group("$Default", member("2"), is_mixed=is_mixed))
    after = overlay(
        known, [{"resource": LT, "region": REGION, "after": {"default_version": "1", "facts": {"defaultTo": "1"}}}]
    )
    assert calls(planned_for(spec(version="1"), after)) == [("StartInstanceRefresh", None)]
    # The refresh that is under way to the earlier default is another one.
    active = state(group("$Default", member("1")), refresh("InProgress"))
    entry = {"resource": LT, "region": REGION, "after": {"facts": {"defaultTo": "1"}}}
    with pytest.raises(StorageError, match=r"goes to version 2 \(InProgress"):
        planned_for(spec(version="1"), overlay(active, [entry]))


def test_instances_of_an_override_run_their_own_template() -> None:
    other = "lt-0fedcba9876543210"
    facts = [TEMPLATE_VERSIONS.fact(other, (TemplateVersion(other, "arm", 5, True),))]
    arm = replace(member("5"), template=TemplateReference(other, "arm", "5"))
    found = group("$Default", member("2"), arm, is_mixed=True, overrides=(TemplateReference(other, "arm", "$Default"),))
    assert planned_for(spec(), state(found).with_resources(facts)).stages == ()
    old = replace(arm, template=TemplateReference(other, "arm", "4"))
    stale = replace(found, members=(member("2"), old))
    assert calls(planned_for(spec(), state(stale).with_resources(facts))) == [("StartInstanceRefresh", None)]


@pytest.mark.parametrize(
    ("active", "words"),
    [
        (refresh("InProgress", "2"), ""),
        (refresh("InProgress", "3"), "goes to another version"),
        (refresh("RollbackInProgress", "2"), "is already RollbackInProgress"),
        (refresh("Cancelling", "2"), "is already Cancelling"),
        (refresh("Cancelled", "2"), ""),
    ],
)
@pytest.mark.parametrize("on_failure", ["rollback", "cancel"])
def test_late_refresh_that_already_ends_goes_on_to_its_end(
    on_failure: str, active: InstanceRefresh, words: str
) -> None:
    made = planned_for(spec(version="2", on_failure=on_failure), state(group("1", member("1"))))
    (change,) = [one for stage in made.stages for back in stage.on_failure for one in back.changes]
    assert change.provided is not None
    found = change.provided.objection([INSTANCE_REFRESHES.fact("web", (active,))], "web")
    assert words in found
    assert bool(found) is bool(words)
