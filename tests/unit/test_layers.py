# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which file may import which: the arrows of the architecture, held by reading every import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UTILS = ROOT / "plugins" / "module_utils"
COLLECTION = "ansible_collections.ec2ops.storage.plugins.module_utils."
AMAZON = "ansible_collections.amazon.aws."
# amazon.aws's own private packages start with an underscore and change without notice.
PUBLIC_AMAZON = {f"{AMAZON}plugins.module_utils.{name}" for name in ("modules", "common")}

BASE = {
    "_core/errors",
    "_core/names",
    "_core/tags",
    "_core/timespan",
    "_core/resources",
    "_core/change",
    "_core/proofs",
    "_core/display",
}
HELPERS = BASE | {
    "_core/goals",
    "_core/lineage",
    "_core/volume_types",
    "_core/device_names",
    "_core/zones",
    "_core/load_balancers",
    "_core/holding",
    "_core/instance_facts",
    "_core/image_spec",
    "_core/image_requests",
    "_core/image_found",
    "_core/image_machine",
    "_core/image_orphan",
    "_core/image_removal",
    "_core/image_upkeep",
    "_core/volume_spec",
    "_core/volume_identity",
    "_core/volume_drift",
    "_core/volume_places",
    "_core/volume_stages",
    "_core/volume_result",
    "_core/retention",
    "_core/rotation_upkeep_spec",
    "_core/rotation_spec",
    "_core/rotation_units",
    "_core/recovery",
    "_core/restored_volumes",
    "_core/rotation_guards",
    "_core/rotation_keeping",
    "_core/rotation_capture",
    "_core/rotation_left_out",
    "_core/rotation_copies",
    "_core/rotation_unanswered",
    "_core/rotation_lending",
    "_core/rotation_adoption",
    "_core/rotation_late",
    "_core/rotation_leftovers",
    "_core/rotation_successors",
    "_core/rotation_accounts",
    "_core/contested",
    "_core/rotation_report",
    "_core/rotation_upkeep",
    "_core/variables",
    "_core/summary",
}
# What a feature may use of another feature.
FEATURES: dict[str, set[str]] = {
    "_core/image": set(),
    "_core/power": set(),
    "_core/relaunch": set(),
    "_core/volume": set(),
    "_core/snapshot": set(),
}
PURE_EDGE = {"_ports", "_aws/codec"}
EFFECTS = {"_aws/errors", "_aws/pacing", "_aws/waiting", "_aws/gateway"}
ENGINE = {"_apply", "_render", "_argspec"}

ALLOWED: dict[str, set[str]] = {
    "_core/errors": set(),
    **dict.fromkeys(BASE - {"_core/errors"}, BASE),
    **dict.fromkeys(HELPERS - BASE, HELPERS),
    **{name: HELPERS | more for name, more in FEATURES.items()},
    "_ports": HELPERS,
    "_aws/codec": HELPERS,
    "_render": HELPERS | {"_ports"},
    "_argspec": HELPERS,
    "_apply": HELPERS | {"_ports"},
    **dict.fromkeys(EFFECTS, HELPERS | PURE_EDGE | EFFECTS),
    "_runner": HELPERS | PURE_EDGE | EFFECTS | ENGINE,
}
# Beside the standard library.
OUTSIDE: dict[str, tuple[str, ...]] = {
    "_aws/errors": ("botocore",),
    "_aws/gateway": ("botocore", "boto3", AMAZON),
    "_runner": ("ansible", AMAZON),
}


def named(path: Path) -> str:
    return path.relative_to(UTILS).with_suffix("").as_posix()


FILES = {named(path): path for path in sorted(UTILS.rglob("*.py")) if path.name != "__init__.py"}
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))


def imports(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Every imported module in full: our own as ``_core/names``, others with dots. Those for types alone count too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from imported(node, package)


def imported(node: ast.ImportFrom, package: tuple[str, ...]) -> Iterator[str]:
    module = node.module or ""
    if node.level:
        base = package[: len(package) - node.level + 1]
        parts = (*base, *module.split(".")) if module else base
    elif module.startswith(COLLECTION) or module + "." == COLLECTION:
        parts = tuple(module[len(COLLECTION) :].split(".")) if module.startswith(COLLECTION) else ()
    else:
        yield module
        return
    path = UTILS.joinpath(*parts)
    if path.is_dir():
        # `from . import names`: each name is a file.
        yield from ("/".join((*parts, alias.name)) for alias in node.names)
    else:
        yield "/".join(parts)


def is_own(name: str) -> bool:
    return name in ALLOWED or name.startswith(("_core/", "_aws/")) or (UTILS / f"{name}.py").exists()


def test_every_file_has_its_place_in_the_table() -> None:
    assert set(FILES) <= set(ALLOWED)
    assert {"_core/change", "_ports", "_apply", "_runner", "_aws/gateway"} <= set(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_imports_only_what_its_row_allows(name: str) -> None:
    package = tuple(name.split("/")[:-1])
    for target in imports(FILES[name], package):
        if is_own(target):
            assert target in ALLOWED[name], f"{name} imports {target}"
        else:
            top = target.split(".")[0]
            outside = target.startswith(OUTSIDE.get(name, ())) if name in OUTSIDE else False
            assert top in sys.stdlib_module_names or outside, f"{name} imports {target}"
            assert not target.startswith(AMAZON) or target in PUBLIC_AMAZON, f"{name} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_is_documentation_and_a_call_of_the_runner(path: Path) -> None:
    own = {target for target in imports(path, ()) if is_own(target)}
    features = own & set(FEATURES)
    assert own - features <= {"_runner", "_argspec"}, path
    assert len(features) == 1, path
    assert {target for target in imports(path, ()) if not is_own(target)} <= {"__future__", "typing"}, path


@pytest.mark.parametrize("path", [*FILES.values(), *MODULES], ids=lambda path: path.stem)
def test_no_file_asserts_prints_or_exits(path: Path) -> None:
    allowed_names = {"check_mode", "_diff", "exit_json", "fail_json", "fail_json_aws"}
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: assert"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "eval", "exec"), f"{path}:{node.lineno}: {node.func.id}"
        if isinstance(node, ast.Attribute) and path.name not in ("_runner.py", "_ports.py"):
            assert node.attr not in allowed_names, f"{path}:{node.lineno}: {node.attr} is the runner's"


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.startswith("_core/")))
def test_the_core_knows_no_clock_and_no_io(name: str) -> None:
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rsplit(".", maxsplit=1)[-1]
            assert last not in ("now", "utcnow", "today", "open", "sleep", "time", "getenv"), f"{name}: {called}"


def test_the_check_sees_a_forbidden_import(tmp_path: Path) -> None:
    """The walk itself: relative, absolute, nested and type-only imports are all seen."""
    file = tmp_path / "x.py"
    file.write_text(
        "from .._aws import gateway\nfrom . import power\nfrom .image import FEATURE\n"
        f"from {COLLECTION}_runner import execute\n"
        "def f():\n    import boto3\n"
    )
    assert set(imports(file, ("_core",))) == {"_aws/gateway", "_core/power", "_core/image", "_runner", "boto3"}
