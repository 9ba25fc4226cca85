"""What the models on one side say of each example: means, variances, success rates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.memorization.label import agresti_caffo_variance
from benchsuite.stats.divergence import gaussian_hellinger_squared

SMALLEST_VARIANCE = 1e-12
"""Stands for the variance of a side whose models all say the same, as in LiRA."""
HELLINGER_MARGIN, HELLINGER_ERRORS = 0.01, 2.33
"""What H² may have above memorization: so much, and so many standard errors of memorization."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Mean and variance (ddof 0) of two sides, each [2, examples]."""

    mean: Floats
    variance: Floats

    @property
    def hellinger_squared(self) -> Floats:
        """Squared Hellinger distance of the two sides, [examples]."""
        mean, variance = self.mean[:, :, None], self.variance[:, :, None, None]
        squared: Floats = gaussian_hellinger_squared(mean[0], variance[0], mean[1], variance[1])
        return squared


def gaussians(
    confidence: NDArray[np.floating], first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> Gaussians:
    """Gaussians of the confidences of each example's models on two sides."""
    moments = []
    for side in (first, second):
        mean = side_mean(confidence, side)
        moments.append((mean, side_mean((confidence - mean) ** 2, side)))
    means, variances = zip(*moments, strict=True)
    return Gaussians(np.array(means), np.maximum(variances, SMALLEST_VARIANCE))


def side_mean(values: NDArray[Any], side: NDArray[np.bool_]) -> Floats:
    """Mean over the models on the side, [examples] from [models, examples]."""
    mean: Floats = np.where(side, values, 0).sum(0, dtype=np.float64) / side.sum(0)
    return mean


def success_rate(correct: NDArray[np.bool_], side: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Share of the side's models that are right, and its variance as in label memorization."""
    right, count = (correct & side).sum(0), side.sum(0)
    return right / count, agresti_caffo_variance(right, count)
