"""The addresses that the client calls: GraphQL, file stream, uploads and downloads."""

import asyncio
import base64
import logging
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent.errors import SweepAgentError
from agent.server.admission import Endpoint, Identity, read_body, refuse, unpack, unpacked_size
from agent.server.http.filestream import Part, read_part, receive_part, slices_of
from agent.server.http.uploads import accept_upload
from agent.server.lanes import Lane
from agent.server.refusals import Refused, site_refusal
from agent.server.services import Execute, Services
from agent.server.store import large_json
from agent.server.store.projects import find_project
from agent.server.store.runs import find_run
from agent.server.store.sampling import to_json
from agent.server.store.shared_mode import MAX_WRITER
from agent.server.store.tokens import is_still_owned

log = logging.getLogger("sweep_agent.server")
T = TypeVar("T")
_HEX_MD5 = re.compile(r"[0-9a-f]{32}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_UNSTORABLE = (RecursionError, OverflowError, UnicodeError, sqlite3.ProgrammingError)
SMALL_BODY_BYTES = 64 * 1024
LARGE_BODY_BYTES = 2**20
# Fields that may read as much as a project holds: they get the threads for long work.
_MAY_BE_LONG = re.compile(
    r"\b(sampledHistory|history|historyKeys|events|runs|runCount|logLines|files|bestLoss)\b"
    r"|\b(artifacts|artifactMemberships|sweeps|prediction)\b"
)
WRITER_HEADER = "x-wandb-async-client-id"  # sent in shared mode only
LARGE_THREADS = 1  # large bodies wait for each other, never small ones for them


class Endpoints:
    """The client's side of the application."""

    def __init__(
        self,
        services: Services,
        execute: Execute,
        identity: Identity,
        pool: ThreadPoolExecutor,
        lane: Lane,
    ) -> None:
        self.services = services
        self.execute = execute
        self.identity = identity
        self.pool = pool
        self.lane = lane
        self.large = ThreadPoolExecutor(LARGE_THREADS, thread_name_prefix="large")

    def routes(self) -> list[Route]:
        stream = "/files/{entity}/{project}/{run}/file_stream"
        return [
            Route("/ready", self.ready, methods=["GET"]),
            Route("/healthz", self.ready, methods=["GET"]),
            Route("/notice", guarded(self.notice), methods=["GET"]),
            Route("/graphql", guarded(self.graphql), methods=["POST"]),
            Route(stream, guarded(self.file_stream), methods=["POST"]),
            Route(
                "/files/{entity}/{project}/{run}/{name:path}",
                guarded(self.run_file),
                methods=["GET"],
            ),
            Route(
                "/artifacts/{entity}/{digest}", guarded(self.artifact_file), methods=["GET", "HEAD"]
            ),
            Route(
                "/artifactsV2/{region}/{entity}/{project}/{rest:path}",
                guarded(self.artifact_file),
                methods=["GET", "HEAD"],
            ),
            Route("/storage/{token}", guarded(self.store), methods=["PUT"]),
            Route("/storage/{token}", self.preflight, methods=["OPTIONS"]),
            Route("/storage/{token}/{name:path}", self.preflight, methods=["OPTIONS"]),
            Route("/storage/{token}", guarded(self.fetch), methods=["GET", "HEAD"]),
            Route("/storage/{token}/{name:path}", guarded(self.fetch), methods=["GET", "HEAD"]),
        ]

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Database and disk work happens beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    async def _body_of(
        self, request: Request, empty: str | None = None
    ) -> tuple[dict[str, Any], ThreadPoolExecutor]:
        """The JSON object in the body, and the threads on which one of its size is worked on.

        `empty` stands for no body. Raises Refused.
        """
        body = await read_body(request)
        is_packed = request.headers.get("content-encoding", "").lower() == "gzip"
        size = max(len(body), unpacked_size(body) if is_packed else 0)
        pool = self.large if size > LARGE_BODY_BYTES else self.pool
        if not is_packed and size < SMALL_BODY_BYTES:
            return parse_body(body, empty), pool
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, parse_large, body, is_packed, empty), pool

    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def notice(self, request: Request) -> Response:
        """What people should know of this server, for `status`; empty when all is well."""
        self.identity.entity_of(request)
        return JSONResponse({"notice": await self.in_thread(self.services.notice)})

    async def preflight(self, request: Request) -> Response:
        """Pages of this server, and of no other, may use its signed addresses from a script."""
        headers = {"Access-Control-Allow-Methods": "GET, PUT", "Vary": "Origin"}
        if request.headers.get("origin") == self.services.address:
            headers["Access-Control-Allow-Origin"] = self.services.address
        return Response(status_code=204, headers=headers)

    async def graphql(self, request: Request) -> Response:
        entity = self.identity.entity_of(request)  # one indexed read: cheaper than a thread
        body, pool = await self._body_of(request)
        query, variables = body.get("query"), body.get("variables") or {}
        if not isinstance(query, str) or not isinstance(variables, dict):
            raise Refused("expected a JSON object with query and variables", status=400)
        given = body.get("operationName")
        name = given if isinstance(given, str) else None
        if _MAY_BE_LONG.search(query):
            answer = await self.lane.run(entity, self._execute, query, variables, name, entity)
        else:
            answer = await asyncio.get_running_loop().run_in_executor(
                pool, self._execute, query, variables, name, entity
            )
        return Response(answer, media_type="application/json")

    def _execute(
        self, query: str, variables: dict[str, Any], name: str | None, entity: str
    ) -> bytes:
        """Run and write down the answer: a long one must not hold up the event loop."""
        address = self.services.address
        return to_json(self.execute(query, variables, name, entity, address))

    async def file_stream(self, request: Request) -> Response:
        entity = self.identity.entity_of(request)  # one indexed read: cheaper than a thread
        body, pool = await self._body_of(request, empty="{}")
        answer = await asyncio.get_running_loop().run_in_executor(
            pool,
            self._take_part,
            entity,
            dict(request.path_params),
            body,
            request.headers.get(WRITER_HEADER, "")[:MAX_WRITER],
        )
        return JSONResponse(answer)

    def _take_part(
        self, owner: str, names: dict[str, str], body: dict[str, Any], writer: str
    ) -> dict[str, Any]:
        """Read the part first, then write it in short turns: others write in between."""
        answer: dict[str, Any] = {}
        for part in slices_of(read_part(body)):
            answer = self._write_part(owner, names, part, writer)
        return answer

    def _write_part(
        self, owner: str, names: dict[str, str], part: Part, writer: str
    ) -> dict[str, Any]:
        entity, project, name = names["entity"], names["project"], names["run"]
        with self.services.database.write() as connection:
            self.services.excuse_pauses(connection)
            found = find_project(connection, owner, project) if entity == owner else None
            run = find_run(connection, found.id, name) if found else None
            if run is None:
                raise Refused(f"run {entity}/{project}/{name} does not exist", status=404)
            now, policy = self.services.clock(), self.services.policy
            return receive_part(connection, run, part, now, policy, writer)

    async def run_file(self, request: Request) -> Response:
        """A run's file by its plain address, with a key."""
        owner = self.identity.entity_of(request)
        names = request.path_params

        def look_up() -> str | None:
            with self.services.database.read() as connection:
                is_own = names["entity"] == owner
                found = find_project(connection, owner, names["project"]) if is_own else None
                row = connection.execute(
                    "SELECT run_file.blob FROM run_file JOIN run ON run.id = run_file.run_id "
                    "WHERE run.project_id = ? AND run.name = ? AND run_file.name = ?",
                    (found.id if found else None, names["run"], names["name"]),
                ).fetchone()
                return str(row[0]) if row else None

        blob = await self.in_thread(look_up)
        if blob is None:
            raise Refused("no such file", status=404)
        return self._send_blob(blob, names["name"].rsplit("/", 1)[-1])

    async def artifact_file(self, request: Request) -> Response:
        """An artifact's file by the hexadecimal digits of its MD5 digest, with a key."""
        owner = self.identity.entity_of(request)
        names = request.path_params
        # …/COLLECTION/[ARTIFACT/]BIRTH/DIGEST/NAME in the longer form
        digest = names.get("digest") or next(
            (word for word in names["rest"].split("/")[::-1][1:] if _HEX_MD5.fullmatch(word)), ""
        )
        blob = await self.in_thread(self._content_of, owner, digest)
        if blob is None or names["entity"] != owner:
            raise Refused("no such file", status=404)
        return self._send_blob(blob, names.get("rest", digest).rsplit("/", 1)[-1])

    def _content_of(self, entity: str, digest: str) -> str | None:
        if not _HEX_MD5.fullmatch(digest):
            return None
        md5 = base64.b64encode(bytes.fromhex(digest)).decode()
        with self.services.database.read() as connection:
            row = connection.execute(
                "SELECT blob FROM blob WHERE entity = ? AND md5 = ?", (entity, md5)
            ).fetchone()
        return str(row[0]) if row else None

    async def store(self, request: Request) -> Response:
        """Take an upload at a signed address."""
        grant = self._granted(request, "put", "upload")
        receiver = await self.in_thread(self.services.blobs.receive)
        try:
            async for chunk in request.stream():
                if chunk:
                    await self.in_thread(receiver.write, chunk)
            await self.in_thread(accept_upload, self.services, grant, receiver)
        except BaseException:
            receiver.drop()
            raise
        return Response(status_code=200)

    async def fetch(self, request: Request) -> Response:
        """Give a content at a signed address."""
        grant = self._granted(request, "get", "download")
        if not await self.in_thread(self._is_still_owned, grant):
            raise Refused("the content has been deleted", status=404)
        return self._send_blob(grant["get"], grant["name"])

    def _granted(self, request: Request, what: str, name: str) -> dict[str, Any]:
        """What the signed address allows. Raises Refused."""
        grant = self.services.signer.open(request.path_params["token"], self.services.clock())
        if grant is None or what not in grant:
            raise Refused(f"this {name} address is not valid (any more)", status=403)
        return grant

    def _is_still_owned(self, grant: dict[str, Any]) -> bool:
        with self.services.database.read() as connection:
            return is_still_owned(connection, grant)

    def _send_blob(self, blob: str, name: str) -> Response:
        path = self.services.blobs.path_of(blob)
        if not path.exists():
            raise Refused("the content is gone", status=404)
        # Contents come from users: never let a browser take one for a page of this server.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return FileResponse(
            path, media_type="application/octet-stream", filename=name, headers=headers
        )


def parse_large(body: bytes, is_packed: bool, empty: str | None) -> dict[str, Any]:
    """`parse_body` for what is packed or long."""
    return parse_body(unpack(body) if is_packed else body, empty)


def parse_body(body: bytes, empty: str | None = None) -> dict[str, Any]:
    """A JSON object. Raises Refused for anything else, however deep it is nested."""
    try:
        value = large_json.loads(body.decode("utf-8-sig").strip() or empty or "")
        if (b"\\ud" in body or b"\\uD" in body) and _SURROGATE.search(body):
            value = _whole_text(value)
    except (ValueError, RecursionError):
        raise Refused("the body is not JSON", status=400) from None
    if not isinstance(value, dict):
        raise Refused("the body is not a JSON object", status=400)
    return value


def _whole_text(value: Any) -> Any:
    """Half characters (surrogates without a partner) replaced, for they cannot be stored."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_text(item) for item in value]
    if isinstance(value, dict):
        return {_whole_text(key): _whole_text(item) for key, item in value.items()}
    return value


def guarded(endpoint: Endpoint) -> Endpoint:
    """Refusals become answers; anything else becomes a plain 500, its traceback in the log only."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refusal:
            return refuse(str(refusal), refusal.status if refusal.status != 200 else 400)
        except SweepAgentError as error:
            return refuse(str(error), 400)
        except ClientDisconnect:
            return Response(status_code=400)  # the client has gone
        except HTTPException:
            raise
        except _UNSTORABLE as error:
            log.warning("a request cannot be stored: %s", type(error).__name__)
            return refuse("a value is too large, too deep or of the wrong type", 400)
        except Exception as error:
            waits = site_refusal(error)
            if waits is not None:
                log.error("%s", waits)
                return refuse(str(waits), waits.status)
            log.exception("a request to %s failed", request.url.path.split("/")[1])
            return refuse("the server failed; its log says why", 500)

    return answer
