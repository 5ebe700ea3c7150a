"""What the model artifact of a run holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.evaluation import deployments
from agent.evaluation.validation import Scores
from agent.training import run_registry, store
from agent.training.evaluation_points import EvaluationPoint, Training


def describe(training: Training) -> str:
    """`deployment.json`: how to serve the adapter beside it."""
    config = training.config
    return deployments.describe(
        config.variant, config.base_model, str(training.environment["base"])
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
    config = training.config
    model = deployments.deploy(training.base, point.adapter, config.variant, training.data.train)
    deployments.save(model, training.base, config.variant, folder)
