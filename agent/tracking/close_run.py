"""`python -m agent.tracking.close_run stopped|preempted`: end a run that could not end itself.

`scancel` sends SIGTERM to every process of a job at once, wandb's own included, which leaves
without the run's last messages; the run would count as running until the server misses it minutes
later. This process is started after the signal, under the run's own environment, and says them.
"""

import os
import sys
from collections.abc import Sequence

EXIT_CODES = {"stopped": 143, "preempted": 75}  # as train.py's own


def main(words: Sequence[str]) -> int:
    """Nothing happens when the run has ended already."""
    import wandb

    kind = words[0]
    names = (os.environ[f"WANDB_{part}"] for part in ("ENTITY", "PROJECT", "RUN_ID"))
    if wandb.Api().run("/".join(names)).state != "running":
        return 0
    run = wandb.init(resume="allow", settings=wandb.Settings(console="off", x_disable_stats=True))
    if kind == "preempted":
        run.mark_preempting()
    else:
        run.summary.update({"stopped/reason": "its job was cancelled"})
    run.finish(exit_code=EXIT_CODES[kind])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
