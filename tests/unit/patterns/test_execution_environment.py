# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build context that ansible-builder makes for the image of the jobs. The image itself needs a container engine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.environment import ROOT, TREE

PATTERNS = ROOT / "extensions" / "patterns"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "context"
    command = ["ansible-builder", "create", "-c", str(folder), "--output-filename", "Containerfile"]
    subprocess.run(command, cwd=PATTERNS, check=True, capture_output=True)
    return folder


def test_the_image_has_the_version_of_this_collection(context: Path) -> None:
    wanted = yaml.safe_load((context / "_build" / "requirements.yml").read_text(encoding="utf-8"))
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert wanted["collections"] == [{"name": "ec2ops.storage", "version": galaxy["version"]}]
    settings = yaml.safe_load((PATTERNS / "settings.yml").read_text(encoding="utf-8"))
    assert settings["pattern_image"].endswith(f"/ec2ops-storage:{galaxy['version']}")


def test_the_image_has_time_zones_and_a_supported_ansible(context: Path) -> None:
    python = (context / "_build" / "requirements.txt").read_text(encoding="utf-8").split()
    system = (context / "_build" / "bindep.txt").read_text(encoding="utf-8").splitlines()
    assert python == ["tzdata"]
    assert "tzdata [platform:rpm]" in system
    recipe = (context / "Containerfile").read_text(encoding="utf-8")
    assert re.search(
        r'^ARG ANSIBLE_INSTALL_REFS="ansible-core>=2\.20,<2\.22 ansible-runner>=2\.4\.0"$', recipe, re.MULTILINE
    )
    assert re.search(r'^ARG EE_BASE_IMAGE="[\w.]+/[\w/-]+:\w+"$', recipe, re.MULTILINE)
    assert "ansible-galaxy collection install" in recipe


def test_the_builder_finds_boto3_in_the_collections() -> None:
    found = subprocess.run(
        ["ansible-builder", "introspect", "--sanitize", str(TREE)], check=True, capture_output=True, text=True
    )
    lines = [line for line in found.stdout.splitlines() if line.endswith("# from collection ec2ops.storage'")]
    needed = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for package in (line for line in needed if not line.startswith("#")):
        assert any(f"'{package}  #" in line for line in lines), found.stdout
