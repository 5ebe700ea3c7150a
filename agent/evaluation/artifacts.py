"""What the model artifact of a run holds."""

from collections.abc import Mapping
from pathlib import Path

from agent.evaluation import deployments
from agent.training.training import EvaluationPoint, Training


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
        "deployment.json": deployments.describe(
            config.variant, config.base_model, str(training.environment["base"])
        ),
    }
    if config.log_model == "deployed":
        place = point.directory / "deployed" / config.deployment_key()
        if not place.exists():
            model = deployments.deploy(
                training.base, point.adapter, config.variant, training.data.train
            )
            deployments.save(model, training.base, config.variant, place)
        files["deployed"] = place
    return files
