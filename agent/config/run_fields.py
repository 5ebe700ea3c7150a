"""The fields of a grid point: what each is for, its default, unit and limits.

A field says what it is for by its group, and the groups make the keys of `RunConfig`:

- `training`   changes the adapter                       → `training_key`
- `deployment` changes how the adapter is served         → `deployment_key`
- `evaluation` changes the scores of a deployment        → `evaluation_key`
- `search`     changes which runs are compared or pruned
- `operation`  changes none of them: where things lie, how often something is logged
"""

from functools import partial
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from agent.config.field_types import (
    Float,
    Int,
    Names,
    OptionalInt,
    OptionalStr,
    Options,
    Strategy,
    TaskLimits,
)

Group = Literal["training", "deployment", "evaluation", "search", "operation"]


def _field(group: Group, text: str, default: Any = ..., *, unit: str = "", **limits: Any) -> Any:
    return Field(
        default, description=text, json_schema_extra={"group": group, "unit": unit}, **limits
    )


_training = partial(_field, "training")
_deployment = partial(_field, "deployment")
_evaluation = partial(_field, "evaluation")
_search = partial(_field, "search")
_operation = partial(_field, "operation")


def group_of(field: FieldInfo) -> Group:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra["group"]  # type: ignore[return-value]  # _field wrote it


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The words a field can take, where it is a choice."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


class RunFields(BaseModel):
    """The fields alone; what follows from them stands in `RunConfig`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    # -- the variant
    model_variant: str = _deployment("how the model is made cheap")
    quantization_strategy: Strategy = _deployment(
        "weights of the served model: None, int8 or int4", "None"
    )
    quantization_method: OptionalStr = _deployment(
        "algorithm behind int8 or int4; the cell's own when not given", None
    )
    # -- model and data
    base_model: str = _training(
        "Hugging Face id or directory of the base model", "Qwen/Qwen2.5-3B-Instruct"
    )
    base_revision: OptionalStr = _training("revision of a Hugging Face base model", None)
    dataset: str = _training("training data: file, directory or Hugging Face data set id")
    validation_dataset: OptionalStr = _evaluation(
        "validation data; a fraction of `dataset` when not given", None
    )
    validation_fraction: Float = _training(
        "share of `dataset` held out for validation", 0.1, ge=0, lt=1
    )
    test_dataset: OptionalStr = _evaluation("test data; no sweep ever reads it", None)
    test_fraction: Float = _training(
        "share of `dataset` held out for the final test", 0.1, ge=0, lt=1
    )
    split_seed: Int = _training("seed of the held-out shares", 0, ge=0)
    task: OptionalStr = _training(
        "train and score one task only, with limits of its own; all when not given",
        None,
    )
    max_length: Int = _training("prompt and answer", 2048, unit="tokens", ge=8)
    max_length_by_task: TaskLimits = _training(
        'max_length of the tasks that need another one, as JSON: {"qa": 4096}',
        {},
        unit="tokens",
    )
    # -- training
    learning_rate: Float = _training("peak learning rate of AdamW", gt=0, le=1)
    epochs: Int = _training("passes over the training data", 1, unit="epochs", ge=1)
    batch_size: Int = _training("one optimizer step", 8, unit="examples", ge=1)
    micro_batch_size: OptionalInt = _training(
        "one forward pass; batch_size when not given", None, unit="examples", ge=1
    )
    seed: Int = _training("adapter initialisation, dropout and data order", 0, ge=0)
    adapter_method: str = _training("how the adapter is made", "lora")
    lora_rank: Int = _training("rank of the adapter", 16, ge=1)
    lora_alpha: Int = _training("scale of the adapter, over its rank", 32, ge=1)
    lora_dropout: Float = _training("dropout before the adapter", 0.0, ge=0, lt=1)
    optimizer: Literal["adamw", "adamw_fused", "adamw_8bit"] = _training(
        "AdamW: plain, fused kernel, or 8-bit state", "adamw"
    )
    weight_decay: Float = _training("decoupled weight decay", 0.0, ge=0)
    warmup_ratio: Float = _training("share of all steps in linear warm-up", 0.1, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = _training(
        "learning rate after the warm-up, over the whole budget", "cosine"
    )
    max_grad_norm: Float = _training("gradient clipping; 0 for none", 1.0, ge=0)
    gradient_checkpointing: bool = _training("recompute activations; the same in every cell", False)
    compute_dtype: Literal["bfloat16", "float32"] = _training(
        "the '16-bit' base and all matrix products", "bfloat16"
    )
    # -- evaluation
    eval_every: Float = _training("distance of evaluation points", 1.0, unit="epochs", gt=0)
    eval_examples: OptionalInt = _evaluation(
        "validation examples scored at each point; all when not given", None, ge=1
    )
    eval_batch_size: Int = _evaluation(
        "generated together when as long as max_length admits; more of shorter ones",
        16,
        unit="examples",
        ge=1,
    )
    max_new_tokens: Int = _evaluation("longest answer", 256, unit="tokens", ge=1)
    max_new_tokens_by_task: TaskLimits = _evaluation(
        'max_new_tokens of the tasks that need another one, as JSON: {"qa": 64}',
        {},
        unit="tokens",
    )
    # -- search
    tuned: Names = _search(
        "keys along which runs compete; all others make the stratum", ("learning_rate",)
    )
    pruner: str = _search("which rule stops hopeless runs; none for no pruning", "paired")
    pruner_warmup: Int = _search(
        "first rung at which runs are judged; paired needs two", 1, unit="rungs", ge=0
    )
    pruner_options: Options = _search("arguments of the pruner by name, as JSON", {})
    pruning_storage: OptionalStr = _operation(
        "Optuna storage URL; a journal in the store when not given", None
    )
    # -- operation
    store: str = _operation("directory of the training store", "outputs/store")
    group_writable: bool = _operation("let the store's group write into it, for a team", False)
    checkpoint_every_min: Float = _operation(
        "between step checkpoints; 0 for none", 10.0, unit="minutes", ge=0
    )
    max_left_out_share: Float = _operation(
        "most of a task that may exceed max_length or be cut by max_new_tokens",
        0.1,
        ge=0,
        le=1,
    )
    max_shared_share: Float = _operation(
        "most of the validation prompts that may be trained on too", 0.5, ge=0, le=1
    )
    log_every_steps: Int = _operation("between logged losses", 20, unit="steps", ge=1)
    log_model: Literal["adapter", "deployed", "none"] = _operation(
        "what the run's model artifact holds", "adapter"
    )
    watch: Literal["none", "gradients", "parameters", "all"] = _operation(
        "wandb.watch on the adapter", "none"
    )
    benchmark_queries: Int = _operation(
        "the finished run measures its inference on so many; 0 for not",
        0,
        unit="queries",
        ge=0,
    )
    device: Literal["auto", "cpu", "cuda"] = _operation("where to train", "auto")
    trust_remote_code: bool = _operation("run the code that a Hugging Face model brings", False)
