"""Sweep YAML: what is taken, what is refused, and that all faults are named together."""

import pytest
import yaml

from agent.config.early_termination import Hyperband
from agent.config.objective import Objective
from agent.config.search_space import Choice, Range
from agent.config.sweep_config import parse
from agent.errors import ConfigError


def test_a_full_sweep_is_read() -> None:
    found = parse(
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
"""
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
    found = parse(
        "method: random\nmetric: {name: m}\nparameters: {x: {value: 1}}\n"
        "early_terminate: {type: hyperband, max_iter: 27, s: 2}"
    )
    assert found.hyperband == Hyperband(3.0, (3, 9), False)


BILLION_LAUGHS = "method: grid\nparameters:\n  a0: {value: &a0 [x, x, x]}\n" + "".join(
    f"  a{n}: {{value: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)
DEEP_LAUGHS = "method: grid\nparameters:\n  a0: {value: &a0 [x]}\n" + "".join(
    f"  a{n}: {{value: &a{n} [*a{n - 1}]}}\n" for n in range(1, 99)
)
X = "method: random\nparameters: {x: "
FAULTS = {
    "method: gird\nparameters: {x: {value: 1}}": "custom; did you mean 'grid'?",
    "parameters: {x: {value: 1}}": "method = None is not one of",
    "method: bayes\nparameters: {x: {value: 1}}": "bayes needs a metric",
    "method: grid\nparameters: {x: {min: 0.0, max: 1.0}}": "parameters.x: a grid needs",
    "method: grid\nparameters: {x: {distribution: beta, a: 2, b: 5}}": "parameters.x: a grid needs",
    "method: grid\nparameters: {x: {values: [1, 2], probabilities: [0.5, 0.5]}}": "leave them out",
    "method: random\nparameters: {}": "at least one parameter",
    "method: random": "parameters is missing",
    "method: random\nparameters: {a b: {value: 1}}": "the name 'a b' must be letters",
    "method: random\nparameters: {1: {value: 1}}": "the name 1 must be letters",
    X + "{min: 2, max: 1}}": "min 2 must be below max 1",
    X + "{min: 2, max: 2}}": "min 2 must be below max 2",
    X + "{values: []}}": "at least one value",
    X + "{values: 3}}": "at least one value",
    X + "{vlaues: [1]}}": "did you mean 'values'?",
    X + "{value: 1, min: 2}}": "parameters.x.min: constant takes only value",
    X + "{distribution: uniform, min: a, max: 1}}": "needs a number",
    X + "{min: .nan, max: 1}}": "needs a number",
    X + "{min: true, max: 1}}": "needs a number",
    X + "{distribution: int_uniform, min: 1.5, max: 4}}": "needs a whole number",
    X + "{distribution: log_unifrom, min: 1, max: 2}}": "did you mean 'log_uniform'",
    X + "{distribution: [uniform], min: 1, max: 2}}": "unknown distribution",
    X + "{distribution: log_uniform_values, min: 0, max: 1}}": "above 0",
    X + "{distribution: log_uniform, min: 1, max: 5000}}": "exponents of e",
    X + "{distribution: log_normal, mu: 900}}": "too large for a number",
    X + "{distribution: uniform, min: 0, max: 1.0e+300}}": "within ±1e+200",
    X + "{distribution: q_uniform, min: 0, max: 1, q: 0}}": "x.q",
    X + "{distribution: q_uniform, min: 0, max: 1, q: 1.0e-30}}": "x.q",
    X + "{distribution: normal, sigma: -1}}": "x.sigma",
    X + "{distribution: normal, min: 0, max: 1}}": "normal takes only mu, sigma",
    X + "{mu: 0, sigma: 1}}": "or a distribution",
    X + "{distribution: beta, a: 0, b: 1}}": "x.a",
    X + "{values: [1, 2], probabilities: [0.5]}}": "one number for",
    X + "{values: [1, 2], probabilities: [1, 1]}}": "sum to 1",
    X + "{values: [1, 2], probabilities: [1.5, -0.5]}}": "at least 0",
    X + "{values: [1, 2], probabilities: [0.5, 0.5], distribution: categorical}}": "takes only",
    X + "3}": "needs a mapping, here {value: 3}",
    X + "[1, 2]}": "needs a mapping",
    X + "null}": "needs a mapping",
    X + "{value: 2020-01-01}}": "quote it",
    X + "{values: [.inf]}}": "not a finite number",
    X + "{value: {1: a}}}": "the key 1 is not text",
    X + "{value: 99999999999999999999}}": "more than 64 bits",
    X + "{parameters: {y: {}}}}": "parameters.x.y: needs value",
    X + "{parameters: {y: {value: 1}}, value: 2}}": "takes only parameters",
    "method: random\nparameters: {x.y: {value: 1}, x: {parameters: {y: {value: 2}}}}": "twice",
    X + "{value: 1}}\nrun_cap: -1": "run_cap",
    X + "{value: 1}}\nrun_cap: 0": "run_cap = 0: must be a whole number of at least 1",
    X + "{value: 1}}\nrun_cap: 2.5": "run_cap",
    X + "{value: 1}}\nrun_cap: null": "run_cap",
    X + "{value: 1}}\ncommand: python": "command",
    X + "{value: 1}}\ncommand: ['${env}', '${intepreter}']": "did you mean 'interpreter'?",
    X + "{value: 1}}\ncommand: [python, null]": "command[1] = 'None': must be a word",
    X + "{value: 1}}\ncommand: [[python]]": "command[0]",
    X + "{value: 1}}\nprogram: 3": "program",
    X + "{value: 1}}\nname: null": "must be text; leave it out",
    X + "{value: 1}}\nearly_terminate: {tpye: hyperband, min_iter: 3}": "did you mean 'type'?",
    X + "{value: 1}}\ncontroller: {tpye: cloud}": "did you mean 'type'?",
    X + "{value: 1}}\nmetric: {nmae: loss}": "did you mean 'name'?",
    X + "{value: 1}}\nmetric: loss/x": "needs a name, here {name: loss/x, goal: maximize}",
    X + "[1, 2]}\nname: a": "here {values: [1, 2]}",
    X + "}": "parameters.x is empty: needs a mapping",
    X + "{distribution: uniform, min: 0}}": "parameters.x.max is missing",
    X + "{value: 1}}\nname: 2024": "name = '2024': must be text",
    X + "{value: 1}}\nearley_terminate: {}": "did you mean 'early_terminate'?",
    X + "{value: 1}}\ncontroller: {type: local}": "local controllers are not supported",
    X + "{value: 1}}\nkind: sweeps": "kind",
    X + "{value: 1}}\nearly_terminate: {type: asha}": "hyperband",
    X + "{value: 1}}\nearly_terminate: median": "only hyperband is known",
    X + "{value: 1}}\nearly_terminate: {type: hyperband, min_iter: 3}": "needs a metric",
    X + "{value: 1}}\nmetric: {goal: maximize}": "metric needs a name",
    X + "{value: 1}}\nmetric: loss": "metric needs a name",
    X + "{value: 1}}\nmetric: {name: m, goal: max}": "metric.goal = 'max'",
    X + "{value: 1}}\nmetric: {name: m, gaol: maximize}": "did you mean 'goal'?",
    X + "{value: 1}}\nmetric: {name: m, target: high}": "metric.target = 'high'",
    X + "{value: 1}}\nmetric: {name: m, impute: mean}": "metric.impute = 'mean'",
    X + "{value: 1}}\nmetric: {name: m, impute_while_running: yes}": "impute_while_running",
    X + "{value: 1}}\nmetrics: [{name: a}, {name: b}]": "metrics needs method: custom",
    "method: custom\nparameters: {x: {value: 1}}\nmetrics: [{name: a}]": "at least two",
    "method: custom\nparameters: {x: {value: 1}}\nmetric: {name: a}\n"
    "metrics: [{name: a}, {name: b}]": "give one of them",
    X + "{value: 1}}\nscheduler: {engine: optuna}": "needs method custom",
    X + "{value: 1}}\nscheduler: {engine: raytune}": "scheduler.engine = 'raytune'",
    "method: custom\nscheduler: {engine: optuna, search_space: s}": "scheduler.source is missing",
    X + "{values: [010]}}": "line 2: 010 is not a plain number",
    X + "{value: 12:30:45}}": "12:30:45 is not a plain number",
    "[" * 3000: "nested too deeply",
    "- " * 3000: "nested too deeply",
    "method: grid\nparameters: &a {x: *a}": "aliases that contain themselves",
    "method: grid\nparameters: {x: &a {value: [1, *a]}}": "aliases that contain themselves",
    "method: grid\nparameters: {x: *a}": "not YAML",
    BILLION_LAUGHS: "more than 20000 entries",
    DEEP_LAUGHS: "nested too deeply",
    "method: grid\nmethod: random": "line 2: the key 'method' is given twice; keep one of them",
    "#" * 3_000_000: "longer than",
    "method: [": "not YAML",
    "- 1": "is not a mapping",
    "": "is not a mapping",
}


@pytest.mark.parametrize("text", FAULTS, ids=lambda text: FAULTS[text])
def test_each_fault_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert FAULTS[text] in str(caught.value)


def test_two_faults_are_both_named() -> None:
    with pytest.raises(ConfigError, match=r"2 problems") as caught:
        parse("method: gird\nparameters: {x: {value: 1}}\nrun_cap: x")
    assert len(caught.value.problems) == 2


HYPERBAND = "method: random\nmetric: {name: m}\nparameters: {x: {value: 1}}\nearly_terminate: "


@pytest.mark.parametrize(
    ("setting", "bands"),
    [
        ("min_iter: 3, max_iter: 81", (3, 9, 27, 81)),
        ("min_iter: 4, max_iter: 20, eta: 2", (4, 8, 16)),
        ("min_iter: 5, max_iter: 81, s: 3", (9, 27)),
        ("max_iter: 27.0, s: 2.0", (3, 9)),
        ("min_iter: 3.0, max_iter: 3", (3,)),
    ],
)
def test_hyperband_reads_all_forms_of_its_iterations(setting: str, bands: tuple[int, ...]) -> None:
    found = parse(f"{HYPERBAND}{{type: hyperband, {setting}}}").hyperband
    assert found is not None
    assert found.bands == bands


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("min_iter: 0", "min_iter = 0: must be a whole number"),
        ("min_iter: 2.5", "min_iter = 2.5"),
        ("max_iter: 27", "needs min_iter, or max_iter with s"),
        ("max_iter: 2, s: 2", "no iteration is left"),
        ("min_iter: 9, max_iter: 3", "no iteration is left"),
        ("min_iter: 3, eta: 1", "eta = 1"),
        ("min_iter: 3, strict: 1", "strict = 1"),
        ("min_iter: 3, min_itre: 3", "did you mean 'min_iter'?"),
    ],
)
def test_a_hyperband_that_could_not_work_is_refused(setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"{HYPERBAND}{{type: hyperband, {setting}}}")
    assert words in str(caught.value)


def test_every_key_of_a_metric_is_read() -> None:
    found = parse(
        "method: bayes\nparameters: {x: {value: 1}}\nmetric: {name: m, goal: maximize, "
        "target: 9e-1, impute: latest, impute_while_running: best}"
    )
    assert found.objective == Objective("m", "maximize", 0.9, "latest", "best")


@pytest.mark.parametrize("false", ["false", "'false'"])
def test_impute_while_running_may_be_false_in_both_forms(false: str) -> None:
    text = "method: bayes\nparameters: {x: {value: 1}}\nmetric: {name: m, impute_while_running: "
    assert parse(f"{text}{false}}}").objective == Objective("m")


def test_whole_floats_are_whole_numbers() -> None:
    found = parse(
        "method: random\nrun_cap: 3.0\n"
        "parameters: {x: {distribution: int_uniform, min: 1.0, max: 4.0}}"
    )
    assert (found.run_cap, found.space["x"]) == (3, Range("int_uniform", 1, 4))


def test_beta_has_defaults_and_floats_make_a_uniform() -> None:
    found = parse(
        "method: random\nparameters: {a: {distribution: beta}, b: {distribution: q_beta, a: 2}, "
        "c: {min: 1, max: 4.0}, d: {min: 1, max: 1e2}, e: {distribution: normal, sigma: 0}}"
    )
    assert found.space == {
        "a": Range("beta", 1, 1),
        "b": Range("q_beta", 2, 1, 1),
        "c": Range("uniform", 1, 4),
        "d": Range("uniform", 1, 100),
        "e": Range("normal", 0, 0),
    }


def test_a_number_that_yaml_reads_as_text_is_a_number_with_a_note_for_w_and_b() -> None:
    found = parse(
        "method: random\nparameters: {x: {distribution: log_uniform_values, min: 1e-5, max: 2E-2}}"
    )
    assert found.space["x"] == Range("log_uniform_values", 1e-5, 0.02)
    assert [note.split("write ")[1] for note in found.notes] == ["1.0e-5", "2.0e-2"]


def test_thousands_of_values_are_one_list_and_the_limit_counts_entries() -> None:
    names = ", ".join(
        f"data/part-{n:05d}, of, 9/train.json".replace(", ", "_") for n in range(9000)
    )
    found = parse(f"method: grid\nparameters: {{file: {{values: [{names}]}}}}")
    parameter = found.space["file"]
    assert isinstance(parameter, Choice)
    assert len(parameter.values) == 9000
    punctuation = ":-" * 9000
    assert parse(f"method: grid\nparameters: {{x: {{value: '{punctuation}'}}}}").method == "grid"
    with pytest.raises(ConfigError, match="more than 20000 entries"):
        parse(f"method: grid\nparameters: {{x: {{values: {list(range(20_001))}}}}}")


def test_a_grid_has_each_value_once_however_it_is_written() -> None:
    found = parse(
        "method: grid\nparameters: {x: {values: [2e-4, 0.0002, 2.0e-4, 1, 1.0, true, '1', [1], "
        "[1.0], {a: 1, b: 2.0}, {b: 2, a: 1}, null]}}"
    )
    assert found.space["x"] == Choice(("2e-4", 1, True, "1", [1], {"a": 1, "b": 2.0}, None))
    weighed = parse("method: random\nparameters: {x: {values: [1, 1, 2]}}")
    assert weighed.space["x"] == Choice((1, 1, 2))  # twice as likely


def test_plain_numbers_of_every_form_are_read() -> None:
    found = parse(
        "method: grid\nparameters: {x: {values: [0, -0, 0.5, 1_000, 0x1f, +7, 1.5e+3, 00.5]}}"
    )
    assert found.space["x"] == Choice((0, 0.5, 1000, 31, 7, 1500.0))


def test_a_list_used_twice_is_two_lists() -> None:
    shared = [1, {"a": [2, "3"]}]
    text = yaml.dump(
        {"method": "grid", "parameters": {"x": {"values": shared}, "y": {"values": shared}}}
    )
    assert "*id" in text
    assert parse(text).space == {"x": Choice(tuple(shared)), "y": Choice(tuple(shared))}
