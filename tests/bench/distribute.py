# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image baked, copied to five regions, shared, and published as an SSM parameter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from report import Comparison, Row, say, where_time_goes
from runs import HERE, LATENCY, Bench, Broken, Run

SNAPSHOT, IMAGE, COPY, CHECK = 4.0, 1.0, 12.0, 1.0
"""Seconds. `CHECK`: until SSM has found the image of a parameter."""
PARAMETER, ACCOUNT = "/images/web", "111122223333"


class Distribute:
    """The bake alone, and in another region the bake with everything that follows it.

    The copies are made side by side, and each region goes on as soon as its own copy is there. So the whole takes as
    long as the bake, the longest copy, and the few calls that follow the copy.
    """

    name = "distribute"
    title = "An image baked, copied to five regions, shared and published"
    durations: ClassVar = {
        "snapshot_pending": SNAPSHOT,
        "image_registering": IMAGE,
        "image_copying": COPY,
        "parameter_validation": CHECK,
        "instance_stopping": 0.5,
    }

    ALONE, SOURCE = "ap-southeast-2", "us-east-1"
    COPIES = ("eu-west-1", "eu-west-2", "eu-central-1", "eu-north-1", "us-west-2")
    TIMES_THE_COPY, MORE_SECONDS = 1.1, 5.0

    def measure(self, bench: Bench) -> Comparison:
        """The bake alone, the whole, and the whole again."""
        alone = self._bake(bench, self.ALONE, {})
        everything = {
            "copies": [{"region": region} for region in self.COPIES],
            "launch_permissions": {"user_ids": [ACCOUNT], "snapshots": True},
            "ssm_parameter": {"name": PARAMETER},
        }
        before = bench.last_call()
        whole = self._bake(bench, self.SOURCE, everything)
        copied = [entry for entry in bench.calls_after(before) if entry["action"] == "CopyImage"]
        apart = max(moment(entry) for entry in copied) - min(moment(entry) for entry in copied)
        published = self._published(bench)
        again = self._bake(bench, self.SOURCE, everything)
        most = alone.seconds + self.TIMES_THE_COPY * COPY + self.MORE_SECONDS
        number = len(self.COPIES)
        return Comparison(
            (
                Row("the bake alone: time", f"{alone.seconds:.1f} s", ""),
                Row(
                    f"bake, {number} copies, share, publish: time",
                    f"{whole.seconds:.1f} s",
                    "",
                    (
                        f"at most {most:.1f} s (the bake, {self.TIMES_THE_COPY:g} times a copy of {COPY:g} s, and "
                        f"{self.MORE_SECONDS:g} s)"
                    ),
                    whole.seconds <= most,
                ),
                Row("from the first CopyImage to the last", f"{apart:.2f} s", ""),
                Row(
                    "regions whose parameter names the region's own image, shared",
                    str(published),
                    "",
                    str(number + 1),
                    published == number + 1,
                    binding=True,
                ),
                Row("API calls, without polls", str(whole.calls), ""),
                Row("second run: result", again.outcome, "", "no change", again.outcome == "no change", binding=True),
                Row("second run: time", f"{again.seconds:.1f} s", ""),
            ),
            {"the bake alone": alone, "the whole": whole, "again": again},
            {"copies_apart": apart},
            (
                (
                    f"A call takes {LATENCY * 1000:.0f} ms, a snapshot {SNAPSHOT:g} s, an image {IMAGE:g} s, a copy "
                    f"{COPY:g} s, SSM's look for the image {CHECK:g} s."
                ),
                where_time_goes("the whole", whole),
            ),
            "none",
        )

    def _bake(self, bench: Bench, region: str, more: Mapping[str, Any]) -> Run:
        ec2 = bench.sandbox.client("ec2", region)
        found = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
        if found:
            source = found[0]["InstanceId"]
        else:
            source = bench.sandbox.seed({"region": region, "instance": {"name": "web", "state": "stopped"}})["web"]
        say(f"distribute.yml in {region} ...")
        image = {"name": "web", "version": "1", "source_instance_id": source, **more}
        run = bench.run(HERE / "distribute.yml", region, {"image": image})
        if run.status:
            raise Broken(f"distribute.yml in {region} ended with {run.status}:\n{run.output[-5000:]}")
        return run

    def _published(self, bench: Bench) -> int:
        """The number of regions whose parameter names the available, shared image of that region."""
        number = 0
        for region in (self.SOURCE, *self.COPIES):
            ec2 = bench.sandbox.client("ec2", region)
            (image,) = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:ec2ops:image", "Values": ["web"]}])[
                "Images"
            ]
            given = ec2.describe_image_attribute(ImageId=image["ImageId"], Attribute="launchPermission")
            shared = [one.get("UserId") for one in given["LaunchPermissions"]] == [ACCOUNT]
            value = bench.sandbox.client("ssm", region).get_parameter(Name=PARAMETER)["Parameter"]["Value"]
            number += shared and image["State"] == "available" and value == image["ImageId"]
        return number


def moment(entry: Mapping[str, Any]) -> float:
    """The time of a call in the log, in seconds since 1970."""
    return datetime.fromisoformat(entry["time"]).timestamp()
