"""Which runs may be compared: families of equal training and evaluation, cells inside them.

A **family** holds the runs that agree in everything except how the model is made cheap, the tuned
keys and the seed: same base, data, lengths, LoRA settings, schedule and scored examples. Inside a
family a **cell** is one variant. Runs of two families are never put into one ratio.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from agent.config import variants
from agent.config.run_config import RunConfig
from agent.config.run_fields import group_of
from agent.errors import ReportError
from agent.results.columns import CURVE, DIGESTS, GPU, INFERENCE_GPU, SCORE
from agent.results.presentation import variant_label
from agent.results.run_table import Row, Scalar

K = TypeVar("K", bound=Hashable)

BASELINE_CELL = ("Full LoRA", "None", "none")
BASELINE = "Full LoRA"
BASE = "Untouched base"
NOT_COMPARED = ("inference", "baseline")  # job types with no training of their own

# What a digest says better than a name: moved files still match.
_NAMED_BY = {
    "base/digest": ("base_model", "base_revision"),
    "data/digest": ("dataset", "validation_fraction", "test_fraction", "split_seed"),
    "evaluation/digest": ("validation_dataset", "test_dataset", "eval_examples"),
}
# How a step is computed, not what it learns: scores stay comparable, training costs do not.
STEP_KEYS = ("micro_batch_size", "gradient_checkpointing")
_FIELDS = RunConfig.model_fields
SHARED_KEYS: tuple[str, ...] = tuple(
    name
    for name, field in _FIELDS.items()
    if group_of(field) in ("training", "evaluation") and name not in STEP_KEYS
)


@dataclass(frozen=True)
class Family:
    """Runs that may be compared. `label` names what distinguishes it from the other families."""

    label: str
    context: Mapping[str, Scalar | None]
    rows: tuple[Row, ...]

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], tuple[Row, ...]]:
        """Rows by cell, in the order of the table of variants."""
        return _grouped(sorted(self.rows, key=lambda row: _cell_order(cell_of(row))), cell_of)

    @cached_property
    def baseline_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if cell_of(row) == BASELINE_CELL)


def cell_of(row: Row) -> tuple[str, str, str]:
    """(model_variant, quantization_strategy, quantization_method), the method filled in."""
    variant = row.text("model_variant") or "?"
    strategy = row.text("quantization_strategy") or "None"
    methods = variants.methods_of(variant, strategy)
    method = row.text("quantization_method") or (methods[0] if methods else "?")
    return variant, strategy, method


def cell_label(cell: tuple[str, str, str]) -> str:
    """`QLoRA int4`; the method is named only where it is not the cell's own."""
    variant, strategy, method = cell
    return variant_label(variant, strategy, None if method == "?" else method)


def _cell_order(cell: tuple[str, str, str]) -> tuple[int, tuple[str, str, str]]:
    known = [
        (v.model_variant, v.quantization_strategy, v.quantization_method) for v in variants.VARIANTS
    ]
    return (known.index(cell) if cell in known else len(known)), cell


def tuned_keys(row: Row) -> tuple[str, ...]:
    """The keys along which this run competes, as its config declares them."""
    words = str(row.values.get("tuned") or "learning_rate").strip("[]() ")
    return tuple(w.strip(" '\"") for w in words.split(",") if w.strip(" '\""))


def tuned_values(row: Row) -> tuple[tuple[str, Scalar | None], ...]:
    return tuple((key, _plain(row.values.get(key))) for key in tuned_keys(row))


def seed_of(row: Row) -> int:
    number = row.number("seed")
    return 0 if number is None else int(number)


def context_of(row: Row) -> dict[str, Scalar | None]:
    """All that has to agree between two runs before their scores are compared."""
    free = {*tuned_keys(row), "seed"}
    for digest, names in _NAMED_BY.items():
        if row.values.get(digest) is not None:
            free.update(names)
    settings = {key: _plain(row.values.get(key)) for key in SHARED_KEYS if key not in free}
    return {**settings, **{key: row.values.get(key) for key in DIGESTS}}


def families_of(rows: Iterable[Row]) -> tuple[Family, ...]:
    """The rows by family, in order of appearance; rows without a variant belong to none."""
    trained = [
        r for r in rows if r.text("model_variant") and r.text("job_type") not in NOT_COMPARED
    ]
    groups = _grouped(trained, lambda row: tuple(context_of(row).items()))
    contexts = [dict(key) for key in groups]
    keys = list(dict.fromkeys(key for context in contexts for key in context))
    differing = [key for key in keys if len({_hash(c.get(key)) for c in contexts}) > 1]
    named = _reader_keys(differing)
    found = []
    for context, members in zip(contexts, groups.values(), strict=True):
        words = []
        for key in named:
            value = members[0].values.get(key)
            words.append(f"{key} = {'not given' if value is None else value}")
        found.append(Family(", ".join(words) or "all runs", context, members))
    return tuple(found)


def _reader_keys(differing: Sequence[str]) -> list[str]:
    """Names instead of digests where a name exists: a reader knows the file, not its hash."""
    named: list[str] = []
    for key in differing:
        named += [_NAMED_BY[key][0], key] if key in _NAMED_BY else [key]
    return list(dict.fromkeys(named))


def join_problems(rows: Iterable[Row], digests: Sequence[str] = DIGESTS) -> tuple[str, ...]:
    """Why runs of several projects must not stand in one comparison; empty when they may.

    Projects agree when every digest has the same set of values over their scored runs. A digest
    that a project doesn't state cannot be checked and counts as differing.
    """
    scored = [r for r in rows if r.number(SCORE) is not None or r.number(CURVE) is not None]
    projects = _grouped(scored, lambda row: row.project)
    if len(projects) < 2:
        return ()
    problems = []
    keys = [*digests, *sorted(_prompt_digests(projects.values()))]
    for key in keys:
        values = {
            name: tuple(sorted({str(r.values[key]) for r in group if key in r.values}))
            for name, group in projects.items()
        }
        if len(set(values.values())) > 1 or () in values.values():
            said = "; ".join(f"{n}: {', '.join(v) or 'not stated'}" for n, v in values.items())
            problems.append(f"{key} ({said})")
    return tuple(problems)


def _prompt_digests(groups: Iterable[Sequence[Row]]) -> set[str]:
    names = {key for group in groups for row in group for key in row.values}
    return {key for key in names if key.startswith("prompt/") and key.endswith("digest")}


def require_joinable(rows: Iterable[Row]) -> None:
    """ReportError that lists the differing fields when projects must not be joined."""
    if problems := join_problems(rows):
        raise ReportError(
            "the projects cannot be joined, because their runs were not made from the same "
            "base, data and prompts: " + " | ".join(problems) + ". Report them one by one"
        )


def bases_for(family: Family, bases: Iterable[Row]) -> tuple[Row, ...]:
    """The untouched base's rows that belong to a family: no stated digest contradicts."""
    keys = (*DIGESTS, "base_model", "dataset")
    known = {key: [row.values.get(key) for row in family.rows] for key in keys}

    def is_of_it(base: Row) -> bool:
        pairs = ((base.values.get(key), theirs) for key, theirs in known.items())
        return all(mine is None or mine in theirs or not any(theirs) for mine, theirs in pairs)

    return tuple(base for base in bases if is_of_it(base))


def base_label(row: Row) -> str:
    """`Untouched base`, with the quantisation it is served in."""
    named = [row.text(key) for key in ("quantization_strategy", "quantization_method")]
    words = [word for word in named if word and word.lower() != "none"]
    return " ".join([BASE, *words[:1]])


def gpu_of(row: Row, group: str = "training") -> str | None:
    """The type of GPU a run's times and memory belong to; None when the run doesn't say.

    Inference may have been measured on another GPU than the training ran on.
    """
    measured_on = row.text(INFERENCE_GPU) if group == "inference" else None
    return measured_on or row.text(GPU)


def _plain(value: Scalar | None) -> Scalar | None:
    """1e-4 and 0.0001 are the same number, 3 and 3.0 too; an empty object is none at all, as in
    runs that are older than its key."""
    if value == "{}":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return float(value)


def _hash(value: object) -> Hashable:
    return value if isinstance(value, Hashable) else repr(value)


def _grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, tuple[Row, ...]]:
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {name: tuple(members) for name, members in groups.items()}
