"""The sweep server as a small job of its own, where login nodes allow no daemons.

One CPU, requeueable, ended by whoever started it. Its data lie on the node's own disk, because
SQLite cannot lock most shared file systems safely; a snapshot goes to shared storage every minute
and before the job ends, and the next life of the job starts from it. The address is written to
shared storage, where agents look it up before every start.
"""

import shlex
import time
from pathlib import Path

from agent.cluster.options import ArrayOptions
from agent.cluster.submit.submission import call_sbatch
from agent.errors import ClusterError, ConfigError
from agent.tracking.endpoint import NOTE_NAME, read_note

START_TIMEOUT_S = 300.0

_SCRIPT = """\
#!/bin/bash -l
#SBATCH --job-name={name}-server
#SBATCH --time={time}
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --export=NONE
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@60
#SBATCH --output={log}
{directives}set -euo pipefail
cd {code}
PYTHON={python}
if [ -z "$PYTHON" ]; then
  PYTHON=python
  if [ -x {project}/.venv/bin/python ]; then PYTHON={project}/.venv/bin/python; fi
fi
export PYTHONPATH="$PWD${{PYTHONPATH:+:$PYTHONPATH}}" WANDB_ERROR_REPORTING=false
exec "$PYTHON" -m agent.cluster.job.server_task --shared {data} --local "${{TMPDIR:-/tmp}}"
"""


def server_script(options: ArrayOptions, *, time_limit: str = "7-00:00:00") -> str:
    """The text of the server's job: a pure function of the array's options."""
    quote = shlex.quote
    directives = "".join(
        f"#SBATCH --{name}={value}\n"
        for name, value in (
            ("partition", options.partition),
            ("account", options.account),
            ("qos", options.qos),
        )
        if value
    )
    return _SCRIPT.format(
        name=options.job_name,
        time=time_limit,
        log=f"{options.state_dir}/server-%j.log",
        directives=directives,
        code=quote(options.code_dir or options.project_dir),
        project=quote(options.project_dir),
        python=quote(options.python) if options.python else "",
        data=quote(options.server_data),
    )


def start_server_job(options: ArrayOptions, *, timeout_s: float = START_TIMEOUT_S) -> str:
    """Submit the server and wait until it has written its address; the job id."""
    if not options.server_data:
        raise ConfigError(
            ["serve-in-job needs --server-data DIR, on storage that all nodes see"],
            where="the submission",
        )
    data = Path(options.server_data)
    data.mkdir(parents=True, exist_ok=True)
    (data / NOTE_NAME).unlink(missing_ok=True)
    script = Path(options.state_dir) / "scripts" / "server.sbatch"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(server_script(options), encoding="utf-8")
    job = call_sbatch(["sbatch", "--parsable", "--export=NONE", str(script)])
    end = time.monotonic() + timeout_s
    while not (data / NOTE_NAME).exists():
        if time.monotonic() > end:
            raise ClusterError(
                f"the server's job {job} wrote no note within {timeout_s:g} s; see "
                f"squeue --jobs {job} and {options.state_dir}/server-{job}.log"
            )
        time.sleep(1)
    print(f" server  job {job}, {read_note(data).url}; end it after the sweeps: scancel {job}")
    return job
