"""`sync` after deletions: nothing is mixed, nothing comes back, everything new arrives, once."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agent.errors import ServerError
from agent.server.store.records import Project
from agent.server.sync.destination import Destination, Tally, server_mark
from agent.server.sync.ledger import Ledger
from agent.server.sync.remote import Remote
from agent.server.sync.runs import sync_project
from tests.server.server_lab import KEY, Lab


class Here(Remote):
    """The requests of `sync`, answered by a server in this process."""

    lab: Lab

    def _send(self, method: str, address: str, body: bytes, headers: dict[str, str]) -> bytes:
        path = urlsplit(address).path
        answer = self.lab.http.request(method, path, content=body, headers=headers)
        if answer.status_code >= 400:
            raise ServerError(answer.text)
        return answer.content


class Pair:
    """A server, another one, and `sync` from the first to the second."""

    def __init__(self, root: Path, source: Lab) -> None:
        self.root, self.source = root, source
        (root / "there").mkdir()
        self.target = Lab(root / "there", source.policy)
        remote = Here("http://127.0.0.1", KEY)
        object.__setattr__(remote, "lab", self.target)
        with source.services.database.read() as connection:
            mark = server_mark(connection)
        self.to = Destination(remote, "local", Ledger(root / "sync.db", "there"), mark)
        self.said: list[str] = []

    def sync(self) -> Tally:
        with self.source.services.database.read() as connection:
            row = connection.execute("SELECT * FROM project WHERE name = 'p'").fetchone()
            return sync_project(connection, self.root, self.to, Project.of(row), self.said.append)

    def lines(self, run: str) -> list[Any]:
        history = self.target.run(run, "history")["history"]
        return [json.loads(line)["loss"] for line in history]

    def names(self) -> list[str]:
        with self.target.services.database.read() as connection:
            return [row[0] for row in connection.execute("SELECT name FROM run ORDER BY name")]


@pytest.fixture
def pair(tmp_path: Path, lab: Lab) -> Iterator[Pair]:
    made = Pair(tmp_path, lab)
    yield made
    made.to.ledger.close()
    made.target.http.close()
    made.target.services.database.close()


def make(lab: Lab, run: str, losses: Sequence[float]) -> None:
    lab.init(run)
    lab.log(run, 0, [{"_step": n, "loss": loss} for n, loss in enumerate(losses)])
    lab.finish(run)


def upload(lab: Lab, run: str, name: str, content: bytes) -> None:
    assert lab.http.put(lab.upload_path(run, name), content=content).status_code == 200


def test_a_run_after_a_deletion_arrives_beside_the_one_that_was_sent_before(pair: Pair) -> None:
    make(pair.source, "old", [3, 2, 1])
    pair.sync()
    pair.source.delete_run("old")
    make(pair.source, "new", [9])
    assert pair.sync().runs == 1
    assert (pair.lines("old"), pair.lines("new")) == ([3, 2, 1], [9])
    assert pair.sync() == Tally()


def test_a_run_made_again_under_its_name_is_not_mixed_with_the_deleted_one(pair: Pair) -> None:
    """A grid point keeps its run's name when its run was deleted."""
    for losses in ([3, 2, 1], [9], [8, 7]):
        make(pair.source, "point", losses)
        upload(pair.source, "point", "notes.txt", str(losses).encode())
        pair.sync()
        assert pair.sync() == Tally()
        pair.source.delete_run("point")
    assert pair.names() == ["point", "point-2", "point-3"]
    assert [pair.lines(name) for name in pair.names()] == [[3, 2, 1], [9], [8, 7]]
    for name, losses in (("point", [3, 2, 1]), ("point-3", [8, 7])):
        found = pair.target.http.get(f"/files/local/p/{name}/notes.txt", auth=("api", KEY))
        assert found.text == str(losses)


def test_a_run_of_somebody_else_with_the_same_name_is_not_touched(pair: Pair) -> None:
    make(pair.target, "mine", [1, 2])
    make(pair.source, "mine", [7])
    pair.sync()
    assert (pair.lines("mine"), pair.lines("mine-2")) == ([1, 2], [7])


def test_a_sync_that_lost_its_memory_sends_the_same_runs_again(pair: Pair) -> None:
    make(pair.source, "a", [1])
    pair.sync()
    pair.to.ledger._connection.execute("DELETE FROM sent")
    pair.source.log("a", 1, [{"_step": 1, "loss": 2}])
    pair.sync()
    assert pair.names() == ["a"]
    assert pair.lines("a") == [1, 2]


def test_a_run_that_was_deleted_there_stays_deleted_and_stops_nothing(pair: Pair) -> None:
    make(pair.source, "done", [1])
    pair.source.init("live")
    pair.source.log("live", 0, [{"_step": 0, "loss": 5}])
    pair.sync()
    pair.target.delete_run("done")
    pair.target.delete_run("live")
    pair.source.log("live", 1, [{"_step": 1, "loss": 4}])
    make(pair.source, "next", [2])
    pair.sync()
    assert pair.names() == ["next"]
    assert pair.said[-2:] == [
        "p: run live was deleted there; it is not sent again",
        "p: run run-3 (next) finished",
    ]
    assert pair.sync() == Tally()


def test_a_run_there_that_took_a_deleted_runs_name_is_left_alone(pair: Pair) -> None:
    pair.source.init("live")
    pair.source.log("live", 0, [{"_step": 0, "loss": 5}])
    pair.sync()
    pair.target.delete_run("live")
    make(pair.target, "live", [77])
    pair.source.log("live", 1, [{"_step": 1, "loss": 4}])
    pair.sync()
    assert pair.lines("live") == [77]


def test_a_sweep_that_was_deleted_there_does_not_keep_its_runs_from_arriving(pair: Pair) -> None:
    sweep = pair.source.make_sweep()
    agent = pair.source.make_agent(sweep)
    first = pair.source.claim(agent)
    pair.source.init(first, sweep=sweep["name"])
    pair.source.finish(first)
    pair.sync()
    with pair.target.services.database.write() as connection:
        connection.execute("DELETE FROM sweep")
    pair.source.now += 20
    second = pair.source.claim(agent)
    pair.source.init(second, sweep=sweep["name"])
    pair.source.finish(second)
    pair.sync()
    assert pair.names() == sorted([first, second])
    assert pair.target.run(second, "sweepName")["sweepName"] is None
    assert f"p: sweep {sweep['name']} was deleted there; its runs go without one" in pair.said
    assert pair.sync() == Tally()


def test_a_sweep_that_was_deleted_here_stays_there(pair: Pair) -> None:
    sweep = pair.source.make_sweep()
    pair.sync()
    with pair.source.services.database.write() as connection:
        connection.execute("DELETE FROM sweep WHERE name = ?", (sweep["name"],))
    other = pair.source.make_sweep()
    assert pair.sync().sweeps == 1
    with pair.target.services.database.read() as connection:
        texts = [row[0] for row in connection.execute("SELECT description FROM sweep ORDER BY id")]
    assert [sweep["name"] in texts[0], other["name"] in texts[1]] == [True, True]
