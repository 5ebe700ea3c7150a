"""Who runs which point, over crashes, preemption, loss, deletion and a person's stop."""

import threading
from collections import Counter
from typing import Any

from agent.server.store.claims import end_silent
from tests.server.server_lab import GRID, Lab


def upkeep(lab: Lab) -> None:
    with lab.services.database.write() as connection:
        end_silent(connection, lab.now, lab.policy)


def test_a_grid_is_handed_out_once_with_the_learning_rate_varying_fastest(lab: Lab) -> None:
    sweep = lab.make_sweep()
    agent = lab.make_agent(sweep)
    seen = []
    for _ in range(6):
        (command,) = lab.beat(agent)
        seen.append(
            (command["args"]["variant"]["value"], command["args"]["learning_rate"]["value"])
        )
        lab.init(command["run_id"])
        lab.finish(command["run_id"])
    assert seen == [(v, rate) for v in "ab" for rate in (0.1, 0.2, 0.3)]
    assert lab.beat(agent) == [{"type": "exit"}]
    assert lab.sweep_state(sweep) == "FINISHED"


def test_an_idle_agent_leaves_when_others_that_are_heard_hold_every_point(lab: Lab) -> None:
    sweep = lab.make_sweep("method: grid\nparameters: {x: {value: 1}}")
    busy, idle = lab.make_agent(sweep), lab.make_agent(sweep)
    run = lab.claim(busy)
    assert lab.beat(idle) == [{"type": "exit"}]
    assert lab.sweep_state(sweep) == "RUNNING"
    lab.init(run)
    lab.beat(busy, run)
    lab.finish(run, exit_code=75, preempting=True)
    assert lab.claim(busy) == run  # its own agent, which lives, goes on with it


def test_an_idle_agent_waits_for_the_point_of_an_agent_that_fell_silent(lab: Lab) -> None:
    sweep = lab.make_sweep("method: grid\nparameters: {x: {value: 1}}")
    silent = lab.make_agent(sweep)
    run = lab.claim(silent)
    lab.now += 31
    idle = lab.make_agent(sweep)
    assert lab.beat(idle) == []
    lab.now += 300
    upkeep(lab)
    assert lab.claim(idle) == run


def test_a_lost_answer_is_repeated_with_the_same_run(lab: Lab) -> None:
    agent = lab.make_agent(lab.make_sweep())
    assert lab.claim(agent) == lab.claim(agent)


def test_a_crashed_run_is_handed_out_again_under_its_id_up_to_the_stated_attempts(
    lab: Lab,
) -> None:
    agent = lab.make_agent(lab.make_sweep())
    first = lab.claim(agent)
    for attempt in range(3):
        if attempt:
            assert lab.claim(agent) == first
        lab.init(first)
        lab.beat(agent, first)
        lab.now += 5
        assert lab.beat(agent) != []  # it settles; meanwhile the agent gets another point
        other = next(r for r in points(lab) if r["status"] == "claimed" and r["run_name"] != first)
        lab.init(other["run_name"])
        lab.finish(other["run_name"])
        lab.now += 60
        lab.beat(agent, "unknown")
        assert lab.run(first)["state"] == "crashed"
    assert next(r for r in points(lab) if r["run_name"] == first)["status"] == "done"


def points(lab: Lab) -> list[Any]:
    with lab.services.database.read() as connection:
        return connection.execute("SELECT * FROM point ORDER BY id").fetchall()


def test_a_run_lost_before_init_is_handed_out_again_at_once(lab: Lab) -> None:
    agent = lab.make_agent(lab.make_sweep())
    first = lab.claim(agent)
    lab.beat(agent, first)
    assert lab.claim(agent) == first
    assert lab.claim(agent) == first
    assert lab.claim(agent) != first  # three attempts are over
    assert lab.run(first)["state"] == "crashed"


def test_a_preempted_run_is_handed_out_again_and_costs_no_attempt(lab: Lab) -> None:
    agent = lab.make_agent(lab.make_sweep())
    first = lab.claim(agent)
    for _ in range(5):
        lab.init(first)
        lab.post(first, {"preempting": True})
        lab.finish(first, exit_code=1)
        assert lab.run(first)["state"] == "preempted"
        assert lab.claim(agent) == first


def test_the_point_of_an_agent_that_leaves_before_its_run_begins_is_free_and_costs_no_attempt(
    lab: Lab,
) -> None:
    sweep = lab.make_sweep("method: grid\nparameters: {x: {value: 1}}")
    runs = set()
    for _ in range(5):
        agent = lab.make_agent(sweep)
        runs.add(lab.claim(agent))
        lab.leave(agent)
        assert lab.run(*runs)["state"] == "preempted"
    (point,) = points(lab)
    assert (point["status"], point["attempts"]) == ("open", 0)
    assert {lab.claim(lab.make_agent(sweep))} == runs


def test_an_agent_that_leaves_changes_nothing_of_a_run_that_has_begun(lab: Lab) -> None:
    agent = lab.make_agent(lab.make_sweep())
    begun = lab.claim(agent)
    lab.init(begun)
    lab.leave(agent)
    assert lab.run(begun)["state"] == "running"
    assert next(r for r in points(lab) if r["run_name"] == begun)["status"] == "claimed"


def test_a_failed_run_is_not_handed_out_again(lab: Lab) -> None:
    agent = lab.make_agent(lab.make_sweep())
    first = lab.claim(agent)
    lab.init(first)
    lab.finish(first, exit_code=1)
    assert lab.run(first, "state exitcode")["exitcode"] == 1
    assert lab.claim(agent) != first


def test_a_deleted_run_is_handed_out_again_even_in_a_finished_sweep(lab: Lab) -> None:
    sweep = lab.make_sweep("method: grid\nparameters: {x: {value: 1}}")
    agent = lab.make_agent(sweep)
    run = lab.claim(agent)
    lab.init(run)
    lab.finish(run)
    assert lab.sweep_state(sweep) == "FINISHED"
    lab.delete_run(run)
    assert lab.sweep_state(sweep) == "RUNNING"
    assert lab.claim(lab.make_agent(sweep)) == run


def test_a_run_that_a_person_stopped_is_killed_and_not_handed_out_again(lab: Lab) -> None:
    agent = lab.make_agent(lab.make_sweep())
    run = lab.claim(agent)
    lab.init(run)
    lab.change("stopRun", "success", id=lab.run(run)["id"])
    assert lab.beat(agent, run) == [{"type": "stop", "run_id": run}]
    lab.beat(agent)
    lab.now += 30
    lab.beat(agent, "unknown")
    assert lab.run(run)["state"] == "killed"
    assert run not in {lab.claim(agent) for _ in range(1)}


def test_silence_makes_a_run_crashed_and_its_point_free(lab: Lab) -> None:
    sweep = lab.make_sweep()
    run = lab.claim(lab.make_agent(sweep))
    lab.init(run)
    lab.now += 299
    upkeep(lab)
    assert lab.run(run)["state"] == "running"
    lab.now += 2
    upkeep(lab)
    assert lab.run(run)["state"] == "crashed"
    assert lab.claim(lab.make_agent(sweep)) == run


def test_a_run_keeps_its_point_while_it_speaks_though_its_agent_is_gone(lab: Lab) -> None:
    sweep = lab.make_sweep()
    run = lab.claim(lab.make_agent(sweep))
    lab.init(run)
    for _ in range(10):
        lab.now += 200
        lab.post(run, {})
        upkeep(lab)
    assert lab.run(run)["state"] == "running"
    assert lab.claim(lab.make_agent(sweep)) != run


def test_a_run_that_meanwhile_belongs_to_another_agent_is_stopped(lab: Lab) -> None:
    sweep = lab.make_sweep()
    silent, other = lab.make_agent(sweep), lab.make_agent(sweep)
    run = lab.claim(silent)
    lab.now += 301
    upkeep(lab)
    assert lab.claim(other) == run
    assert lab.beat(silent, run) == [{"type": "stop", "run_id": run}]


def test_an_agent_that_comes_back_keeps_its_run_if_no_other_took_it(lab: Lab) -> None:
    sweep = lab.make_sweep()
    agent = lab.make_agent(sweep)
    run = lab.claim(agent)
    lab.init(run)
    lab.now += 400
    upkeep(lab)
    assert lab.beat(agent, run) == []
    assert lab.claim(lab.make_agent(sweep)) != run


def test_pause_idles_agents_and_cancel_stops_them(lab: Lab) -> None:
    sweep = lab.make_sweep()
    agent, other = lab.make_agent(sweep), lab.make_agent(sweep)
    run = lab.claim(agent)
    lab.init(run)
    lab.set_sweep(sweep, state="PAUSED")
    assert lab.beat(other) == []
    assert lab.beat(agent, run) == []
    lab.set_sweep(sweep, state="CANCELED")
    assert lab.beat(agent, run) == [{"type": "stop", "run_id": run}]
    assert lab.beat(other) == [{"type": "exit"}]


def test_a_stopped_sweep_lets_its_runs_end(lab: Lab) -> None:
    sweep = lab.make_sweep()
    agent = lab.make_agent(sweep)
    run = lab.claim(agent)
    lab.init(run)
    lab.set_sweep(sweep, state="FINISHED")
    assert lab.beat(agent, run) == []
    lab.finish(run)
    assert lab.beat(agent) == [{"type": "exit"}]


def test_the_run_cap_ends_random_sweeps(lab: Lab) -> None:
    sweep = lab.make_sweep("method: random\nrun_cap: 2\nparameters: {x: {min: 0.0, max: 1.0}}")
    agent = lab.make_agent(sweep)
    values = set()
    for _ in range(2):
        (command,) = lab.beat(agent)
        values.add(command["args"]["x"]["value"])
        lab.init(command["run_id"])
        lab.finish(command["run_id"])
    assert len(values) == 2
    assert lab.beat(agent) == [{"type": "exit"}]
    assert lab.sweep_state(sweep) == "FINISHED"


def test_sixteen_agents_make_a_thousand_claims_without_duplicates_or_losses(lab: Lab) -> None:
    values = list(range(1000))
    sweep = lab.make_sweep(f"method: grid\nparameters: {{x: {{values: {values}}}}}")
    claimed: Counter[int] = Counter()
    lock = threading.Lock()

    def work() -> None:
        agent = lab.make_agent(sweep)
        while True:
            commands = lab.beat(agent)
            if not commands:
                continue
            if commands[0]["type"] == "exit":
                return
            run = commands[0]["run_id"]
            with lock:
                claimed[commands[0]["args"]["x"]["value"]] += 1
            lab.init(run)
            lab.change("upsertBucket", "inserted", name=run, modelName="p", summaryMetrics="{}")
            with lab.services.database.write() as connection:
                connection.execute("UPDATE run SET state = 'finished' WHERE name = ?", (run,))

    agents = [threading.Thread(target=work) for _ in range(16)]
    for thread in agents:
        thread.start()
    for thread in agents:
        thread.join()
    assert claimed == Counter(values)
    assert lab.sweep_state(sweep) == "FINISHED"


def test_hyperband_stops_the_run_that_falls_behind(lab: Lab) -> None:
    config = GRID + "early_terminate: {type: hyperband, min_iter: 2}\n"
    sweep = lab.make_sweep(config)
    good, bad = lab.make_agent(sweep), lab.make_agent(sweep)
    runs = lab.claim(good), lab.claim(bad)
    for run, loss in zip(runs, (1.0, 9.0), strict=True):
        lab.init(run)
        lab.log(run, 0, [{"_step": i, "loss": loss - i / 10} for i in range(3)])
    assert lab.beat(good, runs[0]) == []
    assert lab.beat(bad, runs[1]) == [{"type": "stop", "run_id": runs[1]}]
    assert lab.run(runs[1], "shouldStop")["shouldStop"] is True


def test_bayes_proposals_know_the_runs_so_far_and_nest_their_parameters(lab: Lab) -> None:
    sweep = lab.make_sweep(
        "method: bayes\nrun_cap: 14\nmetric: {name: val/loss}\n"
        "parameters: {opt: {parameters: {x: {min: 0.0, max: 1.0}}}, fixed: {value: 7}}"
    )
    agent = lab.make_agent(sweep)
    values = []
    for _ in range(14):
        (command,) = lab.beat(agent)
        assert command["args"]["fixed"] == {"value": 7}
        x = command["args"]["opt"]["value"]["x"]
        values.append(x)
        lab.init(command["run_id"])
        summary = {"wandb-summary.json": {"offset": 0, "content": [f'{{"val/loss": {x}}}']}}
        lab.finish(command["run_id"], files=summary)
    assert len(set(values)) == 14
    assert lab.beat(agent) == [{"type": "exit"}]
    found = lab.ask(f'{{project(name: "p") {{sweep(sweepName: "{sweep["name"]}") {{bestLoss}}}}}}')
    assert found["project"]["sweep"]["bestLoss"] == min(values)


def test_prior_runs_cover_their_grid_points(lab: Lab) -> None:
    with_config = '{"learning_rate": {"value": 0.1}, "variant": {"value": "a"}}'
    lab.init("before", config=with_config)
    filters = '{"$or": [{"name": "before"}]}'
    agent = lab.make_agent(lab.make_sweep(priorRunsFilters=filters))
    (command,) = lab.beat(agent)
    assert command["args"]["learning_rate"]["value"] == 0.2
