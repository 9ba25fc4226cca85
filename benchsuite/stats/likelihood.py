"""The log-likelihood ratio, its hard and soft tests, and how many observations they need.

Signs and names as in Sec. 2.3 of Exploring Connections Between Memorization And Membership
Inference (MIA below): a large ratio speaks for P0, and the advantage of a test is
Pr[it outputs 0 | P0] - Pr[it outputs 0 | P1] (Eq. 3).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from benchsuite.stats.divergence import gaussian_hellinger_squared, hellinger_squared
from benchsuite.stats.optimal_test import (
    binomial_advantage,
    fewest_observations,
    gaussian_advantage,
)
from benchsuite.stats.validation import Float64s, as_distributions, as_finite


def log_likelihood_ratio(observations: ArrayLike, p0: ArrayLike, p1: ArrayLike) -> Float64s:
    """Return log(P0^n / P1^n) of n independent observations of a discrete outcome.

    Args:
        observations: whole numbers in [0, outcomes), [..., n].
        p0: probabilities, [..., outcomes]; leading axes broadcast.
        p1: the same outcomes.

    Returns:
        [...]; +inf where an outcome impossible under P1 occurs, -inf for one impossible under P0.

    Raises:
        ValueError: observations that no outcome has, an outcome impossible under both, outcomes
            impossible under each in one sequence, or not probabilities.

    Source: MIA, Eq. 4.
    """
    first, second = as_distributions(p0=p0, p1=p1)
    outcomes = first.shape[-1]
    seen = np.asarray(observations)
    if not np.issubdtype(seen.dtype, np.integer) or seen.ndim == 0:
        raise ValueError(
            f"observations has dtype {seen.dtype} and shape {list(seen.shape)}, expected whole"
            " numbers [..., n]: pass indices of outcomes"
        )
    if seen.size and (seen.min() < 0 or seen.max() >= outcomes):
        raise ValueError(
            f"observations run from {seen.min()} to {seen.max()}, expected indices of the"
            f" {outcomes} outcomes of p0"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(first) - np.log(second)  # NaN where impossible under both
        leading = np.broadcast_shapes(ratios.shape[:-1], seen.shape[:-1])
        ratios = np.broadcast_to(ratios, (*leading, outcomes))
        seen = np.broadcast_to(seen, (*leading, seen.shape[-1]))
        total: Float64s = np.take_along_axis(ratios, seen, axis=-1).sum(axis=-1)
    if np.isnan(total).any():
        raise ValueError(
            "observations hold an outcome that p0 and p1 both exclude, or one that p0 excludes with"
            " one that p1 excludes: no sequence of either distribution looks so; check p0 and p1"
        )
    return total


def gaussian_log_likelihood_ratio(
    x: ArrayLike, mean0: ArrayLike, variance0: ArrayLike, mean1: ArrayLike, variance1: ArrayLike
) -> Float64s:
    """Return log(P0 / P1) of single observations under univariate Gaussians, elementwise.

    Args:
        x: observations, any shape; all arguments broadcast.
        mean0: of P0, in the units of x.
        variance0: of P0, positive.
        mean1: of P1.
        variance1: of P1, positive.

    Returns:
        The broadcast shape, in nats. Sum it over independent observations.

    Raises:
        ValueError: NaN or infinity, or a variance that is not positive.

    Source: MIA, Eq. 4 with Sec. 3.1, Scenario 2; Carlini et al. (2022), Membership Inference
        Attacks From First Principles, Alg. 1 (there with IN above OUT).
    """
    observed = as_finite("x", x)
    m0, v0, m1, v1 = _univariate(mean0, variance0, mean1, variance1)
    # Grouped so that swapping P0 and P1 negates the result exactly.
    squares = (observed - m1) ** 2 / v1 - (observed - m0) ** 2 / v0
    result: Float64s = (squares + (np.log(v1) - np.log(v0))) / 2
    return result


def soft_llr_probability(llr: ArrayLike) -> Float64s:
    """Return e / (1 + e), e = exp(llr / 2): how often the soft test outputs P0 on this evidence.

    Args:
        llr: log-likelihood ratios, any shape, infinities allowed.

    Returns:
        The same shape, in [0, 1].

    Raises:
        ValueError: NaN.

    Source: MIA, Sec. 2.3 (sLLR), after Canonne et al. (2019).
    """
    ratios = np.asarray(llr, dtype=np.float64)
    if np.isnan(ratios).any():
        raise ValueError("llr holds NaN, expected log-likelihood ratios: check the scores' source")
    result: Float64s = special.expit(ratios / 2)
    return result


def soft_llr_advantage(p0: ArrayLike, p1: ArrayLike) -> Float64s:
    """Return Pr_P0[soft test outputs 0] - Pr_P1[it outputs 0] for one observation.

    It is summed over outcomes as the test acts. That it equals H²(P0, P1) is Lemma 1, which the
    tests check.

    Args:
        p0: probabilities, [..., outcomes]; leading axes broadcast.
        p1: the same outcomes.

    Returns:
        [...], in [0, 1].

    Raises:
        ValueError: not probabilities, or a different number of outcomes.

    Source: MIA, Eq. 3 and Lemma 1.
    """
    first, second = as_distributions(p0=p0, p1=p1)
    impossible = (first == 0) & (second == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        llr = np.where(impossible, 0.0, np.log(first) - np.log(second))
    outputs_0 = soft_llr_probability(llr)
    result: Float64s = (first * outputs_0).sum(axis=-1) - (second * outputs_0).sum(axis=-1)
    return result


def hard_llr_advantage(p0: ArrayLike, p1: ArrayLike, n: ArrayLike = 1) -> Float64s:
    """Return the advantage of the optimal test on ``n`` observations: TV(P0^n, P1^n), exactly.

    Args:
        p0: probabilities of two outcomes, [..., 2]; leading axes broadcast.
        p1: the same outcomes.
        n: whole numbers >= 1, broadcast against the leading axes.

    Returns:
        [...], in [0, 1], not falling with n.

    Raises:
        ValueError: not probabilities, another number of outcomes than two, or n below 1.

    Source: MIA, Eq. 3; Neyman & Pearson (1933).
    """
    first, second = _two_outcomes(p0, p1)
    observations = as_finite("n", n)
    if observations.min() < 1 or (observations != np.floor(observations)).any():
        raise ValueError(f"n holds {observations.min()}, expected whole numbers, at least 1")
    return binomial_advantage(first, second, observations.astype(np.float64, copy=False))


def sample_complexity(p0: ArrayLike, p1: ArrayLike, advantage: float) -> Float64s:
    """Return the fewest observations with which the optimal test reaches ``advantage``, exactly.

    The advantage of the likelihood-ratio test, a difference of two binomial tails at the count
    where the likelihoods cross, never falls with n, so bisection finds the first n.

    Args:
        p0: probabilities of two outcomes, [..., 2]; leading axes broadcast.
        p1: the same outcomes.
        advantage: in (0, 1).

    Returns:
        [...], whole numbers as float64; infinite where p0 equals p1, or so nearly that more than
        1e15 observations are needed.

    Raises:
        ValueError: not probabilities, another number of outcomes than two (merge outcomes first:
            that can only raise the count), or an advantage outside (0, 1).

    Source: MIA, Sec. 2.3 (sample complexity) and Lemma 2.
    """
    first, second = _two_outcomes(p0, p1)
    _check_advantage(advantage)
    distance = hellinger_squared(first, second)
    return fewest_observations(lambda n: binomial_advantage(first, second, n), distance, advantage)


def gaussian_sample_complexity(
    mean0: ArrayLike,
    variance0: ArrayLike,
    mean1: ArrayLike,
    variance1: ArrayLike,
    advantage: float,
) -> Float64s:
    """Return the fewest observations of univariate Gaussians that reach ``advantage``.

    With equal variances the summed ratio is normal; otherwise a shifted, scaled noncentral
    chi-square with n degrees of freedom under either hypothesis. Its distribution is exact up to
    n + noncentrality = 1e5 and a saddlepoint approximation beyond, whose error is below 1e-9 there.

    Args:
        mean0: of P0; all arguments broadcast.
        variance0: of P0, positive.
        mean1: of P1.
        variance1: of P1, positive.
        advantage: in (0, 1).

    Returns:
        The broadcast shape, whole numbers as float64; infinite where P0 equals P1, or so nearly
        that more than 1e15 observations are needed.

    Raises:
        ValueError: NaN or infinity, a variance that is not positive, advantage outside (0, 1).

    Source: MIA, Sec. 2.3 (sample complexity) with Sec. 3.1, Scenario 2.
    """
    m0, v0, m1, v1 = np.broadcast_arrays(*_univariate(mean0, variance0, mean1, variance1))
    _check_advantage(advantage)
    shift, ratio = (m1 - m0) / np.sqrt(v0), v1 / v0
    distance = gaussian_hellinger_squared(
        m0[..., None], v0[..., None, None], m1[..., None], v1[..., None, None]
    )
    return fewest_observations(lambda n: gaussian_advantage(shift, ratio, n), distance, advantage)


def sample_complexity_lower_bound(hellinger_squared: ArrayLike, advantage: float) -> Float64s:
    """Return ln(1 - a²) / (2 ln(1 - H²)), which no sample complexity is below.

    From TV² <= 1 - (1 - H²)² and (1 - H²(P0^n, P1^n)) = (1 - H²(P0, P1))^n: exact for every n, with
    no constant left open.

    Args:
        hellinger_squared: H² of one observation, in [0, 1], any shape.
        advantage: a, in (0, 1).

    Returns:
        The same shape, not rounded; infinite where H² is 0.

    Raises:
        ValueError: H² outside [0, 1] or NaN, advantage outside (0, 1).

    Source: MIA, Lemma 2 (there up to constants); Bar-Yossef (2002).
    """
    h2 = as_finite("hellinger_squared", hellinger_squared).astype(np.float64, copy=False)
    if h2.min() < 0 or h2.max() > 1:
        raise ValueError(
            f"hellinger_squared runs from {h2.min():g} to {h2.max():g}, expected values in [0, 1]:"
            " pass the square of the distance, not an estimate that can be negative"
        )
    _check_advantage(advantage)
    with np.errstate(divide="ignore", over="ignore"):
        result: Float64s = np.log1p(-(advantage**2)) / (2 * np.log1p(-h2))
    return result


def _two_outcomes(p0: ArrayLike, p1: ArrayLike) -> tuple[Float64s, Float64s]:
    first, second = as_distributions(p0=p0, p1=p1)
    if first.shape[-1] != 2:
        raise ValueError(
            f"p0 and p1 have {first.shape[-1]} outcomes, expected 2: only the test of two outcomes"
            " is computed exactly; merge outcomes into an event"
        )
    return first, second


def _univariate(
    mean0: ArrayLike, variance0: ArrayLike, mean1: ArrayLike, variance1: ArrayLike
) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    m0, m1 = as_finite("mean0", mean0), as_finite("mean1", mean1)
    variances = []
    for name, variance in (("variance0", variance0), ("variance1", variance1)):
        v = as_finite(name, variance).astype(np.float64, copy=False)
        if v.min() <= 0:
            raise ValueError(
                f"{name} holds {v.min():g}, expected positive variances: estimate from more models"
                " or add a stated floor"
            )
        variances.append(v)
    return (
        m0.astype(np.float64, copy=False),
        variances[0],
        m1.astype(np.float64, copy=False),
        variances[1],
    )


def _check_advantage(advantage: float) -> None:
    if not 0 < advantage < 1:
        raise ValueError(
            f"advantage is {advantage}, expected a number between 0 and 1: only distributions that"
            " never overlap reach 1"
        )
