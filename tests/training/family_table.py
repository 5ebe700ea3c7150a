"""The README's table of model families: what each does in every cell, found out on a tiny model.

python -m tests.training.family_table     prints the table
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from agent.config.run_config import RunConfig
from agent.errors import DataError
from agent.evaluation import deployments, generation
from agent.training import adapters, base_model, prompts
from tests.training import families, family_cells, lab

HEAD = "| Family | Full LoRA | QLoRA int4 / int8 | LoRA+PTQ int4 / int8 | FLOPs |"
CELLS = {
    "Full LoRA": ("None",),
    "QLoRA": ("int4", "int8"),
    "LoRA+PTQ": ("int4", "int8"),
}
CPU = torch.device("cpu")


@dataclass
class Found:
    """What one family does. Differences are the largest over all logits, in fp32."""

    family: str
    losses: list[float]
    flops: float | None
    cells: dict[tuple[str, str], str]  # "yes", or why it is refused
    merged_difference: float  # merged against base + adapter
    adapter_effect: float  # base + adapter against the base
    peft_difference: float  # the adapter in plain PEFT against ours
    is_batch_single: bool  # the same tokens in a batch and alone
    adapted_share: float  # of the decoder's layer and expert weights, those an adapter reaches
    touches_others: bool  # layers that read no text are adapted
    errors: dict[tuple[str, str], float]  # of each cell's weights, over the bound of its arithmetic
    left_out: str | None  # why FLOPs are not counted

    @property
    def row(self) -> str:
        cells = [
            " / ".join(dict.fromkeys(self.cells[variant, strategy] for strategy in strategies))
            for variant, strategies in CELLS.items()
        ]
        counted = "counted" if self.flops else "left out"
        return f"| {self.family} | {' | '.join(cells)} | {counted} |"


def examine(family: str, root: Path) -> Found:
    """Train one epoch of the family's tiny model, then build and compare every cell."""
    folder = families.make_base(root / "base", family)
    config = config_for(root, folder)
    training = lab.open_training(root, _values(folder))
    point = list(training.points())[-1]
    base = training.base
    ids = [prompts.prompt_ids(training.tokenizer, e.messages) for e in training.data.validation[:3]]
    loud = make_loud(point.adapter, root / "loud")
    fresh = base_model.load(config, folder, "16bit", CPU)
    weights = family_cells.weights_of(fresh.model)
    with torch.inference_mode():
        plain = logits(fresh.model, ids[0])
        merged = deployments.deploy(fresh, loud, config.variant)
        beside = deployments._with_adapter(fresh, loud).eval()
        wanted = logits(beside, ids[0])
        difference = (logits(merged, ids[0]) - wanted).abs().max()
        effect = (wanted - plain).abs().max()
        said = [said_by(merged, base.tokenizer, ids, size) for size in (1, 3)]
        in_peft = PeftModel.from_pretrained(fresh.model, str(loud)).eval()
        peft_difference = (logits(in_peft, ids[0]) - wanted).abs().max()
    share, touches = reach(beside)
    cells = {cell: try_cell(root, folder, loud, weights, *cell) for cell in _pairs()}
    errors = {cell: error for cell, (_, error) in cells.items() if error is not None}
    errors["Full LoRA", "bfloat16"] = error_in_bf16(root, folder, loud, weights)
    return Found(
        family,
        [loss for _, loss in lab.losses_of([point])],
        point.cost.flops,
        {cell: said for cell, (said, _) in cells.items()},
        float(difference),
        float(effect),
        float(peft_difference),
        said[0] == said[1],
        share,
        touches,
        errors,
        point.cost.flops_left_out,
    )


def _pairs() -> list[tuple[str, str]]:
    return [(variant, strategy) for variant, names in CELLS.items() for strategy in names]


def _values(folder: Path) -> dict[str, Any]:
    return {
        "base_model": str(folder),
        "lora_dropout": 0.0,
        "epochs": 1,
        "compute_dtype": "float32",
        "learning_rate": 1e-2,
    }


def config_for(root: Path, folder: Path, **values: Any) -> RunConfig:
    return lab.make_config(root, **_values(folder), **values)


def make_loud(adapter: Path, target: Path) -> Path:
    """A copy of the adapter with weights large enough to show in every logit."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, target)
    generator = torch.Generator().manual_seed(0)
    tensors = load_file(str(target / adapters.WEIGHTS))
    loud = {n: torch.randn(t.shape, generator=generator) * 0.05 for n, t in tensors.items()}
    save_file(loud, str(target / adapters.WEIGHTS), {"format": "pt"})
    return target


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=torch.tensor([ids])).logits
    return found


def said_by(model: Any, tokenizer: Any, ids: list[list[int]], batch_size: int) -> list[str]:
    answers = generation.generate(model, tokenizer, ids, batch_size=batch_size, max_new_tokens=6)
    return [answer.text for answer in answers]


def reach(model: Any) -> tuple[float, bool]:
    """Share of the decoder's layers and experts that have an adapter; whether others have one."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    from agent.training.bases import linear_layers

    plain = model.get_base_model()
    adapted = {n for n, m in plain.named_modules() if isinstance(m, BaseTunerLayer)}
    twin_names = {name.removesuffix(".base_layer") for name in linear_layers.layers_of(plain)}
    twin_names = {name for name in twin_names if ".lora_" not in name}
    outside = {n for n in linear_layers.layers_outside(plain) if ".lora_" in n}
    experts = linear_layers.expert_parameters(plain)
    leaves = {name.rpartition(".")[2] for name in experts}
    wrapped = sum(getattr(m, "parameter_name", None) in leaves for m in plain.modules())
    reached = len(twin_names & adapted) + min(wrapped, len(experts))
    return reached / (len(twin_names) + len(experts)), bool(outside)


def try_cell(
    root: Path,
    folder: Path,
    adapter: Path,
    weights: family_cells.Weights,
    variant: str,
    strategy: str,
) -> tuple[str, float | None]:
    """ "yes" when the cell's deployment answers, else why it is refused; and how far its weights
    are from those made by hand."""
    config = config_for(root, folder, model_variant=variant, quantization_strategy=strategy)
    try:
        loaded = base_model.load(config, folder, config.variant.training_precision, CPU)
    except DataError as refusal:
        is_moe = "not linear layers" in str(refusal)
        said = "refused: experts stay in 16 bit" if is_moe else str(refusal)
        return said, None
    with torch.inference_mode():
        served = deployments.deploy(loaded, adapter, config.variant)
        is_merged = variant != "QLoRA"
        plain: Any = served
        if not is_merged:
            plain = plain.get_base_model()
        method = config.variant.quantization_method
        error = family_cells.error_of(
            plain, weights, adapter, method, is_merged=is_merged, bits16=False
        )
        assert is_merged or family_cells.serves_the_adapter(served, adapter)
        assert logits(served, [1, 2, 3]).isfinite().all()
    return "yes", error


def error_in_bf16(root: Path, folder: Path, adapter: Path, weights: family_cells.Weights) -> float:
    values = {**_values(folder), "compute_dtype": "bfloat16"}
    config = lab.make_config(root, **values)
    with torch.inference_mode():
        loaded = base_model.load(config, folder, "16bit", CPU)
        served = deployments.deploy(loaded, adapter, config.variant)
    return family_cells.error_of(served, weights, adapter, "none", is_merged=True, bits16=True)


def main() -> None:
    print(HEAD)
    print("|---|---|---|---|---|")
    for family in families.FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            print(examine(family, Path(folder)).row, flush=True)


if __name__ == "__main__":
    main()
