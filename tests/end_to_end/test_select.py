"""`sweep-agent select` on a real server: missing seeds are queued once, run by a real agent, and
the test score of the confirmed choice is the headline."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.server.process import running_server
from tests.end_to_end.server_client import Client, client_of
from tests.processes import run_python

ROOT = Path(__file__).resolve().parents[2]
# What train.py leaves behind, without a training; the score is known from rate and seed.
PROGRAM = """
import json, sys, wandb
point = json.load(open(sys.argv[2]))
score = 0.5 + 100 * point["learning_rate"] - 0.1 * point["seed"]
with wandb.init(job_type="training", config=point) as run:
    run.log({"epoch": 1.0, "validation/f1_score": score}, step=1)
    run.summary.update({"final/validation_f1_score": score})
"""
SWEEP = """
name: first
program: train.py
method: grid
command: ["${env}", "${interpreter}", "${program}", "--config", "${args_json_file}"]
metric: {name: validation/f1_score, goal: maximize}
parameters:
  model_variant: {value: Full LoRA}
  dataset: {value: d.json}
  store: {value: /shared/store}
  tuned: {value: [learning_rate]}
  seed: {value: 0}
  learning_rate: {values: [0.001, 0.002]}
"""
TEST = """
import wandb
for run in wandb.Api().runs("study"):
    if run.config["learning_rate"] == 0.002:
        run.summary.update({"test/f1_score": 0.4 + 0.2 * run.config["seed"]})
answer = [[run.config["seed"], run.config["store"]] for run in wandb.Api().runs("study")]
"""


def call(client: Client, *words: str) -> str:
    """What a `sweep-agent` command prints."""
    return run_python("-m", "agent.cli", *words, cwd=client.work, env=client.env).stdout


def agent_lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line.removeprefix("wandb agent ") for line in lines if line.startswith("wandb agent ")]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command says before, during and after the confirmation, and what has run."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        client = client_of(server, tmp_path_factory.mktemp("client"))
        client.wandb("agent", client.make_sweep(SWEEP, PROGRAM))
        confirm = ["select", "study", "--no-examples", "--confirm-seeds", "2"]
        texts = {"first": call(client, *confirm), "again": call(client, *confirm)}
        (path,) = agent_lines(texts["first"])
        client.wandb("agent", path)
        texts["run"] = json.dumps(client.python(TEST))
        texts["after"] = call(client, *confirm, "--out", "choices.json")
        call(client, "report", "study", "--no-examples", "--out", "report")
        return {
            **texts,
            "choices": json.loads((client.work / "choices.json").read_text()),
            "report": (client.work / "report" / "report.md").read_text(),
        }


def test_the_missing_seed_is_queued_once(printed: dict[str, Any]) -> None:
    assert "1 grid point is missing" in printed["first"]
    assert "queued: seeds of Full LoRA lr=0.002, seed 1" in printed["first"]
    assert "queued before: seeds of Full LoRA lr=0.002, seed 1" in printed["again"]
    (path,) = agent_lines(printed["first"])
    assert agent_lines(printed["again"]) == [path]
    assert f"sweep-agent submit {path}" in printed["first"]


def test_an_agent_runs_it_where_the_first_seed_ran(printed: dict[str, Any]) -> None:
    runs = json.loads(printed["run"])
    assert sorted(runs) == [[0, "/shared/store"], [0, "/shared/store"], [1, "/shared/store"]]
    assert "no grid point is missing" in printed["after"]


def test_the_headline_is_the_test_score_over_seeds(printed: dict[str, Any]) -> None:
    line = "Full LoRA: learning_rate = 0.002, epoch 1, test F1 0.500 ± 0.141, validation F1 0.650"
    assert line in " ".join(printed["after"].split())
    (selection,) = printed["choices"]["selections"]
    assert selection["chosen"]["test"] == pytest.approx(0.5)
    assert len(selection["chosen"]["runs"]) == 2
    assert "| Full LoRA | 0.002 | 2 | 0.500 ± 0.141 |" in printed["report"]
    assert "Test F1" in printed["report"]
