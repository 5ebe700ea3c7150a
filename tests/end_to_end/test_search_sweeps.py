"""Search beyond the grid, and replay, with the real client against our server."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import variants
from agent.config.run_config import RunConfig
from agent.search.replay import curves
from agent.search.replay.curve_sources import from_runs
from agent.server.process import running_server
from agent.tracking.project_runs import runs_of_sweep
from tests.end_to_end.server_client import Client, client_of

ROOT = Path(__file__).parents[2]
CELLS = {(row.model_variant, row.quantization_strategy) for row in variants.VARIANTS}

TRADE_OFF = """
import json, sys, wandb
point = json.load(open(sys.argv[-1]))
small = point["quantization_strategy"] == "int4"
with wandb.init(config=point) as run:
    run.summary["final/validation_f1_score"] = 0.7 if small else 0.8
    run.summary["train/peak_vram_gb"] = 4.0 if small else 16.0
"""

CURVES = """
import json, sys, wandb
from agent.config.run_config import RunConfig
from agent.search.example_scores import HISTORY_KEY
from agent.search.example_scores import ExampleScores
config = RunConfig.parse(json.load(open(sys.argv[-1])))
with wandb.init(config=config.model_dump(mode="json"), resume="allow") as run:
    for rung in (1, 2, 3):
        scores = {f"e{i}": i / 10 * config.learning_rate * 100 * rung / 3 for i in range(10)}
        run.log({"epoch": rung, HISTORY_KEY: ExampleScores.of(scores).encode()}, step=rung)
"""

GRID = """
program: train.py
method: grid
metric: {name: validation/f1_score, goal: maximize}
command: ["${env}", "${interpreter}", "${program}", "--config", "${args_json_file}"]
parameters:
  model_variant: {value: Full LoRA}
  dataset: {value: d.json}
  pruner: {value: none}
  learning_rate: {values: [1.0e-3, 1.0e-2]}
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with running_server(tmp_path / "server", options=["--settle-s", "1"]) as address:
        yield client_of(address, tmp_path / "client")


@pytest.mark.slow
def test_wandbs_scheduler_runs_our_multi_objective_search_over_valid_cells(client: Client) -> None:
    yaml = (ROOT / "sweeps/examples/pareto.yaml").read_text().replace("run_cap: 40", "run_cap: 2")
    (client.work / "sweeps/examples").mkdir(parents=True)
    (client.work / "sweeps/examples/pareto.yaml").write_text(yaml)
    shutil.copy(ROOT / "sweeps/examples/pareto.py", client.work / "sweeps/examples/pareto.py")
    sweep = client.make_sweep(yaml, TRADE_OFF)
    words = ("--batch-size", "2", "--poll-interval", "1")
    scheduler = client.start("sweep-scheduler", *words, sweep)
    try:
        client.wandb("agent", "--count", "2", sweep)
    finally:
        os.killpg(scheduler.pid, signal.SIGTERM)
        said, _ = scheduler.communicate(timeout=30)
    found = client.python(
        f"import wandb\nruns = list(wandb.Api().sweep({sweep!r}).runs)\n"
        "answer = [[r.state, dict(r.config), r.summary.get('train/peak_vram_gb')] for r in runs]"
    )
    configs = [
        RunConfig.parse({k: v for k, v in config.items() if k in RunConfig.model_fields})
        for _, config, _ in found
    ]
    assert [state for state, _, _ in found] == ["finished"] * 2, said
    assert {(c.model_variant, c.quantization_strategy) for c in configs} <= CELLS
    assert all(memory_gb in (4.0, 16.0) for _, _, memory_gb in found)


@pytest.mark.slow
def test_full_curves_are_read_back_from_the_runs_of_a_sweep(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = client.make_sweep(GRID, CURVES)
    client.wandb("agent", sweep)
    for name, value in client.env.items():
        monkeypatch.setenv(name, value)
    (stratum,) = curves.parse(from_runs(runs_of_sweep(sweep), where=sweep), where=sweep)
    assert [curve.point for curve in stratum.curves] == [
        "learning_rate=0.001",
        "learning_rate=0.01",
    ]
    assert stratum.curves[1].means == pytest.approx((0.15, 0.3, 0.45))
