"""The import law: one table of layers over all modules, read off their syntax trees.

Imports inside functions and under TYPE_CHECKING count as well: a name that is needed only for a
type is still a dependency that the reader has to follow.
"""

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from agent.cli import COMMANDS
from tests.processes import run_python

ROOT = Path(__file__).resolve().parents[1]
# Layer 0 has no folder: these modules lie at the root of agent/, beside the command line.
BASE = {
    "errors",
    "extensions",
    "file_systems",
    "files",
    "log_noise",
    "server_note",
    "signals",
    "takeover",
}
LAYERS = {
    "base": 0,
    "config": 1,
    "training": 2,
    "search": 2,
    "results": 2,
    "evaluation": 3,
    "tracking": 3,
    "server": 3,
    "cluster": 4,
    "report": 4,
    "programs": 5,
    "demo": 5,
    "cli": 5,
    "train": 5,
}
# Rooms of one layer do not import each other, but for these: the programs put the parts together.
NEIGHBOURS = {
    ("evaluation", "training"),
    ("cli", "programs"),
    ("cli", "demo"),
    ("train", "programs"),
    ("demo", "programs"),
}
# Inside a folder the parts have layers of their own; "" is what lies at the folder's root.
PARTS = {
    "server": {
        "refusals": 0,
        "backups": 0,
        "store": 1,
        "services": 2,
        "admission": 2,
        "lanes": 2,
        "graphql": 3,
        "http": 3,
        "pages": 3,
        "sync": 3,
        "": 4,
    },
    "cluster": {"": 0, "job": 1, "submit": 1},
    "search": {"": 0, "replay": 1},
    "demo": {"pretraining": 1, "": 0},
}
HEAVY = {
    "torch": {"training", "evaluation", "programs", "demo"},
    "transformers": {"training", "evaluation", "programs", "demo"},
    "optuna": {"search"},
    "wandb": {"tracking"},
    "starlette": {"server"},
    "graphql": {"server"},
}
# Functions that import the module that their first argument names. (What the command line loads
# by its table of commands is named there in words; it is of the top layer.)
IMPORTING = ("import_module", "__import__", "run_module", "find_spec", "importorskip")
LIGHT = ("config", "results", "search", "tracking", "server", "cluster", "report")
MOST_FILES_IN_A_FOLDER = 25


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module under the law."""
    yield "train", root / "train.py"
    for path in sorted((root / "agent").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if name != "agent":
            yield name, path


def room_of(module: str) -> str:
    """The row of LAYERS that a dotted name belongs to."""
    name = module.split(".")[1] if module.startswith("agent.") else module
    return "base" if name in BASE else name


def part_of(module: str) -> str:
    """The row of PARTS that a module of a divided folder belongs to."""
    parts = PARTS[room_of(module)]
    name = module.split(".")[2] if module.count(".") > 1 else ""
    return name if name in parts else ""


def imported(path: Path, root: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever the import stands."""
    names: set[str] = set()
    for module, name in _imports_of(path.read_text(encoding="utf-8")):
        place = root / f"{module}.{name}".replace(".", "/")
        is_module = bool(name) and (place.is_dir() or place.with_suffix(".py").exists())
        names.add(f"{module}.{name}" if is_module else module)
    return names


@cache
def _imports_of(text: str) -> frozenset[tuple[str, str]]:
    """(module, name) of `from module import name`, (module, "") of what is imported whole."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.add(("(relative)", ""))
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call):
            found.update((name, "") for name in _imported_by_call(node))
    return frozenset(found)


def _imported_by_call(call: ast.Call) -> Iterator[str]:
    """The module that `import_module("agent.…")`, `__import__("wandb")` and their like name."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    function = call.func.id if isinstance(call.func, ast.Name) else function
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if function in IMPORTING:
        yield from (
            node.value
            for node in given[:1]
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )


def violations(root: Path) -> list[str]:
    """Every import that goes upwards or sideways, in words."""
    found = []
    for module, path in modules(root):
        room = room_of(module)
        for name in sorted(imported(path, root)):
            own = name.partition(".")[0] in ("agent", "train", "tests")
            if name == "(relative)" or (own and not may(module, name)):
                found.append(f"{module} imports {name}")
            package = name.split(".")[0]
            if package in HEAVY and room not in HEAVY[package]:
                found.append(f"{module} imports {package}")
    return found


def may(module: str, name: str) -> bool:
    room, other = room_of(module), room_of(name)
    if other not in LAYERS:  # tests, or a room that is not in the table
        return name == "agent"
    if room != other:
        return LAYERS[other] < LAYERS[room] or (room, other) in NEIGHBOURS
    if room not in PARTS:
        return True
    part, its = part_of(module), part_of(name)
    return part == its or PARTS[room][its] < PARTS[room][part]


def test_every_module_lies_in_a_room_of_the_table() -> None:
    assert [name for name, _ in modules(ROOT) if room_of(name) not in LAYERS] == []


def test_no_import_goes_upwards_or_sideways() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("agent/results/selection.py", "from agent.report import web"),
        ("agent/results/selection.py", "def f():\n    from agent.search import trials"),
        ("agent/training/store.py", "if TYPE_CHECKING:\n    from agent.tracking import run"),
        ("agent/config/rules.py", "import agent.training.data"),
        ("agent/server/store/runs.py", "from agent.server.graphql import access"),
        ("agent/server/pages/routes.py", "from agent.server.http import uploads"),
        ("agent/cluster/job/task.py", "from agent.cluster.submit.plan import plan_points"),
        ("agent/report/web.py", "import wandb"),
        ("agent/files.py", "from agent.config.run_config import RunConfig"),
        ("agent/cluster/slurm.py", "import torch"),
        ("agent/search/trials.py", "from . import studies"),
        ("agent/search/trials.py", "from .studies import open_study"),
        ("agent/results/selection.py", "from ..report import web"),
        ("agent/results/selection.py", "from ..report.web import page"),
        ("agent/results/selection.py", "from agent import report"),
        ("agent/results/selection.py", "from agent import search as found, errors"),
        ("agent/results/selection.py", "import agent.report.web as page"),
        ("agent/results/selection.py", "import os, agent.report.web"),
        ("agent/results/selection.py", "from agent.report import *"),
        ("agent/results/selection.py", "import importlib\nimportlib.import_module('agent.report')"),
        ("agent/results/selection.py", "def f():\n    return __import__('agent.report.web')"),
        ("agent/results/selection.py", "async def f():\n    import agent.cluster.slurm"),
        ("agent/results/selection.py", "class A:\n    from agent.report import web"),
        ("agent/results/selection.py", "try:\n    import agent.cli\nexcept ImportError:\n    pass"),
        ("agent/cluster/slurm.py", "def f():\n    import_module(name='torch.nn')"),
        ("agent/cluster/slurm.py", "if TYPE_CHECKING:\n    import torch.nn as nn"),
        ("agent/evaluation/scores.py", "import wandb.sdk"),
        ("agent/programs/check.py", "import train"),
        ("agent/programs/check.py", "from train import main"),
        ("agent/programs/check.py", "from tests.prove import main"),
        ("agent/programs/check.py", "from agent.demo import runner"),
        ("agent/evaluation/scores.py", "from agent.tracking import run"),
        ("agent/server/store/runs.py", "from agent.server import app"),
        ("agent/server/http/uploads.py", "from agent.server.serving import serve"),
        ("agent/cluster/job/task.py", "from agent.cluster import submit"),
        ("agent/cluster/options.py", "from agent.cluster.job import task"),
        ("agent/search/studies.py", "from agent.search.replay import curves"),
        ("train.py", "from agent.demo import runner"),
    ],
)
def test_a_forbidden_import_is_found(file: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("assets"))
    shutil.copy(ROOT / "train.py", tmp_path)
    path = tmp_path / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert len(violations(tmp_path)) == 1


def test_no_folder_holds_more_than_a_reader_can_take_in() -> None:
    counts = {
        folder: sum(path.is_file() for path in folder.iterdir())
        for folder in [ROOT / "agent", *(ROOT / "agent").rglob("*/")]
        if folder.name not in ("__pycache__", "base_model")
    }
    assert {str(f): n for f, n in counts.items() if n > MOST_FILES_IN_A_FOLDER} == {}
    at_root = {path.stem for path in (ROOT / "agent").glob("*.py")}
    assert at_root <= BASE | {"__init__", "cli"}
    names = {path.stem for path in (ROOT / "agent").rglob("*.py")}
    assert names & {"utils", "helpers", "common", "misc"} == set()


def test_what_runs_on_login_nodes_never_loads_torch() -> None:
    names = [name for name, _ in modules(ROOT) if room_of(name) in LIGHT and "__main__" not in name]
    commands = [command.module for command in COMMANDS]
    code = f"""
import importlib, sys
for name in {["agent.cli", *commands, *names]!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name + " loads torch"
"""
    run_python("-W", "ignore", "-c", code)


def _attributes(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Names of attributes written on `self`, and of all attributes read."""
    written: set[str] = set()
    read: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            if isinstance(node.ctx, ast.Load):
                read.add(node.attr)
            elif own:
                written.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            read.add(node.value)  # by getattr, a template or a schema
    return written, read


def test_no_attribute_is_written_and_never_read() -> None:
    written: dict[str, str] = {}
    read: set[str] = set()
    for name, path in modules(ROOT):
        own, others = _attributes(ast.parse(path.read_text(encoding="utf-8")))
        written |= dict.fromkeys(own, name)
        read |= others
    assert {attribute: where for attribute, where in written.items() if attribute not in read} == {}
