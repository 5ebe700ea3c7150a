"""The full counts of the cluster's claims; `make prove` calls `main`.

    python tests/prove_cluster.py [SHARE]

SHARE of 0.2 runs a fifth of the counts. Needs Slurm (apt install slurmctld slurmd slurm-client
munge); returns {"skipped": reason} where it is not installed.
"""

import json
import math
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "end_to_end"))

import slurm_faults
from slurm_cluster import missing_programs
from slurm_stage import Stage, running_cluster, running_stage
from slurm_training import Outcome, one_training, prepare_project, whole_demo

COUNTS = {"requeue": 5, "cancel": 5, "limit": 5, "program": 2, "agent": 2, "node": 1, "orphan": 1}
AT_ONCE = 3  # trainings share the machine's cores


def main(share: float = 1.0) -> dict[str, object]:
    """Figures by name; `passed` says whether every claim held."""
    missing = missing_programs()
    if missing:
        return {"skipped": f"no Slurm here: {', '.join(missing)} not installed"}
    with tempfile.TemporaryDirectory(prefix="prove-cluster-") as folder:
        directory = Path(folder)
        patience = ["--settle-s", "5", "--silence-s", "60", "--lease-s", "60"]
        with (
            running_cluster(directory / "slurm", nodes=6) as cluster,
            running_stage(directory / "stage", cluster, *patience) as stage,
        ):
            prepare_project(stage)
            return prove(stage, share)


def prove(stage: Stage, share: float) -> dict[str, object]:
    undisturbed = one_training(stage, "undisturbed", "none", 0)
    wanted = [
        (fault, number)
        for fault, count in COUNTS.items()
        for number in range(max(math.ceil(count * share), 1))
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(
            pool.map(lambda w: one_training(stage, f"{w[0]}-{w[1]}", w[0], w[1] + 1), wanted)
        )
        cancelled, seconds = slurm_faults.cancellation(stage, "cancelled")
    figures: dict[str, object] = {
        fault: figures_of([o for o in outcomes if o.fault == fault], undisturbed)
        for fault in COUNTS
    }
    figures["scancel"] = {"seconds": round(seconds, 1), "run_state": cancelled.run_state}
    figures["demo"] = demo = whole_demo(stage)
    figures["passed"] = all(is_sound(o, undisturbed) for o in outcomes) and (
        seconds < 30 and cancelled.run_state != "running" and demo["states"] == {"finished": 15}
    )
    return figures


def figures_of(outcomes: Iterable[Outcome], undisturbed: Outcome) -> dict[str, object]:
    rows = list(outcomes)
    saved = [row.saved_s for row in rows if row.saved_s is not None]
    return {
        "of": len(rows),
        "finished": sum(row.run_state == "finished" for row in rows),
        "same_weights": sum(row.weights == undisturbed.weights for row in rows),
        "same_history": sum(row.steps_logged == undisturbed.steps_logged for row in rows),
        "steps_logged_twice": sum(row.logged_twice for row in rows),
        "second_writers": sum(row.foreign_writers for row in rows),
        "slowest_notice_to_saved_s": round(max(saved), 2) if saved else None,
    }


def is_sound(outcome: Outcome, undisturbed: Outcome) -> bool:
    return (
        outcome.run_state == "finished"
        and outcome.weights == undisturbed.weights
        and outcome.steps_logged == undisturbed.steps_logged
        and outcome.logged_twice == 0
        and outcome.foreign_writers == 0
    )


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0), indent=1))
