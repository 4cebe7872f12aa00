# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes declared: eight made and attached, the same again, and four hundred that are as they should be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from report import Comparison, Row, say, where_time_goes
from runs import HERE, LATENCY, Bench, Broken, Cost, Run
from sandbox.client import Sandbox

CREATE, ATTACH = 0.4, 0.3
"""Seconds."""
DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklm")
GIB = 20
NO_CHANGE = "no change"


def declared(count: int) -> list[dict[str, Any]]:
    """The first `count` volumes of an instance, as both playbooks are given them."""
    return [
        {
            "name": f"data{number}",
            "device_name": device,
            "size": GIB,
            "volume_type": "gp3",
            "delete_on_termination": False,
            "tags": {"Name": f"shop-data{number}"},
        }
        for number, device in enumerate(DEVICES[:count], start=1)
    ]


@dataclass(frozen=True)
class Side:
    """One side's two runs of the same command."""

    first: Run
    second: Run


@dataclass(frozen=True)
class Fleet:
    """Ours on many instances: the run, and the medians of the module's process and of the bare calls."""

    run: Run
    module: Cost
    bare: Cost

    @property
    def more(self) -> float:
        """Seconds that the module takes longer than the bare calls."""
        return self.module.seconds - self.bare.seconds

    @property
    def costs(self) -> str:
        """Both processes' figures, as a sentence."""
        module, bare = (
            f"{each.seconds:.2f} s, of which {each.cpu:.2f} s computing, and {each.memory:.0f} MB"
            for each in (self.module, self.bare)
        )
        return f"The module's process took {module}; its calls alone, from a bare boto3 script, {bare}."


class Volumes:
    """Eight volumes of an instance, the same command again, and the four volumes of each of a hundred instances.

    The module's own time is that of the process that Ansible starts for it: the file that Ansible has made and run is
    kept, and run again by itself, with the options that are in it, from the start of Python to its end. That is all
    that a module can answer for; a task has the controller's work too, which is the same for every module, and varies.
    Beside it runs bare_calls.py, a script of boto3 alone, with the calls that the sandbox's log has of that run. They
    take turns, and the medians are compared. The memory is the peak of the same process.
    """

    name = "volumes"
    title = "Eight volumes created and attached, and 400 that have nothing to change"
    durations: ClassVar = {"volume_creating": CREATE, "volume_attaching": ATTACH}

    VOLUMES = 8
    FASTER = 20.0
    MOST_CALLS = 30
    MOST_CALLS_AGAIN = 3
    INSTANCES, VOLUMES_EACH = 100, 4
    MOST_CALLS_FLEET = 12
    MOST_SECONDS_FLEET = 1.5
    MOST_MEMORY = 200.0
    TURNS = 5
    # A region for each, so that none sees another's resources.
    OURS, PEER, FLEET = "eu-west-1", "eu-central-1", "eu-north-1"

    def measure(self, bench: Bench) -> Comparison:
        """Ours, ours again, ours on many instances, the peer's, the peer's again."""
        playbook = HERE / "volumes.yml"
        ours = self._side(bench, self.OURS, playbook, lambda instance: {"instance_ids": [instance]})
        fleet = self._fleet(bench, playbook)
        peer = self._side(bench, self.PEER, HERE / "peer_volumes.yml", lambda instance: {"instance_id": instance})
        peers = (peer.second.calls + peer.second.polls) / self.VOLUMES
        return Comparison(
            (*self._rows(ours, peer), *self._fleet_rows(fleet)),
            {
                "ours": ours.first,
                "ours, again": ours.second,
                "ours, 100 instances": fleet.run,
                "peer": peer.first,
                "peer, again": peer.second,
            },
            {"module_process": asdict(fleet.module), "bare_calls": asdict(fleet.bare)},
            (
                f"A call takes {LATENCY * 1000:.0f} ms, a volume {CREATE:g} s, an attachment {ATTACH:g} s.",
                (
                    f"The peer's playbook is a loop. It is not run on the {self.INSTANCES} instances: at "
                    f"{peers:g} calls for each volume it would make {peers * self.INSTANCES * self.VOLUMES_EACH:g}."
                ),
                fleet.costs,
                where_time_goes("our first run", ours.first),
            ),
        )

    def _side(self, bench: Bench, region: str, playbook: Path, target: Callable[[str], Mapping[str, Any]]) -> Side:
        instance_id = bench.sandbox.seed({"region": region, "instance": {"name": "shop"}})["shop"]
        variables = {**target(instance_id), "volumes": declared(self.VOLUMES)}
        say(f"{playbook.name} in {region} ...")
        first = bench.run(playbook, region, variables)
        if first.status:
            raise Broken(f"{playbook.name} ended with {first.status}:\n{first.output}")
        attached = attached_volumes(bench.sandbox, region, instance_id)
        wanted = {each["device_name"]: ("gp3", GIB) for each in variables["volumes"]}
        if attached != wanted:
            raise Broken(f"{playbook.name} should have attached {wanted}, but there is {attached}")
        say(f"{playbook.name} again ...")
        return Side(first, bench.run(playbook, region, variables))

    def _fleet(self, bench: Bench, playbook: Path) -> Fleet:
        say(f"{self.INSTANCES} instances in {self.FLEET} ...")
        volumes = declared(self.VOLUMES_EACH)
        instance_ids = seed_fleet(bench.sandbox, self.FLEET, self.INSTANCES, volumes)
        say(f"{playbook.name} in {self.FLEET} ...")
        keep = bench.folder / "kept"
        before = bench.last_call()
        run = bench.run(playbook, self.FLEET, {"instance_ids": instance_ids, "volumes": volumes}, keep)
        if run.status or run.changed:
            raise Broken(f"{playbook.name} should have had nothing to change, but {run.outcome}:\n{run.output}")
        made = bench.calls_after(before)
        (module,) = keep.rglob("AnsiballZ_ebs_volume_spec.py")
        bare = HERE / "bare_calls.py"
        given = json.dumps([[*named(each["action"]), each["params"]] for each in made if not is_later_page(each)])
        say(f"{module.name} and {bare.name}, {self.TURNS} times each ...")
        costs: dict[Path, list[Cost]] = {module: [], bare: []}
        for _turn in range(self.TURNS):
            for program, measured in costs.items():
                before = bench.last_call()
                measured.append(bench.process(program, self.FLEET, given if program == bare else ""))
                if (calls := shape(bench.calls_after(before))) != shape(made):
                    raise Broken(f"{program.name} should make the calls of the task, {shape(made)}, but made {calls}")
        return Fleet(run, middle(costs[module]), middle(costs[bare]))

    def _rows(self, ours: Side, peer: Side) -> list[Row]:
        times = peer.first.seconds / ours.first.seconds
        calls, again = all_calls(ours.first), all_calls(ours.second)
        return [
            Row(
                f"{self.VOLUMES} volumes: time",
                f"{ours.first.seconds:.1f} s",
                f"{peer.first.seconds:.1f} s",
                f"{self.FASTER:g} times as fast: {times:.1f}",
                times >= self.FASTER,
            ),
            Row(
                f"{self.VOLUMES} volumes: API calls, with polls",
                str(calls),
                str(all_calls(peer.first)),
                f"at most {self.MOST_CALLS}",
                calls <= self.MOST_CALLS,
                binding=True,
            ),
            Row(f"{self.VOLUMES} volumes: of these polls of waits", str(ours.first.polls), str(peer.first.polls)),
            Row(
                "second run: result",
                ours.second.outcome,
                peer.second.outcome,
                NO_CHANGE,
                ours.second.outcome == NO_CHANGE,
                binding=True,
            ),
            Row("second run: time", f"{ours.second.seconds:.1f} s", f"{peer.second.seconds:.1f} s"),
            Row(
                "second run: API calls, with polls",
                str(again),
                str(all_calls(peer.second)),
                f"at most {self.MOST_CALLS_AGAIN}",
                again <= self.MOST_CALLS_AGAIN,
                binding=True,
            ),
        ]

    def _fleet_rows(self, fleet: Fleet) -> list[Row]:
        what = f"{self.INSTANCES} instances with {self.VOLUMES_EACH} volumes, no change"
        calls = all_calls(fleet.run)
        return [
            Row(
                f"{what}: API calls, with polls",
                str(calls),
                "",
                f"at most {self.MOST_CALLS_FLEET}",
                calls <= self.MOST_CALLS_FLEET,
                binding=True,
            ),
            Row(
                f"{what}: time of the module",
                f"{fleet.module.seconds:.2f} s",
                "",
                f"at most {self.MOST_SECONDS_FLEET:g} s more than its calls alone: {fleet.more:.2f} s",
                fleet.more <= self.MOST_SECONDS_FLEET,
            ),
            Row(
                f"{what}: memory of the module",
                f"{fleet.module.memory:.0f} MB",
                "",
                f"under {self.MOST_MEMORY:g} MB",
                fleet.module.memory < self.MOST_MEMORY,
                binding=True,
            ),
        ]


def seed_fleet(sandbox: Sandbox, region: str, count: int, volumes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Instances whose volumes are as the module would have made and tagged them; returns the instances' ids."""
    data = [
        {
            "name": volume["name"],
            "device": volume["device_name"],
            "Size": volume["size"],
            "VolumeType": volume["volume_type"],
            "delete_on_termination": volume["delete_on_termination"],
            "tags": {**volume["tags"], "ec2ops:volume": volume["name"]},
        }
        for volume in volumes
    ]
    names = [f"shop-{number}" for number in range(count)]
    made = sandbox.seed({"region": region, "instances": [{"name": name, "data_volumes": data} for name in names]})
    ec2 = sandbox.client("ec2", region)
    sandbox.configure(latency=0.0)
    for name in names:
        # The tag of an instance's own volume: its spec is the instance's id.
        ec2.create_tags(
            Resources=[made[f"{name}/{volume['name']}"] for volume in volumes],
            Tags=[{"Key": "ec2ops:spec", "Value": made[name]}],
        )
    sandbox.configure(latency=LATENCY)
    return [made[name] for name in names]


def attached_volumes(sandbox: Sandbox, region: str, instance_id: str) -> dict[str, tuple[str, int]]:
    """Type and size (GiB) of the volumes that are attached to an instance, by device name, without its root volume."""
    ec2 = sandbox.client("ec2", region)
    pages = ec2.get_paginator("describe_volumes").paginate(
        Filters=[
            {"Name": "attachment.instance-id", "Values": [instance_id]},
            {"Name": "attachment.status", "Values": ["attached"]},
            {"Name": "attachment.device", "Values": list(DEVICES)},
        ]
    )
    return {
        volume["Attachments"][0]["Device"]: (volume["VolumeType"], volume["Size"])
        for page in pages
        for volume in page["Volumes"]
    }


def all_calls(run: Run) -> int:
    """The calls of a run, polls too."""
    return run.calls + run.polls


def named(action: str) -> tuple[str, str]:
    """Service and operation of an action in the log: EC2's come without a service."""
    service, _colon, operation = action.rpartition(":")
    return service or "ec2", operation


def is_later_page(entry: Mapping[str, Any]) -> bool:
    """Whether a call asked for a page after the first, which nobody but its client can ask for again."""
    return not {"NextToken", "Marker"}.isdisjoint(entry["params"])


def shape(log: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Calls by action."""
    return dict(sorted(Counter(entry["action"] for entry in log).items()))


def middle(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(
        median(each.seconds for each in costs),
        median(each.cpu for each in costs),
        median(each.memory for each in costs),
    )
