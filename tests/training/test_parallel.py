"""Two processes under a real torchrun train as one: same steps, saved once, resumed alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import lab, team_script


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("team")
    lab.make_config(root)  # writes the data
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, team_script.__file__, str(root)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def places(store: Path) -> list[Path]:
    return sorted(store.glob("*/eval-*"))


@pytest.mark.xdist_group("team")
def test_two_processes_train_what_one_trains(team: Path) -> None:
    values = {**team_script.VALUES, "lora_dropout": 0.0, "store": str(team / "one")}
    alone = list(lab.open_training(team, values).points())
    together = [json.loads((p / "record.json").read_text()) for p in places(team / "alone")]
    losses = [(x["step"], x["loss"]) for record in together for x in record["losses"]]
    for one, two in zip(lab.losses_of(alone), losses, strict=True):
        assert two == (one[0], pytest.approx(one[1], rel=1e-4))
    cost = together[-1]["cost"]
    assert cost["samples"] == alone[-1].cost.samples  # of all processes, counted once
    assert cost["devices"] == 2
    first, second = (lab.weights_of(p) for p in (alone[-1].directory, places(team / "alone")[-1]))
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-2, atol=2e-4)


@pytest.mark.xdist_group("team")
def test_another_number_of_processes_is_another_training(team: Path) -> None:
    (identity,) = (team / "alone").glob("*/identity.json")
    assert json.loads(identity.read_text())["world_size"] == 2


@pytest.mark.xdist_group("team")
def test_an_interrupted_team_goes_on_to_the_same_bits(team: Path) -> None:
    assert (team / "interrupted").exists()
    pairs = zip(places(team / "whole"), places(team / "cut"), strict=True)
    for whole, cut in pairs:
        lab.assert_equal_bits(whole, cut)


@pytest.mark.xdist_group("team")
def test_a_team_that_diverges_ends_together(team: Path) -> None:
    assert (team / "told").exists()
