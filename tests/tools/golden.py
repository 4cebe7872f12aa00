# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the golden data of the last run with EC2OPS_GOLDEN=write in place, see ``tests/unit/support/golden_data.py``.

Tests whose entries differ between the lines of several such runs are left out: they are not the same every time.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = ROOT / ".work" / "golden"
PLACE = ROOT / "tests" / "unit" / "golden"


def main() -> int:
    """Merge what was written; 1 when nothing was."""
    found: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(WRITTEN.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            file, test, entry = json.loads(line)
            found[file][test].append(entry)
    left_out = 0
    for file, tests in sorted(found.items()):
        stable = {
            test: entries[0] for test, entries in sorted(tests.items()) if all(entry == entries[0] for entry in entries)
        }
        left_out += len(tests) - len(stable)
        PLACE.mkdir(exist_ok=True)
        rows = ",\n".join(f" {json.dumps(test)}: {json.dumps(entry)}" for test, entry in stable.items())
        (PLACE / f"{file}.json").write_text(f"{{\n{rows}\n}}\n")
    print(f"{sum(map(len, found.values())) - left_out} tests of {len(found)} files; {left_out} differ and are left out")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
