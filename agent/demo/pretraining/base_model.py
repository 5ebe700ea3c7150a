"""The demo's base model: Qwen2 in miniature, pre-trained from scratch on the small world's lessons.

Muon turns the weight matrices, AdamW the embeddings and norms: in a trial on much the same lessons
the loss after 200 steps was 0.36 so, and 1.60 with AdamW alone.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from agent.demo.pretraining import lessons
from agent.demo.pretraining.tokenizer import MARKUP, make_tokenizer

LONGEST_TEXT = 512  # tokens
IGNORED = -100  # label of a position that is not learned
BLOCK = 64  # NF4 quantises 64 weights together: every width is a multiple of it
WARMUP_STEPS = 20
DECAY_SHARE = 0.4  # of all steps, at the end
MUON_RATE, ADAMW_RATE = 0.01, 3e-3

Report = Callable[[str], None]


class Lesson(NamedTuple):
    tokens: list[int]
    labels: list[int]  # IGNORED at every question


def pretrain(
    directory: Path,
    *,
    seed: int,
    steps: int,
    batch_size: int,
    report: Report = print,
) -> dict[str, object]:
    """Make the base model and its tokenizer in `directory`, a Hugging Face folder.

    Returns what `pretraining.json` beside them holds. The same seed, step count, batch size,
    thread count and torch version give the same weights on one kind of processor.
    """
    started = time.monotonic()
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(LONGEST_TEXT)
    model = Qwen2ForCausalLM(make_config(tokenizer))
    losses = _train(model, tokenizer, Random(seed), steps, batch_size, report)
    record: dict[str, object] = {
        "command": f"sweep-agent pretrain --seed {seed} --steps {steps} --batch-size {batch_size}",
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "seconds": round(time.monotonic() - started, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss_mean_of_last_steps": round(sum(losses[-20:]) / len(losses[-20:]), 4),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    model.bfloat16()
    _save(model, tokenizer, record, directory)
    return record


def make_config(tokenizer: Qwen2Tokenizer) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=-(-len(tokenizer) // BLOCK) * BLOCK,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LONGEST_TEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


# ---------------------------------------------------------------------- lessons as tokens
def encode(tokenizer: Qwen2Tokenizer, turns: list[lessons.Turn]) -> Lesson:
    """The conversation in the chat template's form; only the answers are learned."""
    tokens: list[int] = []
    labels: list[int] = []
    for question, answer in turns:
        asked = tokenizer.encode(f"<|user|>{question}<|end|><|assistant|>")
        said = tokenizer.encode(f"{answer}<|end|>")
        tokens += asked + said
        labels += [IGNORED] * len(asked) + said
    return Lesson(tokens, labels)


def collate(batch: list[Lesson], pad: int) -> tuple[Tensor, Tensor]:
    """Tokens and labels, both (examples, longest), padded on the right.

    Causal attention never looks right, so the padding needs no mask.
    """
    longest = max(len(lesson.tokens) for lesson in batch)
    tokens = [lesson.tokens + [pad] * (longest - len(lesson.tokens)) for lesson in batch]
    labels = [lesson.labels + [IGNORED] * (longest - len(lesson.labels)) for lesson in batch]
    return torch.tensor(tokens), torch.tensor(labels)


# ---------------------------------------------------------------------- training
def _train(
    model: Qwen2ForCausalLM,
    tokenizer: Qwen2Tokenizer,
    rng: Random,
    steps: int,
    batch_size: int,
    report: Report,
) -> list[float]:
    optimizers = _make_optimizers(model)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_factor(step, steps))
        for optimizer in optimizers
    ]
    losses: list[float] = []
    for step in range(steps):
        batch = [encode(tokenizer, lessons.lesson(rng, MARKUP)) for _ in range(batch_size)]
        loss, accuracy = measure(model, *collate(batch, int(tokenizer.pad_token_id)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        model.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 25 == 0 or step + 1 == steps:
            report(f"step {step + 1}/{steps}  loss {losses[-1]:.3f}  tokens right {accuracy:.1%}")
    return losses


def _make_optimizers(model: Qwen2ForCausalLM) -> list[torch.optim.Optimizer]:
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    muon = torch.optim.Muon(
        matrices, lr=MUON_RATE, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, torch.optim.AdamW(others, lr=ADAMW_RATE, weight_decay=0.0)]


def _rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, a plateau, linear decay to zero."""
    return min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / (DECAY_SHARE * steps))


def measure(model: Qwen2ForCausalLM, tokens: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Mean cross-entropy over the answers' tokens, and the share predicted right.

    Only those positions go through the output layer, the widest matrix of the model.
    """
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    learned = labels[:, 1:] != IGNORED
    target = labels[:, 1:][learned]
    logits = model.lm_head(hidden[learned])
    return cross_entropy(logits, target), (logits.argmax(-1) == target).float().mean().item()


# ---------------------------------------------------------------------- saving
def _save(
    model: Qwen2ForCausalLM,
    tokenizer: Qwen2Tokenizer,
    record: dict[str, object],
    directory: Path,
) -> None:
    """Write everything beside `directory`, then put it in place file by file."""
    partial = directory.parent / f".{directory.name}.{os.getpid()}.partial"
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial, save_jinja_files=False)
    (partial / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")
    directory.mkdir(parents=True, exist_ok=True)
    for path in sorted(partial.iterdir()):
        path.chmod(0o644)
        path.replace(directory / path.name)
    partial.rmdir()
