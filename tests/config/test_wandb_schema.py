"""Our verdict on a sweep beside that of W&B's published schema; every difference has its reason."""

import json
import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent.config import sweep_config
from agent.errors import ConfigError
from tests.config.made_sweeps import made_sweep

SCHEMA = json.loads((Path(__file__).parent / "wandb_sweep_schema" / "schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
COUNT = 2_000

# What we refuse though the schema takes it: a part of our message, and why.
STRICTER = {
    r"a grid needs value, values, int_uniform or q_uniform": "W&B's grid raises on it",
    r"\.probabilities: a grid runs every value": "W&B's grid raises on it",
    r"bayes needs a metric": "W&B's bayes raises on it",
    r"hyperband needs a metric": "W&B's hyperband raises on it",
    r"\.[ab] = -?0: must be above 0": "a beta distribution of 0 has no values",
    r"^parameters\..*\.\w+\.min = .*: min .* must be below max": "W&B raises on it when it draws",
    r"^parameters\..*\.\w+\.probabilities: .*(one number for each|sum to 1)": (
        "W&B looks at nested parameters only when it draws, and raises then"
    ),
    r"early_terminate\.(s|max_iter) = .*whole number of at least 1": "W&B's hyperband raises on it",
    r"no iteration is left": "W&B's hyperband raises on it, or compares nothing",
    r"takes exponents of e, at most": "e to such a power is infinite (usually values were meant)",
    r"needs a number$|must be a number": "infinity and NaN are numbers to the schema",
    r"is not a finite number|more than 64 bits|quote it$": "it cannot be handed to a run as JSON",
    r"must lie within|must be a number above 0, at least": "quotients of such numbers overflow",
    r"run_cap = .*whole number of at least 1$": "more than 64 bits",
    r"local controllers are not supported": "a feature of W&B's client that this server has not",
    r"^metric needs a name": "an empty name is the name of no metric",
}


def as_the_schema_writes_it(value: Any, key: str = "") -> Any:
    """What we take though the schema refuses it, in the form that the schema takes.

    YAML 1.1 reads 1e-5 as text (check says so in a note), and the documented default `false` of
    impute_while_running as a boolean.
    """
    if isinstance(value, dict):
        return {name: as_the_schema_writes_it(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [as_the_schema_writes_it(item) for item in value]
    if key == "impute_while_running" and value is False:
        return "false"
    is_numeric = key in ("min", "max", "mu", "sigma", "a", "b", "q", "target", "eta")
    return 1e-5 if is_numeric and value == "1e-5" else value


def faults_of_schema(config: dict[str, Any]) -> list[str]:
    """The schema's faults, and those of the program it is shipped with (`sweeps/config/cfg.py`)."""
    faults = [error.message for error in VALIDATOR.iter_errors(config)]
    method, scheduler = config.get("method"), config.get("scheduler")
    has_space = isinstance(scheduler, dict) and bool(scheduler.get("search_space"))
    if "parameters" not in config and not has_space:
        faults.append("parameters is required unless scheduler.search_space is set")
    if "metric" in config and "metrics" in config:
        faults.append("metric and metrics cannot both be set")
    elif "metrics" in config and method is not None and method != "custom":
        faults.append("metrics requires method: custom")
    if scheduler is not None:
        controller = config.get("controller")
        if isinstance(controller, dict) and controller.get("type") == "local":
            faults.append("controller local cannot be used together with scheduler")
        if "early_terminate" in config:
            faults.append("early_terminate cannot be used together with scheduler")
        engine = scheduler.get("engine") if isinstance(scheduler, dict) else None
        engines = {"wandb": ("grid", "bayes", "random"), "optuna": ("custom",), "ax": ("custom",)}
        if isinstance(scheduler, dict) and method not in engines.get(str(engine), ()):
            faults.append("scheduler.engine does not support the method")
    parameters = config.get("parameters")
    for spec in parameters.values() if isinstance(parameters, dict) else ():
        if isinstance(spec, dict):
            faults += _faults_beyond_schema(spec)
    return faults


def _faults_beyond_schema(spec: dict[str, Any]) -> list[str]:
    """validate_min_max and validate_categorical_prob of `sweeps/config/schema.py`."""
    low, high = spec.get("min"), spec.get("max")
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        return ["min is not less than max"]
    values, shares = spec.get("values"), spec.get("probabilities")
    if isinstance(values, list) and isinstance(shares, list):
        if len(values) != len(shares):
            return ["values and probabilities are not the same length"]
        numbers = [share for share in shares if isinstance(share, int | float)]
        if len(numbers) == len(shares) and not math.isclose(sum(numbers), 1, rel_tol=1e-5):
            return ["probabilities do not sum to 1"]
    return []


def our_faults(config: dict[str, Any]) -> tuple[str, ...]:
    try:
        sweep_config.parse(yaml.safe_dump(config))
    except ConfigError as error:
        return error.problems
    return ()


def reason(message: str) -> str | None:
    return next((why for pattern, why in STRICTER.items() if re.search(pattern, message)), None)


def test_two_thousand_made_configs_get_the_schemas_verdict_or_have_a_reason() -> None:
    verdicts: Counter[str] = Counter()
    used: Counter[str] = Counter()
    for number in range(COUNT):
        config = made_sweep(random.Random(number))
        ours, theirs = our_faults(config), faults_of_schema(config)
        if bool(ours) == bool(theirs):
            verdicts["both refuse" if ours else "both take"] += 1
            continue
        if not ours:
            assert faults_of_schema(as_the_schema_writes_it(config)) == [], (number, config)
            verdicts["only we take"] += 1
            continue
        reasons = [reason(text) for text in ours]
        assert None not in reasons, (number, ours, config)
        verdicts["only we refuse"] += 1
        used.update(str(why) for why in reasons)
    print(dict(verdicts), dict(used))
    assert verdicts["both take"] > COUNT / 5
    assert verdicts["both refuse"] > COUNT / 5


@pytest.mark.parametrize("key", sorted(SCHEMA["properties"]))
def test_every_top_level_key_of_the_schema_is_known(key: str) -> None:
    assert key in sweep_config.KEYS


def test_every_distribution_of_the_schema_is_read_with_its_defaults() -> None:
    needed = {"min": 1, "max": 2, "value": 3, "values": [1, 2], "probabilities": [0.5, 0.5]}
    for name, definition in SCHEMA["definitions"].items():
        forms = definition.get("anyOf", [definition])
        for form in forms if name.startswith("param_") and name != "param_dict" else ():
            distribution = form["properties"]["distribution"]["enum"][0]
            spec = {key: needed[key] for key in form["required"] if key in needed}
            spec["distribution"] = distribution
            assert our_faults({"method": "random", "parameters": {"x": spec}}) == (), spec
