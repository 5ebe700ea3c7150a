"""The loop that people write: transformers and PEFT, labels in, loss out, batches as they come."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from agent.training import cost, device_memory
from agent.training.prompts import TrainingSequence
from tests.tools.gpu.lab import Lab


def make_model(lab: Lab) -> Any:
    """16 bit, torch's fused attention, checkpointing, LoRA on all linear layers."""
    model = AutoModelForCausalLM.from_pretrained(
        lab.model, dtype=torch.bfloat16, device_map={"": lab.device}, attn_implementation="sdpa"
    )
    cost.enable_checkpointing(model)
    settings = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, settings).train()


def train(
    lab: Lab, sequences: Sequence[TrainingSequence], *, batch: int, micro: int, pad_id: int
) -> dict[str, Any]:
    """One pass over the sequences, in their order; tokens per second without padding, and peak.
    The first step is done twice, once untimed."""
    model = make_model(lab)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)

    def step(rows: Sequence[TrainingSequence]) -> None:
        for start in range(0, len(rows), micro):
            part = rows[start : start + micro]
            ids, mask, labels = (t.to(lab.device) for t in collate(part, pad_id))
            loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
            (loss * len(part) / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def run() -> None:
        for start in range(0, len(sequences), batch):
            step(sequences[start : start + batch])

    step(sequences[:batch])
    device_memory.reset_peak_memory(lab.device)
    seconds, _ = lab.timed(run)
    tokens = sum(len(s.input_ids) for s in sequences)
    peak, _ = device_memory.peak_memory_gb(lab.device)
    return {"tokens_per_sec": tokens / seconds, "peak_gb": peak}


def collate(
    part: Sequence[TrainingSequence], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(s.input_ids) for s in part)
    ids = torch.full((len(part), longest), pad_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, sequence in enumerate(part):
        length = len(sequence.input_ids)
        ids[row, :length] = torch.tensor(sequence.input_ids)
        mask[row, :length] = 1
        labels[row, sequence.answer_start : length] = ids[row, sequence.answer_start : length]
    return ids, mask, labels
