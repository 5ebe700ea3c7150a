"""The commands that start one process for each run, and where its results are put."""

import argparse
import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config.run_config import RunConfig
from agent.config.shared_devices import AGENTS_PER_GPU
from agent.errors import ConfigError, StoreError, TrackingError
from agent.programs import benchmark_command
from agent.programs.benchmark_command import Start
from agent.results import metrics
from agent.tracking import finished_runs, paths
from agent.tracking.finished_runs import FinishedRun
from tests.training import lab

ROOT = Path(__file__).resolve().parents[2]


def arguments(name: str, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    getattr(benchmark_command, f"add_{name}_arguments")(parser)
    return parser.parse_args(words)


def starter(started: list[list[str]], *, failing: str = "") -> Start:
    def start(words: Sequence[str]) -> int:
        started.append(list(words))
        return 1 if failing and failing in words else 0

    return start


# ---------------------------------------------------------------------- benchmark
def test_every_named_run_gets_a_process_of_its_own() -> None:
    started: list[list[str]] = []
    args = arguments("benchmark", "e/p/one", "e/p/two", "e/p/one", "--queries", "7")
    assert benchmark_command.run_benchmark(args, starter(started)) == 0
    assert started == [
        ["agent.programs.benchmark", "e/p/one", "--queries", "7"],
        ["agent.programs.benchmark", "e/p/two", "--queries", "7"],
    ]


def test_a_run_that_fails_does_not_keep_the_others_from_being_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    started: list[list[str]] = []
    args = arguments("benchmark", "e/p/one", "e/p/two", "--store", "/s", "--reference")
    assert benchmark_command.run_benchmark(args, starter(started, failing="e/p/one")) == 1
    assert started[1] == [
        "agent.programs.benchmark",
        "e/p/two",
        "--queries",
        "50",
        "--store",
        "/s",
        "--reference",
    ]
    assert "1 of 2 failed: e/p/one" in capsys.readouterr().err


def test_all_means_the_runs_that_finished_unpruned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def runs(project: str, **options: Any) -> list[Any]:
        asked.append((project, options["filters"]))
        states = [
            ("a", "finished", []),
            ("b", "finished", ["pruned"]),
            ("c", "crashed", []),
            ("d", "finished", ["diverged"]),
            ("e", "finished", ["mine"]),
        ]
        summary = SimpleNamespace(_json_dict={})
        return [
            SimpleNamespace(id=i, state=state, tags=tags, summary=summary)
            for i, state, tags in states
        ]

    api = SimpleNamespace(default_entity="me", runs=runs)
    monkeypatch.setattr(benchmark_command, "open_api", lambda: api)
    started: list[list[str]] = []
    args = arguments("benchmark", "--all", "study/abc", "--only-missing")
    assert benchmark_command.run_benchmark(args, starter(started)) == 0
    assert [words[1] for words in started] == ["me/study/a", "me/study/e"]
    assert all(words[-1] == "--only-missing" for words in started)
    assert asked == [("me/study", {"sweep": "abc"})]


def test_a_sweep_without_finished_runs_is_reported_in_one_line() -> None:
    api = SimpleNamespace(default_entity="me", runs=lambda *_, **__: [])
    with pytest.raises(TrackingError, match="sweep me/p/s: none of its 0 runs has finished"):
        finished_runs.complete_runs(api, "me/p/s")


@pytest.mark.parametrize(("words", "problem"), [((), "name a run"), (("r", "--queries", "0"), "0")])
def test_a_benchmark_of_nothing_is_refused(words: Sequence[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        benchmark_command.run_benchmark(arguments("benchmark", *words), starter([]))


# ---------------------------------------------------------------------- at the end of a run
def own_config(**changes: object) -> RunConfig:
    point = {"model_variant": "Full LoRA", "learning_rate": 1e-3, "dataset": "d", "store": "s"}
    return RunConfig.parse({**point, **changes})


def test_a_run_measures_itself_on_as_many_queries_as_its_config_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    started: list[list[str]] = []
    config = own_config(benchmark_queries="9")
    benchmark_command.measure_own_run("e/p/one", config, starter(started))
    assert started == [["agent.programs.benchmark", "e/p/one", "--queries", "9", "--store", "s"]]
    assert capsys.readouterr().err == ""


def test_a_benchmark_that_fails_is_one_line_and_no_error_of_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = own_config(benchmark_queries=9)
    benchmark_command.measure_own_run("e/p/one", config, starter([], failing="e/p/one"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "train.py: the benchmark of e/p/one was not made (exit status 1); "
        "`sweep-agent benchmark e/p/one` makes it"
    )


def test_the_benchmark_of_a_run_makes_it_no_other_grid_point() -> None:
    with_it, without = own_config(benchmark_queries=9), own_config()
    assert with_it.point_key() == without.point_key()
    assert with_it.stratum_key() == without.stratum_key()


# ---------------------------------------------------------------------- evaluate
def test_nothing_is_scored_when_one_of_the_runs_was_scored_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    summaries = {"e/p/one": {}, "e/p/two": {"test/f1_score": 0.5}}
    monkeypatch.setattr(benchmark_command, "open_api", lambda: None)
    monkeypatch.setattr(
        benchmark_command,
        "find",
        lambda _, run: SimpleNamespace(path=run, summary=summaries[run]),
    )
    started: list[list[str]] = []
    args = arguments("evaluate", "e/p/one", "e/p/two")
    with pytest.raises(ConfigError, match=r"e/p/two was scored on the test split before; --again"):
        benchmark_command.run_evaluate(args, starter(started))
    assert started == []
    args = arguments("evaluate", "e/p/one", "e/p/two", "--again")
    assert benchmark_command.run_evaluate(args, starter(started)) == 0
    assert started == [["agent.programs.test_split_scores", "e/p/one", "e/p/two", "--again"]]


def test_chosen_runs_are_scored_at_the_points_they_were_chosen_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_command, "open_api", lambda: None)
    monkeypatch.setattr(
        benchmark_command, "find", lambda _, run: SimpleNamespace(path=run, summary={})
    )
    chosen = [
        {"is_final": True, "epoch": 3.0, "runs": ["e/p/one", "e/p/two"]},
        {"is_final": False, "epoch": 1.5, "runs": ["e/p/early"]},
        {"is_final": False, "epoch": 10 + 4 / 7, "runs": ["e/p/odd"]},
    ]
    file = tmp_path / "choices.json"
    file.write_text(json.dumps({"selections": [{"chosen": c} for c in [*chosen, None]]}))
    started: list[list[str]] = []
    args = arguments("evaluate", "--choices", str(file))
    assert benchmark_command.run_evaluate(args, starter(started)) == 0
    (words,) = started
    assert words[:4] == ["agent.programs.test_split_scores", "e/p/one", "e/p/two", "e/p/early@1.5"]
    assert finished_runs.split_epoch(words[4])[1] == pytest.approx(10 + 4 / 7, abs=1e-9)
    assert finished_runs.split_epoch("e/p/early@1.5") == ("e/p/early", 1.5)
    assert finished_runs.split_epoch("e/p/one") == ("e/p/one", None)
    with pytest.raises(TrackingError, match="the epoch after @ is not a number"):
        finished_runs.split_epoch("e/p/one@x")


@pytest.mark.parametrize("text", ["no", "{}", '{"selections": [{"chosen": {"runs": ["a"]}}]}'])
def test_a_file_that_holds_no_choices_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "choices.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="is not a file of choices"):
        benchmark_command.read_choices(file)
    with pytest.raises(ConfigError, match="No such file"):
        benchmark_command.read_choices(tmp_path / "missing.json")


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ConfigError, match="name the runs, or give --choices"):
        benchmark_command.run_evaluate(arguments("evaluate"), starter([]))


# ---------------------------------------------------------------------- which run
@pytest.mark.parametrize(
    "text",
    [
        "team/study/abc",
        "study/abc",
        "abc",
        "http://127.0.0.1:8080/team/study/runs/abc",
        "https://wandb.ai/team/study/sweeps/abc",
    ],
)
def test_a_run_is_named_as_people_and_pages_name_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "study")
    assert paths.full_path(text, "team") == "team/study/abc"


@pytest.mark.parametrize("text", ["", "abc", "a/b/c/d", "a//b"])
def test_what_names_no_run_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    with pytest.raises(TrackingError, match="write ENTITY/PROJECT/NAME"):
        paths.full_path(text, "team")


# ---------------------------------------------------------------------- the adapter from W&B
WEIGHTS = b"weights"


def finished(artifact: Any) -> FinishedRun:
    config = RunConfig.parse(
        {"model_variant": "Full LoRA", "learning_rate": 1e-3, "dataset": "d", "store": "s"}
    )
    return FinishedRun("e/p/r", "name", "finished", frozenset(), config, {}, None, artifact)


def artifact_that_writes(content: bytes, name: str = "adapter/weights") -> Any:
    digest = base64.b64encode(hashlib.md5(WEIGHTS).digest()).decode()

    def download(root: str, **_: Any) -> str:
        place = Path(root) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return root

    entries = {name: SimpleNamespace(digest=digest)}
    return SimpleNamespace(manifest=SimpleNamespace(entries=entries), download=download)


def test_a_whole_adapter_comes_from_the_artifact(tmp_path: Path) -> None:
    run = finished(artifact_that_writes(WEIGHTS))
    assert finished_runs.download_adapter(run, tmp_path) == tmp_path / "adapter"


@pytest.mark.parametrize(
    ("artifact", "problem"),
    [
        (artifact_that_writes(b"other"), r"damaged .*\(adapter/weights\)"),
        (artifact_that_writes(WEIGHTS, "deployment.json"), "no adapter/ in it"),
        (None, "is not in the store s and the run has no model artifact"),
        (SimpleNamespace(), "its model artifact: "),
    ],
)
def test_what_is_no_whole_adapter_is_refused(artifact: Any, problem: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=problem):
        finished_runs.download_adapter(finished(artifact), tmp_path)


# ---------------------------------------------------------------------- whose row is the plain one
def measured(gpu: str, latency: float) -> dict[str, object]:
    return {"inference/gpu": gpu, "inference/avg_latency_ms_per_sample": latency}


LATENCY = "inference/avg_latency_ms_per_sample"
FIRST = {**measured("H100", 10.0), "inference/setup_key": "h100-1", "final/avg_f1": 0.5}


def test_the_first_measurement_takes_the_plain_keys() -> None:
    # the training wrote the size of its deployment; the benchmark's own replaces it
    update = metrics.inference_update(
        {"inference/model_size_gb": 1.0},
        {**measured("H100", 10.0), "inference/model_size_gb": 1.1},
        setup_key="h100-1",
    )
    assert update == {
        **measured("H100", 10.0),
        "inference/model_size_gb": 1.1,
        "inference/setup_key": "h100-1",
    }


def test_another_gpu_gets_a_row_beside() -> None:
    update = metrics.inference_update(FIRST, measured("A100", 20.0), setup_key="a100-1")
    assert update == {
        "inference_on_a100-1/gpu": "A100",
        "inference_on_a100-1/avg_latency_ms_per_sample": 20.0,
        "inference_on_a100-1/setup_key": "a100-1",
    }


def test_the_reference_gpu_takes_the_plain_keys_and_the_old_row_is_kept() -> None:
    update = metrics.inference_update(
        FIRST, measured("A100", 20.0), setup_key="a100-1", is_reference=True
    )
    assert (update[LATENCY], update["inference/gpu"]) == (20.0, "A100")
    assert update["inference_on_h100-1/avg_latency_ms_per_sample"] == 10.0
    assert "final/avg_f1" not in update


def test_a_new_driver_on_the_same_gpu_is_a_new_row_and_keeps_the_old_one() -> None:
    update = metrics.inference_update(FIRST, measured("H100", 9.0), setup_key="h100-2")
    assert update[LATENCY] == 9.0
    assert update["inference_on_h100-1/avg_latency_ms_per_sample"] == 10.0


def test_a_repeated_measurement_replaces_the_row_and_leaves_nothing_stale() -> None:
    before = {**FIRST, "inference/throughput_samples_per_sec_b32": 3.0}
    update = metrics.inference_update(before, measured("H100", 9.0), setup_key="h100-1")
    assert update[LATENCY] == 9.0
    assert update["inference/throughput_samples_per_sec_b32"] is None
    assert not any(name.startswith("inference_on_") for name in update)


def test_scores_go_to_the_inference_run_and_spending_does_not() -> None:
    summary = {
        "final/validation_f1_score": 0.5,
        "best/epoch": 1,
        "train/peak_vram_gb": 3.0,
        "train/own_gpu_seconds": 60.0,
        "validation/predictions": {"_type": "table-file"},
        "_runtime": 5,
    }
    kept = {"final/validation_f1_score", "best/epoch", "train/peak_vram_gb"}
    assert set(metrics.beside_inference(summary)) == kept


def test_no_latency_is_measured_beside_neighbours_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agent.programs import benchmark

    def measure(*_: object, **__: object) -> dict[str, float | None]:
        raise AssertionError("two agents share this GPU")

    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setenv(AGENTS_PER_GPU, "2")
    config = lab.make_config(tmp_path)
    run = FinishedRun("e/p/r", "a run", "finished", frozenset(), config, {}, None)
    assert benchmark.benchmark(run, 5) == {}
    said = capsys.readouterr().out
    assert "2 agents share this GPU" in said
    assert "sweep-agent benchmark e/p/r" in said
