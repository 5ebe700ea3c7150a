"""Where a run stands: its place on the cluster and the code it runs."""

import os

_ORIGIN = {
    "slurm/job_id": "SLURM_JOB_ID",
    "slurm/array_job_id": "SLURM_ARRAY_JOB_ID",
    "slurm/array_task_id": "SLURM_ARRAY_TASK_ID",
    "slurm/node": "SLURMD_NODENAME",
    "slurm/restarts": "SLURM_RESTART_COUNT",
    "slurm/log_path": "SWEEP_AGENT_LOG",
    "code/snapshot": "SWEEP_AGENT_SNAPSHOT",
    "code/commit": "SWEEP_AGENT_COMMIT",
    "code/diff_digest": "SWEEP_AGENT_DIFF_DIGEST",
    "code/lock_digest": "SWEEP_AGENT_LOCK_DIGEST",
    "code/extensions": "SWEEP_AGENT_EXTENSIONS",
}


def origin_values() -> dict[str, str]:
    """Where the run stands on the cluster, and which code it runs; only what is known."""
    return {key: os.environ[name] for key, name in _ORIGIN.items() if os.environ.get(name)}
