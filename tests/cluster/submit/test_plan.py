"""Which points are done, and how the rest is run."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from agent.cluster.claims import Claim
from agent.cluster.job.point_source import PointSource
from agent.cluster.job.workload import PointWork
from agent.cluster.point_queue import PointList, Taking
from agent.cluster.submit.plan import PointState, plan_points, to_fill, training_name
from agent.cluster.submit.point_commands import expand_command, make_claim
from agent.cluster.submit.submission import is_sweep_path, order_by_sharing, read_created_sweep
from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.config.sweep_config import MACROS
from agent.errors import ClusterError, ConfigError
from agent.tracking.reader import RunFacts

VALUES: dict[str, object] = {
    "model_variant": "Full LoRA",
    "dataset": "team/data",
    "base_model": "team/model",
    "learning_rate": 1e-4,
}


def run(
    run_id: str, state: str = "finished", tags: tuple[str, ...] = (), **values: Any
) -> RunFacts:
    config = RunConfig.parse({**VALUES, **values}).model_dump(mode="json")
    return RunFacts(run_id, run_id, state, "s", {**config, "slurm/node": "n1"}, {}, tags)


def point(**values: Any) -> tuple[dict[str, object], RunConfig]:
    given = {**VALUES, **values}
    return given, RunConfig.parse(given)


def test_every_state_of_a_run_says_what_is_left_of_its_point() -> None:
    runs = [
        run("a", "finished", learning_rate=1e-5),
        run("b", "finished", ("pruned",), learning_rate=2e-5),
        run("c", "running", learning_rate=3e-5),
        run("d", "crashed", learning_rate=4e-5),
        run("e", "failed", learning_rate=5e-5),
    ]
    planned = plan_points([point(learning_rate=f"{n}e-5") for n in range(1, 7)], runs)
    assert [p.state for p in planned] == [
        PointState.FINISHED,
        PointState.PRUNED,
        PointState.RUNNING,
        PointState.PARTIAL,
        PointState.FAILED,
        PointState.NEW,
    ]
    assert [p.run_id for p in planned] == ["a", "b", "c", "d", "e", ""]
    assert [p.run_id for p in to_fill(planned, failed=False)] == ["d", ""]
    assert [p.run_id for p in to_fill(planned, failed=True)] == ["d", "e", ""]


def test_a_new_axis_leaves_finished_points_finished() -> None:
    """The run was made before `seed` stood in the file: its resolved config is the same."""
    planned = plan_points([point(seed=0), point(seed=1)], [run("a")])
    assert [p.state for p in planned] == [PointState.FINISHED, PointState.NEW]


def test_a_point_whose_training_somebody_has_paid_for_is_reusable() -> None:
    other_cell = {"model_variant": "LoRA+PTQ", "quantization_strategy": "int8"}
    planned = plan_points([point(**other_cell)], [run("a")])
    assert planned[0].state is PointState.REUSABLE


def test_of_several_runs_of_a_point_the_best_counts() -> None:
    planned = plan_points([point()], [run("bad", "crashed"), run("good"), run("worse", "failed")])
    assert (planned[0].state, planned[0].run_id) == (PointState.FINISHED, "good")


def test_a_run_that_is_no_grid_point_is_passed_over() -> None:
    stray = RunFacts("x", "x", "finished", "", {"something": 1}, {}, ())
    assert plan_points([point()], [stray])[0].state is PointState.NEW


def test_other_models_and_data_are_other_trainings() -> None:
    names = {
        training_name(point(**change)[1])
        for change in ({}, {"base_model": "x/y"}, {"dataset": "x/z"}, {"split_seed": 3})
    }
    assert len(names) == 4


# ---------------------------------------------------------------------- order and creation
def test_sweeps_that_only_share_trainings_come_last() -> None:
    full = [point(learning_rate=n * 1e-4)[1] for n in (1, 2)]
    ptq = [
        point(model_variant="LoRA+PTQ", quantization_strategy=s, learning_rate=n * 1e-4)[1]
        for s in ("int4", "int8")
        for n in (1, 2)
    ]
    qlora = [point(model_variant="QLoRA", quantization_strategy="int4")[1]]
    files = {Path("ptq"): ptq, Path("full"): full, Path("qlora"): qlora}
    assert order_by_sharing(files) == [Path("full"), Path("qlora"), Path("ptq")]


def test_the_words_of_wandb_sweep_are_read_with_and_without_colours() -> None:
    text = (
        "wandb: Creating sweep from: a.yaml\n"
        "wandb: View sweep at: \x1b[4mhttp://127.0.0.1:80/me/study/sweeps/ab12\x1b[0m\n"
        "wandb: Run sweep agent with: \x1b[33mwandb agent me/study/ab12\x1b[0m\n"
    )
    assert read_created_sweep(text, Path("a.yaml")) == (
        "me/study/ab12",
        "http://127.0.0.1:80/me/study/sweeps/ab12",
    )


def test_a_refusal_of_wandb_sweep_is_reported_in_its_own_words() -> None:
    with pytest.raises(ClusterError, match=r"a\.yaml made no sweep: .*method is missing"):
        read_created_sweep("wandb: ERROR method is missing\n", Path("a.yaml"))


def test_sweep_paths_are_distinguished_from_files() -> None:
    assert is_sweep_path("me/study/ab12")
    assert not is_sweep_path("sweeps/demo/qlora.yaml")
    assert not is_sweep_path("qlora.yaml")


# ---------------------------------------------------------------------- running points
def test_the_command_of_a_sweep_is_expanded_as_the_agent_does() -> None:
    command = ["${env}", "${interpreter}", "${program}", "--config", "${args_json_file}"]
    values = {"learning_rate": 0.1, "dataset": "a b"}
    assert expand_command(command, "train.py", values, Path("/x/r.json")) == (
        "/usr/bin/env",
        "python",
        "train.py",
        "--config",
        "/x/r.json",
    )
    assert expand_command(None, "t.py", values, Path("x"))[3:] == (
        "--learning_rate=0.1",
        "--dataset=a b",
    )
    with pytest.raises(ConfigError, match=r"\$\{envvar:X\} is not known here"):
        expand_command(["${envvar:X}"], "t.py", values, Path("x"))


@pytest.mark.parametrize("macro", [m for m in MACROS if m.startswith("args") and "file" not in m])
def test_every_macro_is_what_wandb_s_own_agent_puts_in_its_place(macro: str) -> None:
    values = {"learning_rate": 1e-4, "watch": "none", "a": True, "b": False, "c": None}
    theirs = create_sweep_command_args({"args": {k: {"value": v} for k, v in values.items()}})
    ours = expand_command([f"${{{macro}}}"], "t.py", values, Path("x"))
    assert list(ours) == theirs[macro]


def test_a_claim_holds_all_that_a_run_needs_to_stand_under_its_sweep(tmp_path: Path) -> None:
    claim = make_claim(
        "me/study/ab12",
        {"program": "train.py", "command": ["python", "${program}", "${args_json_file}"]},
        {"learning_rate": 0.1},
        run_id="r1",
        directory=tmp_path,
        work_dir=Path("/code"),
    )
    assert json.loads(Path(claim.argv[2]).read_text()) == {"learning_rate": 0.1}
    described = yaml.safe_load(Path(claim.variables["WANDB_SWEEP_PARAM_PATH"]).read_text())
    assert described == {"wandb_version": 1, "learning_rate": {"value": 0.1}}
    assert (claim.variables["WANDB_SWEEP_ID"], claim.variables["WANDB_RUN_ID"]) == ("ab12", "r1")


def make_list(directory: Path, *names: str) -> PointList:
    return PointList.create(directory, [Claim(n, "e/p/s", ("true",), "/") for n in names])


def test_each_point_is_taken_by_one_task(tmp_path: Path) -> None:
    points = make_list(tmp_path / "list", "a", "b")
    first = points.take("12_0-0", lambda task: True)
    second = points.take("12_1-0", lambda task: True)
    assert first is not None
    assert second is not None
    assert {first.run_id, second.run_id} == {"a", "b"}
    assert points.take("12_2-0", lambda task: True) is None
    assert points.unfinished == 2


def test_a_task_that_comes_back_goes_on_with_its_own_point(tmp_path: Path) -> None:
    points = make_list(tmp_path / "list", "a", "b")
    points.take("12_0-0", lambda task: True)
    again = points.take("12_0-0", lambda task: True)
    assert again is not None
    assert again.run_id == "a"
    assert points.taking_of("a") == Taking("12_0-0", 2)


def test_the_points_of_a_dead_task_are_taken_over_but_not_for_ever(tmp_path: Path) -> None:
    points = make_list(tmp_path / "list", "a")
    for task in ("1", "2", "3"):
        assert points.take(task, lambda other: False) is not None
    assert points.take("4", lambda other: False) is None
    found = points.taking_of("a")
    assert found is not None
    assert found.state == "failed"


def test_how_a_point_ended_decides_whether_it_is_run_again(tmp_path: Path) -> None:
    points = make_list(tmp_path / "list", "a", "b", "c")
    source = PointSource(
        points,
        "t",
        point_work=lambda claim: PointWork(claim, {}),
        is_alive=lambda task: True,
    )
    for code in (0, 2, 75):
        work = source.next_work(0.0)
        assert work is not None
        source.ended(work, code, [], 0.0)
    states = {name: points.taking_of(name) for name in "abc"}
    assert [s.state if s else None for s in states.values()] == ["done", "failed", None]
    assert not source.done


def test_a_list_is_not_written_over(tmp_path: Path) -> None:
    make_list(tmp_path / "list", "a")
    with pytest.raises(ClusterError, match="holds a list of points already"):
        make_list(tmp_path / "list", "b")


def test_the_shipped_sweeps_are_ordered_with_full_lora_first() -> None:
    folder = Path(__file__).parents[3] / "sweeps" / "demo"
    files = {p: sweep_yaml.configs(sweep_yaml.load(p)) for p in sorted(folder.glob("*.yaml"))}
    assert [path.stem for path in order_by_sharing(files)] == ["full_lora", "qlora", "lora_ptq"]
