"""A grid point without a model: the real wandb client, a slow count, train.py's manners.

It keeps its state in a file per learning rate, so that a resumed run goes on at the right step; its
"weights" are a running hash, so that a repeated or a skipped step shows. Options come with the
environment or a file called `settings.json` beside the state.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

asked: dict[int, float] = {}  # signal number: when it came first
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda received, frame: asked.setdefault(received, time.time()))

import wandb  # noqa: E402  # after the handlers, as in train.py


def main() -> int:
    words = json.loads(Path(sys.argv[-1]).read_text())
    point = {k: v["value"] if isinstance(v, dict) else v for k, v in words.items()}
    directory = Path(str(point["store"]))
    settings = json.loads((directory / "settings.json").read_text())
    state_path = directory / f"lr-{point['learning_rate']}.json"
    state: dict[str, Any] = {"step": 0, "weights": "", "lives": []}
    if state_path.exists():
        state = json.loads(state_path.read_text())

    # A live program of the same point in another process would be a second writer.
    owner = state_path.with_suffix(".owner")
    if owner.exists() and is_alive(int(owner.read_text() or "0")):
        state["overlaps"] = state.get("overlaps", 0) + 1
    owner.write_text(str(os.getpid()))

    def save() -> None:
        temporary = state_path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(state))
        temporary.replace(state_path)

    run = wandb.init(resume="allow", config=point)
    with run:
        for step in range(run.starting_step, state["step"] + 1):  # lost with a killed life
            if 0 < step <= state["step"]:
                run.log({"train/loss": 1 / step, "step": step}, step=step)
        if "fails_with" in settings:
            run.summary["stopped/reason"] = settings["fails_with"]
            run.finish(exit_code=1)
            return 1
        state["lives"].append([run.id, os.environ.get("SLURM_JOB_ID", ""), time.time()])
        save()
        while state["step"] < settings["steps"]:
            if asked:
                save()
                state["notice_to_saved_s"] = time.time() - min(asked.values())
                save()
                until = min(asked.values()) + 1  # the supervisor's word of what a SIGTERM means
                while signal.SIGUSR2 not in asked and time.time() < until:
                    time.sleep(0.02)
                if signal.SIGUSR2 in asked:
                    run.mark_preempting()
                    run.finish(exit_code=75)
                    return 75
                run.finish(exit_code=143)
                return 143
            time.sleep(settings["step_s"])
            text = f"{state['weights']}{state['step']}{point['learning_rate']}"
            state["weights"] = hashlib.sha256(text.encode()).hexdigest()
            state["step"] += 1
            run.log({"train/loss": 1 / state["step"], "step": state["step"]}, step=state["step"])
            if state["step"] % settings.get("checkpoint_every", 1) == 0:
                save()
        run.summary["validation/f1_score"] = float(point["learning_rate"])
        run.summary["weights"] = state["weights"]
        save()
    return 0


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


sys.exit(main())
