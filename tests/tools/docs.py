# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site, in .work/docs/html: the guides of docs/docsite, the pages of docs, and all plugins.

A page is written once. Sphinx reads the Markdown of docs/ as it is; only its links to files of the repository become
links to the site or to GitHub.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tools.environment import COLLECTION, ROOT, WORK

FOLDER = WORK / "docs"
SOURCE = FOLDER / "source"
HTML = FOLDER / "html"
REPOSITORY = "https://github.com/ec2ops/ec2ops.storage"
# The pages of the index, in its order. A page that no chapter names is in the last one.
CHAPTERS = {
    "Start": [f"collection/docsite/{name}" for name in ("getting_started", "nightly_rotation", "choosing")],
    "Tasks": [
        *("pages/volumes", "pages/retention", "pages/copies", "pages/restore", "collection/docsite/drills"),
        *("pages/image_life", "pages/images", "pages/develop_image", "pages/relaunch", "pages/power"),
        *("pages/playbooks", "pages/awx"),
    ],
    "Rules": [
        *("pages/promises", "collection/docsite/faults", "pages/results", "pages/permissions", "pages/trust"),
        *("pages/limits", "pages/glossary"),
    ],
    "Inside": ["pages/architecture", "pages/controller", "pages/benchmarks"],
}
LAST = "More pages"
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


def main() -> None:
    """Exits with the messages if a page has a fault."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (SOURCE / "pages").mkdir(parents=True)
    shutil.copy2(COLLECTION / "docs" / "docsite" / "conf.py", SOURCE)
    plugins()
    for page in sorted((COLLECTION / "docs").glob("*.md")):
        text = linked(page.read_text(encoding="utf-8"))
        (SOURCE / "pages" / page.name).write_text(text, encoding="utf-8")
    (SOURCE / "index.rst").write_text(index(), encoding="utf-8")

    version = str(yaml.safe_load((COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"])
    command = ["sphinx-build", "-W", "--keep-going", "--quiet", "-j", "2", "-d", str(FOLDER / "trees")]
    environment = {**os.environ, "EC2OPS_VERSION": version}
    built = subprocess.run([*command, str(SOURCE), str(HTML)], check=False, env=environment)
    if built.returncode:
        sys.exit(built.returncode)
    print(f"{HTML.relative_to(ROOT) / 'index.html'}: {len([*HTML.rglob('*.html')])} pages")


def plugins() -> None:
    """Writes the pages of modules, roles and filters, and the guides. Exits with the messages of antsibull-docs."""
    target = SOURCE / "collection"
    target.mkdir()
    command = ["antsibull-docs", "collection", "--use-current", "--fail-on-error", "--squash-hierarchy"]
    command += ["--no-add-antsibull-docs-version", "--dest-dir", str(target), "ec2ops.storage"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def linked(text: str) -> str:
    """Returns a page with links to roles and guides on the site, and to other files of the repository on GitHub."""

    def target(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        role = re.fullmatch(r"\.\./roles/(\w+)/README\.md", path)
        if role:
            return f"](../collection/{role[1]}_role.rst)"
        guide = re.fullmatch(r"docsite/rst/(\w+)\.rst", path)
        if guide:
            return f"](../collection/docsite/{guide[1]}.rst)"
        if "/" not in path and path.endswith(".md"):
            return match[0]
        inside = os.path.normpath(Path("docs", path))
        return f"]({REPOSITORY}/blob/main/{inside}{anchor})"

    return _LINK.sub(target, text)


def index() -> str:
    """Returns the first page, with all other pages in its tables of contents."""
    known = {name for names in CHAPTERS.values() for name in names}
    others = [f"{path.parent.name}/{path.stem}" for path in sorted((SOURCE / "pages").glob("*.md"))]
    others += [f"collection/docsite/{path.stem}" for path in sorted((SOURCE / "collection" / "docsite").glob("*.rst"))]
    chapters = {name: [page for page in pages if page in others] for name, pages in CHAPTERS.items()}
    chapters |= {LAST: [name for name in others if name not in known]}
    title = "ec2ops.storage"
    lines = [title, "=" * len(title), ""]
    lines += [
        "EBS volumes, their snapshots, AMIs baked from instances, and instances relaunched from those AMIs. The second",
        "run changes nothing, check mode tells the truth, and nothing is lost.",
        "",
    ]
    for name, pages in chapters.items():
        lines += [".. toctree::", "   :maxdepth: 1", f"   :caption: {name}", ""] if pages else []
        lines += [*(f"   {page}" for page in pages), ""]
    lines += [".. toctree::", "   :maxdepth: 1", "   :caption: Reference", "", "   collection/index", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
