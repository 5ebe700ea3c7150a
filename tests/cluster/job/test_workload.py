"""Which GPUs an agent sees and what stands in its environment."""

import os
import sys
from pathlib import Path

from agent.cluster.job.workload import agent_environment, slots


def test_gpus_are_dealt_out_among_the_agents() -> None:
    assert slots("0,1,2,3", gpus_per_agent=1, agents_per_gpu=1) == ["0", "1", "2", "3"]
    assert slots("0,1,2,3", gpus_per_agent=2, agents_per_gpu=1) == ["0,1", "2,3"]
    assert slots("0,1", gpus_per_agent=1, agents_per_gpu=2) == ["0", "0", "1", "1"]
    assert slots("5", gpus_per_agent=1, agents_per_gpu=3) == [None, None, None]
    assert slots(None, gpus_per_agent=1, agents_per_gpu=1) == [None]


def test_the_agents_own_rules_against_failing_sweeps_are_off(tmp_path: Path) -> None:
    environment = agent_environment(
        {"PATH": "/bin"}, files_dir=tmp_path, devices="1", extra={"SWEEP_AGENT_TASK": "1_2"}
    )
    assert environment["WANDB_AGENT_DISABLE_FLAPPING"] == "true"
    assert int(environment["WANDB_AGENT_MAX_INITIAL_FAILURES"]) > 1000
    assert environment["WANDB_ERROR_REPORTING"] == "false"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
