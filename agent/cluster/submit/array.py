"""Sending the array job: the script written, submitted, and how to watch it printed."""

import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from agent.cluster.options import ArrayOptions
from agent.cluster.script import array_script
from agent.cluster.submit.submission import submit_script
from agent.tracking.endpoint import ServerAccess


def access_of(options: ArrayOptions) -> ServerAccess:
    return ServerAccess(
        options.base_url or None,
        Path(options.server_data) if options.server_data else None,
        Path(options.key_file) if options.key_file else None,
    )


def send(options: ArrayOptions, sweeps: list[str], *, chain: int = 1) -> list[str]:
    """Write the script, submit it, say how to watch it; the job ids."""
    state_dir = Path(options.state_dir)
    script = state_dir / "scripts" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.sbatch"
    for directory in (script.parent, Path(options.log).parent):
        directory.mkdir(parents=True, exist_ok=True)
    script.write_text(array_script(options, sweeps), encoding="utf-8")
    jobs = submit_script(script, chain=chain, directory=Path(options.project_dir))
    print_commands(jobs, options)
    return jobs


def print_commands(jobs: list[str], options: ArrayOptions) -> None:
    chain = " ".join(jobs)
    log = options.log.replace("%A", jobs[0]).replace("%a", "0")
    shown: Mapping[str, str] = {
        "job": chain if len(jobs) == 1 else f"{chain} (each after the one before)",
        "watch": "sweep-agent status",
        "queue": f"squeue --jobs {','.join(jobs)}",
        "log": f"tail -f {shlex.quote(log)}",
        "cancel": f"scancel {chain}",
    }
    for name, text in shown.items():
        print(f"{name:>7}  {text}")
