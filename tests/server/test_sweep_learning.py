"""What a sweep learns from its runs: best values, targets, imputed values, combinations tried."""

import json
from typing import Any

import pytest

from agent.server.store import run_metrics, streams
from agent.server.store.database import Connection
from agent.server.store.points import _past_runs
from agent.server.store.records import Run, Sweep
from agent.server.store.run_metrics import CurveCache, best_value
from agent.server.store.sweeps import config_of
from tests.server.server_lab import OWN, Lab


def summary(**values: Any) -> dict[str, Any]:
    return {"wandb-summary.json": {"offset": 0, "content": [json.dumps(values)]}}


def row_of(connection: Connection, sweep: dict[str, Any]) -> Sweep:
    return Sweep.of(
        connection.execute("SELECT * FROM sweep WHERE name = ?", (sweep["name"],)).fetchone()
    )


def best(lab: Lab, sweep: dict[str, Any]) -> float | None:
    with lab.services.database.read() as connection:
        return best_value(connection, row_of(connection, sweep))


def test_the_best_value_is_the_best_of_the_history_and_of_what_a_summary_keeps(lab: Lab) -> None:
    sweep = lab.make_sweep(
        "method: random\nmetric: {name: f1, goal: maximize}\nparameters: {x: {min: 0, max: 9}}"
    )
    agent = lab.make_agent(sweep)
    logged = lab.claim(agent)
    lab.init(logged)
    lab.log(logged, 0, [{"_step": i, "f1": v} for i, v in enumerate([0.2, 0.7, "NaN", 0.4])])
    lab.finish(logged, files=summary(f1=0.4))
    assert best(lab, sweep) == 0.7
    kept = lab.claim(agent)
    lab.init(kept)
    lab.finish(kept, files=summary(f1={"min": 0.1, "max": 10.2}))
    assert best(lab, sweep) == 10.2
    for value in (float("nan"), "11", True, {"max": "NaN"}, 10**400):
        odd = lab.claim(agent)
        lab.init(odd)
        lab.finish(odd, files=summary(f1=value))
    assert best(lab, sweep) == 10.2


@pytest.mark.parametrize(
    ("goal", "target", "values", "used"),
    [
        ("maximize", "0.9", [0.5, 0.95, 0.99], 2),
        ("minimize", "1e-1", [0.5, 0.3, 0.1, 0.05], 3),
        ("maximize", "2", [0.5, 0.95], 2),
    ],
)
def test_a_target_ends_the_sweep(
    lab: Lab, goal: str, target: str, values: list[float], used: int
) -> None:
    sweep = lab.make_sweep(
        f"method: grid\nmetric: {{name: m, goal: {goal}, target: {target}}}\n"
        f"parameters: {{x: {{values: {list(range(len(values)))}}}}}"
    )
    agent, handed = lab.make_agent(sweep), 0
    while (command := lab.beat(agent)[0])["type"] == "run":
        run = command["run_id"]
        lab.init(run)
        lab.log(run, 0, [{"_step": 0, "m": values[handed]}])
        lab.finish(run)
        handed += 1
    assert handed == used
    assert lab.sweep_state(sweep) == "FINISHED"


def test_a_target_reached_by_a_running_run_lets_it_end_and_starts_no_other(lab: Lab) -> None:
    sweep = lab.make_sweep(
        "method: grid\nmetric: {name: m, goal: maximize, target: 1}\n"
        "parameters: {x: {values: [1, 2, 3]}}"
    )
    busy, idle = lab.make_agent(sweep), lab.make_agent(sweep)
    run = lab.claim(busy)
    lab.init(run)
    lab.log(run, 0, [{"_step": 0, "m": 1.0}])
    assert lab.beat(busy, run) == []
    assert lab.sweep_state(sweep) == "FINISHED"
    assert lab.beat(idle) == [{"type": "exit"}]
    assert lab.beat(busy, run) == []
    lab.finish(run)
    assert lab.beat(busy) == [{"type": "exit"}]


SPACE = "parameters: {x: {values: [[1], [2], [3]]}, y: {min: 0, max: 1}, z: {values: [1, 1.0]}}"


def test_bayes_hands_out_every_combination_of_a_finite_space_before_one_comes_again(
    lab: Lab,
) -> None:
    sweep = lab.make_sweep(f"method: bayes\nrun_cap: 8\nmetric: {{name: m}}\n{SPACE}")
    agents = [lab.make_agent(sweep) for _ in range(3)]
    seen = []
    for number in range(6):
        (command,) = lab.beat(agents[number % 3])
        point = {key: entry["value"] for key, entry in command["args"].items()}
        seen.append((tuple(point["x"]), point["y"]))
        if number % 2:  # every second one is pending while the next is proposed
            lab.init(command["run_id"])
            lab.finish(command["run_id"], exit_code=number % 4 == 1, files=summary(m=number))
        else:
            agents[number % 3] = lab.make_agent(sweep)
    assert len(set(seen)) == 6
    assert lab.beat(lab.make_agent(sweep))[0]["type"] == "run"  # nothing new is left: once more


def test_a_failed_run_has_no_value_of_its_own_and_a_finished_one_its_best(lab: Lab) -> None:
    sweep = lab.make_sweep(
        "method: bayes\nmetric: {name: m, goal: minimize}\nparameters: {x: {min: 0.0, max: 1.0}}"
    )
    agent = lab.make_agent(sweep)
    for exit_code in (0, 1):
        run = lab.claim(agent)
        lab.init(run)
        lab.log(run, 0, [{"_step": i, "m": m} for i, m in enumerate([3.0, 1.0, 2.0])])
        lab.finish(run, exit_code=exit_code, files=summary(m=2.0))
    lab.claim(agent)
    with lab.services.database.read() as connection:
        row = row_of(connection, sweep)
        past = _past_runs(connection, row, config_of(row.config))
    assert [(run.state, run.value, run.latest) for run in past] == [
        ("finished", 1.0, 2.0),
        ("failed", 1.0, 2.0),
        ("running", None, None),
    ]


def test_bayes_learns_from_prior_runs_and_does_not_repeat_them(lab: Lab) -> None:
    for x in (1, 2):
        lab.init(f"before-{x}", config=json.dumps({"x": {"value": float(x)}}))
        lab.finish(f"before-{x}", files=summary(m=x))
    sweep = lab.make_sweep(
        "method: bayes\nmetric: {name: m}\nparameters: {x: {values: [1, 2, 3]}}",
        priorRunsFilters='{"name": {"$regex": "before"}}',
    )
    (command,) = lab.beat(lab.make_agent(sweep))
    assert command["args"]["x"]["value"] == 3


def test_points_of_a_sweep_with_a_scheduler_come_from_it_alone(lab: Lab) -> None:
    sweep = lab.make_sweep(
        "method: grid\nscheduler: {engine: wandb}\nparameters: {x: {values: [1, 2]}}"
    )
    assert lab.beat(lab.make_agent(sweep)) == []


def test_a_sweep_accepted_by_an_older_server_is_still_served(lab: Lab) -> None:
    sweep = lab.make_sweep("method: grid\nparameters: {x: {values: [1, 2]}}")
    older = "method: grid\nparameters: {x: {values: [1, 2]}}\nearley_terminate: {a: 1}\nname: 5\n"
    with lab.services.database.write() as connection:
        connection.execute("UPDATE sweep SET config = ?", (older,))
    (command,) = lab.beat(lab.make_agent(sweep))
    assert command["args"]["x"]["value"] == 1


def test_the_client_is_warned_of_what_w_and_b_would_mind(lab: Lab) -> None:
    config = "method: random\nparameters: {x: {min: 1e-5, max: 1}}"
    found = lab.change("upsertSweep", "configValidationWarnings", **OWN, config=config)
    (warning,) = found["configValidationWarnings"]
    assert "write 1.0e-5" in warning


def test_name_and_description_of_the_yaml_are_those_of_the_sweep(lab: Lab) -> None:
    sweep = lab.make_sweep(
        "name: first\ndescription: of two\nmethod: grid\nparameters: {x: {value: 1}}"
    )
    fields = f'sweep(sweepName: "{sweep["name"]}") {{displayName description}}'
    found = lab.ask(f'{{project(name: "p") {{{fields}}}}}')
    assert found["project"]["sweep"] == {"displayName": "first", "description": "of two"}


def test_curves_are_read_on_from_where_they_ended_and_anew_after_a_rewind(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = streams.numbered_lines

    def count(*arguments: Any) -> Any:
        found = real(*arguments)
        read.append(len(found))
        return found

    monkeypatch.setattr(run_metrics, "numbered_lines", count)
    cache = CurveCache()

    def curve() -> list[float]:
        read.clear()
        with lab.services.database.read() as connection:
            run = Run.of(connection.execute("SELECT * FROM run").fetchone())
            return list(cache.curve(connection, run, "loss"))

    lab.init("r")
    assert curve() == []
    lab.log("r", 0, [{"loss": 5}, {"other": 1}, {"loss": 4}])
    assert curve() == [5, 4]
    lab.log("r", 3, [{"loss": 3}])
    assert curve() == [5, 4, 3]
    assert read == [1, 1]  # the last known line, and what follows
    lab.post("r", {"files": {"output.log": {"offset": 0, "content": ["a line"]}}})
    assert curve() == [5, 4, 3]
    assert read == [1, 0]
    with lab.services.database.write() as connection:
        connection.execute("DELETE FROM stream_line WHERE number >= 2")
    lab.log("r", 2, [{"loss": 9}])
    assert curve() == [5, 9]


def test_a_sign_of_life_reads_long_curves_before_it_holds_the_database(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "{program: t, method: grid, metric: {name: loss, target: 0.1}, "
    sweep = lab.make_sweep(config + "parameters: {x: {values: [1, 2]}}}")
    agent = lab.make_agent(sweep)
    run = lab.claim(agent)
    lab.init(run, sweep=sweep["name"])
    lab.log(run, 0, [{"loss": 1 / (i + 1)} for i in range(5)])
    held: list[bool] = []
    real = run_metrics._read_on

    def look(*arguments: Any) -> Any:
        held.append(lab.services.database._turn.locked())
        return real(*arguments)

    monkeypatch.setattr(run_metrics, "_read_on", look)
    assert lab.beat(agent, run) == []
    assert held == [False]
