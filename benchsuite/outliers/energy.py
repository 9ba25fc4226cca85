"""The free energy of the logits, which keeps their size, as the softmax does not."""

import math

import numpy as np
from numpy.typing import ArrayLike

from benchsuite.outliers.softmax import as_logits
from benchsuite.stats.validation import Float64s


def energy_score(logits: ArrayLike, temperature: float = 1.0) -> Float64s:
    """Return -T log sum_j exp(z_j / T), larger where the input is more out of distribution.

    It moves with the logits when all of them do, unlike the softmax, and does not saturate. It is
    bounded only where the logits are.

    Args:
        logits: z, finite, before the softmax, [..., classes], at least 2 classes.
        temperature: T, above 0; the published default is 1.

    Returns:
        [...], float64, in nats; within T log(classes) below -max_j z_j.

    Raises:
        ValueError: NaN or infinite logits, fewer than 2 classes, a temperature that is not above 0
            and finite.

    Source: W. Liu et al., Energy-based Out-of-Distribution Detection (2020), Eq. 4.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(
            f"temperature is {temperature}, expected a finite number above 0: pass 1, as published"
        )
    values = as_logits(logits)
    largest = values.max(axis=-1)
    values -= largest[..., None]
    values /= temperature
    np.exp(values, out=values)
    result: Float64s = -largest - temperature * np.log(values.sum(axis=-1))
    return result
