"""What the demo shows: progress while runs end, then one row per run as table and CSV, and what
was found."""

import csv
import io
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from agent.config.point_values import as_read
from agent.config.run_config import RunConfig
from agent.files import write_atomically
from agent.report.tables import Cell, Heading, TextTable
from agent.report.terminal import print_answer, print_table
from agent.report.writing import with_scores
from agent.results.csv_table import read_csv, with_curves
from agent.results.outcome import Outcome, outcome_of
from agent.results.presentation import setting_text, variant_label
from agent.results.study import Study, examine
from agent.tracking.paths import project_of, split_path

Row = dict[str, Any]
FIRST_COLUMNS = (
    "run_id",
    "state",
    "name",
    "model_variant",
    "quantization_strategy",
    "learning_rate",
)


class Watcher:
    """Reads the runs of some sweeps through W&B's own public API."""

    def __init__(self, environment: Mapping[str, str], sweeps: Sequence[str]) -> None:
        _take_settings(environment)
        from agent.tracking import client  # after the environment, which says where the server is

        self._api = client.open_api()
        self.project = project_of(sweeps[0])
        self.sweeps = tuple(sweeps)
        self._ids = {split_path(sweep)[2] for sweep in sweeps}
        self._states: dict[str, str] = {}

    def rows(self) -> list[Row]:
        self._api.flush()  # it remembers every answer
        runs = self._api.runs(self.project, per_page=200)
        found = [row_of(run) for run in runs if run.sweep and run.sweep.id in self._ids]
        return sorted(found, key=_order)

    def show_changes(self) -> None:
        """One line for every run that has started or ended since the last look."""
        for row in self.rows():
            if row["state"] == "pending" or self._states.get(row["run_id"]) == row["state"]:
                continue
            self._states[row["run_id"]] = row["state"]
            f1 = _at_end(row, "validation_f1_score")
            score = f"  F1 {f1:.3f}" if isinstance(f1, float | int) else ""
            done = sum(state != "running" for state in self._states.values())
            print(f"[{done:2d} done] {row['state']:<9} {row['name']}{score}", flush=True)


def _take_settings(environment: Mapping[str, str]) -> None:
    """This process's W&B settings, all of them: one that a caller left, such as the address of a
    wandb service of its own, would be asked for this server's runs."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update({k: v for k, v in environment.items() if k.startswith("WANDB_")})


def row_of(run: Any) -> Row:
    """A run of `wandb.Api()` as a flat row: config, then every plain summary value."""
    config = as_read({k: v for k, v in run.config.items() if k in RunConfig.model_fields})
    summary = {k: v for k, v in run.summary_metrics.items() if _is_plain(v) and k[:1] != "_"}
    outcome = outcome_of(run.state, run.tags, summary)
    state = run.state if outcome is Outcome.UNKNOWN or outcome.is_running else outcome.value
    return {"run_id": run.id, "state": state, "name": run.name, **config, **summary}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _order(row: Row) -> tuple[str, str, float]:
    rate = float(row.get("learning_rate") or 0)
    return str(row.get("model_variant")), str(row.get("quantization_strategy")), rate


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """All rows under the keys of config and summary; what a run has not, stays empty."""
    columns = list(dict.fromkeys([*FIRST_COLUMNS, *_all_keys(rows)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _all_keys(rows: Iterable[Row]) -> list[str]:
    return sorted({key for row in rows for key in row})


def print_end(
    rows: Sequence[Row],
    baselines: Sequence[Mapping[str, Any]],
    study: Study,
    console: Console | None = None,
) -> None:
    """What a reader has waited for: the table of runs, then what was found."""
    out = console or Console()
    table = table_of(rows, baselines)
    print_table(table, out, LEAST_NEEDED)
    print_answer(study, out)
    out.print(OTHER_PROCESSORS, markup=False, highlight=False)


def table_of(rows: Sequence[Row], baselines: Sequence[Mapping[str, Any]]) -> TextTable:
    """One row per run, then one for each form of the untouched base."""
    named: list[tuple[str, str, Mapping[str, Any]]] = [
        (row["state"], _label(row), row) for row in rows
    ]
    for base in baselines:
        form = str(base.get("quantization_strategy", "None"))
        named.append(("untouched", "base" if form == "None" else f"base {form}", base))
    texts = (Heading(title, is_number=False) for title in ("State", "Variant"))
    headings = (*texts, *map(Heading, _COLUMNS))
    lines = tuple(
        (
            Cell(state),
            Cell(label),
            *(Cell(_number(value(row), form)) for value, form in _COLUMNS.values()),
        )
        for state, label, row in named
    )
    return TextTable("runs", "The demo, one row per run", headings, lines)


def study_of(out: Path, title: str) -> Study:
    """What the report in `out` rests on, read back from its files: the same sentences."""
    rows = read_csv((out / "table.csv").read_text("utf-8"), where="table.csv")
    rows = with_curves(rows, (out / "curves.csv").read_text("utf-8"))
    return examine(with_scores(rows, (out / "scores.csv").read_text("utf-8")), title)


def next_lines(server: Path, project: str, port: int = 8686) -> tuple[str, ...]:
    """How the pages of the finished demo are opened."""
    data = shlex.quote(str(server))
    return (
        f"pages    sweep-agent serve --data {data} --port {port}",
        f"         http://127.0.0.1:{port}/{project}",
        f"         log in with the key that `sweep-agent env --data {data}` prints",
    )


def _label(row: Mapping[str, Any]) -> str:
    strategy = str(row.get("quantization_strategy") or "None")
    return variant_label(str(row.get("model_variant", "")), strategy)


def _at_end(row: Mapping[str, Any], name: str) -> object:
    """A value at the run's last evaluation point; a pruned run has it under `stopped/`."""
    return row.get(f"final/{name}", row.get(f"stopped/{name}"))


def _number(value: object, form: str) -> str:
    """Blank for what was not measured."""
    if form == "setting":
        return setting_text(value)
    try:
        return format(float(str(value)), form)
    except ValueError:
        return ""


def _megabytes(row: Mapping[str, Any]) -> object:
    size = row.get("inference/model_size_gb")
    return size * 1000 if isinstance(size, int | float) else None


# The columns after state and variant: where their number comes from, and how it is written.
_COLUMNS: dict[str, tuple[Callable[[Mapping[str, Any]], object], str]] = {
    "Learning rate": (lambda row: row.get("learning_rate"), "setting"),
    "Epochs": (lambda row: _at_end(row, "epoch"), "g"),
    "F1": (lambda row: _at_end(row, "validation_f1_score"), ".3f"),
    "Exact match": (lambda row: _at_end(row, "validation_accuracy"), ".3f"),
    "TFLOP": (lambda row: row.get("train/total_training_flops_tflops"), ".3f"),
    "Model MB": (_megabytes, ".3f"),
    "ms/query": (lambda row: row.get("inference/avg_latency_ms_per_sample"), ".1f"),
}
LEAST_NEEDED = ("TFLOP", "Exact match", "Epochs", "Model MB", "ms/query")
OTHER_PROCESSORS = (
    "A run's score repeats on one machine and differs between types of processor, whose arithmetic "
    "rounds differently: expect other figures than the README's."
)
