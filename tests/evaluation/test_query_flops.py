"""The formula against torch's own counter on the unquantised twin."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from agent.config.run_config import RunConfig
from agent.evaluation import query_flops
from agent.training import adapters, base_model
from tests.training import lab

FULL: dict[str, Any] = {"model_variant": "Full LoRA"}
QLORA: dict[str, Any] = {"model_variant": "QLoRA", "quantization_strategy": "int4"}


def counted(config: RunConfig, tokens_in: int, tokens_out: int) -> float:
    """What a greedy answer with a key-value cache costs, pass by pass."""
    twin: Any = base_model.meta_twin(config, lab.BASE_MODEL, attention="eager")
    if config.variant.deployment == "quantised_base_with_adapter":
        twin = adapters.attach(twin, config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        cache = None
        for passed in [tokens_in] + [1] * (tokens_out - 1):
            ids = torch.zeros(1, passed, dtype=torch.long, device="meta")
            out = twin(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
    return float(counter.get_total_flops())


@pytest.mark.parametrize("cell", [FULL, QLORA])
@pytest.mark.parametrize(("tokens_in", "tokens_out"), [(90, 1), (60, 6), (5, 12)])
def test_the_formula_is_within_two_percent_of_the_counter(
    cell: dict[str, Any], tokens_in: int, tokens_out: int, tmp_path: Path
) -> None:
    config = lab.make_config(tmp_path, **cell)
    formula = query_flops.shape_of(config, lab.BASE_MODEL).of(tokens_in, tokens_out)
    assert formula == pytest.approx(counted(config, tokens_in, tokens_out), rel=0.02)


def test_only_an_adapter_that_stays_beside_the_base_is_counted(tmp_path: Path) -> None:
    shapes = {
        variant: query_flops.shape_of(
            lab.make_config(
                tmp_path, model_variant=variant, quantization_strategy=strategy, lora_rank=rank
            ),
            lab.BASE_MODEL,
        )
        for variant, strategy, rank in [
            ("Full LoRA", "None", 4),
            ("LoRA+PTQ", "int4", 4),
            ("QLoRA", "int4", 4),
        ]
    }
    assert shapes["LoRA+PTQ"] == shapes["Full LoRA"]
    assert shapes["Full LoRA"].adapter_weights == 0
    assert shapes["QLoRA"].adapter_weights > 0
    assert shapes["QLoRA"].of(10, 10) > shapes["Full LoRA"].of(10, 10)


def test_a_longer_answer_costs_more() -> None:
    shape = query_flops.QueryFlops(1000, 100, 50, layers=2, attention_width=8)
    assert shape.of(3, 1) == 2 * 1100 * 3 + 2 * 50 + 4 * 8 * 2 * 9
    assert shape.of(3, 3) == 2 * 1100 * 5 + 2 * 50 * 3 + 4 * 8 * 2 * (9 + 4 + 5)
