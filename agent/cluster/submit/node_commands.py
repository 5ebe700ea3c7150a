"""`sweep-agent doctor` and `prepare`: before the cluster's hours are spent."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent import files
from agent.cluster.options import ACCESS, ArrayOptions
from agent.cluster.submit import node_checks
from agent.cluster.submit.allocation import by_gpu_type
from agent.cluster.submit.array import access_of
from agent.cluster.submit.disks import disk_problems
from agent.cluster.submit.node_checks import Check
from agent.cluster.submit.option_flags import add_option_arguments, options_of
from agent.cluster.submit.software import job_environment
from agent.cluster.submit.submission import check_files
from agent.config import sweep_yaml
from agent.config.run_config import RunConfig, digest, is_path
from agent.errors import ClusterError
from agent.file_systems import file_system_of
from agent.training import data, task_counts

ENVIRONMENT_FILE = "environment"  # in the state directory; every task of an array reads it
SRUN_TIMEOUT_S = 900.0
_OF_SRUN = ("partition", "account", "qos", "constraint", "gres", "reservation")


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--srun", action="store_true", help="look at a compute node as well")
    add_option_arguments(parser, (*ACCESS, *_OF_SRUN))


def run_doctor(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    checks = run_checks(options)
    print("\n".join(check.line for check in checks))
    failed = any(check.ok is False for check in checks)
    if args.srun:
        print("\ncompute node:")
        for part in by_gpu_type(options):
            failed = _doctor_on_a_node(part) or failed
    return 1 if failed else 0


def run_checks(options: ArrayOptions) -> list[Check]:
    """Every check for the node that this runs on."""
    state_dir = Path(options.state_dir)
    kind = file_system_of(state_dir)
    try:
        environment = access_of(options).environment(job_environment(os.environ))
        login = node_checks.check_login(environment, home=Path.home())
    except ClusterError as error:
        environment = dict(os.environ)
        login = Check("login", False, str(error))
    url = environment.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return [
        node_checks.check_slurm(),
        node_checks.check_driver(),
        *node_checks.check_gpu_software(),
        node_checks.check_locks(state_dir, kind),
        *_check_server_data(options),
        node_checks.check_space(state_dir),
        *_check_disks(options),
        node_checks.check_quota(state_dir),
        node_checks.check_network(url),
        login,
    ]


def _check_disks(options: ArrayOptions) -> list[Check]:
    """The directories of state and logs that take no data now, whatever is said to be free: a
    quota shows only in a write."""
    problems = disk_problems(Path(options.state_dir), [Path(options.log).parent])
    return [Check("disk", False, problem, "make room there") for problem in problems]


def _check_server_data(options: ArrayOptions) -> list[Check]:
    """The file system of the sweep server's data, where they can be seen from this node."""
    directory = Path(options.server_data)
    if not options.server_data or not directory.is_dir():
        return []
    return [node_checks.check_server_data(directory, file_system_of(directory))]


def _doctor_on_a_node(options: ArrayOptions) -> bool:
    """True when something failed there. The key travels as a file's name only."""
    words = ["srun", "--export=NONE", "--time=10", "--cpus-per-task=1"]
    for name in _OF_SRUN:
        if getattr(options, name):
            words.append(f"--{name}={getattr(options, name)}")
    inner = [sys.executable, "-m", "agent.cli", "doctor", "--state-dir", options.state_dir]
    for name in ("key_file", "base_url", "server_data"):
        if getattr(options, name):
            inner += [f"--{name.replace('_', '-')}", getattr(options, name)]
    try:
        return subprocess.run([*words, *inner], timeout=SRUN_TIMEOUT_S, check=False).returncode != 0
    except FileNotFoundError:
        raise ClusterError("srun is not installed here; run this on a login node") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"no compute node within {SRUN_TIMEOUT_S / 60:g} minutes") from None


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP.yaml")
    parser.add_argument(
        "--cache", type=Path, help="where downloads go; else below the state directory"
    )
    parser.add_argument(
        "--online", action="store_true", help="compute nodes may go on to ask the hub"
    )
    add_option_arguments(parser, ("state_dir",))


def run_prepare(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    check_files(args.sweeps)
    cache = (args.cache or Path(options.state_dir) / "cache").expanduser().absolute()
    variables = cache_variables(cache)
    for directory in variables.values():
        Path(directory).mkdir(parents=True, exist_ok=True)
    configs = [c for path in args.sweeps for c in sweep_yaml.configs(sweep_yaml.load(path))]
    for kind, name, revision in hub_names(configs):
        print(f"{kind} {name}", flush=True)
        _download(kind, name, revision, variables)
    if not args.online:
        variables |= {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
        }
    path = Path(options.state_dir) / ENVIRONMENT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}={value}" for name, value in variables.items()]
    files.write_atomically(path, "\n".join(["# written by sweep-agent prepare", *lines, ""]))
    print(f"{path}: read by every task of an array; for your own shell: set -a; . {path}")
    for config in distinct_looks(configs):
        _look_at(config, variables)
    return 0


def distinct_looks(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """One grid point for each pair of base and data, at each length."""
    chosen: dict[str, RunConfig] = {}
    for config in configs:
        fields = ("base_model", "base_revision", *task_counts.LIMITS, *data.FIELDS)
        chosen.setdefault(digest({name: getattr(config, name) for name in fields}), config)
    return list(chosen.values())


def _look_at(config: RunConfig, variables: Mapping[str, str]) -> None:
    """Base, tokenizer and data together, as a run will find them."""
    with tempfile.TemporaryDirectory(prefix="sweep-agent-") as folder:
        point = Path(folder) / "point.json"
        files.write_json(point, config.model_dump(mode="json"))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "agent.training.preflight", str(point)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
    print(done.stdout, end="", flush=True)
    if done.returncode:
        reason = done.stderr.strip() or "no message"
        raise ClusterError(reason if done.returncode == 2 else reason.splitlines()[-1])


def cache_variables(cache: Path) -> dict[str, str]:
    """Where the libraries put what they download and compile."""
    return {
        "HF_HOME": str(cache / "huggingface"),
        "TORCH_HOME": str(cache / "torch"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "WANDB_CACHE_DIR": str(cache / "wandb"),
        "WANDB_DATA_DIR": str(cache / "wandb-data"),
    }


def hub_names(configs: list[RunConfig]) -> list[tuple[str, str, str | None]]:
    """Models and data sets that have to be downloaded: kind, id and revision, each once."""
    found: dict[tuple[str, str, str | None], None] = {}
    for config in configs:
        if not is_path(config.base_model):
            found["model", config.base_model, config.base_revision] = None
        for value in (config.dataset, config.validation_dataset, config.test_dataset):
            for name in (part.strip() for part in (value or "").split(",")):
                if name and not is_path(name):
                    found["dataset", name, None] = None
    return list(found)


def _download(kind: str, name: str, revision: str | None, variables: Mapping[str, str]) -> None:
    words = [sys.executable, "-m", "agent.cluster.job.download", kind, name, revision or ""]
    done = subprocess.run(
        words, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(
            f"{kind} {name} cannot be downloaded: {reason}; check the name and, for a gated "
            "model, `hf auth login`"
        )
