"""The demo's view of its runs."""

import io
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from rich.console import Console

from agent.demo.results import LEAST_NEEDED, Watcher, next_lines, print_end, study_of, table_of
from agent.report.terminal import fitting
from agent.report.writing import write_report
from agent.results.run_table import base_rows
from agent.results.study import examine
from agent.tracking import client
from tests.results.known_table import known_rows

RUNS = [
    {
        "run_id": f"r{i}",
        "state": row.state,
        "name": row.run_id,
        **row.values,
        "train/total_training_flops_tflops": 0.858,
        "inference/model_size_gb": 0.00115,
        "final/epoch": 3,
        "final/validation_accuracy": 0.333,
    }
    for i, row in enumerate(known_rows())
]
BASES = [
    {
        "quantization_strategy": form,
        "final/validation_f1_score": 0.0,
        "inference/model_size_gb": 0.001,
    }
    for form in ("None", "int4", "int8")
]


def test_a_callers_wandb_service_is_not_asked_for_the_demos_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_SERVICE", "3-1-unix-/of/another/process")
    monkeypatch.setenv("WANDB_BASE_URL", "https://elsewhere.example")
    monkeypatch.setenv("WANDB_PROJECT", "elsewhere")
    seen: dict[str, str] = {}
    monkeypatch.setattr(client, "open_api", lambda: seen.update(os.environ))

    with patch.dict(os.environ):
        Watcher({"WANDB_BASE_URL": "http://127.0.0.1:1", "WANDB_API_KEY": "k"}, ["e/p/s"])

    ours = {name: value for name, value in seen.items() if name.startswith("WANDB_")}
    assert ours == {"WANDB_BASE_URL": "http://127.0.0.1:1", "WANDB_API_KEY": "k"}


@pytest.mark.parametrize("width", [60, 80, 100, 130])
def test_the_table_at_the_end_is_made_for_its_terminal(width: int) -> None:
    out = io.StringIO()
    print_end(RUNS, BASES, examine(known_rows()), Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for label in ("Full LoRA", "QLoRA int4", "LoRA+PTQ int8", "base int4", "0.005", "0.800"):
        assert label in text, label


def test_at_80_columns_no_column_is_left_out() -> None:
    table = table_of(RUNS, BASES)
    assert fitting(table, 80, LEAST_NEEDED) == list(range(len(table.headings)))


def test_the_demo_ends_with_what_its_report_says(tmp_path: Path) -> None:
    rows = (*known_rows(), *base_rows('{"final/validation_f1_score": 0.2}'))
    write_report(examine(rows), rows, tmp_path)
    study = study_of(tmp_path, "demo")
    assert study.answer == examine(rows).answer
    out = io.StringIO()
    print_end(RUNS, BASES, study, Console(file=out, width=400))
    assert "QLoRA int4 keeps 75 % of Full LoRA's final validation F1 at 0.25 of its size" in (
        out.getvalue()
    )
    assert "differs between types of processor" in out.getvalue()


def test_the_last_lines_open_the_pages() -> None:
    lines = next_lines(Path("my demo/server"), "local/sweep-agent-demo")
    assert lines[0].endswith("sweep-agent serve --data 'my demo/server' --port 8686")
    assert lines[1].strip() == "http://127.0.0.1:8686/local/sweep-agent-demo"
