"""`python -m agent.tracking.close_run stopped|preempted|failed`: end a run that could not itself.

`scancel` sends SIGTERM to every process of a job at once, wandb's own included, which leaves
without the run's last messages; the run would count as running until the server misses it minutes
later. This process is started after the signal, under the run's own environment, and says them.
`failed REASON STATUS` is said for a run whose program ended before it opened the run.
"""

import os
import sys
from collections.abc import Sequence

from agent.tracking.provenance import origin_values

EXIT_CODES = {"stopped": 143, "preempted": 75}  # as train.py's own


def main(words: Sequence[str]) -> int:
    """Nothing happens when the run has ended already, or speaks to no server."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return 0
    import wandb

    kind = words[0]
    if kind == "failed":
        return _fail(words[1], int(words[2]))
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


def _fail(reason: str, status: int) -> int:
    import wandb

    settings = wandb.Settings(console="off", x_disable_stats=True)
    run = wandb.init(job_type="training", config=origin_values(), resume="allow", settings=settings)
    run.summary.update({"stopped/reason": reason})
    run.finish(exit_code=status if status > 0 else 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
