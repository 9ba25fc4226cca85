"""The scaled confidence of a model in the true class, which attacks and estimates read."""

import numpy as np
from numpy.typing import ArrayLike

from benchsuite.stats.validation import Float64s, as_finite


def scaled_confidence(logits: ArrayLike, labels: ArrayLike) -> Float64s:
    """Return log p_y - log sum_{j != y} p_j, the log odds of the true class.

    The softmax's normaliser cancels, so it is the true logit minus the log-sum-exp of the OTHERS,
    in float64: no probability is formed, and nothing is lost where p_y rounds to 1.

    Args:
        logits: finite, before the softmax, [..., classes], at least 2 classes.
        labels: integers in [0, classes), shape [...] or one that broadcasts to it, such as
            [examples] for logits [models, examples, classes].

    Returns:
        [...], float64, in nats; finite wherever the logits are.

    Raises:
        ValueError: NaN or infinite logits, fewer than 2 classes, labels that are not integers, lie
            outside the classes or do not broadcast.

    Source: Carlini et al. (2022), Membership Inference Attacks From First Principles, Sec. VI
        (the stable form of logit scaling).
    """
    values = as_finite("logits", logits).astype(np.float64)  # a copy: the true logit is overwritten
    classes = values.shape[-1] if values.ndim else 0
    if classes < 2:
        raise ValueError(
            f"logits has shape {list(values.shape)}, expected at least 2 classes along the last"
            " axis: for a binary model with one logit z pass [0, z]"
        )
    y = np.asarray(labels)
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"labels has dtype {y.dtype}, expected integers: pass class indices")
    if y.size and (y.min() < 0 or y.max() >= classes):
        raise ValueError(
            f"labels run from {y.min()} to {y.max()}, expected indices of the {classes} classes of"
            " logits: check the order of classes"
        )
    try:
        index = np.broadcast_to(y, values.shape[:-1])[..., None]
    except ValueError:
        raise ValueError(
            f"labels has shape {list(y.shape)} and logits {list(values.shape)}: expected"
            f" {list(values.shape[:-1])}, one label for each row of logits"
        ) from None
    true = np.take_along_axis(values, index, axis=-1)[..., 0]
    np.put_along_axis(values, index, -np.inf, axis=-1)
    largest = values.max(axis=-1)
    values -= largest[..., None]
    np.exp(values, out=values)
    result: Float64s = true - largest - np.log(values.sum(axis=-1))
    return result
