"""What the demo shows: progress while runs end, then one row per run as table and CSV."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agent.config.point_values import as_read
from agent.config.run_config import RunConfig
from agent.files import write_atomically
from agent.results.outcome import Outcome, outcome_of
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
        self._project = project_of(sweeps[0])
        self._sweeps = [split_path(sweep)[2] for sweep in sweeps]
        self._told: dict[str, str] = {}

    def rows(self) -> list[Row]:
        self._api.flush()  # it remembers every answer
        runs = self._api.runs(self._project, per_page=200)
        found = [row_of(run) for run in runs if run.sweep and run.sweep.id in self._sweeps]
        return sorted(found, key=_order)

    def show_changes(self) -> None:
        """One line for every run that has started or ended since the last look."""
        for row in self.rows():
            if row["state"] == "pending" or self._told.get(row["run_id"]) == row["state"]:
                continue
            self._told[row["run_id"]] = row["state"]
            f1 = _at_end(row, "validation_f1_score")
            score = f"  F1 {f1:.3f}" if isinstance(f1, float | int) else ""
            done = sum(state != "running" for state in self._told.values())
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


def print_table(rows: Sequence[Row], baselines: Sequence[Mapping[str, Any]]) -> None:
    """One row per run, then one for each form of the untouched base."""
    table = Table(title="LongRefiner demo: one row per run")
    titles = ("state", "variant", "quantisation", "learning rate", "epochs", "F1", "accuracy")
    for title in (*titles, "training TFLOPs", "model MB", "ms/query"):
        table.add_column(title, justify="left" if title in titles[:3] else "right")
    for row in rows:
        table.add_row(
            row["state"],
            str(row.get("model_variant", "")),
            str(row.get("quantization_strategy", "")),
            _number(row.get("learning_rate"), "g"),
            _number(_at_end(row, "epoch"), "g"),
            _number(_at_end(row, "validation_f1_score"), ".3f"),
            _number(_at_end(row, "validation_accuracy"), ".3f"),
            _number(row.get("train/total_training_flops_tflops"), ".3f"),
            _number(row.get("inference/model_size_gb"), ".3f", scale=1000),
            _number(row.get("inference/avg_latency_ms_per_sample"), ".1f"),
        )
    table.add_section()
    for base in baselines:
        table.add_row(
            "untouched",
            "base model",
            str(base.get("quantization_strategy", "")),
            "",
            "0",
            _number(base.get("final/validation_f1_score"), ".3f"),
            _number(base.get("final/validation_accuracy"), ".3f"),
            "",
            _number(base.get("inference/model_size_gb"), ".3f", scale=1000),
            _number(base.get("inference/avg_latency_ms_per_sample"), ".1f"),
        )
    Console(width=None if os.isatty(1) else 130).print(table)


def _at_end(row: Row, name: str) -> object:
    """A value at the run's last evaluation point; a pruned run has it under `stopped/`."""
    return row.get(f"final/{name}", row.get(f"stopped/{name}"))


def _number(value: object, form: str, *, scale: float = 1.0) -> str:
    """Blank for what was not measured."""
    try:
        return format(float(str(value)) * scale, form)
    except ValueError:
        return ""
