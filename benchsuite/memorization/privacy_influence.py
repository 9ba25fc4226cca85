"""Privacy influence: how well the attack on one example does where another one is removed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.memorization.label import agresti_caffo_variance
from benchsuite.stats.validation import Bools, as_membership, same_shape

Float32s = NDArray[np.float32]
Indices = NDArray[np.intp]

_PAIRS_PER_BLOCK = 2**22  # 16 MB for each float32 array of a block


class PrivacyInfluence(NamedTuple):
    """Influence of removing each example on the attack on each target, and its standard error.

    Each array is float32 [examples (removed), targets] and takes 4 bytes a pair: 1.6 GB for 20,000
    examples on one another.
    """

    estimate: Float32s
    stderr: Float32s


def privacy_influence(success: ArrayLike, membership: ArrayLike) -> PrivacyInfluence:
    """Estimate PRIVINF(REMOVE(x) => x'): how often the attack on x' is right in models without x.

    The work runs in blocks of removed examples: beside the result it needs `success` as float32
    (4 bytes a model and target) and about 100 MB. Where that is too much, `top_influences` keeps
    the largest alone.

    Args:
        success: whether the attack is right about each target in each model, so says IN where it
            was IN and OUT where it was OUT: bool, or how surely it is right, from 0 to 1, which
            has less noise; [models, targets].
        membership: whether each example was IN the model's training set, bool [models, examples].

    Returns:
        `PrivacyInfluence`: estimate in [0, 1] and stderr above 0 (that of a proportion to which
        one success and one failure are added, which bounds that of probabilities), float32
        [examples, targets].

    Raises:
        ValueError: another number of models, another dtype, an example never OUT.

    Source: Carlini et al. (2022), The Privacy Onion Effect, Sec. 5.1, the equation of PRIVINF.
    """
    right, inside = _checked(success, membership)
    models, examples = inside.shape
    targets = right.shape[1]
    n_out = _out_counts(inside)
    estimate = np.empty((examples, targets), dtype=np.float32)
    stderr = np.empty((examples, targets), dtype=np.float32)
    step = max(1, _PAIRS_PER_BLOCK // max(targets, models))
    for first in range(0, examples, step):
        block = slice(first, first + step)
        hits_out = (~inside[:, block]).astype(np.float32).T @ right
        estimate[block] = hits_out / n_out[block]
        stderr[block] = np.sqrt(agresti_caffo_variance(hits_out, n_out[block]))
    return PrivacyInfluence(estimate, stderr)


def top_influences(
    success: ArrayLike, membership: ArrayLike, targets: ArrayLike, k: int
) -> Indices:
    """Find for each target the k other examples whose removal serves the attack on it best.

    The work runs in blocks of targets and never holds the matrix of all pairs: it needs
    `membership` as float32 (4 bytes a model and example) and about 100 MB.

    Args:
        success: as in `privacy_influence`, of every example of the pool: [models, examples].
        membership: bool [models, examples].
        targets: positions of the examples to attack, integers [targets].
        k: how many to return, fewer than there are examples.

    Returns:
        Positions of examples [k, targets], those of largest influence first and, where these are
        equal, the lower position first; never the target itself.

    Raises:
        ValueError: as `privacy_influence`, shapes that differ, a target outside the pool, k out of
            range.

    Source: Carlini et al. (2022), The Privacy Onion Effect, Sec. 5.1.
    """
    right, inside = _checked(success, membership)
    same_shape(success=right, membership=inside)
    models, examples = inside.shape
    attacked = _as_targets(targets, examples)
    if not 1 <= k < examples:
        raise ValueError(
            f"k is {k}, expected 1 to {examples - 1}: there are {examples} examples and a target"
            " has no influence on itself"
        )
    outside = (~inside).astype(np.float32).T
    n_out = _out_counts(inside)
    top = np.empty((k, len(attacked)), dtype=np.intp)
    step = max(1, _PAIRS_PER_BLOCK // max(examples, models))
    for first in range(0, len(attacked), step):
        block = attacked[first : first + step]
        estimate = outside @ right[:, block] / n_out
        estimate[block, np.arange(len(block))] = -1  # below any share
        order = np.argsort(-estimate, axis=0, kind="stable")
        top[:, first : first + step] = order[:k]
    return top


def _checked(success: ArrayLike, membership: ArrayLike) -> tuple[Float32s, Bools]:
    right = _as_success(success)
    inside = as_membership(membership)
    if len(right) != len(inside):
        raise ValueError(
            f"success has {len(right)} models and membership has {len(inside)}: expected the same"
            " models in the same order, one row each"
        )
    always = np.flatnonzero(inside.all(axis=0))
    if always.size:
        raise ValueError(
            f"membership: example {always[0]} is OUT for 0 of {len(inside)} models (never OUT), the"
            f" first of {always.size}, expected at least 1: train more models, use a balanced"
            " design, or leave these examples out"
        )
    return right, inside


def _as_success(success: ArrayLike) -> Float32s:
    values = np.asarray(success)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"success has shape {list(values.shape)}, expected two axes with at least one model and"
            " one target: pass a matrix with one row per model"
        )
    if values.dtype.kind not in "biuf" or not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"success has dtype {values.dtype} and runs from {values.min()} to {values.max()},"
            " expected bool, or probabilities of being right, from 0 to 1: pass"
            " (scores > 0) == membership, not scores"
        )
    return values.astype(np.float32)


def _out_counts(inside: Bools) -> Float32s:
    counts: Float32s = np.count_nonzero(~inside, axis=0).astype(np.float32)[:, None]
    return counts


def _as_targets(targets: ArrayLike, examples: int) -> Indices:
    chosen = np.asarray(targets)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise ValueError(
            f"targets has dtype {chosen.dtype} and shape {list(chosen.shape)}, expected integers"
            " [targets]: pass positions in the pool"
        )
    if chosen.min() < 0 or chosen.max() >= examples:
        strange = chosen.min() if chosen.min() < 0 else chosen.max()
        raise ValueError(
            f"targets holds {strange}, expected positions from 0 to {examples - 1}: the pool has"
            f" {examples} examples"
        )
    return chosen.astype(np.intp)
