"""Starting the server: address, first key, socket, then the application."""

import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from agent.errors import ServerError
from agent.server.admission import LOOPBACK_HOSTS
from agent.server.app import build_app, open_services
from agent.server.data_dir import prepare, sole_server
from agent.server.http.connections import AT_ONCE, QUEUE, PromptProtocol, allow_many_descriptors
from agent.server.http.log_rate import limit_log_lines
from agent.server.store.claims import Policy
from agent.server.store.database import Database, leave_gap
from agent.server.store.keys import add_key, find_key, new_key
from agent.server.store.pauses import AttentiveClock, longest_look
from agent.server_note import ServerNote, read_note, write_note

DEFAULT_PORT = 8686
DEFAULT_ENTITY = "local"
MAX_HEADER_BYTES = 32 * 1024


@dataclass(frozen=True)
class Listening:
    """Where and how the server answers."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT  # 0: the port used last, else a free one
    entity: str = DEFAULT_ENTITY  # of the first key
    advertise: str | None = None  # the URL others reach the server under
    certfile: Path | None = None
    keyfile: Path | None = None


def serve(data_dir: Path, listening: Listening, policy: Policy | None = None) -> None:
    """Serve until a signal to stop. The note is written before the first request is answered."""
    os.umask(0o077)
    prepare(data_dir)
    with sole_server(data_dir):
        known = read_note(data_dir)
        bound = bind(listening, known.port if known else None)
        port = bound.getsockname()[1]
        scheme = "https" if listening.certfile else "http"
        name = reachable_name(listening.host)
        url = (listening.advertise or f"{scheme}://{name}:{port}").rstrip("/")
        policy = policy or Policy()
        clock = AttentiveClock(longest_s=longest_look(policy.lease_s, policy.silence_s))
        services = open_services(data_dir, url, policy, clock)
        services.blobs.clear_leftovers()
        with services.database.write() as connection:
            leave_gap(connection)
        key = first_key(services.database, known, listening.entity)
        write_note(data_dir, ServerNote(url, port, listening.entity, key))
        own_host = services.signer.host
        known_hosts = {listening.host, socket.gethostname().lower(), own_host}
        app = build_app(services, LOOPBACK_HOSTS | known_hosts)
        allow_many_descriptors()
        limit_log_lines()
        sys.setswitchinterval(0.0005)  # a busy worker thread must not hold up the event loop
        config = uvicorn.Config(
            app,
            http=PromptProtocol,
            backlog=AT_ONCE,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            ssl_certfile=listening.certfile,
            ssl_keyfile=listening.keyfile,
        )
        print(f"sweep server at {url} (data in {data_dir})", flush=True)
        if listening.host in LOOPBACK_HOSTS:
            print(
                f"on a machine that others use, open its pages at {scheme}://{own_host}:{port}: "
                "a browser shows the session of 127.0.0.1 to every port of it",
                flush=True,
            )
        _Server(config).run(sockets=[bound])


class _Server(uvicorn.Server):
    """Accepts a few connections in one go, while the system holds many more until then."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            bound.listen(QUEUE)


def reachable_name(host: str) -> str:
    """How others name a host in an address: every interface is reached by the machine's name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def bind(listening: Listening, last_port: int | None) -> socket.socket:
    """A bound socket that does not listen yet. Raises ServerError if the port is taken."""
    wanted = [listening.port] if listening.port else [p for p in (last_port, 0) if p is not None]
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    problem = ""
    for port in wanted:
        # Named as TCP, or asyncio leaves Nagle's algorithm on: every answer then waits 40 ms.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((listening.host, port))
        except OSError as error:
            bound.close()
            problem = f"cannot listen on {listening.host}:{port} ({error.strerror})"
            continue
        return bound
    raise ServerError(f"{problem}; choose another --port, or 0 for a free one")


def first_key(database: Database, known: ServerNote | None, entity: str) -> str:
    """The key in the note: the one from last time while it is valid, else a new one."""
    with database.write() as connection:
        if known is not None:
            record = find_key(connection, known.key)
            if record is not None and record.entity == entity:
                return known.key
        key = new_key()
        add_key(connection, key, entity, now=time.time(), label="first key")
    return key
