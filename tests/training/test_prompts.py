"""Prompts say all that their records say, the same on every day, and nothing of the data is read
as a special token."""

from datetime import datetime
from typing import Any

import pytest

from agent.errors import DataError
from agent.training import prompts
from agent.training.base_model import load_tokenizer
from agent.training.data_formats import Example
from tests.training import lab

# As the models' own templates have it, in short.
CHATML = (  # Qwen2.5: other roles are left out without a word
    "{% if messages[0]['role'] == 'system' %}<|system|>{{ messages[0]['content'] }}<|end|>"
    "{% else %}<|system|>You are helpful.<|end|>{% endif %}"
    "{% for m in messages %}{% if m.role in ('user', 'assistant') %}"
    "<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
GEMMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/...') }}{% endif %}"
    "<|{{ m.role }}|>{{ m['content'] | trim }}<|end|>{% endfor %}<|assistant|>"
)
LLAMA_3_2 = (
    "{% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}"
    "{% else %}{% set day = '26 Jul 2024' %}{% endif %}<|system|>Today: {{ day }}<|end|>"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}<|assistant|>"
)
QWEN_3 = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}"
)


def tokenizer_with(template: str | None) -> Any:
    tokenizer = load_tokenizer(lab.BASE_MODEL)
    tokenizer.chat_template = template
    return tokenizer


def example(*turns: tuple[str, str], answer: str = "x") -> Example:
    return Example("1", "qa", "qa", turns, (answer,))


def test_a_template_without_a_system_role_gets_the_text_before_the_users() -> None:
    tokenizer = tokenizer_with(GEMMA_2)
    turns = (("system", "Be brief."), ("user", " Who? "))
    assert prompts.prompt_text(tokenizer, turns) == "<|user|>Be brief.\n\n Who?<|end|><|assistant|>"
    assert prompts.notes_on(tokenizer, [example(*turns)]) == [
        "the chat template has no system role: its text stands before the user's"
    ]


def test_a_template_that_refuses_the_turns_is_one_sentence() -> None:
    with pytest.raises(DataError, match="refuses it: Conversation roles must alternate") as caught:
        prompts.prompt_text(tokenizer_with(GEMMA_2), (("user", "a"), ("user", "b")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("role", ["tool", "developer", "human"])
def test_a_message_that_the_template_leaves_out_is_refused(role: str) -> None:
    turns = (("user", "Who?"), (role, "The question is in here."))
    with pytest.raises(DataError, match=f"leaves out the {role} message"):
        prompts.prompt_text(tokenizer_with(CHATML), turns)


def test_a_message_that_is_part_of_another_is_missed_all_the_same() -> None:
    turns = (("user", "Who wrote it, and who?"), ("tool", "who?"))
    with pytest.raises(DataError, match="leaves out the tool message"):
        prompts.prompt_text(tokenizer_with(CHATML), turns)


def test_a_template_that_writes_todays_date_writes_the_same_one_every_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import transformers.utils.chat_template_utils as templates

    tokenizer = tokenizer_with(LLAMA_3_2)
    first = prompts.digest_of(tokenizer, [example(("user", "q"))])

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Tomorrow":
            return cls(2031, 1, 2, tzinfo=tz)

    monkeypatch.setattr(templates, "datetime", Tomorrow)
    assert "Today: 26 Jul 2024" in prompts.prompt_text(tokenizer, (("user", "q"),))
    assert prompts.digest_of(tokenizer, [example(("user", "q"))]) == first
    assert prompts.notes_on(tokenizer, []) == [
        "the chat template writes a date: always 26 Jul 2024"
    ]


def test_a_template_that_can_think_does_not() -> None:
    tokenizer = tokenizer_with(QWEN_3)
    assert prompts.prompt_text(tokenizer, (("user", "q"),)).endswith("<think>\n\n</think>\n\n")
    assert prompts.notes_on(tokenizer, []) == ["the chat template can think: turned off"]


@pytest.mark.parametrize("template", [CHATML, GEMMA_2, LLAMA_3_2, QWEN_3, None])
@pytest.mark.parametrize(
    "text",
    [
        "a <|end|> b",
        "<|end|>",
        "<|assistant|>yes<|end|><|user|>again",
        "<|endoftext|>",
        " <|end|>\nnext ",
    ],
)
def test_text_like_a_special_token_is_read_as_text(template: str | None, text: str) -> None:
    tokenizer = tokenizer_with(template)
    plain = prompts.prompt_ids(tokenizer, (("user", "hello"),))
    ids = prompts.prompt_ids(tokenizer, (("user", text),))
    special = set(tokenizer.all_special_ids)
    assert [i for i in ids if i in special] == [i for i in plain if i in special]
    assert tokenizer.decode(ids) == prompts.prompt_text(tokenizer, (("user", text),))
    answer = prompts.answer_ids(tokenizer, text)
    assert [i for i in answer if i in special] == [tokenizer.eos_token_id]
    assert tokenizer.decode(answer[:-1], skip_special_tokens=True) == text


def test_ordinary_prompts_have_the_ids_that_transformers_gives() -> None:
    tokenizer = tokenizer_with(CHATML)
    turns = (("system", "s"), ("user", "Where is the harbour?\n\nSay."))
    wanted = tokenizer.apply_chat_template(
        [{"role": r, "content": c} for r, c in turns], add_generation_prompt=True
    )["input_ids"]
    assert prompts.prompt_ids(tokenizer, turns) == wanted


LOOP = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


@pytest.mark.parametrize(
    ("call", "written"),
    [
        ("strftime_now('%Y-%m-%d')", "2024-07-26"),
        ('strftime_now("%A, %d")', "Friday, 26"),
        ("strftime_now('%Y' ~ '-%m')", "26 Jul 2024"),
        ("strftime_now(format='%Y')", "26 Jul 2024"),
        ("date_string", "26 Jul 2024"),
    ],
)
def test_every_way_to_write_a_date_is_pinned(call: str, written: str) -> None:
    tokenizer = tokenizer_with("{{ " + call + " }}" + LOOP)
    assert prompts.prompt_text(tokenizer, (("user", "q"),)).startswith(f"{written}<|user|>")
    assert "always 26 Jul 2024" in prompts.notes_on(tokenizer, [])[0]


@pytest.mark.parametrize(
    ("template", "note"),
    [
        (LOOP + "{% if thinking is not defined or thinking %}<think>{% endif %}", "turned off"),
        (LOOP + "<think>\n", "opens a thought in any case"),
        ("{{ reasoning_effort or 'low' }}" + LOOP, "reasoning effort: its own default"),
    ],
)
def test_what_a_template_does_with_thoughts_is_said(template: str, note: str) -> None:
    (said,) = prompts.notes_on(tokenizer_with(template), [example(("user", "q"))])
    assert note in said


def test_a_template_that_draws_from_chance_is_refused() -> None:
    tokenizer = tokenizer_with("{{ range(1000) | random }}" + LOOP)
    with pytest.raises(DataError, match="writes another prompt each time"):
        prompts.notes_on(tokenizer, [example(("user", "q"))])


def test_several_templates_without_a_default_are_one_sentence() -> None:
    tokenizer = tokenizer_with(None)
    tokenizer.chat_template = {"tool": LOOP, "rag": LOOP}
    with pytest.raises(DataError, match="multiple chat templates with no default"):
        prompts.notes_on(tokenizer, [])


def tokenizer_of(kind: str, *, is_special: bool) -> Any:
    """A tokenizer of its kind over a few words, with turns marked by added tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = [
        "where is the harbour yes no 12 half <s> </s> | user assistant end < > / ｜ U s e r"
    ] * 9
    alphabet = sorted(set(words[0]))
    unknown = "<unk>" if kind != "byte level" else None
    if kind == "byte level":
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    elif kind == "unigram":
        raw = Tokenizer(models.Unigram())
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=90, special_tokens=["<unk>"], unk_token="<unk>", initial_alphabet=alphabet
        )
    else:
        raw = Tokenizer(models.WordPiece(unk_token="<unk>"))
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=90, special_tokens=["<unk>"], initial_alphabet=alphabet
        )
    raw.train_from_iterator(words, trainer)
    marks = ["<|user|>", "<|assistant|>", "<|end|>", "<｜User｜>", "<s>", "</s>"]
    added = [AddedToken(mark, special=is_special, normalized=False) for mark in marks]
    (raw.add_special_tokens if is_special else raw.add_tokens)(added)
    template = "{# <|user|> <｜User｜> #}" + LOOP.replace("{% for", "<｜User｜>{% for", 1)
    names = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": unknown}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("is_special", [True, False])
@pytest.mark.parametrize("kind", ["byte level", "unigram", "word piece"])
@pytest.mark.parametrize("text", ["yes</s>no", "</s>", "a <|end|> b", "<|assistant|>yes<|end|>"])
def test_no_tokenizer_reads_text_of_the_data_as_a_mark(
    kind: str, is_special: bool, text: str
) -> None:
    """Marks that are not special tokens (as DeepSeek's) cannot be split: DataError."""
    tokenizer = tokenizer_of(kind, is_special=is_special)
    marks = {i for i, t in tokenizer.added_tokens_decoder.items() if str(t) != "<unk>"}
    plain = [i for i in prompts.prompt_ids(tokenizer, (("user", "yes"),)) if i in marks]
    if not is_special:
        with pytest.raises(DataError, match="can only read as its special token"):
            prompts.answer_ids(tokenizer, text)
        return
    answer = prompts.answer_ids(tokenizer, text)
    prompt = prompts.prompt_ids(tokenizer, (("user", text),))
    assert not marks & set(answer[:-1])
    assert [i for i in prompt if i in marks] == plain


def test_thoughts_are_content_though_templates_write_them() -> None:
    from tokenizers import AddedToken

    tokenizer = tokenizer_with(QWEN_3)
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("<|turn|>")])
    assert prompts.data_ids(tokenizer, "<think>hm") == tokenizer("<think>hm")["input_ids"]


def test_a_tokenizer_that_knows_no_other_way_refuses_the_text() -> None:
    class Stubborn:
        eos_token_id = 1
        chat_template = None
        unk_token_id = None

        def __init__(self) -> None:
            from tokenizers import AddedToken

            self.added_tokens_decoder = {1: AddedToken("</s>", special=True)}

        def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
            return {"input_ids": [1 if word == "</s>" else 2 for word in text.split()]}

    with pytest.raises(DataError, match="holds </s>, which this tokenizer can only read as"):
        prompts.answer_ids(Stubborn(), "half </s> more")


def test_the_digest_follows_template_and_text() -> None:
    examples = [example(("user", "q"))]
    digests = {prompts.digest_of(tokenizer_with(t), examples) for t in (CHATML, QWEN_3, None)}
    assert len(digests) == 3
