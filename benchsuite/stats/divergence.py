"""How far apart two distributions are: discrete ones, and Gaussians in closed form."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from benchsuite.stats.validation import Float64s, as_distributions, as_finite


def total_variation(p: ArrayLike, q: ArrayLike) -> Float64s:
    """Return the largest difference in probability that ``p`` and ``q`` give to one event.

    Args:
        p: probabilities, [..., outcomes].
        q: the same outcomes; leading axes broadcast.

    Returns:
        [...], in [0, 1].

    Raises:
        ValueError: not probabilities, or a different number of outcomes.

    Source: Exploring Connections Between Memorization And Membership Inference, Sec. 2.3.
    """
    first, second = as_distributions(p=p, q=q)
    result: Float64s = np.minimum(np.abs(first - second).sum(axis=-1) / 2, 1)
    return result


def hellinger_squared(p: ArrayLike, q: ArrayLike) -> Float64s:
    """Return H² = 1 - sum sqrt(p q), as half the squared distance of the roots.

    That form keeps its digits where the two nearly coincide. H² <= TV <= sqrt(H² (2 - H²)).

    Args:
        p: probabilities, [..., outcomes].
        q: the same outcomes; leading axes broadcast.

    Returns:
        [...], in [0, 1].

    Raises:
        ValueError: not probabilities, or a different number of outcomes.

    Source: Exploring Connections Between Memorization And Membership Inference, Sec. 2.3.
    """
    first, second = as_distributions(p=p, q=q)
    squares = (np.sqrt(first) - np.sqrt(second)) ** 2
    result: Float64s = np.minimum(squares.sum(axis=-1) / 2, 1)
    return result


def kl_divergence(p: ArrayLike, q: ArrayLike) -> Float64s:
    """Return sum p log(p / q) in nats, infinite where ``p`` allows an outcome ``q`` does not.

    Args:
        p: probabilities, [..., outcomes].
        q: the same outcomes; leading axes broadcast.

    Returns:
        [...], in [0, inf].

    Raises:
        ValueError: not probabilities, or a different number of outcomes.

    Source: Kullback & Leibler (1951), Annals of Mathematical Statistics 22, 79-86.
    """
    first, second = as_distributions(p=p, q=q)
    result: Float64s = np.maximum(special.rel_entr(first, second).sum(axis=-1), 0)
    return result


def gaussian_hellinger_squared(
    mean0: ArrayLike, cov0: ArrayLike, mean1: ArrayLike, cov1: ArrayLike
) -> Float64s:
    """Return H² of N(mean0, cov0) and N(mean1, cov1).

    Args:
        mean0: [..., d].
        cov0: [..., d, d], symmetric and positive definite.
        mean1: [..., d]; leading axes broadcast.
        cov1: [..., d, d].

    Returns:
        [...], in [0, 1].

    Raises:
        ValueError: a covariance that is not symmetric and positive definite, or shapes that do not
            fit (for one dimension pass means [..., 1] and variances [..., 1, 1]).

    Source: Exploring Connections Between Memorization And Membership Inference, Sec. 3.1 (the
        equation of Scenario 2).
    """
    g = _gaussians(mean0, cov0, mean1, cov1)
    if g.mean0.shape[-1] == 1:
        v0, v1 = g.cov0[..., 0, 0], g.cov1[..., 0, 0]
        s0, s1 = np.sqrt(v0), np.sqrt(v1)
        shift = (g.mean1 - g.mean0)[..., 0] ** 2 / (4 * (v0 + v1))
        shape = np.log1p((s0 - s1) ** 2 / (2 * s0 * s1)) / 2
    else:
        middle = _cholesky("cov0 + cov1", (g.cov0 + g.cov1) / 2)
        shift = _mahalanobis_squared(middle, g.mean1 - g.mean0) / 8
        logs0, logs1 = _log_determinant(g.root0), _log_determinant(g.root1)
        shape = np.maximum(_log_determinant(middle) - (logs0 + logs1) / 2, 0) / 2
    result: Float64s = -np.expm1(-(shift + shape))
    return result


def gaussian_kl_divergence(
    mean0: ArrayLike, cov0: ArrayLike, mean1: ArrayLike, cov1: ArrayLike
) -> Float64s:
    """Return KL(N(mean0, cov0) || N(mean1, cov1)) in nats.

    Args:
        mean0: [..., d].
        cov0: [..., d, d], symmetric and positive definite.
        mean1: [..., d]; leading axes broadcast.
        cov1: [..., d, d].

    Returns:
        [...], not negative.

    Raises:
        ValueError: as `gaussian_hellinger_squared`.

    Source: Kullback (1959), Information Theory and Statistics, Ch. 9.
    """
    g = _gaussians(mean0, cov0, mean1, cov1)
    shift = _mahalanobis_squared(g.root1, g.mean1 - g.mean0)
    if g.mean0.shape[-1] == 1:
        excess = ((g.cov0 - g.cov1) / g.cov1)[..., 0, 0]
        shape = excess - np.log1p(excess)
    else:
        relative = np.linalg.solve(g.root1, g.root0)  # trace(cov1^-1 cov0) is its squared norm
        logs = _log_determinant(g.root1) - _log_determinant(g.root0)
        dimensions = g.mean0.shape[-1]
        shape = np.maximum((relative**2).sum(axis=(-2, -1)) - dimensions + logs, 0)
    result: Float64s = (shift + shape) / 2
    return result


def gaussian_total_variation(
    mean0: ArrayLike, cov0: ArrayLike, mean1: ArrayLike, cov1: ArrayLike
) -> Float64s:
    """Return TV of two Gaussians where it has a closed form.

    With equal covariances it is 2 Phi(m / 2) - 1 for the Mahalanobis distance m of the means. In
    one dimension with unequal variances the densities cross at the two roots of a quadratic, and
    TV is the difference in probability of the interval between them.

    Args:
        mean0: [..., d].
        cov0: [..., d, d], symmetric and positive definite.
        mean1: [..., d]; leading axes broadcast.
        cov1: [..., d, d]; for d > 1 equal to cov0 throughout.

    Returns:
        [...], in [0, 1].

    Raises:
        ValueError: unequal covariances in several dimensions, and as `gaussian_hellinger_squared`.

    Source: Devroye, Mehrabian & Reddad (2018), arXiv:1810.08693, Sec. 1.
    """
    g = _gaussians(mean0, cov0, mean1, cov1)
    if g.mean0.shape[-1] == 1:
        s0 = g.root0[..., 0, 0]
        return _standard_total_variation((g.mean1 - g.mean0)[..., 0] / s0, g.root1[..., 0, 0] / s0)
    if not (g.cov0 == g.cov1).all():
        raise ValueError(
            "cov0 and cov1 differ in more than one dimension, where TV has no closed form: pass"
            " equal covariances, or bound TV by gaussian_hellinger_squared"
        )
    distance = np.sqrt(_mahalanobis_squared(g.root0, g.mean1 - g.mean0))
    result: Float64s = special.erf(distance / np.sqrt(8))
    return result


def _standard_total_variation(shift: Float64s, scale: Float64s) -> Float64s:
    """Return TV of N(0, 1) and N(shift, scale²), elementwise.

    The densities cross where (1 - scale²) z² - 2 shift z + shift² + 2 scale² log scale = 0. The
    roots are taken in the form that stays accurate as scale goes to 1 and one goes to infinity.
    """
    logs = np.log(scale)
    reach = scale * np.sqrt(shift**2 + 2 * (scale**2 - 1) * logs)
    q = shift + np.copysign(reach, shift)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = q / (1 - scale**2)
        near = (shift**2 + 2 * scale**2 * logs) / q
        first = special.ndtr(far) - special.ndtr(near)
        second = special.ndtr((far - shift) / scale) - special.ndtr((near - shift) / scale)
    result: Float64s = np.where(q == 0, 0.0, np.abs(first - second))  # 0 / 0 where they coincide
    return result


class _Gaussians(NamedTuple):
    mean0: Float64s
    cov0: Float64s
    root0: Float64s  # lower Cholesky factor
    mean1: Float64s
    cov1: Float64s
    root1: Float64s


def _gaussians(mean0: ArrayLike, cov0: ArrayLike, mean1: ArrayLike, cov1: ArrayLike) -> _Gaussians:
    arrays = [
        as_finite(name, values).astype(np.float64, copy=False)
        for name, values in (("mean0", mean0), ("cov0", cov0), ("mean1", mean1), ("cov1", cov1))
    ]
    m0, c0, m1, c1 = arrays
    d = m0.shape[-1] if m0.ndim else 0
    if d == 0 or m1.shape[-1:] != (d,) or c0.shape[-2:] != (d, d) or c1.shape[-2:] != (d, d):
        raise ValueError(
            f"mean0, cov0, mean1, cov1 have shapes {[list(a.shape) for a in arrays]}, expected"
            " [..., d], [..., d, d], [..., d], [..., d, d]: for one dimension pass means [..., 1]"
            " and variances [..., 1, 1]"
        )
    return _Gaussians(m0, c0, _cholesky("cov0", c0), m1, c1, _cholesky("cov1", c1))


def _cholesky(name: str, cov: Float64s) -> Float64s:
    asymmetry = np.abs(cov - np.swapaxes(cov, -1, -2)).max()
    if asymmetry > 1e-8 * np.abs(cov).max():
        raise ValueError(
            f"{name} differs from its transpose by up to {asymmetry:g}, expected a symmetric"
            " covariance: pass (cov + cov.T) / 2"
        )
    try:
        return np.linalg.cholesky(cov).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{name} is not positive definite, expected covariances with variance in every"
            " direction: estimate from more samples or add a small multiple of the identity"
        ) from None


def _log_determinant(root: Float64s) -> Float64s:
    result: Float64s = 2 * np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)
    return result


def _mahalanobis_squared(root: Float64s, difference: Float64s) -> Float64s:
    whitened = np.linalg.solve(root, difference[..., None])[..., 0]
    result: Float64s = (whitened**2).sum(axis=-1)
    return result
