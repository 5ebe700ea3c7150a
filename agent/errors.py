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

from collections.abc import Iterable


class SweepAgentError(Exception):
    """Base of all errors that are told in one line, without a traceback."""


class ConfigError(SweepAgentError):
    """One or more violations; all of them are in `problems` and in the message."""

    def __init__(self, problems: Iterable[str], *, where: str = "the configuration") -> None:
        self.problems = tuple(problems)
        self.where = where
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in {where}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


class DataError(SweepAgentError):
    """A record, file or data set cannot be used."""


class StoreError(SweepAgentError):
    """The training store is damaged, locked or unreadable."""


class LeaseLost(StoreError):
    """Another worker has taken this training over; whoever gets this must stop writing."""


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
