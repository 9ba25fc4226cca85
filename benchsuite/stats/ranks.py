"""Rank correlation."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from benchsuite.stats.validation import as_finite, same_shape


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; 0 where either is constant.

    Args:
        one: finite, [values].
        other: finite, as many.

    Raises:
        ValueError: NaN or infinite values, other than one axis, different lengths.

    Source: Spearman (1904), American Journal of Psychology 15, 72-101.
    """
    x, y = as_finite("one", one, ndim=1), as_finite("other", other, ndim=1)
    same_shape(one=x, other=y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(spearmanr(x, y).statistic)
