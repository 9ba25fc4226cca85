"""TRAK's self-influence: how much a model's own output on an example hangs on training on it."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from benchsuite.stats.validation import Float64s, as_finite, same_shape


def trak_self_influence(leverage: ArrayLike, confidence: ArrayLike) -> Float64s:
    """Return TRAK's score of each example on itself: mean leverage times mean of 1 - p_y.

    It is the diagonal of TRAK's scores of all examples on all: the weights Q, an example's own of
    which is 1 - p_y, and the products of projected gradients, an example's with itself of which is
    its leverage, are averaged over models each on its own, and then multiplied. The
    soft-thresholding that ends Algorithm 1 is left out, as in its authors' package: it sets low
    scores to 0, and changes no order beside.

    Args:
        leverage: in [0, 1], such as the bank's column "pool.leverage", [models, examples].
        confidence: scaled, log(p_y / (1 - p_y)), such as "pool.confidence", of the same models.

    Returns:
        float64 [examples], in [0, 1].

    Raises:
        ValueError: values that are not finite, shapes other than [models, examples] or unequal,
            leverages outside [0, 1].

    Source: Park et al. (2023), TRAK: Attributing Model Behavior at Scale, Algorithm 1, and their
        package traker 0.3.2, whose default score computer also rescales each model's terms.
    """
    h = as_finite("leverage", leverage, ndim=2)
    phi = as_finite("confidence", confidence, ndim=2)
    same_shape(leverage=h, confidence=phi)
    if h.min() < 0 or h.max() > 1:
        strange = h.min() if h.min() < 0 else h.max()
        raise ValueError(
            f"leverage holds {strange}, expected values between 0 and 1: pass those of "
            "leverage_scores or the column leverage"
        )
    mean_h = h.mean(axis=0, dtype=np.float64)
    mean_error = expit(-phi.astype(np.float64)).mean(axis=0)
    product: Float64s = mean_h * mean_error
    return product
