"""Sweep YAMLs: read strictly, expanded deterministically, checked before W&B sees them."""

from pathlib import Path

import pytest

from agent.cli import main
from agent.config import sweep_yaml
from agent.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted([*ROOT.glob("sweeps/*.yaml"), *ROOT.glob("sweeps/*/*.yaml")])

GRID = """
program: train.py
method: grid
metric: {name: validation/f1_score, goal: maximize}
parameters:
  model_variant: {value: QLoRA}
  quantization_strategy: {values: [int4, int8]}
  dataset: {value: some/hub-set}
  learning_rate: {values: [1e-4, 0.001]}
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "sweep.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_grid_point_of_a_shipped_sweep_is_a_valid_config(path: Path) -> None:
    points, problems = sweep_yaml.check(path, files=False)
    assert problems == []
    sweep = sweep_yaml.load(path)
    if sweep["method"] == "grid":
        assert points == len(sweep_yaml.configs(sweep)) >= 3
        assert "learning_rate" in sweep_yaml.swept_keys(sweep)


def test_the_study_and_the_demo_cover_the_five_cells() -> None:
    for folder in ("sweeps", "sweeps/demo"):
        names = ("full_lora", "qlora", "lora_ptq")
        sweeps = [sweep_yaml.load(ROOT / folder / f"{name}.yaml") for name in names]
        configs = [config for sweep in sweeps for config in sweep_yaml.configs(sweep)]
        assert len({(c.model_variant, c.quantization_strategy) for c in configs}) == 5


def test_the_last_parameter_varies_fastest(tmp_path: Path) -> None:
    points = list(sweep_yaml.grid_points(sweep_yaml.load(write(tmp_path, GRID))))
    order = [(point["quantization_strategy"], point["learning_rate"]) for point in points]
    assert order == [("int4", "1e-4"), ("int4", 0.001), ("int8", "1e-4"), ("int8", 0.001)]


def test_a_yaml_string_and_a_number_are_one_learning_rate(tmp_path: Path) -> None:
    configs = sweep_yaml.configs(sweep_yaml.load(write(tmp_path, GRID)))
    assert configs[0].learning_rate == 1e-4


def test_three_crossed_axes_are_four_invalid_cells_of_nine(tmp_path: Path) -> None:
    crossed = GRID.replace("{value: QLoRA}", "{values: [Full LoRA, QLoRA, LoRA+PTQ]}")
    crossed = crossed.replace("[int4, int8]", "[None, int4, int8]")
    crossed = crossed.replace("{values: [1e-4, 0.001]}", "{value: 1e-4}")
    _, problems = sweep_yaml.check(write(tmp_path, crossed))
    assert len(problems) == 4
    assert all("cannot be combined with" in text for text in problems)
    assert all("(1 of 9 grid points)" in text for text in problems)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GRID.replace("  dataset", "  learning_rate: {value: 1}\n  dataset"), "is given twice"),
        (GRID.replace("method: grid", "method: gird"), "method = 'gird'"),
        (GRID.replace("program: train.py\n", ""), "program is missing"),
        (GRID.replace("goal: maximize", "goal: minimize"), "to be maximised"),
        (GRID.replace(", goal: maximize", ""), "to be maximised"),
        (GRID.replace("0.001", "-1"), "learning_rate = -1"),
        (GRID.replace("0.001", "on"), "learning_rate = True"),
        (GRID.replace("dataset:", "datset:"), "did you mean 'dataset'?"),
        (GRID.replace("{values: [1e-4, 0.001]}", "{min: 0.1, max: 1}"), "a grid needs value"),
        (GRID.replace("{values: [1e-4, 0.001]}", "{}"), "needs value, values, or min and max"),
        ("[" * 3000, "too deeply"),
        ("a: [", "expected"),
        ("- a\n- b", "is not a mapping"),
        ("", "is not a mapping"),
    ],
)
def test_a_faulty_sweep_is_refused_in_one_message(tmp_path: Path, text: str, words: str) -> None:
    _, problems = sweep_yaml.check(write(tmp_path, text))
    assert any(words in problem for problem in problems), problems


def test_a_file_that_cannot_be_read_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        sweep_yaml.load(tmp_path / "gone.yaml")


def test_the_ends_of_a_distribution_are_checked(tmp_path: Path) -> None:
    random = GRID.replace("method: grid", "method: random")
    low = "{distribution: log_uniform_values, min: 0, max: 1e-3}"
    _, problems = sweep_yaml.check(write(tmp_path, random.replace("{values: [1e-4, 0.001]}", low)))
    assert any("learning_rate = 0" in text for text in problems)
    good = low.replace("min: 0", "min: 1e-5")
    points, problems = sweep_yaml.check(
        write(tmp_path, random.replace("{values: [1e-4, 0.001]}", good))
    )
    assert (points, problems) == (0, [])


def test_check_says_what_is_valid_and_exits_2_with_every_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(GRID)
    assert main(["check", str(good)]) == 0
    assert "good.yaml: 4 grid points valid" in capsys.readouterr().out
    bad = write(tmp_path, GRID.replace("QLoRA", "Full LoRA").replace("some/hub-set", "gone.json"))
    assert main(["check", str(good), str(bad)]) == 2
    output = capsys.readouterr().err
    assert "cannot be combined with" in output
    assert "gone.json" in output
    assert "Traceback" not in output


def test_a_grid_too_large_to_list_is_checked_on_its_first_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = GRID.replace("{value: QLoRA}", "{value: QLoRA}\n  seed: {min: 0, max: 99999}")
    path = write(tmp_path, seeds)
    assert main(["check", "--no-files", str(path)]) == 0
    assert "400000 grid points valid as far as the first 10000 show" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="400000 points; at most 100000"):
        sweep_yaml.configs(sweep_yaml.load(path))


def test_check_notes_what_only_w_and_b_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = GRID.replace("method: grid", "method: random")
    path = write(tmp_path, random.replace("{values: [1e-4, 0.001]}", "{min: 1e-5, max: 0.001}"))
    assert main(["check", "--no-files", str(path)]) == 0
    said = capsys.readouterr().out
    assert "valid at the ends of its ranges" in said
    assert "note: parameters.learning_rate.min: YAML 1.1" in said


@pytest.mark.parametrize(
    "rate", ["0.001", "{vaule: 1}", "{distribution: unifrom, min: 0, max: 1}", "{parameters: 3}"]
)
def test_a_parameter_that_cannot_be_read_is_not_called_missing(tmp_path: Path, rate: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "program: train.py\nmethod: random\nparameters:\n  model_variant: {value: QLoRA}\n"
        "  quantization_strategy: {value: int4}\n  dataset: {value: a/b}\n"
        f"  learning_rate: {rate}\n"
    )
    (problem,) = sweep_yaml.check(path, files=False)[1]
    assert problem.startswith("parameters.learning_rate")
