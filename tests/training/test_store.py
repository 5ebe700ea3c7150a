"""Checkpoints: whole or not there, chained, published once, never loaded damaged."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.errors import LeaseLost
from agent.training import store
from agent.training.lease import Lease, Observer
from agent.training.store import Checkpoint, TrainingDirectory, point_name
from tests.training import lab


@pytest.fixture
def directory(tmp_path: Path) -> TrainingDirectory:
    made = TrainingDirectory(tmp_path, "k")
    made.describe({"seed": 0})
    return made


@pytest.fixture
def lease(directory: TrainingDirectory) -> Any:
    held = Observer(directory.path).try_acquire()
    assert held is not None
    yield held
    held.release()


def filler(text: str = "weights") -> Callable[[Path], Mapping[str, Any]]:
    def fill(place: Path) -> Mapping[str, Any]:
        (place / "adapter").mkdir()
        (place / "adapter" / "adapter_model.safetensors").write_text(text * 40)
        (place / store.TRANSIENT).write_text("state" * 40)
        return {"step": 4}

    return fill


def publish_points(directory: TrainingDirectory, lease: Lease, count: int) -> list[Checkpoint]:
    points: list[Checkpoint] = []
    parent = directory.root_digest()
    for number in range(1, count + 1):
        points.append(directory.publish(point_name(number), lease, parent, filler(str(number))))
        parent = points[-1].digest
    return points


def test_points_form_a_chain_from_the_first(directory: TrainingDirectory, lease: Lease) -> None:
    points = publish_points(directory, lease, 3)
    assert directory.chain() == points
    assert [p.parent for p in points] == [directory.root_digest(), *(p.digest for p in points[:2])]
    assert {p.writer for p in points} == {lease.token}
    assert directory.newest_state() == points[-1]


def test_what_follows_another_parent_does_not_count(
    directory: TrainingDirectory, lease: Lease
) -> None:
    first, _ = publish_points(directory, lease, 2)
    directory.publish(point_name(2), lease, "another", filler())
    assert directory.chain() == [first]


def test_a_point_that_is_there_wins_over_a_second_one(
    directory: TrainingDirectory, lease: Lease
) -> None:
    (first,) = publish_points(directory, lease, 1)
    again = directory.publish(point_name(1), lease, directory.root_digest(), filler("other"))
    assert again == first
    assert first.adapter.joinpath("adapter_model.safetensors").read_text().startswith("11")


def test_a_damaged_point_is_set_aside_and_written_again(
    directory: TrainingDirectory, lease: Lease
) -> None:
    (first,) = publish_points(directory, lease, 1)
    (first.adapter / "adapter_model.safetensors").write_text("short")
    assert directory.chain() == []
    directory.publish(point_name(1), lease, directory.root_digest(), filler("new"))
    assert len(directory.chain()) == 1
    assert len(list(directory.path.glob("damaged-eval-0001-*"))) == 1


def test_the_state_before_a_damaged_point_is_where_a_writer_goes_on(
    directory: TrainingDirectory, lease: Lease
) -> None:
    points = publish_points(directory, lease, 3)
    points[2].state.write_text("torn")
    assert directory.newest_state() == points[1]
    (points[1].path / store.RECORD).unlink()
    assert directory.newest_state() == points[0]


def test_a_step_checkpoint_counts_only_after_the_last_point(
    directory: TrainingDirectory, lease: Lease
) -> None:
    (first,) = publish_points(directory, lease, 1)
    directory.publish(store.step_name(2), lease, directory.root_digest(), filler())
    assert directory.newest_state() == first
    later = directory.publish(store.step_name(6), lease, first.digest, filler())
    assert directory.newest_state() == later
    later.state.write_bytes(b"")
    assert directory.newest_state() == first


def test_dropped_state_leaves_the_point_whole(directory: TrainingDirectory, lease: Lease) -> None:
    points = publish_points(directory, lease, 3)
    directory.drop_states(before=3)
    assert directory.chain() == points
    assert [p.state.exists() for p in points] == [False, False, True]
    directory.drop_states(before=4)
    assert directory.newest_state() is None


def test_an_orphan_can_neither_write_nor_publish(
    directory: TrainingDirectory, lease: Lease
) -> None:
    identity = directory.path / "lease" / "0001.json"
    identity.write_text("{}")  # as a holder elsewhere that stands still
    new = lab.take_over(directory.path)
    with pytest.raises(LeaseLost, match="taken this training over"):
        directory.publish(point_name(1), lease, directory.root_digest(), filler())
    assert directory.chain() == []
    publish_points(directory, new, 1)
    new.release()


def test_an_orphan_overtaken_inside_its_save_publishes_nothing(
    directory: TrainingDirectory, lease: Lease
) -> None:
    """The hardest moment: between its last look at the lease and its rename."""
    new: list[Lease] = []

    def overtake() -> None:
        (directory.path / "lease" / "0001.json").write_text("{}")
        new.append(lab.take_over(directory.path))

    class Overtaken(Lease):
        def check(self) -> None:
            if new:
                super().check()
            else:
                overtake()  # this look still said that all was well

    lease.__class__ = Overtaken
    with pytest.raises(LeaseLost, match="taken this training over"):
        directory.publish(point_name(1), lease, directory.root_digest(), filler())
    assert not (directory.path / point_name(1)).exists()
    new[0].release()


@pytest.mark.parametrize("count", [12])
def test_truncation_and_flipped_bits_are_always_detected(
    directory: TrainingDirectory, lease: Lease, count: int
) -> None:
    (point,) = publish_points(directory, lease, 1)
    assert lab.undetected_damages(point.path, count, seed=1) == []


def test_a_rewritten_manifest_does_not_hide_a_damage(
    directory: TrainingDirectory, lease: Lease
) -> None:
    (point,) = publish_points(directory, lease, 1)
    manifest = json.loads((point.path / store.MANIFEST).read_text())
    manifest["files"].pop("adapter/adapter_model.safetensors")
    (point.path / store.MANIFEST).write_text(json.dumps(manifest))
    assert store.read_checkpoint(point.path) is None


# ------------------------------------------------------------------ directories without a lease
def write_scores(place: Path) -> None:
    (place / "scores.json").write_text("{}")


def test_scores_are_published_once(tmp_path: Path) -> None:
    place = tmp_path / "scores" / "x"
    assert store.publish_directory(place, write_scores)
    assert store.is_whole(place)
    assert not store.publish_directory(place, write_scores)
    assert [p.name for p in place.parent.iterdir()] == ["x"]


def test_damaged_scores_are_set_aside(tmp_path: Path) -> None:
    place = tmp_path / "scores" / "x"
    store.publish_directory(place, write_scores)
    (place / "scores.json").write_text("{")
    store.set_aside_if_damaged(place)
    assert not place.exists()
    assert store.publish_directory(place, write_scores)


def test_a_failed_fill_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(place: Path) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        store.publish_directory(tmp_path / "scores" / "x", fail)
    assert list((tmp_path / "scores").iterdir()) == []


def test_even_the_last_line_break_of_a_manifest_is_missed(
    directory: TrainingDirectory, lease: Lease
) -> None:
    (point,) = publish_points(directory, lease, 1)
    manifest = point.path / store.MANIFEST
    manifest.write_text(manifest.read_text()[:-1])
    assert store.read_checkpoint(point.path) is None
