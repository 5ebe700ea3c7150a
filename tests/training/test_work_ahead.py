"""A follower trains what no run has begun, an evaluation point at a time, and waits for nothing
else."""

from pathlib import Path
from typing import Any

import pytest

from agent.training.lease import Lease, Observer
from agent.training.work_ahead import Meanwhile
from tests.training import lab

RATES = (5e-3, 1e-3, 2e-3)


def points_of(root: Path, rate: float) -> int:
    return len(lab.open_training(root, {"learning_rate": rate}).directory.chain())


def hold(root: Path, rate: float) -> Lease:
    held = Observer(lab.open_training(root, {"learning_rate": rate}).directory.path).try_acquire()
    assert held is not None
    return held


@pytest.fixture
def meanwhile(tmp_path: Path) -> Meanwhile:
    lab.open_training(tmp_path)
    grid = [lab.make_config(tmp_path, learning_rate=rate) for rate in RATES]
    return Meanwhile(grid[0], lambda: grid, run_id="follower")


def test_trainings_of_the_sweep_that_no_run_has_begun_are_advanced_one_point_at_a_time(
    tmp_path: Path, meanwhile: Meanwhile
) -> None:
    assert meanwhile()
    assert [points_of(tmp_path, rate) for rate in RATES] == [0, 1, 0]
    assert meanwhile()
    assert [points_of(tmp_path, rate) for rate in RATES] == [0, 2, 0]
    assert meanwhile()
    assert meanwhile()
    assert not meanwhile()  # nothing is left; the own training is somebody else's
    assert [points_of(tmp_path, rate) for rate in RATES] == [0, 2, 2]
    others = lab.open_training(tmp_path, {"learning_rate": 1e-3}, run_id="its own run")
    assert {p.run_id for p in others.points()} == {"follower"}


def test_what_others_hold_or_have_given_up_is_left_alone(
    tmp_path: Path, meanwhile: Meanwhile
) -> None:
    held = hold(tmp_path, 1e-3)
    pruned = lab.open_training(tmp_path, {"learning_rate": 2e-3}).points()
    next(pruned)
    pruned.close()
    assert not meanwhile()
    held.release()
    assert [points_of(tmp_path, rate) for rate in RATES] == [0, 0, 1]


def test_a_follower_works_instead_of_waiting_and_says_how_long_it_waited(
    tmp_path: Path, meanwhile: Meanwhile
) -> None:
    """Its training is held elsewhere until two calls have found work and one has not."""
    held = hold(tmp_path, RATES[0])
    answers: list[bool] = []

    def work() -> bool:
        answers.append(meanwhile() if len(answers) < 2 else False)
        if len(answers) == 3:
            held.release()
        return answers[-1]

    training: Any = lab.open_training(tmp_path, idle=work)
    points = list(training.points())
    assert answers == [True, True, False]
    assert 0 < training.waited_s < 60
    assert len(points) == 2
    assert points_of(tmp_path, 1e-3) == 2


def test_a_follower_holds_no_model_while_it_waits(tmp_path: Path) -> None:
    held = hold(tmp_path, RATES[0])

    def look() -> bool:
        assert "base" not in training.__dict__
        held.release()
        return False

    training = lab.open_training(tmp_path, idle=look)
    assert training.base
    assert len(list(training.points())) == 2
