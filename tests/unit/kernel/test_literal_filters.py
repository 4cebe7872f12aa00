# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users' values stand literally in EC2's filters: wildcards and the backslash match only themselves."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import by_id, literal, own_snapshots

from in_process import ZONE, machine, run, volumes
from sandbox.client import Sandbox
from sandbox.filters import matcher
from volume_runs import four

NAMES = ["CORP\\db1", "what?", "all*", "\\", "a\\*b", "trailing\\"]


@pytest.mark.parametrize("name", NAMES)
def test_escaped_value_finds_itself_and_nothing_else(name: str) -> None:
    found = matcher([literal(name)])
    assert found(name)
    assert not any(found(other) for other in (*NAMES, "whatever", "allow", "CORPdb1", "a*b") if other != name)


def test_every_builder_of_filters_escapes_its_values() -> None:
    assert by_id("DescribeVolumes", "tag:ec2ops:spec", ["CORP\\db1"])[0].filters[0][1] == ("CORP\\\\db1",)
    assert own_snapshots({"team": "a*"}).filters[0][1] == ("a\\*",)


@pytest.mark.parametrize("name", NAMES)
def test_unattached_volume_of_a_declaration_with_wildcards_is_found_again(sandbox: Sandbox, name: str) -> None:
    ran = four(sandbox, availability_zone=ZONE, spec=name, volumes=[{"name": "spare", "size": 10}])
    assert ran.actions == ["CreateVolume"]
    assert len(volumes(sandbox)) == 1


def test_rebuilt_server_gets_its_disk_back(sandbox: Sandbox) -> None:
    old, new = machine(sandbox, "old"), machine(sandbox, "new")
    wanted = {"spec": "CORP\\db1", "volumes": [{"name": "data", "size": 10}]}
    run(sandbox, instance_ids=[old.instance_id], **wanted)
    (disk,) = old.attached().values()
    old.ec2.terminate_instances(InstanceIds=[old.instance_id])
    ran = four(sandbox, instance_ids=[new.instance_id], **wanted)
    # Without the escape, the run requested a new disk, and only CreateVolume's client token led back to the old one.
    assert ran.actions == ["AttachVolume"]
    assert list(new.attached().values()) == [disk]
