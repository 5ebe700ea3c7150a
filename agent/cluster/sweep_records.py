"""What this project has submitted: which sweep runs which code, in which jobs. One file a sweep."""

import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from agent import files
from agent.config.values import digest_of
from agent.errors import ClusterError, ConfigError


@dataclass(frozen=True)
class SweepRecord:
    """One submitted sweep."""

    sweep: str  # ENTITY/PROJECT/SWEEP
    file: str = ""  # the YAML, absolute; empty when only its path was given
    snapshot: str = ""  # directory of the code; empty without a snapshot
    jobs: tuple[str, ...] = field(default=())
    log: str = ""  # pattern of the log files, with %A and %a
    created_at: float = 0.0
    points: str = ""  # `name_points` of its file; empty in older records


class SweepRecords:
    """The records below one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / "sweeps"

    def all(self) -> list[SweepRecord]:
        """Oldest first. ClusterError for a file that cannot be read."""
        found = [_read(path) for path in sorted(self.directory.glob("*.json"))]
        return sorted(found, key=lambda record: record.created_at)

    def find(self, sweep: str) -> SweepRecord | None:
        path = self._path(sweep)
        return _read(path) if path.exists() else None

    def save(self, record: SweepRecord) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        files.write_json(self._path(record.sweep), asdict(record))

    def forget(self, sweep: str) -> None:
        """The sweep was taken back."""
        self._path(sweep).unlink(missing_ok=True)

    def add_job(self, sweep: str, job: str, *, file: str, snapshot: str, log: str) -> None:
        """Note that `job` works on `sweep`."""
        record = self.find(sweep) or SweepRecord(sweep, created_at=time.time())
        self.save(
            replace(
                record,
                file=file or record.file,
                snapshot=snapshot or record.snapshot,
                jobs=(*record.jobs, job),
                log=log,
            )
        )

    def _path(self, sweep: str) -> Path:
        return self.directory / f"{sweep.replace('/', '__')}.json"


def check_same_code(
    records: Iterable[SweepRecord | None], snapshot: str, *, allow_new_code: bool
) -> None:
    """ConfigError when a sweep already runs other code: its runs could not be compared."""
    problems = [
        f"{record.sweep} already runs the code in {record.snapshot}, not {snapshot}; its runs "
        "could not be compared. Submit with --allow-new-code to mix them, or make a new sweep"
        for record in records
        if record is not None and record.snapshot not in ("", snapshot)
    ]
    if problems and not allow_new_code:
        raise ConfigError(problems, where="the submission")


_OF_POINTS = ("method", "parameters", "program", "command")


def name_points(sweep: Mapping[str, object]) -> str:
    """Names what the points of a sweep file run: two files with one name train the same."""
    return digest_of({key: sweep.get(key) for key in _OF_POINTS})


def earlier_submissions(
    records: Iterable[SweepRecord], wanted: Mapping[Path, str]
) -> dict[Path, SweepRecord]:
    """The last submission of each of these files' points, `wanted` holding their `name_points`."""
    found = {}
    for record in records:
        for path, points in wanted.items():
            by_file = record.file == str(path.absolute())  # all that older records have
            if record.points == points if record.points else by_file:
                found[path] = record
    return found


def notes_on_earlier(earlier: Mapping[Path, SweepRecord], alive: Collection[str]) -> list[str]:
    """A line for each file whose points were submitted before, with what to type instead; `alive`
    are the jobs that wait or run. It may be meant: other options, another pruner, a new seed.
    """
    notes = []
    for path, record in earlier.items():
        jobs = [job for job in record.jobs if job in alive]
        state = f"job {', '.join(jobs)} still works on it" if jobs else "no job works on it"
        instead = (
            f"`sweep-agent submit {record.sweep}` adds tasks"
            if jobs
            else f"`sweep-agent fill {path}` runs what is left"
        )
        notes.append(
            f" before  {path} was submitted as {record.sweep} ({state}): all its points run once "
            f"more here; {instead}"
        )
    return notes


def _read(path: Path) -> SweepRecord:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return SweepRecord(**{**row, "jobs": tuple(row["jobs"])})
    except (OSError, ValueError, TypeError, KeyError):
        raise ClusterError(f"{path} is damaged; delete it and submit the sweep anew") from None
