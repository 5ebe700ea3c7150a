"""Two processes under a real torchrun train as one: same steps, saved once, resumed alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agent.training.data_parallel import Team
from tests.training import lab, team_script


def run_team(root: Path) -> None:
    lab.make_config(root)  # writes the data
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += ["--module", team_script.__name__, str(root)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr  # whole: the first process to fail says why


def test_a_team_trains_as_one_process_goes_on_to_the_same_bits_and_ends_together(
    tmp_path: Path,
) -> None:
    run_team(tmp_path)
    assert_trained_as_one(tmp_path)
    (identity,) = (tmp_path / "alone").glob("*/identity.json")
    assert json.loads(identity.read_text())["world_size"] == 2  # another training than alone
    assert (tmp_path / "interrupted").exists()
    pairs = zip(places(tmp_path / "whole"), places(tmp_path / "cut"), strict=True)
    for whole, cut in pairs:
        lab.assert_equal_bits(whole, cut)
    assert (tmp_path / "informed").exists()  # the run heard of the divergence, its helper ended


def test_gradients_of_all_weights_are_summed_in_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    messages: list[int] = []

    def double(tensor: torch.Tensor) -> None:
        messages.append(tensor.numel())
        tensor.mul_(2)

    monkeypatch.setattr(torch.distributed, "all_reduce", double)
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (4,), (1, 5))]
    for number, weight in enumerate(weights[:2], start=1):
        weight.grad = torch.full_like(weight, number)
    Team("cpu").sum_gradients(weights)  # the last has had no part in this step
    assert messages == [15]
    for weight, expected in zip(weights, (2.0, 4.0, 0.0), strict=True):
        assert weight.grad is not None
        assert weight.grad.unique().tolist() == [expected]


def places(store: Path) -> list[Path]:
    return sorted(store.glob("*/eval-*"))


def assert_trained_as_one(team: Path) -> None:
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
