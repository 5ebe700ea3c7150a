"""The variants: which training is served as which deployment.

A training fixes how the base model is held while the adapter learns; a deployment fixes how the
adapter is served. A variant is a pair of the two. Adding a cell is adding a row to `VARIANTS`.
Light on purpose: the command line reads it, so nothing heavy may be imported here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Precision = Literal["16bit", "nf4", "llm_int8"]
# Names a builder of agent.evaluation.deployments; extensions add their own.
Deployment = str


@dataclass(frozen=True)
class Variant:
    """One valid cell of model_variant x quantization_strategy."""

    model_variant: str
    quantization_strategy: str  # "None" for no quantisation, as the sweep YAMLs spell it
    training_precision: Precision  # how the frozen base is held while the adapter is trained
    deployment: Deployment  # how the adapter is served
    quantization_method: str  # the algorithm behind "int8" or "int4"


VARIANTS: tuple[Variant, ...] = (
    Variant("Full LoRA", "None", "16bit", "merged", "none"),
    Variant("QLoRA", "int4", "nf4", "quantised_base_with_adapter", "nf4"),
    Variant("QLoRA", "int8", "llm_int8", "quantised_base_with_adapter", "llm_int8"),
    Variant("LoRA+PTQ", "int8", "16bit", "merged_then_quantised", "llm_int8"),
    Variant("LoRA+PTQ", "int4", "16bit", "merged_then_quantised", "nf4"),
)


# How an adapter can be made; `agent.training.adapters` holds the builder of each.
ADAPTER_METHODS: dict[str, str] = {"lora": "low-rank update of every linear layer"}


def unique(values: Iterable[str]) -> tuple[str, ...]:
    """The values in order of first appearance."""
    return tuple(dict.fromkeys(values))


def model_variants() -> tuple[str, ...]:
    return unique(row.model_variant for row in VARIANTS)


def quantization_strategies() -> tuple[str, ...]:
    return unique(row.quantization_strategy for row in VARIANTS)


def strategies_of(model_variant: str) -> tuple[str, ...]:
    """The quantisation strategies that `model_variant` is defined for, default first."""
    return unique(r.quantization_strategy for r in VARIANTS if r.model_variant == model_variant)


def methods_of(model_variant: str, quantization_strategy: str) -> tuple[str, ...]:
    """The quantisation methods of one cell, default first; empty when there is no such cell."""
    return unique(
        row.quantization_method
        for row in VARIANTS
        if (row.model_variant, row.quantization_strategy) == (model_variant, quantization_strategy)
    )


def label(
    model_variant: str, quantization_strategy: str = "None", method: str | None = None
) -> str:
    """How a cell is called, everywhere: `QLoRA int4`; the method is named only where it is not
    the cell's own."""
    words = [model_variant, *([quantization_strategy] if quantization_strategy != "None" else [])]
    usual = methods_of(model_variant, quantization_strategy)[:1]
    return " ".join(words if method in (None, *usual) else [*words, f"({method})"])


def find(model_variant: str, quantization_strategy: str, method: str | None = None) -> Variant:
    """The row of a cell; the cell's first row when `method` is None. KeyError when invalid."""
    cell = (model_variant, quantization_strategy)
    for row in VARIANTS:
        same_cell = (row.model_variant, row.quantization_strategy) == cell
        if same_cell and method in (None, row.quantization_method):
            return row
    raise KeyError((*cell, method))
