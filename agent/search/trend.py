"""How a run's own curve goes on: what it may still gain, and whether its steepest part is over.

Both are read from the gains between its evaluation points, example by example.

- *Forecast*: a curve that saturates gains a constant share φ of its last gain at each next point
  (Aitken 1926; exact for a + b·φ^t). φ is the last gain over the one before it, at most `FASTEST`,
  which it also is after a single gain, and the forecast sums over the points that are left. A loss
  is not extrapolated.
- *Past its steepest part*: a run that starts late, or rises like a sigmoid, gains more from point
  to point at first, and how far it will get is unknown. Only when its last gain is smaller than
  the steepest before it, by more than chance explains, does its forecast mean anything.

No score is reported before the first point. Where `from_nothing` holds, the first score counts
as a gain from 0, so that two points make a trend. That is true of tasks whose base model cannot
answer in the wanted form; of a base that can, it says that its steepest part is over, so a rise
that begins late on top of it is missed. Otherwise three points are needed.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from agent.search.example_scores import ExampleScores
from agent.search.significance import p_value

Array = npt.NDArray[np.float64]

FASTEST = 0.8  # largest φ: at most four times the last gain is still to come


@dataclass(frozen=True, eq=False)
class Trend:
    """What a run may still gain until its last evaluation point."""

    gains: Array  # forecast gain of each example
    mean: float  # their mean, ≥ 0
    slowing: float  # p-value of its slowing down: the last gain is not smaller than the steepest
    rising: float  # p-value of its having risen at all: the steepest gain is none
    shown: int  # how many gains it is read from


@lru_cache(maxsize=1 << 14)  # every report asks again about all earlier rungs
def trend(history: tuple[ExampleScores, ...], left: int, *, from_nothing: bool) -> Trend:
    """The trend after the last of `history`, with `left` evaluation points to come.

    `history` holds the scores of successive points on the same examples.
    """
    values = [scores.values for scores in history]
    gains = [after - before for before, after in pairwise(values)]
    if from_nothing:
        gains.insert(0, values[0])
    if not gains:
        return Trend(np.zeros_like(values[-1]), 0.0, 1.0, 0.0, 0)
    last, means = gains[-1], [float(gain.mean()) for gain in gains]
    slowing, rising = 1.0, 0.0  # after a single gain nothing is known of either
    if len(gains) > 1:
        steepest = gains[max(range(len(gains) - 1), key=means.__getitem__)]
        slowing = p_value(steepest - last)
        rising = min(p_value(steepest), p_value(last))
    if means[-1] <= 0:
        return Trend(np.zeros_like(last), 0.0, slowing, rising, len(gains))
    before = means[-2] if len(gains) > 1 else 0.0
    ratio = min(means[-1] / before, FASTEST) if before > 0 else FASTEST
    forecast = last * sum(ratio**k for k in range(1, left + 1))
    return Trend(forecast, float(forecast.mean()), slowing, rising, len(gains))
