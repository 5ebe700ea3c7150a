"""500 mutated records, files and configs under one seed: each is used or refused in a sentence."""

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from agent.config.run_config import RunConfig
from agent.errors import SweepAgentError
from agent.training import base_model, data, preflight, prompts
from agent.training.bases import checks
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
]


def mutated_record(random: Random) -> Any:
    """A good record with one to three things wrong, or none of its kind."""
    record: Any = json.loads(json.dumps(random.choice(GOOD)))
    for _ in range(random.randint(1, 3)):
        name = random.choice([*record])
        kind = random.randrange(7)
        if kind == 0:
            record.pop(name)
        elif kind == 1:
            record[name] = nested(random.choice(STRANGE), random.randint(1, 60))
        elif kind == 2:
            record[random.choice(("id", "task", "dataset", "history", "é\ud800"))] = random.choice(
                STRANGE
            )
        elif kind == 3 and isinstance(record.get(name), list) and record[name]:
            record[name][random.randrange(len(record[name]))] = random.choice(STRANGE)
        else:
            record[name] = random.choice(STRANGE)
        if not record:
            return random.choice(STRANGE)
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
            ("a.parquet", ""),
        ]
    )
    content = parquet_of(rows) if name == "a.parquet" else text.encode()
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
        packed = gzip.compress(content)
        return f"{name}.gz", packed if random.random() < 0.5 else flipped(packed, random)
    return name, content


def flipped(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{"question": "q", "golden_answers": ["a"]} for _ in rows])
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
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
        outcomes[judged(lambda path=path: use(path))] += 1  # type: ignore[misc]
    for number in range(FILES):
        name, content = mutated_bytes(random)
        path = place / f"{number}-{name}"
        path.write_bytes(content)
        outcomes[judged(lambda path=path: use(path))] += 1  # type: ignore[misc]
    for _ in range(CONFIGS):
        values = mutated_config(random, lab.make_config(tmp_path))
        outcomes[judged(lambda values=values: look(values))] += 1  # type: ignore[misc]
    for number in range(BASES):
        folder = mutated_base(random, tmp_path / f"base-{number}")
        outcomes[judged(lambda folder=folder: open_base(tmp_path, folder))] += 1  # type: ignore[misc]
    assert outcomes.total() == 500
    assert min(outcomes["used"], outcomes["refused"]) > 50, outcomes


def mutated_config(random: Random, good: RunConfig) -> dict[str, Any]:
    values = good.model_dump(mode="json")
    for _ in range(random.randint(1, 2)):
        name = random.choice([*values, "unknown"])
        if random.random() < 0.3:
            values.pop(name, None)
        else:
            values[name] = random.choice(STRANGE)
    return values


def look(values: dict[str, Any]) -> None:
    config = RunConfig.parse(values, files=True)
    if config.dataset.startswith("/"):  # others would ask the hub
        preflight.look_at_data(config)


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
    if random.random() < 0.3:
        (folder / "model.safetensors").write_bytes(bytes(random.randrange(256) for _ in range(99)))
    return folder


def open_base(root: Path, folder: Path) -> None:
    config = lab.make_config(root, base_model=str(folder))
    checks.check_folder(folder)
    checks.check_positions(config, base_model.load_settings(config, folder))
    tokenizer = base_model.load_tokenizer(folder)
    prompts.prompt_ids(tokenizer, (("user", "hello there"),))
