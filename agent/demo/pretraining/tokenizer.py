"""The demo's tokenizer: Qwen2's own kind (byte-level BPE), with every word of the world one token.

It has to be a genuine Qwen2 tokenizer: for a model of type `qwen2`, transformers builds that class
whatever the folder says, and would silently misread a tokenizer of any other kind. Being byte-level
it also gives back every text unchanged.
"""

import json
import re
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from agent.demo import data, toy_world
from agent.demo.pretraining import lessons

PAD, END = "<|endoftext|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
# Whole tokens that the pre-tokenizer must not split; a title follows its section's mark directly.
MARKUP = (
    "<abstract>",
    "</abstract>",
    "<section: ",
    "<sub-section: ",
    ">",
    "['",
    "', '",
    "']",
    "[Local]",
    "[Global]",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tokenizer(max_length: int) -> Qwen2Tokenizer:
    """The tokenizer with its chat template, padding on the left as generation needs it."""
    vocabulary, merges = _learn_merges(_words())
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]  # pairs are what the BPE model takes
        unk_token=PAD,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKUP])
    return tokenizer


def _words() -> list[str]:
    texts = [*toy_world.all_texts(), *data.INSTRUCTIONS, *lessons.all_texts()]
    return sorted({word for text in texts for word in re.findall(r"[a-z]+", text)})


def _learn_merges(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair merges until every word, with and without a space before it, is one token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,  # no limit: the merges end when every word is one token
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator([f"{word}\n {word}" for word in words], trainer)
    model = json.loads(core.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]
