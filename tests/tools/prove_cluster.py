"""The full counts of the cluster's claims; `make prove` calls `main`.

    python -m tests.tools.prove_cluster [SHARE]

SHARE of 0.2 runs a fifth of the counts. Needs Slurm (apt install slurmctld slurmd slurm-client
munge); returns {"skipped": reason} where it is not installed.
"""

import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.end_to_end import slurm_faults, slurm_full_disk
from tests.end_to_end.slurm_cluster import missing_programs
from tests.end_to_end.slurm_demo import whole_demo
from tests.end_to_end.slurm_stage import Stage, running_cluster, running_stage
from tests.end_to_end.slurm_training import LONG, SMALL, Outcome, one_training, prepare_project

T = TypeVar("T")
# Those that wait longest for Slurm first.
COUNTS = {
    "node": 1,
    "orphan": 1,
    "requeue": 5,
    "cancel": 5,
    "limit": 5,
    "program": 2,
    "agent": 2,
    "scancel": 3,
}
REQUEUED = ("node", "orphan", "requeue", "cancel", "limit")
AT_ONCE = 3  # trainings share the machine's cores, but wait for Slurm much of the time
MOST_SAVING_S, MOST_CANCELLING_S, MOST_WAITING = 2.0, 30.0, 0.03
MOST_RETURNING_S = 10.0  # from a task's start after a requeue to that of its own run


def main(share: float = 1.0) -> dict[str, object]:
    """Figures by name; `passed` says whether every claim held."""
    missing = missing_programs()
    if missing:
        return {"skipped": f"no Slurm here: {', '.join(missing)} not installed"}
    with tempfile.TemporaryDirectory(prefix="prove-cluster-") as folder:
        directory = Path(folder)
        patience = ["--settle-s", "5", "--silence-s", "60", "--lease-s", "60"]
        with (
            running_cluster(directory / "slurm", nodes=9) as cluster,
            running_stage(directory / "stage", cluster, *patience) as stage,
        ):
            prepare_project(stage)
            return prove(stage, share)


def prove(stage: Stage, share: float) -> dict[str, object]:
    undisturbed = {
        fault: show(one_training(stage, f"undisturbed-{fault}", "none", 0, length=length_of(fault)))
        for fault in ("any", "limit")
    }
    wanted = [
        (fault, number)
        for fault, count in COUNTS.items()
        for number in range(max(math.ceil(count * share), 1))
    ]

    def suffer(what: tuple[str, int]) -> Outcome | tuple[str, float] | str:
        fault, number = what
        try:
            return hurt(fault, f"{fault}-{number}", number)
        except Exception as error:  # the others still count, and this one is reported as failed
            return show(f"{fault}-{number}: {type(error).__name__}: {error}")

    def hurt(fault: str, name: str, number: int) -> Outcome | tuple[str, float]:
        if fault != "scancel":
            return show(one_training(stage, name, fault, number + 1, length=length_of(fault)))
        cancelled, seconds = slurm_faults.cancellation(stage, name)
        return show((cancelled.run_state, seconds))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(suffer, wanted))
    disks = prove_disks(stage, share) if slurm_full_disk.can_mount() else {}
    outcomes = [each for each in seen if isinstance(each, Outcome)]
    cancelled = [each for each in seen if isinstance(each, tuple)]
    errors = [each for each in seen if isinstance(each, str)]
    figures: dict[str, object] = {
        fault: figures_of(
            [o for o in outcomes if o.fault == fault], undisturbed.get(fault, undisturbed["any"])
        )
        for fault in COUNTS
        if fault != "scancel"
    }
    figures["scancel"] = {
        "of": len(cancelled),
        "slowest_s": round(max((s for _, s in cancelled), default=0.0), 1),
        "run_states": dict(Counter(state for state, _ in cancelled)),
    }
    figures["demo"] = demo = show(whole_demo(stage))
    figures["disks"] = {place: disk.figures for place, disk in disks.items()}
    figures["full_disks"] = {
        "full_s": slurm_full_disk.FULL_S,
        "places": len(disks),
        "points": sum(disk.points for disk in disks.values()),
        "trained": sum(disk.trained for disk in disks.values()),
        "charged": sum(disk.most_attempts > 1 for disk in disks.values()),
    }
    figures["errors"] = errors
    figures["passed"] = (
        not errors
        and all(is_sound(o, undisturbed.get(o.fault, undisturbed["any"])) for o in outcomes)
        and all(disk.is_sound for disk in disks.values())
        and (
            all(s < MOST_CANCELLING_S and state in ("failed", "killed") for state, s in cancelled)
            and (demo["points"], demo["states"]) == (15, {"finished": 15})
            and float(str(demo["waiting_share"])) < MOST_WAITING
        )
    )
    return figures


def length_of(fault: str) -> Mapping[str, object]:
    """What a training must last for to be hit by it."""
    return LONG if fault == "limit" else SMALL


def prove_disks(stage: Stage, share: float) -> dict[str, slurm_full_disk.Drought]:
    """Store, journal, server and the whole project, each full for a minute under a sweep."""
    places = slurm_full_disk.PLACES[: max(math.ceil(len(slurm_full_disk.PLACES) * share), 1)]

    def endure(place: str) -> slurm_full_disk.Drought:
        directory = stage.directory.parent / f"disk-{place}"
        return show(slurm_full_disk.endure(stage.cluster, directory, place))

    with ThreadPoolExecutor(len(places)) as pool:  # each with a project and a server of its own
        return dict(zip(places, pool.map(endure, places), strict=True))


def show(seen: T) -> T:
    """A proof takes long: what is known so far."""
    print(f"  {seen}", flush=True)
    return seen


def figures_of(outcomes: Iterable[Outcome], undisturbed: Outcome) -> dict[str, object]:
    rows = list(outcomes)
    saved = [seconds for row in rows for seconds in row.saved_s]
    return {
        "of": len(rows),
        "finished": sum((row.run_state, row.runs) == ("finished", 1) for row in rows),
        "same_weights": sum(row.weights == undisturbed.weights for row in rows),
        "same_history": sum(row.steps_logged == undisturbed.steps_logged for row in rows),
        "steps_logged_twice": sum(row.logged_twice for row in rows),
        "second_writers": sum(row.foreign_writers for row in rows),
        "most_live_programs_of_a_point": max((row.most_programs for row in rows), default=0),
        "left_behind": sum(row.left_behind for row in rows),
        "notices": len(saved),
        "slowest_notice_to_saved_s": round(max(saved), 2) if saved else None,
        "slowest_own_run_back_s": slowest(row.back_s for row in rows),
        "slowest_first_new_step_s": slowest(row.first_step_s for row in rows),
        "complaints_in_logs": sum(len(row.complaints) for row in rows),
    }


def slowest(seconds: Iterable[float | None]) -> float | None:
    return max((s for s in seconds if s is not None), default=None)


def is_sound(outcome: Outcome, undisturbed: Outcome) -> bool:
    return (
        (outcome.run_state, outcome.runs) == ("finished", 1)
        and outcome.weights == undisturbed.weights
        and outcome.steps_logged == undisturbed.steps_logged
        and (outcome.logged_twice, outcome.foreign_writers, outcome.left_behind) == (0, 0, 0)
        # A woken orphan lives until its next look at its term; that it writes nothing is above.
        and (outcome.most_programs == 1 or outcome.fault == "orphan")
        and (bool(outcome.saved_s) or outcome.fault not in ("requeue", "cancel", "limit"))
        and all(seconds <= MOST_SAVING_S for seconds in outcome.saved_s)
        and (outcome.back_s or 0.0) <= MOST_RETURNING_S
        and (outcome.back_s is not None or outcome.fault not in REQUEUED)
        and not outcome.complaints
    )


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0), indent=1))
