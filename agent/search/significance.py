"""Significance of a mean difference in pairs, and the level it needs when there are many rivals."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr

Array = npt.NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(151)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()  # of the standard normal at the nodes


def p_value(gaps: Array) -> float:
    """`p_values` of one comparison."""
    return float(p_values(gaps[None])[0])


def p_values(gaps: Array) -> Array:
    """One-sided paired t tests of mean > 0, one for each row of `gaps`, shape (tests, examples).

    Never below 2**-m with m gaps other than 0, the least that an exact sign-flip test could say:
    with few or equal gaps the t distribution promises more than the data hold.
    """
    count, means = gaps.shape[1], gaps.mean(axis=1)
    if count < 2:
        return np.ones(len(gaps))
    errors = gaps.std(axis=1, ddof=1) / math.sqrt(count)
    least = 0.5 ** np.count_nonzero(gaps, axis=1)
    certain = errors == 0.0
    chances = stdtr(count - 1, -means / np.where(certain, 1.0, errors))
    chances = np.where(certain, np.where(means > 0, least, 1.0), chances)
    bounded: Array = np.maximum(chances, least)
    return bounded


@lru_cache(maxsize=4096)
def level_per_rival(level: float, rivals: int) -> float:
    """The level of one comparison such that the smallest p-value of `rivals` comparisons is that
    low with chance `level` when the run is as good as all of them.

    Runs that are compared with one and the same run have test statistics that correlate by 1/2
    (Dunnett 1955); the chance that the largest of them passes z is 1 − ∫φ(u)Φ(√2·z + u)^m du.
    Never below Bonferroni's level / rivals, which holds whatever the correlation.
    """
    if rivals <= 1:
        return level

    def excess(z: float) -> float:
        return 1.0 - float(_WEIGHTS @ ndtr(math.sqrt(2) * z + _NODES) ** rivals) - level

    strictest = level / rivals
    highest = -float(ndtri(strictest))
    if excess(highest) >= 0:
        return strictest
    return float(ndtr(-brentq(excess, -9.0, highest, xtol=1e-10)))
