"""The ASGI application: the client's addresses, the pages, and the upkeep beside them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware

from agent.errors import one_line
from agent.server.admission import LOOPBACK_HOSTS, Gate, Identity
from agent.server.garbage import collect
from agent.server.graphql import (  # noqa: F401  (imported to register their fields' resolvers)
    account_fields,
    artifact_changes,
    artifact_fields,
    branches,
    collection_changes,
    file_fields,
    run_changes,
    run_fields,
    sweep_fields,
    version_fields,
)
from agent.server.graphql.execution import Executor
from agent.server.graphql.execution import build_schema as build_schema
from agent.server.http.endpoints import Endpoints
from agent.server.lanes import Lane
from agent.server.pages.routes import page_routes
from agent.server.refusals import site_refusal
from agent.server.services import Services
from agent.server.store.blobs import BlobStore
from agent.server.store.claims import Policy, empty_bin, end_silent
from agent.server.store.database import Database
from agent.server.store.streams import KeyCatalogue, drop_lines
from agent.server.store.tokens import Signer
from agent.server_note import read_notice

UPKEEP_PERIOD_S = 2.0
LINES_AT_ONCE = 2000  # that are removed while the database is held
THREADS = 8
log = logging.getLogger("sweep_agent.server")


def open_services(
    data_dir: Path,
    address: str,
    policy: Policy | None = None,
    clock: Callable[[], float] = time.time,
) -> Services:
    """Open (or make) what lies in a data directory."""
    database = Database(data_dir / "server.db")
    return Services(
        database=database,
        blobs=BlobStore(data_dir / "blobs"),
        signer=Signer(_signing_secret(database)),
        policy=policy or Policy(),
        catalogue=KeyCatalogue(),
        clock=clock,
        address=address,
        notice=lambda: read_notice(data_dir),
    )


def _signing_secret(database: Database) -> bytes:
    """Made once and kept, so that signed addresses outlive a restart."""
    import secrets

    with database.write() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO meta VALUES ('signing_secret', ?)", (secrets.token_hex(32),)
        )
        row = connection.execute("SELECT value FROM meta WHERE name = 'signing_secret'").fetchone()
    return bytes.fromhex(row[0])


def build_app(services: Services, hosts: frozenset[str] = LOOPBACK_HOSTS) -> Starlette:
    """The application over open services."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="work")
    executor = Executor(services, build_schema())
    identity = Identity(services.database, services.clock)
    lane = Lane()
    endpoints = Endpoints(services, executor.run, identity, pool, lane)
    allowed = hosts | {urlsplit(services.address).hostname or "127.0.0.1"}

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        keeper = asyncio.create_task(keep_up(services, pool))
        try:
            yield
        finally:
            keeper.cancel()
            endpoints.large.shutdown(wait=True)
            lane.close()
            pool.shutdown(wait=True)
            services.database.close()

    return Starlette(
        routes=[*endpoints.routes(), *page_routes(services, identity, pool, lane)],
        middleware=[Middleware(Gate, hosts=allowed)],
        lifespan=lifespan,
    )


async def keep_up(services: Services, pool: ThreadPoolExecutor) -> None:
    """Every few seconds: silent runs and expired claims get what is due to them.

    After a start no run counts as silent before it had the time to speak again.
    """
    started_at = time.monotonic()
    patience_s = min(60.0, services.policy.lease_s, services.policy.silence_s)
    while True:
        await asyncio.sleep(UPKEEP_PERIOD_S)
        services.clock()  # looked at often, so that a pause is noticed
        if time.monotonic() - started_at < patience_s:
            continue
        try:
            await asyncio.get_running_loop().run_in_executor(pool, _tidy, services)
        except Exception as error:
            if site_refusal(error) is not None:
                log.error("upkeep waits: %s", one_line(error))
            else:
                log.exception("upkeep failed; it is tried again")


def _drop_lines(services: Services) -> None:
    """In short turns, and never for long: what is left waits for the next time."""
    ends_at = time.monotonic() + UPKEEP_PERIOD_S / 2
    is_more = True
    while is_more and time.monotonic() < ends_at:
        with services.database.write() as connection:
            is_more = drop_lines(connection, LINES_AT_ONCE)


def _tidy(services: Services) -> None:
    with services.database.write() as connection:
        services.excuse_pauses(connection)
        end_silent(connection, services.clock(), services.policy)
        if empty_bin(connection, services.clock(), services.policy):
            services.blobs.is_suspect = True
    _drop_lines(services)
    services.database.move_log()
    if services.blobs.is_suspect:
        collect(services.database, services.blobs)
