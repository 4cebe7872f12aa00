# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of objects in the controller of the tests, and the requests that AWX 24.6.1 refuses.

Sources: the serializers and views of AWX (``awx/api``), and the backends in ``awx/main/notifications``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ENCRYPTED = "$encrypted$"
Object = dict[str, Any]


class RefusedError(Exception):
    """AWX answers 400, with *answer* as its body."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(json.dumps(answer))
        self.answer = answer


@dataclass(frozen=True)
class Kind:
    """One kind of object. AWX shows every field, and ignores the fields of a request that it does not know."""

    type: str
    fields: Mapping[str, Any]
    """Each field that a request may set, with its default."""
    references: Mapping[str, str] = field(default_factory=dict)
    """The fields that hold an id, and the endpoint of the object with that id."""
    links: Mapping[str, str] = field(default_factory=dict)
    """The lists of related objects, and the endpoint of these objects."""
    required: tuple[str, ...] = ("name",)
    unique: tuple[str, ...] = ("name", "organization")
    read_only: tuple[str, ...] = ()
    """The fields that the modules send, and that AWX derives from another object."""


NAMED = {"name": "", "description": ""}
OWNED = {**NAMED, "organization": None}
BY_ORGANIZATION = {"organization": "organizations"}
NOTIFIED = {f"notification_templates_{event}": "notification_templates" for event in ("started", "success", "error")}
ASKS = {
    f"ask_{name}_on_launch": False
    for name in ("diff_mode", "forks", "inventory", "job_type", "limit", "scm_branch", "tags", "variables", "verbosity")
}

KINDS: dict[str, Kind] = {
    "organizations": Kind("organization", NAMED, unique=("name",)),
    "execution_environments": Kind(
        "execution_environment",
        {**OWNED, "image": "", "pull": "", "credential": None},
        BY_ORGANIZATION,
        required=("name", "image"),
        unique=("name",),
    ),
    "notification_templates": Kind(
        "notification_template",
        {**OWNED, "notification_type": "", "notification_configuration": {}, "messages": None},
        BY_ORGANIZATION,
        required=("name", "notification_type", "organization"),
    ),
    "credential_types": Kind(
        "credential_type",
        {**NAMED, "kind": "", "inputs": {}, "injectors": {}},
        required=("name", "kind"),
        unique=("name",),
        read_only=("managed",),
    ),
    "credentials": Kind(
        "credential",
        {**OWNED, "credential_type": None, "inputs": {}},
        {**BY_ORGANIZATION, "credential_type": "credential_types"},
        required=("name", "credential_type"),
        unique=("name", "organization", "credential_type"),
    ),
    "projects": Kind(
        "project",
        {
            **OWNED,
            "scm_type": "",
            "scm_url": "",
            "scm_branch": "",
            "credential": None,
            "scm_update_on_launch": False,
            "default_environment": None,
        },
        {**BY_ORGANIZATION, "default_environment": "execution_environments", "credential": "credentials"},
        links=NOTIFIED,
    ),
    "inventories": Kind(
        "inventory",
        {**OWNED, "kind": "", "host_filter": None},
        BY_ORGANIZATION,
        required=("name", "organization"),
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            **NAMED,
            "inventory": None,
            "source": "",
            "source_project": None,
            "source_path": "",
            "execution_environment": None,
            "overwrite": False,
            "overwrite_vars": False,
            "update_on_launch": False,
        },
        {
            "inventory": "inventories",
            "source_project": "projects",
            "execution_environment": "execution_environments",
        },
        NOTIFIED,
        required=("name", "inventory", "source"),
        unique=("name", "inventory"),
    ),
    "job_templates": Kind(
        "job_template",
        {
            **NAMED,
            **ASKS,
            "job_type": "run",
            "inventory": None,
            "project": None,
            "playbook": "",
            "execution_environment": None,
            "forks": 0,
            "limit": "",
            "verbosity": 0,
            "extra_vars": "",
            "timeout": 0,
            "survey_enabled": False,
            "become_enabled": False,
            "diff_mode": False,
            "allow_simultaneous": False,
            "job_slice_count": 1,
        },
        {
            "inventory": "inventories",
            "project": "projects",
            "execution_environment": "execution_environments",
        },
        {**NOTIFIED, "credentials": "credentials"},
        required=("name", "project", "playbook"),
        read_only=("organization",),
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        {**OWNED, **ASKS, "extra_vars": "", "survey_enabled": False, "allow_simultaneous": False, "limit": None},
        BY_ORGANIZATION,
        {**NOTIFIED, "notification_templates_approvals": "notification_templates"},
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {
            "identifier": "",
            "workflow_job_template": None,
            "unified_job_template": None,
            "all_parents_must_converge": False,
            "extra_data": {},
        },
        {"workflow_job_template": "workflow_job_templates", "unified_job_template": "unified_job_templates"},
        {f"{outcome}_nodes": "workflow_job_template_nodes" for outcome in ("success", "failure", "always")},
        required=("workflow_job_template",),
        unique=("identifier", "workflow_job_template"),
        read_only=("type",),
    ),
    "workflow_approval_templates": Kind(
        "workflow_approval_template", {**NAMED, "timeout": 0}, unique=(), read_only=("organization",)
    ),
    "schedules": Kind(
        "schedule",
        {
            **NAMED,
            "unified_job_template": None,
            "rrule": "",
            "enabled": True,
            "extra_data": {},
            "job_type": None,
            "limit": None,
        },
        {"unified_job_template": "unified_job_templates"},
        required=("name", "unified_job_template", "rrule"),
        unique=("name", "unified_job_template"),
    ),
}

LAUNCHED = (
    "projects",
    "inventory_sources",
    "job_templates",
    "workflow_job_templates",
    "workflow_approval_templates",
)
"""The objects that AWX also lists as unified_job_templates."""

AMAZON = {
    "name": "Amazon Web Services",
    "kind": "cloud",
    "managed": True,
    "inputs": {
        "fields": [
            {"id": "username", "label": "Access Key", "type": "string"},
            {"id": "password", "label": "Secret Key", "type": "string", "secret": True},
            {"id": "security_token", "label": "STS Token", "type": "string", "secret": True},
        ],
        "required": ["username", "password"],
    },
}
"""The type of credentials that AWX brings."""

WEBHOOK = {"http_method": "POST", "disable_ssl_verification": False, "username": "", "password": ""}
"""The parameters that AWX adds to a webhook. The address and the headers have no default."""

RRULE = re.compile(r"DTSTART;TZID=[\w/]+:\d{8}T\d{6} RRULE:FREQ=\w+;INTERVAL=\d+(;BYDAY=\w\w)?")
"""The form of a schedule's time in AWX, with a time zone and an interval."""

PLAY = re.compile(r"^\s*?-?\s*?(?:hosts|(ansible\.builtin\.)?import_playbook):\s*?.*?$", re.MULTILINE)
"""A file of a project with such a line is a playbook, which a job template may name."""

ANSWERS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "textarea": (str,),
    "password": (str,),
    "multiplechoice": (str,),
    "multiselect": (str,),
    "integer": (int,),
    "float": (float, int),
}
"""The types of questions, and of their defaults, that AWX takes."""


def survey_faults(question: Mapping[str, Any]) -> list[str]:
    """Return the reasons for which the view JobTemplateSurveySpec refuses a question."""
    faults = [name for name in ("type", "question_name", "variable") if not isinstance(question.get(name), str)]
    faults += [] if isinstance(question.get("required"), bool) else ["required"]
    faults += [name for name in ("min", "max") if not isinstance(question.get(name, 0), int)]
    types = ANSWERS.get(question.get("type", ""))
    default = question.get("default", "")
    if types is None or (default != "" and not isinstance(default, types)):
        faults.append("default")
    if question.get("type") in ("multiplechoice", "multiselect"):
        choices = question.get("choices")
        if not choices:
            faults.append("choices")
        elif default != "" and default not in choices:
            faults.append("default is no choice")
    return faults


def checked_survey(survey: Mapping[str, Any]) -> None:
    """Raise RefusedError for a survey that AWX does not store."""
    if not isinstance(survey.get("name"), str) or not isinstance(survey.get("description"), str):
        raise RefusedError({"error": "'name' or 'description' missing from survey spec."})
    faults = [fault for question in survey.get("spec") or [{}] for fault in survey_faults(question)]
    variables = [question["variable"] for question in survey["spec"] if "variable" in question]
    if faults or len(variables) != len(set(variables)):
        raise RefusedError({"error": f"Survey spec: {faults or 'a variable twice'}"})


def with_defaults(kind: str, made: Object) -> Object:
    """Return the notification as AWX stores it. Raise RefusedError without an address or headers."""
    if kind == "notification_templates" and made["notification_type"] == "webhook":
        configuration = {**WEBHOOK, **made["notification_configuration"]}
        missing = {"url", "headers"} - set(configuration)
        if missing:
            raise RefusedError({"notification_configuration": [f"Missing required fields: {sorted(missing)}"]})
        return {**made, "notification_configuration": configuration}
    return made


def secrets_of(credential_type: Mapping[str, Any]) -> set[str]:
    """Return the names of the inputs that AWX never shows."""
    return {each["id"] for each in credential_type["inputs"].get("fields", []) if each.get("secret")}


def checked_inputs(inputs: Mapping[str, Any], credential_type: Mapping[str, Any]) -> None:
    """Raise RefusedError for an input that the type of the credential does not have."""
    known = {each["id"] for each in credential_type["inputs"].get("fields", [])}
    if set(inputs) - known:
        raise RefusedError({"inputs": [f"unexpected inputs {sorted(set(inputs) - known)}"]})


def checked_launch(schedule: Mapping[str, Any], template: Mapping[str, Any], survey: Mapping[str, Any]) -> None:
    """Raise RefusedError for a time that AWX cannot read, or for a value that its template does not ask for."""
    if not RRULE.fullmatch(schedule["rrule"]):
        raise RefusedError({"rrule": [f"no valid rrule: {schedule['rrule']}"]})
    for name in ("job_type", "limit"):
        if schedule[name] is not None and not template.get(f"ask_{name}_on_launch"):
            raise RefusedError({name: ["Field is not configured to prompt on launch."]})
    asked = {each["variable"] for each in survey.get("spec", [])} if template.get("survey_enabled") else set()
    if set(schedule["extra_data"]) - asked and not template.get("ask_variables_on_launch"):
        raise RefusedError({"extra_data": ["Variables are not allowed on launch."]})
