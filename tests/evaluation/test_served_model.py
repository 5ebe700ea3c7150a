"""The served model: from which point of the store, and alone in memory."""

import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DataError, StoreError
from agent.evaluation import deployments, inference_benchmark, served_model
from agent.training import base_model, prompts, store
from agent.training.facts import base_files
from tests.training import lab
from tests.training.conftest import Finished


def key_of(finished: Finished) -> str:
    return finished.places[0].parent.name


def find(root: Path, finished: Finished, step: int, digest: str | None = None) -> Path | None:
    return served_model.find_adapter(root / "store", key_of(finished), step, digest)


def test_the_point_at_which_the_run_ended_is_found(undisturbed: Finished) -> None:
    steps = [store.read_checkpoint(place) for place in undisturbed.places]
    for place, point in zip(undisturbed.places, steps, strict=True):
        assert point is not None
        found = find(undisturbed.root, undisturbed, point.step, point.digest)
        assert found == place / "adapter"
        assert find(undisturbed.root, undisturbed, point.step, "another") is None
    assert find(undisturbed.root, undisturbed, 3) is None


def test_an_earlier_point_is_found_by_its_epoch(undisturbed: Finished) -> None:
    root, key = undisturbed.root / "store", key_of(undisturbed)
    first = store.read_checkpoint(undisturbed.places[0])
    assert first is not None
    epoch = float(first.record["epoch"])
    assert served_model.find_adapter_at(root, key, epoch) == first.adapter
    with pytest.raises(StoreError, match=f"at epoch 99 .it has: {epoch:g}"):
        served_model.find_adapter_at(root, key, 99)


def test_a_damaged_adapter_is_not_served(undisturbed: Finished, tmp_path: Path) -> None:
    key = key_of(undisturbed)
    shutil.copytree(undisturbed.root / "store" / key, tmp_path / "store" / key)
    name = undisturbed.places[0].name
    weights = tmp_path / "store" / key / name / "adapter" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    assert find(tmp_path, undisturbed, 4) is not None
    content[-1] ^= 1
    weights.write_bytes(content)
    assert find(tmp_path, undisturbed, 4) is None


def test_another_base_model_is_refused(tmp_path: Path) -> None:
    config = lab.make_config(tmp_path)
    digest = base_files.digest_of(lab.BASE_MODEL, tmp_path / "digests")
    cache = tmp_path / "digests"
    assert served_model.locate_base(config, digest, cache) == lab.BASE_MODEL
    with pytest.raises(DataError, match=f"has digest {digest}, but the run was trained on 1234"):
        served_model.locate_base(config, "1234", cache)


@pytest.mark.parametrize(("variant", "strategy"), [("Full LoRA", "None"), ("QLoRA", "int4")])
def test_a_served_model_answers_and_keeps_nothing_of_the_base_it_does_not_need(
    variant: str, strategy: str, undisturbed: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lab.make_config(
        undisturbed.root, model_variant=variant, quantization_strategy=strategy
    )
    layers: list[Any] = []
    load = base_model.load

    def load_and_watch(*arguments: Any) -> base_model.Base:
        loaded = load(*arguments)
        name = next(name for name in loaded.modules if name.endswith("q_proj"))
        layers.append(weakref.ref(loaded.modules[name]))
        return loaded

    monkeypatch.setattr(base_model, "load", load_and_watch)
    adapter = undisturbed.places[-1] / "adapter"
    served = served_model.serve(config, lab.BASE_MODEL, lambda: adapter)
    is_merged = variant == "Full LoRA"
    assert (layers[0]() is None) == is_merged  # beside a quantised base the adapter needs it
    assert served.model_size_gb == deployments.model_size_gb(served.model) > 0
    assert served.load_time_s > 0
    prompt = prompts.prompt_ids(served.tokenizer, [("user", "where is the harbour")])
    (timed,) = inference_benchmark.time_queries(served, [prompt], 6)
    assert timed.tokens_in == len(prompt)
    assert 1 <= timed.tokens_out <= 6
    assert 0 < timed.first_token_s < timed.latency_s
