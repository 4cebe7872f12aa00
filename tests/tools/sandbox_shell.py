# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make sandbox``: a sandbox that stays for a shell, and the lines that point the shell to it.

Use it as ``eval "$(make --silent sandbox)"``. It ends after eight hours, or by the ``kill`` line.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys

from sandbox.client import Sandbox
from sandbox.engine import DEFAULT_ACCOUNT
from tools.environment import ROOT
from tools.furnished import REGION, START, furnish

ACCOUNTS = (DEFAULT_ACCOUNT, "111122223333", "222233334444")
"""That of the keys, and those of the roles in the guide about two accounts."""
LIFETIME = 8 * 3600
START_LIMIT = 60.0


def main() -> int:
    """Starts the sandbox in the background. Returns 1 if it does not serve."""
    command = [sys.executable, "-m", "sandbox", "--lifetime", str(LIFETIME), "--start", START]
    process = subprocess.Popen(
        command,
        cwd=ROOT / "tests",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    line = ""
    if process.stdout and select.select([process.stdout], [], [], START_LIMIT)[0]:
        line = process.stdout.readline()
    if not line:
        process.kill()
        print("The sandbox did not start.", file=sys.stderr)
        return 1
    sandbox = Sandbox(json.loads(line)["url"])
    try:
        for account in ACCOUNTS:
            furnish(sandbox, account)
    except BaseException:
        process.terminate()
        raise
    for name, value in sandbox.environment(region=REGION).items():
        print(f"export {name}={value}")
    hours = LIFETIME // 3600
    print(f"# The sandbox ends after {hours} hours, or with: kill {process.pid}", flush=True)
    # The background process keeps no pipe of the caller open: its stdout is our own, which ends here.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
