"""How often normality is rejected."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import shapiro

from benchsuite.stats.validation import as_finite

_FEWEST, _MOST = 3, 5000  # what the approximation of its p-values covers (Royston 1995)


class NormalityRejections(NamedTuple):
    """The share of columns on which normality was rejected, and how many columns that is of.

    ``constant`` columns count neither way: the statistic divides by their spread.
    """

    share: float
    tested: int
    constant: int


def normality_rejections(values: ArrayLike, alpha: float = 0.05) -> NormalityRejections:
    """Test each column by Shapiro-Wilk; on Gaussian columns a share near ``alpha`` is rejected.

    Args:
        values: [n, columns], n from 3 to 5,000 independent draws.
        alpha: significance level, between 0 and 1.

    Raises:
        ValueError: NaN or infinite values, other axes, n below 3 or above 5,000, ``alpha`` outside
            (0, 1), or nothing but constant columns.

    Source: Shapiro & Wilk (1965), Biometrika 52, 591-611; p-values by Royston (1995), AS R94.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected a level between 0 and 1, such as 0.05")
    columns = as_finite("values", values, ndim=2).astype(np.float64, copy=False)
    n, k = columns.shape
    if not _FEWEST <= n <= _MOST:
        raise ValueError(
            f"values has {n} rows, expected {_FEWEST} to {_MOST} draws of each column: Shapiro-Wilk"
            " has no p-value outside of these, so pass more draws, or a sample of them"
        )
    varying = columns[:, np.ptp(columns, axis=0) > 0]
    tested = varying.shape[1]
    if not tested:
        raise ValueError(
            f"values is constant in all {k} columns, expected some that vary: normality cannot be"
            " tested on a constant, so leave the test out"
        )
    rejected = int(np.count_nonzero(shapiro(varying, axis=0).pvalue < alpha))
    return NormalityRejections(rejected / tested, tested, k - tested)
