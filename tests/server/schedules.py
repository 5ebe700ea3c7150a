"""Random schedules of what happens to a server, against a model of what each key must see.

Two entities use the same names of projects and runs. Every line and file holds the entity and the
life of the run that it belongs to, so that anything shown to the wrong reader, or for the wrong
run, is found in the answer's text. What outlives a row (ids, signed addresses, agents) is kept and
used again later.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.server.app import _tidy
from agent.server.backups import copy_into
from agent.server.store.claims import Policy
from agent.server.store.database import leave_gap
from agent.server.store.pauses import AttentiveClock
from tests.server.schedule_model import VIEW, Agent, Life, Model, OtherServer, runs_in
from tests.server.server_lab import KEY, OTHER_KEY, Lab, mutation

KEYS = {"local": KEY, "others": OTHER_KEY}
NAMES = ("a", "b", "c")
GRID = "{program: t.py, method: grid, parameters: {x: {values: [1, 2, 3, 4]}}}"
POLICY = Policy(lease_s=300, silence_s=300, settle_s=10, max_attempts=5)
UPSERT = mutation("upsertBucket", "bucket {id name} inserted")
FILES = mutation("createRunFiles", "files {uploadUrl}")
BEAT = mutation("agentHeartbeat", "commands")
DELETE = "mutation M($id: ID!) {deleteRun(input: {id: $id}) {clientMutationId}}"


class World:
    """A server with its clocks, another one to sync to, and the model of both."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.chance = root, random.Random(seed)
        self.wall, self.lived, self.numbers = 1_000_000.0, 50.0, 0
        self.model, self.saved = Model(), Model()
        self.places = 0
        self.done: Counter[str] = Counter()
        self.stale: list[Life] = []  # deleted, or lost by a restore
        self.lost_agents: list[str] = []
        self.data = root / "data0"
        self.data.mkdir(mode=0o700)
        self.lab = self._open()
        self.there = OtherServer(root / "there", POLICY)
        copy_into(self.data, root / "copy")

    # ------------------------------------------------------------------ the server
    def _open(self) -> Lab:
        has_lived = (self.data / "server.db").exists()
        clock = AttentiveClock(lambda: self.wall, lambda: self.lived)
        lab = Lab(self.data, POLICY, has_keys=has_lived)
        lab.services.clock = clock
        with lab.services.database.write() as connection:
            leave_gap(connection)  # as `serve` does at every start
        return lab

    def _move_to(self, copy: Callable[[Path], object]) -> None:
        """Go on from a copy of the files as they are now; the server before says nothing more."""
        self.places += 1
        target = self.root / f"data{self.places}"
        copy(target)
        before, self.data = self.lab, target
        before.close()
        self.lab = self._open()

    def kill(self) -> None:
        """-9, half of the time in the middle of a change that got no answer."""
        if self.chance.random() < 0.5:
            self._move_to(lambda target: shutil.copytree(self.data, target))
            return

        class Killed(Exception):
            pass

        def copy(target: Path) -> None:
            try:
                with self.lab.services.database.write() as connection:
                    connection.execute("DELETE FROM run")
                    shutil.copytree(self.data, target)
                    raise Killed
            except Killed:
                pass

        self._move_to(copy)

    def snapshot(self) -> None:
        copy_into(self.data, self.root / "copy")
        self.saved = deepcopy(self.model)

    def restore(self) -> None:
        """Back to the last snapshot: what was newer is lost, and its ids and addresses are dead."""
        self._move_to(lambda target: shutil.copytree(self.root / "copy", target))
        kept = {life.number for life in self.saved.runs.values()}
        self.stale += [life for life in self.model.runs.values() if life.number not in kept]
        self.stale = [life for life in self.stale if life.number not in kept]
        known = {agent.id for agent in self.saved.agents}
        self.lost_agents += [a.id for a in self.model.agents if a.id not in known]
        self.model = deepcopy(self.saved)
        self.model.agents.clear()  # clients whose server went back in time are started anew
        self._silence()

    # ------------------------------------------------------------------ requests
    def ask(self, entity: str, document: str, **variables: Any) -> Any:
        body = {"query": document, "variables": variables}
        answer = self.lab.http.post("/graphql", json=body, auth=("api", KEYS[entity]))
        assert answer.status_code == 200, answer.text
        other = "others" if entity == "local" else "local"
        assert f"of {other} " not in answer.text, "shown to another entity"
        found = answer.json()
        assert not found.get("errors"), found
        return found["data"]

    def stream(self, entity: str, name: str, part: dict[str, Any]) -> int:
        path = f"/files/{entity}/p/{name}/file_stream"
        return int(self.lab.http.post(path, json=part, auth=("api", KEYS[entity])).status_code)

    def init(self, entity: str, name: str) -> Life:
        made = self.ask(entity, UPSERT, i={"name": name, "modelName": "p", "host": "h"})
        self.numbers += 1
        life = Life(self.numbers, entity, name, made["upsertBucket"]["bucket"]["id"])
        spec = {"entityName": entity, "projectName": "p", "runName": name, "files": ["f.txt"]}
        url = self.ask(entity, FILES, i=spec)["createRunFiles"]["files"][0]["uploadUrl"]
        life.upload = urlsplit(url).path
        self.model.runs[entity, name] = life
        return life

    def _pick(self) -> Life | None:
        lives = sorted(self.model.runs.values(), key=lambda life: life.number)
        return self.chance.choice(lives) if lives else None

    # ------------------------------------------------------------------ what happens
    def create(self) -> None:
        entity, name = self.chance.choice(sorted(KEYS)), self.chance.choice(NAMES)
        if (entity, name) not in self.model.runs:
            self.init(entity, name)
        self.log()

    def log(self) -> None:
        life = self._pick()
        if life is None:
            return
        values = [self.chance.randrange(10**9) for _ in range(self.chance.randrange(1, 4))]
        mark = f"of {life.entity} {life.number}"
        lines = [json.dumps({"v": value, "mark": mark}) for value in values]
        part = {"files": {"wandb-history.jsonl": {"offset": len(life.lines), "content": lines}}}
        for _ in range(self.chance.choice((1, 1, 2))):  # the client repeats what got no answer
            assert self.stream(life.entity, life.name, part) == 200
        life.lines += values

    def upload(self) -> None:
        life = self._pick()
        if life is not None:
            content = f"of {life.entity} {life.number} {self.chance.random()}"
            assert self.lab.http.put(life.upload, content=content).status_code == 200
            life.file = content

    def delete(self) -> None:
        life = self._pick()
        if life is not None:
            self.ask(life.entity, DELETE, id=life.id)
            self._forget(life)

    def _forget(self, life: Life) -> None:
        del self.model.runs[life.entity, life.name]
        self.stale.append(life)
        self.model.done.discard(life.name)  # its point is handed out again

    def intrude(self) -> None:
        """Use what outlived its row, and what belongs to another entity."""
        for old in self.stale[-6:]:
            assert self.lab.http.put(old.upload, content="intruder").status_code == 404
            self.ask(old.entity, DELETE, id=old.id)  # deleted before: nothing happens
        for lost in self.lost_agents[-3:]:
            body = {"query": BEAT, "variables": {"i": {"id": lost, "runState": "{}"}}}
            answer = self.lab.http.post("/graphql", json=body, auth=("api", KEY))
            assert answer.status_code == 404, answer.text
        life = self._pick()
        if life is None:
            return
        other = "others" if life.entity == "local" else "local"
        path = f"/files/{life.entity}/p/{life.name}"
        assert self.lab.http.get(f"{path}/f.txt", auth=("api", KEYS[other])).status_code == 404
        answer = self.lab.http.post(f"{path}/file_stream", json={}, auth=("api", KEYS[other]))
        assert answer.status_code == 404
        body = {"query": DELETE, "variables": {"id": life.id}}
        refused = self.lab.http.post("/graphql", json=body, auth=("api", KEYS[other])).json()
        assert refused["errors"][0]["message"] == "no such run"
        page = self.lab.http.get(f"/{life.entity}/p", auth=("api", KEYS[other]))
        assert page.status_code in (303, 404)

    # ------------------------------------------------------------------ sweeps and time
    def work(self) -> None:
        """An agent takes a point and starts its run, or finishes the one that it has."""
        if self.model.sweep is None:
            self.model.sweep = self.lab.make_sweep(GRID)["name"]
        if len(self.model.agents) < 2:
            made = self.lab.make_agent({"name": self.model.sweep})
            self.model.agents.append(Agent(made))
        agent = self.chance.choice(self.model.agents)
        if agent.run is not None:
            if self.chance.random() < 0.5:
                self._finish(agent)
            return
        self._claim(agent)

    def _claim(self, agent: Agent) -> bool:
        commands = self.lab.beat(agent.id)
        if not commands:
            return False
        if commands[0]["type"] == "exit":
            self.model.agents.remove(agent)
            return False
        name = commands[0]["run_id"]
        held = {other.run for other in self.model.agents}
        assert name not in held, "a live run was handed out twice"
        assert name not in self.model.done, "a finished point was handed out again"
        before = self.model.runs.pop(("local", name), None)
        life = self.init("local", name)
        if before is not None:  # the same run, which begins at step 0 again
            assert life.id == before.id
            life.number, life.file = before.number, before.file
        agent.run = name
        return True

    def _finish(self, agent: Agent) -> None:
        assert agent.run is not None
        if ("local", agent.run) in self.model.runs:
            assert self.stream("local", agent.run, {"complete": True, "exitcode": 0}) == 200
            self.model.done.add(agent.run)
        agent.run = None

    def _beat_all(self) -> None:
        for agent in self.model.agents:
            if agent.run is None:
                continue
            commands = self.lab.beat(agent.id, agent.run)
            if ("local", agent.run) in self.model.runs:
                assert commands == [], "a live run was stopped"
                assert self.stream("local", agent.run, {}) == 200

    def tick(self) -> None:
        """Some seconds in which all agents live."""
        for _ in range(self.chance.randrange(1, 6)):
            self.wall += 4
            self.lived += 4
            self.lab.services.clock()
            self._beat_all()
        _tidy(self.lab.services)

    def pause(self) -> None:
        """The server is stopped, its machine suspended, or its clock set; the others go on."""
        seconds = self.chance.choice((10, 60, 310, 600, 7200, -600, -7200))
        is_stopped = seconds > 0 and self.chance.random() < 0.5
        self.wall += seconds
        self.lived += seconds if is_stopped else 0.5
        first = [lambda: _tidy(self.lab.services), self._ask_for_work, self._beat_all]
        self.chance.shuffle(first)
        for act in first:
            act()

    def _ask_for_work(self) -> None:
        if self.model.sweep is not None and len(self.model.agents) < 3:
            agent = Agent(self.lab.make_agent({"name": self.model.sweep}))
            self.model.agents.append(agent)
            self._claim(agent)

    def _silence(self) -> None:
        """No client is heard for as long as it takes to notice."""
        for _ in range(70):
            self.wall += 10
            self.lived += 10
            self.lab.services.clock()
        _tidy(self.lab.services)

    def sync(self) -> None:
        self.there.sync(self.lab, self.data, list(self.model.runs.values()))

    # ------------------------------------------------------------------ what must hold
    def check(self) -> None:
        """Each entity sees its runs with all their lines and files, and nothing else."""
        for entity in KEYS:
            mine = {life.name: life for life in self.model.runs.values() if life.entity == entity}
            project = self.ask(entity, VIEW, e=entity)
            nodes = {node["name"]: node for node in runs_in(project)}
            waiting = set(nodes) - set(mine)  # points that are handed out, but did not start
            assert set(mine) <= set(nodes), f"lost: {set(mine) - set(nodes)}"
            assert not any(nodes[name]["history"] for name in waiting)
            for name, life in mine.items():
                rows = [json.loads(line) for line in nodes[name]["history"]]
                assert [row["v"] for row in rows] == life.lines
                assert {row["mark"] for row in rows} <= {f"of {entity} {life.number}"}
                files = [edge["node"] for edge in nodes[name]["files"]["edges"]]
                assert [file["name"] for file in files] == ["f.txt"] * (life.file is not None)
                for file in files:
                    content = self.lab.http.get(urlsplit(file["directUrl"]).path)
                    assert content.text == life.file

    def close(self) -> None:
        self.lab.close()
        self.there.lab.close()


WEIGHTS = {
    "create": 6,
    "log": 6,
    "upload": 4,
    "delete": 4,
    "intrude": 4,
    "work": 5,
    "tick": 3,
    "pause": 3,
    "sync": 3,
    "kill": 2,
    "snapshot": 2,
    "restore": 2,
}


def run_schedule(root: Path, seed: int, steps: int = 25) -> Counter[str]:
    """How often each thing happened. Raises AssertionError, with the schedule, where it failed."""
    world = World(root, seed)
    history: list[str] = []
    try:
        for _ in range(steps):
            (what,) = world.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            history.append(what)
            getattr(world, what)()
            world.check()
    except Exception as error:
        raise AssertionError(f"seed {seed}, after {' '.join(history)}: {error!r}") from error
    finally:
        world.close()
    return Counter(history)
