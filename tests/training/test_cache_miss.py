"""The run says why a training that looks like one in the store is trained anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.training import cache_miss

IDENTITY: dict[str, Any] = {
    "max_length": 2048,
    "learning_rate": 1e-4,
    "seed": 0,
    "data": "d1",
    "libraries": {"torch": "2.13.0", "transformers": "5.23.0"},
}


def other(**values: Any) -> dict[str, Any]:
    libraries = {**IDENTITY["libraries"], **values.pop("libraries", {})}
    return {**IDENTITY, **values, "libraries": libraries}


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([other(max_length=1024)], "max_length 1024 → 2048"),
        ([other(libraries={"transformers": "5.22.0"})], "transformers 5.22.0 → 5.23.0"),
        ([other(data="d0")], "training data d0 → d1"),
        ([other(max_length=1024, data="d0"), other(max_length=512)], "max_length 512 → 2048"),
        ([other(learning_rate=3e-4)], None),  # another grid point is no surprise
        ([other(learning_rate=3e-4, max_length=1024)], None),
        ([other(data="x", max_length=1, libraries={"torch": "2", "transformers": "5"})], None),
        ([], None),
        ([IDENTITY], None),
        ([{**IDENTITY, "lora_rank": 8}], "lora_rank 8 → None"),
    ],
)
def test_the_nearest_training_is_explained(others: list[dict[str, Any]], said: str | None) -> None:
    assert cache_miss.explain(IDENTITY, others) == said


def test_identities_are_read_from_the_store_without_the_own_one(tmp_path: Path) -> None:
    for key, text in {"a": json.dumps(IDENTITY), "b": "{torn", "c": "[]", "own": "{}"}.items():
        (tmp_path / key).mkdir()
        (tmp_path / key / "identity.json").write_text(text)
    assert list(cache_miss.read_identities(tmp_path, besides="own")) == [IDENTITY]


def test_a_training_tells_its_near_miss_only_before_it_has_begun(tmp_path: Path) -> None:
    from tests.training import lab

    first = lab.open_training(tmp_path)
    following = first.points()
    next(following)
    following.close()
    changed = lab.open_training(tmp_path, {"max_length": 120})
    assert changed.facts()["train/near_miss"] == "max_length 128 → 120"
    assert first.facts()["train/near_miss"] is None
    assert first.facts()["data/too_long_examples"] == 0
    tight = lab.open_training(tmp_path, {"max_length": 60})
    assert tight.facts()["data/too_long_examples"] == 30 - len(tight.plan.lengths) > 0
