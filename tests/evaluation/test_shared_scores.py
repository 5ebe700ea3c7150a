"""A worker that holds a model scores each point as every deployment that is still needed."""

from pathlib import Path
from typing import Any

import pytest

from agent.config.run_config import RunConfig
from agent.errors import ModelTooLarge
from agent.evaluation import validation
from agent.evaluation.shared_scores import SharedScores, deployments_of
from tests.training import lab

PTQ = {"model_variant": "LoRA+PTQ", "quantization_strategy": "int8"}


def grid(root: Path) -> list[RunConfig]:
    """The point itself, two ways to serve its adapter, and points of other trainings."""
    changes: list[dict[str, Any]] = [
        {},
        PTQ,
        {**PTQ, "quantization_strategy": "int4"},
        PTQ,
        {**PTQ, "learning_rate": 1e-3},
        {"model_variant": "QLoRA", "quantization_strategy": "int4"},
        {**PTQ, "validation_fraction": 0.3},
    ]
    return [lab.make_config(root, **values) for values in changes]


def test_what_shares_the_training_is_found_once_for_each_deployment(tmp_path: Path) -> None:
    training = lab.open_training(tmp_path)
    found = [c.quantization_strategy for c in deployments_of(training, grid(tmp_path))]
    assert found == ["None", "int8", "int4"]


def test_sharing_runs_find_their_scores_and_load_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = SharedScores(lambda: grid(tmp_path)[:2])
    training = lab.open_training(tmp_path)
    for point in training.points():
        share(training, point)
    follower = lab.open_training(tmp_path, PTQ)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a sharing run must not generate")

    monkeypatch.setattr(validation, "score_adapter", refuse)
    scores = [validation.score_point(follower, point) for point in follower.points()]
    assert [len(s.predictions) for s in scores] == [len(follower.data.validation)] * 2
    assert not follower.holds_base


def test_without_a_model_in_memory_nothing_is_made(tmp_path: Path) -> None:
    lab.run_through(lab.open_training(tmp_path))
    training = lab.open_training(tmp_path)
    share = SharedScores(lambda: grid(tmp_path)[:2])
    for point in training.points():
        share(training, point)
        assert not (point.directory / "scores").exists()


def test_a_deployment_that_does_not_fit_is_left_to_the_run_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise ModelTooLarge("no room")

    monkeypatch.setattr(validation, "score_adapter", no_room)
    training = lab.open_training(tmp_path)
    for point in training.points():
        SharedScores(lambda: grid(tmp_path)[:2])(training, point)
