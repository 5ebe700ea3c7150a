"""One step: the loss covers the answer alone, and how a batch is computed does not change it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from agent.training.prompts import TrainingSequence
from agent.training.trainer import collate
from tests.training import lab


def test_only_answer_tokens_carry_loss_and_padding_none() -> None:
    part = [TrainingSequence((5, 6, 7, 8), 2), TrainingSequence((1, 2), 1)]
    ids, places, targets = collate(part, 5, pad_id=0)
    assert ids.tolist() == [[5, 6, 7, 8, 0], [1, 2, 0, 0, 0]]
    assert places.tolist() == [1, 2, 5]  # the positions before each answer token, rows in a row
    assert targets.tolist() == [7, 8, 2]


def test_an_end_token_that_also_pads_is_still_learned() -> None:
    part = [TrainingSequence((5, 0), 1), TrainingSequence((5, 6, 0), 1)]
    _, places, targets = collate(part, 3, pad_id=0)
    assert places.tolist() == [0, 3, 4]
    assert targets.tolist() == [0, 6, 0]


def losses(root: Path, name: str, **values: Any) -> list[float]:
    """Losses of the first evaluation point, in fp32 and without dropout."""
    exact = {"compute_dtype": "float32", "lora_dropout": 0.0, "store": str(root / name)}
    following = lab.open_training(root, {**exact, **values}).points()
    point = next(following)
    following.close()
    return [loss.loss for loss in point.losses]


def test_micro_batches_add_up_to_the_batch(tmp_path: Path) -> None:
    """The mean is over the answer tokens of the whole batch, however they are spread."""
    whole = losses(tmp_path, "whole")
    assert losses(tmp_path, "parts", micro_batch_size=2) == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(("variant", "strategy"), [lab.CELLS[0], *lab.CELLS[3:]])
def test_gradient_checkpointing_trains_the_same_on_every_base(
    tmp_path: Path, variant: str, strategy: str
) -> None:
    cell = {"model_variant": variant, "quantization_strategy": strategy}
    plain = losses(tmp_path, "plain", **cell)
    again = losses(tmp_path, "checkpointed", gradient_checkpointing=True, **cell)
    assert again == pytest.approx(plain, rel=1e-3)
    assert plain[-1] < plain[0] + 1


def test_the_first_loss_is_the_mean_over_answer_tokens(tmp_path: Path) -> None:
    """Worked out again from the untouched base, whose output a fresh adapter does not change."""
    exact = {"compute_dtype": "float32", "lora_dropout": 0.0}
    training = lab.open_training(tmp_path, exact)
    batch = [training._encoded[0][i] for i in training.plan.batch(1)]
    total, count = 0.0, 0
    for sequence in batch:
        with torch.inference_mode():
            logits = training.base.model(torch.tensor([sequence.input_ids])).logits[0]
        chosen = torch.log_softmax(logits.float(), dim=-1)
        for place in range(sequence.answer_start, len(sequence.input_ids)):
            total -= float(chosen[place - 1, sequence.input_ids[place]])
            count += 1
    following = training.points()
    first = next(following).losses[0]
    following.close()
    assert first.loss == pytest.approx(total / count, rel=1e-4)
