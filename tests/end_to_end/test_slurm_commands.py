"""submit, status, logs, plan and fill on a real Slurm, and no trace of the key anywhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.files import write_atomically
from tests.end_to_end.slurm_cluster import needs_slurm, wait_until
from tests.end_to_end.slurm_stage import Stage, job_in, running_cluster, running_stage

pytestmark = [pytest.mark.xdist_group("slurm-commands"), needs_slurm]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("stage")
    with (
        running_cluster(tmp_path_factory.mktemp("slurm")) as cluster,
        running_stage(place, cluster, "--settle-s", "2") as stage,
    ):
        stage.init_git()
        yield stage


def test_one_command_runs_two_sweeps_and_others_watch_read_and_fill_them(stage: Stage) -> None:
    files = [stage.write_sweep(name, 1, steps=4, step_s=0.1) for name in ("first", "second")]
    canary = stage.server_environment["WANDB_API_KEY"]
    key_file = stage.directory / "wandb.key"
    write_atomically(key_file, canary, mode=0o600)
    profile = stage.directory / "cluster.toml"
    profile.write_text(
        'cpus-per-task = 1\nmem = "500M"\ntime = "00:10:00"\npartition = "main"\n'
        f'key_file = "{key_file}"\nbase_url = "{stage.base_url}"\narray = "0"\nlead_s = 60\n'
        f'python = "{stage.python}"\nlog = "outputs/cluster/logs/%A_%a.log"\n'
    )
    common = ["--profile", str(profile)]

    # -- submit, with the key in the submitter's environment as people have it
    done = stage.command("submit", *map(str, files), *common, key_in_environment=canary)
    job = job_in(done.stdout)
    assert "scancel " + job in done.stdout
    assert done.stdout.count("/sweeps/") == 2
    wait_until(
        lambda: (stage.directory / "outputs/cluster/logs" / f"{job}_0.log").exists(),
        timeout_s=60,
        what="the first task",
    )
    seen_while_running = traces_of(canary, stage, allowed={key_file})
    stage.cluster.wait_for_end(job, timeout_s=150)

    # -- watch
    status = stage.command("status", *common).stdout
    assert status.count("finished of 1: 1 done") == 2
    assert "no tasks in the queue" in status
    run = stage.runs_of_project("first")[0]
    assert run.config["learning_rate"] == 0.001

    # -- the code that was submitted is the code that ran
    snapshots = list((stage.directory / "outputs/cluster/snapshots").iterdir())
    assert len(snapshots) == 1
    assert not os.access(snapshots[0], os.W_OK) or os.getuid() == 0

    # -- widen the grid: only the new point is left, and fill runs it and nothing else
    stage.write_sweep("first", 2, steps=4, step_s=0.1)
    plan = stage.command("plan", str(files[0]), "--list", *common).stdout
    assert "2 grid points: 1 done, 1 waiting" in plan
    fill = stage.command("fill", str(files[0]), *common).stdout
    assert "1 waiting to run of 2" in fill
    filling = job_in(fill)
    assert f"\n{filling}_0 " in stage.command("status", *common).stdout
    stage.cluster.wait_for_end(filling, timeout_s=120)
    plan = stage.command("plan", str(files[0]), *common).stdout
    assert "2 grid points: 2 done" in plan
    assert {len(state["lives"]) for state in stage.states("first")} == {1}

    # -- no trace of the key
    assert seen_while_running == []
    assert traces_of(canary, stage, allowed={key_file}) == []


def test_a_watch_follows_the_sweeps_until_they_end(stage: Stage) -> None:
    """`submit` prints it as the command to watch with; it asks anew every ten seconds."""
    path = stage.write_sweep("watched", 3, steps=2, step_s=0.1)
    done = stage.command("submit", str(path), *stage.flags(array="0-0"))
    watch = next(line for line in done.stdout.splitlines() if line.startswith("  watch"))
    text = stage.shell(watch.partition("  watch  ")[2] + f" {stage.sweep_of('watched')}")
    looks = text.split(f"{stage.sweep_of('watched')}  ")[1:]
    assert "3 done" not in looks[0]
    assert "finished of 3: 3 done" in looks[-1]
    assert "report" in looks[-1].rpartition("next: ")[2]


def test_an_array_that_was_cancelled_while_it_waited_is_not_a_riddle(stage: Stage) -> None:
    path = stage.write_sweep("cancelled", 2, steps=1, step_s=0.1)
    flags = [*stage.flags(array="0-1", log="logs/%x-%j.log"), "--sbatch", "hold"]
    job = job_in(stage.command("submit", str(path), *flags).stdout)
    stage.cluster.run("scancel", job)
    stage.cluster.wait_for_end(job, timeout_s=30)
    status = stage.command("status", stage.sweep_of("cancelled"), *stage.access()).stdout
    tasks = [line for line in status.splitlines() if line.startswith(f"{job}_")]
    assert [line.split()[:2] for line in tasks] == [[f"{job}_{n}", "CANCELLED"] for n in (0, 1)]
    assert all(line.endswith("cancelled before it started") for line in tasks)

    # -- what it prints brings the points back, with what Slurm was asked for
    following = next(line for line in status.splitlines() if line.startswith("next: "))
    assert "--mem 500M" in following
    said = stage.shell(following.removeprefix("next: "))
    filling = job_in(said)
    log = next(line for line in said.splitlines() if "tail -f" in line).split()[-1]
    assert log.endswith(f"logs/sweep-agents-{filling}_0.log")
    stage.cluster.wait_for_end(filling, timeout_s=120)
    status = stage.command("status", stage.sweep_of("cancelled"), *stage.access()).stdout
    assert "2 done" in status.splitlines()[0]
    assert f"\n{filling}_1 " in status
    assert Path(log).is_file()
    assert "report" in status.rpartition("next: ")[2]


def traces_of(canary: str, stage: Stage, *, allowed: set[Path]) -> list[str]:
    """Where the key can be read: files of project and cluster, Slurm's answers, all argv."""
    found = []
    for root in (stage.directory, stage.cluster.directory):
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and path not in allowed:
                with path.open("rb") as file:
                    if canary.encode() in file.read():
                        found.append(str(path))
    for words in (["scontrol", "show", "jobs", "-dd"], ["squeue", "-o", "%all"]):
        if canary in stage.cluster.run(*words):
            found.append(" ".join(words))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words_of = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if canary.encode() in words_of:
                found.append(f"argv of {entry.name}")
    return found


def test_a_sweep_does_not_go_on_with_other_code_unless_asked(stage: Stage) -> None:
    path = stage.write_sweep("third", 1, steps=2, step_s=0.1)
    server = ["--server-data", str(stage.server_data), "--array", "0", "--mem", "100M"]
    server += ["--cpus-per-task", "1"]
    waiting = ["--partition", "main", "--python", "/bin/true", "--gres", "", "--unchecked"]
    stage.command("submit", str(path), *server, *waiting)
    sweep = stage.sweep_of("third")
    (stage.directory / "changed.py").write_text("changed = True\n")
    refused = stage.command("submit", sweep, *server, *waiting, check=False)
    assert refused.returncode == 2
    assert "already runs the code in" in refused.stderr
    assert stage.command("submit", sweep, *server, *waiting, "--allow-new-code").returncode == 0


def test_a_bad_sweep_is_refused_before_anything_is_submitted(stage: Stage) -> None:
    path = stage.write_sweep("bad", 1, steps=1, step_s=0.1)
    path.write_text(path.read_text().replace("Full LoRA", "Half LoRA"))
    refused = stage.command("submit", str(path), check=False)
    assert refused.returncode == 2
    assert "Half LoRA" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_dry_run_prints_the_script_and_submits_nothing(stage: Stage) -> None:
    path = stage.write_sweep("dry", 1, steps=1, step_s=0.1)
    before = stage.cluster.run("squeue", "-h", "-t", "all", "-o", "%i")
    server = ["--server-data", str(stage.server_data), "--mem", "100M", "--cpus-per-task", "1"]
    done = stage.command("submit", str(path), "--dry-run", "--array", "2-7%4", *server)
    text = done.stdout
    assert "#SBATCH --array=2-2 " in text
    assert "1 tasks instead of 6: there are 1 grid points to run" in done.stderr
    assert "SWEEP-OF-dry" in text
    assert stage.cluster.run("squeue", "-h", "-t", "all", "-o", "%i") == before


def test_without_a_server_on_the_compute_nodes_runs_are_synced_into_their_sweep(
    stage: Stage,
) -> None:
    path = stage.write_sweep("offline", 2, steps=3, step_s=0.1)
    options = {
        "--array": "0-1",
        "--gres": "",
        "--mem": "200M",
        "--cpus-per-task": "1",
        "--python": stage.python,
        "--log": "outputs/cluster/logs/%A_%a.log",
        "--server-data": str(stage.server_data),
        "--partition": "main",
    }
    words = [word for pair in options.items() for word in pair]
    done = stage.command("submit", str(path), "--offline", *words)
    job = job_in(done.stdout)
    stage.cluster.wait_for_end(job, timeout_s=120)
    sweep = stage.sweep_of("offline")
    assert stage.runs(sweep) == []

    # -- what waits on the disk is not trained again, but sent
    status = stage.command("status", sweep, *stage.access()).stdout
    assert status.startswith(f"{sweep}  pending of 2: 2 not synced\n")
    assert "nothing to run of 2" in stage.command("fill", str(path), *words).stdout
    sync = status.rpartition("next: ")[2]
    assert " wandb sync " in sync
    cut_off = stage.directory / "outputs/cluster/wandb/wandb/offline-run-20260101_000000-abcd1234"
    cut_off.mkdir()
    (cut_off / "run-abcd1234.wandb").write_bytes(b":W&B\xe1\xbe\x00")  # its header, and no more
    stage.shell(sync.replace(" wandb ", f" {stage.python} -m wandb "))
    status = stage.command("status", sweep, *stage.access()).stdout
    assert " of 2: 2 done\n" in status
    assert "report" in status.rpartition("next: ")[2]
    synced = stage.runs(stage.sweep_of("offline"))
    assert sorted(run.config["learning_rate"] for run in synced) == [0.001, 0.002]
    assert {run.state for run in synced} == {"finished"}
