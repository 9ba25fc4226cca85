"""The confidences of the IN (or the OUT) models of each example, summed up as a Gaussian needs."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchsuite.stats.validation import Bools, Float64s, Floats

_VALUES_PER_BLOCK = 2**22  # 32 MB in float64
ENOUGH = 4
"""References on a side from which an example's own standard deviation is used."""


@dataclass(frozen=True, eq=False)
class Side:
    """Moments of one side, float64 [examples, queries]; 0 where the example has no model there.

    ``count`` [examples] is the number of models behind them, ``location`` the mean or the median as
    asked for, and ``variance`` is around the mean and divides by the count (ddof 0).
    """

    count: NDArray[np.int64]
    mean: Float64s
    location: Float64s
    variance: Float64s


def summarise(
    confidence: Floats,
    membership: Bools,
    rows: NDArray[np.intp],
    inside: bool,
    *,
    location: Literal["mean", "median"] = "mean",
    cut: bool = False,
) -> Side:
    """Sum up the confidences of the models among ``rows`` for which each example is IN (or OUT).

    Examples with equally many models on the side form a rectangle, whose rows are reduced at once;
    blocks of examples keep the working memory near 100 MB, beside one bool copy of ``membership``.

    Args:
        confidence: finite, [models, examples, queries].
        membership: [models, examples].
        rows: the models to use, in the order that ``cut`` counts.
        inside: True for the IN side.
        location: what to report as the location.
        cut: keep only the first n models of the side, n being the smallest count of any example
            that has at least 4 (examples with fewer keep theirs).
    """
    examples, queries = confidence.shape[1:]
    count = np.count_nonzero(membership[rows], axis=0)
    if not inside:
        count = len(rows) - count
    plenty = count[count >= ENOUGH]
    limit = int(plenty.min()) if cut and plenty.size else len(rows)
    shape = (examples, queries)
    mean, variance = np.zeros(shape), np.zeros(shape)
    middle = mean if location == "mean" else np.zeros(shape)
    step = max(1, _VALUES_PER_BLOCK // (len(rows) * queries))
    for first in range(0, examples, step):
        block = slice(first, first + step)
        values = np.ascontiguousarray(confidence[rows, block].transpose(1, 2, 0))
        chosen = np.ascontiguousarray((membership[rows, block] == inside).T)[:, None, :]
        for n in np.unique(count[block]):
            if n == 0:
                continue
            group = np.flatnonzero(count[block] == n)
            mask = np.broadcast_to(chosen[group], (len(group), queries, len(rows)))
            side = values[group][mask].reshape(len(group), queries, n)
            # Deviations from the first value: equal values give a variance of exactly zero.
            origin = side[..., 0].astype(np.float64)
            deviation = side[..., :limit] - origin[..., None]
            where = first + group
            mean[where] = origin + deviation.mean(axis=-1)
            variance[where] = deviation.var(axis=-1)
            if location == "median":
                middle[where] = origin + np.median(deviation, axis=-1)
    return Side(np.minimum(count, limit), mean, middle, variance)
