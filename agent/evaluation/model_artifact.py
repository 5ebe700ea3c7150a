"""What the model artifact of a run holds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.config.variants import Variant
from agent.evaluation.validation import Scores
from agent.training import run_registry, store
from agent.training.evaluation_points import EvaluationPoint, Training


def describe(training: Training) -> str:
    """`deployment.json`: how to serve the adapter beside it."""
    config = training.config
    return deployment_text(config.variant, config.base_model, str(training.environment["base"]))


def deployment_text(variant: Variant, base_model: str, base_digest: str) -> str:
    """`deployment.json` of an artifact: how to serve the adapter beside it."""
    steps = {
        "merged": ["load the base at 16 bit", "merge the adapter"],
        "quantised_base_with_adapter": [
            f"load the base quantised ({variant.quantization_method})",
            "attach the adapter without merging",
        ],
        "merged_then_quantised": [
            "load the base at 16 bit",
            "merge the adapter",
            f"quantise every linear layer but the output head ({variant.quantization_method})",
        ],
    }
    return json.dumps(
        {
            "model_variant": variant.model_variant,
            "quantization_strategy": variant.quantization_strategy,
            "quantization_method": variant.quantization_method,
            "deployment": variant.deployment,
            "steps": steps.get(variant.deployment, []),
            "base_model": base_model,
            "base_digest": base_digest,
        },
        indent=1,
    )


def note_end(
    training: Training, points: Sequence[EvaluationPoint], scores: Scores, *, pruned: bool
) -> None:
    """Leave in the store how the run ended, for `sweep-agent store` and `sweep-agent export`."""
    assert scores.directory is not None, "only stored scores are noted"
    state = run_registry.PRUNED if pruned else run_registry.FINISHED
    training.note_end(points, state, scores.directory, describe(training))


def model_files(training: Training, point: EvaluationPoint) -> Mapping[str, Path | str]:
    """Names inside the artifact, each with a file, a folder or a text.

    The adapter as a PEFT folder and `deployment.json`, which says how to serve it; the deployed
    weights beside them when `log_model` is `deployed`; nothing when it is `none`.
    """
    config = training.config
    if config.log_model == "none":
        return {}
    files: dict[str, Path | str] = {
        "adapter": point.adapter,
        "deployment.json": describe(training),
    }
    if config.log_model == "deployed":
        place = point.directory / "deployed" / config.deployment_key()
        if not store.is_whole(place):
            store.set_aside_if_damaged(place)
            store.publish_directory(place, lambda folder: _save_deployed(training, point, folder))
        files["deployed"] = place
    return files


def _save_deployed(training: Training, point: EvaluationPoint, folder: Path) -> None:
    from agent.evaluation import deployments

    config = training.config
    model = deployments.deploy(training.base, point.adapter, config.variant, training.data.train)
    deployments.save(model, training.base, config.variant, folder)
