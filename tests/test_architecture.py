"""The import law, read off the syntax trees, and the lightness of what never loads a model."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("training", "evaluation", "search", "server", "cluster", "report", "demo")
MAY_IMPORT = {"evaluation": {"training"}, "server": {"search"}}
# Programs of their own that put the parts together, as train.py does.
COMPOSE = {"demo/runner.py", "demo/results.py"}
LIGHT_FOLDERS = ("search", "server", "cluster", "report")


def modules(folder: str) -> Iterator[Path]:
    return (path for path in sorted((ROOT / "agent" / folder).rglob("*.py")))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_do_not_import_each_other(folder: str) -> None:
    forbidden = set(FOLDERS) - {folder} - MAY_IMPORT.get(folder, set())
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(folder)
        if str(path.relative_to(ROOT / "agent")) not in COMPOSE
        for name in imported(path)
        if name.startswith("agent.") and name.split(".")[1] in forbidden
    ]
    assert found == []


def test_config_imports_nothing_but_variants_errors_and_its_rules() -> None:
    allowed = {"variants", "errors", "config_rules", "config_words", "config"}
    for name in ("config.py", "config_rules.py", "config_words.py"):
        own = {n.split(".")[1] for n in imported(ROOT / "agent" / name) if n.startswith("agent.")}
        assert own <= allowed


@pytest.mark.parametrize(
    ("package", "folders"),
    [("optuna", {"search"}), ("torch", {"training", "evaluation", "demo"})],
)
def test_a_heavy_package_is_imported_where_it_belongs(package: str, folders: set[str]) -> None:
    importers = {
        folder
        for folder in FOLDERS
        for path in modules(folder)
        if any(name.split(".")[0] == package for name in imported(path))
    }
    assert importers <= folders


def test_nothing_is_called_utils_and_nothing_is_nested_deeper_than_one() -> None:
    paths = [path.relative_to(ROOT / "agent") for path in (ROOT / "agent").rglob("*.py")]
    assert [path for path in paths if path.stem in ("utils", "helpers", "common")] == []
    assert [path for path in paths if len(path.parts) > 2] == []


def test_command_line_server_search_cluster_and_report_never_load_torch() -> None:
    names = [
        f"agent.{folder}.{path.stem}"
        for folder in LIGHT_FOLDERS
        for path in modules(folder)
        if path.stem not in ("__init__", "__main__")
    ]
    code = f"""
import importlib, sys
for name in {["agent.cli", "agent.config.sweep_yaml", *names]!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name + " loads torch"
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:]
