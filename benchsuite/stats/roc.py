"""ROC curves of membership scores: larger is "more likely a member", ties belong together."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.stats.intervals import clopper_pearson
from benchsuite.stats.validation import (
    Bools,
    Float64s,
    Floats,
    as_finite,
    as_membership,
    same_shape,
)

Counts = NDArray[np.int64]


class RocCurve(NamedTuple):
    """Every achievable (FPR, TPR) of the decision ``score >= threshold``, from (0, 0) to (1, 1).

    All [points], one point per distinct score after the first, whose threshold is infinite.
    """

    fpr: Float64s
    tpr: Float64s
    thresholds: Floats


class TprAtFpr(NamedTuple):
    """A true positive rate with what is needed to judge it.

    Numbers where the scores were pooled; with axis=1 arrays [targets], and [targets, 2] for
    ``interval``, which is Clopper-Pearson's 95 % interval of the TPR over the members AT that
    threshold: it does not include the uncertainty of the threshold itself, which rests on
    ``realised_fpr`` x ``non_members`` false positives.
    """

    tpr: float | Float64s
    realised_fpr: float | Float64s
    non_members: int | Counts
    interval: Float64s


def auroc(scores: ArrayLike, membership: ArrayLike) -> float:
    """Return the probability that a member scores above a non-member, ties counting one half.

    Args:
        scores: finite, any shape; pooled.
        membership: bool, the same shape.

    Raises:
        ValueError: NaN or infinite scores, shapes that differ, members only or non-members only.

    Source: Hanley & McNeil (1982), Radiology 143, 29-36.
    """
    values, member = _checked(scores, membership)
    inside, outside = np.sort(values[member]), np.sort(values[~member])
    below = int(np.searchsorted(outside, inside, "left").sum())
    not_above = int(np.searchsorted(outside, inside, "right").sum())
    return (below + not_above) / (2 * inside.size * outside.size)


def roc_curve(scores: ArrayLike, membership: ArrayLike) -> RocCurve:
    """Return the whole ROC curve, every distinct score a threshold.

    Args:
        scores: finite, any shape; pooled.
        membership: bool, the same shape.

    Raises:
        ValueError: as `auroc`.
    """
    false, true, thresholds = _cumulative_counts(*_checked(scores, membership))
    return RocCurve(
        fpr=np.concatenate([[0.0], false / false[-1]]),
        tpr=np.concatenate([[0.0], true / true[-1]]),
        thresholds=np.concatenate([[thresholds.dtype.type(np.inf)], thresholds]),
    )


def tpr_at_fpr(
    scores: ArrayLike, membership: ArrayLike, fpr: float, axis: int | None = None
) -> TprAtFpr:
    """Return the TPR at the last point of the ROC curve whose FPR is at most ``fpr``.

    tensorflow/privacy takes the last point strictly below ``fpr`` and jax_privacy the convex hull;
    neither is done here. With fewer than 1 / ``fpr`` non-members the realised FPR is 0: that is
    what the sample can resolve, and ``non_members`` says so.

    Args:
        scores: finite, any shape, or [targets, examples] for axis=1.
        membership: bool, the same shape.
        fpr: false positive rate allowed, in [0, 1].
        axis: None pools all scores under one threshold; 1 gives each row (target) its own.

    Raises:
        ValueError: as `auroc` (for axis=1 in any row), ``fpr`` outside [0, 1], another axis.

    Source: Carlini et al. (2022), Membership Inference Attacks From First Principles, Sec. III.
    """
    _check_rate(fpr)
    values, member = _checked(scores, membership)
    if axis is None:
        true, members, false, non_members = _counts_at(values, member, fpr)
        return TprAtFpr(
            true / members, false / non_members, non_members, clopper_pearson(true, members)
        )
    if axis != 1 or values.ndim != 2:
        raise ValueError(
            f"axis is {axis} for scores of shape {list(values.shape)}, expected None (pooled), or 1"
            " for scores [targets, examples]"
        )
    counts = np.array(
        [
            _counts_at(row, row_member, fpr, f"membership[{target}]")
            for target, (row, row_member) in enumerate(zip(values, member, strict=True))
        ],
        dtype=np.int64,
    )
    true_s, members_s, false_s, non_members_s = counts.T
    return TprAtFpr(
        true_s / members_s,
        false_s / non_members_s,
        non_members_s,
        clopper_pearson(true_s, members_s),
    )


def threshold_at_fpr(scores: ArrayLike, membership: ArrayLike, fpr: float) -> float:
    """Return the score above which at most a share ``fpr`` of the non-members lies.

    The decision is ``score > threshold``; on these scores it has the TPR of `tpr_at_fpr`. Fixed on
    some models and used on others, it makes rates of the others that share no scores with it.

    Args:
        scores: finite, any shape; pooled.
        membership: bool, the same shape; members are ignored, but have to be there.
        fpr: false positive rate allowed, in [0, 1].

    Returns:
        A non-member's score; minus infinity where all non-members may be accused.

    Raises:
        ValueError: as `tpr_at_fpr`.
    """
    _check_rate(fpr)
    values, member = _checked(scores, membership)
    return _bar(values[~member], fpr)


def _check_rate(fpr: float) -> None:
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr is {fpr}, expected a rate between 0 and 1, such as 0.001")


def _checked(scores: ArrayLike, membership: ArrayLike) -> tuple[Floats, Bools]:
    values = as_finite("scores", scores)
    member = as_membership(membership, ndim=None)
    same_shape(scores=values, membership=member)
    _check_both_classes(member, "membership")
    return values, member


def _check_both_classes(member: Bools, name: str) -> None:
    members = int(np.count_nonzero(member))
    if members in (0, member.size):
        raise ValueError(
            f"{name} holds {members} members and {member.size - members} non-members, expected"
            " both: a ROC curve compares the two"
        )


def _cumulative_counts(values: Floats, member: Bools) -> tuple[Counts, Counts, Floats]:
    """Return false and true positives at each distinct score, descending, and those scores."""
    flat = values.ravel()
    order = np.argsort(flat)[::-1]
    descending = flat[order]
    last_of_tie = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    true = np.cumsum(member.ravel()[order], dtype=np.int64)[last_of_tie]
    return last_of_tie + 1 - true, true, descending[last_of_tie]


def _counts_at(
    values: Floats, member: Bools, fpr: float, name: str = "membership"
) -> tuple[int, int, int, int]:
    """Return true positives, members, false positives, non-members at the largest FPR <= fpr."""
    _check_both_classes(member, name)
    inside, outside = values[member], values[~member]
    bar = _bar(outside, fpr)
    true, false = np.count_nonzero(inside > bar), np.count_nonzero(outside > bar)
    return int(true), inside.size, int(false), outside.size


def _bar(outside: Floats, fpr: float) -> float:
    """Return the (k + 1)-th largest score of non-members, k being the false positives allowed.

    The scores strictly above it are the last point of the curve; a selection finds it unsorted.
    """
    allowed = int(fpr * outside.size) + 1  # one more than may be, because 0.29 * 100 is below 29
    while allowed / outside.size > fpr:
        allowed -= 1
    if allowed >= outside.size:
        return -np.inf
    place = outside.size - 1 - allowed
    return float(np.partition(outside, place)[place])
