# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of a task that changes nothing: twenty in a play, one for each of a hundred hosts, and a whole playbook."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import yaml

from playbook.seeds import Web, seed_web
from report import Comparison, Row, say
from runs import HERE, Bench, Broken, Run

REGION = "eu-west-1"
WORKER, MODULE = {"ec2ops_in_process": True}, {"ec2ops_in_process": False}


@dataclass(frozen=True)
class Costs:
    """Median seconds of the whole command, by what was run."""

    seconds: Mapping[str, float]

    def beyond(self, name: str, start: str) -> float:
        """Seconds beyond the play's own start."""
        return self.seconds[name] - self.seconds[start]


class Tasks:
    """Twenty tasks of a play, with the module in the worker process and in a process of its own; beside them Ansible's
    ping and amazon.aws's ec2_vol_info. Then a hundred hosts with one task each, and a playbook that changes nothing.

    Calls take no time here: only the machine's own work is measured. A play without a task stands for the start.
    """

    name = "tasks"
    title = "Tasks that change nothing"
    durations: ClassVar = {
        "instance_stopping": 0.2,
        "instance_pending": 0.2,
        "snapshot_pending": 0.2,
        "image_registering": 0.2,
        "status_ok": 0.1,
    }

    COUNT, HOSTS, FORKS = 20, 100, 10
    TURNS = 3
    MOST_SECONDS_EACH = 0.08
    MOST_SECONDS_HOST = 0.05
    MOST_SECONDS_PLAYBOOK = 1.8
    MOST_SECONDS_PARENT = 0.3

    def measure(self, bench: Bench) -> Comparison:
        """All of them in turns."""
        bench.sandbox.configure(latency=0.0)
        web = seed_web(bench.sandbox, REGION)
        runs = self._runs(bench, web)
        parent = self._parent(bench)
        costs = Costs({name: median(run.seconds for run in several) for name, several in runs.items()})
        return Comparison(
            (*self._rows(costs), *self._parent_rows(parent)),
            {name: several[-1] for name, several in runs.items()},
            {"seconds": {name: [run.seconds for run in several] for name, several in runs.items()}, "parent": parent},
            (
                (
                    f"The play's own start takes {costs.seconds['start']:.2f} s, with {self.HOSTS} hosts "
                    f"{costs.seconds['hosts: start']:.2f} s."
                ),
                f"Each figure is the median of {self.TURNS} runs. The right column has other modules.",
            ),
        )

    def _runs(self, bench: Bench, web: Web) -> dict[str, list[Run]]:
        ours = {"ec2ops.storage.ebs_volume_spec": {"instance_ids": [web.instance_id], "volumes": []}}
        peer = {"amazon.aws.ec2_vol_info": {"filters": {"attachment.instance-id": web.instance_id}}}
        nothing: dict[str, Any] = {"ansible.builtin.meta": "noop"}
        inventory = bench.folder / "hosts.ini"
        usual = "ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'"
        inventory.write_text("".join(f"host{number} {usual}\n" for number in range(self.HOSTS)), encoding="utf-8")
        many = ("-i", str(inventory), "--forks", str(self.FORKS))
        playbook = {"bake_and_relaunch_instance_id": web.instance_id, "bake_and_relaunch_name": "web"}
        playbook |= {f"bake_and_relaunch_{name}": "keep" for name in ("data_volumes", "elastic_ip", "target_groups")}
        playbook |= {"bake_and_relaunch_version": "1"}
        whole = "ec2ops.storage.bake_and_relaunch"
        commands: dict[str, tuple[str | Path, Mapping[str, Any], Sequence[str]]] = {
            "start": (self._play(bench, "start", [nothing]), {}, ()),
            "worker": (self._play(bench, "ours", [ours] * self.COUNT), WORKER, ()),
            "module": (self._play(bench, "ours", [ours] * self.COUNT), MODULE, ()),
            "ping": (self._play(bench, "ping", [{"ansible.builtin.ping": None}] * self.COUNT), {}, ()),
            "peer": (self._play(bench, "peer", [peer] * self.COUNT), {}, ()),
            "hosts: start": (self._play(bench, "start", [nothing]), {}, many),
            "hosts: worker": (self._play(bench, "one", [ours]), WORKER, many),
            "hosts: module": (self._play(bench, "one", [ours]), MODULE, many),
            "playbook: worker": (whole, {**playbook, **WORKER}, ()),
            "playbook: module": (whole, {**playbook, **MODULE}, ()),
        }
        say(f"{whole} in {REGION} ...")
        # The first run makes the resources that the others find, and reads all files of Ansible once.
        if bench.run(whole, REGION, playbook).status:
            raise Broken(f"{whole} failed")
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for turn in range(self.TURNS):
            for name, (play, variables, arguments) in commands.items():
                say(f"{name}, turn {turn + 1} of {self.TURNS} ...")
                run = bench.run(play, REGION, variables, arguments=arguments)
                if run.status or run.changed:
                    raise Broken(f"{name} should have had nothing to change, but {run.outcome}:\n{run.output}")
                runs[name].append(run)
        return runs

    def _parent(self, bench: Bench) -> dict[str, float]:
        """The cost of loading an action in the parent process: the median of each figure."""
        answers = [json.loads(bench.answered(HERE / "parent_cost.py", REGION)[1]) for _turn in range(self.TURNS)]
        return {name: median(answer[name] for answer in answers) for name in answers[0]}

    def _parent_rows(self, parent: Mapping[str, float]) -> list[Row]:
        opened = parent["threads"] + parent["sockets"]
        return [
            Row(
                "the parent reads botocore and EC2's model, once",
                f"{parent['botocore']:.2f} s",
                "",
                f"at most {self.MOST_SECONDS_PARENT:g} s (with our own files {parent['all']:.2f} s)",
                parent["botocore"] <= self.MOST_SECONDS_PARENT,
            ),
            Row(
                "its memory grows by",
                f"{parent['memory']:.0f} MB",
                "",
                "under 50 MB",
                parent["memory"] < 50,
                binding=True,
            ),
            Row("threads and sockets in the parent", f"{opened:.0f}", "", "0", not opened, binding=True),
        ]

    def _play(self, bench: Bench, name: str, tasks: Sequence[Mapping[str, Any]]) -> Path:
        """The file of a play with these tasks for all hosts."""
        play = {
            "name": name,
            # Without an inventory, only localhost is there.
            "hosts": "{{ 'all' if groups['all'] else 'localhost' }}",
            "gather_facts": False,
            "tasks": [dict(task) for task in tasks],
        }
        path = bench.folder / f"{name}.yml"
        path.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
        return path

    def _rows(self, costs: Costs) -> list[Row]:
        ours, module, ping, peer = (costs.beyond(name, "start") for name in ("worker", "module", "ping", "peer"))
        host, host_module = (costs.beyond(f"hosts: {name}", "hosts: start") for name in ("worker", "module"))
        playbook = costs.seconds["playbook: worker"]
        tasks, hosts = f"{self.COUNT} tasks", f"{self.HOSTS} hosts, {self.FORKS} forks"
        return [
            Row(
                f"{tasks}, beyond the play's start",
                f"{ours:.2f} s",
                f"ec2_vol_info: {peer:.2f} s",
                f"at most {self.MOST_SECONDS_EACH:g} s each: {ours / self.COUNT:.3f}",
                ours / self.COUNT <= self.MOST_SECONDS_EACH,
            ),
            Row(f"{tasks}, the same", f"{ours:.2f} s", f"ping: {ping:.2f} s", "less than ping", ours < ping),
            Row(f"{tasks}, each module in its own process", f"{module:.2f} s", ""),
            Row(
                f"{hosts}, beyond the play's start",
                f"{host:.2f} s",
                "",
                f"at most {self.MOST_SECONDS_HOST:g} s for each host: {host / self.HOSTS:.3f}",
                host / self.HOSTS <= self.MOST_SECONDS_HOST,
            ),
            Row(f"{hosts}, each module in its own process", f"{host_module:.2f} s", ""),
            Row(
                "the whole of bake_and_relaunch, without a change",
                f"{playbook:.2f} s",
                "",
                f"at most {self.MOST_SECONDS_PLAYBOOK:g} s",
                playbook <= self.MOST_SECONDS_PLAYBOOK,
            ),
            Row("the same, each module in its own process", f"{costs.seconds['playbook: module']:.2f} s", ""),
        ]
