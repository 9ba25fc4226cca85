"""The maximum softmax probability: a model that is sure of no class has not seen the like."""

import numpy as np
from numpy.typing import ArrayLike

from benchsuite.stats.validation import Float64s, as_finite


def msp_score(logits: ArrayLike) -> Float64s:
    """Return -max_j p_j of the softmax p, larger where the input is more out of distribution.

    It is the published score, which saturates: all logits whose largest leads by 37 nats or more
    tie at -1 in float64 (from 17 on in float32, which is not used here). Where the order among so
    confident answers matters, -scaled_confidence(logits, logits.argmax(-1)) has the same order, and
    no such ties: it is the log of the other probabilities' sum over p_max.

    Args:
        logits: finite, before the softmax, [..., classes], at least 2 classes.

    Returns:
        [...], float64, in [-1, -1 / classes].

    Raises:
        ValueError: NaN or infinite logits, fewer than 2 classes.

    Source: D. Hendrycks and K. Gimpel, A Baseline for Detecting Misclassified and
        Out-of-Distribution Examples in Neural Networks (2017), Sec. 2; the sign as pytorch-ood's.
    """
    values = as_logits(logits)
    values -= values.max(axis=-1, keepdims=True)
    np.exp(values, out=values)
    result: Float64s = -1 / values.sum(axis=-1)
    return result


def as_logits(logits: ArrayLike) -> Float64s:
    """Return a float64 copy of ``logits`` [..., classes], finite and of at least 2 classes.

    Raises:
        ValueError: NaN or infinite logits, fewer than 2 classes.
    """
    values: Float64s = as_finite("logits", logits).astype(np.float64)
    if values.ndim == 0 or values.shape[-1] < 2:
        raise ValueError(
            f"logits has shape {list(values.shape)}, expected at least 2 classes along the last"
            " axis: for a binary model with one logit z pass [0, z]"
        )
    return values
