"""Files of runs and artifacts, with the signed addresses they are sent to and fetched from."""

import mimetypes
from typing import Any
from urllib.parse import quote

from agent.server.graphql.access import connection_of, need_run, page_bounds
from agent.server.graphql.execution import Info, Request, change, field
from agent.server.refusals import Refused
from agent.server.store.projects import get_project
from agent.server.store.records import ArtifactFile, Page, Run, RunFile, iso_time
from agent.server.store.runs import get_run
from agent.server.store.scalars import check_file_name
from agent.server.store.tokens import (
    DOWNLOAD_LIFETIME_S,
    UPLOAD_LIFETIME_S,
    Owner,
    download_grant,
    node_id,
    row_id,
)

MAX_NAMES = 1000
MAX_FILES = 10_000  # addresses in one answer
NO_BLOB = "0" * 64  # the name of a content that cannot be there
Found = dict[str, Any]


def upload_url(request: Request, grant: Found) -> str:
    """An address that takes one file for a day, without a key."""
    token = request.services.signer.sign(grant, request.now + UPLOAD_LIFETIME_S)
    return f"{request.address}/storage/{token}"


def download_url(request: Request, blob: str, name: str, owner: Owner) -> str:
    """An address that gives one file for an hour, while its owner lasts, without a key."""
    grant = download_grant(blob, name, owner)
    token = request.services.signer.sign(grant, request.now + DOWNLOAD_LIFETIME_S)
    return f"{request.address}/storage/{token}/{quote(grant['name'])}"


def _file_node(kind: str, file: ArtifactFile | RunFile, url: str, **more: Any) -> Found:
    return {
        "id": node_id(kind, file.id),
        "name": file.name,
        "displayName": file.name,
        "url": url,
        "directUrl": url,
        "sizeBytes": file.size,
        "md5": file.md5,
        "digest": file.md5,
        **more,
    }


def artifact_file_node(request: Request, file: ArtifactFile) -> Found:
    owner = ("artifact", file.artifact_id)
    url = download_url(request, file.blob, file.name, owner) if file.blob else file.reference or ""
    place = f"wandb_artifacts/{file.artifact_id}/{file.name}" if file.blob else None
    kind = mimetypes.guess_type(file.name)[0]
    return _file_node("ArtifactFile", file, url, storagePath=place, mimetype=kind)


def run_file_node(request: Request, file: RunFile) -> Found:
    url = download_url(request, file.blob, file.name, ("run", file.run_id))
    grant = {"put": "run_file", "run": file.run_id, "name": file.name}
    more = {"mimetype": file.mimetype, "updatedAt": iso_time(file.updated_at)}
    return _file_node("RunFile", file, url, uploadUrl=upload_url(request, grant), **more)


@field("File", "url")
def file_url(source: Found, _: Info, upload: bool | None = None) -> str | None:
    return source.get("uploadUrl" if upload else "url")


def _absent_file(run: Run, name: str) -> RunFile:
    """How W&B answers for a file, asked for by name, that is not there: the MD5 digest is "0"."""
    return RunFile(0, run.id, name, 0, "0", NO_BLOB, None, run.created_at)


@field("Run", "fileCount")
def run_file_count(source: Run, info: Info) -> int:
    row = info.context.connection.execute(
        "SELECT count(*) FROM run_file WHERE run_id = ?", (source.id,)
    ).fetchone()
    return int(row[0])


@field("Run", "files")
def run_files(source: Run, info: Info, **arguments: Any) -> Found:
    request: Request = info.context
    offset, limit = page_bounds(arguments)
    names, pattern = arguments.get("names") or [], arguments.get("pattern")
    condition = "run_id = ?"
    values: list[Any] = [source.id]
    if names:
        names = [check_file_name(name.removeprefix("./")) for name in names[:MAX_NAMES] if name]
        condition += f" AND name IN ({', '.join('?' * len(names))})"
        values += names
    elif pattern:
        condition += " AND name LIKE ?"
        values.append(pattern)
    total = request.connection.execute(
        f"SELECT count(*) FROM run_file WHERE {condition}", values
    ).fetchone()[0]
    rows = request.connection.execute(
        f"SELECT * FROM run_file WHERE {condition} ORDER BY name LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    files = [RunFile.of(row) for row in rows]
    if names and offset == 0:
        found = {file.name for file in files}
        files += [_absent_file(source, name) for name in names if name not in found]
        total = max(total, len(files))
    nodes = [run_file_node(request, file) for file in files]
    return connection_of(Page(nodes, total, offset))


@change("createRunFiles")
def create_run_files(request: Request, input: dict[str, Any]) -> Found:
    run = need_run(
        request,
        entity=input.get("entityName"),
        project=input.get("projectName"),
        name=input.get("runName"),
    )
    if len(input["files"]) > MAX_FILES:
        raise Refused(f"more than {MAX_FILES} files in one request: ask in parts")
    files = []
    for name in input["files"]:
        name = check_file_name(name.removeprefix("./"))
        grant = {"put": "run_file", "run": run.id, "name": name}
        files.append({"name": name, "displayName": name, "uploadUrl": upload_url(request, grant)})
    return {"runID": node_id("Run", run.id), "uploadHeaders": [], "files": files}


@change("markRunFilesUploaded")
def mark_uploaded(request: Request, input: dict[str, Any]) -> Found:
    """An upload is known as soon as its bytes have arrived: there is nothing left to do."""
    need_run(
        request,
        entity=input["entityName"],
        project=input["projectName"],
        name=input["runName"],
    )
    return {"success": True}


@change("deleteFiles")
def delete_files(request: Request, input: dict[str, Any]) -> Found:
    for identifier in input["files"]:
        file_id = row_id("RunFile", identifier)
        row = request.connection.execute(
            "SELECT * FROM run_file WHERE id = ?", (file_id,)
        ).fetchone()
        run = get_run(request.connection, row["run_id"]) if row else None
        if not run or get_project(request.connection, run.project_id).entity != request.entity:
            raise Refused("no such file")
        request.connection.execute("DELETE FROM run_file WHERE id = ?", (file_id,))
    request.services.blobs.is_suspect = True
    return {"success": True}


@change("completeMultipartUploadArtifact")
def complete_multipart(_: Request, __: Any) -> Found:
    raise Refused("uploads in parts are not offered here: send each file whole to its address")
