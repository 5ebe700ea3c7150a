"""Who may come in: hosts, origins, keys, cookies, sizes and rates."""

import asyncio
import base64
import contextlib
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.server.refusals import Refused
from agent.server.store.database import Database
from agent.server.store.keys import KeyRecord, find_key

MAX_BODY_BYTES = 32 * 2**20
MAX_URL_BYTES = 8192
BODY_TIMEOUT_S = 120.0
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def host_of(text: str) -> str:
    """The host name in a Host header or an Origin."""
    try:
        return (urlsplit(text if "//" in text else f"//{text}").hostname or "").lower()
    except ValueError:
        return ""


class Gate:
    """ASGI middleware: foreign hosts and origins, and oversized requests, get no further."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:  # the server ends before the answer: the client asks again
            with contextlib.suppress(RuntimeError):  # raised where an answer has begun
                await refuse("the server is being stopped", 503)(scope, receive, send)

    def _is_own(self, origin: bytes) -> bool:
        return host_of(origin.decode("latin-1")) in self.hosts

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        host = host_of(headers.get(b"host", b"").decode("latin-1"))
        if host not in self.hosts:
            return refuse(f"host {host[:80]!r} is not served here", 403)
        origin = headers.get(b"origin")
        changes_things = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if origin is not None and changes_things and not self._is_own(origin):
            return refuse("requests from other sites are refused", 403)
        if len(scope["path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            return refuse("the address is too long", 400)
        length = headers.get(b"content-length", b"0")
        is_storage = scope["path"].startswith("/storage/")
        if not length.isdigit() or (int(length) > MAX_BODY_BYTES and not is_storage):
            return refuse(f"the body is larger than {MAX_BODY_BYTES} bytes", 413)
        return None


def refuse(message: str, status: int) -> JSONResponse:
    """An error in the form that the client prints."""
    return JSONResponse({"error": message, "errors": [{"message": message}]}, status_code=status)


class Identity:
    """Finds out whose key a request carries."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._failures = RateLimit(per_s=5, burst=50)
        self._requests = RateLimit(per_s=200, burst=2000)
        self._clock = clock

    def entity_of(self, request: Request) -> str:
        """The entity of the request's key. Raises Refused with 401 or 429."""
        key = key_in(request.headers.get("authorization", ""))
        record = self.record_of(request, key)
        if not self._requests.allows(str(record.id), self._clock()):
            raise Refused("too many requests with this key; slow down", status=429)
        return record.entity

    def record_of(self, request: Request, key: str | None) -> KeyRecord:
        """What is known of a key. Raises Refused; guessing keys is slowed down."""
        record = None
        if key:
            with self._database.read() as connection:
                record = find_key(connection, key)
        if record is not None:
            return record
        peer = request.client.host if request.client else "?"
        if not self._failures.allows(peer, self._clock()):
            raise Refused("too many requests without a valid key; wait a minute", status=429)
        what = "this key is unknown or revoked" if key else "an API key is needed"
        raise Refused(f"{what}: see `sweep-agent env` and `sweep-agent keys`", status=401)


def key_in(authorization: str) -> str | None:
    """The key in a Basic or Bearer header."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, key = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return key or user or None


class RateLimit:
    """A token bucket for each caller."""

    def __init__(self, per_s: float, burst: float, callers: int = 10_000) -> None:
        self._per_s = per_s
        self._burst = burst
        self._callers = callers
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str, now: float) -> bool:
        level, then = self._levels.pop(caller, (self._burst, now))
        passed_s = max(0.0, now - then)  # a clock that was set back must not cost anybody hours
        level = min(self._burst, level + passed_s * self._per_s)
        allowed = level >= 1
        self._levels[caller] = (level - 1 if allowed else level, now)
        if len(self._levels) > self._callers:
            self._levels.popitem(last=False)
        return allowed


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body as it was sent. Raises Refused for one too large or too slow."""
    import anyio

    chunks: list[bytes] = []
    size = 0
    with anyio.move_on_after(BODY_TIMEOUT_S) as scope:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise Refused(f"the body is larger than {limit} bytes", status=413)
            chunks.append(chunk)
    if scope.cancelled_caught:
        raise Refused("the body did not arrive in time", status=400)
    return b"".join(chunks)


def unpacked_size(body: bytes) -> int:
    """What a gzip says of itself at its end; `unpack` takes not a byte more."""
    return int.from_bytes(body[-4:], "little")


def unpack(body: bytes, limit: int = MAX_BODY_BYTES) -> bytes:
    """Gzip, with a bound on what comes out. Raises Refused."""
    size = unpacked_size(body)
    if size > limit:
        raise Refused(f"the unpacked body is larger than {limit} bytes", status=413)
    try:
        plain = zlib.decompressobj(wbits=31).decompress(body, size + 1)
    except zlib.error:
        plain = None
    if plain is None or len(plain) != size:
        raise Refused("the body is not gzip, or damaged", status=400)
    return plain


Endpoint = Callable[[Request], Awaitable[Response]]
