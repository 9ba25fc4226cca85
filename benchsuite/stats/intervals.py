"""Intervals and p-values for numbers that come one per independent unit, and for counts.

A unit is a block of target models with its scores pooled, or an independently trained world: what
varies inside it (models, examples) has been summarised into one number before it comes here.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from benchsuite.stats.validation import Float64s, as_finite

BOOTSTRAP_FROM = 30
SIGN_FLIP_AT_MOST = 20
_MOST_UNITS_NAMED = 1_000_000
_DRAWS_AT_ONCE = 2_000_000

Units = Sequence[float] | Float64s


class Interval(NamedTuple):
    """A mean over units with the two ends of its confidence interval."""

    estimate: float
    low: float
    high: float


def unit_interval(units: Units, alpha: float = 0.05) -> Interval:
    """Return the interval that verdicts use: t below 30 units, the cluster bootstrap from 30.

    Percentile intervals at few units miss far more often than they promise (at 6 units 7 % on a
    side where 2.5 % is promised), so they are not offered. `tests/meta` holds both methods to
    their coverage, and shows where it ends: at skewness 1 the t interval of 95 % covers 93 %, so
    decide ratios as logarithms.

    Args:
        units: one number per independent unit; for a paired comparison, one difference per unit.
        alpha: 1 - confidence, two-sided.

    Raises:
        ValueError: fewer than 2 units, NaN or infinity, alpha outside (0, 1).
    """
    if len(units) < BOOTSTRAP_FROM:
        return t_interval(units, alpha)
    check_alpha(alpha)
    resamples = int(min(max(10_000, np.ceil(200 / alpha)), 1_000_000))
    return cluster_bootstrap_interval(units, alpha, resamples=resamples)


def t_interval(units: Units, alpha: float = 0.05) -> Interval:
    """Return Student's t interval of the mean over units; of paired differences, the paired t.

    Units without any spread give an interval of no width: right for a number that training cannot
    change, and otherwise a sign that the unit is too coarse.

    Args:
        units: [n], n >= 2, one number per independent unit.
        alpha: 1 - confidence, two-sided.

    Raises:
        ValueError: fewer than 2 units, NaN or infinity, alpha outside (0, 1).
    """
    values = as_units(units)
    check_alpha(alpha)
    mean = float(values.mean())
    half = t_half_width(float(values.std(ddof=1)), len(values), alpha)
    return Interval(mean, mean - half, mean + half)


def t_half_width(deviation: float, n: int, alpha: float) -> float:
    """Return half the width of the t interval over ``n`` units of that standard deviation."""
    return float(special.stdtrit(n - 1, 1 - alpha / 2)) * deviation / float(np.sqrt(n))


def t_units_needed(deviation: float, distance: float, alpha: float, more_than: int) -> int | None:
    """Return the fewest units above ``more_than`` whose t half-width is below ``distance``.

    None where a million units of that standard deviation would not do.
    """

    def enough(n: int) -> bool:
        return t_half_width(deviation, n, alpha) < distance

    if not enough(_MOST_UNITS_NAMED):
        return None
    return bisect_left(range(_MOST_UNITS_NAMED), True, lo=more_than + 1, key=enough)


def cluster_bootstrap_interval(
    units: Units, alpha: float = 0.05, seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Return the studentised (bootstrap-t) interval of the mean, resampling whole clusters.

    A unit IS a cluster: its number already pools everything that is correlated inside it, and
    nothing inside it is resampled. Studentised because at 30 skewed units the percentile, BCa
    and t intervals miss the true mean up to twice as often. Where so many resamples have no
    spread that an end would be infinite (units nearly all equal), the t interval is returned.

    Args:
        units: [clusters], at least 2, one number per cluster.
        alpha: 1 - confidence, two-sided.
        seed: of the resampling; the same seed gives the same interval.
        resamples: number of bootstrap samples.

    Raises:
        ValueError: fewer than 2 units, NaN or infinity, alpha outside (0, 1), or too few resamples
            for that alpha.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, Sec. 12.5.
    """
    values = as_units(units)
    check_alpha(alpha)
    if resamples * alpha < 20:
        raise ValueError(
            f"resamples is {resamples}, too few for alpha {alpha:g}: pass at least"
            f" {int(np.ceil(20 / alpha))}, so that 10 resamples lie beyond each end"
        )
    n = len(values)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(n)
    rng = np.random.default_rng(seed)
    studentised = []
    at_once = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        sample = values[rng.integers(n, size=(min(at_once, resamples - start), n))]
        off = sample.mean(axis=1) - mean
        spread = sample.std(axis=1, ddof=1) / np.sqrt(n)
        flat = spread <= 1e-12 * error
        infinite = np.where(off == 0, 0.0, np.copysign(np.inf, off))
        studentised.append(np.where(flat, infinite, off / np.where(flat, 1.0, spread)))
    t = np.concatenate(studentised)
    t_low = float(np.quantile(t, alpha / 2, method="lower"))
    t_high = float(np.quantile(t, 1 - alpha / 2, method="higher"))
    if not np.isfinite([t_low, t_high]).all():
        return t_interval(units, alpha)
    return Interval(float(mean), float(mean - t_high * error), float(mean - t_low * error))


def sign_flip_p_value(units: Units, null: float = 0.0) -> float:
    """Return the exact two-sided p-value that units are symmetric around ``null``.

    All 2^n assignments of signs to (unit - null) are enumerated; p is the share whose absolute sum
    is at least the observed one. Its smallest value is 2^(1 - n): below 6 units it never reaches
    0.05.

    Args:
        units: [n], 2 <= n <= 20, one number per independent unit.
        null: the centre under the null hypothesis.

    Raises:
        ValueError: fewer than 2 or more than 20 units, NaN or infinity.

    Source: Fisher (1935), The Design of Experiments, Sec. 21.
    """
    values = as_units(units) - null
    if len(values) > SIGN_FLIP_AT_MOST:
        raise ValueError(
            f"units has {len(values)} numbers, but exact enumeration is offered up to"
            f" {SIGN_FLIP_AT_MOST}: use unit_interval for more"
        )
    sums = values[:1]  # the first sign is fixed: flipping all signs leaves the absolute sum
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    rounding = 1e-12 * np.abs(values).sum()
    return float(np.mean(np.abs(sums) >= abs(values.sum()) - rounding))


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, alpha: float = 0.05) -> Float64s:
    """Return the exact binomial interval of a proportion.

    Args:
        successes: whole numbers [...], 0 <= successes <= trials.
        trials: whole numbers >= 1, broadcast against ``successes``.
        alpha: 1 - confidence, two-sided; coverage is never below 1 - alpha.

    Returns:
        [..., 2]: the lower and the upper end, in [0, 1].

    Raises:
        ValueError: counts that are not whole, no trials, more successes than trials, bad alpha.

    Source: Clopper & Pearson (1934), Biometrika 26, 404-413.
    """
    check_alpha(alpha)
    k, n = np.broadcast_arrays(as_finite("successes", successes), as_finite("trials", trials))
    if (n < 1).any() or (k < 0).any() or (k > n).any() or (k != np.floor(k)).any():
        bad = (n < 1) | (k < 0) | (k > n) | (k != np.floor(k))
        raise ValueError(
            f"successes {k[bad][0]:g} of trials {n[bad][0]:g} is not a count: expected"
            " whole numbers with 0 <= successes <= trials and at least one trial"
        )
    low = np.where(k == 0, 0.0, special.betaincinv(np.maximum(k, 1), n - k + 1, alpha / 2))
    high = np.where(k == n, 1.0, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - alpha / 2))
    return np.stack([low, high], axis=-1).astype(np.float64, copy=False)


def holm(p_values: ArrayLike) -> Float64s:
    """Return p-values adjusted for their number, to be compared with the family's alpha.

    Args:
        p_values: [tests], each in [0, 1].

    Returns:
        [tests], in the same order, capped at 1.

    Raises:
        ValueError: values outside [0, 1], NaN, or more than one axis.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    p = as_finite("p_values", p_values, ndim=1).astype(np.float64, copy=False)
    if p.min() < 0 or p.max() > 1:
        raise ValueError("p_values must lie between 0 and 1: pass probabilities, not statistics")
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def as_units(units: Units) -> Float64s:
    """Return ``units`` as float64 [n], or raise ``ValueError`` where there are fewer than 2."""
    values = as_finite("units", units, ndim=1).astype(np.float64, copy=False)
    if len(values) < 2:
        raise ValueError(
            "units holds 1 number, expected at least 2: one unit shows no spread, so there is no"
            " interval; run more blocks or worlds"
        )
    return values


def check_alpha(alpha: float) -> None:
    """Require 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected a number between 0 and 1, such as 0.05")
