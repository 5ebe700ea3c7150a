"""Whether the disks of a submission take data: asked before it, and whenever `status` is."""

from collections.abc import Iterable
from pathlib import Path

from agent import files
from agent.errors import DISK_ERRNOS


def disk_problems(state_dir: Path, logs: Iterable[Path]) -> list[str]:
    """A sentence for each directory that takes no data: of the state, and of the tasks' logs.

    One that does not exist yet is judged by the directory that it will be made in. Directories
    that belong to others are not judged: a colleague may look without writing.
    """
    problems = {}
    known = [("the state directory", state_dir, "no task can go on until there is room")]
    known += [
        ("the log directory", log, "lines of running tasks are lost, and no new task can start")
        for log in dict.fromkeys(logs)
    ]
    for name, directory, consequence in known:
        reason = _reason(directory)
        if reason:
            problems[directory] = f"{name} {directory} takes no data ({reason}): {consequence}"
    return list(problems.values())


def _reason(directory: Path) -> str:
    try:
        place = next(p for p in (directory, *directory.parents) if p.exists())
        files.check_writable(place)
    except OSError as error:
        return (error.strerror or "") if error.errno in DISK_ERRNOS else ""
    return ""
