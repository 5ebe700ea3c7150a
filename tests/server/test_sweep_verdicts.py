"""One reader of sweep YAMLs: `check` and the server say the same of every YAML there is."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.config import sweep_config, sweep_yaml
from agent.config.run_config import RunConfig
from agent.config.search_space import grid_size
from agent.config.values import value_key
from agent.errors import ConfigError
from tests.config.test_sweep_faults import FAULTS
from tests.server.server_lab import Lab

ROOT = Path(__file__).resolve().parents[2]
MOST_POINTS = 64  # of a grid, handed out by the server
STUDY = """
program: train.py
method: random
metric: {name: validation/f1_score, goal: maximize}
parameters:
  model_variant: {value: QLoRA}
  quantization_strategy: {values: [int4, int8]}
  dataset: {value: some/hub-set}
  learning_rate: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-3}
"""
RATE = "{distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-3}"


def changed(**parts: str) -> str:
    """The study with another learning rate, method or lines."""
    text = STUDY.replace(RATE, parts.get("rate", RATE))
    text = text.replace("method: random", f"method: {parts.get('method', 'random')}")
    return text + parts.get("more", "")


# The inputs that two readers once judged differently, and whether they are valid.
ONCE_DIFFERENT = {
    changed(rate="{distribution: log_unifrom, min: 1.0e-5, max: 1.0e-3}"): False,
    changed(more="early_terminate: median\n"): False,
    changed(more="run_cap: 0\n"): False,
    changed(rate="0.001"): False,
    changed(rate="{min: 1e-5, max: 1e-3}"): True,
    changed(rate="{min: 0.001, max: 0.0001}"): False,
    changed(rate="{values: [0.001, 0.01], probabilities: [0.6, 0.5]}"): False,
    changed(more="command: python train.py\n"): False,
    changed(more="earley_terminate: {type: hyperband, min_iter: 1}\n"): False,
    changed(rate="{distribution: beta, a: 2, b: 5}"): True,
    changed(rate="{distribution: beta}"): True,
    changed(rate="{value: 0.001}", more="  seed: {min: 0, max: 2}\n", method="grid"): True,
    changed(
        rate="{value: 0.001}",
        more="  seed: {distribution: int_uniform, min: 1.0, max: 4.0}\n",
        method="grid",
    ): True,
    changed(rate="{values: [2e-4, 0.0002, 2.0e-4]}", method="grid"): True,
    changed(more="early_terminate: {type: hyperband, min_iter: 1, max_iter: 9}\n"): True,
    changed(method="gird"): False,
}


def sweeps_in_tests() -> Iterator[str]:
    """Every text within the test suite that is meant as a sweep."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and "method:" in text and "parameters" in text:
                yield text


TEXTS = sorted(
    {
        *ONCE_DIFFERENT,
        *FAULTS,
        *sweeps_in_tests(),
        *(path.read_text() for path in ROOT.glob("sweeps/**/*.yaml")),
    }
)


def server_refuses(lab: Lab, text: str) -> str | None:
    answer = lab.executor.run(
        "mutation M($i: UpsertSweepInput!) {upsertSweep(input: $i) {sweep {id}}}",
        {"i": {"config": text, "projectName": "p", "entityName": "local"}},
        None,
        "local",
        "http://127.0.0.1:1",
    )
    return str(answer["errors"][0]["message"]) if "errors" in answer else None


def faults_of_check(path: Path) -> list[str]:
    """What `check` says of the sweep itself, without what it says of the study's own values."""
    said = sweep_yaml.check(path, files=False)[1]
    try:
        sweep_config.parse(path.read_text())
    except ConfigError as error:
        return [problem for problem in error.problems if problem in said]
    return []


def test_check_and_server_name_the_same_faults_of_every_yaml(lab: Lab, tmp_path: Path) -> None:
    assert len(TEXTS) > 100
    path = tmp_path / "sweep.yaml"
    for text in filter(None, TEXTS):  # to the server, no text is no config at all
        path.write_text(text)
        faults, said = faults_of_check(path), server_refuses(lab, text)
        assert (said is None) == (not faults), text
        for fault in faults:
            assert fault in str(said)


@pytest.mark.parametrize("text", ONCE_DIFFERENT, ids=lambda text: text[-70:])
def test_what_was_judged_differently_once_has_one_verdict(
    lab: Lab, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    assert (sweep_yaml.check(path, files=False)[1] == []) == ONCE_DIFFERENT[text]
    assert (server_refuses(lab, text) is None) == ONCE_DIFFERENT[text]
    # The client reads the file and writes it anew, its keys sorted.
    if ONCE_DIFFERENT[text]:
        assert server_refuses(lab, yaml.dump(yaml.safe_load(text))) is None


def test_check_and_server_have_the_same_points_in_the_same_order(lab: Lab) -> None:
    grids = 0
    for text in TEXTS:
        try:
            config = sweep_config.parse(text)
        except ConfigError:
            continue
        if config.method != "grid" or config.has_scheduler or grid_size(config.space) > MOST_POINTS:
            continue
        sent = yaml.dump(yaml.safe_load(text))
        sweep = lab.make_sweep(sent, project=f"grid-{grids}")
        agent = lab.make_agent(sweep, project=f"grid-{grids}")
        wanted = list(sweep_yaml.grid_points(yaml.safe_load(text)))
        if config.run_cap is not None:
            wanted = wanted[: config.run_cap]
        given = []
        for _ in wanted:
            (command,) = lab.beat(agent)
            given.append({key: entry["value"] for key, entry in command["args"].items()})
            with lab.services.database.write() as connection:
                connection.execute("UPDATE point SET status = 'done' WHERE status = 'claimed'")
        assert list(map(value_key, given)) == list(map(value_key, wanted)), text
        assert lab.beat(agent) == [{"type": "exit"}]
        grids += 1
    assert grids >= 10


def test_points_of_a_shipped_sweep_are_configs_whichever_way_they_come(lab: Lab) -> None:
    for path in sorted(ROOT.glob("sweeps/**/*.yaml")):
        sweep = sweep_yaml.load(path)
        for point in sweep_yaml.grid_points(sweep):
            travelled = json.loads(json.dumps(point))
            assert RunConfig.violations(travelled)[1] == RunConfig.violations(point)[1]
