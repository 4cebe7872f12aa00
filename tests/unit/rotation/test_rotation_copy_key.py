# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 refuses a copy for its key at the call, when KMS could not be asked before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from copy_runs import ELSEWHERE, Scene
from rotation_runs import DAY, deletes, of_policy, ok, rotate
from sandbox.client import Sandbox
from worlds import START

KEY = "alias/backup"


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=60.0, seed=7, start=START) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Iterator[Sandbox]:
    """Empty, and early on a day of its own. KMS answers nobody."""
    quick_sandbox.reset()
    quick_sandbox.move_clock(DAY - (quick_sandbox.now().hour - 1) * 3600)
    quick_sandbox.refuse("kms:DescribeKey")
    yield quick_sandbox
    quick_sandbox.refuse()


def options(scene: Scene, *places: str) -> dict[str, Any]:
    rows = [{"region": region, "keep": {"daily": 1}, "wait": True, "kms_key_id": KEY} for region in places]
    return scene.options(*rows, keep={"daily": 2})


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "disabled"])
def test_refused_key_ends_the_run_with_resource_key_and_remedy(sandbox: Sandbox, missing: bool) -> None:
    scene, kms = Scene(sandbox, 0, "data"), sandbox.client("kms", ELSEWHERE)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    if not missing:
        kms.create_alias(AliasName=KEY, TargetKeyId=key)
        kms.disable_key(KeyId=key)
    ran = rotate(sandbox, **options(scene, ELSEWHERE))
    assert len(of_policy(sandbox)) == 1
    assert "CopySnapshot of" in ran.failed
    assert f"The specified keyId {KEY} is {'invalid' if missing else 'disabled'}" in ran.failed
    assert "enabled KMS key of the destination region" in ran.failed
    assert ELSEWHERE in ran.failed
    assert (scene.copies(), deletes(sandbox)) == ({}, [])
    # The next run needs only the key.
    if missing:
        kms.create_alias(AliasName=KEY, TargetKeyId=key)
    else:
        kms.enable_key(KeyId=key)
    ok(rotate(sandbox, **options(scene, ELSEWHERE)))
    assert [row["Encrypted"] for row in scene.copies().values()] == [True]


def test_refused_key_leaves_the_other_copies_of_the_stage(sandbox: Sandbox) -> None:
    """One place has a key of its own, and another has none: copies that do not need the key are made."""
    scene = Scene(sandbox, 0, "data", "log")
    plain = {"region": "us-west-2", "keep": {"daily": 1}, "wait": True}
    keyed = {"region": ELSEWHERE, "keep": {"daily": 1}, "wait": True, "kms_key_id": KEY}
    ran = rotate(sandbox, **scene.options(plain, keyed, keep={"daily": 2}))
    assert KEY in ran.failed
    assert (len(scene.copies("us-west-2")), scene.copies(), deletes(sandbox)) == (2, {}, [])
