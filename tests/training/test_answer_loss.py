"""Loss and gradients are those of the logits of all positions, on whatever follows a decoder."""

import weakref
from typing import Any

import pytest
import torch
from torch.nn import functional

from agent.training import answer_loss
from tests.training.architectures import SETTINGS, VOCABULARY, make_model, with_adapter

ROWS, LENGTHS, ANSWERS = 3, (20, 15, 9), (7, 5, 2)


def make_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right-padded ids and their mask, places and targets of the answers at the ends."""
    torch.manual_seed(1)
    ids, mask = torch.randint(2, VOCABULARY, (ROWS, LENGTHS[0])), torch.ones(ROWS, LENGTHS[0])
    places: list[int] = []
    for row, (length, answer) in enumerate(zip(LENGTHS, ANSWERS, strict=True)):
        ids[row, length:] = 0
        mask[row, length:] = 0
        places += range(row * LENGTHS[0] + length - answer - 1, row * LENGTHS[0] + length - 1)
    chosen = torch.tensor(places)
    return ids, mask.long(), chosen, ids.flatten()[chosen + 1]


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def whole(model: Any, scale: float) -> float:
    """The usual way: logits of every position, with the padding masked."""
    ids, mask, places, targets = make_batch()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    loss = functional.cross_entropy(logits.flatten(0, 1)[places], targets, reduction="sum") * scale
    loss.backward()
    return float(loss.detach())


def lean(model: Any, scale: float) -> float:
    ids, _, places, targets = make_batch()
    return float(answer_loss.forward_backward(model, ids, places, targets, scale))


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("at_once", [2**25, 3 * VOCABULARY])  # one chunk, and five
def test_loss_and_gradients_are_those_of_all_logits(
    kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_loss, "LOGITS_AT_ONCE", at_once)
    model = with_adapter(make_model(kind))
    expected, expected_gradients = whole(model, 0.1), gradients(model)
    assert answer_loss.decoder_of(model) is not None
    assert lean(model, 0.1) == pytest.approx(expected, rel=1e-5)
    found = gradients(model)
    assert set(found) == set(expected_gradients)
    for name, value in expected_gradients.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    again = model(input_ids=make_batch()[0], use_cache=False)  # nothing is left behind
    assert again.logits.shape == (ROWS, LENGTHS[0], VOCABULARY)


def test_a_model_whose_decoder_cannot_be_found_trains_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = with_adapter(make_model("llama"))
    expected, expected_gradients = whole(model, 0.1), gradients(model)
    monkeypatch.setattr(answer_loss, "decoder_of", lambda _: None)
    assert lean(model, 0.1) == pytest.approx(expected, rel=1e-5)
    for name, value in gradients(model).items():
        torch.testing.assert_close(value, expected_gradients[name], rtol=1e-4, atol=1e-6)


def test_no_logits_live_when_the_decoders_backward_begins() -> None:
    model = with_adapter(make_model("llama"))
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    head = model.get_base_model().lm_head
    head.register_forward_hook(lambda *x: made.append(weakref.ref(x[-1])))
    norm = model.get_base_model().model.norm
    norm.register_full_backward_hook(lambda *_: alive.append(sum(r() is not None for r in made)))
    lean(model, 0.1)
    assert len(made) == 2  # nothing in the whole pass, then the chunk
    assert alive == [0]


def test_the_head_sees_answers_only() -> None:
    model = with_adapter(make_model("qwen2"))
    rows: list[int] = []
    head = model.get_base_model().lm_head
    head.register_forward_hook(lambda *x: rows.append(x[-1].shape[:-1].numel()))
    lean(model, 0.1)
    assert rows == [0, sum(ANSWERS)]
