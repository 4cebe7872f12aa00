# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small account with the ids and tags that the examples of the documentation name."""

from __future__ import annotations

from typing import Any

from sandbox.client import Sandbox
from sandbox.engine import DEFAULT_ACCOUNT

REGION = "eu-central-1"
START = "2026-11-24T02:23:00+00:00"
"""The time in the examples."""
WEB = "i-0123456789abcdef0"
IMAGE = "ami-0123456789abcdef0"
DATA = "vol-0123456789abcdef0"
SHOP = {"Name": "shop", "backup": "daily", "app": "shop"}
DAYS = 9
"""Snapshots of the data volume, one of each night, by a cron script."""


def furnish(sandbox: Sandbox, account: str = DEFAULT_ACCOUNT) -> None:
    """Make the account's resources."""
    names = sandbox.seed(
        {
            "account": account,
            "region": REGION,
            "images": [{"name": "base"}, {"id": IMAGE, "name": "web-2"}],
            "instances": [
                {"id": WEB, "name": "web", "tags": {"role": "web"}},
                {"id": "i-0123456789abcdef1", "name": "web-b", "tags": {"role": "web"}},
                {"id": "i-0123456789abcdef2", "name": "web-c", "tags": {"role": "web"}},
                {"id": "i-0fedcba9876543210", "name": "spare"},
                {"name": "db", "tags": {"role": "db"}},
            ],
            "volumes": [
                {
                    "id": DATA,
                    "name": "data",
                    "Size": 100,
                    "AvailabilityZone": f"{REGION}a",
                    "tags": {"Name": "db-data", "backup": "nightly", "app": "ledger"},
                },
                {"name": "shop", "Size": 20, "AvailabilityZone": f"{REGION}a", "tags": SHOP},
            ],
            "snapshots": [
                {
                    "name": f"night{night}",
                    "volume": "data",
                    "age": 3600 + night * 86400,
                    "tags": {"made-by": "cron", "Name": "db-data"},
                    "description": "nightly",
                }
                for night in range(DAYS)
            ],
        }
    )
    ec2 = sandbox.client("ec2", REGION, account=account)
    ec2.attach_volume(VolumeId=DATA, InstanceId=names["db"], Device="/dev/sdf")
    sandbox.seed(
        {"account": account, "region": "us-east-1", "instance": {"id": WEB, "name": "web", "state": "stopped"}}
    )
    sandbox.seed({"account": account, "region": "eu-west-1", "volume": {"name": "shop", "Size": 20, "tags": SHOP}})
    launch_template(sandbox, account, "us-east-1")


def launch_template(sandbox: Sandbox, account: str, region: str) -> None:
    """Make the launch template ``web``."""
    data: Any = {"ImageId": IMAGE, "InstanceType": "t3.micro"}
    sandbox.client("ec2", region, account=account).create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData=data
    )


def furnish_groups(sandbox: Sandbox, account: str) -> None:
    """Make the Auto Scaling groups of the launch template ``web``, in both regions of a furnished account."""
    launch_template(sandbox, account, REGION)
    for region in (REGION, "us-east-1"):
        ec2 = sandbox.client("ec2", region, account=account)
        (template,) = ec2.describe_launch_templates()["LaunchTemplates"]
        rows = [{"name": name, "template": template["LaunchTemplateId"], "instances": 3} for name in ("web", "worker")]
        sandbox.seed({"account": account, "region": region, "auto_scaling_groups": rows})
