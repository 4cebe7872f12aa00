# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook apply_volume_specs, by its name: specs from hosts' variables, and from a list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from playbook.seeds import DATA_DEVICE, Web, seed_web
from playbook.support import REGION, assert_done_as_planned, assert_told_the_same, changing_calls, run_playbook
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.apply_volume_specs"
RESULT = "apply_volume_specs_result"


def attached_sizes(sandbox: Sandbox, instance_id: str) -> dict[str, int]:
    """Device to GiB, of all that is attached to an instance."""
    filters = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    found = sandbox.client("ec2", REGION).describe_volumes(Filters=filters)["Volumes"]
    return {
        link["Device"]: volume["Size"]
        for volume in found
        for link in volume["Attachments"]
        if link["InstanceId"] == instance_id
    }


def check_run_check_run(
    sandbox: Sandbox, given: Mapping[str, Any], hosts: Sequence[str], inventory: str | None = None
) -> None:
    """The check run shows the changes of the run, and after the run nothing is left to do."""
    sandbox.reset_log()
    check = run_playbook(sandbox, PLAYBOOK, given, check=True, inventory=inventory)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []

    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given, inventory=inventory)
    assert run.status == 0, run.output
    log = sandbox.log()
    assert changing_calls(log)
    done = []
    for host in hosts:
        foreseen, result = check.fact(RESULT, host), run.fact(RESULT, host)
        assert (foreseen["changed"], result["changed"]) == (True, True)
        assert_told_the_same(foreseen["plan"], result["plan"], run.planned_ids)
        done += result["plan"]
    if len(hosts) == 1:
        assert_done_as_planned(done, log, run.planned_ids)

    for check_mode in (True, False):
        sandbox.reset_log()
        again = run_playbook(sandbox, PLAYBOOK, given, check=check_mode, inventory=inventory)
        assert again.status == 0, again.output
        assert again.changed == []
        assert changing_calls(sandbox.log()) == []
        for host in hosts:
            assert (again.fact(RESULT, host)["changed"], again.fact(RESULT, host)["plan"]) == (False, [])


@pytest.mark.cores
def test_each_instance_has_a_host_with_its_volumes(sandbox: Sandbox, web: Web) -> None:
    """The hosts need not be reachable. They share a variable of their group."""
    other = seed_web(sandbox, REGION, "other")
    log = {"name": "log", "size": 5}
    volumes = {
        "one": [{"name": "data", "device_name": DATA_DEVICE, "size": 25}, log],
        "two": [{"name": "data", "device_name": DATA_DEVICE}, {**log, "device_name": "/dev/sdm"}],
    }
    inventory = "\n".join(
        (
            "[disks]",
            f"one apply_volume_specs_instance_id={web.instance_id}",
            f"two apply_volume_specs_instance_id={other.instance_id}",
            "[disks:vars]",
            "ansible_host=203.0.113.7",
            "",
        )
    )
    given = {
        "apply_volume_specs_hosts": "disks",
        "declared": volumes,
        "apply_volume_specs_volumes": "{{ declared[inventory_hostname] }}",
    }
    check_run_check_run(sandbox, given, ("one", "two"), inventory)
    first = attached_sizes(sandbox, web.instance_id)
    assert first[DATA_DEVICE] == 25
    assert sorted(first.values()) == [5, 8, 25]
    assert attached_sizes(sandbox, other.instance_id) == {"/dev/xvda": 8, DATA_DEVICE: 20, "/dev/sdm": 5}


def test_declarations_of_a_list_are_applied_on_one_host(sandbox: Sandbox, web: Web) -> None:
    """Several declarations: two that choose devices on one instance choose different ones, in a check run too."""
    other = seed_web(sandbox, REGION, "other")
    given = {
        "apply_volume_specs_delegate_to": "localhost",
        "apply_volume_specs_specs": [
            {"instance_ids": [web.instance_id, other.instance_id], "volumes": [{"name": "cache", "size": 3}]},
            {"instance_id": web.instance_id, "spec": "shop", "volumes": [{"name": "orders", "size": 4}]},
            {
                "availability_zone": f"{REGION}a",
                "spec": "spares",
                "volumes": [{"name": "archive", "size": 125, "volume_type": "sc1"}],
            },
            {
                "instance_ids": [other.instance_id],
                "volumes": [{"name": "cache", "size": 3}],
                "purge_volumes": True,
                "in_use": "detach",
            },
        ],
    }
    check_run_check_run(sandbox, given, ("localhost",))
    assert sorted(attached_sizes(sandbox, web.instance_id).values()) == [3, 4, 8, 20]
    assert sorted(attached_sizes(sandbox, other.instance_id).values()) == [3, 8]
    filters = [{"Name": "tag:ec2ops:spec", "Values": ["spares"]}]
    (archive,) = sandbox.client("ec2", REGION).describe_volumes(Filters=filters)["Volumes"]
    assert (archive["State"], archive["VolumeType"]) == ("available", "sc1")


def test_missing_and_unknown_options_are_refused(sandbox: Sandbox, web: Web) -> None:
    misspelt = {"instance_ids": [web.instance_id], "volumes": [], "purge_volume": True}
    for given, said in (
        ({}, "apply_volume_specs_instance_id"),
        ({"apply_volume_specs_instance_id": web.instance_id}, "apply_volume_specs_volumes"),
        ({"apply_volume_specs_specs": [misspelt]}, "purge_volume"),
        (
            {"apply_volume_specs_specs": {"instance_ids": [web.instance_id], "volumes": []}},
            "apply_volume_specs_specs: ",
        ),
        ({"apply_volume_specs_specs": ["web"]}, "apply_volume_specs_specs: "),
        ({"apply_volume_specs_specs": [{"instance_ids": [web.instance_id]}]}, "a declaration has no volumes"),
    ):
        sandbox.reset_log()
        run = run_playbook(sandbox, PLAYBOOK, given)
        assert run.status != 0, json.dumps(given)
        assert said in run.failures[0]
        assert sandbox.log() == []
