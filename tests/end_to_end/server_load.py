"""Simulated agents and runs: what the client sends, without the client, many times at once."""

import asyncio
import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

HEARTBEAT = (
    "mutation Heartbeat($id: ID!, $runState: JSONString) "
    "{agentHeartbeat(input: {id: $id, runState: $runState}) {agent {id} commands}}"
)
UPSERT_SWEEP = (
    "mutation UpsertSweep($config: String, $projectName: String) "
    "{upsertSweep(input: {config: $config, projectName: $projectName}) {sweep {id name}}}"
)
CREATE_AGENT = (
    "mutation CreateAgent($host: String!, $projectName: String, $sweep: String!) "
    "{createAgent(input: {host: $host, projectName: $projectName, sweep: $sweep}) {agent {id}}}"
)
UPSERT_RUN = (
    "mutation UpsertBucket($name: String, $project: String, $sweep: String, $host: String) "
    "{upsertBucket(input: {name: $name, modelName: $project, sweep: $sweep, host: $host}) "
    "{bucket {id historyLineCount} inserted}}"
)


class Lost(Exception):
    """The connection broke before the answer was whole: the client does not know what happened."""


class Peer:
    """One keep-alive connection, as each agent and each run of the client holds one."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname or "127.0.0.1", address.port or 80
        login = base64.b64encode(f"api:{key}".encode()).decode()
        self.head = f"Host: {self.host}:{self.port}\r\nAuthorization: Basic {login}\r\n"
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer. Raises Lost."""
        data = json.dumps(body).encode()
        request = (
            f"POST {path} HTTP/1.1\r\n{self.head}Content-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection(self.host, self.port)
            reader, writer = self.streams
            writer.write(request.encode() + data)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            answer = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, IndexError) as error:
            self.close()
            raise Lost(str(error)) from None
        return int(head.split(" ")[1]), json.loads(answer or b"null")

    async def ask(self, document: str, **variables: Any) -> Any:
        """The data of an operation that must succeed."""
        status, answer = await self.post("/graphql", {"query": document, "variables": variables})
        assert status == 200, (status, answer)
        assert not answer.get("errors"), answer
        return answer["data"]

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


@dataclass
class LoadFigures:
    """What was measured."""

    heartbeats_s: list[float] = field(default_factory=list)
    posts_s: list[float] = field(default_factory=list)
    lines_sent: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def percentile_ms(times_s: list[float], share: float) -> float:
    """The time that this share of the requests stayed below, in milliseconds."""
    ordered = sorted(times_s)
    return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


async def put_under_load(
    url: str,
    key: str,
    *,
    agents: int,
    duration_s: float,
    heartbeat_s: float = 5.0,
    post_s: float = 15.0,
    metrics: int = 100,
    rows_per_post: int = 15,
) -> LoadFigures:
    """Agents with one run each: heartbeats and streamed metrics at the client's own pace."""
    figures = LoadFigures()
    starter = Peer(url, key)
    config = f"method: grid\nparameters: {{x: {{values: {list(range(agents))}}}}}"
    sweep = (await starter.ask(UPSERT_SWEEP, config=config, projectName="load"))["upsertSweep"]
    starter.close()
    name = sweep["sweep"]["name"]
    ends_at = time.monotonic() + duration_s
    await asyncio.gather(
        *(
            _agent(
                url,
                key,
                name,
                number / agents,
                ends_at,
                figures,
                heartbeat_s,
                post_s,
                metrics,
                rows_per_post,
            )
            for number in range(agents)
        )
    )
    return figures


async def _agent(
    url: str,
    key: str,
    sweep: str,
    phase: float,
    ends_at: float,
    figures: LoadFigures,
    heartbeat_s: float,
    post_s: float,
    metrics: int,
    rows_per_post: int,
) -> None:
    peer = Peer(url, key)
    await asyncio.sleep(phase * heartbeat_s)
    made = await peer.ask(CREATE_AGENT, host="h", projectName="load", sweep=sweep)
    agent = made["createAgent"]["agent"]["id"]
    beat = await peer.ask(HEARTBEAT, id=agent, runState="{}")
    (command,) = json.loads(beat["agentHeartbeat"]["commands"])
    run = command["run_id"]
    await peer.ask(UPSERT_RUN, name=run, project="load", sweep=sweep, host="h")
    streaming = asyncio.create_task(
        _run(url, key, run, phase, ends_at, figures, post_s, metrics, rows_per_post)
    )
    while time.monotonic() < ends_at:
        started = time.monotonic()
        try:
            variables = {"id": agent, "runState": json.dumps({run: True})}
            status, _ = await peer.post("/graphql", {"query": HEARTBEAT, "variables": variables})
            if status != 200:
                figures.failures.append(f"heartbeat {status}")
        except Lost as error:
            figures.failures.append(f"heartbeat lost: {error}")
        figures.heartbeats_s.append(time.monotonic() - started)
        await asyncio.sleep(max(0.0, heartbeat_s - (time.monotonic() - started)))
    await streaming
    peer.close()


async def _run(
    url: str,
    key: str,
    run: str,
    phase: float,
    ends_at: float,
    figures: LoadFigures,
    post_s: float,
    metrics: int,
    rows_per_post: int,
) -> None:
    peer = Peer(url, key)
    await asyncio.sleep(phase * post_s)
    step = 0
    while time.monotonic() < ends_at:
        rows = [
            json.dumps({"_step": step + i, **{f"m/{k}": step * 0.001 + k for k in range(metrics)}})
            for i in range(rows_per_post)
        ]
        part = {"files": {"wandb-history.jsonl": {"offset": step, "content": rows}}}
        started = time.monotonic()
        try:
            status, _ = await peer.post(f"/files/local/load/{run}/file_stream", part)
            if status == 200:
                step += rows_per_post
                figures.lines_sent[run] = step
            else:
                figures.failures.append(f"post {status}")
        except Lost as error:
            figures.failures.append(f"post lost: {error}")
        figures.posts_s.append(time.monotonic() - started)
        await asyncio.sleep(max(0.0, post_s - (time.monotonic() - started)))
    peer.close()
