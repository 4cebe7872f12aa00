# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Five hundred versions of an image, and the guards of those that no rule keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from report import Comparison, Row, say
from runs import HERE, LATENCY, Bench, Broken, Cost
from sandbox.client import Sandbox
from snapshots import costs, counted
from volumes import is_later_page, middle, named, shape

SOURCE = "i-0123456789abcdef0"
"""The instance that the versions were captured from. It is long gone."""
HOUR = 3600.0
REFERENCES = "DescribeImageReferences"
AT_ONCE = 10
"""The most images of one DescribeImageReferences."""


class ImageRotate:
    """A check of 500 versions, of which the newest ten stay. EC2 is asked who uses each of the others.

    Beside the module's own process runs bare_calls.py, a script of boto3 alone, with the same calls, all at once.
    """

    name = "image_rotate"
    title = "Five hundred versions of an image, checked"
    durations: ClassVar[dict[str, float]] = {}

    IMAGES, KEPT = 500, 10
    # The images by pages, their users ten by ten, the locks and launch configurations, and the time.
    MOST_CALLS = (IMAGES - KEPT) // AT_ONCE + 10
    MOST_MORE_SECONDS = 2.0
    TURNS = 3
    EMPTY, REGION = "eu-west-3", "eu-west-1"

    def measure(self, bench: Bench) -> Comparison:
        """The module and the bare calls, in turn."""
        rotation = {
            "name": "web",
            "action": "deregister",
            "keep": {"last": self.KEPT},
            "max_delete": self.IMAGES,
        }
        say(f"image_rotate.yml in {self.EMPTY} ...")
        module = bench.packed(HERE / "image_rotate.yml", self.EMPTY, {"rotation": rotation}, "image_rotate")
        seed_versions(bench.sandbox, self.REGION, self.IMAGES)
        bare = HERE / "bare_calls.py"
        measured: dict[Path, list[Cost]] = {module: [], bare: []}
        say(f"{module.name} and {bare.name}, {self.TURNS} times each ...")
        for _turn in range(self.TURNS):
            before = bench.last_call()
            measured[module].append(self._check(bench, module))
            made = bench.calls_after(before)
            first = [each for each in made if not is_later_page(each)]
            given = json.dumps([[*named(each["action"]), typed(each["params"])] for each in first])
            before = bench.last_call()
            measured[bare].append(bench.process(bare, self.REGION, given))
            if (calls := shape(bench.calls_after(before))) != shape(made):
                raise Broken(f"{bare.name} should make the module's calls, {shape(made)}, but made {calls}")
        ours, theirs = middle(measured[module]), middle(measured[bare])
        return Comparison(
            tuple(self._rows(shape(made), ours, theirs)),
            {},
            {"module_process": asdict(ours), "bare_calls": asdict(theirs), "calls": shape(made)},
            (
                f"A call takes {LATENCY * 1000:.0f} ms. Calls: {counted(shape(made))}.",
                f"The module's process took {costs(ours)}; its calls alone, from a bare boto3 script, {costs(theirs)}.",
            ),
            "none",
        )

    def _check(self, bench: Bench, module: Path) -> Cost:
        cost, output = bench.answered(module, self.REGION)
        answer = json.loads(output[output.index("{") :])
        wanted = {"managed": self.IMAGES, "kept": self.KEPT, "changed": self.IMAGES - self.KEPT}
        if (counts := {name: answer["counts"][name] for name in wanted}) != wanted:
            raise Broken(f"the check should have planned {wanted}, but has {counts}")
        return cost

    def _rows(self, calls: Mapping[str, int], ours: Cost, theirs: Cost) -> list[Row]:
        what = f"{self.IMAGES} images, check"
        number, most = sum(calls.values()), (self.IMAGES - self.KEPT) // AT_ONCE
        more = ours.seconds - theirs.seconds
        return [
            Row(
                f"{what}: calls of {REFERENCES}",
                str(calls.get(REFERENCES, 0)),
                "",
                f"at most {most}: {AT_ONCE} images a call",
                calls.get(REFERENCES, 0) <= most,
                binding=True,
            ),
            Row(
                f"{what}: API calls",
                str(number),
                "",
                f"at most {self.MOST_CALLS}",
                number <= self.MOST_CALLS,
                binding=True,
            ),
            Row(
                f"{what}: time of the module",
                f"{ours.seconds:.2f} s",
                "",
                f"at most {self.MOST_MORE_SECONDS:g} s more than its calls alone: {more:.2f} s",
                more <= self.MOST_MORE_SECONDS,
            ),
            Row(f"{what}: memory of the module", f"{ours.memory:.0f} MB", ""),
        ]


def typed(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a call as boto3 takes them. The log has those of other services than EC2 as texts."""
    return {name: int(value) if name.startswith("Max") else value for name, value in params.items()}


def seed_versions(sandbox: Sandbox, region: str, count: int) -> None:
    """One version an hour, each with its snapshot, as `ami_bake` has captured them."""
    say(f"{count} images in {region} ...")
    rows = [version(number, (count - number) * HOUR) for number in range(count)]
    sandbox.seed({"region": region, "images": rows})


def version(number: int, age: float) -> dict[str, Any]:
    """The row of a version that CreateImage made *age* seconds ago, as seed() takes it."""
    tags = {"ec2ops:image": "web", "ec2ops:version": str(number)}
    return {
        "name": f"web-{number}",
        "age": age + 60.0,
        "description": f"web {number} from {SOURCE}",
        "tags": tags,
        "snapshot_tags": tags,
        "snapshot_description": f"Created by CreateImage({SOURCE}) for {{image}}",
    }
