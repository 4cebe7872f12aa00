# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tasks that mend findings, as YAML to paste into a play.

Private to this collection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")
"""An id, a region or a word, which YAML reads as text."""
_NOT_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})


def tasks(*several: tuple[str, str, Mapping[str, Any]], region: str) -> str:
    """Return tasks as YAML, each from its name, its module and the module's options. *region* is added to all of them.

    Names come from tags, which other people write. So every text is quoted, and one that Jinja would read is unsafe.
    """
    return "".join(_task(name, module, {**options, "region": region}) for name, module, options in several)


def _task(name: str, module: str, options: Mapping[str, Any]) -> str:
    lines = [f"- name: {name}", f"  {module}:"]
    for key, value in options.items():
        lines += [f"    {line}" for line in _lines(key, value)]
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{key}:", *(f"  {line}" for name, item in value.items() for line in _lines(name, item))]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        lines = [f"{key}:"]
        for item in value:
            parts = [line for name, part in item.items() for line in _lines(name, part)]
            lines += [f"  - {parts[0]}", *(f"    {line}" for line in parts[1:])]
        return lines
    if isinstance(value, list):
        return [f"{key}: [{', '.join(_scalar(item) for item in value)}]"]
    return [f"{key}: {_scalar(value)}"]


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    quoted = json.dumps(value)
    return f"!unsafe {quoted}" if any(mark in value for mark in ("{{", "{%", "{#")) else quoted


SNAPSHOT = "amazon.aws.ec2_snapshot"
VOLUME = "amazon.aws.ec2_vol"
IMAGE = "amazon.aws.ec2_ami"
INSTANCE = "amazon.aws.ec2_instance"
POWER = "ec2ops.storage.instance_power"
BAKE = "ec2ops.storage.ami_bake"
ROTATE = "ec2ops.storage.snapshot_rotate"
RESTORE = "ec2ops.storage.snapshot_restore"
SPEC = "ec2ops.storage.ebs_volume_spec"


def deletion(volume_id: str, region: str) -> str:
    """Return the tasks that delete a volume after a last snapshot."""
    return tasks(
        (f"Keep the content of {volume_id}", SNAPSHOT, {"volume_id": volume_id, "description": f"last of {volume_id}"}),
        (f"Delete {volume_id}", VOLUME, {"id": volume_id, "state": "absent"}),
        region=region,
    )


def snapshot_deletion(snapshot_id: str, region: str) -> str:
    """Return the task that deletes a snapshot."""
    return tasks((f"Delete {snapshot_id}", SNAPSHOT, {"snapshot_id": snapshot_id, "state": "absent"}), region=region)


def modification(volume_id: str, region: str, kind: str, iops: int | None = None, mibps: int | None = None) -> str:
    """Return the task that modifies a volume in place."""
    options = {"id": volume_id, "modify_volume": True, "volume_type": kind, "iops": iops, "throughput": mibps}
    given = {key: value for key, value in options.items() if value is not None}
    return tasks((f"Make {volume_id} a {kind} volume", VOLUME, given), region=region)
