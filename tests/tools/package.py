# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection, checks that it has only files that users need, and imports it with Galaxy's own importer."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tools.environment import COLLECTION, WORK

DIST = WORK / "dist"

# The files and folders that a built collection may have at its top.
FILES = {"COPYING", "FILES.json", "MANIFEST.json", "requirements.txt"}
FILES |= {"CHANGELOG.rst", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"}
FOLDERS = {"changelogs", "docs", "meta", "playbooks", "plugins", "roles"}


def main() -> None:
    """Exits with a message if something is wrong."""
    shutil.rmtree(DIST, ignore_errors=True)
    examine(built(COLLECTION, DIST))


def built(folder: Path, into: Path) -> Path:
    """Returns the package that ansible-galaxy makes of the folder. Exits with its message if it makes none."""
    build = ["ansible-galaxy", "collection", "build", "--force", "--output-path", str(into)]
    done = subprocess.run(build, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    (package,) = into.glob("*.tar.gz")
    return package


def examine(package: Path) -> set[str]:
    """Returns the names of the package's files.

    Exits if it holds files that users do not need, or that Galaxy would refuse.
    """
    with tarfile.open(package) as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    strangers = sorted(
        name for name in names if name not in FILES and (name.split("/")[0] not in FOLDERS or "__pycache__" in name)
    )
    if strangers:
        sys.exit(f"In the package, but not for users (see build_ignore in galaxy.yml): {', '.join(strangers)}")

    # The importer ends with 0 in any case; its log has the findings that Galaxy would show.
    command = [sys.executable, "-m", "galaxy_importer.main", package.name]
    imported = subprocess.run(command, cwd=package.parent, check=False, capture_output=True, text=True)
    log = imported.stdout + imported.stderr
    (package.parent / "importer.log").write_text(log, encoding="utf-8")
    problems = [line for line in log.splitlines() if re.match(r"(ERROR|WARNING|CRITICAL|FATAL)\b", line)]
    if imported.returncode or problems or "Importer processing completed successfully" not in log:
        sys.exit("\n".join(problems or [log]))
    print(f"{package.name}: {len(names)} files, imported without a complaint")
    return names


if __name__ == "__main__":
    main()
