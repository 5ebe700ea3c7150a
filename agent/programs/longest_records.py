"""The longest records that a training of a config keeps, and the longest it is validated on.

    python -m agent.programs.longest_records --config point.json --out DIR --train 16 \
        --validation 16

Writes DIR/train/records.jsonl and DIR/validation/records.jsonl, and says in DIR/counts.json how
many records there are of each. `sweep-agent probe` measures a cell on them: a program of its own,
because lengths are counted with the base model's tokenizer.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import extensions
from agent.config.cli_options import read_point
from agent.config.run_config import RunConfig
from agent.errors import DataError, SweepAgentError
from agent.files import write_json
from agent.log_noise import quieten_libraries

if TYPE_CHECKING:
    from agent.training.data_formats import Example

COUNTS = "counts.json"


@dataclass(frozen=True)
class Measured:
    """An example with the tokens of its prompt, and of prompt and answer together."""

    example: "Example"
    prompt: int
    whole: int


def main(words: Sequence[str]) -> int:
    quieten_libraries()
    parser = argparse.ArgumentParser(prog="agent.programs.longest_records", allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, required=True)
    parser.add_argument("--validation", type=int, required=True)
    args, point = parser.parse_known_args(list(words))
    try:
        extensions.load()
        config = RunConfig.parse(read_point(point), where="--config", files=True)
        write_longest(config, args.out, train=args.train, validation=args.validation)
    except SweepAgentError as error:
        print(f"longest_records: {error}", file=sys.stderr)
        return 2
    return 0


def write_longest(config: RunConfig, directory: Path, *, train: int, validation: int) -> None:
    """So many of each; where there are fewer, they repeat. DataError when none fits."""
    from agent.training import base_model, data
    from agent.training.facts import base_files

    examples = data.load(config)
    tokenizer = base_model.load_tokenizer(
        base_files.locate(config), trust_remote_code=config.trust_remote_code
    )
    kept = measure(tokenizer, examples.train, config)
    scored = measure(tokenizer, examples.validation, config)
    for name, count, rows in (("train", train, kept), ("validation", validation, scored)):
        if not rows:
            raise DataError(
                f"dataset = {config.dataset!r}: no {name} example fits into max_length = "
                f"{config.max_length} tokens; raise it"
            )
        # Training computes prompt and answer, generation's prefill the prompt.
        longest = sorted(rows, key=lambda r: -(r.whole if name == "train" else r.prompt))[:count]
        records = [record_of(row.example) for row in islice(cycle(longest), count)]
        (directory / name).mkdir(parents=True)
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (directory / name / "records.jsonl").write_text(text, encoding="utf-8")
    write_json(directory / COUNTS, {"train": len(kept), "validation": len(scored)})


def measure(tokenizer: Any, examples: Sequence["Example"], config: RunConfig) -> list[Measured]:
    """The examples that their task's limit admits."""
    from agent.training import prompts

    rows = []
    for example in examples:
        prompt = len(prompts.prompt_ids(tokenizer, example.messages))
        whole = prompt + len(prompts.answer_ids(tokenizer, example.answers[0]))
        if whole <= config.length_limit(example.task):
            rows.append(Measured(example, prompt, whole))
    return rows


def record_of(example: "Example") -> dict[str, object]:
    """The example as a record that reads as the same prompt, answer, task and data set."""
    turns = [{"role": role, "content": content} for role, content in example.messages]
    answer = {"role": "assistant", "content": example.answers[0]}
    return {
        "id": example.id,
        "task": example.task,
        "dataset": example.dataset,
        "messages": [*turns, answer],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
