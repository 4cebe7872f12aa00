# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs in extensions/patterns: awx.awx's modules accept their options, and AWX accepts their surveys."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.options import ARGUMENT_SPEC
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.policies import refused_policies

from fake_awx.kinds import RRULE, survey_faults
from tools.environment import ROOT, WORK
from tools.specified import known_variables

PATTERNS = ROOT / "extensions" / "patterns"
AWX = WORK / "awx" / "ansible_collections" / "awx" / "awx" / "plugins" / "modules"
JOBS = sorted(path.parent.name for path in PATTERNS.glob("*/setup.yml"))
ACTION_KEYS = {"name", "when", "no_log", "vars", "tags"}


class Loader(yaml.SafeLoader):
    """Reads Ansible's own tags as plain text."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 -- a safe loader


@cache
def argument_spec(module: str) -> dict[str, Any]:
    """The options of one of awx.awx's modules, from its source, with the options of the connection left out."""
    tree = ast.parse((AWX / f"{module}.py").read_text(encoding="utf-8"))
    (call,) = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "argument_spec"
    ]
    kinds = ast.Module([node for node in tree.body if isinstance(node, ast.Assign)], [])
    names: dict[str, Any] = {}
    exec(compile(kinds, module, "exec"), names)  # noqa: S102 -- the constants of a pinned file
    return dict(eval(compile(ast.Expression(call), module, "eval"), names))  # noqa: S307


def tasks_of(job: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each task of a job's setup.yml with the variables that it sees; imported tasks in the place of their import."""
    (play,) = load(PATTERNS / job / "setup.yml")
    settings = load(PATTERNS / "settings.yml")
    given = {**settings, **load(PATTERNS / job / "survey.yml"), **play["vars"]}
    for task in play["tasks"]:
        imported = task.get("ansible.builtin.import_tasks")
        variables = {**given, **task.get("vars", {})}
        for each in load((PATTERNS / job / imported).resolve()) if imported else [task]:
            yield each, variables


def rendered(value: Any, variables: Mapping[str, Any]) -> Any:
    """A value with its templates filled in. Raises KeyError for a template without a variable."""
    if isinstance(value, dict):
        return {key: rendered(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [rendered(each, variables) for each in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\{\{ ([\w.]+)(?: \| default\((.*)\))? \}\}", value)
    if whole and whole[1].startswith("pattern_"):
        return _found(whole[1], whole[2], variables)
    return re.sub(r"\{\{ (pattern_[\w.]+) \}\}", lambda found: str(_found(found[1], None, variables)), value)


OMIT = object()


def _found(path: str, default: str | None, variables: Mapping[str, Any]) -> Any:
    value: Any = variables
    for name in path.split("."):
        if default is not None and name not in value:
            return OMIT if default == "omit" else yaml.safe_load(default)
        value = value[name]
    return rendered(value, variables)


def calls(job: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module that a setup.yml calls, with its options."""
    for task, variables in tasks_of(job):
        (module,) = set(task) - ACTION_KEYS
        if module == "ansible.builtin.assert":
            continue
        if task.get("when") == "pattern_schedule | length > 0" and not variables["pattern_schedule"]:
            continue
        options = rendered(task[module], variables)
        yield module, {name: value for name, value in options.items() if value is not OMIT}


def templates(job: str) -> list[dict[str, Any]]:
    return [options for module, options in calls(job) if module == "job_template"]


def test_every_job_of_the_documentation_is_there() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "awx.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(named) & set(JOBS)) == JOBS
    assert len(JOBS) >= 6


@pytest.mark.parametrize("job", JOBS)
def test_the_modules_accept_the_options(job: str) -> None:
    seen = set()
    for module, options in calls(job):
        outcome = ArgumentSpecValidator(argument_spec(module)).validate(options)
        assert outcome.error_messages == [], module
        assert set(options) <= set(argument_spec(module)), module
        assert "{{ pattern_" not in repr(options), module
        seen.add(module)
    assert {"project", "inventory", "inventory_source", "credential", "job_template", "notification_template"} <= seen


@pytest.mark.parametrize("wrong", [{"title": "x"}, {"name": "x", "forks": "many"}, {"name": "x", "job_type": "scan"}])
def test_wrong_options_are_found(wrong: dict[str, Any]) -> None:
    assert ArgumentSpecValidator(argument_spec("job_template")).validate(wrong).error_messages


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_a_playbook_of_the_collection_with_its_variables(job: str) -> None:
    (play,) = load(PATTERNS / job / "playbook.yml")
    playbook = play["ansible.builtin.import_playbook"].removeprefix("ec2ops.storage.")
    assert (ROOT / "playbooks" / f"{playbook}.yml").is_file()
    for template in templates(job):
        assert template["playbook"] == f"{job}/playbook.yml"
        given = {*template["extra_vars"], *(each["variable"] for each in template["survey_spec"]["spec"])}
        assert given <= known_variables()[playbook]


@pytest.mark.parametrize("job", JOBS)
def test_awx_accepts_the_survey(job: str) -> None:
    """The rules of the view JobTemplateSurveySpec."""
    survey = load(PATTERNS / job / "survey.yml")["pattern_survey"]
    assert isinstance(survey["name"], str) and isinstance(survey["description"], str)
    assert survey["spec"]
    variables = [question["variable"] for question in survey["spec"]]
    assert len(variables) == len(set(variables))
    for question in survey["spec"]:
        assert survey_faults(question) == [], question


@pytest.mark.parametrize(
    "change",
    [{"type": "list"}, {"required": "yes"}, {"default": 1}, {"min": "1"}, {"type": "multiplechoice", "choices": ["b"]}],
)
def test_a_wrong_question_is_found(change: dict[str, Any]) -> None:
    right = {"question_name": "A", "variable": "a", "type": "text", "required": True, "default": "a"}
    assert survey_faults(right) == []
    assert survey_faults({**right, **change}) != []


@pytest.mark.parametrize("job", JOBS)
def test_no_survey_asks_for_a_secret(job: str) -> None:
    """Answers are stored with the job and shown with it. Credentials are objects of their own."""
    for question in load(PATTERNS / job / "survey.yml")["pattern_survey"]["spec"]:
        assert question["type"] != "password"
        assert not re.search(r"_aws$|key|secret|token|password|user_data", question["variable"])


@pytest.mark.parametrize("job", JOBS)
def test_answers_belong_to_questions_of_the_survey(job: str) -> None:
    """AWX ignores data of a schedule that is no answer to a question."""
    asked = {each["variable"] for each in load(PATTERNS / job / "survey.yml")["pattern_survey"]["spec"]}
    for module, options in calls(job):
        if module == "schedule":
            assert set(options.get("extra_data", {})) <= asked
            assert RRULE.fullmatch(options["rrule"])


def test_nodes_of_the_workflow_lead_through_the_approval() -> None:
    nodes: dict[str, dict[str, Any]] = {}
    for module, options in calls("rotate_snapshots"):
        if module == "workflow_job_template_node":
            nodes.setdefault(options["identifier"], {}).update(options)
    order, current = [], "check"
    while current:
        order.append(nodes[current])
        current = next(iter(nodes[current].get("success_nodes", [])), "")
    assert [("approval_node" in node, "unified_job_template" in node) for node in order] == [
        (False, True),
        (True, False),
        (False, True),
    ]
    by_name = {template["name"]: template for template in templates("rotate_snapshots")}
    first, last = (by_name[node["unified_job_template"]] for node in (order[0], order[2]))
    assert (first["job_type"], last["job_type"]) == ("check", "run")
    assert "ec2ops_rotate_snapshots" in last["extra_vars"]["rotate_snapshots_expected_plans"]
    assert {first["job_slice_count"], last["job_slice_count"]} == {1}


def test_the_policies_of_the_survey_are_policies() -> None:
    """A wrong option of a policy would show only in a job."""
    (question,) = load(PATTERNS / "rotate_snapshots" / "survey.yml")["pattern_survey"]["spec"]
    policies = yaml.safe_load(question["default"])
    assert refused_policies(policies, "policies") == []
    for policy in policies:
        outcome = ArgumentSpecValidator(ARGUMENT_SPEC).validate(policy)
        assert outcome.error_messages == []
