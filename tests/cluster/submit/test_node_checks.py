"""What a node offers, what a sweep will cost, how things stand: judgements and texts."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from agent.cli import main
from agent.cluster.job.server_task import publish_note, restore, take_snapshot
from agent.cluster.job.workload import read_assignments
from agent.cluster.options import ArrayOptions
from agent.cluster.slurm import parse_accounting
from agent.cluster.submit import node_checks, probe
from agent.cluster.submit.node_checks import Check, judge_quota
from agent.cluster.submit.node_commands import cache_variables, hub_names
from agent.cluster.submit.probe import Measured
from agent.cluster.submit.server_job import server_script
from agent.cluster.submit.status import Hours, Report, SweepStatus, counts_of, own_gpu_hours
from agent.cluster.submit.status_text import job_of, status_lines
from agent.cluster.submit.task_stories import TaskStory
from agent.config.run_config import RunConfig
from agent.errors import ClusterError, ServerError
from agent.file_systems import UNSAFE_FOR_LOCKS
from agent.files import write_atomically
from agent.server.data_dir import prepare
from agent.tracking.credentials import read_key
from agent.tracking.endpoint import AddressWatch, ServerAccess, read_note
from agent.tracking.reader import RunFacts
from tests.training import lab

CANARY = "local-" + "c4n4ry" * 7


# ---------------------------------------------------------------------- keys and servers
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_atomically(path, f"{CANARY}\n", mode=0o600)
    assert read_key(path) == CANARY
    path.chmod(0o640)
    with pytest.raises(ClusterError, match=r"can be read by others \(mode 0640\); run: chmod 600"):
        read_key(path)


def test_an_empty_or_missing_key_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="write the W&B API key into it"):
        read_key(tmp_path / "none")
    write_atomically(tmp_path / "two", "a b", mode=0o600)
    with pytest.raises(ClusterError, match="one key and nothing else"):
        read_key(tmp_path / "two")
    with pytest.raises(ClusterError, match="is a directory; name the file that holds the key"):
        read_key(tmp_path)


def write_note(directory: Path, url: str = "http://n1:8686") -> None:
    directory.mkdir(exist_ok=True)
    path = directory / "server.json"
    path.write_text(json.dumps({"url": url, "port": 1, "entity": "me", "key": CANARY}))
    path.chmod(0o600)


def test_the_servers_note_gives_address_and_key_and_hides_the_key_in_its_repr(
    tmp_path: Path,
) -> None:
    write_note(tmp_path)
    environment = ServerAccess(server_data=tmp_path).environment({"A": "b"})
    assert environment == {
        "A": "b",
        "WANDB_BASE_URL": "http://n1:8686",
        "WANDB_ENTITY": "me",
        "WANDB_API_KEY": CANARY,
    }
    assert CANARY not in repr(read_note(tmp_path))


def test_a_server_that_has_not_started_is_reported_with_its_command(
    tmp_path: Path,
) -> None:
    with pytest.raises(ClusterError, match="sweep-agent serve --data"):
        ServerAccess(server_data=tmp_path).environment({})


def test_only_wandbs_own_cloud_never_hands_out_crashed_points_again() -> None:
    assert not ServerAccess().hands_out_crashed
    assert not ServerAccess(base_url="https://api.wandb.ai").hands_out_crashed
    assert ServerAccess(base_url="http://login1:8686").hands_out_crashed
    assert ServerAccess(server_data=Path("x")).hands_out_crashed


def test_the_servers_job_is_requeued_and_keeps_the_environment_out() -> None:
    text = server_script(
        ArrayOptions(server_data="/shared/d", project_dir="/home/me", server_partition="cpu")
    )
    for line in ("#SBATCH --export=NONE", "#SBATCH --requeue", "#SBATCH --partition=cpu"):
        assert line in text.splitlines()
    assert "agent.cluster.job.server_task " in text
    assert "  --shared /shared/d " in text


def test_a_snapshot_of_the_servers_data_starts_a_server_elsewhere(tmp_path: Path) -> None:
    local, shared, other = tmp_path / "local", tmp_path / "shared", tmp_path / "other"
    content = Path("blobs", "ab", "ab" * 32)
    (local / content).parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(local / "server.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (7)")
        database.commit()
        (local / content).write_text("artifact")
        write_note(local)
        take_snapshot(local, shared)  # while the database is open
    publish_note(local, shared)
    restore(shared, other)
    with contextlib.closing(sqlite3.connect(other / "server.db")) as database:
        assert database.execute("SELECT x FROM t").fetchall() == [(7,)]
    assert (other / content).read_text() == "artifact"
    assert (shared / "server.json").stat().st_mode & 0o777 == 0o600


def test_a_server_that_comes_back_to_a_node_uses_what_is_there_only_if_it_is_the_latest(
    tmp_path: Path,
) -> None:
    shared, node = tmp_path / "shared", tmp_path / "node"
    shared.mkdir()
    (shared / "server.db").write_text("of the second life")
    restore(shared, node, 1)
    (node / "server.db").write_text("of the first life, after its last snapshot")
    restore(shared, node, 2)
    assert "first" in (node / "server.db").read_text()
    restore(shared, node, 4)  # the third ran elsewhere
    assert "second" in (node / "server.db").read_text()


def test_a_server_that_moves_is_noticed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.tracking.endpoint.LOOK_EVERY_S", 0.0)
    write_note(tmp_path)
    watch = AddressWatch(tmp_path)
    assert not watch.has_moved()
    note = json.loads((tmp_path / "server.json").read_text())
    (tmp_path / "server.json").unlink()
    assert not watch.has_moved()  # between two lives
    (tmp_path / "server.json").write_text(json.dumps({**note, "url": "http://n2:1"}))
    (tmp_path / "server.json").chmod(0o600)
    assert watch.has_moved()
    assert not watch.has_moved()


# ---------------------------------------------------------------------- doctor and prepare
def test_the_answers_of_a_gpu_node_are_judged() -> None:
    found = {
        "torch": "2.13.0",
        "cuda_build": "12.8",
        "available": True,
        "bitsandbytes": "0.50.2",
        "gpus": [["NVIDIA A100", 40_000_000_000, "8.0"]],
        "nf4_error": 0.4,
    }
    torch, kernels = node_checks.judge_gpu_software(found)
    assert (torch.ok, kernels.ok) == (True, True)
    assert "NVIDIA A100, 40 GB free, sm_8.0" in torch.found
    found |= {"available": False, "nf4_error": 9.0}
    torch, kernels = node_checks.judge_gpu_software(found)
    assert torch.ok is None
    assert "driver is older" in torch.advice
    assert kernels.ok is False


def test_a_cluster_that_sends_no_early_notice_is_reported() -> None:
    quiet = node_checks.judge_slurm(
        "PreemptMode = REQUEUE\nSLURM_VERSION = 22.05\nKillWait = 30 sec\n"
    )
    assert quiet.ok is None
    assert "KillWait before the kill" in quiet.advice
    fine = node_checks.judge_slurm("PreemptMode = OFF\nSLURM_VERSION = 23.11\n")
    assert fine.ok is True


def test_locks_space_network_and_login_are_checked_where_the_run_will_be(tmp_path: Path) -> None:
    assert node_checks.check_locks(tmp_path, "ext4").ok is True
    assert node_checks.check_locks(tmp_path, "nfs4").ok is None
    assert node_checks.check_space(tmp_path / "not" / "there", needed_gb=0).ok is True
    assert node_checks.check_space(tmp_path, needed_gb=1e9).ok is False
    assert node_checks.check_network("http://127.0.0.1:1").ok is False
    assert node_checks.check_login({}, home=tmp_path).ok is False
    away = {"WANDB_API_KEY": "x", "WANDB_BASE_URL": "http://127.0.0.1:1"}
    assert node_checks.check_login(away, home=tmp_path).ok is None


def test_a_quota_is_judged_by_the_file_system_that_is_fullest() -> None:
    head = "Disk quotas for user me (uid 1000):\n  Filesystem blocks quota limit grace\n"
    assert judge_quota(head + "/home 990000* 900000 1000000 6days\n/work 1 0 0\n") == Check(
        "quota",
        False,
        "/home: 1.0 of 1.0 GB used",
        "make room, or put state and store elsewhere",
    )
    roomy = judge_quota("/lustre 1000 0 1000000 - 3 0 0 -\n")
    assert roomy is not None
    assert roomy.ok is True
    assert judge_quota(head) is None


@pytest.mark.parametrize("kind", sorted(UNSAFE_FOR_LOCKS | {"GPFS", "fuse.ceph-fuse", "dvs"}))
def test_doctor_warns_of_every_file_system_that_the_server_refuses(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node_checks.check_locks(tmp_path / "store", kind).ok is None
    assert node_checks.check_server_data(tmp_path, kind).ok is False
    monkeypatch.setattr("agent.server.data_dir.file_system_of", lambda *_: kind)
    with pytest.raises(ServerError, match=kind):
        prepare(tmp_path / "data")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", None])
def test_doctor_and_server_take_the_same_local_file_systems(
    kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node_checks.check_locks(tmp_path / "store", kind).ok is True
    assert node_checks.check_server_data(tmp_path, kind).ok is True
    monkeypatch.setattr("agent.server.data_dir.file_system_of", lambda *_: kind)
    prepare(tmp_path / "data")


def config(**values: object) -> RunConfig:
    known = {"model_variant": "Full LoRA", "dataset": "team/data", "learning_rate": 1e-4}
    return RunConfig.parse({"base_model": "team/model", **known, **values})


def test_only_what_is_not_on_disk_is_downloaded_and_each_once(tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text("{}")
    configs = [config(), config(dataset=str(data)), config(base_revision="v1")]
    assert hub_names(configs) == [
        ("model", "team/model", None),
        ("dataset", "team/data", None),
        ("model", "team/model", "v1"),
    ]
    assert set(map(Path, cache_variables(Path("/c")).values())) == {
        Path("/c") / name
        for name in ("huggingface", "torch", "inductor", "triton", "wandb", "wandb-data")
    }


# ---------------------------------------------------------------------- probe
def test_a_measurement_is_scaled_to_the_sweep_and_shared_trainings_count_once() -> None:
    measured = Measured(2.0, 10.0, 11.5, 0.1, train_records=900, validation_records=32)
    points = [config(epochs=2, batch_size=10)]
    seen: set[str] = set()
    first = probe.estimate("Full LoRA", points, measured, seen)
    assert first.gpu_hours * 3600 == 2 * 90 * 2.0 + 2 * 2 * 10.0
    assert first.trainings == 1
    assert first.store_gb == pytest.approx(0.2)
    again = probe.estimate("LoRA+PTQ int8", points, measured, seen)
    assert again.gpu_hours * 3600 == 40
    assert again.trainings == 0
    assert probe.table_rows([first, again])[-1][:3] == ("all", "2", "1")


def test_a_store_with_a_point_per_step_is_read_without_its_warm_up(tmp_path: Path) -> None:
    for number, seconds in ((1, 30.0), (2, 31.5)):
        point = tmp_path / "key" / f"eval-000{number}"
        (point / "scores" / "k").mkdir(parents=True)
        cost = {"train_seconds": seconds, "peak_vram_gb": 7.0}
        (point / "record.json").write_text(json.dumps({"cost": cost}))
        (point / "scores" / "k" / "scores.json").write_text(json.dumps({"seconds": 4.0}))
    measured = probe.read_measured(tmp_path, 8, 4)
    assert (measured.step_s, measured.validation_s, measured.peak_vram_gb) == (1.5, 4.0, 7.0)


# ---------------------------------------------------------------------- status
def test_the_status_tells_points_tasks_runs_and_hours() -> None:
    where = {"slurm/array_job_id": "12", "slurm/array_task_id": "3", "slurm/node": "n1"}
    runs = [
        RunFacts("a", "one", "finished", "s", where, {"train/own_gpu_seconds": 3600}),
        RunFacts("b", "two", "finished", "s", {}, {"train/own_gpu_seconds": 1800}, ("pruned",)),
        RunFacts("c", "three", "crashed", "s", {}, {"stopped/reason": "its node died"}),
    ]
    task = TaskStory("12_3", "RUNNING", "n1", 90, 3510, "2026-11-24T06:55:30")
    died = TaskStory("12_4", "FAILED", "n2", 1, reason="exit status 78:0", tail=("no python",))
    status = SweepStatus("e/p/s", "RUNNING", 5, runs)
    assert counts_of(status) == {
        "done": 1,
        "running": 0,
        "pruned": 1,
        "failed": 0,
        "cut off": 1,
        "waiting": 2,
    }
    assert own_gpu_hours(runs) == 1.5
    hours = Hours(1.75, 1.6, is_accounted=True)
    text = "\n".join(status_lines(Report([status], [task, died], hours)))
    assert "e/p/s  running of 5: 1 done, 1 pruned, 1 cut off, 2 waiting" in text
    assert "1.75 allocated by Slurm's accounting; 1.60 with a run alive (91%), 1.50 by" in text
    assert "12_4  FAILED   n2    0:01" in text
    assert "12_4 ended FAILED; no log is known:\n    no python" in text
    assert "c cut off: its node died" in text
    assert "12_3  RUNNING  n1    1:30  58:30  2026-11-24T06:55:30" in text
    assert job_of(where) == "12_3"


def test_accounting_counts_gpus_not_jobs() -> None:
    text = "3600|billing=8,cpu=8,gres/gpu=2,node=1\n1800|cpu=8,node=1\n1800|gres/gpu=1\n"
    assert parse_accounting(text) == 2.5


def test_prepare_writes_the_caches_and_offline_switches_that_every_task_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ({"instruction": f"q{i}", "output": "[Local]"} for i in range(20))
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sweep.yaml").write_text(
        "method: grid\nprogram: train.py\nparameters:\n  model_variant: {value: Full LoRA}\n"
        f"  base_model: {{value: {lab.BASE_MODEL}}}\n  dataset: {{value: data.jsonl}}\n"
        "  learning_rate: {values: [1e-4]}\n  max_length: {value: 256}\n"
        "  max_new_tokens: {value: 8}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "sweep.yaml", "--cache", "big"]) == 0
    path = tmp_path / "outputs" / "cluster" / "environment"
    said = capsys.readouterr().out
    assert str(path) in said
    assert "query_analysis: 16 of 16 examples trained, 2 scored" in said
    (tmp_path / "data.jsonl").write_text("{}\n")
    assert main(["prepare", "sweep.yaml", "--cache", "big"]) == 2
    assert "data.jsonl:1: fields [] fit no known form" in capsys.readouterr().err
    variables = read_assignments(path.read_text().splitlines())
    assert variables["HF_HOME"] == str(tmp_path / "big" / "huggingface")
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert Path(variables["TRITON_CACHE_DIR"]).is_dir()


def test_a_message_of_a_command_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["submit", "e/p/s", "--array", "x", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "array = 'x': must look like 0-7, 0-7%4 (four at once), or 1,3,5" in said
    assert len(said.splitlines()) == 1
