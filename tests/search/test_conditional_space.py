"""The conditional space: W&B's own Optuna engine proposes only valid cells from our YAML."""

from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from agent.config import sweep_yaml, variants
from agent.config.run_config import RunConfig
from agent.config.search_space import Choice, Range
from agent.config.sweep_parameters import read_parameters
from agent.errors import ConfigError
from agent.search.conditional_space import conditional_space, suggest_value, valid_cells

ROOT = Path(__file__).parents[2]
CELLS = {(row.model_variant, row.quantization_strategy) for row in variants.VARIANTS}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `wandb sweep-scheduler sweeps/examples/pareto.yaml` builds, without the server."""
    from wandb.sdk.sweeps.scheduler.optuna import build_optuna_optimizer
    from wandb.sdk.sweeps.sweep_info import SweepInfo

    monkeypatch.chdir(ROOT)
    config = sweep_yaml.load(Path("sweeps/examples/pareto.yaml"))
    return build_optuna_optimizer(SweepInfo("s", "pareto", "me", "p", config, "controller"))


def points_of(suggestions: Any) -> list[dict[str, Any]]:
    return [suggestion.config.flat_dict() for suggestion in suggestions]


def test_wandbs_engine_proposes_valid_grid_points_from_every_cell(engine: Any) -> None:
    engine.validate_sweep_objective()
    points = points_of(engine.ask_n_runs(60))
    configs = [RunConfig.parse(point) for point in points]
    cells = Counter((c.model_variant, c.quantization_strategy) for c in configs)
    assert set(cells) == CELLS
    assert all(1e-5 <= c.learning_rate <= 1e-3 for c in configs)
    assert {c.lora_rank for c in configs} == {8, 16, 32, 64}
    assert {c.pruner for c in configs} == {"none"}


def test_the_search_learns_both_objectives_and_takes_finished_runs_up_again(engine: Any) -> None:
    from wandb.sdk.sweeps.run_state import RunState
    from wandb.sdk.sweeps.scheduler.optimizer import RunConfig as Point
    from wandb.sdk.sweeps.scheduler.optimizer import RunWithMetrics

    names = ("final/validation_f1_score", "train/peak_vram_gb")
    point: dict[str, Any] = {}
    values: dict[str, float] = {}
    for suggestion in engine.ask_n_runs(12):
        point = suggestion.config.flat_dict()
        small = point["quantization_strategy"] == "int4"
        values = dict(zip(names, (0.8 - 0.1 * small, 4.0 if small else 16.0), strict=True))
        engine.tell_run(
            suggestion.run_id,
            RunWithMetrics(
                wandb_run_id="r",
                state=RunState.FINISHED,
                config=Point.from_values(point),
                summary_metrics=values,
                history_metrics=[],
            ),
        )
    assert len(engine.study.best_trials) >= 2  # neither the good nor the small one dominates
    earlier = RunWithMetrics(
        wandb_run_id="r",
        state=RunState.FINISHED,
        config=Point.from_values({**point, "learning_rate": 2e-4}),
        summary_metrics=values,
        history_metrics=[],
    )
    engine.tell_existing_finished_run(earlier)
    assert engine.study.trials[-1].params["learning_rate"] == 2e-4
    assert engine.study.trials[-1].values == list(values.values())


def test_only_the_listed_cells_are_proposed() -> None:
    def cells(variant: list[str], strategy: list[Any]) -> dict[str, list[str]]:
        return valid_cells(
            {
                "model_variant": Choice(tuple(variant)),
                "quantization_strategy": Choice(tuple(strategy)),
            },
            where="x.yaml",
        )

    assert cells(["QLoRA"], ["int8"]) == {"QLoRA": ["int8"]}
    assert cells(["Full LoRA", "QLoRA"], [None, "int4"]) == {
        "Full LoRA": ["None"],
        "QLoRA": ["int4"],
    }
    assert valid_cells({}, where="x.yaml").keys() == set(variants.model_variants())
    with pytest.raises(ConfigError, match=r"none of \['Full LoRA'\] goes with any of \['int4'\]"):
        cells(["Full LoRA"], ["int4"])


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"value": [1, 2]}, list),
        ({"values": [8, 16]}, int),
        ({"min": 1, "max": 4}, int),
        ({"min": 0.1, "max": 0.4}, float),
        ({"distribution": "uniform", "min": 0, "max": 1}, float),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3}, float),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25}, float),
    ],
)
def test_every_kind_of_parameter_is_suggested(spec: dict[str, Any], kind: type) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    value = suggest_value(trial, "x", read_parameters({"x": spec}).space["x"])
    assert isinstance(value, kind)
    assert "min" not in spec or spec["min"] <= value <= spec["max"]


def test_a_distribution_that_optuna_lacks_is_named() -> None:
    trial = optuna.create_study().ask()
    with pytest.raises(ConfigError, match="Optuna has no distribution 'normal'"):
        suggest_value(trial, "x", Range("normal", 0.0, 1.0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{min: 0, max: 1, distribution: normal}", "normal takes only mu, sigma"),
        ("{min: small, max: 1.0}", "min = 'small': uniform needs a number"),
        ("{min: 1}", "needs value, values, or min and max"),
    ],
)
def test_a_faulty_parameter_is_named_as_check_names_it(
    tmp_path: Path, spec: str, message: str
) -> None:
    (tmp_path / "s.yaml").write_text(f"parameters: {{learning_rate: {spec}}}")
    with pytest.raises(ConfigError, match=message):
        conditional_space(tmp_path / "s.yaml")


def test_a_number_that_yaml_reads_as_text_is_a_number_here_too(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("parameters: {learning_rate: {min: 1e-4, max: 1e-3}}")
    trial = optuna.create_study().ask()
    assert 1e-4 <= conditional_space(tmp_path / "s.yaml")(trial)["learning_rate"] <= 1e-3


@pytest.mark.parametrize("name", ["random", "bayes", "pareto"])
def test_the_yamls_beyond_the_grid_are_sound_at_both_ends_of_their_ranges(name: str) -> None:
    path = ROOT / f"sweeps/examples/{name}.yaml"
    assert sweep_yaml.check(path, files=False)[1] == []
    configs = sweep_yaml.configs(sweep_yaml.load(path))
    assert {config.learning_rate for config in configs} == {1e-5, 1e-3}
    assert len({config.stratum_key() for config in configs}) == (5 if name == "pareto" else 1)


def test_a_yaml_with_no_valid_cell_is_refused_when_its_space_is_made(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "parameters:\n  model_variant: {value: QLoRA}\n  quantization_strategy: {value: none}\n"
    )
    with pytest.raises(ConfigError, match="goes with any of"):
        conditional_space(tmp_path / "s.yaml")
