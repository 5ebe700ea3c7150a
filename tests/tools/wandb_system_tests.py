"""W&B's own system tests against this server, with several releases of the client.

    git clone https://github.com/wandb/wandb CLONE
    python -m tests.tools.wandb_system_tests --clone CLONE [--client 0.31.0 0.30.0 0.28.2]
        [--only test_sweep test_core] [--out FILE]

Each release gets an environment of its own (kept under --environments for the next time), the
tests of its own tag where the clone has it, a server, and the service through which W&B's tests
make their users. What fails is run once more alone. The exit status is 1 if a test failed for
which no reason is known.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agent import files
from agent.server.data_dir import open_database
from agent.server.process import running_server
from agent.server.store.keys import add_key

CLIENTS = ("0.31.0", "0.30.0", "0.28.2")
FOLDERS = ("test_sweep", "test_core", "test_api", "test_artifacts")
# Of W&B's requirements_test.txt, what these folders import.
REQUIREMENTS = (
    "pytest~=8.4",
    "pytest-asyncio~=1.2.0",
    "pytest-cov~=7.0",
    "pytest-xdist~=3.8",
    "pytest-mock~=3.15",
    "pytest-timeout~=2.4",
    "pyfakefs~=5.9",
    "parameterized~=0.9.0",
    "looptime",
    "flask~=2.2",
    "fastapi~=0.115.3",
    "httpx~=0.27.0",
    "responses~=0.23.3",
    "uvicorn~=0.32.0",
    "moto[s3]~=5.1",
    "pandas~=2.3",
    "numpy~=2.3",
    "pyte~=0.8.1",
    "hypothesis>=6.131.7",
    "filelock",
    "tqdm",
    "pillow",
    "pyarrow",
    "bokeh",
    "soundfile",
)
# W&B's tests of one release set up and tear down names that another release does not have.
_NEWER_CLIENT = """
import wandb.cli.cli

if not hasattr(wandb.cli.cli, "_api"):
    wandb.cli.cli._api = None
"""
NO_INTERNET = "fetches from Amazon or Google: needs the internet"
REASONS: Mapping[str, str] = {
    "*test_agent_term_timeout_escalates_to_sigkill*": "asks no server: its script replaces parts "
    "of one release of the client",
    "*test_create_team*": "reads a team, which this server does not have",
    "*test_organization_by_name*": "asks the fixture service for organisations",
    "*test_fetch_registry_artifact*": "registries are no part of this server",
    "*test_artifact_multipart_download_refresh_presigned_url*": "expects addresses of W&B",
    "*test_reference_download*": NO_INTERNET,
    "*test_wandb_artifact_config_update*": NO_INTERNET,
    "*test_wandb_artifact_init_config*": NO_INTERNET,
    "*test_wandb_artifact_config_set_item*": NO_INTERNET,
}
# A client older or newer than the tests lacks what they reach into: the test, not the server.
OF_THE_CLIENT = ("AttributeError", "ImportError", "ModuleNotFoundError", "TypeError")


@dataclass(frozen=True)
class Outcome:
    """One test."""

    name: str
    word: str  # passed, failed, skipped
    message: str = ""

    @property
    def reason(self) -> str:
        """Why the server is not at fault; empty if that is not known."""
        for pattern, reason in REASONS.items():
            if fnmatch.fnmatch(self.name, pattern):
                return reason
        if self.message.removeprefix('failed on setup with "').startswith(OF_THE_CLIENT):
            return f"uses what this release of the client lacks ({self.message[:100]})"
        return ""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clone", type=Path, required=True, help="a clone of wandb's repository")
    parser.add_argument("--client", nargs="+", default=CLIENTS, help="releases (%(default)s)")
    parser.add_argument("--only", nargs="+", default=FOLDERS, help="folders (%(default)s)")
    parser.add_argument("--environments", type=Path, default=Path(".pytest_cache/wandb-clients"))
    parser.add_argument("--out", type=Path, help="write the figures to this file (JSON)")
    args = parser.parse_args(words)
    if not (args.clone / "tests" / "system_tests").is_dir():
        parser.error(f"{args.clone} is not a clone of https://github.com/wandb/wandb")
    figures = {}
    for release in args.client:
        python = environment_of(release, args.environments.resolve())
        figures[release] = measure_client(release, python, args.clone, args.only)
        print(json.dumps({release: figures[release]}, indent=1), flush=True)
    if args.out:
        files.write_json(args.out, figures)
    return int(any(found["unexplained"] for found in figures.values()))


def environment_of(release: str, root: Path) -> Path:
    """The interpreter of an environment with this release of the client, made if it is new."""
    place = root / release
    if not (place / "made").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"wandb=={release}", *REQUIREMENTS], check=True)
        (place / "made").touch()
    return place / "bin" / "python"


def measure_client(
    release: str, python: Path, clone: Path, folders: Sequence[str]
) -> dict[str, Any]:
    """Figures of one release: counts, and every failure with its reason."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        work = lay_out(clone, root / "work", f"v{release}")
        with running_server(root / "data") as server, fixture_service(root / "data") as port:
            base_port = server.base_url.rsplit(":", 1)[1]
            runner = Runner(python, work, root)
            runner.connect(base_port, port)
            targets = [f"tests/system_tests/{name}" for name in folders]
            outcomes = runner.run(targets, "-n", "2")
            failed = [outcome for outcome in outcomes if outcome.word == "failed"]
            again = runner.run_again(failed)
    counts = Counter(outcome.word for outcome in outcomes)
    still = [again.get(outcome.name, outcome) for outcome in failed]
    still = [outcome for outcome in still if outcome.word == "failed"]
    return {
        **counts,
        "passed_when_run_again": len(failed) - len(still),
        "explained": {o.name: o.reason for o in still if o.reason},
        "unexplained": {o.name: o.message[:300] for o in still if not o.reason},
    }


def lay_out(clone: Path, work: Path, tag: str) -> Path:
    """The tests without the client's source beside them, which Python would import instead.

    Those of the tag, or those that the clone shows where it does not have the tag.
    """
    work.mkdir()
    packed = subprocess.run(
        ["git", "-C", str(clone), "archive", tag, "tests", "tools", "pyproject.toml"],
        capture_output=True,
        check=False,
    )
    if packed.returncode == 0:
        subprocess.run(["tar", "-x", "-C", str(work)], input=packed.stdout, check=True)
    else:
        shutil.copytree(clone / "tests", work / "tests")
        shutil.copytree(clone / "tools", work / "tools", ignore=shutil.ignore_patterns("*.state*"))
        shutil.copy(clone / "pyproject.toml", work)
    (work / "newer_client.py").write_text(_NEWER_CLIENT)
    return work


class Runner:
    """Runs W&B's tests with one interpreter."""

    def __init__(self, python: Path, work: Path, root: Path) -> None:
        self.python, self.work, self.root = python, work, root
        kept = {name: text for name, text in os.environ.items() if not name.startswith("WANDB_")}
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        (root / "home").mkdir()
        own = {"PATH": path, "HOME": str(root / "home"), "PYTHONPATH": str(work)}
        self.env = {**kept, **own}

    def connect(self, base_port: str, fixture_port: int) -> None:
        """Tell W&B's tool which server its tests use."""
        tool = ["tools/local_wandb_server.py", "start", "--hostname", "127.0.0.1"]
        ports = ["--base-port", base_port, "--fixture-port", str(fixture_port)]
        subprocess.run(
            [str(self.python), *tool, *ports], cwd=self.work, env=self.env, check=True, timeout=120
        )

    def run(self, targets: Sequence[str], *options: str) -> list[Outcome]:
        report = self.root / f"report-{time.monotonic_ns()}.xml"
        words = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "newer_client",
            "-p",
            "no:cacheprovider",
            "--timeout",
            "120",
            *options,
        ]
        with (self.root / "pytest.log").open("ab") as log:
            subprocess.run(
                [str(self.python), *words, f"--junitxml={report}", *targets],
                cwd=self.work,
                env=self.env,
                check=False,
                stdout=log,
                stderr=log,
            )
        if not report.exists():
            raise RuntimeError((self.root / "pytest.log").read_text(errors="replace")[-3000:])
        return list(read_report(report))

    def run_again(self, failed: Sequence[Outcome]) -> dict[str, Outcome]:
        """Alone, one after the other: a loaded machine or a neighbour may have been the reason."""
        again: dict[str, Outcome] = {}
        for outcome in failed:
            if outcome.reason or "::" not in outcome.name:
                continue
            for found in self.run([outcome.name]):
                again[outcome.name] = found
        return again


def read_report(report: Path) -> Iterator[Outcome]:
    """The tests in a JUnit report, by the ids that pytest takes."""
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = _test_id(case.get("classname") or "", case.get("name") or "")
        for kind, word in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
            found = case.find(kind)
            if found is not None:
                yield Outcome(name, word, _message_of(found))
                break
        else:
            yield Outcome(name, "passed")


def _message_of(element: ElementTree.Element) -> str:
    """What went wrong; of a file that does not import, the error."""
    message = (element.get("message") or "").strip()
    if message != "collection failure":
        return message
    errors = [line[1:].strip() for line in (element.text or "").splitlines() if line[:1] == "E"]
    return errors[-1] if errors else message


def _test_id(classname: str, name: str) -> str:
    """`tests.system_tests.test_sweep.test_x.TestY`, `test_z` -> the file, the class, the test."""
    parts = [part for part in (classname or name).split(".") if part]
    if not classname:  # a file that does not import
        return f"{'/'.join(parts)}.py"
    files_at = [number for number, part in enumerate(parts) if part.startswith("test_")]
    at = files_at[-1] if files_at else len(parts) - 1
    return "::".join([f"{'/'.join(parts[: at + 1])}.py", *parts[at + 1 :], name])


@contextlib.contextmanager
def fixture_service(data: Path) -> Iterator[int]:
    """What W&B's tests ask for users: a user is an entity, its name is its key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            if self.path.rstrip("/") != "/db/user":
                self._answer(501)
                return
            if body.get("command") == "up":
                database = open_database(data)
                with database.write() as connection:
                    add_key(connection, body["username"], body["username"], now=time.time())
                database.close()
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(service.server_address[1])
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
