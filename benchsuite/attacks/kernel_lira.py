"""LiRA without the Gaussians: the same likelihood ratio, its two densities estimated by kernels.

Per example (and query) and side, the density of phi is a mean of Gaussian kernels, one around each
reference of that side, of bandwidth

    width * 0.9 * min(standard deviation, interquartile range / 1.34) * n^(-1/5),

which at ``width`` 1 is Silverman's rule of thumb. That rule is for drawing a density: a ratio of
two at a low false positive rate is won or lost in their tails, where kernels as narrow as that
follow single references, and twice the rule does better.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from benchsuite.attacks.lira import SMALLEST_DEVIATION, deviations_of
from benchsuite.attacks.sides import ENOUGH, summarise
from benchsuite.attacks.targets import split
from benchsuite.stats.validation import Float64s, as_finite, as_membership, same_shape

_VALUES_PER_BLOCK = 2**15  # 256 KB in float64, which a core's own cache holds
_IQR_OF_A_GAUSSIAN = 1.34  # in standard deviations, as Silverman rounds it


def kernel_lira(
    confidence: ArrayLike, membership: ArrayLike, targets: ArrayLike, *, width: float = 1.0
) -> Float64s:
    """Score by the ratio of the IN and OUT densities of each example, both estimated by kernels.

    References, few of them, and queries are treated as `lira` treats them for ``paper/online``: ALL
    rows that are not targets are references; below 4 on a side the spread is the pooled standard
    deviation of that side; with none on a side the score is 0, no evidence; the log densities of
    several queries are summed. Standard deviations divide by n, as there. Where the interquartile
    range is 0 the standard deviation stands alone, and no bandwidth is taken below 1e-6.

    Args:
        confidence: phi [models, examples] or [models, examples, queries], in nats; float32 is
            widened by the column.
        membership: bool [models, examples].
        targets: rows to attack, as distinct integers, or as a bool mask [models].
        width: bandwidth in units of Silverman's, above 0.

    Returns:
        Scores, larger for likelier members, in nats, float64 [targets, examples]; in the order of
        ``targets`` (of the models for a mask). Finite however far from all references a target is:
        the nearest one is factored out of each sum of kernels.

    Raises:
        ValueError: shapes differ, NaN or infinite confidence, targets that are repeated, out of
            range or none, no references left, or a width that is not above 0.

    Source: Carlini et al. (2022), "Membership Inference Attacks From First Principles", Sec. V,
        with Silverman (1986), "Density Estimation", eq. 3.31 in place of the Gaussian fit.
    """
    if not 0 < width < math.inf:
        raise ValueError(f"width is {width}, expected a finite number above 0, such as 1 or 2")
    values = as_finite("confidence", confidence)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"confidence has shape {list(values.shape)}, expected [models, examples] or"
            " [models, examples, queries]: reshape it"
        )
    cube = values[:, :, None] if values.ndim == 2 else values
    inside = as_membership(membership)
    same_shape(confidence=cube[:, :, 0], membership=inside)
    rows, references = split(targets, models=len(inside))

    sides = [summarise(cube, inside, references, side) for side in (True, False)]
    deviations = deviations_of(sides, "example")
    known = np.all([side.count > 0 for side in sides], axis=0)
    scores = np.zeros((len(rows), inside.shape[1]))
    for example in np.flatnonzero(known):
        said_in = inside[references, example]
        for query in range(cube.shape[2]):
            phi = cube[:, example, query].astype(np.float64)
            theirs, ours = phi[references], phi[rows]
            densities = [
                _log_density(ours, side, _bandwidth(side, float(deviation[example, query]), width))
                for side, deviation in zip(
                    (theirs[said_in], theirs[~said_in]), deviations, strict=True
                )
            ]
            scores[:, example] += densities[0] - densities[1]
    return scores


def _bandwidth(centres: Float64s, deviation: float, width: float) -> float:
    """Bandwidth for one side's references [n], whose standard deviation is ``deviation``."""
    spread = deviation
    if len(centres) >= ENOUGH:
        lower, upper = np.quantile(centres, (0.25, 0.75))
        robust = float(upper - lower) / _IQR_OF_A_GAUSSIAN
        spread = min(deviation, robust) if robust > 0 else deviation
    return max(width * 0.9 * spread * float(len(centres) ** -0.2), SMALLEST_DEVIATION)


def _log_density(phi: Float64s, centres: Float64s, bandwidth: float) -> Float64s:
    """Log of the mean of Gaussians [n] of one bandwidth at phi [targets], without sqrt(2 pi).

    That constant is the same for IN and OUT, and cancels.
    """
    density = np.empty(len(phi))
    step = max(1, _VALUES_PER_BLOCK // len(centres))
    for first in range(0, len(phi), step):
        block = slice(first, first + step)
        exponent = np.subtract.outer(phi[block], centres)
        exponent /= bandwidth
        np.square(exponent, out=exponent)
        nearest = exponent.min(axis=1)
        exponent -= nearest[:, None]
        exponent *= -0.5
        np.exp(exponent, out=exponent)
        density[block] = np.log(exponent.sum(axis=1)) - 0.5 * nearest
    return density - math.log(len(centres) * bandwidth)
