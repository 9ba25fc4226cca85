"""LiRA: the likelihood ratio attack with a Gaussian for IN and one for OUT, in its named variants.

phi is the scaled confidence of one example (one query of it) on one model, in nats. Every variant
fits location and scale to the references of each side and scores the target's phi:

- ``paper/online``: means and standard deviations of each example; log N(phi; IN) - log N(phi; OUT).
- ``paper/offline``: the same for OUT alone; log Pr[N(OUT) <= phi], one-sided, never positive.
- ``tf-privacy/online``: medians instead of means, and every example cut to the smallest number of
  IN (OUT) references that any example has.
- ``tf-privacy/online-fixed``: medians, and one standard deviation for both sides and all examples,
  that of all IN values, spread between examples included: its size only scales the score.
- ``tf-privacy/offline``: minus log N(phi; OUT), with medians: TWO-sided.
- ``tf-privacy/offline-fixed``: the same, with the standard deviation of all OUT values.
- ``residual-fixed``: medians, and for each side one standard deviation of the residuals around
  each example's median (n - 1 per example, for few references look surer than they are).

Standard deviations divide by n unless said otherwise (np.std, ddof 0). All four ``tf-privacy``
variants cut, as that code does; here the smallest number is taken over examples with at least 4.

Several queries of one example are independent Gaussians, each with its own location and scale (a
fixed scale is shared by all). ``paper`` variants SUM the log densities (log probabilities) over
queries, a Gaussian with diagonal covariance; the others average them, as that code does, which
ranks alike and keeps the unit of a single query.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from benchsuite.attacks.sides import ENOUGH, Side, summarise
from benchsuite.attacks.targets import split
from benchsuite.stats.validation import (
    Float64s,
    as_finite,
    as_membership,
    same_shape,
)

SMALLEST_DEVIATION = 1e-6
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class _Variant:
    location: Literal["mean", "median"]
    scale: Literal["example", "values", "residuals"]
    score: Literal["ratio", "tail", "density"]
    cut: bool = False
    queries: Literal["sum", "mean"] = "mean"


_VARIANTS = {
    "paper/online": _Variant("mean", "example", "ratio", queries="sum"),
    "paper/offline": _Variant("mean", "example", "tail", queries="sum"),
    "tf-privacy/online": _Variant("median", "example", "ratio", cut=True),
    "tf-privacy/online-fixed": _Variant("median", "values", "ratio", cut=True),
    "tf-privacy/offline": _Variant("median", "example", "density", cut=True),
    "tf-privacy/offline-fixed": _Variant("median", "values", "density", cut=True),
    "residual-fixed": _Variant("median", "residuals", "ratio"),
}
LIRA_VARIANTS = tuple(_VARIANTS)
"""Names that `lira` accepts as ``variant``."""


def lira(
    confidence: ArrayLike,
    membership: ArrayLike,
    targets: ArrayLike,
    variant: str = "paper/online",
) -> Float64s:
    """Score how likely each example was IN each target model's training set.

    The references are ALL rows that are not targets: no target is its own reference, nor another
    target's. (Where models train on complementary halves, leave the complement out beforehand.)

    Few references: below 4 on a side, an example's own standard deviation is replaced by the pooled
    one of that side (root mean square of the residuals of all examples there, n - 1 per example). A
    side on which no example has two references borrows the other side's; where neither has, both
    take the standard deviation of all reference values. With no reference on a side that the
    variant needs, the score is 0: no evidence. (For ``paper/offline``, never positive, that 0 ranks
    highest.) `reference_counts` says which examples these are.

    No standard deviation is taken below 1e-6: references that all agree would give a density
    without bound. That is float32's resolution of a phi near 10: a narrower Gaussian would be one
    of rounding errors.

    Args:
        confidence: phi [models, examples] or [models, examples, queries], in nats; float32 stays
            float32 until blocks of it are reduced in float64.
        membership: bool [models, examples].
        targets: rows to attack, as distinct integers, or as a bool mask [models].
        variant: one of `LIRA_VARIANTS`; the module's docstring defines them.

    Returns:
        Scores, larger for likelier members, in nats, float64 [targets, examples]; in the order of
        ``targets`` (of the models for a mask).

    Raises:
        ValueError: shapes differ, NaN or infinite confidence, an unknown variant, targets that are
            repeated, out of range or none, or no references left.

    Source: Carlini et al. (2022), "Membership Inference Attacks From First Principles", Sec. V and
        VI; "Exploring Connections Between Memorization And Membership Inference", Algorithm 1
        line 19; tensorflow/privacy, research/mi_lira_2021.
    """
    if variant not in _VARIANTS:
        raise ValueError(f"variant is {variant!r}, expected one of: {', '.join(LIRA_VARIANTS)}")
    chosen = _VARIANTS[variant]
    values = as_finite("confidence", confidence)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"confidence has shape {list(values.shape)}, expected [models, examples] or"
            " [models, examples, queries]: reshape it"
        )
    cube = values[:, :, None] if values.ndim == 2 else values
    inside = as_membership(membership)
    same_shape(confidence=cube[:, :, 0], membership=inside)
    rows, references = split(targets, models=len(inside))

    sides = [
        summarise(cube, inside, references, side, location=chosen.location, cut=chosen.cut)
        for side in ((True, False) if chosen.score == "ratio" else (False,))
    ]
    deviations = deviations_of(sides, chosen.scale)
    known = np.all([side.count > 0 for side in sides], axis=0)
    scores = np.empty((len(rows), inside.shape[1]))
    for i, row in enumerate(rows):
        by_query = _log_score(cube[row].astype(np.float64), chosen.score, sides, deviations)
        scores[i] = by_query.sum(axis=1) if chosen.queries == "sum" else by_query.mean(axis=1)
    scores[:, ~known] = 0.0
    return scores


def reference_counts(
    membership: ArrayLike, targets: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count each example's IN and OUT references: the models that are not targets.

    Args:
        membership: bool [models, examples].
        targets: as for `lira`.

    Returns:
        (IN, OUT), each int64 [examples]. `lira` uses a fixed variance below 4 and scores 0 where
        a side that the variant needs has none.

    Raises:
        ValueError: membership of another shape or dtype, or targets as for `lira`.
    """
    inside = as_membership(membership)
    _, references = split(targets, models=len(inside))
    n_in = np.count_nonzero(inside[references], axis=0).astype(np.int64)
    return n_in, len(references) - n_in


def deviations_of(sides: list[Side], scale: str) -> list[Float64s]:
    """Standard deviation of each side, broadcastable to [examples, queries]."""
    if scale == "values":
        deviations = [np.sqrt(_variance_of_all_values(sides[:1]))] * len(sides)
    else:
        deviations = [np.sqrt(variance) for variance in _residual_variances(sides)]
    if scale == "example":
        deviations = [
            np.where(side.count[:, None] >= ENOUGH, np.sqrt(side.variance), fixed)
            for side, fixed in zip(sides, deviations, strict=True)
        ]
    return [np.maximum(deviation, SMALLEST_DEVIATION) for deviation in deviations]


def _residual_variances(sides: list[Side]) -> list[Float64s]:
    """Pooled variance around each example's location, one number [1, 1] a side."""
    pooled = []
    for side in sides:
        freedom = np.maximum(side.count - 1, 0).sum() * side.mean.shape[1]
        squares = side.variance + (side.mean - side.location) ** 2
        total = (side.count[:, None] * squares).sum(keepdims=True)
        pooled.append(total / freedom if freedom else None)
    measured = [variance for variance in pooled if variance is not None]
    spare = measured[0] if measured else _variance_of_all_values(sides)
    return [spare if variance is None else variance for variance in pooled]


def _variance_of_all_values(sides: list[Side]) -> Float64s:
    """np.var over every reference value of the sides, spread between examples included, [1, 1]."""
    count = np.concatenate([np.broadcast_to(s.count[:, None], s.mean.shape) for s in sides])
    mean = np.concatenate([side.mean for side in sides])
    variance = np.concatenate([side.variance for side in sides])
    values = max(int(count.sum()), 1)
    grand = (count * mean).sum() / values
    total: Float64s = (count * (variance + (mean - grand) ** 2)).sum(keepdims=True)
    return total / values


def _log_score(
    phi: Float64s, score: str, sides: list[Side], deviations: list[Float64s]
) -> Float64s:
    """Score a target's phi [examples, queries]; the sides are (IN, OUT), or OUT alone."""
    standard = [(phi - s.location) / d for s, d in zip(sides, deviations, strict=True)]
    if score == "tail":
        return np.asarray(log_ndtr(standard[0]), dtype=np.float64)
    density = [
        -0.5 * z**2 - np.log(d) - _HALF_LOG_TWO_PI
        for z, d in zip(standard, deviations, strict=True)
    ]
    return density[0] - density[1] if score == "ratio" else -density[0]
