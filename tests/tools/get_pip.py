# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for get-pip.py, which ansible-test would download from a host that is not PyPI.

ansible-test calls it with requirements such as ``pip==24.2``, in a virtual environment without pip. It installs the pip
that Python brings along, which then installs the requirements.
"""

from __future__ import annotations

import subprocess
import sys


def main(arguments: list[str]) -> None:
    """Installs the requirements among the arguments, with pip's options among them passed on."""
    wanted = [argument for argument in arguments if argument not in {"--no-setuptools", "--no-wheel"}]
    # In a process of its own, since ensurepip turns off pip's configuration, such as the index, in this one.
    subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
    sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=False).returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
