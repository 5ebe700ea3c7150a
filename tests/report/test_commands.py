import argparse
import json
from pathlib import Path

import pytest
import yaml

from agent.config import sweep_yaml
from agent.errors import ReportError
from agent.report import commands
from agent.results.csv_table import write_csv, write_curves
from agent.results.run_table import base_rows
from tests.processes import run_python
from tests.results.known_table import known_rows


def _args(name: str, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    getattr(commands, f"add_{name}_arguments")(parser)
    return parser.parse_args(words)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    path.write_text(write_csv(known_rows()))
    (tmp_path / "curves.csv").write_text(write_curves(known_rows()))
    return path


def test_report_reads_a_table_in_a_process_without_torch_and_wandb(table: Path) -> None:
    code = (
        "import argparse, sys\n"
        "from agent.report import commands\n"
        "parser = argparse.ArgumentParser()\n"
        "commands.add_report_arguments(parser)\n"
        "assert commands.run_report(parser.parse_args()) == 0\n"
        "print('loaded', sorted({'torch', 'wandb', 'pandas'} & set(sys.modules)))\n"
    )
    base = table.with_name("baseline.json")
    base.write_text('{"final/validation_f1_score": 0.2}')
    out = table.parent / "out"
    words = ["--table", str(table), "--curves", str(table.with_name("curves.csv"))]
    words += ["--baseline", str(base), "--out", str(out)]
    done = run_python("-W", "error", "-c", code, *words)
    assert "loaded []" in done.stdout
    assert "QLoRA int4" in done.stdout
    assert "Untouched base" in (out / "report.md").read_text()
    assert (out / "report.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name one or more projects, or give --table"),
        (("demo", "--table", "x.csv"), "not both"),
        (("demo", "--curves", "x.csv"), "go with --table"),
        (("--table", "x.csv", "--no-examples"), "--no-examples goes with a project"),
        (("--table", "missing.csv"), "table missing.csv: No such file"),
    ],
)
def test_wrong_sources_are_reported(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        commands.run_report(_args("report", *words))


def test_an_unknown_axis_is_reported_before_anything_is_read() -> None:
    with pytest.raises(ReportError, match="'speed' is not a column"):
        commands.run_report(_args("report", "--table", "missing.csv", "--pareto-x", "speed"))


def test_an_empty_table_has_nothing_to_report(table: Path) -> None:
    table.write_text("run_id,state\n")
    with pytest.raises(ReportError, match="holds no runs"):
        commands.run_report(_args("report", "--table", str(table)))


def test_select_prints_choices_and_the_missing_seeds(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = table.with_name("choices.json")
    args = _args("select", "--table", str(table), "--confirm-seeds", "3", "--out", str(out))
    assert commands.run_select(args) == 0
    text = capsys.readouterr().out
    assert "QLoRA int4: learning_rate = 0.005, epoch 3, F1 0.600 over 1 seed" in text
    assert "learning_rate = 0.02 is the highest of 4 values" in text
    record = json.loads(out.read_text())
    assert len(record["selections"]) == 5
    assert len(record["missing_points"]) == 10
    assert {p["config"]["seed"] for p in record["missing_points"]} == {1, 2}
    assert record["selections"][0]["chosen"]["run_ids"] == ["full-0.005-0"]


def test_a_dry_run_prints_sweeps_that_can_be_read_back(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = _args("select", "--table", str(table), "--confirm-seeds", "2", "--dry-run")
    assert commands.run_select(args) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert len(documents) == 5
    for document in documents:
        assert [config.seed for config in sweep_yaml.configs(document)] == [1]


def test_a_dry_run_writes_its_choices_and_plan(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "choices.json"
    words = ["--table", str(table), "--confirm-seeds", "2", "--dry-run", "--out", str(out)]
    assert commands.run_select(_args("select", *words)) == 0
    record = json.loads(out.read_text())
    assert (len(record["selections"]), len(record["missing_points"])) == (5, 5)


def test_a_dry_run_of_nothing_is_reported() -> None:
    with pytest.raises(ReportError, match="--dry-run goes with --confirm-seeds"):
        commands.run_select(_args("select", "--table", "t.csv", "--dry-run"))


def test_a_table_without_variants_says_so(table: Path) -> None:
    table.write_text("run_id,state\na,finished\n")
    for name in ("select", "report"):
        with pytest.raises(ReportError, match="no run names a model_variant"):
            getattr(commands, f"run_{name}")(_args(name, "--table", str(table)))


def test_workspace_prints_its_specification_without_a_server(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert commands.run_workspace(_args("workspace", "team/demo", "--dry-run")) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["sections"][0]["name"] == "Convergence"


def test_where_picks_the_runs_of_a_report(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    where = 'lr>=1e-3 (variant:"Full LoRA" or variant=QLoRA int4)'
    args = _args("report", "--table", str(table), "--out", str(out), "--where", where)
    assert commands.run_report(args) == 0
    text = (out / "table.csv").read_text()
    assert len(text.splitlines()) == 1 + 6
    assert "ptq" not in text
    assert "0.0001" not in text


def test_where_leaves_the_untouched_base_in_the_report(tmp_path: Path) -> None:
    rows = [*known_rows(), *base_rows('{"final/validation_f1_score": 0.2}')]
    path = tmp_path / "table.csv"
    path.write_text(write_csv(rows))
    args = _args("report", "--table", str(path), "--where", "lr=1e-3")
    states = [row.state for row in commands.load_rows(args)]
    assert states == [*["finished"] * 5, "baseline"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("learning_rat=1", r"no run has a key 'learning_rat' \(character 1\); near: learning_rate"),
        ("state:prned", "finds none of the 20 runs: no run has state 'prned'; there are finished"),
        ("(lr=1", "not closed"),
    ],
)
@pytest.mark.parametrize("command", ["report", "select"])
def test_a_where_that_is_wrong_or_finds_nothing_is_one_line(
    table: Path, command: str, where: str, message: str
) -> None:
    args = _args(command, "--table", str(table), "--where", where)
    with pytest.raises(ReportError, match=message) as caught:
        getattr(commands, f"run_{command}")(args)
    assert "\n" not in str(caught.value)
