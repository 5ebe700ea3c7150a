"""A server in this process, over a directory of its own and a clock that tests turn."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.testclient import TestClient

from agent.server.app import build_app, open_services
from agent.server.graphql.execution import Executor, build_schema
from agent.server.store.claims import Policy
from agent.server.store.keys import add_key

KEY = "local-" + "k" * 40
OTHER_KEY = "local-" + "o" * 40
GRID = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  learning_rate: {values: [0.1, 0.2, 0.3]}
  variant: {values: [a, b]}
"""


OWN = {"entityName": "local", "projectName": "p"}


def mutation(name: str, fields: str) -> str:
    """The document of one change, whose input is `$i`."""
    kind = f"{name[0].upper()}{name[1:]}Input"
    return f"mutation M($i: {kind}!) {{{name}(input: $i) {{{fields}}}}}"


class Lab:
    """What a client does, in one call each."""

    def __init__(self, data_dir: Path, policy: Policy, *, has_keys: bool = False) -> None:
        self.now = 1_000_000.0
        self.policy = policy
        self.services = open_services(data_dir, "http://127.0.0.1:1", policy, lambda: self.now)
        if not has_keys:
            with self.services.database.write() as connection:
                add_key(connection, KEY, "local", now=self.now)
                add_key(connection, OTHER_KEY, "others", now=self.now)
        self.app = build_app(self.services)
        self.http = TestClient(self.app, base_url="http://127.0.0.1")
        self.executor = Executor(self.services, build_schema())

    def close(self) -> None:
        self.http.close()
        self.services.database.close()

    def ask(self, document: str, entity: str = "local", **variables: Any) -> dict[str, Any]:
        """The data of an operation that must succeed."""
        answer = self.executor.run(document, variables, None, entity, "http://127.0.0.1:1")
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def refused(self, document: str, entity: str = "local", **variables: Any) -> str:
        """The first error message of an operation that must fail."""
        answer = self.executor.run(document, variables, None, entity, "http://127.0.0.1:1")
        return str(answer["errors"][0]["message"])

    def change(self, name: str, fields: str, /, **given: Any) -> dict[str, Any]:
        """What a change that must succeed gives back for its input."""
        return dict(self.ask(mutation(name, fields), i=given)[name])

    def make_sweep(self, config: str = GRID, project: str = "p", **more: Any) -> dict[str, Any]:
        given = {"config": config, "projectName": project, "entityName": "local", **more}
        return dict(self.change("upsertSweep", "sweep {id name state}", **given)["sweep"])

    def make_agent(self, sweep: dict[str, Any], project: str = "p") -> str:
        given = {"host": "h", "projectName": project, "sweep": sweep["name"]}
        return str(self.change("createAgent", "agent {id}", **given)["agent"]["id"])

    def beat(self, agent: str, *running: str) -> list[dict[str, Any]]:
        state = json.dumps(dict.fromkeys(running, True))
        found = self.change("agentHeartbeat", "commands", id=agent, runState=state)
        commands: list[dict[str, Any]] = json.loads(found["commands"])
        return commands

    def claim(self, agent: str) -> str:
        """The run id of the point that an idle agent is handed."""
        (command,) = self.beat(agent)
        assert command["type"] == "run", command
        return str(command["run_id"])

    def leave(self, agent: str) -> None:
        self.change("leaveSweep", "agent {id}", id=agent)

    def init(self, run: str, project: str = "p", **more: Any) -> dict[str, Any]:
        """`wandb.init`."""
        config = json.dumps({"_wandb": {"value": {"t": {"1": 1}}}})
        given = {"name": run, "modelName": project, "host": "h", "config": config, **more}
        fields = "inserted bucket {id name historyLineCount sweepName config}"
        return self.change("upsertBucket", fields, **given)

    def delete_run(self, run: str) -> None:
        self.change("deleteRun", "clientMutationId", id=self.run(run)["id"])

    def upload_path(self, run: str, file: str) -> str:
        """Where a file of a run may be sent to."""
        made = self.change("createRunFiles", "files {uploadUrl}", **OWN, runName=run, files=[file])
        return urlsplit(str(made["files"][0]["uploadUrl"])).path

    def post(self, run: str, part: dict[str, Any], project: str = "p") -> dict[str, Any]:
        """One part of the file stream."""
        response = self.http.post(
            f"/files/local/{project}/{run}/file_stream", json=part, auth=("api", KEY)
        )
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def log(self, run: str, offset: int, rows: list[dict[str, Any]], project: str = "p") -> None:
        lines = [json.dumps(row) for row in rows]
        part = {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}
        self.post(run, part, project)

    def summarize(self, run: str, values: dict[str, Any]) -> None:
        content = [json.dumps(values)]
        self.post(run, {"files": {"wandb-summary.json": {"offset": 0, "content": content}}})

    def finish(self, run: str, exit_code: int = 0, **more: Any) -> None:
        self.post(run, {"complete": True, "exitcode": exit_code, **more})

    def run(self, run: str, fields: str = "state", project: str = "p") -> dict[str, Any]:
        found = self.ask(
            f'{{project(name: "{project}", entityName: "local") '
            f'{{run(name: "{run}") {{id {fields}}}}}}}'
        )
        return dict(found["project"]["run"])

    def sweep_state(self, sweep: dict[str, Any]) -> str:
        found = self.ask(
            f'{{project(name: "p") {{sweep(sweepName: "{sweep["name"]}") {{state}}}}}}'
        )
        return str(found["project"]["sweep"]["state"])

    def set_sweep(self, sweep: dict[str, Any], **changes: Any) -> None:
        self.make_sweep("", id=sweep["id"], **changes)
