# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches from an existing image, and the time for which nobody answers at the address of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from prober import PER_SECOND, Prober
from report import Comparison, Row, say
from runs import HERE, LATENCY, Bench, Broken, Run
from sandbox.client import Sandbox

STOP, START, DETACH, ATTACH, CHECKS = 3.0, 3.0, 1.0, 1.0, 5.0
"""Seconds. `CHECKS`: from the first second of ``running`` until the status checks pass."""
INITIAL, DRAIN = 2.0, 2.0
"""Seconds until a new target is healthy, and until an old one has drained."""
ROOT_PENDING, ROOT_REPLACING = 2.0, 4.0
"""Seconds of a task that replaces the root volume: the new volume is made, the volumes are exchanged."""
AFTER = 1.0
"""Seconds for which the probes go on after the run."""


@dataclass(frozen=True)
class Service:
    """An instance with its address, the image for it, and the data volume that moves, empty without one."""

    instance_id: str
    image_id: str
    address: str
    volume_id: str = ""


@dataclass(frozen=True)
class Case:
    """A relaunch and the probes during it. off: seconds without an answer. failed: probes. last: who answered last."""

    service: Service
    run: Run
    off: float
    failed: int
    probes: int
    lag: float
    last: str

    @property
    def figures(self) -> dict[str, Any]:
        """The figures for a program."""
        return {name: value for name, value in asdict(self).items() if name != "run"}


class Relaunch:
    """Each way to move a service to an image, while a client asks its address ten times a second.

    The sandbox decides who answers: an instance that runs, and that the Elastic IP or a healthy target leads to. A
    service with data is answered only by an instance with the volume. Each case has a region of its own.
    """

    name = "relaunch"
    title = "A service relaunched from an existing image, as its client notices it"
    durations: ClassVar = {
        "instance_stopping": STOP,
        "instance_pending": START,
        "volume_detaching": DETACH,
        "volume_attaching": ATTACH,
        "status_ok": CHECKS,
        "target_initial": INITIAL,
        "target_draining": DRAIN,
        "root_task_pending": ROOT_PENDING,
        "root_task_replacing": ROOT_REPLACING,
    }

    MOST_ADDRESS = 1.0 + LATENCY
    MOST_DATA = STOP + DETACH + ATTACH + START + 2.0
    MOST_ROOT = ROOT_PENDING + ROOT_REPLACING + 4.0
    GROUP, ADDRESS, DATA, ROOT = "eu-west-1", "eu-central-1", "eu-north-1", "eu-west-2"

    def measure(self, bench: Bench) -> Comparison:
        """The four cases, one after the other."""
        sandbox = bench.sandbox
        group = self._case(bench, self.GROUP, balanced(sandbox, self.GROUP), {"target_groups": "move"})
        address = self._case(bench, self.ADDRESS, addressed(sandbox, self.ADDRESS), {"elastic_ip": "move"})
        moves = {"elastic_ip": "move", "data_volumes": "move"}
        data = self._case(bench, self.DATA, addressed(sandbox, self.DATA, data=True), moves)
        root = self._case(bench, self.ROOT, addressed(sandbox, self.ROOT), {"strategy": "replace_root_volume"})
        cases = {"target group": group, "Elastic IP": address, "data volumes": data, "root volume": root}
        return Comparison(
            tuple(self._rows(group, address, data, root)),
            {name: case.run for name, case in cases.items()},
            {"probes": {name: case.figures for name, case in cases.items()}},
            (
                (
                    f"A call takes {LATENCY * 1000:.0f} ms, a stop {STOP:g} s, a detach {DETACH:g} s, an attach "
                    f"{ATTACH:g} s, a start {START:g} s, status checks {CHECKS:g} s, a new target {INITIAL:g} s, a "
                    f"root volume task {ROOT_PENDING + ROOT_REPLACING:g} s."
                ),
                (
                    f"A client asks {PER_SECOND} times a second. A time is that from the last answer before the outage "
                    "to the first one after it, and the longest time between two probes was "
                    f"{max(case.lag for case in cases.values()):.2f} s."
                ),
            ),
            "none",
        )

    def _case(self, bench: Bench, region: str, service: Service, options: Mapping[str, Any]) -> Case:
        say(f"relaunch.yml in {region}: {', '.join(f'{name}: {value}' for name, value in options.items())} ...")
        given = {"instance_id": service.instance_id, "image_id": service.image_id, "health": {"timeout": 120}}
        with Prober(bench.sandbox, region, service.address, service.volume_id) as prober:
            run = bench.run(HERE / "relaunch.yml", region, {"relaunch": {**given, **options}})
            time.sleep(AFTER)
        if run.status or not run.changed:
            raise Broken(f"relaunch.yml in {region} {run.outcome}:\n{run.output[-5000:]}")
        if len(prober.probes) < PER_SECOND or not prober.probes[0].answered:
            raise Broken(f"nobody answered at {service.address} in {region} before the relaunch")
        return Case(service, run, prober.off, prober.failed, len(prober.probes), prober.lag, prober.last)

    def _rows(self, group: Case, address: Case, data: Case, root: Case) -> Iterator[Row]:
        yield Row(
            "target group moves: failed probes",
            f"{group.failed} of {group.probes}",
            "",
            "0",
            group.failed == 0,
            binding=True,
        )
        yield off("Elastic IP moves", address, self.MOST_ADDRESS, "1 s and one call")
        yield off("data volumes and Elastic IP move", data, self.MOST_DATA, "stop, detach, attach, start, 2 s")
        yield off("root volume replaced", root, self.MOST_ROOT, "the task's own time, 4 s")
        for what, case, moves in (
            ("target group", group, True),
            ("Elastic IP", address, True),
            ("data volumes", data, True),
            ("root volume", root, False),
        ):
            served = bool(case.last) and (case.last != case.service.instance_id) is moves
            shown = "nobody" if not case.last else "the successor" if moves else "the instance"
            wanted = "the successor" if moves else "the instance"
            yield Row(f"{what}: who answers afterwards", shown if served else case.last, "", wanted, served, True)
            yield Row(f"{what}: time of the command", f"{case.run.seconds:.1f} s", "")


def off(what: str, case: Case, most: float, why: str) -> Row:
    """Return the row of a service that may be off for so many seconds."""
    return Row(
        f"{what}: nobody answered for", f"{case.off:.2f} s", "", f"at most {most:.2f} s ({why})", case.off <= most
    )


# --- the services -----------------------------------------------------------------------------------------------------


@contextmanager
def quickly(sandbox: Sandbox) -> Iterator[None]:
    """Inside, calls take no time. Everything that was begun inside is over afterwards."""
    sandbox.configure(latency=0.0)
    try:
        yield
    finally:
        sandbox.move_clock(60.0)
        sandbox.configure(latency=LATENCY)


def addressed(sandbox: Sandbox, region: str, *, data: bool = False) -> Service:
    """Return a running instance behind an Elastic IP. *data*: it also has a data volume, which is its service's."""
    with quickly(sandbox):
        volumes = [{"name": "data", "device": "/dev/sdf"}] if data else []
        instance = {"name": "web", "elastic_ip": True, "data_volumes": volumes}
        names = sandbox.seed({"region": region, "images": [{"name": "next"}], "instance": instance})
    return Service(names["web"], names["next"], names["web/allocation"], names.get("web/data", ""))


def balanced(sandbox: Sandbox, region: str) -> Service:
    """Return a running instance that is a healthy target of a load balancer."""
    with quickly(sandbox):
        names = sandbox.seed({"region": region, "images": [{"name": "next"}], "instance": {"name": "web"}})
        found = sandbox.client("ec2", region).describe_instances(InstanceIds=[names["web"]])
        (row,) = found["Reservations"][0]["Instances"]
        elb = sandbox.client("elbv2", region)
        (group,) = elb.create_target_group(
            Name="web", Protocol="HTTP", Port=80, VpcId=row["VpcId"], TargetType="instance"
        )["TargetGroups"]
        (balancer,) = elb.create_load_balancer(Name="web", Subnets=[row["SubnetId"]])["LoadBalancers"]
        action = {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[action]
        )
        elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": names["web"]}])
    return Service(names["web"], names["next"], group["TargetGroupArn"])
