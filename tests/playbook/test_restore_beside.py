# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role restore beside the original, with sources that are archived, and with nothing to restore from."""

from __future__ import annotations

from playbook.seeds import DATA_DEVICE, Web, at_once
from playbook.support import REGION
from playbook.test_restore import RESULT, described, restore, restored, rotated, texts
from sandbox.client import Sandbox


def test_volume_is_restored_beside_its_attached_original(sandbox: Sandbox, web: Web) -> None:
    volume = web.data_volume_id
    with at_once(sandbox):
        sandbox.add_mark(volume, "kept")
    rotated(sandbox, select={"volume_ids": [volume]})
    (entry,) = restored(sandbox, source_volume_ids=[volume], target_instance_id=web.instance_id)
    assert (entry["source"], entry["device"]) == (volume, "/dev/sdg")
    (link,) = described(sandbox, entry["volume_id"])["Attachments"]
    assert (link["InstanceId"], link["Device"]) == (web.instance_id, "/dev/sdg")
    assert "kept" in texts(sandbox.marks(entry["volume_id"])["marks"])
    (original,) = described(sandbox, volume)["Attachments"]
    assert (original["InstanceId"], original["Device"]) == (web.instance_id, DATA_DEVICE)


def test_missing_restore_source_is_reported_in_the_collections_words(sandbox: Sandbox, web: Web) -> None:
    run = restore(sandbox, source_volume_ids=["vol-0123456789abcdef0"], zone=f"{REGION}a")
    assert run.status != 0
    assert len(run.failures) == 1
    assert run.failures[0].startswith("vol-0123456789abcdef0 has no completed snapshot")
    assert f"in {REGION}" in run.failures[0]
    assert run.fact(RESULT)["changed"] is False
