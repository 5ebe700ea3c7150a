"""Scores for others: the worker that holds a model scores each point as every deployment that the
project's sweeps still need, so that the runs that share the training load no model."""

from collections.abc import Callable, Iterator, Sequence

from agent.config.run_config import RunConfig
from agent.errors import SweepAgentError
from agent.evaluation import validation
from agent.training.data import FIELDS
from agent.training.evaluation_points import EvaluationPoint, Training

# With these equal, base and examples are the same ones, and so are their digests.
_SAME_FILES = ("base_model", "base_revision", "store", *FIELDS)


class SharedScores:
    """Call it with each point; `needed` gives the grid points that are still to be run."""

    def __init__(
        self,
        needed: Callable[[], Sequence[RunConfig]],
        check_interruption: Callable[[], None] = lambda: None,
    ) -> None:
        self._needed = needed
        self._check_interruption = check_interruption

    def __call__(self, training: Training, point: EvaluationPoint) -> None:
        """Make and store what is missing; without a model in memory nothing is made."""
        if not training.holds_base:
            return
        for config in deployments_of(training, self._needed()):
            self._check_interruption()
            try:
                validation.score_as(config, training, point, self._check_interruption)
            except SweepAgentError:
                continue  # the run that needs it will say so itself


def deployments_of(training: Training, needed: Sequence[RunConfig]) -> Iterator[RunConfig]:
    """Of the needed grid points, one for each way to score this very training."""
    found: dict[tuple[str, str], RunConfig] = {}
    for config in needed:
        if _shares(training, config):
            found.setdefault((config.deployment_key(), config.evaluation_key({})), config)
    return iter(found.values())


def _shares(training: Training, config: RunConfig) -> bool:
    own = training.config
    if any(getattr(config, name) != getattr(own, name) for name in _SAME_FILES):
        return False
    return config.training_identity(training.environment) == training.identity
