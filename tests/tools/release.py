# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release of the collection in a copy of the checkout: version, changelog, package, and Galaxy's importer.

``release.py VERSION`` is the dry run. ``release.py VERSION --prepare`` sets the version and writes the changelog in the
checkout itself. ``release.py VERSION --check-tag`` is for the workflow that publishes: it fails unless the checkout has
the version of the tag.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from tools import package
from tools.environment import ROOT, WORK
from tools.tree import listed

FOLDER = WORK / "release"
COPY = FOLDER / "ansible_collections" / "ec2ops" / "storage"
IMAGE = [f"extensions/patterns/{name}.yml" for name in ("requirements", "settings", "execution-environment")]
IMAGE.append("docs/awx.md")
"""The files that name the version of the collection in the image of AWX."""
# Semantic versioning 2.0.0, without build metadata.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")


def main() -> None:
    """Exits with a message if something is wrong."""
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("version")
    kind = cli.add_mutually_exclusive_group()
    kind.add_argument("--check-tag", action="store_true")
    kind.add_argument("--prepare", action="store_true")
    options = cli.parse_args()
    if not VERSION.fullmatch(options.version):
        sys.exit(f"VERSION: {options.version!r} is not a semantic version such as 1.0.0.")
    if options.prepare:
        prepare(ROOT, options.version)
        print(f"galaxy.yml and CHANGELOG.rst have the version {options.version}.")
        return
    folder = ROOT if options.check_tag else COPY
    if options.check_tag:
        require_prepared(folder, options.version)
    else:
        copy()
        prepare(folder, options.version)
    made = package.built(folder, FOLDER)
    package.examine(made)
    write_notes(folder, options.version)
    print(f"{made.relative_to(ROOT)} is ready.")
    if not options.check_tag:
        print(f"This was a dry run. In the checkout, the release of {options.version} is:")
        print(f"  make prepare-release VERSION={options.version}   # galaxy.yml and CHANGELOG.rst")
        print(f"  git add --all && git commit --message 'Release {options.version}'")
        print(f"  git tag --annotate {options.version} --message 'Release {options.version}'")
        print("  git push --follow-tags   # the workflow release.yml publishes it")


def copy() -> None:
    """Copies the files that git knows or would add."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for path in listed(ROOT):
        target = COPY / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target, follow_symlinks=False)


def prepare(folder: Path, version: str) -> None:
    """Sets the version and writes the changelog. Exits if the version is not after those that were released."""
    galaxy = folder / "galaxy.yml"
    former = yaml.safe_load(galaxy.read_text(encoding="utf-8"))["version"]
    text, count = re.subn(r"(?m)^version: .*$", f"version: {version}", galaxy.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit("galaxy.yml has no line with the version.")
    galaxy.write_text(text, encoding="utf-8")
    for path in (folder / name for name in IMAGE):
        text = path.read_text(encoding="utf-8")
        text = text.replace(f"ec2ops-storage:{former}", f"ec2ops-storage:{version}")
        path.write_text(text.replace(f"    version: {former}\n", f"    version: {version}\n"), encoding="utf-8")
    command = ["antsibull-changelog", "release", "--version", version, "--date", f"{datetime.now(tz=UTC):%Y-%m-%d}"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    require_prepared(folder, version)
    left = sorted(path.name for path in (folder / "changelogs" / "fragments").glob("*.yml"))
    if left:
        sys.exit(f"The changelog has left these fragments: {', '.join(left)}")


def write_notes(folder: Path, version: str) -> None:
    """Writes the section of the version as Markdown, for the release on GitHub. Exits with the message of a failure."""
    command = ["antsibull-changelog", "generate", "--only-latest", "--output-format", "md"]
    command += ["--output", str(FOLDER / "notes.md"), version]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def require_prepared(folder: Path, version: str) -> None:
    """Exits unless galaxy.yml and the changelog are those of the version."""
    named = yaml.safe_load((folder / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    if named != version:
        sys.exit(f"galaxy.yml has the version {named}, not {version}.")
    changelog = folder / "CHANGELOG.rst"
    if not changelog.is_file() or not re.search(rf"(?m)^v{re.escape(version)}$", changelog.read_text(encoding="utf-8")):
        sys.exit(f"CHANGELOG.rst has no section v{version}. Run antsibull-changelog release --version {version}.")


if __name__ == "__main__":
    main()
