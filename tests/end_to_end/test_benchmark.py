"""A run that is trained, measured and tested: real server, real wandb client, real libraries.

One child process does all of it, so that the libraries are imported once; in use, each part is a
process of its own (`tests/programs/test_benchmark_command.py` holds that).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.server.process import running_server
from tests.end_to_end.server_client import client_of
from tests.processes import run_python

pytestmark = pytest.mark.xdist_group("benchmark")
ROOT = Path(__file__).resolve().parents[2]

WORK = """
import json, os, shutil, sys
from pathlib import Path
import wandb
import train
from agent.programs import benchmark, test_split_scores as final_test
from agent.tracking import finished_runs
from agent.tracking.client import open_api
from agent.demo import data
from agent.training.facts import base_files as base

folder = Path(sys.argv[1])
data.write_data(folder / "data")
point = {
    "model_variant": "Full LoRA", "learning_rate": 5e-3, "lora_rank": 4,
    "base_model": "agent/demo/assets/base_model", "dataset": str(folder / "data"),
    "store": str(folder / "store"), "validation_fraction": 0.02, "test_fraction": 0.95,
    "max_length": 128, "batch_size": 32, "eval_batch_size": 64, "max_new_tokens": 32,
    "test_dataset": str(folder / "test.json"), "device": "cpu",
}
rows = json.loads((folder / "data" / "step1_query-analysis.json").read_text())[:12]
(folder / "test.json").write_text(json.dumps(rows))
(folder / "point.json").write_text(json.dumps(point))

sweep = "/".join([os.environ["WANDB_ENTITY"], "study", os.environ["WANDB_SWEEP_ID"]])
codes = [train.main(["--config", str(folder / "point.json")])]
wandb.teardown()  # what this process knows of the sweep; in use it ends here
(path,) = finished_runs.complete_runs(open_api(), sweep)

codes.append(benchmark.main([path, "--queries", "3", "--out", str(folder / "first.json")]))
shutil.rmtree(folder / "store")  # from here on there is only the artifact
artifact = finished_runs.find(open_api(), path).artifact.qualified_name
codes.append(benchmark.main([artifact, "--queries", "3", "--out", str(folder / "second.json")]))
codes.append(benchmark.main([path, "--queries", "3", "--only-missing"]))
versions = base.library_versions
base.library_versions = lambda: {**versions(), "bitsandbytes": "0.0"}  # times do not compare
codes.append(benchmark.main([path, "--queries", "2"]))
base.library_versions = versions
codes.append(final_test.main([path]))
codes.append(final_test.main([path]))
codes.append(final_test.main([path, "--again"]))

def described(run):
    files = [name for a in run.logged_artifacts() for name in a.manifest.entries]
    return {
        "id": run.id, "name": run.name, "type": run.job_type, "state": run.state,
        "config": dict(run.config), "summary": dict(run.summary._json_dict), "files": files,
        "used": [a.qualified_name for a in run.used_artifacts()],
        "sweep": run.sweep.id if run.sweep else None,
        "steps": [row["_step"] for row in run.scan_history(keys=["_step", "train/loss"])],
    }

runs = [described(run) for run in wandb.Api().runs("study", order="+created_at", lazy=False)]
found = finished_runs.find(open_api(), path)
made = [a for a in found.handle.logged_artifacts()
        if "test_predictions.jsonl" in a.manifest.entries]
place = Path(made[-1].download(root=str(folder / "dl"))) / "test_predictions.jsonl"
answer = {"codes": codes, "path": path, "artifact": artifact, "runs": runs,
          "predictions": [json.loads(line) for line in place.read_text().splitlines()]}
(folder / "answer.json").write_text(json.dumps(answer))
"""


SWEEP = """
import wandb
parameters = {"learning_rate": {"values": [5e-3]}}
answer = wandb.sweep({"method": "random", "parameters": parameters}, project="study")
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What stands on the server afterwards, and what was printed."""
    folder = tmp_path_factory.mktemp("benchmark")
    with running_server(folder / "server") as server:
        client = client_of(server, folder / "client")
        env = {**client.env, "WANDB_PROJECT": "study", "WANDB_ENTITY": server.entity}
        env |= {"WANDB_SWEEP_ID": client.python(SWEEP)}
        done = run_python("-c", WORK, str(folder), env=env)
    found: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return {**found, "out": done.stdout, "err": done.stderr, "folder": folder}


def runs_of(answer: dict[str, Any], job_type: str) -> list[dict[str, Any]]:
    return [run for run in answer["runs"] if run["type"] == job_type]


def test_everything_ends_well_but_a_second_look_at_the_test_split(answer: dict[str, Any]) -> None:
    assert answer["codes"] == [0, 0, 0, 0, 0, 0, 2, 0], answer["err"]
    assert "was scored on the test split before" in answer["err"]
    assert all(run["state"] == "finished" for run in answer["runs"])


def test_scores_and_costs_stand_together_on_both_runs(answer: dict[str, Any]) -> None:
    (training,) = runs_of(answer, "training")
    inference = runs_of(answer, "inference")
    assert len(inference) == 3
    for run in [training, *inference]:
        for key in (
            "final/validation_f1_score",
            "final/avg_f1",
            "train/total_training_flops_tflops",
            "inference/avg_latency_ms_per_sample",
            "inference/p50_latency_ms",
            "inference/p95_latency_ms",
            "inference/time_to_first_token_ms",
            "inference/tokens_out",
            "inference/flops_per_query_gflops",
            "inference/model_size_gb",
            "inference/load_time_s",
            *(f"inference/throughput_samples_per_sec_b{n}" for n in (1, 2, 4, 8, 16, 32)),
        ):
            assert run["summary"][key] >= 0, key
        assert "inference/peak_vram_gb" not in run["summary"]  # absent on a CPU, never 0
        assert run["config"]["learning_rate"] == 5e-3
        assert run["config"]["model_variant"] == "Full LoRA"


def test_an_inference_run_is_linked_to_its_training_run_and_its_artifact(
    answer: dict[str, Any],
) -> None:
    (training,) = runs_of(answer, "training")
    for run in runs_of(answer, "inference"):
        assert run["config"]["training_run"] == answer["path"]
        assert run["used"] == [answer["artifact"]]
        assert run["name"] == f"inference {training['name']}"
        assert run["sweep"] is None
        assert run["summary"]["hardware/gpu"] == "cpu"
        assert run["summary"]["versions/torch"]
        assert "train/own_gpu_seconds" not in run["summary"]
    newest = runs_of(answer, "inference")[-1]["id"]
    assert training["summary"]["inference/run"].endswith(f"/{newest}")


def test_the_row_of_another_setup_is_kept_beside_the_newest(answer: dict[str, Any]) -> None:
    (training,) = runs_of(answer, "training")
    summary = training["summary"]
    assert "bitsandbytes 0.0" in summary["inference/setup"]
    assert summary["inference/queries"] == 2
    (kept,) = {name.partition("/")[0] for name in summary if name.startswith("inference_on_")}
    assert kept == f"inference_on_{summary[f'{kept}/setup_key']}"
    assert "bitsandbytes 0.0" not in summary[f"{kept}/setup"]
    assert summary[f"{kept}/queries"] == 3
    assert summary[f"{kept}/avg_latency_ms_per_sample"] > 0


def test_the_artifact_gives_the_same_answers_as_the_store(answer: dict[str, Any]) -> None:
    assert "adapter from its artifact" in answer["out"]
    first, second = (
        json.loads((answer["folder"] / f"{name}.json").read_text()) for name in ("first", "second")
    )
    for key in ("tokens_in", "tokens_out", "flops_per_query_gflops", "model_size_gb"):
        assert first[f"inference/{key}"] == second[f"inference/{key}"], key


def test_test_scores_join_the_training_run_and_leave_it_as_it_was(answer: dict[str, Any]) -> None:
    (training,) = runs_of(answer, "training")
    summary = training["summary"]
    scores = [row["score"] for row in answer["predictions"]]
    assert len(scores) == summary["test/examples"] == 12
    assert summary["test/f1_score"] == pytest.approx(sum(scores) / 12)
    assert summary["test/avg_f1"] == summary["test/f1_query_analysis"] == summary["test/f1_score"]
    assert 0 <= summary["test/accuracy"] <= 1
    assert summary["test/times_scored"] == 2
    assert summary["validation/predictions"]["_type"] == "table-file"
    assert {"predictions.jsonl", "test_predictions.jsonl"} <= set(training["files"])
    assert training["steps"] == sorted(set(training["steps"]))
    assert training["sweep"] is not None
