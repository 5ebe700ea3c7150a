"""How the study is shown, everywhere alike: titles and units of its metrics, names and colours of
its variants.

Read by the report, by the server's pages and by the dashboard on W&B; none of them has a title, a
label or a colour of its own. A metric is one row of `METRICS`. Light: nothing heavy is imported.
"""

from dataclasses import dataclass
from typing import Literal

from agent.config import variants
from agent.config.values import number_text

Better = Literal["higher", "lower"]
Group = Literal["score", "training", "inference", "cost", "progress"]


@dataclass(frozen=True)
class Metric:
    """One metric. `gain` names the ratio baseline/variant for readers, where there is one;
    `is_hardware_bound` metrics are never compared between two types of GPU, those that are
    `is_per_answer` only between models whose answers are about as long, and what `is_context`
    only says what others rest on: it is not an axis. Those of the group `progress` are seen while a
    run goes on and stand in no comparison. GB are 10^9 bytes everywhere."""

    key: str
    title: str
    better: Better
    group: Group
    unit: str = ""
    digits: int = 3  # significant figures
    gain: str = ""
    is_hardware_bound: bool = False
    is_per_answer: bool = False
    is_context: bool = False

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def phrase(self) -> str:
        """The title inside a sentence: `model size`, but `FLOPs per query`."""
        return self.title if self.title[1:2].isupper() else self.title[:1].lower() + self.title[1:]


TEST_SCORE = "test/f1_score"
SCORE = "final/validation_f1_score"
CURVE = "validation/f1_score"
LATENCY = "inference/avg_latency_ms_per_sample"
TOKEN_LATENCY = "inference/time_per_output_token_ms"
TOKENS_OUT = "inference/tokens_out"
MODEL_SIZE = "inference/model_size_gb"
QUERY_FLOPS = "inference/flops_per_query_gflops"
TRAINING_FLOPS = "train/total_training_flops_tflops"
FLOPS_LEFT_OUT = "train/flops_left_out"  # why they could not be counted
RUN_COST = "train/own_gpu_seconds"
TRAINING_COST = "train/gpu_seconds"
GPU = "hardware/gpu"
INFERENCE_GPU = "inference/gpu"

METRICS: tuple[Metric, ...] = (
    Metric(TEST_SCORE, "Test F1", "higher", "score"),
    Metric(SCORE, "Final validation F1", "higher", "score"),
    Metric("final/validation_accuracy", "Final validation accuracy", "higher", "score"),
    Metric("final/avg_f1", "F1 over data sets", "higher", "score"),
    Metric(
        "train/peak_vram_gb",
        "Training VRAM",
        "lower",
        "training",
        "GB",
        gain="less training VRAM",
        is_hardware_bound=True,
    ),
    Metric(
        "train/epoch_time_min",
        "Epoch time",
        "lower",
        "training",
        "min",
        gain="faster training",
        is_hardware_bound=True,
    ),
    Metric(
        "train/throughput_samples_per_sec",
        "Training throughput",
        "higher",
        "training",
        "samples/s",
        is_hardware_bound=True,
    ),
    Metric(
        TRAINING_FLOPS,
        "Training FLOPs",
        "lower",
        "training",
        "TFLOP",
        gain="fewer training FLOPs",
    ),
    Metric(
        TOKEN_LATENCY,
        "Time per output token",
        "lower",
        "inference",
        "ms",
        gain="less time per token",
        is_hardware_bound=True,
    ),
    Metric(
        LATENCY,
        "Latency",
        "lower",
        "inference",
        "ms/sample",
        gain="lower latency",
        is_hardware_bound=True,
        is_per_answer=True,
    ),
    Metric(TOKENS_OUT, "Answer length", "lower", "inference", "tokens", is_context=True),
    Metric(
        "inference/peak_vram_gb",
        "Inference VRAM",
        "lower",
        "inference",
        "GB",
        gain="less inference VRAM",
        is_hardware_bound=True,
    ),
    Metric(
        QUERY_FLOPS,
        "FLOPs per query",
        "lower",
        "inference",
        "GFLOP",
        gain="fewer FLOPs per query",
        is_per_answer=True,
    ),
    Metric(MODEL_SIZE, "Model size", "lower", "inference", "GB", gain="smaller model"),
    Metric(RUN_COST, "Device time of this run", "lower", "cost", "s", is_hardware_bound=True),
    Metric(
        TRAINING_COST, "Device time of its training", "lower", "cost", "s", is_hardware_bound=True
    ),
    Metric(CURVE, "Validation F1", "higher", "progress"),
    Metric("validation/accuracy", "Validation accuracy", "higher", "progress"),
    Metric("best/validation_f1_score", "Best validation F1", "higher", "progress"),
    Metric("train/loss", "Training loss", "lower", "progress"),
)
BY_KEY = {metric.key: metric for metric in METRICS}
# What a reader would put against the score, in order of interest.
COST_AXES = (TOKEN_LATENCY, LATENCY, MODEL_SIZE, QUERY_FLOPS, TRAINING_FLOPS)

# ---------------------------------------------------------------------- variants
# Okabe and Ito's colours, darkened where they are too pale on white, lightened for dark pages;
# the first is the ink itself and belongs to Full LoRA. Marker and dash repeat what colour says.
# The pages' stylesheet has the same (`--s0` to `--s6`).
LIGHT = ("#222222", "#0072B2", "#009E73", "#D55E00", "#B0568F", "#8A6D00", "#3B8FC4")
DARK = ("#E8E8E8", "#5AB4F0", "#2CC89A", "#FF8A3D", "#E29BC6", "#E6C84B", "#9AD4FF")


variant_label = variants.label


def label_of(row: variants.Variant) -> str:
    return variant_label(row.model_variant, row.quantization_strategy, row.quantization_method)


def variant_labels() -> tuple[str, ...]:
    """The labels of all variants, in the order of their table: the place gives the colour."""
    return variants.unique(label_of(row) for row in variants.VARIANTS)


def style_of(label: str | None) -> int | None:
    """The variant's place in the table of variants, which gives it the same colour everywhere."""
    known = variant_labels()
    return known.index(label) if label in known else None


# ---------------------------------------------------------------------- numbers
def setting_text(value: object) -> str:
    """A tuned value for people: `0.0003`, `3e-5`; empty when missing."""
    if isinstance(value, float):
        return number_text(value)
    return "" if value is None else str(value)
