"""A table of measurements, a known share of its labels wrong."""

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.dataset import Dataset
from benchsuite.data.sources import hold_out

CLEAN, FLIPPED = "clean", "flipped"
"""Groups of examples: those with the label they came with, and with the other one."""

_HELD_OUT = 129
_SPLIT_KEY = 3


def breast_cancer(flipped: float = 0.05, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return scikit-learn's breast cancer data as (pool of 440, held out 129), some labels flipped.

    Examples are the 30 measurements of a tumour, float32 [n, 30], each with the mean 0 and the
    standard deviation 1 in the pool; class 0 is malignant, class 1 benign. The split is stratified
    and fixed, see `hold_out`. A flipped label is a singleton that is known: no other example is a
    reason to believe it.

    Args:
        flipped: the share of the pool's labels that are flipped, rounded to a number of examples,
            from 0 to 0.5; those held out keep theirs.
        seed: of which: raw draws of a Philox counter, which never change between versions of NumPy.

    Returns:
        Data sets with groups `CLEAN` and `FLIPPED`, strings.

    Raises:
        ValueError: another share.

    Source: W. Wolberg et al., Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning Repository
    (1993).
    """
    if not 0 <= flipped <= 0.5:
        raise ValueError(
            f"flipped is {flipped}, expected a share of the labels from 0 to 0.5: more would "
            "exchange the classes"
        )
    from sklearn.datasets import load_breast_cancer  # a second to import: only for who asks

    bunch = load_breast_cancer()
    rows = Dataset(bunch.data.astype(np.float32), bunch.target.astype(np.int64))
    pool, held_out = hold_out(rows, _HELD_OUT, _SPLIT_KEY)
    measured = pool.images.astype(np.float64)
    mean, deviation = measured.mean(axis=0), measured.std(axis=0)

    draws = np.random.Philox(key=seed).random_raw(len(pool))
    wrong = np.argsort(draws, kind="stable")[: round(flipped * len(pool))]
    is_wrong = np.isin(np.arange(len(pool)), wrong)
    labels = np.where(is_wrong, 1 - pool.labels, pool.labels)
    groups = np.where(is_wrong, FLIPPED, CLEAN)

    def standardised(data: Dataset) -> NDArray[np.float32]:
        values: NDArray[np.float64] = (data.images - mean) / deviation
        return values.astype(np.float32)

    clean = np.full(len(held_out), CLEAN)
    return (
        Dataset(standardised(pool), labels, groups, "breast-cancer"),
        Dataset(standardised(held_out), held_out.labels, clean, "breast-cancer"),
    )
