"""The name under which a process learns of a worker that has imported everything already."""

WARM_WORKER = "SWEEP_AGENT_WARM_WORKER"  # path of the worker's Unix socket
WORKER_MODULE = "agent.programs.warm_worker"  # run with that path as its only argument
