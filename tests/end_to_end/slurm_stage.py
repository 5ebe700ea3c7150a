"""A small project on a real Slurm with the embedded server: what the tests of arrays share."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

from agent.cluster.options import ArrayOptions, parse_options
from agent.cluster.script import array_script
from agent.cluster.submit.submission import create_sweep
from agent.server.process import running_server
from tests.end_to_end.slurm_cluster import SlurmCluster

HERE = Path(__file__).parent
SWEEP = """\
program: slurm_point.py
method: grid
metric: {{name: validation/f1_score, goal: maximize}}
command: ["${{env}}", "${{interpreter}}", "{point}", "${{args_json_file}}"]
parameters:
  model_variant: {{value: Full LoRA}}
  dataset: {{value: somebody/data}}
  base_model: {{value: somebody/model}}
  store: {{value: "{store}"}}
  learning_rate: {{values: {rates}}}
"""


@dataclass
class Stage:
    """One project directory, one server, one cluster."""

    directory: Path
    cluster: SlurmCluster
    base_url: str
    entity: str
    server_environment: Mapping[str, str] = field(repr=False)
    server_data: Path = Path()
    scripts: int = 0

    # ------------------------------------------------------------------ sweeps
    def create_sweep(
        self, rates: int, *, steps: int, step_s: float, project: str = "study", **settings: object
    ) -> str:
        """A grid over `rates` learning rates; ENTITY/PROJECT/SWEEP."""
        path = self.write_sweep(project, rates, steps=steps, step_s=step_s, **settings)
        environment = {**os.environ, **self.server_environment}
        return create_sweep(path, environment, entity=self.entity, project=project)[0]

    def write_sweep(
        self, project: str, rates: int, *, steps: int, step_s: float, **settings: object
    ) -> Path:
        """The file of such a sweep, and what its points need."""
        store = self.directory / "outputs" / project
        store.mkdir(parents=True, exist_ok=True)
        settings = {"steps": steps, "step_s": step_s, **settings}
        (store / "settings.json").write_text(json.dumps(settings))
        path = self.directory / f"{project}.yaml"
        values = [round(0.001 * (index + 1), 6) for index in range(rates)]
        text = SWEEP.format(point=HERE / "slurm_point.py", store=store, rates=values)
        path.write_text(f"project: {project}\n{text}")
        return path

    def states(self, project: str = "study") -> list[dict[str, Any]]:
        """What every grid point's file says."""
        paths = sorted((self.directory / "outputs" / project).glob("lr-*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def runs(self, sweep: str) -> "list[wandb.apis.public.Run]":
        return list(self.api().sweep(sweep).runs)

    def runs_of_project(self, project: str) -> "list[wandb.apis.public.Run]":
        return list(self.api().runs(f"{self.entity}/{project}"))

    def sweep_of(self, project: str) -> str:
        """The sweep that `submit` has recorded for a project."""
        (path,) = (self.directory / "outputs/cluster/sweeps").glob(f"*__{project}__*.json")
        return str(json.loads(path.read_text())["sweep"])

    @property
    def python(self) -> str:
        return sys.executable

    def api(self) -> "wandb.Api":
        return wandb.Api(
            overrides={"base_url": self.base_url}, api_key=self.server_environment["WANDB_API_KEY"]
        )

    # ------------------------------------------------------------------ jobs
    def options(self, **values: object) -> ArrayOptions:
        return parse_options(self._given(), values)

    def _given(self) -> dict[str, object]:
        return {
            "array": "0-1",
            "gres": "gpu:1",
            "cpus_per_task": "1",
            "mem": "500M",
            "time": "00:30:00",
            "log": self.log_pattern,
            "project_dir": str(self.directory),
            "python": sys.executable,
            "server_data": str(self.server_data),
            "lead_s": "60",
        }

    def submit(self, sweeps: list[str], *words: str, **values: object) -> str:
        """sbatch the script's text; the array's job id."""
        self.scripts += 1
        script = self.directory / f"agents-{self.scripts}-{threading.get_ident()}.sbatch"
        script.write_text(array_script(self.options(**values), sweeps))
        return self.cluster.sbatch(*words, str(script), directory=self.directory)

    @property
    def log_pattern(self) -> str:
        (self.directory / "logs").mkdir(exist_ok=True)
        return str(self.directory / "logs" / "%A_%a.log")

    def log_of(self, job: str) -> str:
        """What the tasks of an array have printed."""
        paths = sorted((self.directory / "logs").glob(f"{job}_*.log"))
        return "\n".join(path.read_text() for path in paths)

    def flags(self, **values: object) -> list[str]:
        """The same options as words for `sweep-agent submit`."""
        given = {**self._given(), **values}
        del given["project_dir"]
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in given.items())
        return [word for pair in pairs for word in pair]

    def access(self, **values: object) -> list[str]:
        """Of these options, those that commands take which only read."""
        given = {"state_dir": "outputs/cluster", "server_data": self.server_data, **values}
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in given.items())
        return [word for pair in pairs for word in pair]

    def init_git(self, *ignored: str) -> None:
        """Make the project a checkout with one commit, which submit can freeze."""
        names = ("outputs/", "logs/", "*.key", *ignored)
        (self.directory / ".gitignore").write_text("\n".join([*names, ""]))
        name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
            subprocess.run(["git", *name, *words], cwd=self.directory, check=True)

    def command(
        self,
        *words: str,
        check: bool = True,
        key_in_environment: str = "",
        first_in_path: Path | None = None,
        closed_output: bool = False,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `sweep-agent` in the project, on the cluster's login node; with `closed_output` its
        reader has gone, as `| head -0` has.
        """
        call = [sys.executable, "-m", "agent.cli", *words]
        if closed_output:
            call = ["bash", "-c", '"$@" | true; exit "${PIPESTATUS[0]}"', "bash", *call]
        more = {"WANDB_ENTITY": self.entity}
        if key_in_environment:
            more["WANDB_API_KEY"] = key_in_environment
        return self._run(call, more, first_in_path, check=check)

    def start_command(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        """`command` in a process group of its own, as a shell starts it, for the test to signal."""
        more = {"WANDB_ENTITY": self.entity, **variables}
        return subprocess.Popen(
            [sys.executable, "-m", "agent.cli", *words],
            cwd=self.directory,
            env={**os.environ, **self.cluster.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def shell(self, line: str) -> str:
        """What a command says that the program has printed, typed as it stands into a shell."""
        programs = self.directory.parent / "login programs"
        programs.mkdir(exist_ok=True)
        program = programs / "sweep-agent"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agent.cli "$@"\n')
        program.chmod(0o755)
        return self._run(["bash", "-c", line], {}, programs).stdout

    def _run(
        self,
        call: list[str],
        more: dict[str, str],
        first_in_path: Path | None = None,
        *,
        check: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **self.cluster.environment, **more}
        if first_in_path:
            environment["PATH"] = f"{first_in_path}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            call,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert not check or done.returncode == 0, f"{call}: {done.stdout}{done.stderr}"
        return done


def job_in(text: str) -> str:
    """The job id that `submit` and `fill` print."""
    return next(line.split()[1] for line in text.splitlines() if "job  " in line)


@contextlib.contextmanager
def running_cluster(
    directory: Path, *, nodes: int = 2, gpu_types: tuple[str, ...] = ()
) -> Iterator[SlurmCluster]:
    """A cluster for as long as the block runs."""
    cluster = SlurmCluster(directory, nodes=nodes, gpu_types=gpu_types)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def running_stage(directory: Path, cluster: SlurmCluster, *words: str) -> Iterator[Stage]:
    """A project with a server of its own on that cluster."""
    project = directory / "project"
    project.mkdir(parents=True, exist_ok=True)
    data = directory / "server"
    with running_server(data, options=words) as server:
        yield Stage(project, cluster, server.base_url, server.entity, server.env, data)
