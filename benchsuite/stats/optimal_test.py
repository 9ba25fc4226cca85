"""The advantage of the likelihood-ratio test on n observations, and the first n that suffices.

Nothing is simulated or enumerated: the test decides by one count (two outcomes) or one sum of
squares (Gaussians), whose distribution under either hypothesis is known. The public functions,
which check their arguments, are in `likelihood`.
"""

from collections.abc import Callable

import numpy as np
from scipy import special, stats

from benchsuite.stats.validation import Float64s

MOST_OBSERVATIONS = 1e15  # whole numbers stay exact in float64
_ROUNDING = 1e-12  # an advantage equal to the one asked for may be computed this much lower
_EXACT_BELOW = 1e5
_SAME_VARIANCE = 1e-8  # relative; nearer ratios lose more to cancellation than to this


def fewest_observations(
    advantage_at: Callable[[Float64s], Float64s], hellinger_squared: Float64s, advantage: float
) -> Float64s:
    """Return the first n at which ``advantage_at(n)`` reaches ``advantage``, elementwise.

    Args:
        advantage_at: TV(P0^n, P1^n) for an array of n; it never falls with n.
        hellinger_squared: H² of one observation; TV >= 1 - (1 - H²)^n bounds the search from above.
        advantage: in (0, 1).

    Returns:
        The shape of ``hellinger_squared``, whole numbers as float64, infinite beyond 1e15.
    """
    with np.errstate(divide="ignore", over="ignore"):
        most = np.ceil(np.log1p(-advantage) / np.log1p(-hellinger_squared))
    within = most <= MOST_OBSERVATIONS
    high = np.where(within, np.maximum(most, 1), 1.0)
    low = np.zeros_like(high)  # the advantage of no observation is 0: not enough
    while (high - low > 1).any():
        middle = np.maximum(np.floor((low + high) / 2), 1)
        enough = advantage_at(middle) >= advantage - _ROUNDING
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    result: Float64s = np.where(within, high, np.inf)
    return result


def binomial_advantage(p0: Float64s, p1: Float64s, n: Float64s) -> Float64s:
    """Return TV of n observations of two outcomes, [..., 2] each.

    The count of one outcome is sufficient, and the likelihood ratio rises or falls with it: TV is
    the difference of the two tails at the count where the likelihoods cross. The rarer outcome is
    counted, because its probability has all its digits.
    """
    rarer = np.where(np.maximum(p0[..., 1], p1[..., 1]) > np.maximum(p0[..., 0], p1[..., 0]), 0, 1)
    a0, a1 = np.where(rarer, p0[..., 1], p0[..., 0]), np.where(rarer, p1[..., 1], p1[..., 0])
    b0, b1 = np.where(rarer, p0[..., 0], p0[..., 1]), np.where(rarer, p1[..., 0], p1[..., 1])
    larger, smaller = np.maximum(a0, a1), np.minimum(a0, a1)
    rest_of_larger = np.where(a0 > a1, b0, b1)
    gap = larger - smaller
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for_larger, for_smaller = np.log1p(gap / smaller), np.log1p(gap / rest_of_larger)
        share = for_smaller / (for_larger + for_smaller)
    # 0 / 0 where they are equal and any count does, inf / inf where it must be n: a sure outcome.
    share = np.where(np.isnan(share), 1.0, share)
    crossing = np.clip(np.ceil(n * share), 1, n)
    tail_larger = special.betainc(crossing, n - crossing + 1, larger)
    tail_smaller = special.betainc(crossing, n - crossing + 1, smaller)
    result: Float64s = np.abs(tail_larger - tail_smaller)
    return result


def gaussian_advantage(shift: Float64s, ratio: Float64s, n: Float64s) -> Float64s:
    """Return TV of n observations of N(0, 1) against N(shift, ratio), elementwise.

    The summed log-likelihood ratio is nonnegative where (1 - ratio) Q >= (1 - ratio) n T, with
    Q = sum (z_i - c)², c = shift / (1 - ratio), T = ratio (c² - log(ratio) / (1 - ratio)). Q is
    noncentral chi-square under N(0, 1), and ratio times one under the other.
    """
    same = np.abs(ratio - 1) < _SAME_VARIANCE
    nearly = 1 - np.where(same, 2.0, ratio)
    centre = shift / nearly
    bar = ratio * (centre**2 - np.log(ratio) / nearly)
    first = _noncentral_chi_square(bar, centre**2, n)
    second = _noncentral_chi_square(bar / ratio, ratio * centre**2, n)
    equal = special.erf(np.sqrt(n / 8) * np.abs(shift))
    result: Float64s = np.where(same, equal, np.abs(first - second))
    return result


def _noncentral_chi_square(bar: Float64s, noncentrality: Float64s, n: Float64s) -> Float64s:
    """Return Pr[X <= n bar], X noncentral chi-square of n degrees and n noncentrality.

    Beyond 1e5 the exact series costs the root of its parameters, and Lugannani and Rice's
    saddlepoint formula is taken. With e = u - 1 for the saddlepoint u, its exponent is
    n (noncentrality e² + e - log(1 + e)) / 2: no large numbers cancel.
    """
    exact = n * (1 + noncentrality) <= _EXACT_BELOW
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(1 + 4 * noncentrality * bar)
        e = 2 * (bar - noncentrality - 1) / (2 * noncentrality + 1 + root)
        u = 1 + e
        bend = np.where(np.abs(e) < 1e-4, e**2 / 2 - e**3 / 3 + e**4 / 4, e - np.log1p(e))
        w = np.sign(e) * np.sqrt(n * (noncentrality * e**2 + bend))
        v = e * np.sqrt(n * (noncentrality * u + 0.5))
        skewness = 8 * (1 + 3 * noncentrality) / (np.sqrt(n) * (2 + 4 * noncentrality) ** 1.5)
        correction = np.where(np.abs(w) < 1e-4, skewness / 6, 1 / w - 1 / v)  # its limit at w = 0
        density = np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi)
        saddlepoint = special.ndtr(w) + density * correction
    normal = np.where(noncentrality < 1e-300, 0.0, noncentrality)  # ncx2 is off at subnormal ones
    arguments = (np.where(exact, argument, 1.0) for argument in (n * bar, n, n * normal))
    series = stats.ncx2.cdf(*arguments)
    result: Float64s = np.where(exact, series, saddlepoint)
    return result
