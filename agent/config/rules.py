"""The rules of a grid point that no single field can state: one function a rule.

A rule returns its sentence when it is broken, else None; `RULES` pairs it with the fields it
reads, so that it is passed over when one of them has a problem of its own.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from agent.config import variants

if TYPE_CHECKING:
    from agent.config.run_config import RunConfig

PAIRED = ("paired", "paired_patient", "paired_bold")  # our own, by its operating points
PRUNERS = (
    *PAIRED,
    "median",
    "percentile",
    "successive_halving",
    "hyperband",
    "patient",
    "wilcoxon",
    "threshold",
    "none",
)
TASKS = ("query_analysis", "document_structuring", "global_selection", "qa")
CELL = ("model_variant", "quantization_strategy", "quantization_method")


def shown(value: object) -> str:
    """A value for a message: whole where it is short."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} …"


_LONGEST_SHOWN = 200


def unknown_name(name: str, known: Iterable[str], what: str) -> str:
    """`name` is not a known `what`; suggests the nearest one, or lists all."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(names)
    return f"unknown {what} {shown(name)}; {hint}"


def _check_variant(config: "RunConfig") -> str | None:
    known = variants.model_variants()
    if config.model_variant not in known:
        return f"model_variant = {shown(config.model_variant)}: must be one of {_quoted(known)}"
    return None


def _check_strategy(config: "RunConfig") -> str | None:
    known = variants.quantization_strategies()
    if config.quantization_strategy not in known:
        value = config.quantization_strategy
        return f"quantization_strategy = {shown(value)}: must be one of {_quoted(known)}"
    return None


def _check_pair(config: "RunConfig") -> str | None:
    variant, strategy = config.model_variant, config.quantization_strategy
    allowed = variants.strategies_of(variant)
    if not allowed or strategy not in variants.quantization_strategies() or strategy in allowed:
        return None
    return (
        f"model_variant = {variant!r} cannot be combined with quantization_strategy = "
        f"{strategy!r}; {variant} takes {_quoted(allowed)}"
    )


def _check_method(config: "RunConfig") -> str | None:
    methods = variants.methods_of(config.model_variant, config.quantization_strategy)
    if config.quantization_method is None or not methods or config.quantization_method in methods:
        return None
    return (
        f"quantization_method = {shown(config.quantization_method)}: {config.model_variant} with "
        f"{config.quantization_strategy} takes {_quoted(methods)}"
    )


def _check_micro_batch(config: "RunConfig") -> str | None:
    micro = config.micro_batch_size
    if micro is not None and (micro > config.batch_size or config.batch_size % micro):
        return f"micro_batch_size = {micro}: must divide batch_size = {config.batch_size}"
    return None


def _check_eval_every(config: "RunConfig") -> str | None:
    if config.eval_every > config.epochs:
        return (
            f"eval_every = {config.eval_every:g} epochs is longer than the training "
            f"(epochs = {config.epochs}); no evaluation point would be reached"
        )
    return None


def _check_held_out(config: "RunConfig") -> str | None:
    validation = 0.0 if config.validation_dataset else config.validation_fraction
    test = 0.0 if config.test_dataset else config.test_fraction
    if not config.validation_dataset and config.validation_fraction == 0:
        return "validation_fraction = 0 needs a validation_dataset: there is nothing to validate on"
    if validation + test >= 1:
        return (
            f"validation_fraction = {validation:g} and test_fraction = {test:g} leave nothing to "
            "train on; their sum must stay below 1"
        )
    return None


def _check_new_tokens(config: "RunConfig") -> str | None:
    if config.max_new_tokens >= config.max_length:
        return (
            f"max_new_tokens = {config.max_new_tokens} leaves no room for the prompt in "
            f"max_length = {config.max_length}"
        )
    return None


def _check_task_limits(config: "RunConfig") -> str | None:
    for name, least in (("max_length_by_task", 8), ("max_new_tokens_by_task", 1)):
        limits: dict[str, int] = getattr(config, name)
        for task, limit in limits.items():
            if task not in TASKS:
                return f"{name}: {unknown_name(task, TASKS, 'task')}"
            if limit < least:
                return f"{name}: {task} = {limit}: must be at least {least}"
    for task in {**config.max_length_by_task, **config.max_new_tokens_by_task}:
        if config.answer_limit(task) >= config.length_limit(task):
            return (
                f"max_new_tokens = {config.answer_limit(task)} of {task} leaves no room for the "
                f"prompt in its max_length = {config.length_limit(task)}"
            )
    return None


def _check_tuned(config: "RunConfig") -> str | None:
    for name in config.tuned:
        if name not in type(config).model_fields:
            return "tuned: " + unknown_name(name, type(config).model_fields, "config key")
        if name in CELL:
            return f"tuned = {name!r}: the variant makes the stratum; tune along another key"
    if not config.tuned:
        return "tuned is empty: name at least one key along which runs compete"
    return None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _check_pruner(config: "RunConfig") -> str | None:
    if config.pruner not in PRUNERS:
        return unknown_name(config.pruner, PRUNERS, "pruner")
    return None


def _check_adapter_method(config: "RunConfig") -> str | None:
    if config.adapter_method not in variants.ADAPTER_METHODS:
        return unknown_name(config.adapter_method, variants.ADAPTER_METHODS, "adapter_method")
    return None


def _check_task(config: "RunConfig") -> str | None:
    if config.task is not None and config.task not in TASKS:
        return unknown_name(config.task, TASKS, "task")
    return None


# A check runs only when none of the fields it reads has a problem of its own.
RULES: tuple[tuple[tuple[str, ...], Callable[["RunConfig"], str | None]], ...] = (
    (("model_variant",), _check_variant),
    (("quantization_strategy",), _check_strategy),
    (("model_variant", "quantization_strategy"), _check_pair),
    (CELL, _check_method),
    (("batch_size", "micro_batch_size"), _check_micro_batch),
    (("epochs", "eval_every"), _check_eval_every),
    (
        ("validation_dataset", "validation_fraction", "test_dataset", "test_fraction"),
        _check_held_out,
    ),
    (("max_length", "max_new_tokens"), _check_new_tokens),
    (
        ("max_length", "max_new_tokens", "max_length_by_task", "max_new_tokens_by_task"),
        _check_task_limits,
    ),
    (("tuned",), _check_tuned),
    (("pruner",), _check_pruner),
    (("adapter_method",), _check_adapter_method),
    (("task",), _check_task),
)
