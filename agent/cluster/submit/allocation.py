"""How many tasks a submission asks for, never more than grid points, and on which GPUs. Pure."""

import dataclasses
import math
import re
from collections.abc import Iterable

from agent.cluster.options import ArrayOptions
from agent.cluster.slurm import duration_s, task_ids

EARLY_S = 60  # Slurm sends its signal up to a minute earlier than asked
WORKING_S = 120  # at least, between a task's start and its notice


def by_gpu_type(options: ArrayOptions) -> list[ArrayOptions]:
    """An array for each type of GPU that `gres` names with | between them; the tasks, and how many
    of them run at once, divided among the types in their order.
    """
    types = options.gres.split("|")
    if len(types) == 1:
        return [options]
    ids, (_, percent, throttle) = task_ids(options.array), options.array.partition("%")
    parts = []
    for index, gres in enumerate(types):
        own = ids[index :: len(types)]
        if not own:
            break
        array = ",".join(map(str, own))
        if percent:
            array += f"%{max(len(range(index, int(throttle), len(types))), 1)}"
        parts.append(dataclasses.replace(options, gres=gres, array=array))
    return parts


def gpus_per_task(options: ArrayOptions) -> int:
    """By its `gres`, of several types the smallest number; 1 where that names none."""
    counts = [re.search(r":(\d+)(?:\(|$)", each.split(",")[0]) for each in options.gres.split("|")]
    return min(int(count.group(1)) if count else 1 for count in counts)


def agents_per_task(options: ArrayOptions) -> int:
    """Workers of one task: its GPUs divided among agents, as `job.workload.slots` does."""
    groups = max(gpus_per_task(options) // int(options.gpus_per_agent), 1)
    return groups * int(options.agents_per_gpu)


def gpus_problem(options: ArrayOptions) -> str | None:
    """Why an agent could not have the GPUs that it is to start torchrun on, or a task has more."""
    has, wanted = gpus_per_task(options), int(options.gpus_per_agent)
    for word in options.sbatch:
        name, _, value = word.partition("=")
        count = re.search(r"(?:^|:)(\d+)$", value)
        if name == "gpus" and count and int(count.group(1)) > has:
            return (
                f"sbatch = {word}: a task has {has} (gres = {options.gres}), the rest would idle, "
                f"on another node perhaps; ask for --gres gpu:{value}"
            )
    asked_elsewhere = any(word.startswith("gpus") for word in options.sbatch)
    if has >= wanted or wanted == 1 or asked_elsewhere:
        return None
    return (
        f"gpus_per_agent = {wanted}: a task has {has} (gres = {options.gres}); ask for gpu:{wanted}"
    )


def fitting_array(options: ArrayOptions, points: int | None) -> tuple[str, str]:
    """The array that `points` grid points can use, and a sentence where it is smaller than asked;
    `points` is None where their number is unknown.
    """
    ids = task_ids(options.array)
    if points is None:
        return options.array, ""
    needed = max(math.ceil(points / agents_per_task(options)), 1)
    if len(ids) <= needed:
        return options.array, ""
    kept = ids[:needed]
    is_range = kept == list(range(kept[0], kept[0] + needed))
    text = f"{kept[0]}-{kept[-1]}" if is_range else ",".join(map(str, kept))
    _, percent, throttle = options.array.partition("%")
    if percent and int(throttle) < needed:
        text += f"%{throttle}"
    return text, f"{needed} tasks instead of {len(ids)}: there are {points} grid points to run"


def total(counts: Iterable[int | None]) -> int | None:
    """The sum; None as soon as one is unknown."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)


def time_problem(options: ArrayOptions) -> str | None:
    """Why a task could make no step between its start and the notice before its time limit."""
    limit_s = limit_seconds(options.time)
    needed_s = int(options.lead_s) + EARLY_S + WORKING_S
    if limit_s is None or limit_s >= needed_s:
        return None
    return (
        f"time = {options.time}: a task would save and requeue itself before it has trained; with "
        f"lead_s = {options.lead_s} it needs {needed_s} s or more, or a smaller --lead-s"
    )


def limit_seconds(text: str) -> int | None:
    """Seconds of sbatch's --time: minutes, minutes:seconds, hours:minutes:seconds, days-hours…"""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not text or not all(part.isdigit() for part in [*parts, days or "0"]):
        return None
    if dash:
        hours, minutes, seconds = (*map(int, parts), 0, 0)[:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    return int(rest) * 60 if len(parts) == 1 else duration_s(rest)
