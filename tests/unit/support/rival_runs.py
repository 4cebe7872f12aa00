# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two relaunches of one source that meet on the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import REGION, Ended, Machine, machine, run
from sandbox.client import Sandbox
from worlds import sandbox_gateway

HOLD, TRIAL, REPLACES = "ec2ops:restore-state", "ec2ops:trial", "ec2ops:replaces"


class Meanwhile:
    """A gateway that lets something else happen once, right before it would call *action* or look for rivals."""

    def __init__(self, sandbox: Sandbox, happening: Callable[[], Any], action: str = "", look: int = 0) -> None:
        self._gateway = sandbox_gateway(sandbox, REGION)
        self._happening: Callable[[], Any] | None = happening
        self._action = action
        # The plan looks first.
        self._looks_left = look + 1 if look else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def _happen(self) -> None:
        happening, self._happening = self._happening, None
        if happening is not None:
            happening()

    def ask(self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None) -> Any:
        asked = tuple(queries)
        names = {name for query in asked for name, _values in query.filters}
        if f"tag:{REPLACES}" in names:
            self._looks_left -= 1
            if self._looks_left == 0:
                self._happen()
        return self._gateway.ask(asked, failures)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Any:
        if changes[0].action == self._action:
            self._happen()
        return self._gateway.perform(changes, generation)


class Race:
    """A web server, and two images of it."""

    def __init__(self, sandbox: Sandbox, *, held: bool = False) -> None:
        self.sandbox = sandbox
        self.web: Machine = machine(sandbox)
        if held:
            run(sandbox, module=instance_power, instance_ids=[self.web.instance_id], state="stopped", remember=True)
        self.one, self.two = (self._baked(version) for version in "12")

    def _baked(self, version: str) -> str:
        given = {"name": "web", "version": version, "source_instance_id": self.web.instance_id}
        return str(run(self.sandbox, module=ami_bake, require_stopped=False, **given).result["image_id"])

    def relaunch(self, image_id: str, gateway: Any = None, **more: Any) -> Ended:
        given = {"instance_id": self.web.instance_id, "image_id": image_id, "health": {"timeout": 60}}
        return run(self.sandbox, module=instance_relaunch, gateway=gateway, alone=gateway is None, **{**given, **more})

    def living(self) -> dict[str, tuple[str, str, str]]:
        """Image, state and record of all that live, by id."""
        rows = [item for group in self.web.ec2.describe_instances()["Reservations"] for item in group["Instances"]]
        found = {}
        for row in rows:
            tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags", [])}
            if row["State"]["Name"] not in ("shutting-down", "terminated"):
                found[row["InstanceId"]] = (row["ImageId"], row["State"]["Name"], tags.get(TRIAL, ""))
        return found

    def assert_serves(self, image_id: str) -> None:
        """Only the successor from this image runs; its predecessor is stopped, and not held."""
        living = self.living()
        old = living.pop(self.web.instance_id)
        assert list(living.values()) == [(image_id, "running", "serving")]
        assert old[1] == "stopped"
        assert HOLD not in self.web.tags
        assert self.relaunch(image_id).actions == []
