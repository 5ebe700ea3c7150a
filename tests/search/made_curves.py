"""Made-up learning curves that behave like real ones: low rates late, high rates unstable, and
examples whose difficulty all runs share."""

from collections.abc import Sequence

import numpy as np

from agent.search.replay.curves import Curve, Stratum

RATES = (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 2e-2, 5e-2)


def made_stratum(
    seed: int, *, rungs: int = 9, examples: int = 200, rates: Sequence[float] = RATES
) -> Stratum:
    """Curves over log rate: ability rises to a plateau that peaks at a middle rate."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0.0, 1.5, examples)
    peak = np.log(rng.uniform(1.5e-3, 6e-3))
    curves = []
    for rate in rates:
        distance = np.log(rate) - peak
        plateau = 2.2 - 0.28 * distance**2 * (1.4 if distance > 0 else 0.8) + rng.normal(0, 0.1)
        speed = 1.1 * np.exp(0.45 * min(distance, 1.0)) * rng.uniform(0.85, 1.15)
        steps = np.arange(1, rungs + 1)
        ability = -3.0 + (plateau + 3.0) * (1 - np.exp(-speed * steps))
        ability = ability + rng.normal(0, 0.08, rungs) * (1 + max(0.0, distance))
        own = rng.normal(0, 0.35, examples)
        noise = rng.normal(0, 0.3, (rungs, examples))
        chance = 1 / (1 + np.exp(-(ability[:, None] - difficulty + own + noise) * 2.0))
        curves.append(Curve(f"learning_rate={rate:g}", f"t{seed}-{rate:g}", np.round(chance, 4)))
    return Stratum(f"made {seed}", tuple(curves))


def rate_of(curve: Curve) -> float:
    return float(curve.point.removeprefix("learning_rate="))
