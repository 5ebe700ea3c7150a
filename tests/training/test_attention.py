"""The attention kernel is one that the architecture has."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from agent.training import base_model
from tests.training import lab
from tests.training.architectures import make_model


@pytest.mark.parametrize(
    ("kind", "max_length", "kernel"),
    [("qwen2", 1024, "sdpa"), ("qwen2", 128, "eager"), ("gemma2", 1024, "eager")],
)
def test_a_base_loads_with_the_fastest_kernel_that_its_architecture_has(
    tmp_path: Path, kind: str, max_length: int, kernel: str
) -> None:
    place = tmp_path / "model"
    make_model(kind, vocab_size=1024, max_position_embeddings=1024).save_pretrained(place)
    AutoTokenizer.from_pretrained(lab.BASE_MODEL).save_pretrained(place)
    config = lab.make_config(tmp_path, base_model=str(place), max_length=max_length)
    base = base_model.load(config, place, "16bit", torch.device("cpu"))
    assert base.model.config._attn_implementation == kernel


def test_a_gpu_takes_the_fused_kernel_at_any_length() -> None:
    gpu = torch.device("cuda")
    assert base_model.attention_on(gpu, 64) == "sdpa"
    assert base_model.attention_on(gpu, 64, supports_sdpa=False) == "eager"
