# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test's integration tests on a sandbox. On an account, they run with a cloud-config-aws.ini of your own."""

from __future__ import annotations

import re
import subprocess
import sys

from sandbox.client import Sandbox
from tools.environment import COLLECTION
from tools.furnished import IMAGE, REGION, START, furnish

# Sandbox seconds per real second: the times of EC2 are too long for a test.
SPEED = 60.0
CONFIGURATION = COLLECTION / "tests" / "integration" / "cloud-config-aws.ini"


def main() -> int:
    """Returns ansible-test's status, or 1 if it has skipped a target."""
    version = ".".join(map(str, sys.version_info[:2]))
    with Sandbox.start(speed=SPEED, start=START) as sandbox:
        furnish(sandbox)
        keys = {
            "aws_access_key": "testing",
            "aws_secret_key": "testing",
            "aws_region": REGION,
            "aws_endpoint_url": sandbox.url,
            "integration_image_id": IMAGE,
        }
        lines = ["[default]", *(f"{name}: {value}" for name, value in keys.items())]
        CONFIGURATION.write_text("\n".join(lines) + "\n", encoding="utf-8")
        try:
            command = ["ansible-test", "integration", "--local", "--color", "no", "--python", version, *sys.argv[1:]]
            done = subprocess.run(command, cwd=COLLECTION, check=False, capture_output=True, text=True)
        finally:
            CONFIGURATION.unlink()
    output = done.stdout + done.stderr
    # ansible-test ends with 0 if it runs nothing.
    run = re.findall(r"^Running (\w+) integration test role$", output, re.MULTILINE)
    if done.returncode or not run or "skipped" in output.lower().partition("play recap")[0]:
        print(output)
        return done.returncode or 1
    print(f"ansible-test integration: {', '.join(run)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
