"""Sweep configs made at random: mostly valid, with the mistakes that people make mixed in."""

import random
from typing import Any

RANGES = (
    "uniform",
    "int_uniform",
    "q_uniform",
    "log_uniform",
    "log_uniform_values",
    "q_log_uniform",
    "q_log_uniform_values",
    "inv_log_uniform",
    "inv_log_uniform_values",
)
NORMALS = ("normal", "q_normal", "log_normal", "q_log_normal")
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    "text",
    "1e-5",
    -1,
    0,
    1,
    2,
    2.0,
    2.5,
    1e-4,
    [],
    [1],
    {},
    {"a": 1},
)


def made_sweep(rng: random.Random) -> dict[str, Any]:
    """One config, with no, one or two mistakes."""
    sweep: dict[str, Any] = {"method": rng.choice(["grid", "random", "bayes", "random"])}
    sweep["parameters"] = {
        name: _parameter(rng, sweep["method"], depth=0)
        for name in rng.sample(["x", "lr", "opt.eps", "_a", "b-c", "Z9"], rng.randint(1, 3))
    }
    if sweep["method"] == "bayes" or rng.random() < 0.4:
        sweep["metric"] = _metric(rng)
    if rng.random() < 0.25:
        sweep["early_terminate"] = _hyperband(rng)
    if rng.random() < 0.25:
        _schedule(rng, sweep)
    optional: dict[str, Any] = {
        "program": "train.py",
        "name": "n",
        "run_cap": rng.choice([1, 20, 3.0]),
        "command": ["python", "${program}"],
        "description": "d",
        "entity": "e",
        "project": "p",
        "kind": "sweep",
        "apiVersion": "v1",
        "controller": {"type": "cloud"},
        "job": "j:v0",
    }
    for key in rng.sample(sorted(optional), rng.randint(0, 4)):
        sweep[key] = optional[key]
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        _spoil(rng, sweep)
    return sweep


def _parameter(rng: random.Random, method: str, depth: int) -> dict[str, Any]:
    kinds = ["value", "values", "range"] + ["values", "value"] * (method == "grid")
    kind = rng.choice([*kinds, "weighted", "normal", "beta", "nested"])
    if kind == "nested" and depth < 2:
        names = rng.sample(["u", "v", "w"], rng.randint(1, 2))
        return {"parameters": {name: _parameter(rng, method, depth + 1) for name in names}}
    if kind == "value":
        return {"value": rng.choice([1, "a", None, [1, 2], {"k": 1}, True])}
    if kind == "weighted":
        shares = rng.choice([[0.5, 0.5], [0.1, 0.9], [1, 0], [0.3, 0.3]])
        return {"values": ["a", "b"], "probabilities": shares}
    if kind == "range":
        low, high = rng.choice(
            [(1, 4), (0.1, 0.5), (1, 2.5), (1.0, 4.0), (0, 1), (3, 1), (2, 2), (0.1, 5000)]
        )
        name = rng.choice([None, *RANGES])
        made: dict[str, Any] = {"min": low, "max": high}
        made |= {"distribution": name} if name else {}
        return made | ({"q": rng.choice([1, 0.5])} if rng.random() < 0.2 else {})
    if kind == "normal":
        made = {"distribution": rng.choice(NORMALS)}
        return made | rng.choice([{}, {"mu": 1}, {"sigma": 0}, {"mu": 0, "sigma": 2.5}])
    if kind == "beta":
        made = {"distribution": rng.choice(["beta", "q_beta"])}
        return made | rng.choice([{}, {"a": 2, "b": 5}, {"b": 0}, {"a": 1.5}])
    return {"values": rng.choice([[1, 2], ["a"], [1e-4, 0.5], [[1], [2]], [None, 1]])}


def _metric(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"name": "loss"}
    options: dict[str, Any] = {
        "goal": rng.choice(["minimize", "maximize"]),
        "target": rng.choice([1, 0.5]),
        "impute": rng.choice(["latest", "best", "worst"]),
        "impute_while_running": rng.choice(["latest", "best", "worst", "false", False]),
    }
    return made | {key: options[key] for key in rng.sample(sorted(options), rng.randint(0, 4))}


def _hyperband(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "hyperband"}
    options: dict[str, Any] = {
        "min_iter": rng.choice([1, 3, 0]),
        "max_iter": rng.choice([2, 27, 81.0]),
        "s": rng.choice([1, 2, 2.5, 3.0]),
        "eta": rng.choice([2, 3, 1.5, 1]),
        "strict": rng.choice([True, False]),
    }
    return made | {key: options[key] for key in rng.sample(sorted(options), rng.randint(1, 5))}


def _schedule(rng: random.Random, sweep: dict[str, Any]) -> None:
    sweep["scheduler"] = {"engine": rng.choice(["optuna", "ax", "wandb"])}
    if rng.random() < 0.7:
        sweep["method"] = "custom" if sweep["scheduler"]["engine"] != "wandb" else "random"
        sweep.pop("early_terminate", None)
    if rng.random() < 0.6:
        sweep["scheduler"] |= {"source": "s.py", "search_space": "space"}
        if rng.random() < 0.5:
            del sweep["parameters"]
    if sweep["method"] == "custom" and rng.random() < 0.3:
        sweep.pop("metric", None)
        sweep["metrics"] = [_metric(rng) for _ in range(rng.choice([1, 2, 2, 3]))]


def _spoil(rng: random.Random, sweep: dict[str, Any]) -> None:
    """One mistake somewhere: a key left out, misspelt or doubled, or an odd value."""
    places: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            places.append(value)
            for item in value.values():
                walk(item)

    walk(sweep)
    place = rng.choice([place for place in places if place] or [{"nothing": 0}])
    key = rng.choice(sorted(place, key=str))
    match rng.choice(["drop", "misspell", "odd", "odd", "extra"]):
        case "drop":
            del place[key]
        case "misspell":
            place[f"{key}x"] = place.pop(key)
        case "odd":
            place[key] = rng.choice(ODD)
        case "extra":
            place[rng.choice(["q", "min", "value", "distribution", "mu", "note"])] = rng.choice(ODD)
