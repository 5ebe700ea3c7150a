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
    Needed,
    software_problems,
    what_is_needed,
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
    whole = Needed((*OF_AGENTS, *OF_PROGRAM))
    assert what_is_needed([{}], tmp_path) == whole
    assert what_is_needed([{"program": "other.py"}], tmp_path) == Needed()
    assert what_is_needed([{"program": "gone.py"}], tmp_path) == Needed()
    other: dict[str, object] = {"program": "train.py", "command": ["python", "other.py"]}
    assert what_is_needed([other], tmp_path) == Needed()
    named: dict[str, object] = {"command": ["python", "train.py", "${args}"]}
    assert what_is_needed([other, named], tmp_path) == whole
    served = what_is_needed([other], tmp_path, serves=True)
    assert set(served.modules) == {*OF_AGENTS, *OF_SERVER}
    started: list[dict[str, object]] = [
        {"command": ["${env}", "A=b", "pythn3", "other.py"]},
        {"command": ["accelerate", "launch", "other.py"]},
        {"command": ["./start"]},
        {"command": ["env", "-i", "rye"]},
    ]
    assert what_is_needed(started, tmp_path).programs == ("accelerate", "pythn3")


def test_a_package_or_program_that_is_not_there_is_named_whichever_it_is() -> None:
    everything = Needed((*OF_AGENTS, *OF_PROGRAM, *OF_SERVER), ("python3", "wandb", "bash"))
    lacking = Needed(("no_such_package", *OF_PROGRAM))
    for more in ({}, {"container": "nice"}, {"setup": ["export A=1"]}):
        options = parse_options({"python": sys.executable, **more})
        assert list(software_problems(options, everything)) == []
        (said,) = software_problems(options, lacking)
        assert "it has no module no_such_package: install the project's packages into it" in said
        (said,) = software_problems(options, Needed(programs=("bash", "pythn3")))
        assert said == "command: no program pythn3 here (--unchecked: compute nodes have it)"


def test_a_folder_with_the_name_of_a_package_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb leaves one in a project; an interpreter finds it where the package is missing."""
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.chdir(tmp_path)
    options = parse_options({"python": sys.executable})
    (said,) = software_problems(options, Needed(("wandb", "no_such_package")))
    assert "it has no module no_such_package:" in said


def test_another_interpreter_in_the_command_needs_the_packages_too(tmp_path: Path) -> None:
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E -I "$@"\n')
    bare.chmod(0o755)
    sweep: dict[str, object] = {"command": ["${env}", str(bare), "point.py"]}
    needed = what_is_needed([sweep], tmp_path)
    assert needed.interpreters == (str(bare),)
    (said,) = software_problems(parse_options({"python": sys.executable}), needed)
    assert said.startswith(f"command: {bare}: it has no module wandb: install ")
    inside = parse_options({"python": sys.executable, "container": "nice"})
    assert list(software_problems(inside, needed)) == []


def test_a_program_that_the_set_up_lines_bring_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    needed = Needed(programs=("mine",))
    setup = [f'export PATH="{tmp_path}:$PATH"']
    options = parse_options({"python": sys.executable, "setup": setup})
    assert list(software_problems(options, needed)) == []
    assert len(list(software_problems(parse_options({"python": sys.executable}), needed))) == 1
