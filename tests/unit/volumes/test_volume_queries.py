# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner's queries, and the queries that it omits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.spec import VolumesSpec
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import KMS_KEY, usable_key
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource

from volume_plans import declared, plan_of, read
from volume_world import DB, KEY, LETTERS, PURGE, STOP, SWAP, TAKEN, WEB, Ec2, Entry, instance, vol, volume


def counted(spec: VolumesSpec, ec2: Ec2) -> dict[str, int]:
    operations = [query.operation for query in read(spec, ec2)[1]]
    return {name: operations.count(name) for name in operations}


NO_OP: Entry = {"DescribeInstances": 1, "DescribeVolumes": 2}


@pytest.mark.parametrize("many", [1, 2, 50, 200])
def test_converged_declaration_asks_three_queries(many: int) -> None:
    """This holds for any number of instances and volumes; EC2 takes 200 values in a filter."""
    ids = [f"i-{number:017x}" for number in range(1, many + 1)]
    ec2 = Ec2(*(instance(one) for one in ids))
    for at, one in enumerate(ids):
        for number, name in enumerate(("a", "b", "c", "d")):
            ec2.put(
                volume(
                    10 * at + number + 1,
                    one,
                    f"/dev/sd{LETTERS[number]}",
                    name=name,
                    group=one,
                    encrypted=True,
                    kms_key_id=KEY,
                )
            )
    entry = {"size": 10, "encrypted": True, "kms_key_id": KEY, "tags": {}, "delete_on_termination": False}
    spec = declared(*({"name": name, **entry} for name in ("a", "b", "c", "d")), {"name": "root"}, instance_ids=ids)
    assert counted(spec, ec2) == NO_OP
    assert plan_of(spec, ec2).is_empty


@pytest.mark.parametrize(
    ("there", "entry", "given", "more"),
    [
        ([volume(1, WEB, name="data")], {}, PURGE, {"DescribeVolumes": 3}),
        ([volume(1, WEB)], {"volume_id": vol(1)}, {}, {"DescribeVolumes": 4}),
        (
            [volume(1, WEB, name="data", encrypted=True, kms_key_id=KEY), KMS_KEY.fact("alias/a", usable_key(KEY))],
            {"encrypted": True, "kms_key_id": "alias/a"},
            {},
            {"DescribeKey": 1},
        ),
        ([volume(1, WEB, name="data")], {"size": 20}, {}, {"DescribeVolumesModifications": 1}),
        ([], {"size": 1}, {}, {"GetEbsEncryptionByDefault": 1, "DescribeInstanceTypes": 1}),
        (
            [volume(1, DB, name="data", group="web"), instance(DB)],
            {},
            {"spec": "web", **TAKEN},
            {
                "DescribeInstances": 2,
                "DescribeInstanceTypes": 1,
                "DescribeVolumesModifications": 1,
                "DescribeSnapshots": 2,
            },
        ),
        (
            [volume(1, WEB, name="data")],
            {"encrypted": True},
            SWAP,
            {
                "GetEbsEncryptionByDefault": 1,
                "DescribeSnapshots": 1,
                "DescribeInstanceTypes": 1,
                "DescribeVolumesModifications": 1,
            },
        ),
        (
            [volume(1, WEB, name="data")],
            {"state": "absent"},
            STOP,
            {"DescribeSnapshots": 1, "DescribeInstanceTypes": 1, "DescribeInstanceAttribute": 1},
        ),
    ],
)
def test_further_queries_are_only_about_changes(
    there: Sequence[Resource], entry: Entry, given: Entry, more: Mapping[str, int]
) -> None:
    ec2 = Ec2(instance(), *there)
    assert counted(declared({"name": "data", **entry}, **given), ec2) == {**NO_OP, **more}


def test_eight_new_volumes_take_no_more_questions_than_one() -> None:
    ec2 = Ec2(instance())
    one, eight = (declared(*({"name": f"v{n}", "size": 1} for n in range(count))) for count in (1, 8))
    assert counted(one, ec2) == counted(eight, ec2)
