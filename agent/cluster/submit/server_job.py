"""The sweep server as a small job of its own, where login nodes allow no daemons.

One CPU, requeueable, ended by the user who started it. Its data lie on the node's own disk, because
SQLite cannot lock most shared file systems safely; a snapshot goes to shared storage every minute
and before the job ends, and the next life of the job starts from it. The address is written to
shared storage, where agents look it up before every start.
"""

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from agent import files
from agent.cluster import slurm
from agent.cluster.job_records import last_lines
from agent.cluster.options import ArrayOptions
from agent.cluster.script import PLACE, directive, setup_lines
from agent.cluster.submit.partitions import Wanted
from agent.cluster.submit.submission import call_sbatch
from agent.errors import ClusterError, ConfigError
from agent.server_note import NAME as NOTE_NAME

START_TIMEOUT_S = 300.0
_MEMORY = "2G"

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}-server
#SBATCH --cpus-per-task=1
#SBATCH --mem={mem}
#SBATCH --export=NONE
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@60
{directives}
PROJECT_DIR={project}
CODE_DIR={code}
PYTHON={python}
MODULES={modules}
CONTAINER={container}
{setup}set -u
export WANDB_ERROR_REPORTING=false
{place}exec "${{container[@]}}" "$PYTHON" -c "$START" agent.cluster.job.server_task \\
  --shared {data} --local "${{TMPDIR:-/tmp}}"
"""


def server_script(options: ArrayOptions) -> str:
    """The text of the server's job: a pure function of the array's options. It needs no GPU, so
    it goes to the cluster's default partition unless `server_partition` names one.
    """
    quote = shlex.quote
    values = (
        ("time", options.server_time),
        ("output", f"{options.state_dir}/server-%j.log"),
        ("partition", options.server_partition),
        ("account", options.account),
        ("qos", options.qos),
    )
    return _SCRIPT.format(
        name=options.job_name,
        mem=_MEMORY,
        directives="\n".join(f"#SBATCH {directive(n, value)}" for n, value in values if value),
        code=quote(options.code_dir or options.project_dir),
        project=quote(options.project_dir),
        python=quote(options.python) if options.python else "",
        modules=quote(options.modules) if options.modules else "",
        container=quote(options.container) if options.container else "",
        setup=setup_lines(options),
        place=PLACE,
        data=quote(options.server_data),
    )


def wanted_by_server(options: ArrayOptions) -> Wanted:
    """What the server's job asks of its partition."""
    return Wanted(
        options.server_partition, options.server_time, _MEMORY, options.account, options.qos
    )


def check_server_options(options: ArrayOptions) -> None:
    if not options.server_data:
        raise ConfigError(
            ["serve-in-job needs --server-data DIR, on storage that all nodes see"],
            where="the submission",
        )


def write_server_script(options: ArrayOptions) -> Path:
    script = Path(options.state_dir) / "scripts" / "server.sbatch"
    script.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(script, server_script(options))
    return script


def start_server_job(
    options: ArrayOptions,
    check_signals: Callable[[], None],
    *,
    timeout_s: float = START_TIMEOUT_S,
) -> str:
    """Submit the server and wait until it has written its address; the job id. A job that the
    caller does not get is cancelled: `check_signals` raises when a signal ends the wait.
    """
    check_server_options(options)
    data = Path(options.server_data)
    data.mkdir(parents=True, exist_ok=True)
    (data / NOTE_NAME).unlink(missing_ok=True)
    script = write_server_script(options)
    job = call_sbatch(["sbatch", "--parsable", "--export=NONE", str(script)])
    try:
        _wait_for_note(job, options, check_signals, timeout_s)
    except BaseException:
        slurm.call(["scancel", job])
        raise
    return job


def _wait_for_note(
    job: str, options: ArrayOptions, check_signals: Callable[[], None], timeout_s: float
) -> None:
    log = Path(options.state_dir) / f"server-{job}.log"
    end = time.monotonic() + timeout_s
    while not (Path(options.server_data) / NOTE_NAME).exists():
        check_signals()
        queued = slurm.queue([job])
        if not queued:
            said = " | ".join(last_lines(log, 3)) or "its log is empty"
            raise ClusterError(f"the server's job {job} ended before it served: {said}; see {log}")
        if time.monotonic() > end:
            raise ClusterError(
                f"the server's job {job} wrote no note in {timeout_s:g} s "
                f"({queued[0].state.lower()}, {queued[0].reason}) and is cancelled; see {log}"
            )
        time.sleep(1)
