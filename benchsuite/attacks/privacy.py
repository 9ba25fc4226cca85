"""How separable IN and OUT are on each example, and how often a fixed decision is right."""

import math

import numpy as np
from numpy.typing import ArrayLike

from benchsuite.attacks.sides import summarise
from benchsuite.stats.validation import (
    Bools,
    Float64s,
    as_finite,
    as_membership,
    both_sides,
    same_shape,
)


def privacy_score(confidence: ArrayLike, membership: ArrayLike) -> Float64s:
    """Distance of the mean confidences of IN and OUT models, over the sum of their deviations.

    The standard deviations divide by n (ddof 0): they are those of the Gaussians that LiRA fits in
    the same algorithm, and of the authors' np.std.

    Args:
        confidence: scaled confidence phi of the true label, in nats, [models, examples].
        membership: bool [models, examples].

    Returns:
        |mu_in - mu_out| / (sigma_in + sigma_out), at least 0, float64 [examples].

    Raises:
        ValueError: shapes differ, NaN or infinite confidence, an example with fewer than 2 IN or 2
            OUT models, or one whose confidence varies on neither side.

    Source: "Exploring Connections Between Memorization And Membership Inference", Algorithm 1,
        line 21.
    """
    values = as_finite("confidence", confidence, ndim=2)
    inside = as_membership(membership)
    same_shape(confidence=values, membership=inside)
    both_sides(inside, at_least=2)
    rows = np.arange(len(inside))
    cube = values[:, :, None]
    side_in = summarise(cube, inside, rows, True)
    side_out = summarise(cube, inside, rows, False)
    spread = (np.sqrt(side_in.variance) + np.sqrt(side_out.variance))[:, 0]
    if not spread.all():
        example = int((spread == 0).argmax())
        raise ValueError(
            f"confidence of example {example} is the same number in all IN models and the same in"
            " all OUT models, expected it to vary on one side at least: the privacy score divides"
            " by that spread, so pass unclipped log-odds or leave the example out"
        )
    return np.asarray(np.abs(side_in.mean - side_out.mean)[:, 0] / spread, dtype=np.float64)


def attack_success_rate(
    scores: ArrayLike, membership: ArrayLike, threshold: float = 0.0
) -> Float64s:
    """Share of models on which the decision "member where score > threshold" is right.

    Where an example is IN for exactly half of the models, advantage = 2 ASR - 1.

    Args:
        scores: larger for likelier members, [models, examples].
        membership: bool [models, examples].
        threshold: one finite number, in the units of the scores.

    Returns:
        Values in [0, 1], float64 [examples].

    Raises:
        ValueError: shapes differ, NaN or infinite scores or threshold.

    Source: "Exploring Connections Between Memorization And Membership Inference", Sec. 2 and B.2.
    """
    said_member, inside = _decisions(scores, membership, threshold)
    return np.asarray(np.count_nonzero(said_member == inside, axis=0) / len(inside))


def advantage(scores: ArrayLike, membership: ArrayLike, threshold: float = 0.0) -> Float64s:
    """Advantage of the decision "member where score > threshold": TPR - FPR over models.

    Args:
        scores: larger for likelier members, [models, examples].
        membership: bool [models, examples].
        threshold: one finite number, in the units of the scores.

    Returns:
        Values in [-1, 1], float64 [examples].

    Raises:
        ValueError: shapes differ, NaN or infinite scores or threshold, an example that is IN, or
            OUT, for no model.

    Source: Yeom et al. (2018), Def. 4; "Exploring Connections Between Memorization And Membership
        Inference", Sec. 2.
    """
    said_member, inside = _decisions(scores, membership, threshold)
    both_sides(inside)
    n_in = np.count_nonzero(inside, axis=0)
    true = np.count_nonzero(said_member & inside, axis=0)
    false = np.count_nonzero(said_member, axis=0) - true
    return np.asarray(true / n_in - false / (len(inside) - n_in))


def _decisions(scores: ArrayLike, membership: ArrayLike, threshold: float) -> tuple[Bools, Bools]:
    values = as_finite("scores", scores, ndim=2)
    inside = as_membership(membership)
    same_shape(scores=values, membership=inside)
    if not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}, expected one finite number")
    return values > threshold, inside
