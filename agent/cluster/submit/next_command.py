"""The one thing to do once no task is left, as a command that can be typed: pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from agent.cluster.offline_runs import NOT_SYNCED
from agent.cluster.options import ArrayOptions
from agent.cluster.submit.array import command, server_words, sync_command
from agent.cluster.submit.plan import PointState
from agent.cluster.submit.status import SweepStatus, counts_of


@dataclass(frozen=True)
class Ended:
    """A sweep without tasks."""

    status: SweepStatus
    file: str = ""  # its YAML, where there is one
    left: Sequence[PointState] | None = None  # of its file's points; None: they cannot be listed
    flags: str = ""  # of its submission, as far as they differ from the profile


def next_command(ended: Sequence[Ended], options: ArrayOptions) -> str:
    """Brings back all that is left, of files and of sweeps without one; else the report."""
    if any(NOT_SYNCED in counts_of(each.status) for each in ended):  # the rest shows afterwards
        return sync_command(options)
    commands = []
    for flags in dict.fromkeys(each.flags for each in ended):  # of each submission its own
        mine = [each for each in ended if each.flags == flags]
        files = list(dict.fromkeys(each.file for each in mine if each.left))
        states = {state for each in mine for state in each.left or ()}
        sweeps = [e.status.sweep for e in mine if e.left is None and _is_unfinished(e.status)]
        fill = "fill --failed" if PointState.FAILED in states else "fill"
        # Another array on a sweep without a file: its server has the points.
        for words, names in ((fill, files), ("submit", sweeps)):
            if names:
                call = " ".join([words, *map(shlex.quote, names), *filter(None, [flags])])
                commands.append(command(call, options))
    if commands:
        schedulers = [f"{e.status.scheduler} & " for e in ended if e.status.lacks_points]
        return "".join(schedulers) + " && ".join(commands)
    if any(counts_of(each.status)["running"] for each in ended):  # too early for a report
        return command("status --watch", options)
    projects = dict.fromkeys(each.status.sweep.rpartition("/")[0] for each in ended)
    return f"{server_words(options)}sweep-agent report {' '.join(map(shlex.quote, projects))}"


def may_have_left(status: SweepStatus) -> bool:
    """Whether a look at the single points is worth its time."""
    return _is_unfinished(status) or bool(counts_of(status)["failed"])


def _is_unfinished(status: SweepStatus) -> bool:
    counts = counts_of(status)
    return bool(counts["waiting"] or counts["cut off"])
