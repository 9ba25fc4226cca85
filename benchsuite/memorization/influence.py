"""Cross influence: how much training on one example helps to get a test example right."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.memorization.label import agresti_caffo_variance, as_correct
from benchsuite.stats.validation import as_membership, both_sides

Float32s = NDArray[np.float32]

_PAIRS_PER_BLOCK = 2**22  # 16 MB for each float32 array of a block


class CrossInfluence(NamedTuple):
    """Influence of each training on each test example and its standard error, float32 [ex., test].

    Each array takes 4 bytes a pair: 2.4 GB for 60,000 training and 10,000 test examples.
    """

    estimate: Float32s
    stderr: Float32s


def cross_influence(correct_on_test: ArrayLike, membership: ArrayLike) -> CrossInfluence:
    """Estimate influence: accuracy on a test example with the training example IN minus OUT.

    One matrix product counts, for all pairs, the IN models that are right. Counts are whole
    numbers, which float32 holds exactly up to 16 million models; so only the last division rounds.
    The work runs in blocks of training examples: beside the result it needs the 0/1 matrix of the
    test examples in float32 (80 MB for 2,000 models x 10,000) and about 100 MB.

    Args:
        correct_on_test: whether each model predicts each test example's label, bool (or 0 and 1)
            [models, test].
        membership: whether each training example was IN, bool [models, examples].

    Returns:
        `CrossInfluence`: estimate in [-1, 1] and stderr above 0 (as `label_memorization`'s),
        float32 [examples, test].

    Raises:
        ValueError: another number of models, another dtype, an example never IN or never OUT.

    Source: Feldman & Zhang (2020), the influence infl(A, S, i, j) and its subsampled estimate.
    """
    right = as_correct("correct_on_test", correct_on_test)
    inside = as_membership(membership)
    if len(right) != len(inside):
        raise ValueError(
            f"correct_on_test has {len(right)} models and membership has {len(inside)}: expected"
            " the same models in the same order, one row each"
        )
    both_sides(inside)
    models, examples = inside.shape
    tests = right.shape[1]
    hits = right.astype(np.float32)
    hits_all = hits.sum(axis=0, dtype=np.float32)
    n_in = np.count_nonzero(inside, axis=0).astype(np.float32)[:, None]
    n_out = np.float32(models) - n_in
    estimate = np.empty((examples, tests), dtype=np.float32)
    stderr = np.empty((examples, tests), dtype=np.float32)
    step = max(1, _PAIRS_PER_BLOCK // max(tests, models))
    for first in range(0, examples, step):
        block = slice(first, first + step)
        hits_in = inside[:, block].astype(np.float32).T @ hits
        hits_out = hits_all - hits_in
        estimate[block] = hits_in / n_in[block] - hits_out / n_out[block]
        stderr[block] = np.sqrt(
            agresti_caffo_variance(hits_in, n_in[block])
            + agresti_caffo_variance(hits_out, n_out[block])
        )
    return CrossInfluence(estimate, stderr)
