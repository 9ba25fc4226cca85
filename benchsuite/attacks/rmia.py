"""RMIA: the share of the population that an example's likelihood ratio exceeds."""

import math

import numpy as np

from benchsuite.attacks.observations import Observations
from benchsuite.attacks.targets import References, Targets, parties, require_both_sides
from benchsuite.stats.validation import Float64s

_VALUES_PER_BLOCK = 2**20


def rmia(observations: Observations, targets: Targets, *, gamma: float = 1.0) -> Float64s:
    """Score the share of population points z that each example x dominates under the target.

    LR(x, z) = [p(x | target) / p(x)] / [p(z | target) / p(z)], with p(x | model) the model's
    probability of x's label, and p(x) half the mean of that over the IN references of x plus half
    over the OUT ones. score(x) = the share of z with LR(x, z) >= gamma.

    The population is the pool itself, all examples of the observations: nothing else was observed.
    Some of it was in the target's training set, which raises the bar for all x of that target
    alike (the membership of a target is never read, so these cannot be left out).

    The score is a share, with as many levels as there are examples: pooled over targets, rates
    below 1 / examples are not told apart. At gamma 1, that of the authors' present code, it is the
    rank of p(x | target) / p(x) among the target's examples, and only equal ratios tie. The paper
    uses 2: then every x whose ratio is below twice the smallest one scores 0, which on an easy
    task is most of them, and the ROC curve is a straight line over these.

    Args:
        observations: of the references, with membership.
        targets: rows, a bool mask over the models, or another `Observations`: then all rows of
            ``observations`` are references.
        gamma: how many times the ratio of a dominated point x's must be, at least 1.

    Returns:
        Shares in [0, 1], float64 [targets, examples]. There is no decision threshold of its own.

    Raises:
        ValueError: gamma below 1, an example without an IN or without an OUT reference, or as
            `parties`.

    Source: Zarifzadeh et al. (2024), "Low-Cost High-Power Membership Inference Attacks",
        arXiv:2312.03262 (the online attack); privacytrustlab/ml_privacy_meter,
        modules/mia/attacks/rmia.py (gamma 1).
    """
    if not 1 <= gamma < math.inf:
        raise ValueError(f"gamma is {gamma}, expected a finite number from 1, such as 1 or 2")
    references, attacked = parties("rmia", observations, targets)
    require_both_sides("rmia", references)
    log_ratio = -attacked.loss().astype(np.float64) - _log_marginal(references)
    scores = np.empty_like(log_ratio)
    for own, score in zip(log_ratio, scores, strict=True):
        dominated = np.searchsorted(np.sort(own), own - math.log(gamma), side="right")
        score[:] = dominated / len(own)
    return scores


def _log_marginal(references: References) -> Float64s:
    """Return log p(x) [examples] in blocks, relative to the largest p(x | reference)."""
    models, examples = references.shape
    log_p = np.empty(examples)
    step = max(1, _VALUES_PER_BLOCK // models)
    for first in range(0, examples, step):
        block = slice(first, first + step)
        log_each = -references.loss(block).astype(np.float64)
        inside = references.membership(block)
        largest = log_each.max(axis=0)
        p = np.exp(log_each - largest)
        n_in = np.count_nonzero(inside, axis=0)
        mean_in = p.sum(axis=0, where=inside) / n_in
        mean_out = p.sum(axis=0, where=~inside) / (models - n_in)
        log_p[block] = largest + np.log((mean_in + mean_out) / 2)
    return log_p
