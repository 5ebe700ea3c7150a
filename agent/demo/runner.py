"""The demo: real server, real `wandb sweep`, real `wandb agent`s, one table at the end.

It only composes what a user would start by hand, and ends every process that it has started.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from agent.cluster import processes
from agent.cluster.warm_start import warm_worker
from agent.config import sweep_yaml
from agent.demo import data, results, schedule
from agent.errors import SweepAgentError
from agent.files import write_atomically
from agent.server.process import running_server
from agent.tracking import notices

PROJECT = "sweep-agent-demo"
USUAL_OUT = Path("outputs/demo")  # as the sweep YAMLs have it
POLL_S = 4.0  # between two looks at all runs; an agent that ends is noticed at once
_GOING_ON = ("PENDING", "RUNNING", "PAUSED")
_MEASURED = re.compile(r"^(.+): logged as ", re.MULTILINE)
_SWEEP_PATH = re.compile(r"wandb agent (?:--\S+ )*([\w.-]+/[\w.-]+/[\w-]+)")


class Demo:
    """One run of the demo. `run` returns 0 when every grid point ended as finished or pruned."""

    def __init__(
        self, out: Path, sweeps: Path, agents: int | None, *, queries: int, reuse: bool
    ) -> None:
        self._queries = queries
        self._out = out
        self._files = sorted(sweeps.glob("*.yaml"))
        self._agents = agents
        self._reuse = reuse
        self._env: dict[str, str] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self._agents_started = 0
        self._running_agents: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._is_ending = False
        self._agent_ended = threading.Event()
        if not self._files:
            raise SweepAgentError(f"{sweeps}: holds no sweep YAML; run this where the project lies")

    def run(self) -> int:
        began = time.monotonic()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C: clean up
        self._prepare()
        with ExitStack() as stack:
            server = stack.enter_context(running_server(self._out / "server"))
            stack.callback(self._end_all)
            self._env = self._environment(server.env)
            print(f"server   {server.base_url} (data in {self._out / 'server'})", flush=True)
            watcher = self._run_sweeps(server.entity)
            project = watcher.project
            if self._queries:
                self._benchmark(watcher.sweeps)
            self._test(project)
            self._score_base()
            runs = watcher.rows()
            self._report(project)
        results.write_csv(runs, self._out / "results.csv")
        baselines = json.loads((self._out / "baseline.json").read_text())
        results.print_end(runs, baselines, results.study_of(self._out, PROJECT))
        minutes = (time.monotonic() - began) / 60
        print(f"{len(runs)} runs in {minutes:.1f} minutes; {self._out / 'results.csv'}", flush=True)
        for line in results.next_lines(self._out / "server", project):
            print(line, flush=True)
        return self._verdict(runs)

    # ------------------------------------------------------------------ before
    def _prepare(self) -> None:
        """Start from nothing (unless --reuse), with the demo's data in place."""
        for name in ("server", "wandb", "logs", *(() if self._reuse else ("store",))):
            shutil.rmtree(self._out / name, ignore_errors=True)
        (self._out / "logs").mkdir(parents=True, exist_ok=True)
        (self._out / "wandb").mkdir(exist_ok=True)
        self._files = [self._placed(file) for file in self._files]
        files = data.write_data(self._out / "data")
        print(f"data     {len(files)} LongRefiner-format files in {self._out / 'data'}", flush=True)

    def _placed(self, file: Path) -> Path:
        """The sweep YAML with its data and store in the folder of this demo."""
        if self._out == USUAL_OUT:
            return file
        text = re.sub(
            rf"{re.escape(str(USUAL_OUT))}/(\S+)",
            lambda found: json.dumps(str(self._out / found[1])),  # a JSON text is one of YAML
            file.read_text(encoding="utf-8"),
        )
        placed = self._out / "sweeps" / file.name
        placed.parent.mkdir(exist_ok=True)
        write_atomically(placed, text)
        return placed

    def _environment(self, server: Mapping[str, str]) -> dict[str, str]:
        """Nothing of the user's own W&B settings; one core per worker, so that results repeat."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        return {
            **inherited,
            **server,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "WANDB_DIR": str((self._out / "wandb").absolute()),
            "WANDB_CACHE_DIR": str((self._out / "wandb" / "cache").absolute()),
            "WANDB_DATA_DIR": str((self._out / "wandb" / "data").absolute()),
            "WANDB_AGENT_DISABLE_FLAPPING": "true",
            "WANDB_ERROR_REPORTING": "false",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def _create_sweep(self, file: Path, entity: str) -> str:
        command = [sys.executable, "-m", "wandb", "sweep", "--entity", entity, "--project", PROJECT]
        done = subprocess.run(
            [*command, str(file)], env=self._env, capture_output=True, text=True, check=False
        )
        words = done.stdout + done.stderr
        found = _SWEEP_PATH.search(words)
        if done.returncode or not found:
            raise SweepAgentError(f"wandb sweep {file} failed: {words.strip()[-500:]}")
        print(f"sweep    {file} -> {found.group(1)}", flush=True)
        return found.group(1)

    # ------------------------------------------------------------------ during
    def _run_sweeps(self, entity: str) -> results.Watcher:
        """Create every sweep, while a warm worker imports, and have agents run them to their ends.
        Gives what reads their runs."""
        with warm_worker(self._env) as warm:
            paths = [self._create_sweep(file, entity) for file in self._files]
            watcher = results.Watcher(self._env, paths)  # before the machine is busy
            self._env |= warm
            self._run_agents(paths, watcher)
        return watcher

    def _run_agents(self, sweeps: list[str], watcher: results.Watcher) -> None:
        """Until every sweep has ended: those that train first, each that only follows as soon as
        its trainings are there."""
        files = zip(sweeps, self._files, strict=True)
        training, following = schedule.split(
            schedule.turns({sweep: sweep_yaml.load(file) for sweep, file in files})
        )
        count = schedule.agents_for(training, self._agents)
        threads = self._start_agents(count, [turn.sweep for turn in training])
        print(f"agents   {count} (logs in {self._out / 'logs'})", flush=True)
        ended: set[str] = set()
        while any(thread.is_alive() for thread in threads) or following:
            self._agent_ended.wait(POLL_S)
            self._agent_ended.clear()
            watcher.show_changes()
            states = notices.sweep_states(sweeps, self._env)
            ended = {sweep for sweep, state in states.items() if state not in _GOING_ON}
            is_idle = not any(thread.is_alive() for thread in threads)
            for turn in [turn for turn in following if is_idle or turn.after <= ended]:
                following.remove(turn)
                threads += self._start_agents(
                    schedule.agents_for([turn], self._agents), [turn.sweep]
                )
            if ended == set(sweeps) and not following:
                self._end_idle_agents()
        watcher.show_changes()

    def _start_agents(self, count: int, sweeps: list[str]) -> list[threading.Thread]:
        threads = []
        for _ in range(count):
            self._agents_started += 1
            name = f"agent-{self._agents_started}"
            thread = threading.Thread(target=self._work_through, args=(name, sweeps), daemon=True)
            thread.start()
            threads.append(thread)
        return threads

    def _work_through(self, name: str, sweeps: list[str]) -> None:
        """One agent: each sweep until no work of it can reach the agent, then the next."""
        for sweep in sweeps:
            if self._is_ending:
                break
            command = ["-m", "agent.tracking.agent_program", "agent", "--forward-signals", sweep]
            agent = self._running_agents[name] = self._start(command, name)
            agent.wait()
        self._agent_ended.set()

    def _end_idle_agents(self) -> None:
        """Every sweep has ended, and agents hear of it at their next look only, in up to 5 s."""
        self._is_ending = True
        for agent in list(self._running_agents.values()):
            if agent.poll() is None and not processes.grid_points_below(agent.pid):
                agent.terminate()

    # ------------------------------------------------------------------ after
    def _benchmark(self, sweeps: Sequence[str]) -> None:
        """Measure the inference of every finished run, one fresh process after the other: side
        by side they would slow each other down."""
        print(f"benchmark of the finished runs, {self._queries} queries each", flush=True)
        command = ["-m", "agent.cli", "benchmark", "--reference", "--queries", str(self._queries)]
        for sweep in sweeps:
            command += ["--all", sweep]
        process = self._start(command, "benchmark")
        shown = 0
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
            shown = self._show_measured(shown)
        self._show_measured(shown)
        if process.returncode:
            raise SweepAgentError(f"not every run was measured; see {self._log('benchmark')}")

    def _show_measured(self, shown: int) -> int:
        """A line for each run measured since `shown` of them; how many there are now."""
        names = _MEASURED.findall(self._log("benchmark").read_text(errors="replace"))
        for number, name in enumerate(names[shown:], start=shown + 1):
            print(f"[{number:2d} done] measured  {name}", flush=True)
        return len(names)

    def _test(self, project: str) -> None:
        """Choose by validation, then score each choice once on the test split."""
        choices = str(self._out / "choices.json")
        commands = (
            ["select", project, "--points", "final", "--out", choices],
            ["evaluate", "--choices", choices],
        )
        for words in commands:
            if self._start(["-m", "agent.cli", *words], words[0]).wait():
                raise SweepAgentError(f"nothing was tested; see {self._log(words[0])}")
        print(f"test     the choices in {choices}, once each", flush=True)

    def _score_base(self) -> None:
        """The untouched base in each form, measured as the runs were."""
        sweep = sweep_yaml.load(self._files[0])
        point = self._out / "baseline-point.json"
        point.write_text(json.dumps(next(sweep_yaml.grid_points(sweep))))
        command = [
            "-m",
            "agent.cli",
            "baseline",
            "--config",
            str(point),
            "--every-form",
            "--test",
        ]
        command += ["--queries", str(self._queries), "--out", str(self._out / "baseline.json")]
        if self._start(command, "baseline").wait():
            raise SweepAgentError(f"the base model was not scored; see {self._log('baseline')}")
        print(f"base     {self._out / 'baseline.json'}", flush=True)

    def _report(self, project: str) -> None:
        command = ["-m", "agent.cli", "report", project, "--out", str(self._out)]
        command += ["--baseline", str(self._out / "baseline.json")]
        if self._start(command, "report").wait():
            raise SweepAgentError(f"the report was not written; see {self._log('report')}")
        print(f"report   {self._out / 'report.html'}", flush=True)

    # ------------------------------------------------------------------ processes
    def _log(self, name: str) -> Path:
        return self._out / "logs" / f"{name}.log"

    def _start(self, arguments: list[str], name: str) -> "subprocess.Popen[bytes]":
        with self._lock, self._log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._started.append(process)
            return process

    def _end_all(self) -> None:
        """SIGTERM to what still runs (agents pass it on), then SIGKILL to its whole session."""
        self._is_ending = True
        with self._lock:
            alive = [process for process in self._started if process.poll() is None]
        for process in alive:
            process.terminate()
        for process in alive:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()

    def _verdict(self, runs: list[results.Row]) -> int:
        wrong = [run for run in runs if run["state"] not in ("finished", "pruned", "diverged")]
        for run in wrong:
            print(f"{run['run_id']} ended as {run['state']}; see {self._out / 'logs'}", flush=True)
        return 1 if wrong or not runs else 0
