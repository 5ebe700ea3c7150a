"""What `submit` refuses on a real Slurm before anything exists, and the environments it brings."""

import json
import os
import re
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import wandb

from tests.end_to_end.slurm_cluster import needs_slurm, wait_until
from tests.end_to_end.slurm_stage import HERE, Stage, job_in, running_cluster, running_stage

pytestmark = [pytest.mark.xdist_group("slurm-commands"), needs_slurm]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("stage")
    study = place / "my stüdy"
    with (
        running_cluster(tmp_path_factory.mktemp("slurm")) as cluster,
        running_stage(study, cluster, "--settle-s", "2") as stage,
    ):
        stage.init_git()
        yield stage


REVOKED = "local-" + "z" * 40
MISTAKES = {
    "partition": (["--partition", "gpuu"], r"partition.*partitions here: main, hi, scav, cancel"),
    "gres": (["--gres", "gpu:h100:1"], r"(gres|node configuration)"),
    "memory": (["--mem", "9000G"], r"node configuration.*nodes here: 2 with \d+ MB"),
    "cpus": (["--cpus-per-task", "999"], r"node configuration"),
    "option": (["--sbatch", "no-such-option=1"], r"unrecognized option"),
    "short option": (["--sbatch", "part=main"], r"sbatch takes part for partition"),
    "constraint": (["--constraint", "h100"], r"features here: none"),
    "reservation": (["--reservation", "mine"], r"reservations here: none"),
    "two nodes": (
        ["--sbatch", "nodes=2"],
        r"'nodes=2': a task is one program on one node",
    ),
    "two GPUs": (["--sbatch", "gpus=2"], r"sbatch = gpus=2: a task has 1"),
    "nodes": (["--sbatch", "nodelist=n99"], r"nodes here: n1, n2"),
    "array": (["--array", "7-0"], r"array"),
    "no time": (["--time", "0"], r"time = 0"),
    "GPUs of an agent": (["--gpus-per-agent", "4"], r"a task has 1 \(gres = gpu:1\)"),
    "log": (["--log", "."], r"is a directory; name a file in it"),
    "project": (["--project", "my study"], r"project = 'my study': must be one word"),
    "project in the file": (["SPACED"], r"project = 'my study': must be one word"),
    "entity": (["--entity", "me/you"], r"entity = 'me/you': must be one word"),
    "no end": (["ENDLESS"], r"a random search without run_cap never ends; .* run_cap: 24, or"),
    "no list": (["CAPPED", "--offline"], r"method = 'random': without a server only a grid"),
    "program": (["PROGRAM"], r"program = slurm_point\.py: no such file in "),
    "command": (["PYTHN"], r"command: no program pythn3 here"),
    "script": (["SCRIPT"], r"command: /no/such/point\.py: no such file"),
    "base": (["BASE"], r"no/such/base"),
    "time": (["--time", "00:03:00", "--lead-s", "180"], r"needs 360 s or more"),
    "python": (["--python", "/no/such/python"], r"python = /no/such/python: no such"),
    "module in python": (["--python", "BARE"], r"it has no module .*wandb"),
    "modules": (["--modules", "cuda/99"], r"modules: module load cuda/99 fails here"),
    "setup": (["--setup", "conda activate nowhere"], r"setup: conda activate nowhere fails here"),
    "container": (["--container", "apptainerr exec a.sif"], r"no program apptainerr"),
    "image": (["--container", "env no.sif"], r"container: no image no\.sif"),
    "key": (["--key-file", "REVOKED"], r"refuses the key in .*revoked"),
    "no key": (["--base-url", "SERVER", "--server-data", ""], r"there is no key for 127\.0\.0\.1"),
    "data": (["DATA"], r"no/such/file\.jsonl"),
}

WRONG_TEXTS = {
    "ENDLESS": ("method: grid", "method: random"),
    "CAPPED": ("method: grid", "method: random\nrun_cap: 2"),
    "PYTHN": ('"${interpreter}", ', '"pythn3", '),
    "SCRIPT": ('"${interpreter}", ', '"${interpreter}", "/no/such/point.py", '),
    "SPACED": ("project: refused", "project: my study"),
    "DATA": ("somebody/data", "no/such/file.jsonl"),
    "BASE": ("somebody/model", "no/such/base/model"),
    "PROGRAM": ('"${interpreter}", ', '"${interpreter}", "${program}", '),
}


MISTAKES["python in a container"] = (
    ["--container", "nice", "--python", "BARE"],
    "no module .*wandb",
)
CALLS = [*((name, "submit") for name in MISTAKES)]
CALLS += [(name, "dry-run") for name in ("partition", "time", "key")]
CALLS += [(name, "serve-in-job") for name in ("container", "python", "modules", "time")]
CALLS += [(name, "offline") for name in ("container", "python")]


@pytest.mark.parametrize(("name", "mode"), CALLS)
def test_a_mistake_is_refused_in_one_sentence_before_anything_exists(
    stage: Stage, name: str, mode: str
) -> None:
    path = stage.write_sweep("refused", 1, steps=1, step_s=0.1)
    words, reason = MISTAKES[name]
    flags = [*stage.flags(array="0-0"), *(_given(stage, path, word) for word in words if word)]
    if "" in words:
        flags = _without(flags, "--server-data")
    flags = [word for word in flags if word not in WRONG_TEXTS]
    before = stage.cluster.run("squeue", "-h", "-t", "all", "-o", "%i")
    extra = [f"--{mode}"] if mode != "submit" else []
    done = stage.command("submit", str(path), *flags, *extra, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(reason, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert stage.cluster.run("squeue", "-h", "-t", "all", "-o", "%i") == before
    assert not (stage.directory / "outputs/cluster/sweeps").exists()
    assert list(stage.api().projects(stage.entity)) == []


LIMITS = {  # of a partition, those of the job beside the stage's own, and the sentence
    "MaxTime=10": ([], r"time = 00:30:00: partition cancel allows 00:10:00 \(MaxTime\)"),
    "State=DOWN": ([], r"partition = cancel: it is DOWN"),
    "AllowAccounts=lab": (["--account", "me"], r"account = me: partition cancel is for lab"),
    "MaxMemPerNode=400": ([], r"mem = 500M: partition cancel allows 400M \(MaxMemPerNode\)"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_job_that_would_wait_for_ever_is_refused(stage: Stage, limit: str) -> None:
    """Slurm's own test accepts it."""
    path = stage.write_sweep("refused", 1, steps=1, step_s=0.1)
    words, reason = LIMITS[limit]
    update = ("scontrol", "update", "PartitionName=cancel")
    stage.cluster.run(*update, limit)
    flags = [*stage.flags(array="0-0"), "--partition", "cancel", *words]
    done = stage.command("submit", str(path), *flags, "--dry-run", check=False)
    served = stage.command(
        *("submit", str(path), *stage.flags(array="0-0"), "--serve-in-job", "--dry-run"),
        *("--server-partition", "cancel", "--server-time", "00:30:00", *words),
        check=False,
    )
    unchecked = stage.command("submit", str(path), *flags, "--dry-run", "--unchecked")
    undone = ("MaxTime=INFINITE", "State=UP", "AllowAccounts=ALL", "MaxMemPerNode=0")
    stage.cluster.run(*update, *undone)
    assert done.returncode == served.returncode == 2
    assert re.search(f"{reason}.*partitions that take it: main, hi, scav", done.stderr)
    assert "mem = 2G" in served.stderr or re.search(reason, served.stderr), served.stderr
    assert "#SBATCH --partition=cancel" in unchecked.stdout


@pytest.mark.parametrize("name", ["partition", "time", "python", "modules", "container", "key"])
def test_fill_refuses_the_same_mistakes_before_it_takes_a_point(stage: Stage, name: str) -> None:
    path = stage.write_sweep("unfilled", 1, steps=1, step_s=0.1)
    words, reason = MISTAKES[name]
    flags = [*stage.flags(array="0-0"), *(_given(stage, path, word) for word in words)]
    sweep = f"{stage.entity}/unfilled/abcd1234"
    done = stage.command("fill", str(path), "--sweep", sweep, *flags, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(reason, done.stderr), done.stderr
    assert not (stage.directory / "outputs/cluster/points").exists()


def test_a_server_job_that_ends_at_once_is_reported_with_its_reason(stage: Stage) -> None:
    path = stage.write_sweep("unserved", 1, steps=1, step_s=0.1)
    data = stage.directory / "outputs/unserved-data"
    flags = [*stage.flags(array="0-0", server_data=data), "--python", "/no/such/python"]
    done = stage.command("submit", str(path), "--serve-in-job", "--unchecked", *flags, check=False)
    assert done.returncode == 2
    assert "ended before it served: " in done.stderr
    assert "no program /no/such/python" in done.stderr
    assert not list((stage.directory / "outputs/cluster").glob("sweeps/*unserved*"))


def _given(stage: Stage, sweep: Path, word: str) -> str:
    if word == "REVOKED":
        path = stage.directory / "revoked.key"
        path.write_text(REVOKED)
        path.chmod(0o600)
        return str(path)
    if word == "BARE":  # an interpreter without packages
        path = stage.directory.parent / "bare"
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E -I "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)
    if word in WRONG_TEXTS:
        sweep.write_text(sweep.read_text().replace(*WRONG_TEXTS[word]))
    return stage.base_url if word == "SERVER" else word


def _without(flags: list[str], flag: str) -> list[str]:
    places = [index for index, word in enumerate(flags) if word == flag]
    return [w for i, w in enumerate(flags) if not any(i in (p, p + 1) for p in places)]


def test_a_sweep_is_taken_back_when_slurm_refuses_after_all(stage: Stage) -> None:
    """The controller may say yes to the test and no to the job."""
    path = stage.write_sweep("taken", 1, steps=1, step_s=0.1)
    programs = stage.directory.parent / "programs"
    programs.mkdir()
    real = next(
        p
        for d in stage.cluster.environment["PATH"].split(os.pathsep)
        if (p := Path(d) / "sbatch").exists()
    )
    script = f'#!/bin/sh\ncase "$*" in *--test-only*) exec {real} "$@";; esac\n'
    (programs / "sbatch").write_text(f"{script}echo 'sbatch: error: not today' >&2\nexit 1\n")
    (programs / "sbatch").chmod(0o755)
    done = stage.command(
        "submit", str(path), *stage.flags(array="0-0"), check=False, first_in_path=programs
    )
    assert done.returncode == 2
    assert "sbatch refused: not today" in done.stderr
    (sweep,) = stage.api().project("taken", stage.entity).sweeps()
    assert sweep.state.lower() in ("canceled", "cancelled")
    assert list((stage.directory / "outputs/cluster/sweeps").glob("*.json")) == []


def test_a_study_with_a_space_in_its_path_runs_under_an_activated_environment(
    stage: Stage,
) -> None:
    """As conda has it: a shell function that puts an interpreter first and sets variables."""
    path = stage.write_sweep("spaced", 2, steps=3, step_s=0.1)
    home = stage.directory.parent / "conda home"
    (home / "bin").mkdir(parents=True)
    (home / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (home / "bin/python").chmod(0o755)
    (home / "activate.sh").write_text(
        f'activate() {{ export PATH="{home}/bin:$PATH" CONDA_PREFIX="{home}" MINE="$UNSET"; }}\n'
    )
    (stage.directory / "slurm").mkdir(exist_ok=True)
    (stage.directory / "slurm/profile.toml").write_text(
        f"setup = ['. \"{home}/activate.sh\"', 'activate']\n"
        "[sbatch]\ncomment = 'two words'\nnice = 5\n"
    )
    flags = _without(stage.flags(array="0-15"), "--python")
    done = stage.command("submit", str(path), *flags)
    (stage.directory / "slurm/profile.toml").unlink()
    assert "2 tasks instead of 16" in done.stdout
    job = job_in(done.stdout)
    fields = stage.cluster.run("scontrol", "show", "job", job)
    assert "Comment=two words" in fields
    stage.cluster.wait_for_end(job, timeout_s=150)
    runs = stage.runs(stage.sweep_of("spaced"))
    assert [run.state for run in runs] == ["finished"] * 2, stage.log_of(job)

    # -- the commands that submit has printed work as they stand
    watch = next(line for line in done.stdout.splitlines() if line.startswith("  watch"))
    assert f"--server-data '{stage.server_data}'" in watch
    record = json.loads((stage.directory / f"outputs/cluster/jobs/{job}.json").read_text())
    assert record["tasks"] == [0, 1]
    status = stage.shell(watch.partition("  watch  ")[2].replace("--watch", ""))
    assert "2 done" in status
    report = next(line for line in status.splitlines() if line.startswith("next: "))
    assert "report.html" in stage.shell(report.removeprefix("next: ") + " --out outputs/r")


def test_a_reader_that_leaves_early_costs_no_record(stage: Stage) -> None:
    path = stage.write_sweep("piped", 1, steps=1, step_s=0.1)
    stage.command("submit", str(path), *stage.flags(array="0-0"), closed_output=True)
    record = json.loads(
        next((stage.directory / "outputs/cluster/sweeps").glob("*__piped__*.json")).read_text()
    )
    assert len(record["jobs"]) == 1


def test_when_all_has_failed_the_job_is_failed_and_status_says_why(stage: Stage) -> None:
    """Runs that fail, and a task that never got as far as an agent."""
    path = stage.write_sweep("failing", 2, steps=3, step_s=0.1, fails_with="no such column")
    done = stage.command("submit", str(path), *stage.flags(array="0-0"))
    job = job_in(done.stdout)
    words = ["--python", "/no/such/python", "--unchecked"]
    other = stage.command(
        "submit",
        stage.sweep_of("failing"),
        "--no-snapshot",
        "--allow-new-code",
        *stage.flags(array="0-0"),
        *words,
    )
    second = job_in(other.stdout)
    for each in (job, second):
        stage.cluster.wait_for_state(f"{each}_0", "FAILED", "COMPLETED", timeout_s=120)
    assert stage.cluster.state_of(f"{job}_0") == "FAILED", stage.log_of(job)
    assert stage.cluster.fields_of(f"{second}_0")["ExitCode"] == "78:0"

    text = stage.command("status", stage.sweep_of("failing"), *stage.access()).stdout
    assert "2 failed" in text
    assert "no such column" in text
    assert "all 2 run(s) of this task failed" in text
    assert "ended before it could start an agent, exit status 78:0" in text
    assert "no program /no/such/python on " in text
    found = json.loads(
        stage.command("status", stage.sweep_of("failing"), "--json", *stage.access()).stdout
    )
    assert [task["state"] for task in found["tasks"]] == ["FAILED", "FAILED"]
    assert {run["reason"] for run in found["sweeps"][0]["runs"]} == {"no such column"}
    assert found["gpu_hours"]["allocated"] > 0
    following = next(line for line in text.splitlines() if line.startswith("next: "))
    assert "sweep-agent fill --failed" in following


def test_a_program_that_ends_before_it_reaches_wandb_fails_the_job_and_uses_up_no_sweep(
    stage: Stage,
) -> None:
    path = stage.write_sweep("early", 4, steps=1, step_s=0.1)
    program = stage.directory / "early.py"
    program.write_text("import no_such_module\n")
    path.write_text(path.read_text().replace(str(HERE / "slurm_point.py"), str(program)))
    done = stage.command("submit", str(path), *stage.flags(array="0-0"))
    job = job_in(done.stdout)
    assert stage.cluster.wait_for_state(f"{job}_0", "FAILED", "COMPLETED") == "FAILED"
    text = stage.command("status", stage.sweep_of("early"), *stage.access()).stdout
    assert "its program ends before it reaches W&B" in text
    assert "No module named 'no_such_module'" in text
    found = json.loads(
        stage.command("status", stage.sweep_of("early"), "--json", *stage.access()).stdout
    )
    reasons = [run["reason"] for run in found["sweeps"][0]["runs"] if run["reason"]]
    assert reasons == [
        "ended before it reached W&B, exit status 1: "
        "ModuleNotFoundError: No module named 'no_such_module'"
    ]
    (run,) = (run for run in stage.runs(stage.sweep_of("early")) if run.state == "failed")
    log = stage.command("logs", "/".join(run.path), *stage.access()).stdout
    assert "ModuleNotFoundError" in log


def test_a_key_that_was_revoked_after_the_submission_ends_a_task_before_its_first_agent(
    stage: Stage,
) -> None:
    sweep = stage.create_sweep(1, steps=1, step_s=0.1, project="revoked")
    path = stage.write_sweep("revoked", 1, steps=1, step_s=0.1)
    access = {"key_file": _given(stage, path, "REVOKED"), "base_url": stage.base_url}
    job = stage.submit([sweep], array="0-0", server_data="", **access)
    assert stage.cluster.wait_for_state(f"{job}_0", "FAILED", "COMPLETED") == "FAILED"
    assert stage.cluster.fields_of(f"{job}_0")["ExitCode"] == "78:0"
    log = stage.log_of(job)
    assert "refuses the key in " in log
    assert "wandb agent" not in log
    assert stage.runs(sweep) == []


def test_a_sweep_without_a_point_left_gets_no_task(stage: Stage) -> None:
    path = stage.write_sweep("over", 1, steps=1, step_s=0.1)
    flags = stage.flags(array="0-3")
    job = job_in(stage.command("submit", str(path), *flags).stdout)
    stage.cluster.wait_for_end(job, timeout_s=90)
    sweep = stage.sweep_of("over")
    done = stage.command("submit", sweep, *flags, "--dry-run", check=False)
    assert done.returncode == 2
    assert f"every grid point of {sweep} has run; " in done.stderr


def test_points_that_jobs_still_work_on_are_named_and_filled_by_none_else(
    stage: Stage,
) -> None:
    path = stage.write_sweep("twice", 1, steps=1, step_s=0.1)
    flags = stage.flags(array="0-0")
    job = job_in(stage.command("submit", str(path), *flags, "--sbatch", "hold").stdout)
    renamed = stage.directory / "renamed.yaml"
    renamed.write_text(f"name: other\n{path.read_text()}")
    for file in (path, renamed):
        said = stage.command("submit", str(file), *flags, "--dry-run").stderr
        assert f" before  {file} was submitted as {stage.entity}/twice/" in said
        assert f"(job {job} still works on it)" in said
    done = stage.command("fill", str(path), *flags, check=False)
    assert done.returncode == 2
    assert f"{path}: job {job} still works on its points, as " in done.stderr
    assert not (stage.directory / "outputs/cluster/points").exists()
    both = (str(path), "twice.yaml", "./twice.yaml")
    new = stage.command("submit", *both, *flags, "--sbatch", "hold").stdout
    assert len([line for line in new.splitlines() if "/sweeps/" in line]) == 1
    stage.cluster.run("scancel", job, job_in(new))
    stage.cluster.wait_for_end(job, job_in(new), timeout_s=20)
    again = stage.command("submit", str(path), *flags, "--dry-run")
    assert f" before  {path} was submitted as {stage.entity}/twice/" in again.stderr
    other = stage.write_sweep("twice", 2, steps=1, step_s=0.1)
    assert " before " not in stage.command("submit", str(other), *flags, "--dry-run").stderr


WAITS_AT_ITS_END = """\
import atexit, pathlib, sys, time
def wait():
    while sys.argv[1:2] == ["sweep"] and not pathlib.Path({gate!r}).exists():
        time.sleep(0.05)
atexit.register(wait)
"""


def test_a_submission_that_is_interrupted_takes_its_sweep_back(stage: Stage) -> None:
    """The signal comes while `wandb sweep`, which waits for it here, has made the sweep."""
    place = stage.directory.parent / "waiting"
    place.mkdir()
    gate = place / "gate"
    (place / "sitecustomize.py").write_text(WAITS_AT_ITS_END.format(gate=str(gate)))
    path = stage.write_sweep("interrupted", 1, steps=1, step_s=0.1)
    for count, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), start=1):
        gate.unlink(missing_ok=True)
        flags = stage.flags(array="0-0")
        process = stage.start_command("submit", str(path), *flags, PYTHONPATH=str(place))
        has_made = partial(_has_sweeps, stage, "interrupted", count)
        wait_until(has_made, timeout_s=60, what="the sweep on the server")
        os.killpg(process.pid, number)
        gate.touch()
        out, error = process.communicate(timeout=60)
        assert process.returncode == 130, f"{number}: {out}{error}"
        assert "interrupted: what was created is taken back" in error
    states = {sweep.state.lower() for sweep in sweeps_of(stage, "interrupted")}
    assert states == {"canceled"}
    assert not list((stage.directory / "outputs/cluster/sweeps").glob("*__interrupted__*"))


def test_a_signal_while_slurm_takes_the_job_loses_no_record(stage: Stage) -> None:
    path = stage.write_sweep("late", 1, steps=1, step_s=0.1)
    place = stage.directory.parent / "slow programs"
    place.mkdir()
    search = stage.cluster.environment["PATH"]
    real = next(p for d in search.split(os.pathsep) if (p := Path(d) / "sbatch").exists())
    (place / "sbatch").write_text(
        f'#!/bin/sh\ncase "$*" in *--test-only*) exec {real} "$@";; esac\n'
        f"touch '{place}/begun'\nwhile [ ! -e '{place}/gate' ]; do sleep 0.05; done\n"
        f'exec {real} "$@"\n'
    )
    (place / "sbatch").chmod(0o755)
    flags = [*stage.flags(array="0-0"), "--sbatch", "hold"]
    words = ("submit", str(path), *flags)
    process = stage.start_command(*words, PATH=f"{place}{os.pathsep}{search}")
    wait_until((place / "begun").exists, timeout_s=60, what="sbatch")
    os.killpg(process.pid, signal.SIGINT)
    (place / "gate").touch()
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, out + error
    job = job_in(out)
    (record,) = (stage.directory / "outputs/cluster/sweeps").glob("*__late__*.json")
    assert json.loads(record.read_text())["jobs"] == [job]
    stage.cluster.run("scancel", job)


def _has_sweeps(stage: Stage, project: str, count: int) -> bool:
    return len(sweeps_of(stage, project)) == count


def sweeps_of(stage: Stage, project: str) -> "list[wandb.apis.public.Sweep]":
    """Those of a project that may not exist yet."""
    if project not in [each.name for each in stage.api().projects(stage.entity)]:
        return []
    return list(stage.api().project(project, stage.entity).sweeps())


class _Hook(BaseHTTPRequestHandler):
    """A chat service that takes a notice."""

    received: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.received.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_url_of_the_notice_is_read_from_a_private_file_and_shown_nowhere(stage: Stage) -> None:
    path = stage.write_sweep("noticed", 1, steps=1, step_s=0.1)
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/services/T1/SECRET"
        words = ("submit", str(path), *stage.flags(array="0-0"), "--notify", url)
        shown = stage.command(*words, "--dry-run")
        assert not list((stage.directory / "outputs/cluster").glob("notify/*"))
        done = stage.command(*words)
        job = job_in(done.stdout)
        script = stage.cluster.run("scontrol", "write", "batch_script", job, "-")
        stage.cluster.wait_for_end(job, timeout_s=60)
        server.shutdown()
    assert _Hook.received == ["/services/T1/SECRET"]
    (file,) = (stage.directory / "outputs/cluster/notify").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"NOTIFY='{file}'" in script
    written = (stage.directory / "outputs/cluster").rglob("*")
    texts = [p.read_text(errors="replace") for p in written if p.is_file() and p != file]
    texts += [shown.stdout, shown.stderr, done.stdout, done.stderr, script, stage.log_of(job)]
    assert not [text for text in texts if "SECRET" in text]


@pytest.mark.parametrize(("line", "status"), [("exit 0", 0), ("false", 1), ("exec true", None)])
def test_a_set_up_line_that_ends_the_shell_is_reported(
    stage: Stage, line: str, status: int | None
) -> None:
    path = stage.write_sweep("unset", 1, steps=1, step_s=0.1)
    words = ("submit", str(path), *stage.flags(array="0-0"), "--setup", line)
    done = stage.command(*words, check=False)
    assert done.returncode == 2
    assert f"setup: {line} fails here: " in done.stderr
    if status is None:  # nothing of the script is left to say it: submit's look is all there is
        return
    job = job_in(stage.command(*words, "--unchecked").stdout)
    assert stage.cluster.wait_for_state(f"{job}_0", "FAILED", "COMPLETED") == "FAILED"
    assert stage.cluster.fields_of(f"{job}_0")["ExitCode"] == "78:0"
    assert f"a set-up line ended the shell with status {status}" in stage.log_of(job)
