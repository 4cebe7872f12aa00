# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The imports that each layer may have, as docs/architecture.md says. The tests read every import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"
OURS = "ansible_collections.ec2ops.storage.plugins"
OWN = f"{OURS}.module_utils"
AMAZON = "ansible_collections.amazon.aws."
# amazon.aws's own private packages start with an underscore and change without notice.
PUBLIC_AMAZON = {f"{AMAZON}plugins.module_utils.{name}" for name in ("modules", "common")}


@dataclass(frozen=True)
class Layer:
    """The imports that the files of a layer may have: our layers, and packages beside the standard library.

    ``own_folder``: also the file's own folder in `_features`. ``one_feature``: also one folder in `_features`.
    """

    layers: frozenset[str]
    outside: frozenset[str] = field(default_factory=frozenset)
    own_folder: bool = False
    one_feature: bool = False


def layer(*layers: str, outside: tuple[str, ...] = (), own_folder: bool = False, one_feature: bool = False) -> Layer:
    return Layer(frozenset(layers), frozenset(outside), own_folder, one_feature)


AWS, ANSIBLE = ("botocore", "boto3", "ansible_collections"), ("ansible", "ansible_collections")
LAYERS = {
    "_kernel": layer("_kernel"),
    "_domain": layer("_kernel", "_domain"),
    "_features": layer("_kernel", "_domain", own_folder=True),
    "_aws": layer("_kernel", "_aws", outside=AWS),
    "_engine": layer("_kernel", "_aws", "_engine", outside=ANSIBLE),
    "_report": layer("_kernel", "_report"),
    "modules": layer("_engine", one_feature=True, outside=ANSIBLE),
    "action": layer("plugin_utils"),
    "plugin_utils": layer("_engine", "_aws", "_kernel", "_report", "plugin_utils", outside=ANSIBLE),
    "filter": layer("_engine", "_kernel", "filter", one_feature=True, outside=(*ANSIBLE, "yaml")),
    "doc_fragments": layer(),
    "lookup": layer("_engine", "_kernel", one_feature=True, outside=ANSIBLE),
}
PURE = ("_kernel", "_domain", "_features", "_report")


def named(path: Path) -> tuple[str, ...]:
    """The file as folders and name: below module_utils, or below plugins for what Ansible itself loads."""
    return path.relative_to(UTILS if path.is_relative_to(UTILS) else PLUGINS).with_suffix("").parts


FILES = {named(path): path for path in sorted(PLUGINS.rglob("*.py"))}
ACTIONS_ALONE = frozenset({"storage_report_files"})
"""Modules whose whole work is an action on the controller. The module file is its documentation."""
MODULES = [path for name, path in FILES.items() if name[0] == "modules" and name[1] not in ACTIONS_ALONE]


def imports(path: Path, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every import in full, by its parts: ours below module_utils, others as they are. Those for types count too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from imported(node, package)


def imported(node: ast.ImportFrom, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    module = node.module or ""
    if node.level:
        parts = (*package[: len(package) - node.level + 1], *module.split(".")) if module else package
    elif f"{module}.".startswith(f"{OWN}."):
        parts = tuple(module[len(OWN) + 1 :].split(".")) if module != OWN else ()
    elif module.startswith(f"{OURS}."):
        parts = tuple(module[len(OURS) + 1 :].split("."))
        yield from ((*parts, alias.name) for alias in node.names) if len(parts) == 1 else [parts]
        return
    else:
        yield tuple(module.split("."))
        return
    # `from .._kernel import ids`: each name is a file.
    yield from ((*parts, alias.name) for alias in node.names) if UTILS.joinpath(*parts).is_dir() else [parts]


def is_own(target: tuple[str, ...]) -> bool:
    return target[0] in LAYERS


def trouble(name: tuple[str, ...], target: tuple[str, ...]) -> str:
    """Why the file *name* may not import *target*; empty when it may."""
    allowed = LAYERS[name[0]]
    if is_own(target):
        within = target[0] == "_features" and (allowed.one_feature or (allowed.own_folder and target[:2] == name[:2]))
        return "" if target[0] in allowed.layers or within else "another layer"
    if ".".join(target).startswith(AMAZON) and ".".join(target) not in PUBLIC_AMAZON:
        return "private to amazon.aws"
    return "" if target[0] in sys.stdlib_module_names or target[0] in allowed.outside else "not open to its layer"


@pytest.mark.parametrize("name", FILES, ids="/".join)
def test_file_imports_only_from_permitted_layers(name: tuple[str, ...]) -> None:
    found = set(imports(FILES[name], name[:-1]))
    assert {target: why for target in found if (why := trouble(name, target))} == {}
    features = {target[1] for target in found if target[0] == "_features"}
    assert len(features) <= 1, f"{name} imports several features: {features}"


def test_every_file_belongs_to_a_layer() -> None:
    assert {name[0] for name in FILES} == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_is_documentation_and_a_call_of_the_runner(path: Path) -> None:
    own = {target for target in imports(path, ()) if is_own(target)}
    features = {target for target in own if target[0] == "_features"}
    assert own - features <= {("_engine", "runner"), ("_engine", "options")}, path
    assert {target[2] for target in features} - {"options"} == {"planner"}, path
    assert {target[0] for target in imports(path, ()) if not is_own(target)} <= {"__future__", "typing"}, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_has_an_action_of_at_most_five_lines_that_names_it(path: Path) -> None:
    action = FILES["action", path.stem]
    code = [line for line in action.read_text().splitlines() if line and not line.startswith("#")]
    assert len(code) <= 5
    assert code[-1] == f'    name = "{path.stem}"'


@pytest.mark.parametrize("name", sorted(ACTIONS_ALONE))
def test_module_of_an_action_alone_is_documentation_and_no_code(name: str) -> None:
    body = ast.parse(FILES["modules", name].read_text()).body
    assert [target.id for node in body if isinstance(node, ast.Assign) for target in node.targets] == [
        "DOCUMENTATION",
        "EXAMPLES",
        "RETURN",
    ]
    assert {type(node) for node in body} == {ast.ImportFrom, ast.Assign}
    assert ("action", name) in FILES


@pytest.mark.parametrize("name", FILES, ids="/".join)
def test_no_file_asserts_prints_or_exits(name: tuple[str, ...]) -> None:
    path = FILES[name]
    allowed_names = {"check_mode", "_diff", "exit_json", "fail_json", "fail_json_aws"}
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: assert"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "eval", "exec"), f"{path}:{node.lineno}: {node.func.id}"
        if isinstance(node, ast.Attribute) and name not in (("_engine", "runner"), ("_engine", "ports")):
            assert node.attr not in allowed_names, f"{path}:{node.lineno}: {node.attr} is the runner's"


@pytest.mark.parametrize("name", [name for name in FILES if name[0] in PURE], ids="/".join)
def test_pure_layer_knows_no_clock_and_no_io(name: tuple[str, ...]) -> None:
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rsplit(".", maxsplit=1)[-1]
            assert last not in ("now", "utcnow", "today", "open", "sleep", "time", "getenv"), f"{name}: {called}"


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("_kernel/ids", "from .._domain import hold", "another layer"),
        ("_domain/hold", "from .._features.power import planner", "another layer"),
        ("_features/power/planner", "from ..image import planner", "another layer"),
        ("_features/power/planner", "from ..._aws.gateway import Ec2Gateway", "another layer"),
        ("_features/power/planner", "def f():\n    import boto3", "not open to its layer"),
        ("_aws/gateway", "from .._engine.ports import Gateway", "another layer"),
        ("_engine/runner", "from .._features.power.planner import FEATURE", "another layer"),
        ("_aws/gateway", f"from {AMAZON}plugins.module_utils._client.errors import x", "private to amazon.aws"),
        ("modules/x", f"from {OWN}._kernel.ids import planned", "another layer"),
        ("modules/x", f"from {OURS}.plugin_utils.in_process import InProcess", "another layer"),
        ("action/x", f"from {OWN}._features.power.planner import FEATURE", "another layer"),
        ("_report/x", "from .._features.power.planner import FEATURE", "another layer"),
        ("action/x", f"from {OURS}.modules import x", "another layer"),
        ("action/x", f"from {OURS}.plugin_utils.in_process import InProcess", ""),
        ("_features/power/planner", "from . import spec", ""),
        ("_features/power/planner", "from ..._domain import hold", ""),
        ("modules/x", f"from {OWN}._features.power.planner import FEATURE", ""),
    ],
)
def test_check_sees_a_forbidden_import(tmp_path: Path, name: str, line: str, why: str) -> None:
    file = tmp_path / "x.py"
    file.write_text(line)
    parts = tuple(name.split("/"))
    ((target),) = set(imports(file, parts[:-1]))
    assert trouble(parts, target) == why
