# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The browser that the tests of the report's page use: Chromium, as the system has it.

As a command, it installs Chromium where that is possible: with apt-get, as root. Otherwise it says what is missing, and
ends with 0: without a browser, the tests skip, and in continuous integration they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = "There is no Chromium. Install it with `apt-get install chromium`, as root."


def browser() -> str | None:
    """Return the path of the browser, or None if the system has none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> None:
    """Install Chromium if it is missing and can be installed."""
    if browser():
        return
    if os.geteuid() or not shutil.which("apt-get"):
        print(MISSING)
        return
    print("Installing Chromium.", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", "-qq", *command], env=env, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            print(f"apt-get {command[0]} has ended with {done.returncode}. {MISSING}")
            return


if __name__ == "__main__":
    main()
