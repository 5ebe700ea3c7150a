"""The demo's sweep YAMLs: every grid point is a valid RunConfig, and the five cells are covered."""

from collections import Counter
from pathlib import Path

import pytest

from agent.config import sweep_yaml, variants
from agent.config.run_config import RunConfig
from agent.demo import data

FOLDER = Path(__file__).parents[2] / "sweeps" / "demo"
FILES = sorted(FOLDER.glob("*.yaml"))


def all_configs() -> list[RunConfig]:
    sweeps = [sweep_yaml.load(path) for path in FILES]
    return [config for sweep in sweeps for config in sweep_yaml.configs(sweep)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_check_finds_nothing_once_the_data_lie_there(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.write_data(tmp_path / "outputs" / "demo" / "data")
    (tmp_path / "agent").symlink_to(FOLDER.parents[1] / "agent")
    monkeypatch.chdir(tmp_path)
    points, problems = sweep_yaml.check(path)
    assert problems == []
    assert points in (3, 6)


def test_every_cell_has_three_learning_rates_and_is_one_stratum() -> None:
    configs = all_configs()
    assert Counter(config.variant for config in configs) == dict.fromkeys(variants.VARIANTS, 3)
    assert len({config.stratum_key() for config in configs}) == len(variants.VARIANTS)
    assert len({config.point_key() for config in configs}) == len(configs) == 15


def test_cells_with_one_training_share_it() -> None:
    keys = {config.training_key({}) for config in all_configs()}
    assert len(keys) == 9  # three precisions, three learning rates


def test_the_learning_rate_varies_fastest() -> None:
    for path in FILES:
        first, second, *_ = sweep_yaml.grid_points(sweep_yaml.load(path))
        assert {key for key in first if first[key] != second[key]} == {"learning_rate"}
