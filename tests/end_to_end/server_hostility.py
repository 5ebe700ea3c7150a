"""Hostile requests beside honest ones: nothing may crash, leak, slow down or grow."""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.end_to_end.server_load import Lost, Peer, percentile_ms
from tests.end_to_end.server_oddities import odd_requests

Attack = tuple[str, bytes]


def attacks(host: str, key_header: str) -> list[Attack]:
    """One raw request of each kind, by name."""
    own = f"Host: {host}\r\n"

    def post(path: str, body: bytes, head: str = own + key_header, more: str = "") -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\n{head}{more}Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    deep = b"[" * 100_000 + b"]" * 100_000
    query = json.dumps({"query": "{viewer" * 2000 + "}" * 2000}).encode()
    unknown = json.dumps({"query": "query Q($x: Nonsense!) {viewer {id}}"}).encode()
    wide = json.dumps({"query": "{" + "viewer {id} " * 5000 + "}"}).encode()
    stray = "/files/local/p/../../../../etc/passwd"
    return [
        ("missing key", post("/graphql", b"{}", own)),
        ("wrong key", post("/graphql", b"{}", own + "Authorization: Basic YXBpOmxvY2FsLXg=\r\n")),
        ("broken key", post("/graphql", b"{}", own + "Authorization: Basic %%%\r\n")),
        ("foreign host", post("/graphql", b"{}", "Host: evil.example\r\n" + key_header)),
        ("no host", b"GET /ready HTTP/1.1\r\n\r\n"),
        ("foreign origin", post("/graphql", b"{}", more="Origin: http://evil.example\r\n")),
        ("deep json", post("/graphql", deep)),
        ("deep json in a part", post("/files/local/p/r/file_stream", deep)),
        ("deep document", post("/graphql", query)),
        ("undeclared type", post("/graphql", unknown)),
        ("wide document", post("/graphql", wide)),
        ("not json", post("/graphql", b"\xff\xfe\x00")),
        ("wrong json", post("/graphql", b'{"query": [], "variables": "x"}')),
        (
            "gigabyte announced",
            f"POST /graphql HTTP/1.1\r\n{own}{key_header}"
            "Content-Length: 1073741824\r\n\r\n{".encode(),
        ),
        (
            "negative length",
            f"POST /graphql HTTP/1.1\r\n{own}{key_header}Content-Length: -5\r\n\r\n".encode(),
        ),
        ("path upwards", f"GET {stray} HTTP/1.1\r\n{own}{key_header}\r\n".encode()),
        (
            "encoded path upwards",
            f"GET /files/local/p/r/%2e%2e%2f%2e%2e%2fserver.json HTTP/1.1\r\n"
            f"{own}{key_header}\r\n".encode(),
        ),
        ("storage path upwards", f"GET /storage/..%2f..%2fx.db HTTP/1.1\r\n{own}\r\n".encode()),
        ("line breaks in the path", f"GET /a%0d%0aSet-Cookie:x=1 HTTP/1.1\r\n{own}\r\n".encode()),
        ("line breaks in a header", f"GET / HTTP/1.1\r\n{own}X: a\r\n b\r\nY\r\n\r\n".encode()),
        ("huge header", f"GET / HTTP/1.1\r\n{own}X: {'a' * 70_000}\r\n\r\n".encode()),
        ("many headers", f"GET / HTTP/1.1\r\n{own}{'X: a' + chr(13) + chr(10)}".encode() * 2000),
        ("long path", f"GET /{'a' * 20_000} HTTP/1.1\r\n{own}\r\n".encode()),
        ("no http", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20),
        ("bad gzip", post("/graphql", b"no gzip", more="Content-Encoding: gzip\r\n")),
        ("bad token", post("/storage/x.y", b"x").replace(b"POST", b"PUT")),
        ("slow headers", f"POST /graphql HTTP/1.1\r\n{own}".encode()),
        (
            "slow body",
            f"POST /graphql HTTP/1.1\r\n{own}{key_header}Content-Length: 1000\r\n\r\n{{".encode(),
        ),
        *odd_requests(own, key_header, post),
        (
            "chunk nonsense",
            f"POST /graphql HTTP/1.1\r\n{own}{key_header}"
            "Transfer-Encoding: chunked\r\n\r\nZZZ\r\n".encode(),
        ),
    ]


async def _attack(host: str, port: int, payload: bytes, wait_s: float) -> bytes:
    """Send and read whatever comes within the wait."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return b""
    answer = b""
    try:
        writer.write(payload)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(65_536), wait_s)
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()
    return answer


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def attack_all(url: str, key: str, requests: int) -> list[tuple[str, bytes]]:
    """Send the kinds in turn, shuffled, eight at a time; what was answered to each."""
    peer = Peer(url, key)
    kinds = attacks(f"{peer.host}:{peer.port}", peer.head.split("\r\n")[1] + "\r\n")
    queue = [kinds[i % len(kinds)] for i in range(requests)]
    random.Random(0).shuffle(queue)
    answers: list[tuple[str, bytes]] = []

    async def attacker() -> None:
        while queue:
            name, payload = queue.pop()
            answers.append((name, await _attack(peer.host, peer.port, payload, 0.3)))

    await asyncio.gather(*(attacker() for _ in range(8)))
    return answers


async def _attack_from_elsewhere(url: str, key: str, requests: int) -> list[tuple[str, bytes]]:
    """`attack_all` in a process of its own, so that only the server slows the honest client."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        url,
        str(requests),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HOSTILE_KEY": key, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    output, _ = await process.communicate()
    return [(name, text.encode("latin-1")) for name, text in json.loads(output)]


async def be_hostile(url: str, key: str, pid: int, *, requests: int) -> dict[str, Any]:
    """Send hostile requests while an honest client measures its own."""
    honest = Peer(url, key)
    viewer = {"query": "query Viewer {viewer {id entity}}"}
    for _ in range(20):
        await honest.post("/graphql", viewer)
    await _attack_from_elsewhere(url, key, 60)  # imports and caches are no leak
    before_mib = resident_mib(pid)
    times_s: list[float] = []
    attacking = asyncio.create_task(_attack_from_elsewhere(url, key, requests))
    lost = 0
    while not attacking.done():
        started = time.monotonic()
        try:
            status, _ = await honest.post("/graphql", viewer)
            assert status == 200, status
        except Lost:
            lost += 1
        times_s.append(time.monotonic() - started)
        await asyncio.sleep(0.02)
    answers = await attacking
    honest.close()
    secrets = (b"root:", b"SQLite", key.encode())
    return {
        "requests": len(answers),
        "kinds": len({name for name, _ in answers}),
        "server_errors": sum(b" 500 " in text[:20] for _, text in answers),
        "accepted": sorted({name for name, text in answers if text[:13].endswith(b" 200 ")}),
        "leaks": [name for name, text in answers if any(secret in text for secret in secrets)],
        "honest_requests": len(times_s),
        "honest_lost": lost,
        "honest_p50_ms": round(percentile_ms(times_s, 0.50), 1),
        "honest_p99_ms": round(percentile_ms(times_s, 0.99), 1),
        "memory_growth_mib": round(resident_mib(pid) - before_mib, 1),
    }


if __name__ == "__main__":
    found = asyncio.run(attack_all(sys.argv[1], os.environ["HOSTILE_KEY"], int(sys.argv[2])))
    print(json.dumps([(name, text.decode("latin-1")) for name, text in found]))
