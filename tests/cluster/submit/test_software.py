"""Which packages a task needs, and how one that is missing is found on the login node."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cluster.options import parse_options
from agent.cluster.submit.software import (
    OF_AGENTS,
    OF_PROGRAM,
    OF_SERVER,
    modules_needed,
    software_problems,
)

ROOT = Path(__file__).parents[3]
# Of the packages in pyproject.toml, those whose module has another name.
MODULES = {"pyyaml": "yaml", "graphql-core": "graphql", "json-repair": "json_repair"}


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file names, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _packages_reached_from(start: str) -> set[str]:
    seen, waiting, found = set(), [ROOT / start], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imports(path):
            found.add(name.partition(".")[0])
            place = ROOT / name.replace(".", "/")
            files = (place.with_suffix(".py"), place / "__init__.py")
            waiting += [file for file in files if file.is_file()]
    return found


@pytest.mark.parametrize(
    ("start", "known"),
    [
        ("train.py", {*OF_AGENTS, *OF_PROGRAM}),
        ("agent/server/serving.py", {*OF_AGENTS, *OF_SERVER}),
    ],
)
def test_every_package_that_a_program_imports_is_looked_for(start: str, known: set[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[\[><=~;]", text)[0].strip() for text in project["dependencies"]}
    dependencies = {MODULES.get(name, name) for name in names}
    reached = _packages_reached_from(start)
    assert reached & dependencies == known & dependencies & reached
    assert known - dependencies == {"agent"}
    assert known - reached <= {"wandb", "yaml"}  # of the agent beside the program


def test_what_is_needed_follows_from_the_program(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import agent.cli\n")
    (tmp_path / "other.py").write_text("# import agent\nimport agents\n")
    assert modules_needed([{}], tmp_path) == (*OF_AGENTS, *OF_PROGRAM)
    assert modules_needed([{"program": "other.py"}], tmp_path) == OF_AGENTS
    assert modules_needed([{"program": "gone.py"}], tmp_path) == OF_AGENTS
    other: dict[str, object] = {"program": "train.py", "command": ["python", "other.py"]}
    assert modules_needed([other], tmp_path) == OF_AGENTS
    named: dict[str, object] = {"command": ["python", "train.py", "${args}"]}
    assert modules_needed([other, named], tmp_path) == (*OF_AGENTS, *OF_PROGRAM)
    assert set(modules_needed([other], tmp_path, serves=True)) == {*OF_AGENTS, *OF_SERVER}


def test_a_package_that_is_not_installed_is_named_whichever_it_is(tmp_path: Path) -> None:
    options = parse_options({"python": sys.executable})
    assert list(software_problems(options, [*OF_AGENTS, *OF_PROGRAM, *OF_SERVER])) == []
    (said,) = software_problems(options, [*OF_PROGRAM, "no_such_package"])
    assert "it has no module no_such_package: install the project's packages into it" in said
    container = parse_options({"python": sys.executable, "container": "nice"})
    (said,) = software_problems(container, [*OF_PROGRAM, "no_such_package"])
    assert "it has no module no_such_package" in said
