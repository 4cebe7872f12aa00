# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets up all that development needs inside the checkout: ``.venv``, amazon.aws, awx.awx and a home for ansible-test.

Run it with the Python that shall be used. It needs the standard library and PyPI, and returns at once if its earlier
result is still valid.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
WORK = ROOT / ".work"
STAMP = VENV / "ready"
OLDEST = (3, 11)

# The SHA-256 of these, this file and the interpreter is the stamp.
INPUTS = (
    "requirements-collections.txt",
    "constraints.txt",
    "tests/tools/locks/uv.txt",
    "tests/tools/locks/awx.txt",
    "tests/tools/bootstrap.py",
    "tests/tools/get_pip.py",
)


def fingerprint() -> str:
    """Return the digest of the files that the venv depends on."""
    digest = hashlib.sha256(f"{sys.version}\0{sys.base_prefix}\0{ROOT}".encode())
    for name in INPUTS:
        digest.update(b"\0" + (ROOT / name).read_bytes())
    return digest.hexdigest()


def ready(wanted: str) -> bool:
    """Return whether the venv exists and was made from the same files."""
    return (
        STAMP.is_file()
        and STAMP.read_text(encoding="utf-8") == wanted
        and (WORK / "tree" / "ansible_collections" / "amazon" / "aws").is_dir()
        and (WORK / "awx" / "ansible_collections" / "awx" / "awx").is_dir()
    )


def set_up(wanted: str) -> None:
    """Makes the venv anew, and writes the stamp as the last thing: an interrupted run is repeated from its start."""
    import os
    import shutil
    import subprocess
    import zipfile

    def run(*command: object, quiet: bool = False) -> bool:
        """Runs a command to its end. With `quiet` a failure is for the caller to handle, else it ends the program."""
        done = subprocess.run([str(word) for word in command], check=False, env=env, capture_output=quiet)
        if done.returncode and not quiet:
            sys.exit(f"Failed, with status {done.returncode}: {' '.join(str(word) for word in command)}")
        return not done.returncode

    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "VIRTUAL_ENV": str(VENV)}
    python = VENV / "bin" / "python"

    print(f"Setting up {VENV} with Python {sys.version.split()[0]}.", flush=True)
    STAMP.unlink(missing_ok=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    run(sys.executable, "-m", "venv", VENV)

    # uv installs all this in 10 s where pip takes 40 s. uv does not read pip's configuration: if only that names the
    # index, pip installs the packages.
    print("Installing the packages of constraints.txt.", flush=True)
    packages = ("--require-hashes", "-r", ROOT / "constraints.txt")
    uv = ("--require-hashes", "-r", ROOT / "tests/tools/locks/uv.txt")
    fast = run(python, "-m", "pip", "install", "--quiet", *uv, quiet=True)
    if not (fast and run(python, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", *packages, quiet=True)):
        run(python, "-m", "pip", "install", "--quiet", *packages)

    # Once in the venv, where every tool but one finds it, and once beside the collection, for ansible-test.
    print("Unpacking amazon.aws.", flush=True)
    download = WORK / "download"
    shutil.rmtree(download, ignore_errors=True)
    (site_packages,) = VENV.glob("lib/python*/site-packages")

    def unpack(requirements: str, collection: str, places: Sequence[Path]) -> None:
        """Unpacks a collection, such as amazon/aws, from the wheel of `ansible` that *requirements* pins."""
        chosen = ("--require-hashes", "--requirement", ROOT / requirements)
        folder = download / collection
        run(python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *chosen)
        (wheel,) = folder.glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(f"ansible_collections/{collection}/")]
            for place in places:
                shutil.rmtree(place / "ansible_collections" / collection, ignore_errors=True)
                archive.extractall(place, names)

    unpack("requirements-collections.txt", "amazon/aws", (site_packages, WORK / "tree"))
    # Apart from the others: only the tests of extensions/patterns read it.
    unpack("tests/tools/locks/awx.txt", "awx/awx", (WORK / "awx",))
    shutil.rmtree(download)

    # `sandbox` and `tools` are imported from tests/ by name.
    (site_packages / "ec2ops_storage_tests.pth").write_text(f"{ROOT / 'tests'}\n", encoding="utf-8")
    prepare_home(site_packages)
    write_pip_configuration()
    STAMP.write_text(wanted, encoding="utf-8")


def prepare_home(site_packages: Path) -> None:
    """Puts the stand-in for get-pip.py where ansible-test looks before it downloads that file, which is not on PyPI."""
    import re

    source = (site_packages / "ansible_test/_internal/python_requirements.py").read_text(encoding="utf-8")
    versions = set(re.findall(r"pip='([0-9.]+)'", source))
    if not versions:
        sys.exit("ansible-test does not say any more which pip it wants: bootstrap.py has to learn where it does.")
    cache = WORK / "home/.ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in versions:
        stand_in = (ROOT / "tests/tools/get_pip.py").read_bytes()
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_bytes(stand_in)


def write_pip_configuration() -> None:
    """Lets the pip of ansible-test reach the same index: its home is ours, and of our variables it gets few."""
    import ast
    import configparser
    import os
    import subprocess

    settings = configparser.RawConfigParser()
    settings.add_section("global")
    for variable, option in (("https_proxy", "proxy"), ("HTTPS_PROXY", "proxy"), ("REQUESTS_CA_BUNDLE", "cert")):
        if os.environ.get(variable):
            settings["global"][option] = os.environ[variable]
    listing = [str(VENV / "bin" / "python"), "-m", "pip", "config", "list"]
    for line in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines():
        name, _equals, value = line.partition("=")
        section, _dot, option = name.rpartition(".")
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings[section][option] = ast.literal_eval(value)
    target = WORK / "home/.config/pip/pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    # For the user alone: an index's address may hold a password.
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        settings.write(file)


def main() -> None:
    """Sets up what is missing; one process at a time."""
    if sys.version_info < OLDEST:
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")
    wanted = fingerprint()
    if ready(wanted):
        return
    import fcntl

    WORK.mkdir(exist_ok=True)
    with (WORK / "bootstrap.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready(wanted):
            set_up(wanted)


if __name__ == "__main__":
    main()
