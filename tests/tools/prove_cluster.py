"""The full counts of the cluster's claims; `make prove` calls `main`.

    python -m tests.tools.prove_cluster [SHARE]
    python -m tests.prove cluster.limit cluster.demo      some of its parts

SHARE of 0.2 runs a fifth of the counts. Needs Slurm (apt install slurmctld slurmd slurm-client
munge); returns {"skipped": reason} where it is not installed.
"""

import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
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
PARTS = (*COUNTS, "disks", "demo")
REQUEUED = ("node", "orphan", "requeue", "cancel", "limit")
AT_ONCE = 3  # trainings share the machine's cores, but wait for Slurm much of the time
MOST_SAVING_S, MOST_CANCELLING_S, MOST_WAITING = 2.0, 30.0, 0.03
MOST_RETURNING_S = 10.0  # from a task's start after a requeue to that of its own run


def main(names: Sequence[str] = PARTS, share: float = 1.0) -> dict[str, object]:
    """Figures by part; `passed` says of each whether its claim held."""
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
            return prove(stage, names, share)


def prove(stage: Stage, names: Sequence[str], share: float) -> dict[str, object]:
    figures = prove_faults(stage, [fault for fault in COUNTS if fault in names], share)
    if "disks" in names:
        disks = prove_disks(stage, share) if slurm_full_disk.can_mount() else {}
        figures["disks"] = {place: disk.figures for place, disk in disks.items()}
        figures["full_disks"] = {
            "full_s": slurm_full_disk.FULL_S,
            "places": len(disks),
            "points": sum(disk.points for disk in disks.values()),
            "trained": sum(disk.trained for disk in disks.values()),
            "charged": sum(disk.most_attempts > 1 for disk in disks.values()),
            "passed": all(disk.is_sound for disk in disks.values()),
        }
    if "demo" in names:
        demo = show(whole_demo(stage))
        all_ended = (demo["points"], demo["states"]) == (15, {"finished": 15})
        passed = all_ended and float(str(demo["waiting_share"])) < MOST_WAITING
        figures["demo"] = {**demo, "passed": passed}
    return figures


def prove_faults(stage: Stage, faults: Sequence[str], share: float) -> dict[str, object]:
    def train(name: str, fault: str, seed: int, *, hit: bool) -> Outcome:
        length = LONG if fault == "limit" else SMALL  # a limit is noticed within half a minute
        return show(one_training(stage, name, fault if hit else "none", seed, length=length))

    def hurt(fault: str, name: str, number: int) -> Outcome | tuple[str, float]:
        if fault != "scancel":
            return train(name, fault, number + 1, hit=True)
        cancelled, seconds = slurm_faults.cancellation(stage, name)
        return show((cancelled.run_state, seconds))

    def suffer(what: tuple[str, int]) -> Outcome | tuple[str, float] | str:
        fault, number = what
        try:
            return hurt(fault, f"{fault}-{number}", number)
        except Exception as error:  # the others still count, and this one is reported as failed
            return show(f"{fault}-{number}: {type(error).__name__}: {error}")

    short = next((fault for fault in faults if fault not in ("limit", "scancel")), "")
    undisturbed = {
        fault: train(f"undisturbed-{fault}", fault, 0, hit=False)
        for fault in (short, "limit")
        if fault in faults
    }
    wanted = [
        (fault, number)
        for fault in faults
        for number in range(max(math.ceil(COUNTS[fault] * share), 1))
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(zip(wanted, pool.map(suffer, wanted), strict=True))
    figures: dict[str, object] = {}
    for fault in faults:
        mine = [each for (of, _), each in seen if of == fault]
        errors = [each for each in mine if isinstance(each, str)]
        if fault == "scancel":
            figures[fault] = cancelling_figures([e for e in mine if isinstance(e, tuple)], errors)
        else:
            alone = undisturbed.get(fault) or undisturbed[short]
            rows = [each for each in mine if isinstance(each, Outcome)]
            figures[fault] = figures_of(rows, alone, errors)
    return figures


def cancelling_figures(
    seen: Sequence[tuple[str, float]], errors: Sequence[str]
) -> dict[str, object]:
    is_sound = all(s < MOST_CANCELLING_S and state in ("failed", "killed") for state, s in seen)
    return {
        "of": len(seen),
        "slowest_s": round(max((s for _, s in seen), default=0.0), 1),
        "run_states": dict(Counter(state for state, _ in seen)),
        "errors": list(errors),
        "passed": is_sound and not errors,
    }


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


def figures_of(
    rows: Sequence[Outcome], undisturbed: Outcome, errors: Sequence[str]
) -> dict[str, object]:
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
        "errors": list(errors),
        "passed": not errors and all(is_sound(row, undisturbed) for row in rows),
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
    print(json.dumps(main(share=float(sys.argv[1]) if len(sys.argv) > 1 else 1.0), indent=1))
