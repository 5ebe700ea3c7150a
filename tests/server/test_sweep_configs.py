"""Sweep YAML: what is taken, what is refused, and that all faults are named together."""

import pytest

from agent.errors import ConfigError
from agent.search.proposals import Choice, Range
from agent.server.store.early_stopping import hopeless_runs
from agent.server.store.sweep_config import Hyperband, parse_sweep


def test_a_full_sweep_is_read() -> None:
    found = parse_sweep(
        """
program: train.py
method: bayes
metric: {name: val/loss, goal: maximize}
run_cap: 7
parameters:
  rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-2}
  layers: {min: 1, max: 4}
  share: {min: 0.0, max: 1.0}
  kind: {values: [a, b], probabilities: [0.25, 0.75]}
  fixed: {value: null}
  noise: {distribution: normal}
  opt: {parameters: {name: {values: [adam]}, deeper: {parameters: {eps: {value: 1}}}}}
early_terminate: {type: hyperband, min_iter: 3, eta: 2}
""".replace("1e-5", "0.00001").replace("1e-2", "0.01")
    )
    assert (found.method, found.metric, found.goal) == ("bayes", "val/loss", "maximize")
    assert (found.program, found.run_cap) == ("train.py", 7)
    assert found.space == {
        "rate": Range("log_uniform_values", 1e-5, 1e-2),
        "layers": Range("int_uniform", 1, 4),
        "share": Range("uniform", 0.0, 1.0),
        "kind": Choice(("a", "b"), (0.25, 0.75)),
        "fixed": Choice((None,)),
        "noise": Range("normal", 0.0, 1.0),
        "opt.name": Choice(("adam",)),
        "opt.deeper.eps": Choice((1,)),
    }
    assert found.nested == {"opt.name", "opt.deeper.eps"}
    assert found.hyperband is not None
    assert found.hyperband.bands[:4] == (3, 6, 12, 24)


def test_hyperband_with_max_iter_has_its_bands_below_it() -> None:
    found = parse_sweep(
        "method: random\nmetric: {name: m}\nparameters: {x: {value: 1}}\n"
        "early_terminate: {type: hyperband, max_iter: 27, s: 2}"
    )
    assert found.hyperband == Hyperband(3.0, (3, 9), False)


FAULTS = {
    "method: gird": "'gird' is not one of",
    "method: bayes\nparameters: {x: {value: 1}}": "bayes needs a metric",
    "method: grid\nparameters: {x: {min: 0.0, max: 1.0}}": "parameters.x: a grid needs",
    "method: random\nparameters: {}": "at least one parameter",
    "method: random\nparameters: {x: {min: 2, max: 1}}": "min 2 must be below max 1",
    "method: random\nparameters: {x: {values: []}}": "at least one value",
    "method: random\nparameters: {x: {distribution: uniform, min: a, max: 1}}": "needs a number",
    "method: random\nparameters: {x: {distribution: log_uniform_values, min: 0, max: 1}}": "above",
    "method: random\nparameters: {x: {distribution: q_uniform, min: 0, max: 1, q: 0}}": "x.q",
    "method: random\nparameters: {x: {distribution: normal, sigma: -1}}": "x.sigma",
    "method: random\nparameters: {x: {distribution: beta, a: 0, b: 1}}": "x.a",
    "method: random\nparameters: {x: {values: [1, 2], probabilities: [0.5]}}": "one number for",
    "method: random\nparameters: {x: {values: [1, 2], probabilities: [1, 1]}}": "sum to 1",
    "method: random\nparameters: {x: 3}": "expected a mapping",
    "method: random\nparameters: {x: {parameters: {y: {}}}}": "parameters.x.y: give value",
    "method: random\nparameters: {x: {value: 1}}\nrun_cap: -1": "run_cap",
    "method: random\nparameters: {x: {value: 1}}\ncommand: python": "command",
    "method: random\nparameters: {x: {value: 1}}\nprogram: 3": "program",
    "method: random\nparameters: {x: {value: 1}}\nearly_terminate: {type: asha}": "hyperband",
    "[" * 3000: "nested more than",
    "method: grid\nparameters: &a {x: *a}": "aliases",
    "#" * 300_000: "longer than",
    "method: [": "not YAML",
    "- 1": "expected a mapping",
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS, ids=lambda text: FAULTS[text])
def test_each_fault_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_sweep(text)
    assert FAULTS[text] in str(caught.value)


def test_two_faults_are_both_named() -> None:
    with pytest.raises(ConfigError, match=r"2 problems") as caught:
        parse_sweep("method: gird\nparameters: {x: {value: 1}}\nrun_cap: x")
    assert len(caught.value.problems) == 2


def test_hyperband_keeps_the_best_share_at_the_last_band_passed() -> None:
    bands = Hyperband(3.0, (2, 4), is_strict=False)
    curves = {
        "best": [1.0, 0.9, 0.8, 0.7],
        "middle": [2.0, 1.9, 1.8],
        "worst": [3.0, 2.9],
        "young": [9.0],
    }
    assert hopeless_runs(curves, bands, "minimize") == {"worst": 2}


def test_strict_hyperband_judges_at_every_band() -> None:
    curves = {"late": [5.0, 5.0, 0.1, 0.1], "a": [1.0, 1.0, 1.0, 1.0], "b": [2.0, 2.0]}
    loose = Hyperband(3.0, (2, 4), is_strict=False)
    strict = Hyperband(3.0, (2, 4), is_strict=True)
    assert "late" not in hopeless_runs(curves, loose, "minimize")
    assert hopeless_runs(curves, strict, "minimize")["late"] == 2
    turned = {name: [-value for value in curve] for name, curve in curves.items()}
    assert hopeless_runs(turned, strict, "maximize")["late"] == 2
