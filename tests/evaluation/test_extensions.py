"""One more row is one more row: three of them, from outside the package, seen everywhere."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agent import extensions
from agent.config import variants
from agent.config.cli_options import build_parser
from agent.config.run_config import RunConfig
from agent.errors import ConfigError
from agent.evaluation import deployments, validation
from agent.programs import logged_values
from agent.results import columns
from agent.training import adapters
from tests.training import lab

ROWS = ("dora", "calibrated", "brevity")
CALIBRATED = {
    "model_variant": "LoRA+PTQ",
    "quantization_strategy": "int4",
    "quantization_method": "aware4",
}


@pytest.fixture(autouse=True)
def extended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The three modules loaded as a user loads them; every table as before afterwards."""
    for owner, name in (
        (adapters, "BUILDERS"),
        (variants, "ADAPTER_METHODS"),
        (deployments, "BUILDERS"),
        (validation, "METRICS"),
    ):
        monkeypatch.setattr(owner, name, dict(getattr(owner, name)))
    for owner, name in ((variants, "VARIANTS"), (columns, "COLUMNS")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    names = [f"tests.evaluation.rows.{row}" for row in ROWS]
    monkeypatch.setenv(extensions.VARIABLE, ", ".join(names))
    extensions.load()
    yield
    for name in names:
        sys.modules.pop(name, None)


def score(root: Path, **values: Any) -> tuple[Any, Any, validation.Scores]:
    training = lab.open_training(root, {"epochs": 1, **values})
    (point,) = training.points()
    return training, point, validation.score_point(training, point)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_takes_at_most_forty_lines(row: str) -> None:
    source = importlib.import_module(f"tests.evaluation.rows.{row}").__file__
    assert source is not None
    assert len(Path(source).read_text().splitlines()) <= 40


def test_help_names_the_new_rows() -> None:
    text = " ".join(build_parser().format_help().split())
    assert "one of lora, dora" in text
    assert "served calibrated (aware4)" in text


def test_a_new_adapter_method_is_valid_and_trains_another_training(tmp_path: Path) -> None:
    plain = lab.open_training(tmp_path, {"epochs": 1})
    training, point, scores = score(tmp_path, adapter_method="dora")
    assert training.key != plain.key
    assert any("magnitude" in name for name in lab.weights_of(point.directory))
    assert len(scores.predictions) == len(training.data.validation)
    with pytest.raises(ConfigError, match="unknown adapter_method 'dorra'; did you mean 'dora'"):
        lab.make_config(tmp_path, adapter_method="dorra")


def test_a_calibrated_deployment_shares_the_training_and_has_scores_of_its_own(
    tmp_path: Path,
) -> None:
    training, point, scores = score(tmp_path, **CALIBRATED)
    other, same, nf4 = score(tmp_path, **{**CALIBRATED, "quantization_method": "nf4"})
    assert (training.key, point) == (other.key, same)
    assert scores.directory != nf4.directory
    row = training.config.variant
    served = [
        deployments.deploy(training.base, point.adapter, row, data).state_dict()
        for data in (training.data.train[:1], training.data.train[1:4])
    ]
    assert any(not torch.equal(served[0][n], served[1][n]) for n in served[0])  # it does calibrate
    with pytest.raises(ConfigError, match="takes 'nf4', 'aware4'"):
        lab.make_config(tmp_path, **{**CALIBRATED, "quantization_method": "aware5"})


def test_a_new_metric_is_logged_summarised_and_a_column_of_the_report(tmp_path: Path) -> None:
    _, point, scores = score(tmp_path)
    assert 0 <= scores.metrics()["brevity"] <= 1
    assert "validation/brevity" in logged_values.point_values(point, scores)
    summary = logged_values.final_values([point], scores, "run", 0.0)
    assert summary["final/brevity"] == scores.metrics()["brevity"]
    assert [c.title for c in columns.present_in([summary])].count("Brevity") == 1


def test_a_module_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(extensions.VARIABLE, "no_such_module_of_mine")
    with pytest.raises(ConfigError, match=r"no_such_module_of_mine: .* is it on PYTHONPATH"):
        extensions.load()


def test_without_extensions_the_table_is_the_studys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(extensions.VARIABLE, "")
    extensions.load()
    assert RunConfig.model_fields["adapter_method"].default == "lora"
