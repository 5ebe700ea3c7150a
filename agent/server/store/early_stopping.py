"""`early_terminate: hyperband`: which running runs are not worth going on. Pure.

At every band (a number of logged values) the runs that reached it are ranked by their best value
up to there; the best 1/eta of them go on. A run is judged at the last band it has passed, in strict
mode at every band it has passed.
"""

from collections.abc import Mapping, Sequence

from agent.config.early_termination import Hyperband


def hopeless_runs(
    curves: Mapping[str, Sequence[float]], bands: Hyperband, goal: str
) -> dict[str, int]:
    """Runs that should stop, with the band at which they fell behind.

    `curves` holds the metric's values, in the order logged, of all runs of the sweep.
    """
    sign = -1.0 if goal == "maximize" else 1.0
    behind: dict[str, int] = {}
    for name, curve in curves.items():
        passed = [band for band in bands.bands if band <= len(curve)]
        for band in passed if bands.is_strict else passed[-1:]:
            peers = [other for other in curves.values() if len(other) >= band]
            ranked = sorted(_best(other, band, sign) for other in peers)
            threshold = ranked[min(int(len(ranked) / bands.eta), len(ranked) - 1)]
            if _best(curve, band, sign) > threshold:
                behind[name] = band
                break
    return behind


def _best(curve: Sequence[float], band: int, sign: float) -> float:
    """The best of the first `band` values, so that smaller is better."""
    return min(sign * value for value in curve[:band])
