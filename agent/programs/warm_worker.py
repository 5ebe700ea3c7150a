"""A warm worker: a process that has imported everything, and forks `train.py` on request.

    python -m agent.programs.warm_worker SOCKET [DESCRIPTOR]

SOCKET is its address. DESCRIPTOR is the number of an inherited socket that listens there already,
so that a client who comes before this process has begun waits as well.

It holds no device and no threads, so a fork is as good as a fresh process. It ends when its
standard input does, that is with the process that started it, or by SIGTERM; in both cases what
it has forked runs to its end first. The other signals are left to those whom they are meant for.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import signals
from agent.config.warm_start import listen_at
from agent.log_noise import quieten_libraries
from agent.programs import warm_fork
from agent.programs.warm_client import ALONE, FORKED, LENGTH, STATUS
from agent.programs.warm_fork import Request

_ALWAYS = (
    "wandb",
    "agent.config.cli_options",
    "agent.evaluation.hardware",
    "agent.evaluation.model_artifact",
    "agent.evaluation.shared_scores",
    "agent.programs.logged_values",
    "agent.search.trials",
    "agent.tracking.patience",
    "agent.tracking.run",
    "agent.training.preflight",
    "agent.training.work_ahead",
    "requests",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.models.qwen2.tokenization_qwen2",
)
# bitsandbytes asks the GPU what it can as soon as it is imported, and PEFT imports it: a process
# that has talked to a GPU cannot be forked any more.
_WITHOUT_GPU = (
    "agent.evaluation.cpu_layers",
    "agent.evaluation.deployments",
    "agent.evaluation.generation",
    "agent.training.trainer",
    "peft.tuners.lora.bnb",
    "peft.utils.transformers_weight_conversion",
    "transformers.integrations.bitsandbytes",
)
# Read while libraries are imported: with other values, what was imported is not what would be.
_READ_AT_IMPORT = (
    "BNB_",
    "HF_",
    "LC_",
    "LD_",
    "MKL_",
    "OMP_",
    "PYTORCH_",
    "TORCH_",
    "TRANSFORMERS_",
)
_READ_AT_IMPORT_NAMES = ("LANG", "PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "PYTHONIOENCODING")
_LEFT_TO_OTHERS = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGQUIT)
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Served:
    """A client whose work runs in a fork."""

    connection: socket.socket
    pid: int


def main(words: Sequence[str]) -> int:
    """Serve until the end; in a fork, run what was asked for and end as it does."""
    path = Path(words[0])
    environment = dict(os.environ)
    inherited = int(words[1]) if len(words) > 1 else None
    with _listening(path, inherited) as listener:  # clients that come during the imports wait
        temporary = preload()
        request = Worker(listener, environment, _code_state()).serve()
    if request is not None:
        warm_fork.become(request, temporary)
        warm_fork.run(request.content["script"])
    return 0


def preload() -> "list[tempfile.TemporaryDirectory[str]]":
    """Import what `train.py` imports, without touching a device and without threads; gives the
    temporary directories that libraries have made meanwhile (wandb's for media)."""
    quieten_libraries()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # it starts its threads when imported
    gc.disable()  # modules stay, and looking for what could go takes a fifth of the imports
    from agent.tracking import wandb_ahead
    from agent.training.facts import devices

    for name in (*_ALWAYS, *(() if devices.may_have_gpu() else _WITHOUT_GPU)):
        importlib.import_module(name)
    wandb_ahead.prepare()
    from transformers import conversion_mapping

    conversion_mapping.get_checkpoint_conversion_mapping("llama")  # builds the table for all
    gc.collect()
    made = [o for o in gc.get_objects() if type(o) is tempfile.TemporaryDirectory]
    gc.freeze()  # what is shared stays shared: collecting in a fork would write to all of it
    gc.enable()
    return made


class Worker:
    """The loop: takes requests, forks, passes signals on, sends back how each fork ended."""

    def __init__(
        self, listener: socket.socket, environment: Mapping[str, str], code: Mapping[str, int]
    ) -> None:
        self._listener = listener
        self._environment = environment
        self._code = code
        self._served: dict[int, Served] = {}  # by pid
        self._is_ending = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()

    def serve(self) -> Request | None:
        """In this process None at the end; in each fork its request."""
        self._listen_to_signals()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, self._end)
        self._selector.register(self._woken, selectors.EVENT_READ, self._reap)
        while not self._is_ending or self._served:
            for key, _ in self._selector.select():
                request = key.data(key.fileobj)
                if request is not None:
                    return request  # type: ignore[no-any-return]
        return None

    def _listen_to_signals(self) -> None:
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)
        for number in _LEFT_TO_OTHERS:
            signal.signal(number, signal.SIG_IGN)

    def _end(self, _fileobj: Any) -> None:
        """Take no further clients."""
        self._is_ending = True
        for watched in (0, self._listener):
            with suppress(KeyError, ValueError):
                self._selector.unregister(watched)
        self._listener.close()

    def _reap(self, woken: int) -> None:
        if signal.SIGTERM in os.read(woken, 512):
            self._end(None)
        for pid in list(self._served):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                served = self._served.pop(pid)
                with suppress(OSError):
                    served.connection.sendall(STATUS.pack(status))
                self._drop(served.connection)

    def _drop(self, connection: socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        connection.close()

    def _accept(self, listener: socket.socket) -> Request | None:
        connection, _ = listener.accept()
        connection.settimeout(10)  # of a client that says nothing
        try:
            request = _receive(connection)
        except (OSError, ValueError):
            connection.close()
            return None
        connection.settimeout(None)
        is_able = self._can_stand_for(request.content)
        pid = self._fork(connection) if is_able else None
        if pid == 0:
            return request
        for stream in request.streams:
            os.close(stream)
        with suppress(OSError):
            connection.sendall(FORKED if pid else ALONE)
        if pid is None:
            connection.close()
            return None
        served = self._served[pid] = Served(connection, pid)
        self._selector.register(connection, selectors.EVENT_READ, lambda _: self._hear(served))
        return None

    def _fork(self, connection: socket.socket) -> int:
        """Signals wait until the fork has its own handlers."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._leave(connection)
            warm_fork.die_with(parent)
            signals.install()
            for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return pid

    def _leave(self, connection: socket.socket) -> None:
        """In a fork: let go of everything that is the worker's."""
        signal.set_wakeup_fd(-1)
        os.setpgid(0, 0)
        self._selector.close()
        self._listener.close()
        connection.close()
        for served in self._served.values():
            served.connection.close()
        os.close(self._woken)
        os.close(self._wake)

    def _hear(self, served: Served) -> None:
        """Signals for a fork; a client that has gone takes it along."""
        try:
            numbers = served.connection.recv(64)
        except OSError:
            numbers = b""
        if not numbers:
            self._drop(served.connection)
        for number in numbers or [signal.SIGKILL]:
            with suppress(ProcessLookupError):
                os.kill(served.pid, number)

    def _can_stand_for(self, request: Mapping[str, Any]) -> bool:
        """Whether a fork would be what the client itself would become."""
        interpreter = [sys.prefix, sys.version, *sys.flags]
        return (
            request["interpreter"] == interpreter
            and _import_settings(request["environment"]) == _import_settings(self._environment)
            and Path(request["script"]).resolve().parent == _ROOT
            and _code_state() == self._code
        )


# ---------------------------------------------------------------------- parts
@contextmanager
def _listening(path: Path, inherited: int | None) -> Iterator[socket.socket]:
    """A socket for this user alone, gone when the worker is."""
    owner = os.getpid()
    with socket.socket(fileno=inherited) if inherited is not None else listen_at(path) as listener:
        try:
            yield listener
        finally:
            if os.getpid() == owner:
                path.unlink(missing_ok=True)


def _receive(connection: socket.socket) -> Request:
    head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
    if len(head) != LENGTH.size or len(streams) != 3:
        raise ValueError("no request")
    size = LENGTH.unpack(head)[0]
    text = b""
    while len(text) < size:
        part = connection.recv(min(size - len(text), 1 << 16))
        if not part:
            raise ValueError("a request that breaks off")
        text += part
    return Request(json.loads(text), streams)


def _import_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_AT_IMPORT) or name in _READ_AT_IMPORT_NAMES
    }


def _code_state() -> dict[str, int]:
    """When each file of the project was changed: what was imported must be what lies there."""
    return {
        str(file): file.stat().st_mtime_ns
        for file in [_ROOT / "train.py", *(_ROOT / "agent").rglob("*.py")]
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
