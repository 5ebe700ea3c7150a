"""Errors a user can act on.

    SweepAgentError                 one line for people; the command line prints it and exits 2
    ├── ConfigError                 a grid point, sweep YAML or option is wrong; lists all problems
    ├── DataError                   a record, file or data set cannot be used
    ├── StoreError                  the training store is damaged, locked or unreadable
    │   └── LeaseLost               another worker took this training over; stop writing
    ├── TrainingDiverged            the loss is not a number
    ├── OutOfMemory                 the device is too small for one forward pass
    ├── ModelTooLarge               the device does not hold the model, or one query of it
    ├── TrackingError               the W&B server cannot be reached or refuses
    ├── ServerError                 the embedded sweep server cannot start or serve
    ├── StudyError                  the pruning storage cannot be read or written
    ├── ClusterError                Slurm is missing or refuses
    └── ReportError                 runs cannot be compared or a report cannot be written

Every message says what failed, the value, and how to fix it.
"""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum


class SweepAgentError(Exception):
    """Base of all errors that are printed as one line, without a traceback."""


SHOWN_PROBLEMS = 40  # of a configuration with more, in its message


class ConfigError(SweepAgentError):
    """One or more violations; all of them are in `problems`, and those that a person can read in
    the message: one in one line, many in a list.
    """

    def __init__(self, problems: Iterable[str], *, where: str = "the configuration") -> None:
        self.problems = tuple(problems)
        self.where = where
        count = len(self.problems)
        if count == 1:
            super().__init__(f"{where}: {self.problems[0]}")
            return
        lines = [f"  - {problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if count > SHOWN_PROBLEMS:
            lines.append(f"  and {count - SHOWN_PROBLEMS} more")
        super().__init__("\n".join([f"{count} problems in {where}:", *lines]))


class DataError(SweepAgentError):
    """A record, file or data set cannot be used."""


class StoreError(SweepAgentError):
    """The training store is damaged, locked or unreadable."""


class LeaseLost(StoreError):
    """Another worker has taken this training over; the old holder must stop writing."""


class TrainingDiverged(SweepAgentError):
    """The loss became NaN or infinite."""


class OutOfMemory(SweepAgentError):
    """The device's memory does not hold one forward and backward pass."""


class ModelTooLarge(SweepAgentError):
    """The device's memory does not hold the model, its deployed form, or one single query of it;
    smaller batches do not help."""


class TrackingError(SweepAgentError):
    """The W&B server cannot be reached or refuses the run."""


class ServerError(SweepAgentError):
    """The embedded sweep server cannot start or serve."""


class StudyError(SweepAgentError):
    """The pruning storage cannot be read or written."""


class ClusterError(SweepAgentError):
    """Slurm is missing or refuses."""


class ReportError(SweepAgentError):
    """Runs cannot be compared, or a report cannot be written."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line: its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def raising(kind: type[SweepAgentError], what: str) -> Iterator[None]:
    """Whatever a library raises in the block (the wandb client raises a dozen kinds) as one `kind`:
    `WHAT: its first line`. Errors of this module pass."""
    try:
        yield
    except SweepAgentError:
        raise
    except Exception as error:
        raise kind(f"{what}: {first_line(error)}") from error


# ---------------------------------------------------------------------- whose fault it is
@dataclass(frozen=True)
class Consequence:
    """What follows from a fault. This table is the only place that says so."""

    exit_status: int  # of train.py
    is_waited_out: bool  # the run keeps its place and tries again, charged nothing
    is_one_line: bool  # else with a traceback, for the program's developers


class Fault(Enum):
    """Whose fault it is that something ended before its time."""

    CALL = Consequence(2, False, True)  # the user's: config, data, names
    RESULT = Consequence(0, False, True)  # the learning rate's: the loss diverged
    SITE = Consequence(74, True, True)  # disk full, quota, permission, network
    NODE = Consequence(75, False, True)  # preemption, time limit, a node's death
    PROGRAM = Consequence(1, False, False)  # a defect of this program

    @property
    def exit_status(self) -> int:
        return self.value.exit_status


NOT_INSTALLED = 78  # of the job's script: no interpreter, no module, no key; a try changes nothing
# Of a disk that takes no data, for now.
DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})
_SITE_ERRNOS = frozenset(
    {
        # the file system: full, over quota, read-only, broken, gone away, not ours
        *DISK_ERRNOS,
        errno.EREMOTEIO,
        *(errno.EACCES, errno.EPERM, errno.ENFILE, errno.ENOLCK),
        # the network
        *(errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE),
        *(errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN),
    }
)
# What libraries say whose errors are not an OSError (safetensors, torch, SQLite, Optuna).
_SITE_WORDS = (
    "no space left on device",
    "disk quota exceeded",
    "read-only file system",
    "stale file handle",
    "database or disk is full",
    "disk i/o error",
    "os error 28",
    "os error 122",
    "pytorchstreamwriter failed writing",
    "connection refused",
    "connection reset",
    "server closed the connection",
    "timed out",
    "temporary failure in name resolution",
)


def fault_of(error: BaseException) -> Fault:
    """Whose fault `error` is, by its own type and by what it was raised from."""
    if isinstance(error, TrainingDiverged):
        return Fault.RESULT
    if any(_is_of_the_site(each) for each in _chain(error)):
        return Fault.SITE
    if isinstance(error, LeaseLost):
        return Fault.SITE  # another worker goes on with the training, which this run then follows
    return Fault.CALL if isinstance(error, SweepAgentError | FileNotFoundError) else Fault.PROGRAM


def one_line(error: BaseException) -> str:
    """The error for people, without a traceback; an OSError with its file."""
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{place}"
    return str(error).strip() or type(error).__name__


def _is_of_the_site(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _SITE_ERRNOS:
        return True
    words = str(error).lower()
    return not isinstance(error, ConfigError) and any(word in words for word in _SITE_WORDS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, `from None` included."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
