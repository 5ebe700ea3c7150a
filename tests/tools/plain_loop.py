"""The plain loop that `make bench` compares with: transformers and PEFT, one fresh process a point.

    python -m tests.tools.plain_loop POINT.json OUT.json

What a careful script does without a store, a pruner or a warm start: the same data, prompts,
schedule and scores; batches padded to their longest; AdamW as torch chooses it; validation by
batched generation with a cache, prompts sorted by length, after every epoch, of the model as it is
served. Nothing is slowed down on purpose, and no W&B is paid for.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from agent.config.run_config import RunConfig
from agent.evaluation import scores
from agent.log_noise import quieten_libraries
from agent.training import data, prompts
from agent.training.data_formats import Example
from agent.training.schedule import learning_rate_at

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def main(words: Sequence[str]) -> int:
    config = RunConfig.parse(json.loads(Path(words[0]).read_text()))
    torch.manual_seed(config.seed)
    examples = data.load(config)
    tokenizer: Any = AutoTokenizer.from_pretrained(config.base_model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = attach(load(config, config.base_model, config.variant.training_precision), config)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    sequences, _ = prompts.encode(tokenizer, examples.train, config.max_length)
    curve, first_step, tokens = [], 0.0, 0
    train_s = validate_s = 0.0
    per_epoch = -(-len(sequences) // config.batch_size)
    for epoch in range(config.epochs):
        order = np.random.default_rng([config.seed, epoch]).permutation(len(sequences))
        model.train()
        began = time.perf_counter()
        for step in range(per_epoch):
            chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
            batch = collate([sequences[i] for i in chosen], tokenizer.pad_token_id)
            number = epoch * per_epoch + step + 1
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(config, number, per_epoch * config.epochs)
            model(**batch).loss.backward()
            if config.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            tokens += sum(len(sequences[i].input_ids) for i in chosen)
            first_step = first_step or time.time()
        train_s += time.perf_counter() - began
        began = time.perf_counter()
        curve.append(validate(model, tokenizer, config, examples.validation, Path(words[1])))
        validate_s += time.perf_counter() - began
    found = {
        "f1": curve[-1],
        "curve": curve,
        "first_step_at": first_step,
        "tokens_per_s": tokens / train_s,
        "validation_examples_per_s": len(curve) * len(examples.validation) / validate_s,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }
    Path(words[1]).write_text(json.dumps(found))
    return 0


def load(config: RunConfig, path: str, precision: str) -> Any:
    dtype = DTYPES[config.compute_dtype]
    quantised = {
        "nf4": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
        "llm_int8": BitsAndBytesConfig(load_in_8bit=True),
    }
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, quantization_config=quantised.get(precision)
    )
    for module in model.modules():  # see agent.training.base_model.keep_four_bit_layout
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.__dict__["support_avx512bf16_for_cpu"] = False
    return model


def attach(model: Any, config: RunConfig) -> Any:
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, settings)


def collate(part: Sequence[prompts.TrainingSequence], pad_id: int) -> dict[str, torch.Tensor]:
    longest = max(len(s.input_ids) for s in part)
    ids = torch.full((len(part), longest), pad_id)
    labels = torch.full((len(part), longest), -100)
    mask = torch.zeros((len(part), longest), dtype=torch.long)
    for row, sequence in enumerate(part):
        length = len(sequence.input_ids)
        ids[row, :length] = torch.tensor(sequence.input_ids)
        labels[row, sequence.answer_start : length] = ids[row, sequence.answer_start : length]
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def validate(
    model: Any, tokenizer: Any, config: RunConfig, examples: Sequence[Example], out: Path
) -> float:
    """Mean F1 of the model as the cell serves it."""
    served = model
    if config.variant.deployment == "merged_then_quantised":
        folder = out.with_suffix(".merged")
        model.save_pretrained(folder / "adapter")
        base = load(config, config.base_model, "16bit")
        from peft import PeftModel

        merged: Any = PeftModel.from_pretrained(base, folder / "adapter")
        merged.merge_and_unload().save_pretrained(folder)
        served = load(config, str(folder), config.variant.quantization_method)
    served.eval()
    kept = [(prompts.prompt_ids(tokenizer, e.messages), e) for e in examples]
    kept = [(ids, e) for ids, e in kept if fits(tokenizer, ids, e, config)]
    kept.sort(key=lambda pair: -len(pair[0]))
    total = 0.0
    for start in range(0, len(kept), config.eval_batch_size):
        total += sum(
            answer_scores(served, tokenizer, config, kept[start:][: config.eval_batch_size])
        )
    return total / len(kept)


def fits(tokenizer: Any, ids: Sequence[int], example: Example, config: RunConfig) -> bool:
    return prompts.is_within(tokenizer, ids, example.answers[0], config.max_length)


@torch.no_grad()
def answer_scores(
    model: Any, tokenizer: Any, config: RunConfig, part: Sequence[tuple[list[int], Example]]
) -> list[float]:
    longest = max(len(ids) for ids, _ in part)
    ids = torch.full((len(part), longest), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, (prompt, _) in enumerate(part):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    said = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=config.max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )
    texts = tokenizer.batch_decode(said[:, longest:], skip_special_tokens=True)
    return [
        scores.score(e.task, text.strip(), e.answers, e.messages[-1][1]).f1
        for text, (_, e) in zip(texts, part, strict=True)
    ]


if __name__ == "__main__":
    quieten_libraries()
    sys.exit(main(sys.argv[1:]))
