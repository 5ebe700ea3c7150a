"""A random model and random records of chosen lengths: no download, the same on every machine."""

import gc
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from agent.config.run_config import RunConfig
from agent.training import data, device_memory
from agent.training.evaluation_points import Training
from agent.training.facts.hooks import Hooks
from tests.training.lab import BASE_MODEL, write_lines

WORDS = ("the", "is", "of", "document")  # one token each in the demo's vocabulary


@dataclass(frozen=True)
class Size:
    """How large everything is; tokens, unless said otherwise."""

    shape: Mapping[str, object]  # of a Qwen2
    short: int
    long: int
    mix: tuple[tuple[int, int], ...]  # ranges of the lengths of three tasks
    prompt: int  # of the generation check
    prompts: int  # how many
    new_tokens: int
    int8_rows: int  # of the large LLM.int8 product
    records: int = 16  # of a training

    @property
    def width(self) -> int:
        return int(str(self.shape["hidden_size"]))

    @property
    def inner(self) -> int:
        return int(str(self.shape["intermediate_size"]))


SIZES = {
    "1.5b": Size(
        shape={
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
            "max_position_embeddings": 32768,
        },
        short=1024,
        long=8192,
        mix=((100, 300), (1500, 8000), (400, 2000)),
        prompt=4096,
        prompts=16,
        new_tokens=64,
        int8_rows=241_000,  # times 8,960 columns: more than 2^31 elements
    ),
    "small": Size(  # large enough for a CPU's time to go into arithmetic
        shape={
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 32768,
            "tie_word_embeddings": True,
            "max_position_embeddings": 4096,
        },
        short=128,
        long=1024,
        mix=((20, 60), (200, 1000), (60, 250)),
        prompt=256,
        prompts=8,
        new_tokens=16,
        int8_rows=4096,
        records=64,
    ),
    "tiny": Size(
        shape={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 1024,
            "tie_word_embeddings": True,
            "max_position_embeddings": 1024,
        },
        short=64,
        long=256,
        mix=((20, 40), (100, 250), (40, 90)),
        prompt=128,
        prompts=4,
        new_tokens=4,
        int8_rows=512,
        records=6,
    ),
}


@dataclass(frozen=True)
class Lab:
    root: Path
    device: torch.device
    size: Size

    @property
    def model(self) -> Path:
        return self.root / "model"

    def prepare(self) -> None:
        """Write the random model, with the demo's tokenizer and one token for each row that is left
        of the embedding: a base whose tokenizer has far fewer is refused."""
        torch.manual_seed(0)
        with self.device:
            model = AutoModelForCausalLM.from_config(
                AutoConfig.for_model("qwen2", **self.size.shape), dtype=torch.bfloat16
            )
        model.save_pretrained(self.model)
        AutoTokenizer.from_pretrained(BASE_MODEL).save_pretrained(self.model)
        file = self.model / "tokenizer.json"
        tokenizer = json.loads(file.read_text())
        taken = max(token["id"] for token in tokenizer["added_tokens"]) + 1
        rows = int(str(self.size.shape["vocab_size"]))
        tokenizer["model"]["vocab"] |= {f"<unused {row}>": row for row in range(taken, rows)}
        file.write_text(json.dumps(tokenizer))
        del model
        self.clean()

    def records(self, name: str, lengths: Sequence[int], answer: int) -> str:
        """A data set of prompts of these lengths with answers of `answer` tokens, drawn by its
        name; about, because the chat template adds some tokens."""
        rng = Random(name)
        rows = []
        for length in lengths:
            words = rng.choices(WORDS, k=max(length - answer - 24, 4) + answer)
            prompt, said = words[answer:], words[:answer]
            rows.append({"instruction": " ".join(prompt), "output": " ".join(said), "task": "qa"})
        return str(write_lines(self.root / f"{name}.jsonl", rows))

    def config(self, dataset: str, **values: Any) -> RunConfig:
        return RunConfig.parse(
            {
                "model_variant": "Full LoRA",
                "base_model": str(self.model),
                "dataset": dataset,
                "validation_fraction": 0.25,
                "test_fraction": 0.0,
                "learning_rate": 1e-4,
                "batch_size": 4,
                "gradient_checkpointing": True,
                "max_length": self.size.long,
                "max_new_tokens": self.size.new_tokens,
                "eval_batch_size": 4,
                "store": str(self.root / "store"),
                "device": self.device.type,
                **values,
            }
        )

    def training(self, config: RunConfig, **hooks: Any) -> Training:
        """A training in its own store; FLOPs are counted once for all stores."""
        counts = Path(config.store) / "flops"
        counts.parent.mkdir(parents=True, exist_ok=True)
        if not counts.exists():
            (self.root / "flops").mkdir(exist_ok=True)
            counts.symlink_to(self.root / "flops")
        return Training(config, data.load(config), run_id="gpu", hooks=Hooks(**hooks))

    # ------------------------------------------------------------------ memory and time
    def clean(self) -> None:
        gc.collect()
        device_memory.release(self.device)

    def held_gb(self) -> float:
        """Device memory in use; on a CPU the bytes of all tensors that Python knows of."""
        self.clean()
        if (allocated := device_memory.allocated_gb(self.device)) is not None:
            return allocated
        tensors = (o for o in gc.get_objects() if issubclass(type(o), torch.Tensor))
        sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        return float(sum(sizes.values())) / 1e9

    def timed(self, work: Any) -> tuple[float, Any]:
        """Seconds of `work()`, the device's part included, and what it gives."""
        device_memory.synchronise(self.device)
        started = time.perf_counter()
        result = work()
        device_memory.synchronise(self.device)
        return time.perf_counter() - started, result


def card(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def as_line(values: Mapping[str, object]) -> str:
    """One JSON line; long fractions are cut."""
    return json.dumps({n: round(v, 4) if isinstance(v, float) else v for n, v in values.items()})
