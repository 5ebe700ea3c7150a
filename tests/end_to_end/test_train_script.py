"""train.py as a process under signals, against the real server with the real wandb client."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import wandb
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from agent.demo import data
from agent.search.paired_pruner import RUN
from agent.server.process import ServerAddress, running_server

pytestmark = pytest.mark.xdist_group("train")  # one server and one store for all
ROOT = Path(__file__).resolve().parents[2]
PROJECT = "signals"
POINT = {
    "model_variant": "QLoRA",
    "quantization_strategy": "int4",
    "learning_rate": "5e-3",
    "base_model": "agent/demo/assets/base_model",
    "validation_fraction": 0.05,
    "test_fraction": 0.5,
    "max_length": 128,
    "batch_size": 8,
    "epochs": 2,
    "eval_examples": 16,
    "max_new_tokens": 32,
    "log_every_steps": 1,
}


class Lab:
    """One server, one store, and train.py started against them."""

    def __init__(self, folder: Path, server: ServerAddress) -> None:
        self._folder = folder
        self._server = server
        self.store = folder / "store"
        data.write_data(folder / "data")

    def start(
        self, run_id: str, *, program: Sequence[str] = ("train.py",), **changes: object
    ) -> "subprocess.Popen[bytes]":
        place = {"dataset": str(self._folder / "data"), "store": str(self.store)}
        file = self._folder / f"{run_id}.json"
        file.write_text(json.dumps({**POINT, **place, **changes}))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        environment = {
            **inherited,
            **self._server.env,
            "WANDB_PROJECT": PROJECT,
            "WANDB_RUN_ID": run_id,
            "WANDB_DIR": str(self._folder),
        }
        with file.with_suffix(".log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, *program, "--config", str(file)],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def words(self, run_id: str) -> str:
        return (self._folder / f"{run_id}.log").read_text()

    def trials(self, run_id: str) -> list[FrozenTrial]:
        """The trials of a run in the journal of the store."""
        backend = JournalFileBackend(str(self.store / "pruning" / "journal.log"))
        storage = JournalStorage(backend)
        studies = storage.get_all_studies()
        trials = [t for s in studies for t in storage.get_all_trials(s._study_id)]
        return [trial for trial in trials if trial.system_attrs.get(RUN) == run_id]

    def run(self, run_id: str) -> Any:
        key = self._server.env["WANDB_API_KEY"]
        api = wandb.Api(overrides={"base_url": self._server.base_url}, api_key=key)
        return api.run(f"{self._server.entity}/{PROJECT}/{run_id}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with running_server(folder / "server") as server:
        yield Lab(folder, server)


def has_step_after_point(store: Path) -> bool:
    records = list(store.glob("*/eval-0001/record.json"))
    if not records:
        return False
    reached = json.loads(records[0].read_text())["step"]
    return any(int(path.name.rpartition("-")[2]) > reached for path in store.glob("*/step-*"))


def wait_for_step(lab: Lab, process: "subprocess.Popen[bytes]", run_id: str) -> None:
    """Until a step checkpoint of the second epoch is published: training is under way."""
    deadline = time.monotonic() + 180
    while not has_step_after_point(lab.store):
        assert process.poll() is None, lab.words(run_id)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_preempted_run_saves_says_so_and_goes_on_with_the_same_curve(lab: Lab) -> None:
    first = lab.start("preempted", checkpoint_every_min=0.002)
    wait_for_step(lab, first, "preempted")
    first.send_signal(signal.SIGUSR2)
    assert first.wait(60) == 75, lab.words("preempted")
    assert len(list(lab.store.glob("*/step-*"))) == 1
    (trial,) = lab.trials("preempted")
    assert trial.state.name == "WAITING"  # to be taken up again, and a peer until then
    second = lab.start("preempted", benchmark_queries=2)
    assert second.wait(180) == 0, lab.words("preempted")
    run = lab.run("preempted")
    assert run.state == "finished"
    (trial,) = lab.trials("preempted")
    assert trial.state.name == "COMPLETE"
    assert run.summary["inference/queries"] == 2  # it has measured itself at its end
    assert run.summary["inference/avg_latency_ms_per_sample"] > 0
    rows = list(run.scan_history(keys=["step", "train/loss"]))
    steps = [row["step"] for row in rows]
    total = run.summary["final/step"]
    assert steps == list(range(1, total + 1))  # every step once, in order
    assert list(lab.store.glob("*/step-*")) == []
    points = sorted(lab.store.glob("*/eval-*"))
    losses = [json.loads((p / "record.json").read_text())["losses"] for p in points]
    assert [row["train/loss"] for row in rows] == [x["loss"] for part in losses for x in part]


def test_a_stopped_run_ends_soon_and_tells_why(lab: Lab) -> None:
    before = set(lab.store.glob("*/lease"))
    process = lab.start("stopped", seed=1)
    deadline = time.monotonic() + 120
    while set(lab.store.glob("*/lease")) == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, lab.words("stopped")
    run = lab.run("stopped")
    assert run.state in ("failed", "crashed", "killed")
    assert "stopped from outside" in run.summary["stopped/reason"]
    again = lab.start("stopped", seed=1)
    assert again.wait(180) == 0, lab.words("stopped")
    run = lab.run("stopped")
    assert run.state == "finished"
    assert "stopped/reason" not in run.summary


def test_data_that_cannot_be_used_ends_the_run_with_the_reason(lab: Lab, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"instruction": "a", "output": "b"}\n{"instruction": 3, "output": "b"}\n')
    process = lab.start("bad", dataset=str(bad))
    assert process.wait(120) == 2, lab.words("bad")
    words = lab.words("bad")
    assert "bad.jsonl:2: instruction is 3, not a text" in words
    assert "Traceback" not in words
    assert "bad.jsonl:2" in lab.run("bad").summary["stopped/reason"]


SMALL_DEVICE = """
import sys, torch, train
from agent.training.trainer import Trainer

real = Trainer._forward_backward_part

def small(self, part, *rest):
    if len(part) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    return real(self, part, *rest)

Trainer._forward_backward_part = small
sys.exit(train.main(sys.argv[1:]))
"""


def test_a_run_that_does_not_fit_goes_on_in_smaller_passes(lab: Lab) -> None:
    program = ["-c", SMALL_DEVICE]
    process = lab.start("small", program=program, epochs=1, test_fraction=0.85)
    assert process.wait(180) == 0, lab.words("small")
    run = lab.run("small")
    assert run.summary["train/fitted_micro_batch_size"] == 2
    assert "smaller passes" in run.tags
    assert run.state == "finished"
