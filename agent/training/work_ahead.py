"""What a follower does instead of waiting: it begins another training that the sweeps need.

Only trainings that have not been begun are taken, and those this process has begun are taken
further; one that stands still because its runs were pruned is left alone. An evaluation point at
a time, so that a follower is never away from its own training for long.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

from agent.config.run_config import RunConfig
from agent.errors import SweepAgentError, TrainingDiverged
from agent.training import data
from agent.training.evaluation_points import EvaluationPoint, Training
from agent.training.facts.hooks import Hooks
from agent.training.lease import is_held


class Meanwhile:
    """Call it while there is nothing to do: True when it has trained something."""

    def __init__(
        self,
        own: RunConfig,
        needed: Callable[[], Sequence[RunConfig]],
        run_id: str = "",
        check_interruption: Callable[[], None] = lambda: None,
        on_point: Callable[[Training, EvaluationPoint], None] = lambda *_: None,
    ) -> None:
        self._own = own
        self._on_point = on_point
        self._needed = needed
        self._run_id = run_id
        self._check_interruption = check_interruption
        self._data: dict[tuple[object, ...], data.Data] = {}
        self._begun: set[str] = set()

    def __call__(self) -> bool:
        for training in self._candidates:
            if self._is_free(training) and self._advance(training):
                return True
        return False

    @cached_property
    def _candidates(self) -> list[Training]:
        """One for each other training that is needed, in the order of the grids."""
        found: dict[str, Training] = {self._open(self._own).key: self._open(self._own)}
        for config in self._needed():
            try:
                training = self._open(config)
            except SweepAgentError:
                continue  # that grid point will say so itself
            found.setdefault(training.key, training)
        return list(found.values())[1:]

    def _open(self, config: RunConfig) -> Training:
        fields = tuple(getattr(config, name) for name in data.FIELDS)
        if fields not in self._data:
            self._data[fields] = data.load(config)
        return Training(
            config,
            self._data[fields],
            run_id=self._run_id,
            hooks=Hooks(check=self._check_interruption),
        )

    def _is_free(self, training: Training) -> bool:
        place = training.directory
        if is_held(place.path) or place.divergence():
            return False
        return training.key in self._begun or not place.has_begun()

    def _advance(self, training: Training) -> bool:
        """One evaluation point; False when there is none left or another worker was faster."""
        done = len(training.directory.chain())
        following = training.points(wait=False)
        try:
            for point in following:
                if point.number > done:
                    self._begun.add(training.key)
                    self._on_point(training, point)
                    return True
        except TrainingDiverged:
            return True
        finally:
            following.close()
            training.free()
        return False
