# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes with so many tags of the user that there is no room for those of the collection."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

from volume_plans import Case, check, no
from volume_world import DONE_AGAIN, ENCRYPT, STOPPED, TAKEN, WEB, instance, vol, volume


def tagged(many: int, letter: str = "a") -> dict[str, str]:
    return {f"{letter}{number}": "x" for number in range(many)}


TOO_MANY_TAGS = [
    no(
        title,
        [STOPPED, there],
        [entry],
        SpecError,
        f"{resource} would have {many} tags | 50 | Remove {many - 50} of them first",
        replace="snapshot",
        **TAKEN,
    )
    for title, there, entry, resource, many in (
        ("adopted", volume(1, WEB, tags=tagged(49)), {"name": "data", "device_name": "/dev/sdf"}, "vol-1", 51),
        (
            "declared",
            volume(1, WEB, name="data", tags=tagged(30)),
            {"name": "data", "tags": tagged(20, "b")},
            "vol-1",
            52,
        ),
        (
            "moved",
            volume(1, WEB, name="data", tags=tagged(48)),
            {"name": "data", "device_name": "/dev/sdh"},
            "vol-1",
            51,
        ),
        ("swapped", volume(1, WEB, name="data", tags=tagged(47)), ENCRYPT, "new i-1/data", 51),
        (
            "swapped, tagged",
            volume(1, name="data", tags=tagged(30)),
            {**ENCRYPT, "tags": tagged(18, "b")},
            "new i-1/data",
            52,
        ),
        (
            "a last snapshot",
            volume(1, tags=tagged(50)),
            {"volume_id": vol(1), "state": "absent"},
            "new final of vol-1",
            51,
        ),
    )
]


@pytest.mark.parametrize("case", TOO_MANY_TAGS)
def test_more_tags_than_ec2_takes_are_refused_before_anything_is_done(case: Case) -> None:
    check(case)


def test_aws_own_tags_do_not_count() -> None:
    own = {f"aws:{key}": value for key, value in tagged(9).items()}
    check(
        Case(
            "",
            [STOPPED, volume(1, WEB, tags={**tagged(46), **own})],
            [{**ENCRYPT, "device_name": "/dev/sdf"}],
            [
                "CreateTags vol-1 spec,volume",
                "CreateTags vol-1 was-at",
                "DetachVolume vol-1 from i-1",
                "CreateSnapshot new swap of vol-1",
                "CreateVolume new i-1/data",
                "AttachVolume new i-1/data to i-1 /dev/sdf",
                "DeleteSnapshot new swap of vol-1",
                *DONE_AGAIN,
            ],
            given={"replace": "snapshot"},
        )
    )


def test_tags_that_are_purged_make_room_first() -> None:
    there = [instance(), volume(1, WEB, name="data", tags=tagged(45))]
    ec2 = check(
        Case(
            "",
            there,
            [{"name": "data", "tags": tagged(45, "b")}],
            given={"purge_tags": True},
            steps=[
                f"DeleteTags vol-1 {','.join(sorted(tagged(45)))}",
                f"CreateTags vol-1 {','.join(sorted(tagged(45, 'b')))}",
            ],
        )
    )
    assert len(ec2.resources[vol(1)].tags) == 47
