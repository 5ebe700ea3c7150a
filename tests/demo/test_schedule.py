"""The order in which the demo's agents take its sweeps."""

from pathlib import Path
from typing import Any

from agent.config import sweep_yaml
from agent.demo.schedule import agents_for, split, turns

DEMO = Path(__file__).resolve().parents[2] / "sweeps" / "demo"


def demo_sweeps(*names: str) -> dict[str, dict[str, Any]]:
    return {name: sweep_yaml.load(DEMO / f"{name}.yaml") for name in names}


def test_a_sweep_whose_trainings_are_anothers_comes_after_it() -> None:
    training, following = split(turns(demo_sweeps("full_lora", "lora_ptq", "qlora")))
    assert [turn.sweep for turn in training] == ["full_lora", "qlora"]
    assert [(turn.sweep, turn.after) for turn in following] == [
        ("lora_ptq", frozenset({"full_lora"}))
    ]


def test_whichever_comes_first_trains() -> None:
    training, following = split(turns(demo_sweeps("lora_ptq", "full_lora")))
    assert [turn.sweep for turn in training] == ["lora_ptq"]
    assert [turn.sweep for turn in following] == ["full_lora"]


def test_a_sweep_that_shares_only_some_of_its_trainings_trains() -> None:
    sweeps = demo_sweeps("full_lora", "lora_ptq")
    sweeps["lora_ptq"]["parameters"]["learning_rate"]["values"].append(1e-3)
    assert split(turns(sweeps))[1] == []


def test_there_is_an_agent_for_each_core_but_no_more_than_points() -> None:
    training, following = split(turns(demo_sweeps("full_lora", "lora_ptq", "qlora")))
    assert agents_for(training, None, cores=2) == 2
    assert agents_for(following, None, cores=2) == 2
    assert agents_for(training, None, cores=64) == 9
    assert agents_for(training, 1, cores=64) == 1
