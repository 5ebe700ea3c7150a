"""Base, tokenizer and data looked at together, before anything is paid for.

    python -m agent.training.preflight POINT.json      what a grid point would read and train

Run by `check` (the data part), `prepare`, `probe` and at the start of train.py. What is found is
printed as lines; what cannot be right is a DataError.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config.run_config import RunConfig, digest, exists, is_path
from agent.errors import DataError, SweepAgentError
from agent.files import write_json
from agent.training import data, task_counts
from agent.training.data import Data
from agent.training.data_formats import Example
from agent.training.facts import base_files
from agent.training.prompts import PROMPT_FORMAT
from agent.training.reading import overlaps

if TYPE_CHECKING:
    import torch

    from agent.training.base_model import Base

CHECKS_FORMAT = 2  # of what is remembered about a base: raise it when a check changes
_SHOWN_PROMPT = 300  # characters of a prompt


@dataclass(frozen=True)
class Findings:
    """What a look found: lines for people, facts for a run's summary, and the data it read."""

    data: Data
    lines: tuple[str, ...]
    facts: dict[str, object]


# ---------------------------------------------------------------------- the data alone
def look_at_data(config: RunConfig, *, with_test: bool = True) -> Findings:
    """Read the data of a config. DataError when they cannot be used or their splits overlap.

    With `with_test`, the test split is read as well, for what it shares with the others and for
    nothing else.
    """
    loaded = data.load(config)
    lines = [*loaded.notes, *_counts_by_dataset(loaded)]
    if config.max_left_out_share < 1:
        _refuse_untrained_tasks(loaded)
    splits = {"training": loaded.train, "validation": loaded.validation}
    if with_test and (test := data.find_test(config)):
        splits["test"] = test
        lines.append(f"{len(test)} test examples, looked at for what they share alone")
    facts: dict[str, object] = {}
    for (other, others), (split, examples) in combinations(splits.items(), 2):
        found = overlaps.between(split, examples, other, others)
        lines += found.lines
        found.refuse_above(config.max_shared_share)
        if other == "training":
            facts[f"data/shared_documents{'_test' * (split == 'test')}"] = len(found.documents)
    return Findings(loaded, tuple(lines), facts)


def _refuse_untrained_tasks(loaded: Data) -> None:
    """DataError for a task that would be scored though nothing of it is trained: as where one
    file's answers look like another task's than the other's."""
    trained = {example.task for example in loaded.train}
    scored = next((e for e in loaded.validation if e.task not in trained), None)
    if scored is not None:
        raise DataError(
            f"validation example {scored.id} is of the task {scored.task}, of which nothing is "
            f"trained (only {', '.join(sorted(trained))}); give every record a task column, choose "
            "one with task, or set max_left_out_share = 1"
        )


def _counts_by_dataset(loaded: Data) -> list[str]:
    names = sorted({(e.task, e.dataset) for e in (*loaded.train, *loaded.validation)})
    return [
        f"{task}{'' if task == dataset else f' ({dataset})'}: "
        f"{_count(loaded.train, task, dataset)} training and "
        f"{_count(loaded.validation, task, dataset)} validation examples"
        for task, dataset in names
    ]


def _count(examples: Iterable[Example], task: str, dataset: str) -> int:
    return sum((e.task, e.dataset) == (task, dataset) for e in examples)


# ---------------------------------------------------------------------- with tokenizer and base
def examine(config: RunConfig) -> Findings:
    """Data, tokenizer and the base's files, without loading its weights.

    DataError when a part cannot be used, or when more of a task would be left out than the config
    allows.
    """
    found = look_at_data(config)
    lines, facts = _examine_tokens(config, found.data)
    return replace(found, lines=(*found.lines, *lines), facts={**found.facts, **facts})


def examined(config: RunConfig) -> Findings:
    """`examine`, of which the store remembers what took a tokenizer for the same data and base."""
    found = look_at_data(config, with_test=False)
    root = Path(config.store).expanduser().absolute()
    limits = (*task_counts.LIMITS, "task", "max_left_out_share")
    seen = {
        "format": CHECKS_FORMAT,
        "prompts": PROMPT_FORMAT,
        "base": base_files.digest_of(base_files.locate(config), root / "digests"),
        "data": [found.data.train_digest, found.data.validation_digest],
        "libraries": base_files.library_versions(),
        "limits": {name: getattr(config, name) for name in limits},
    }
    remembered = root / "data_checks" / f"{digest(seen)}.json"
    try:
        known = json.loads(remembered.read_text(encoding="utf-8"))
        lines, facts = list(known["lines"]), dict(known["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        lines, facts = _examine_tokens(config, found.data)
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_json(remembered, {"lines": lines, "facts": facts})
    return replace(found, lines=(*found.lines, *lines), facts={**found.facts, **facts})


def _examine_tokens(config: RunConfig, loaded: Data) -> tuple[list[str], dict[str, object]]:
    """The part of `examine` that reads the data as the base does: lines and facts."""
    from agent.training import base_model, prompts
    from agent.training.bases import checks

    path = base_files.locate(config)
    checks.check_folder(path)
    settings = base_model.load_settings(config, path)
    checks.check_positions(config, settings)
    tokenizer = base_model.load_tokenizer(path, trust_remote_code=config.trust_remote_code)
    rows = _rows_of(settings)
    checks.check_vocabulary(path, tokenizer, rows)
    counts = task_counts.of_tokens(config, tokenizer, loaded, rows)
    checks.check_answers_fit(config, settings, max(count.furthest for count in counts))
    lines = [count.line for count in counts]
    if problems := [problem for count in counts if (problem := count.problem(config))]:
        raise DataError("; ".join(problems))
    lines += prompts.notes_on(tokenizer, loaded.train)
    for task in sorted({e.task for e in loaded.train}):
        example = next(e for e in loaded.train if e.task == task)
        text = prompts.prompt_text(tokenizer, example.messages)
        shown = text if len(text) <= _SHOWN_PROMPT else f"{text[:_SHOWN_PROMPT]} …"
        lines.append(f"a prompt of {task}: {shown!r} answered {example.answers[0][:60]!r}")
    return lines, task_counts.facts_of(counts)


def _rows_of(settings: Any) -> int | None:
    rows = getattr(settings.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) and rows > 0 else None


# ---------------------------------------------------------------------- the weights
def check_weights(config: RunConfig, device: "torch.device | None" = None) -> "Base | None":
    """Load the base once as the config's cell says and compare. DataError when it is not what the
    cell says.

    Gives what was loaded, for the training to go on with. A base that was right before is
    remembered in the store and not loaded again: then it is None, and no torch is imported.
    """
    root = Path(config.store).expanduser().absolute()
    path = base_files.locate(config)
    seen = {
        "format": CHECKS_FORMAT,
        "base": base_files.digest_of(path, root / "digests"),
        "precision": config.variant.training_precision,
        "method": config.variant.quantization_method,
        "dtype": config.compute_dtype,
        "dropout": bool(config.lora_dropout),
        "positions": config.longest_length,
        "libraries": base_files.library_versions(),
    }
    remembered = root / "base_checks" / f"{digest(seen)}.json"
    if remembered.is_file():
        return None
    from agent.training import base_model, device_memory
    from agent.training.bases import checks

    _check_values(path, seen["base"], root)
    device = device or base_model.choose_device(config)

    def load() -> "Base":
        base = base_model.load(config, path, config.variant.training_precision, device)
        checks.check_causal(config, base.model)
        return base

    loaded = device_memory.attempt(load)
    if isinstance(loaded, device_memory.Shortage):
        return None  # said where it matters: by the training, which needs the memory
    remembered.parent.mkdir(parents=True, exist_ok=True)
    write_json(remembered, seen)
    return loaded


def _check_values(path: Path, base_digest: object, root: Path) -> None:
    """Read every weight once for all cells of a base. DataError when one is NaN or infinite."""
    seen = {"format": CHECKS_FORMAT, "values_of": base_digest}
    remembered = root / "base_checks" / f"{digest(seen)}.json"
    if remembered.is_file():
        return
    from agent.training.bases import weight_files

    weight_files.check(path)
    weight_files.check_values(path)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    write_json(remembered, seen)


def check_local_data(configs: Iterable[RunConfig]) -> tuple[list[str], list[str]]:
    """Lines and problems of the data of many grid points, each data set looked at once, and once
    at each set of limits: as the base reads them where it lies on this machine, else by what is
    known without it. Data on the hub are left to `prepare`."""
    lines: list[str] = []
    problems: list[str] = []
    seen: dict[str, Data | None] = {}
    counted: set[str] = set()
    for config in configs:
        if (key := _data_key(config)) not in seen:
            seen[key] = _look(config, lines, problems)
        names = ("base_model", *task_counts.LIMITS, "max_left_out_share")
        limits = digest([key, {name: getattr(config, name) for name in names}])
        loaded = seen[key]
        if loaded is not None and limits not in counted:
            counted.add(limits)
            found, short = _measured(config, loaded)
            lines += [line for line in found if line not in lines]
            problems += [problem for problem in short if problem not in problems]
    return lines, problems


def unusable(configs: Iterable[RunConfig]) -> list[str]:
    """Problems of data and bases that lie on this machine, each read once, without a tokenizer."""
    problems: list[str] = []
    bases: set[str] = set()
    sources: set[str] = set()
    for config in configs:
        if config.base_model not in bases and exists(config.base_model):
            try:
                base_files.locate(config)
            except DataError as fault:
                problems.append(str(fault))
        bases.add(config.base_model)
        if (key := _data_key(config)) not in sources:
            sources.add(key)
            _look(config, [], problems)
    return list(dict.fromkeys(problems))


def _data_key(config: RunConfig) -> str:
    """The same for grid points that read the same data in the same way."""
    return digest({name: getattr(config, name) for name in data.FIELDS})


def _measured(config: RunConfig, loaded: Data) -> tuple[list[str], list[str]]:
    """Lines and problems of the examples' lengths, and a prompt of each task, under one base."""
    lines, problems = task_counts.at_least(config, loaded)
    if problems or not exists(config.base_model):
        return lines, problems
    try:
        return [*lines, *_examine_tokens(config, loaded)[0]], []
    except DataError as fault:
        return lines, [str(fault)]


def _look(config: RunConfig, lines: list[str], problems: list[str]) -> Data | None:
    """The data of a config, where they lie on this machine and can be used."""
    sources = [config.dataset, config.validation_dataset, config.test_dataset]
    words = [w.strip() for source in sources for w in (source or "").split(",") if w.strip()]
    if not all(is_path(word) for word in words):
        lines.append(f"{config.dataset}: on the hub; `sweep-agent prepare` looks at it")
        return None
    try:
        found = look_at_data(config)
    except DataError as fault:
        problems.append(str(fault))
        return None
    lines += found.lines
    return found.data


def main(words: Sequence[str]) -> int:
    """Examine the grid point of a JSON file; 2 when something cannot be right."""
    try:
        (file,) = words
        config = RunConfig.parse(json.loads(Path(file).read_text(encoding="utf-8")))
        print("\n".join(examine(config).lines))
    except SweepAgentError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
