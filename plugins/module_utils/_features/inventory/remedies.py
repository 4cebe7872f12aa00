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
_LAST_OF_JSON = 0xFFFF
_NOT_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})


def tasks(*several: tuple[str, str, Mapping[str, Any]], region: str, comment: str = "") -> str:
    """Return tasks as YAML, each from its name, its module and the module's options. *region* is added to all of them,
    and *comment* to the last one.

    Names come from tags, which other people write. So every text is quoted, and text that Jinja would evaluate is
    marked as unsafe.
    """
    comments = [*[""] * (len(several) - 1), comment]
    return "".join(
        _task(name, module, {**options, "region": region}, told)
        for (name, module, options), told in zip(several, comments, strict=True)
    )


def _task(name: str, module: str, options: Mapping[str, Any], comment: str) -> str:
    lines = [f"- name: {name}", *([f"  # {comment}"] if comment else []), f"  {module}:"]
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
    quoted = f'"{"".join(map(_quoted, value))}"'
    return f"!unsafe {quoted}" if any(mark in value for mark in ("{{", "{%", "{#")) else quoted


def _quoted(character: str) -> str:
    """Return the character as it stands in quotes.

    JSON writes a character beyond U+FFFF as a pair, which YAML does not join, and a delete character as it is.
    """
    if ord(character) > _LAST_OF_JSON or character == "\x7f":
        return f"\\U{ord(character):08x}"
    return json.dumps(character)[1:-1]


SNAPSHOT = "amazon.aws.ec2_snapshot"
VOLUME = "amazon.aws.ec2_vol"
IMAGE = "amazon.aws.ec2_ami"
INSTANCE = "amazon.aws.ec2_instance"
POWER = "ec2ops.storage.instance_power"
BAKE = "ec2ops.storage.ami_bake"
ROTATE = "ec2ops.storage.snapshot_rotate"
RESTORE = "ec2ops.storage.snapshot_restore"
SPEC = "ec2ops.storage.ebs_volume_spec"
WORKBENCH = "ec2ops.storage.image_workbench"


_LONG = 14_400
"""The seconds for the final snapshot of a large volume. The module's ten minutes would often end before it."""


def deletion(volume_id: str, region: str) -> str:
    """Return the tasks that delete a volume after a final snapshot.

    The module of the first task fails unless EC2 shows the snapshot as completed within the time.
    """
    return tasks(
        (
            f"Keep the content of {volume_id}",
            SNAPSHOT,
            {"volume_id": volume_id, "description": f"final snapshot of {volume_id}", "wait_timeout": _LONG},
        ),
        (f"Delete {volume_id}", VOLUME, {"id": volume_id, "state": "absent"}),
        region=region,
        comment="Runs only if the snapshot is completed. Otherwise the play fails first.",
    )


def snapshot_deletion(snapshot_id: str, region: str) -> str:
    """Return the task that deletes a snapshot."""
    return tasks((f"Delete {snapshot_id}", SNAPSHOT, {"snapshot_id": snapshot_id, "state": "absent"}), region=region)


def deregistration(image_id: str, region: str, *, delete_snapshots: bool) -> str:
    """Return the task that deregisters an image, and deletes its snapshots if nothing else needs them."""
    options = {"image_id": image_id, "state": "absent", "delete_snapshot": delete_snapshots}
    return tasks((f"Deregister {image_id}", IMAGE, options), region=region)


def unpublished_snapshot(snapshot_id: str, region: str, shared: tuple[str, ...] | None) -> str:
    """Return the task that makes a snapshot private. It keeps the accounts in *shared*, None for unknown ones."""
    options: dict[str, Any] = {
        "snapshot_id": snapshot_id,
        "modify_create_vol_permission": True,
        "purge_create_vol_permission": True,
    }
    if accounts := [one for one in shared or () if one.isdecimal()]:
        options["user_ids"] = accounts
    return tasks((_private(snapshot_id, shared), SNAPSHOT, options), region=region)


def unpublished_image(image_id: str, region: str, shared: tuple[str, ...] | None) -> str:
    """Return the task that makes an image private. It keeps the accounts and organizations in *shared*, None for
    unknown ones.
    """
    kept = {
        "user_ids": [one for one in shared or () if one.isdecimal()],
        "org_arns": [one for one in shared or () if ":organization/" in one],
        "org_unit_arns": [one for one in shared or () if ":ou/" in one],
    }
    # The module removes everything that the task does not name.
    permissions = {"group_names": [], **{key: value for key, value in kept.items() if value}}
    options = {"image_id": image_id, "state": "present", "launch_permissions": permissions}
    return tasks((_private(image_id, shared), IMAGE, options), region=region)


def _private(resource: str, shared: tuple[str, ...] | None) -> str:
    return f"Make {resource} private" + (" and share it with no account" if shared is None else "")


def workbench_removal(name: str, version: str, source_image_id: str, region: str) -> str:
    """Return the task that removes the workbench of a version. It refuses to delete what no image has."""
    options = {"name": name, "version": version, "source_image_id": source_image_id, "state": "absent"}
    return tasks((f"Remove the workbench of {name}/{version}", WORKBENCH, options), region=region)


def modification(
    volume_id: str, region: str, kind: str, iops: int | None = None, mibps: int | None = None, *, name: str = ""
) -> str:
    """Return the task that modifies a volume in place. *name*: of the task, unless the volume gets another type."""
    options = {"id": volume_id, "modify_volume": True, "volume_type": kind, "iops": iops, "throughput": mibps}
    given = {key: value for key, value in options.items() if value is not None}
    article = "an" if kind.startswith("io") else "a"
    return tasks((name or f"Make {volume_id} {article} {kind} volume", VOLUME, given), region=region)
