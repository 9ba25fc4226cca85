"""Label memorization by subsampling: how much training on an example helps to get it right."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.stats.validation import Bools, Float64s, as_membership, both_sides, same_shape


class LabelMemorization(NamedTuple):
    """Label memorization of each example and its standard error, both float64 [examples]."""

    estimate: Float64s
    stderr: Float64s


def label_memorization(correct: ArrayLike, membership: ArrayLike) -> LabelMemorization:
    """Estimate label memorization: accuracy on an example when IN minus accuracy when OUT.

    The standard error is sqrt(q_in (1 - q_in) / (n_in + 2) + q_out (1 - q_out) / (n_out + 2)) with
    q = (correct + 1) / (n + 2): one success and one failure are added on each side, as Agresti and
    Caffo (2000) do for a difference of two proportions. The plain error is zero for an example that
    4 IN models get right and 4 OUT models get wrong, which would claim certainty from 8 models. The
    estimate itself is left plain, so that it equals the paper's. With 64 models on each side,
    intervals of 1.96 errors cover 93 % or more whatever the two accuracies are, where those of the
    plain error fall to 80 %; with 16 they cover 89 % or more, where those fall to 33 %.

    Args:
        correct: whether each model predicts each example's label, bool (or 0 and 1)
            [models, examples].
        membership: whether each example was IN the model's training set, bool [models, examples].

    Returns:
        `LabelMemorization`: estimate in [-1, 1] and stderr above 0, float64 [examples].

    Raises:
        ValueError: shapes differ, another dtype, an example never IN or never OUT.

    Source: Feldman & Zhang (2020), the subsampled estimate of mem(A, S, i);
        "Exploring Connections Between Memorization And Membership Inference", Eq. 1 and
        Algorithm 1 line 20.
    """
    right = as_correct("correct", correct)
    inside = as_membership(membership)
    same_shape(correct=right, membership=inside)
    both_sides(inside)
    models = inside.shape[0]
    n_in = np.count_nonzero(inside, axis=0)
    n_out = models - n_in
    right_in = np.count_nonzero(right & inside, axis=0)
    right_out = np.count_nonzero(right, axis=0) - right_in
    return LabelMemorization(
        estimate=right_in / n_in - right_out / n_out,
        stderr=np.sqrt(
            agresti_caffo_variance(right_in, n_in) + agresti_caffo_variance(right_out, n_out)
        ),
    )


def as_correct(name: str, correct: ArrayLike) -> Bools:
    """Return ``correct`` as bool [models, examples], from bools or integers that are all 0 or 1.

    Raises:
        ValueError: any other value, dtype or number of axes; the message calls it ``name``.
    """
    values = np.asarray(correct)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"{name} has shape {list(values.shape)}, expected two axes with at least one model and"
            " one example: pass a matrix with one row per model"
        )
    if values.dtype == np.bool_:
        return values
    if values.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has dtype {values.dtype}, expected bool, True where the model predicts the"
            " label: pass logits.argmax(-1) == labels, not a probability"
        )
    if values.min() < 0 or values.max() > 1:
        strange = values.min() if values.min() < 0 else values.max()
        raise ValueError(
            f"{name} holds the value {strange}, expected only 0 and 1: pass whether the predicted"
            " class equals the label, not the class"
        )
    return values.astype(np.bool_)


def agresti_caffo_variance(successes: NDArray[Any], trials: NDArray[Any]) -> NDArray[Any]:
    """Variance of a proportion, one success and one failure added: never 0.

    Args:
        successes: counts [...], of any dtype; float32 stays float32.
        trials: counts, broadcast against ``successes``.

    Source: Agresti & Caffo (2000), The American Statistician 54, 280-288.
    """
    share = (successes + 1) / (trials + 2)
    return np.asarray(share * (1 - share) / (trials + 2))
