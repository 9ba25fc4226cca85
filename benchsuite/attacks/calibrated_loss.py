"""Sablayrolles: the loss against a threshold of the example's own, which measures its hardness."""

import numpy as np

from benchsuite.attacks.observations import Observations
from benchsuite.attacks.targets import Targets, parties, require_both_sides
from benchsuite.attacks.thresholds import best_cuts
from benchsuite.stats.validation import Float64s

_VALUES_PER_BLOCK = 2**20  # of which `best_cuts` holds some 40 bytes each


def sablayrolles(observations: Observations, targets: Targets) -> Float64s:
    """Score how far each example's loss lies below that example's own threshold.

    score(x) = tau(x) - loss(x), with tau(x) the loss that best separates the references that were
    trained on x from those that were not: the largest balanced accuracy, without any assumption on
    the two distributions. Midway between neighbouring losses; of equally good thresholds that in
    the widest gap, then the lowest. A score above 0 says "member".

    Args:
        observations: of the references, with membership.
        targets: rows, a bool mask over the models, or another `Observations`: then all rows of
            ``observations`` are references.

    Returns:
        Nats, float64 [targets, examples].

    Raises:
        ValueError: an example without an IN or without an OUT reference, or as `parties`.

    Source: Sablayrolles et al. (2019), "White-box vs Black-box: Bayes Optimal Strategies for
        Membership Inference" (the attack with a threshold for each sample, MAST).
    """
    references, attacked = parties("sablayrolles", observations, targets)
    require_both_sides("sablayrolles", references)
    models, examples = references.shape
    threshold = np.empty(examples)
    step = max(1, _VALUES_PER_BLOCK // models)
    for first in range(0, examples, step):
        block = slice(first, first + step)
        loss = np.ascontiguousarray(references.loss(block).T)
        inside = np.ascontiguousarray(references.membership(block).T)
        threshold[block] = best_cuts(loss, inside)
    return np.asarray(threshold - attacked.loss().astype(np.float64))
