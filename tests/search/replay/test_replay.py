"""Replay: the simulation, the baselines, the oracle's known figures, and the command."""

import argparse
import gzip
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config.run_config import RunConfig
from agent.errors import ConfigError, DataError, SweepAgentError
from agent.programs.replay import add_replay_arguments, run_replay
from agent.search.example_scores import HISTORY_KEY, ExampleScores
from agent.search.replay import curves
from agent.search.replay.curve_sources import from_runs, from_storage
from agent.search.replay.curves import Curve, Stratum
from agent.search.replay.policies import NAMES, policy
from agent.search.replay.replay import Row, bootstrap_interval, dominated_by, replay, run_cases
from agent.search.replay.simulation import chosen_run
from agent.search.storages import open_storage
from agent.search.trials import open_trial
from tests.search.made_curves import made_stratum, rate_of


def stratum_of(*means: Sequence[float], examples: int = 50) -> Stratum:
    """Curves with given means, whose examples differ from each other but not between runs."""
    spread = np.linspace(-0.1, 0.1, examples)
    made = [
        Curve(f"p{i}", f"t{i}", np.array([m + spread for m in curve]) + 1e-3 * i * spread)
        for i, curve in enumerate(means)
    ]
    return Stratum("s", tuple(made))


# ---------------------------------------------------------------------- what the policies do
def test_no_pruning_trains_everything_and_finds_the_winner() -> None:
    stratum = stratum_of([0.1, 0.5], [0.2, 0.6], [0.3, 0.4])
    trained = policy("none", warmup=1)(stratum, [0, 1, 2], 2)
    assert trained == [2, 2, 2]
    assert chosen_run(stratum, trained) == stratum.winner == 1


@pytest.mark.parametrize(
    ("workers", "warmup", "factor"),
    [
        *((1, 1, 2.42), (1, 2, 2.05), (1, 3, 1.79), (4, 1, 4.33), (4, 2, 2.97), (4, 3, 2.26)),
        *((8, 1, 4.50), (8, 2, 3.13), (8, 3, 2.40)),
    ],
)
def test_the_oracle_saves_what_is_known_for_eight_rates_and_nine_rungs(
    workers: int, warmup: int, factor: float
) -> None:
    stratum = stratum_of(*([0.1 * (i + 1)] * 9 for i in range(8)))
    cases = run_cases([stratum], policy("oracle", warmup=warmup), workers, 1500, 0)
    assert 72 / cases.rungs.mean() == pytest.approx(factor, rel=0.02)
    assert cases.regret.max() == 0.0


def test_eight_in_lock_step_prune_under_ours_and_not_under_optunas_median() -> None:
    stratum = stratum_of(*([0.1 * (i + 1)] * 9 for i in range(8)))
    order = list(range(8))
    assert policy("paired", warmup=1)(stratum, order, 8) == [2] * 7 + [9]
    assert policy("paired", warmup=3)(stratum, order, 8) == [3] * 7 + [9]
    assert policy("median", warmup=1)(stratum, order, 8) == [9] * 8


def test_top_k_trains_all_for_one_rung_and_the_best_to_the_end() -> None:
    stratum = stratum_of([0.1, 0.9], [0.3, 0.3], [0.2, 0.4])
    assert policy("top_1", warmup=1)(stratum, [0, 1, 2], 1) == [1, 2, 1]
    assert policy("top_2", warmup=1)(stratum, [0, 1, 2], 3) == [1, 2, 2]


def test_wandbs_hyperband_keeps_the_best_third_at_its_bands() -> None:
    stratum = stratum_of(*([0.1 * (i + 1)] * 9 for i in range(6)))
    assert policy("wandb_hyperband", warmup=1)(stratum, list(range(6)), 6) == [1, 1, 1, 1, 3, 9]


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_ends_every_point_and_never_goes_past_the_budget(name: str) -> None:
    stratum = made_stratum(1, rungs=4, examples=40)
    known: dict[str, dict[str, Any]] = {"patient": {"patience": 1}, "threshold": {"lower": 0.2}}
    options = known.get(name)
    for workers in (1, 3, 8):
        trained = policy(name, warmup=1, options=options)(stratum, list(range(8)), workers)
        assert all(1 <= rungs <= 4 for rungs in trained)
        assert name == "threshold" or 4 in trained


def test_the_replayed_pruner_decides_as_the_one_in_the_runs_does(tmp_path: Path) -> None:
    stratum = made_stratum(4, rungs=5, examples=60)
    replayed = policy("paired", warmup=1)(stratum, list(range(8)), 8)
    trained = [0] * 8
    with ExitStack() as stack:
        trials = [
            stack.enter_context(
                open_trial(
                    _config(rate_of(curve)),
                    run_id=f"r{i}",
                    scope="s",
                    rungs=5,
                    peers=8,
                    default_journal=tmp_path / "j",
                )
            )
            for i, curve in enumerate(stratum.curves)
        ]
        going = set(range(8))
        for rung in range(1, 6):
            for i in sorted(going):
                scores = {f"e{n:03}": v for n, v in enumerate(stratum.curves[i].values[rung - 1])}
                trials[i].report(rung, scores)
                trained[i] = rung
            going = {i for i in sorted(going) if not trials[i].reconsider().prune}
    assert trained == replayed
    assert min(replayed) < max(replayed)


def test_a_replay_with_the_same_seed_is_the_same_and_an_unknown_name_is_reported() -> None:
    strata = [made_stratum(seed, rungs=4, examples=40) for seed in (1, 2)]
    names = ["paired", "hyperband"]
    first = replay(strata, names, warmup=1, workers=[1, 4], orders=2)
    assert first == replay(strata, names, warmup=1, workers=[1, 4], orders=2)
    assert [(row.policy, row.workers) for row in first] == [
        ("paired", 1),
        ("hyperband", 1),
        ("paired", 4),
        ("hyperband", 4),
    ]
    with pytest.raises(ConfigError, match="unknown pruner 'pairde'; did you mean 'paired'"):
        policy("pairde", warmup=1)


def test_a_shared_training_is_counted_once_for_its_longest_curve() -> None:
    one, two = stratum_of([0.1] * 4, [0.9] * 4), stratum_of([0.9] * 4, [0.1] * 4)
    (row,) = replay([one, two], ["paired"], warmup=1, workers=[2], orders=1)
    assert row.deployments == pytest.approx(16 / 12)
    assert row.trainings == 1.0  # each training is still needed by the other stratum


def test_near_equals_are_within_noise_and_clear_losers_are_not() -> None:
    rng = np.random.default_rng(0)
    noisy = [rng.normal(mean, 0.2, (1, 100)) for mean in (0.5, 0.52, 0.9)]
    stratum = Stratum("s", tuple(Curve(f"p{i}", f"t{i}", v) for i, v in enumerate(noisy)))
    assert stratum.winner == 2
    assert stratum.is_within_noise(2)
    assert not stratum.is_within_noise(0)
    pair = Stratum("s", stratum.curves[:2])
    assert pair.is_within_noise(0)
    assert pair.is_within_noise(1)


def test_the_bootstrap_interval_holds_the_mean_and_resamples_strata() -> None:
    values = np.array([[0.0] * 50, [1.0] * 50])
    assert bootstrap_interval(values) == (0.0, 1.0)  # many orders of two strata stay two strata
    low, high = bootstrap_interval(np.random.default_rng(0).normal(3, 1, (100, 5)))
    assert low < 3 < high < low + 0.5


def test_a_policy_dominates_when_it_saves_more_at_no_more_regret() -> None:
    def row(name: str, saved: float, regret: float, workers: int = 8) -> Row:
        return Row(name, 1, workers, 1, saved, 1, 1, 1, regret, 0, 0, 1, 0, 1, 1)

    ours = row("paired", 3.0, 0.01)
    better, worse = row("a", 3.1, 0.01), row("b", 2.9, 0.0)
    others = [row("oracle", 4.5, 0.0), row("c", 9.0, 0.0, workers=1), row("d", 3.0, 0.01)]
    assert dominated_by([ours, better, worse, *others]) == [better]


# ---------------------------------------------------------------------- files and sources
def items(count: int = 2) -> list[dict[str, Any]]:
    return [
        {
            "name": f"stratum {n}",
            "curves": [
                {"point": {"learning_rate": rate}, "scores": [[0.1, 0.2], [0.3, top]]}
                for rate, top in ((1e-3, 0.4), (1e-2, 0.9))
            ],
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("name", ["c.json", "deep/c.json.gz"])
def test_a_curves_file_is_read_back_as_it_was_written(tmp_path: Path, name: str) -> None:
    curves.save(tmp_path / name, items(), made_by="test")
    strata = curves.load(tmp_path / name)
    assert [s.name for s in strata] == ["stratum 0", "stratum 1"]
    assert strata[0].curves[1].point == "learning_rate=0.01"
    assert strata[0].curves[1].final == pytest.approx(0.6)
    before = (tmp_path / name).read_bytes()
    curves.save(tmp_path / name, items(), made_by="test")
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "its schema must be 'sweep-agent/curves-1'"),
        ('{"schema":"sweep-agent/curves-1","strata":[]}', "holds no stratum"),
        ('{"schema":"sweep-agent/curves-1","strata":[{"name":"x"}]}', "KeyError: 'curves'"),
    ],
)
def test_what_is_wrong_with_a_curves_file_is_reported(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(DataError, match=message):
        curves.load(tmp_path / "c.json")
    with pytest.raises(DataError, match=r"none\.json cannot be read: No such file"):
        curves.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[[0.1], [0.2]], [[0.1]]], "need the same rungs and examples"),
        ([[[0.1, float("nan")]], [[0.1, 0.2]]], "a score is not a number"),
        ([[0.1], [0.2]], "need the same rungs and examples"),
        ([], "has no curve"),
    ],
)
def test_curves_that_cannot_be_compared_are_refused(scores: list[Any], message: str) -> None:
    entries = [{"point": {"learning_rate": 10.0**-n}, "scores": s} for n, s in enumerate(scores)]
    with pytest.raises(DataError, match=message):
        curves.parse([{"name": "x", "curves": entries}], where="test")
    twice = [{"name": "x", "curves": items(1)[0]["curves"] * 2}]
    with pytest.raises(DataError, match="a grid point is given twice"):
        curves.parse(twice, where="test")


def _config(rate: float, **values: Any) -> RunConfig:
    given = {"model_variant": "Full LoRA", "dataset": "d.json", "learning_rate": rate, **values}
    return RunConfig.parse(given)


def _ptq(rate: float) -> RunConfig:
    return _config(rate, model_variant="LoRA+PTQ", quantization_strategy="int4", pruner="none")


def test_curves_can_be_taken_from_the_pruning_storage_of_a_sweep(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    for number, config in enumerate(
        [_config(1e-3, pruner="none"), _config(1e-2, pruner="none"), _ptq(1e-3)]
    ):
        with open_trial(
            config,
            run_id=f"r{number}",
            scope="s",
            rungs=2,
            peers=None,
            default_journal=journal,
        ) as trial:
            trial.report(1, {"a": 0.5, "b": 0.25 * number})
            trial.report(2, {"a": 0.75, "b": 0.25 * number})
    found = from_storage(open_storage(str(journal), journal))
    assert [len(item["curves"]) for item in found] == [2, 1]
    assert found[0]["curves"][0]["scores"] == [[0.5, 0.0], [0.75, 0.0]]
    full, ptq = curves.parse(found, where="journal")
    assert {c.point for c in full.curves} == {"learning_rate=0.001", "learning_rate=0.01"}
    shared = {c.training for c in full.curves} & {c.training for c in ptq.curves}
    assert len(shared) == 1  # the 16-bit training behind both deployments


class FakeRun:
    """A finished run as wandb.Api() gives it."""

    def __init__(self, number: int, config: RunConfig, rungs: int, state: str = "finished") -> None:
        self.id = f"run{number}"
        self.state = state
        self.config = {**config.model_dump(mode="json"), "_wandb": {}, "host": "n1"}
        self._rungs = rungs

    def scan_history(self, keys: list[str]) -> list[dict[str, str]]:
        text = ExampleScores.of({"a": 0.5, "b": 1.0}).encode()
        return [{HISTORY_KEY: text}] * self._rungs if keys == [HISTORY_KEY] else []


def test_curves_can_be_taken_from_the_runs_of_a_sweep() -> None:
    runs = [
        FakeRun(1, _config(1e-3), 3),
        FakeRun(2, _config(1e-2), 3),
        FakeRun(3, _config(2e-2), 1),  # pruned
        FakeRun(4, _config(5e-2), 3, state="crashed"),
    ]
    (item,) = from_runs(runs, where="me/p/s")
    assert [c["point"] for c in item["curves"]] == [
        {"learning_rate": 1e-3},
        {"learning_rate": 1e-2},
    ]
    assert item["curves"][0]["scores"] == [[0.5, 1.0]] * 3
    with pytest.raises(DataError, match="run1 of me/p/s has no validation/example_scores"):
        from_runs([FakeRun(1, _config(1e-3), 0)], where="me/p/s")


# ---------------------------------------------------------------------- the command
def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_replay_arguments(parser)
    return parser.parse_args([*words, "--jobs", "1", "--orders", "2"])


def test_the_command_prints_a_line_per_pruner_and_writes_rows_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.json.gz"
    made = [made_stratum(seed, rungs=3, examples=20) for seed in (1, 2)]
    content = [
        {
            "name": s.name,
            "curves": [
                {"point": {"learning_rate": rate_of(c)}, "scores": c.values.tolist()}
                for c in s.curves
            ],
        }
        for s in made
    ]
    curves.save(file, content, made_by="test")
    words = ["--curves", str(file), "--workers", "1,8", "--warmup", "1,2"]
    words += ["--pruners", "paired,top_1,none", "--options", '{"paired": {"level": 0.2}}']
    words += ["--picture", str(tmp_path / "p/r.png"), "--json", str(tmp_path / "p/r.json")]
    assert run_replay(arguments(*words)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 strata, 16 curves of 3 rungs\n")
    assert sum(line.startswith("paired ") for line in printed.splitlines()) == 4
    rows = json.loads((tmp_path / "p/r.json").read_text())
    assert len(rows) == 12
    assert all(row["deployments"] == 1.0 for row in rows if row["policy"] == "none")
    assert (tmp_path / "p/r.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_replays_families_and_says_what_the_rows_teach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--family", "power_law,flat", "--examples", "30", "--strata", "2", "--warmup", "1"]
    words += ["--workers", "8", "--pruners", "oracle,paired,paired_patient,top_1,none"]
    assert run_replay(arguments(*words)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("4 strata, 32 curves of 9 rungs\n")
    lessons = printed.split("price of 0.01\n")[1].splitlines()
    assert [line.split(":")[0] for line in lessons[:2]] == ["paired", "paired_patient"]
    assert "stops a good run with chance" in lessons[0]
    assert lessons[-1].startswith("least cost (warm-up 1, 8 workers): ")
    assert "oracle" not in lessons[-1]


def test_the_command_saves_what_it_read_from_a_storage(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    for rate in (1e-3, 1e-2):
        with open_trial(
            _config(rate), run_id=f"r{rate}", scope="s", rungs=1, peers=2, default_journal=journal
        ) as trial:
            trial.report(1, {"a": 0.5, "b": rate})
    words = ["--storage", str(journal), "--save", str(tmp_path / "c.json.gz")]
    assert run_replay(arguments(*words, "--pruners", "none", "--workers", "1")) == 0
    saved = json.loads(gzip.decompress((tmp_path / "c.json.gz").read_bytes()))
    assert len(saved["strata"][0]["curves"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--storage", "/nonexistent/j"], "no such journal"),
        (["--curves", "/nonexistent/c"], "cannot be read"),
        (["--curves", "x", "--pruners", "nonsense"], "unknown pruner 'nonsense'"),
        (["--family", "x", "--pruners", "none"], "unknown family 'x'"),
        (["--family", "flat", "--examples", "1"], "--examples at least 2"),
        (["--family", "flat", "--save", "y"], "--save keeps curves that were read"),
        (["--curves", "x", "--options", '{"paired": {"colour": 1}}'], "'colour' is not an option"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(words: list[str], message: str) -> None:
    with pytest.raises(SweepAgentError, match=message):
        run_replay(arguments(*words))
