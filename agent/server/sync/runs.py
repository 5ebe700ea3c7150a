"""From here to W&B: sweeps and runs of a data directory, recreated on another server.

Runs keep their ids, lines keep their numbers. The ledger says what has arrived; what was on its
way when the command was interrupted is sent again and changes nothing, because every part is
addressed by run and line number.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.errors import ServerError
from agent.server.store.blobs import BlobStore
from agent.server.store.branches import branch_point
from agent.server.store.database import Connection
from agent.server.store.records import Project, Run, RunFile, Sweep
from agent.server.store.runs import find_run
from agent.server.store.streams import EVENTS, HISTORY, OUTPUT, SUMMARY_FILE, numbered_lines
from agent.server.sync.destination import Destination, Tally, with_origin

LINES_PER_PART = 2000
BYTES_PER_PART = 4 * 2**20
_STREAMS = {HISTORY: "wandb-history.jsonl", EVENTS: "wandb-events.jsonl", OUTPUT: "output.log"}

_UPSERT_SWEEP = """
mutation UpsertSweep($id: ID, $config: String, $description: String, $entityName: String,
    $projectName: String, $state: String, $displayName: String) {
  upsertSweep(input: {id: $id, config: $config, description: $description,
      entityName: $entityName, projectName: $projectName, state: $state,
      displayName: $displayName}) {
    sweep { id name }
  }
}"""
_FIND_SWEEPS = """
query GetSweeps($project: String!, $entity: String!, $cursor: String) {
  project(name: $project, entityName: $entity) {
    sweeps(after: $cursor, first: 100) {
      pageInfo { endCursor hasNextPage }
      edges { node { id name description } }
    }
  }
}"""
_UPSERT_RUN = """
mutation UpsertBucket($id: String, $name: String, $project: String, $entity: String,
    $groupName: String, $description: String, $displayName: String, $notes: String,
    $commit: String, $config: JSONString, $host: String, $program: String, $repo: String,
    $jobType: String, $sweep: String, $tags: [String!], $summaryMetrics: JSONString) {
  upsertBucket(input: {id: $id, name: $name, modelName: $project, entityName: $entity,
      groupName: $groupName, description: $description, displayName: $displayName, notes: $notes,
      commit: $commit, config: $config, host: $host, jobProgram: $program, jobRepo: $repo,
      jobType: $jobType, sweep: $sweep, tags: $tags, summaryMetrics: $summaryMetrics}) {
    bucket { id }
  }
}"""
_CREATE_FILES = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run,
      files: $files}) {
    uploadHeaders
    files { name uploadUrl }
  }
}"""


class Deleted(Exception):
    """The run was sent and has been deleted there since."""


def send_sweep(to: Destination, project: Project, sweep: Sweep, tally: Tally) -> str | None:
    """Make the sweep there, once; its short name there, None when it was deleted there since."""
    known = to.ledger.note("sweep", sweep.id)
    if known.get("gone"):
        return None
    if not known.get("name"):
        mark = f"[synced from {project.entity}/{project.name}/{sweep.name}]"
        found = _find_marked(to, project, mark) if known else None
        if found is None:
            to.ledger.write("sweep", sweep.id, started=True)
            found = to.remote.ask(
                _UPSERT_SWEEP,
                config=sweep.config,
                entityName=to.entity,
                projectName=project.name,
                description=f"{sweep.description or ''} {mark}".strip(),
                displayName=sweep.display_name,
            )["upsertSweep"]["sweep"]
            tally.sweeps += 1
        known = {"id": found["id"], "name": found["name"]}
        to.ledger.write("sweep", sweep.id, **known)
    elif not to.has_sweep(project, known["name"]):
        to.ledger.write("sweep", sweep.id, gone=True)
        return None
    return str(known["name"])


def _find_marked(to: Destination, project: Project, mark: str) -> dict[str, Any] | None:
    """The sweep that an interrupted sync had made before it could note so."""
    cursor: str | None = None
    while True:
        found = to.remote.ask(_FIND_SWEEPS, project=project.name, entity=to.entity, cursor=cursor)
        page = (found["project"] or {}).get("sweeps")
        if page is None:
            return None
        for edge in page["edges"]:
            if mark in (edge["node"]["description"] or ""):
                return dict(edge["node"])
        if not page["pageInfo"]["hasNextPage"]:
            return None
        cursor = page["pageInfo"]["endCursor"]


def end_sweep(to: Destination, project: Project, sweep: Sweep) -> None:
    """Give the sweep there the final state it has here."""
    known = to.ledger.note("sweep", sweep.id)
    if known.get("gone"):
        return
    if sweep.state in ("FINISHED", "CANCELED") and known.get("state") != sweep.state:
        to.remote.ask(
            _UPSERT_SWEEP,
            id=known["id"],
            state=sweep.state,
            entityName=to.entity,
            projectName=project.name,
        )
        to.ledger.write("sweep", sweep.id, state=sweep.state)


def send_run(
    connection: Connection,
    blobs: BlobStore,
    to: Destination,
    project: Project,
    run: Run,
    sweep_name: str | None,
    tally: Tally,
) -> None:
    """Send what the run there lacks: its description, lines, files and final state.

    Raises Deleted when it was deleted there, ServerError for anything else that is refused.
    """
    place = to.place_of(project, run)
    if place is None:
        raise Deleted
    name, there = place
    known = to.ledger.note("run", run.id)
    if known and (there is None or there.id != known["id"]):
        to.ledger.forget("run", run.id)
        known = {}
    found = to.remote.ask(
        _UPSERT_RUN,
        id=there.id if there else None,
        name=name,
        project=project.name,
        entity=to.entity,
        groupName=run.group_name,
        description=run.description,
        displayName=run.display_name,
        notes=run.notes,
        commit=run.commit_hash,
        config=_portable(connection, to, run),
        host=run.host or "unknown",
        program=run.program,
        repo=run.repo,
        jobType=run.job_type,
        sweep=sweep_name,
        tags=run.tag_list(),
        summaryMetrics=run.summary,
    )["upsertBucket"]["bucket"]
    to.ledger.write("run", run.id, id=found["id"], name=name)
    if there is None or there.lines < int(known.get(HISTORY, 0)):  # it has lost some
        to.ledger.write("run", run.id, **dict.fromkeys(_STREAMS, 0))
    for stream in _STREAMS:
        _send_lines(connection, to, project, run, name, stream, tally)
    _send_files(connection, blobs, to, project, run, name, tally)
    part: dict[str, Any] = {"files": {SUMMARY_FILE: {"offset": 0, "content": [run.summary]}}}
    to.remote.stream(to.entity, project.name, name, part | _last_words(run))
    if run.is_over:
        to.ledger.write("run", run.id, ended=[run.state, run.updated_at, run.revision])
    tally.runs += 1


def _is_sent(to: Destination, run: Run) -> bool:
    """Whether there is nothing to say about the run: it ended, or was deleted there."""
    known = to.ledger.note("run", run.id)
    is_over = known.get("ended") == [run.state, run.updated_at, run.revision]
    return is_over or bool(known.get("gone"))


def _portable(connection: Connection, to: Destination, run: Run) -> str:
    """The config with the run's origin; without the fork point if the parent is gone, which the
    server there needs."""
    point = branch_point(run.config)
    config = json.loads(run.config)
    if point is not None and not find_run(connection, run.project_id, point[0]):
        del config["_wandb"]["value"]["branch_point"]
    return json.dumps(with_origin(config, to.origin_of(run)))


def _last_words(run: Run) -> dict[str, Any]:
    """How the run's end is sent. A crash sends nothing: the server there finds the run silent."""
    match run.state:
        case "finished":
            return {"complete": True, "exitcode": 0}
        case "failed" | "killed":
            return {"complete": True, "exitcode": run.exit_code or 1}
        case "preempted":
            return {"preempting": True, "complete": True, "exitcode": run.exit_code or 1}
        case _:
            return {}


def _send_lines(
    connection: Connection,
    to: Destination,
    project: Project,
    run: Run,
    name: str,
    stream: str,
    tally: Tally,
) -> None:
    note = to.ledger.note("run", run.id)
    offset = int(note.get(stream, 0))
    before = numbered_lines(connection, run.id, stream, offset - 1, 1) if offset else []
    if offset and [_mark(line) for _, line in before] != [note.get(f"{stream}_mark")]:
        offset = 0  # the run was wound back or began anew since: all of it again
    while True:
        rows = numbered_lines(connection, run.id, stream, offset, LINES_PER_PART)
        rows = _without_gap(rows, BYTES_PER_PART)
        if not rows:
            return
        chunk = {"offset": rows[0][0], "content": [line for _, line in rows]}
        part = {"files": {_STREAMS[stream]: chunk}}
        to.remote.stream(to.entity, project.name, name, part)
        offset = rows[-1][0] + 1
        marks = {stream: offset, f"{stream}_mark": _mark(rows[-1][1])}
        to.ledger.write("run", run.id, **marks)
        tally.lines += len(rows)


def _mark(line: str) -> str:
    """Identifies a line."""
    return hashlib.sha256(line.encode()).hexdigest()[:16]


def _without_gap(rows: list[tuple[int, str]], max_bytes: int) -> list[tuple[int, str]]:
    """The leading rows whose numbers follow each other, up to a size."""
    taken: list[tuple[int, str]] = []
    size = 0
    for number, line in rows:
        if taken and (number != taken[-1][0] + 1 or size + len(line) > max_bytes):
            break
        taken.append((number, line))
        size += len(line)
    return taken


def _send_files(
    connection: Connection,
    blobs: BlobStore,
    to: Destination,
    project: Project,
    run: Run,
    name: str,
    tally: Tally,
) -> None:
    rows = connection.execute("SELECT * FROM run_file WHERE run_id = ? ORDER BY name", (run.id,))
    for file in [RunFile.of(row) for row in rows]:
        known = to.ledger.note("file", file.id)
        if (known.get("md5"), known.get("run", run.name)) == (file.md5, name):
            continue
        answer = to.remote.ask(
            _CREATE_FILES, entity=to.entity, project=project.name, run=name, files=[file.name]
        )["createRunFiles"]
        url = answer["files"][0]["uploadUrl"]
        to.remote.put(url, blobs.path_of(file.blob), answer["uploadHeaders"] or [])
        to.ledger.write("file", file.id, md5=file.md5, run=name)
        tally.files += 1


def sync_project(
    connection: Connection,
    data_dir: Path,
    to: Destination,
    project: Project,
    tell: Callable[[str], None],
) -> Tally:
    """Bring one project to the destination. Raises ServerError; called again, it goes on."""
    from agent.server.sync.artifacts import send_artifacts

    blobs = BlobStore(data_dir / "blobs")
    tally = Tally()
    sweeps = [
        Sweep.of(row)
        for row in connection.execute(
            "SELECT * FROM sweep WHERE project_id = ? ORDER BY id", (project.id,)
        )
    ]
    names = {}
    for sweep in sweeps:
        names[sweep.id] = send_sweep(to, project, sweep, tally)
        if names[sweep.id] is None:
            tell(f"{project.name}: sweep {sweep.name} was deleted there; its runs go without one")
    runs = connection.execute(
        "SELECT * FROM run WHERE project_id = ? AND initialised = 1 "
        "AND id NOT IN (SELECT run_id FROM deleted_run) ORDER BY id",
        (project.id,),
    ).fetchall()
    for run in map(Run.of, runs):
        if _is_sent(to, run):
            continue
        name = names.get(run.sweep_id) if run.sweep_id is not None else None
        try:
            send_run(connection, blobs, to, project, run, name, tally)
        except (Deleted, ServerError) as error:
            if isinstance(error, ServerError) and to.place_of(project, run) is not None:
                raise
            to.ledger.write("run", run.id, gone=True)
            tell(f"{project.name}: run {run.name} was deleted there; it is not sent again")
        else:
            tell(f"{project.name}: run {run.display_name} ({run.name}) {run.state}")
    send_artifacts(connection, blobs, to, project, tally)
    for sweep in sweeps:
        end_sweep(to, project, sweep)
    return tally
