"""Peak memory of a step, counted on meta tensors at real sizes."""

import torch

from tests.tools import meta_memory


def test_3b_at_8k_tokens_with_256_answer_tokens_takes_at_most_10_gb() -> None:
    model = meta_memory.make_model()
    assert 6 < meta_memory.peak_gb(model, meta_memory.on_answers, 8192, 256) <= 10


def test_long_answers_take_no_more_than_short_ones_because_their_loss_is_chunked() -> None:
    shape = {**meta_memory.QWEN_3B, "num_hidden_layers": 2}
    model = meta_memory.make_model(shape)
    short = meta_memory.peak_gb(model, meta_memory.on_answers, 8192, 256)
    assert meta_memory.peak_gb(model, meta_memory.on_answers, 8192, 8000) < 1.1 * short
    assert meta_memory.peak_gb(model, meta_memory.on_all_positions, 8192, 256) > 4 * short


def test_what_is_alive_is_counted_once_and_let_go() -> None:
    with meta_memory.PeakMemory() as memory:
        held = torch.empty(1000, device="meta")
        view = held[10:]
        other = held + 1
        assert memory.alive == 8000
        del other
        assert (memory.alive, memory.peak) == (4000, 8000)
        del held
        assert memory.alive == 4000  # the view holds it
        del view
    assert memory.alive == 0
