"""500 mutated records, files and configs under one seed: each is used or refused in a sentence."""

import bz2
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import torch

from agent.config.run_config import RunConfig
from agent.errors import SweepAgentError
from agent.training import base_model, data, preflight, prompts
from agent.training.bases import checks, weight_files
from agent.training.data_formats import Example
from tests.training import lab

SEED = 17
RECORDS, FILES, CONFIGS, BASES = 220, 160, 80, 40

GOOD: list[dict[str, Any]] = [
    {"instruction": "Decide.", "input": "Who?", "output": "[Local]", "id": 1},
    {"instruction": "Choose.", "output": "['a', 'b']", "system": "Be brief.", "task": "qa"},
    {"question": "Who?", "golden_answers": ["Ada", "Lovelace"], "metadata": {"dataset": "nq"}},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
]
STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    1e308,
    float("nan"),
    float("-inf"),
    "",
    " \t\n",
    "\x00",
    "\ud83d",
    "\u2028\u2029\x85",
    "\U0001f600" * 50,
    "“yes”",
    "<|end|>",
    "<|user|><|assistant|>",
    "{{ messages }}{% for %}",
    "x" * 20_000,
    "['a', '\\d']",
    "[" * 3_000,
    "\u202eabc",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    ["a", 1],
    {"role": "user"},
    [{"role": "narrator", "content": "x"}],
    [{"role": "user", "content": [{"type": "image"}]}],
    {"role": "user", "content": {"text": "x"}},
    {"text": ["a", None]},
    "array(['a' 'b'])",
    "[1, 2",
    "version https://git-lfs.github.com/spec/v1",
]


OTHER_FIELDS = (
    *("id", "task", "dataset", "history", "é\ud800", "context", "choices", "system_prompt"),
    *("messages", "conversations", "metadata", "document_id", "question", "output", "tools"),
)


def strange(random: Random) -> Any:
    return deepcopy(random.choice(STRANGE))


def mutated_record(random: Random) -> Any:
    """A good record with up to three things wrong, or none of its kind."""
    record: Any = json.loads(json.dumps(random.choice(GOOD)))
    for _ in range(random.randint(0, 3)):
        name = random.choice([*record])
        kind = random.randrange(7)
        if kind == 0:
            record.pop(name)
        elif kind == 1:
            record[name] = nested(strange(random), random.randint(1, 60))
        elif kind == 2:
            record[random.choice(OTHER_FIELDS)] = strange(random)
        elif kind == 3 and isinstance(record.get(name), list) and record[name]:
            record[name][random.randrange(len(record[name]))] = strange(random)
        else:
            record[name] = strange(random)
        if not record:
            return strange(random)
    return record


def nested(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


def mutated_bytes(random: Random) -> tuple[str, bytes]:
    """A name and a content that were a good file once."""
    rows = [random.choice(GOOD) for _ in range(random.randint(0, 8))]
    name, text = random.choice(
        [
            ("a.json", json.dumps(rows, indent=random.choice((None, 1)))),
            ("a.json", json.dumps(rows) + json.dumps(rows)),
            ("a.jsonl", "\n".join(map(json.dumps, rows))),
            ("a.ndjson", "\r\n".join(map(json.dumps, rows))),
            ("a.csv", "instruction,output\n" + "q,a\n" * len(rows)),
            ("a.tsv", "question\tgolden_answers\n" + "q\t['a']\n" * len(rows)),
            ("a.json", "[" + ",".join('{"a": 1, "a": 2}' for _ in rows) + "]"),
            ("a.parquet", ""),
            ("a.arrow", ""),
            ("a.feather", ""),
            ("a", ""),
        ]
    )
    content = columns_of(rows, name) if name.endswith(COLUMNS) else text.encode()
    changes: list[Callable[[bytes], bytes]] = [
        lambda c: c[: random.randint(0, len(c))],
        lambda c: c[random.randint(0, len(c)) :],
        lambda c: c + bytes(random.randrange(256) for _ in range(20)),
        lambda c: flipped(c, random),
        lambda c: c.decode("latin-1").encode("utf-16"),
        lambda c: b"\xef\xbb\xbf" + c,
        lambda c: c.replace(b'"', b"'"),
        lambda c: c.replace(b",", b""),
        lambda c: c.replace(b"}", b""),
        lambda c: c.replace(b"\n", b"\r"),
        lambda c: b"[" * 50_000 + c,
        lambda c: b"",
    ]
    content = random.choice(changes)(content)
    if random.random() < 0.3:
        suffix = random.choice((".gz", ".bz2", ".zst"))
        packed = zstd(content) if suffix == ".zst" else gzip.compress(content)
        packed = bz2.compress(content) if suffix == ".bz2" else packed
        return f"{name}{suffix}", packed if random.random() < 0.5 else flipped(packed, random)
    return name, content


def zstd(content: bytes) -> bytes:
    import pyarrow

    packed: bytes = pyarrow.compress(content, codec="zstd", asbytes=True)
    return packed


def flipped(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


COLUMNS = (".parquet", ".arrow", ".feather")


def columns_of(rows: list[dict[str, Any]], name: str) -> bytes:
    """A file of columns: Parquet, Arrow's stream or Arrow's file."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{"question": "q", "golden_answers": ["a"]} for _ in rows])
    stream = io.BytesIO()
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(table, stream)
        return stream.getvalue()
    opened = pyarrow.ipc.new_stream if name.endswith(".arrow") else pyarrow.ipc.new_file
    with opened(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def judged(work: Callable[[], object]) -> str:
    """ "used" or "refused"; anything but a sentence that can be printed is a fault."""
    try:
        work()
    except SweepAgentError as error:
        text = str(error)
        text.encode()
        assert text.strip()
        assert len(text) < 20_000
        assert "Traceback" not in text
        return "refused"
    return "used"


def test_500_mutations_are_used_or_refused_in_a_sentence(tmp_path: Path) -> None:
    random = Random(SEED)
    tokenizer = base_model.load_tokenizer(lab.BASE_MODEL)
    outcomes: Counter[str] = Counter()
    place = tmp_path / "files"
    place.mkdir()

    def use(path: Path) -> None:
        examples = data.read(str(path))
        data.digest_of(examples, with_ids=True)
        prompts.encode(tokenizer, examples, 128)

    for number in range(RECORDS):
        path = place / f"record-{number}.json"
        rows = [mutated_record(random) for _ in range(random.randint(1, 3))]
        path.write_text(json.dumps([*rows, GOOD[0]]))
        outcomes[judged(partial(use, path))] += 1
    for number in range(FILES):
        name, content = mutated_bytes(random)
        path = place / f"{number}-{name}"
        path.write_bytes(content)
        outcomes[judged(partial(use, path))] += 1
    for _ in range(CONFIGS):
        values = mutated_config(random, lab.make_config(tmp_path))
        outcomes[judged(partial(look, values))] += 1
    for number in range(BASES):
        folder = mutated_base(random, tmp_path / f"base-{number}")
        outcomes[judged(partial(open_base, tmp_path, folder))] += 1
    assert outcomes.total() == 500
    assert min(outcomes["used"], outcomes["refused"]) > 50, outcomes


def mutated_config(random: Random, good: RunConfig) -> dict[str, Any]:
    values = good.model_dump(mode="json")
    for _ in range(random.randint(1, 2)):
        name = random.choice([*values, "unknown"])
        if random.random() < 0.3:
            values.pop(name, None)
        else:
            values[name] = strange(random)
    return values


def look(values: dict[str, Any]) -> None:
    config = RunConfig.parse(values, files=True)
    if config.dataset.startswith("/"):  # others would ask the hub
        preflight.look_at_data(config)


TEMPLATES = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}",
    "{{ messages[-1].content | upper }}",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}",
    "{{ strftime_now('%Y' ~ 1) }}",
    "{{ strftime_now() }}",
    "{% for",
    "{{ 1 / 0 }}",
    "{{ range(99) | random }}",
    "{% generation %}x{% endgeneration %}",
    "{{ messages[0].content[:2] }}",
    "\x00",
)


@cache
def real_weights() -> bytes:
    from safetensors.torch import save

    return save({"model.norm.weight": torch.ones(4), "a.weight": torch.ones(3, 3)})


def mutated_base(random: Random, folder: Path) -> Path:
    """The demo's small files with one of them changed; the weights are a header only."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((lab.BASE_MODEL / name).read_bytes())
    target = folder / random.choice(("config.json", "tokenizer.json", "tokenizer_config.json"))
    if random.random() < 0.5:
        target.write_bytes(flipped(target.read_bytes(), random))
    elif random.random() < 0.5:
        target.write_bytes(target.read_bytes()[: random.randint(0, 2000)])
    else:
        values = json.loads(target.read_text())
        values[random.choice([*values])] = random.choice(STRANGE[:10])
        target.write_text(json.dumps(values))
    noise = bytes(random.randrange(256) for _ in range(99))
    weights = real_weights() if random.random() < 0.8 else noise
    if random.random() < 0.2:
        weights = (
            flipped(weights, random) if random.random() < 0.5 else weights[: len(weights) // 2]
        )
    (folder / random.choice(("model.safetensors", "pytorch_model.bin"))).write_bytes(weights)
    if random.random() < 0.3:
        template = "".join(random.choice(TEMPLATES) for _ in range(3))
        (folder / "chat_template.jinja").write_text(template)
    return folder


def open_base(root: Path, folder: Path) -> None:
    config = lab.make_config(root, base_model=str(folder))
    checks.check_folder(folder)
    checks.check_positions(config, base_model.load_settings(config, folder))
    tokenizer = base_model.load_tokenizer(folder)
    turns = (("system", "Be brief."), ("user", "hello <|end|> there"))
    prompts.prompt_ids(tokenizer, turns)
    prompts.notes_on(tokenizer, [Example("1", "qa", "qa", turns, ("x",))])
    weight_files.check_values(folder)
