# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shell steps of .github/workflows/release.yml that publish, with a Galaxy and a gh of the test."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.environment import ROOT

JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
TOKEN = "token-of-the-tests"
PACKAGE = "ec2ops-storage-1.0.0.tar.gz"


class Galaxy(BaseHTTPRequestHandler):
    """The part of Galaxy's API that a publication uses. The server's ``uploads`` has each token and body."""

    def do_GET(self) -> None:
        if self.path.rstrip("/").endswith("api"):
            self._answer({"available_versions": {"v3": "v3/"}})
        else:
            self._answer({"state": "completed", "started_at": "now", "finished_at": "now", "messages": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.uploads.append((self.headers.get("Authorization"), body))  # type: ignore[attr-defined]
        self._answer({"task": f"http://127.0.0.1:{self.server.server_address[1]}/api/v3/imports/collections/1/"})

    def _answer(self, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def galaxy() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Galaxy)
    server.uploads = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which a job has got the package."""
    with tarfile.open(tmp_path / PACKAGE, "w:gz") as archive:
        archive.add(ROOT / "galaxy.yml", "MANIFEST.json")
    return tmp_path


def step(job: str, name: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does, with *more* environment variables. Its own must not need a secret beside them."""
    (row,) = [each for each in JOBS[job]["steps"] if each.get("name") == name]
    given = {**os.environ, **row.get("env", {}), **more}
    assert [key for key, value in given.items() if "${{" in value] == []
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", row["run"]]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=60, check=False)


def test_package_is_published_with_the_token_of_the_environment(galaxy: Any, folder: Path) -> None:
    done = step(
        "galaxy",
        "Publish the package",
        folder,
        ANSIBLE_GALAXY_SERVER_GALAXY_URL=f"http://127.0.0.1:{galaxy.server_address[1]}/api/",
        ANSIBLE_GALAXY_SERVER_GALAXY_TOKEN=TOKEN,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((sent, body),) = galaxy.uploads
    assert sent == f"Token {TOKEN}"
    digest = hashlib.sha256((folder / PACKAGE).read_bytes()).hexdigest()
    assert PACKAGE.encode() in body and digest.encode() in body
    assert TOKEN not in done.stdout + done.stderr


def test_release_on_github_has_the_package(folder: Path, tmp_path: Path) -> None:
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    gh.chmod(0o755)
    given = {"GITHUB_REF_NAME": "1.0.0", "GITHUB_REPOSITORY": "ec2ops/ec2ops.storage", "GH_TOKEN": TOKEN}
    done = step("github", "Make the release", folder, PATH=f"{gh.parent}:{os.environ['PATH']}", **given)
    assert done.returncode == 0, done.stderr
    # gh refuses --notes-from-tag together with --repo, and without --repo it needs a checkout.
    wanted = ["release", "create", "1.0.0", "--repo", "ec2ops/ec2ops.storage", "--verify-tag"]
    assert done.stdout.split() == [*wanted, "--notes-file", "notes.md", f"./{PACKAGE}"]
    (kept,) = [row["with"]["path"] for row in JOBS["package"]["steps"] if row["name"] == "Keep the package"]
    assert kept.split() == [".work/release/*.tar.gz", ".work/release/notes.md"]


def test_each_job_waits_for_the_one_before() -> None:
    assert [JOBS[job].get("needs") for job in ("package", "galaxy", "github")] == [None, "package", "galaxy"]
