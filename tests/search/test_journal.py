"""The journal: torn writes, stale locks, garbage lines and many writers lose at most one record."""

import json
import os
import shutil
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

from agent.errors import StudyError
from agent.search.journal import JournalFile, JournalLock, _space_digest
from tests.processes import run_python

ROOT = Path(__file__).parents[2]


def ours(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=JournalStorage(JournalFile(path)))


def optunas(path: Path) -> optuna.Study:
    """The same file through Optuna's own backend, as its dashboard opens it."""
    backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
    return optuna.load_study(study_name="s", storage=JournalStorage(backend))


def add(study: optuna.Study, value: float) -> None:
    study.add_trial(optuna.trial.create_trial(value=value))


def values(study: optuna.Study) -> list[float | None]:
    return [trial.value for trial in study.trials]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "j.journal"
    study = optuna.create_study(study_name="s", storage=JournalStorage(JournalFile(path)))
    for value in (1.0, 2.0, 3.0):
        add(study, value)
    return path


def test_cut_at_each_of_its_last_200_bytes_it_stays_readable_and_writable(journal: Path) -> None:
    whole = journal.read_bytes()
    assert len(whole.splitlines()[-1]) > 200  # every cut falls into the record of the last trial
    cut_file = journal.with_name("cut.journal")
    for lost in range(1, 201):
        cut_file.write_bytes(whole[:-lost])
        study = ours(cut_file)
        assert values(study) == [1.0, 2.0]
        add(study, 9.0)
        kept = [1.0, 2.0, 3.0, 9.0] if lost == 1 else [1.0, 2.0, 9.0]  # only its newline was lost
        assert values(study) == values(ours(cut_file)) == values(optunas(cut_file)) == kept


def test_a_reader_that_saw_the_torn_end_goes_on_reading_after_the_repair(journal: Path) -> None:
    with journal.open("ab") as torn:
        torn.write(b'{"op_code":4,"worker_id":"killed","stu')
    watching, watching_with_optuna = ours(journal), optunas(journal)
    assert values(watching) == values(watching_with_optuna) == [1.0, 2.0, 3.0]
    add(ours(journal), 4.0)
    add(ours(journal), 5.0)
    assert values(watching) == values(watching_with_optuna) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_record_that_lost_only_its_newline_is_kept(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-1])
    study = ours(journal)
    add(study, 4.0)
    assert values(study) == values(optunas(journal)) == [1.0, 2.0, 3.0, 4.0]


def test_a_torn_end_longer_than_one_read_is_found_whole(journal: Path) -> None:
    with journal.open("ab") as torn:
        torn.write(b'{"op_code":9,"worker_id":"killed","system_attr":{"x":"' + b"A" * 50_000)
    study = ours(journal)
    add(study, 4.0)
    assert values(study) == values(optunas(journal)) == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("garbage", [b"\n", b"}{\n", b"[1]\n", b"\xff\xfe\x00\n", b'{"a":1}\n'])
def test_a_garbage_line_in_the_middle_costs_that_line_only(journal: Path, garbage: bytes) -> None:
    with journal.open("ab") as file:
        file.write(garbage)
    study = ours(journal)
    add(study, 4.0)
    assert values(study) == values(ours(journal)) == [1.0, 2.0, 3.0, 4.0]


def test_repairing_twice_changes_nothing_that_was_written_since(journal: Path) -> None:
    with journal.open("ab") as torn:
        torn.write(b'{"op_code":4,"wor')
    backend = JournalFile(journal)
    assert backend._mend_tail() == b""
    once = journal.read_bytes()
    assert backend._mend_tail() == b""
    assert journal.read_bytes() == once
    assert once.endswith(b" " * len(b'{"op_code":4,"wor'))


def test_the_lock_of_a_dead_worker_is_taken_over_after_the_grace(journal: Path) -> None:
    Path(f"{journal}.lock").write_text("somebody else")
    start = time.monotonic()
    study = optuna.load_study(
        study_name="s", storage=JournalStorage(JournalFile(journal, grace_s=0.3))
    )
    add(study, 4.0)
    assert time.monotonic() - start >= 0.3
    assert values(optunas(journal)) == [1.0, 2.0, 3.0, 4.0]
    assert [path.name for path in journal.parent.iterdir()] == ["j.journal"]


def test_the_lock_of_a_worker_killed_on_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from agent.search.journal import JournalLock\n"
        "JournalLock(pathlib.Path(sys.argv[1])).acquire()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    run_python("-c", code, str(tmp_path / "j"), status=-9)
    assert (tmp_path / "j.lock").exists()
    lock = JournalLock(tmp_path / "j", grace_s=3600)
    lock.acquire()
    assert (tmp_path / "j.lock").read_bytes() == lock._token
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_lost_its_lock_leaves_the_new_holders_alone(tmp_path: Path) -> None:
    stalled, other = JournalLock(tmp_path / "j", 0.1), JournalLock(tmp_path / "j", 0.1)
    stalled.acquire()
    other.acquire()  # after the grace
    stalled.release()
    assert (tmp_path / "j.lock").exists()
    other.release()
    assert not (tmp_path / "j.lock").exists()
    other.release()  # nothing to release is no error


def test_a_fresh_lock_that_came_in_while_reclaiming_is_put_back(tmp_path: Path) -> None:
    lock, other = JournalLock(tmp_path / "j"), JournalLock(tmp_path / "j")
    other.acquire()
    lock._reclaim((0, 0))  # thinks of another lock that was there before
    assert (tmp_path / "j.lock").read_bytes() == other._token
    other.release()
    lock._reclaim((0, 0))  # gone by now
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(StudyError, match="must be an absolute path"):
        JournalFile(Path("relative.journal"))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"file/j\.journal cannot be made: File exists"):
        JournalFile(tmp_path / "file" / "j.journal")
    journal = JournalFile(tmp_path / "d" / "j.journal")
    shutil.rmtree(tmp_path / "d")
    with pytest.raises(StudyError, match=r"d/j\.journal cannot be written: No such file"):
        journal.append_logs([{"op_code": 2}])


def test_eight_processes_report_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    journal = tmp_path / "load.journal"
    words = [str(journal), "8", "3", "0.2", str(tmp_path)]
    done = run_python("tests/search/journal_load.py", *words)
    figures = json.loads(done.stdout)
    assert (figures["failed"], figures["reports"]) == (0, 24)
    backend = JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal)))
    storage = JournalStorage(backend)
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert [sorted(trial.intermediate_values) for trial in trials] == [[1, 2, 3]] * 8
    assert len({trial.system_attrs["sweep:run"] for trial in trials}) == 8


def test_workers_killed_at_any_moment_leave_no_trial_running_and_block_no_other(
    tmp_path: Path,
) -> None:
    words = [str(tmp_path / "storm.journal"), "4", "15", "1"]
    done = run_python("tests/search/kill_storm.py", *words)
    figures = json.loads(done.stdout)
    assert (figures["killed"], figures["failed_workers"]) == (15, 0)
    assert (figures["running"], figures["lost_runs"], figures["duplicate_trials"]) == (0, [], 0)
    JournalFile(tmp_path / "storm.journal")
    assert [path.name for path in tmp_path.iterdir()] == ["storm.journal"]


def test_what_a_worker_left_that_was_killed_before_it_wrote_its_token_is_swept(
    tmp_path: Path,
) -> None:
    ended = run_python("-c", "import os; print(os.getpid())")
    space = _space_digest()
    dead = tmp_path / f"x.journal.lock.{space}-{ended.stdout.strip()}-ab"
    alive = tmp_path / f"x.journal.lock.{space}-{os.getpid()}-ab"
    elsewhere = tmp_path / f"x.journal.lock.0123456789ab-{ended.stdout.strip()}-ab"
    for path in (dead, alive, elsewhere):
        path.touch()
    JournalLock(tmp_path / "x.journal").sweep()
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()
