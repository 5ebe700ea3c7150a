"""The README is part of the product: its commands exist, its links resolve, its tree is true."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from agent.cli import COMMANDS
from agent.cli import build_parser as build_cli_parser
from agent.config import variants
from agent.config.cli_options import build_parser
from tests.tools import proofs_table, pruning_table

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
LINES = [
    line.split("#")[0].strip()
    for block in SHELL
    for line in block.replace("\\\n", " ").splitlines()
    if line.split("#")[0].strip()
]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_targets_exist() -> None:
    named = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert {"demo", "test"} <= named <= make_targets()


def test_sweep_agent_commands_exist() -> None:
    named = set(re.findall(r"sweep-agent ([a-z][a-z-]*)", TEXT))
    assert named
    assert named <= {command.name for command in COMMANDS}


@pytest.mark.parametrize("line", [x for x in LINES if x.startswith("sweep-agent ")])
def test_calls_of_sweep_agent_have_valid_arguments(line: str) -> None:
    words = shlex.split(line)[1:]
    args = build_cli_parser(words[0]).parse_args(words)
    assert args.command == words[0]


@pytest.mark.parametrize("line", [x for x in LINES if x.startswith("python train.py --model")])
def test_calls_of_train_py_are_valid(line: str) -> None:
    _, unknown = build_parser().parse_known_args(shlex.split(line)[2:])
    assert unknown == []


def test_named_files_and_links_exist() -> None:
    links = [x for x in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in x]
    files = re.findall(r"`((?:sweeps|slurm|agent|tests)/[\w./-]+)`", TEXT)
    assert files
    assert [name for name in [*links, *files] if not (ROOT / name).exists()] == []


def shown_in_the_tree() -> set[str]:
    """Every path of the README's tree, relative to the repository."""
    block = TEXT.split("## The tree")[1].split("```text\n")[1].split("```")[0]
    shown: set[str] = set()
    above: list[str] = []
    for indent, name in re.findall(r"^( *)(\S+)", block, re.MULTILINE):
        above = above[: len(indent) // 2]
        shown.add("".join([*above, name]))
        above.append(name)
    return shown


def test_the_tree_shows_what_exists_and_all_of_it() -> None:
    shown = shown_in_the_tree()
    assert [path for path in sorted(shown) if not (ROOT / path).exists()] == []
    packages = {f"{p.parent.relative_to(ROOT)}/" for p in (ROOT / "agent").rglob("__init__.py")}
    at_root = {f"agent/{p.name}" for p in (ROOT / "agent").glob("*.py")} - {"agent/__init__.py"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    folders = {f"{name}/" for name in names if not name.startswith(".")}
    assert (packages | at_root | folders) - shown == set()


def test_the_table_of_cells_is_the_code_s_own() -> None:
    for row in variants.VARIANTS:
        pattern = rf"\| {re.escape(row.model_variant)} \| {row.quantization_strategy} \|.*"
        line = re.search(pattern, TEXT)
        assert line
        assert line.group().endswith(f"| {row.quantization_method} |")


def test_the_table_of_proofs_is_what_was_written_down() -> None:
    results = json.loads(proofs_table.RESULTS.read_text())
    shown = TEXT.split(proofs_table.BEGIN)[1].split(proofs_table.END)[0]
    assert shown == proofs_table.render(results)


def test_the_table_of_pruning_rules_is_what_was_measured() -> None:
    found = json.loads(pruning_table.FRONTIER.read_text())
    shown = TEXT.split(pruning_table.BEGIN)[1].split(pruning_table.END)[0]
    assert shown == pruning_table.render(found)
    shown = TEXT.split(pruning_table.BEGIN_KEPT)[1].split(pruning_table.END_KEPT)[0]
    assert shown == pruning_table.render_kept(found)
