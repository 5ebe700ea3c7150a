"""The proofs of the training store with small counts; `make prove` runs the full ones."""

from pathlib import Path

from tests.tools import prove_training
from tests.training import duels, lab


def test_killed_at_random_moments_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    found = prove_training.prove_kills(tmp_path, 3, in_a_save=2)
    assert found["kills/resumed_to_the_same_bits"] == 3
    assert found["kills/most_steps_repeated"] in (0, 1)


def test_damages_of_a_real_checkpoint_are_detected_and_nothing_is_unpickled(
    tmp_path: Path,
) -> None:
    found = prove_training.prove_damages(tmp_path, 10)
    assert (found["damages/undetected"], found["damages/objects_unpickled"]) == (0, 0)


def test_duels_have_one_writer(tmp_path: Path) -> None:
    duels.shared_data()
    found = prove_training.prove_duels(tmp_path, 10, 1)
    assert found["duels/one_trained_the_other_followed"] == 10
    assert found["duels/real_one_trained_the_other_followed"] == 1


def test_batched_validation_gives_the_tokens_of_one_by_one(tmp_path: Path) -> None:
    found = prove_training.prove_batched_validation(tmp_path, 30)
    assert found["validation/examples_with_other_tokens"] == 0
    assert lab.BASE_MODEL.is_dir()
