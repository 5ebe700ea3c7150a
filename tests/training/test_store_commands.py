"""`sweep-agent store` and `export` on the files of real trainings, without torch."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.evaluation import model_artifact, validation
from agent.training import store
from agent.training.lease import Observer
from agent.training.store import TrainingDirectory
from tests.training import lab

Shell = Callable[..., str]


@dataclass
class Study:
    """Three finished runs of one training and one pruned run of another, all uploaded."""

    root: Path
    shared: str
    pruned: str

    def directory(self, key: str) -> TrainingDirectory:
        return TrainingDirectory(self.root / "store", key)


def run(root: Path, name: str, *, pruned: bool = False, **values: Any) -> str:
    training = lab.open_training(root, values, run_id=name)
    points, following, scores = [], training.points(), None
    for point in following:
        scores = validation.score_point(training, point)
        points.append(point)
        if pruned:
            break
    following.close()
    assert scores is not None
    model_artifact.note_end(training, points, scores, pruned=pruned)
    training.note_uploaded()
    return training.key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("study")
    shared = {
        run(root, f"r{number}", model_variant=variant, quantization_strategy=strategy)
        for number, (variant, strategy) in enumerate(lab.CELLS[:3])
    }
    (key,) = shared  # one training serves all three
    return Study(root, key, run(root, "r3", pruned=True, learning_rate=1e-3))


@pytest.fixture
def study(made: Study, tmp_path: Path) -> Study:
    import shutil

    shutil.copytree(made.root, tmp_path / "study", symlinks=True)
    return Study(tmp_path / "study", made.shared, made.pruned)


@pytest.fixture
def shell(study: Study, capsys: pytest.CaptureFixture[str]) -> Shell:
    def call(*words: str, code: int = 0) -> str:
        assert cli.main([*words, "--store", str(study.root / "store")]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    return call


def test_ls_shows_a_line_for_each_training(study: Study, shell: Shell) -> None:
    held = Observer(study.directory(study.pruned).path).try_acquire()
    lines = shell("store", "ls").splitlines()
    assert held is not None
    held.release()
    assert len(lines) == 3
    by_key = {line.split()[0]: line for line in lines[1:]}
    assert by_key[study.shared].split()[1:5] == ["2", "8", "16bit", "0.005"]
    assert by_key[study.pruned].endswith("leased")


def test_status_tells_trainings_demanded_against_executed(study: Study, shell: Shell) -> None:
    said = dict(line.rsplit("  ", 1) for line in shell("store", "status").splitlines())
    numbers = {name.strip(): value for name, value in said.items()}
    assert numbers["trainings demanded"] == "4"
    assert numbers["trainings executed"] == "2"
    seconds = study.directory(study.shared).chain()[-1].record["cost"]["train_seconds"]
    assert float(numbers["seconds saved"]) == pytest.approx(2 * seconds, abs=0.1)


def test_gc_says_what_would_go_and_then_removes_it(study: Study, shell: Shell) -> None:
    place = study.directory(study.pruned).path
    state = place / "eval-0001" / store.TRANSIENT
    assert state.exists()
    said = shell("store", "gc", "--dry-run")
    assert "eval-0001/state.safetensors: optimizer state that no run needs any more" in said
    assert "would free 0.00" in said
    assert state.exists()
    assert "freed" in shell("store", "gc")
    assert not state.exists()
    assert len(study.directory(study.pruned).chain()) == 1
    assert len(study.directory(study.shared).chain()) == 2


def test_adapters_of_losing_points_go_by_policy_and_their_scores_stay(
    study: Study, shell: Shell
) -> None:
    shell("store", "gc", "--adapters", "best")
    assert not (study.directory(study.pruned).path / "eval-0001" / "adapter").exists()
    points = study.directory(study.shared).chain()
    assert len(points) == 2
    assert points[1].adapter.is_dir()  # the last, with which its runs ended
    training = lab.open_training(study.root, {"learning_rate": 1e-3}, run_id="again")
    (point,) = [next(training.points())]
    assert validation.score_point(training, point).predictions  # read, not made
    asks = lab.open_training(study.root, {"learning_rate": 1e-3, "max_new_tokens": 5})
    with pytest.raises(Exception, match="was removed by `sweep-agent store gc`"):
        validation.score_point(asks, next(asks.points()))


@pytest.mark.parametrize("protection", ["leased", "pinned", "not yet uploaded"])
def test_gc_never_touches_what_is_still_needed(study: Study, shell: Shell, protection: str) -> None:
    place = study.directory(study.pruned).path
    held = None
    if protection == "leased":
        held = Observer(place).try_acquire()
    elif protection == "pinned":
        shell("store", "pin", study.pruned[:6])
    else:
        note = study.root / "store" / "runs" / "r3.json"
        note.write_text(note.read_text().replace('"uploaded": true', '"uploaded": false'))
    said = shell("store", "gc", "--adapters", "best")
    assert f"stays    {study.pruned}: " in said
    assert (place / "eval-0001" / store.TRANSIENT).exists()
    assert (place / "eval-0001" / "adapter").is_dir()
    if held:
        held.release()
    if protection == "not yet uploaded":
        shell("store", "gc", "--unsynced")
        assert not (place / "eval-0001" / store.TRANSIENT).exists()
    shell("store", "unpin", study.pruned)
    shell("store", "gc")
    assert not (place / "eval-0001" / store.TRANSIENT).exists()


def test_what_killed_writers_left_behind_goes(study: Study, shell: Shell) -> None:
    place = study.directory(study.shared).path
    for name in ("writing-0009", "damaged-eval-0001-x"):
        (place / name).mkdir()
        (place / name / "part").write_text("x" * 100)
    assert shell("store", "gc", "--dry-run").count("left behind by a writer") == 2
    shell("store", "gc")
    assert not list(place.glob("writing-*"))
    assert not list(place.glob("damaged-*"))


def test_trainings_move_to_another_cluster_and_are_read_there(
    study: Study, shell: Shell, tmp_path: Path
) -> None:
    shell("store", "export", str(tmp_path / "out.tar"), study.shared[:8])
    other = tmp_path / "other"
    assert cli.main(["store", "import", str(tmp_path / "out.tar"), "--store", str(other)]) == 0
    moved, here = TrainingDirectory(other, study.shared), study.directory(study.shared)
    assert [p.digest for p in moved.chain()] == [p.digest for p in here.chain()]
    assert not (moved.path / "lease").exists()
    values = {"store": str(other), "model_variant": "LoRA+PTQ", "quantization_strategy": "int8"}
    training = lab.open_training(study.root, values, run_id="elsewhere")
    points = list(training.points())
    assert [p.run_id for p in points] == ["r0", "r0"]
    assert validation.score_point(training, points[0])
    assert "base" not in training.__dict__  # its scores moved too
    assert cli.main(["store", "import", str(tmp_path / "out.tar"), "--store", str(other)]) == 0


def test_a_damaged_archive_takes_over_only_what_is_whole(
    study: Study, shell: Shell, tmp_path: Path
) -> None:
    weights = study.directory(study.shared).path / "eval-0002/adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    shell("store", "export", str(tmp_path / "out.tar"))
    cli.main(["store", "import", str(tmp_path / "out.tar"), "--store", str(tmp_path / "other")])
    assert len(TrainingDirectory(tmp_path / "other", study.shared).chain()) == 1
    (tmp_path / "not.tar").write_text("no archive")
    assert "cannot be read as exported trainings" in shell(
        "store", "import", str(tmp_path / "not.tar"), code=2
    )


def test_an_exported_run_loads_in_plain_peft(study: Study, shell: Shell, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    folder = tmp_path / "adapter"
    shell("export", "r1", str(folder))
    card = (folder / "README.md").read_text()
    for part in ("LoRA+PTQ int8", str(lab.BASE_MODEL), "| f1_score | 0.", '"learning_rate": 0.005'):
        assert part in card
    assert json.loads((folder / "deployment.json").read_text())["quantization_method"] == "llm_int8"
    loaded = AutoPeftModelForCausalLM.from_pretrained(str(folder))
    saved = lab.weights_of(study.directory(study.shared).path / "eval-0002")
    own = {n.replace(".default", ""): p for n, p in loaded.named_parameters() if "lora" in n}
    assert {n: p.float().sum().item() for n, p in own.items()} == {
        n: p.float().sum().item() for n, p in saved.items()
    }
    assert "is not empty" in shell("export", "r1", str(folder), code=2)
    assert "knows no run 'r9'" in shell("export", "r9", str(tmp_path / "x"), code=2)


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["store", "ls", "--store", str(tmp_path / "no")]) == 2
    assert "no such directory; name the store with --store" in capsys.readouterr().err


def test_a_store_for_a_group_is_writable_by_it(tmp_path: Path) -> None:
    def work() -> None:
        next(lab.open_training(tmp_path, {"group_writable": True}).points())

    assert lab.in_child(work) == 0
    folders = [p for p in (tmp_path / "store").rglob("*") if p.is_dir() and not p.is_symlink()]
    assert folders
    assert all(p.stat().st_mode & 0o020 for p in folders)
    assert (tmp_path / "store").stat().st_mode & 0o2000
