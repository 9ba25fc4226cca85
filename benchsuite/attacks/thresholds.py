"""The value that best separates members from non-members, where members have the lower values."""

import numpy as np

from benchsuite.stats.validation import Bools, Float64s, Floats


def best_cuts(values: Floats, inside: Bools) -> Float64s:
    """Return, for each row, the threshold with the largest TPR - FPR of "member where below".

    Equivalently, the largest balanced accuracy (TPR + TNR) / 2. Thresholds lie midway between
    neighbouring distinct values; of those that are equally good, the one in the widest gap wins,
    and of equal gaps the lowest. A row whose best threshold is no better than none at all keeps
    it, as a measure of how large its values are; a row of equal values has that value.

    Args:
        values: such as losses or entropies, finite, [rows, n].
        inside: True for members, [rows, n]; at least one True and one False in each row.

    Returns:
        Thresholds, float64 [rows]. They do not depend on the order within a row.
    """
    n = values.shape[1]
    order = np.argsort(values, axis=1)
    ascending = np.take_along_axis(values, order, axis=1)
    inside = np.take_along_axis(inside, order, axis=1)
    n_in = np.count_nonzero(inside, axis=1)[:, None]
    below = np.cumsum(inside, axis=1)[:, :-1]
    # (TPR - FPR) n_in n_out in whole numbers: ties are exact.
    gain = below * n - np.arange(1, n) * n_in
    gap = np.diff(ascending, axis=1)
    gain[gap == 0] = np.iinfo(gain.dtype).min
    gap[gain != gain.max(axis=1, keepdims=True)] = -1
    cut = gap.argmax(axis=1)[:, None]
    low, high = (np.take_along_axis(ascending, cut + i, axis=1)[:, 0] for i in (0, 1))
    return low.astype(np.float64) / 2 + high.astype(np.float64) / 2
