"""Yeom: a member is an example whose loss is below the mean training loss."""

import numpy as np

from benchsuite.attacks.observations import Observations
from benchsuite.attacks.targets import Targets, parties
from benchsuite.stats.validation import Float64s


def yeom(observations: Observations, targets: Targets) -> Float64s:
    """Score how far each example's loss lies below the mean training loss of the references.

    score(x) = tau - loss(x), with tau the mean loss of all references on the examples that they
    were trained on: one threshold for all, so that the ROC curve is that of the loss alone. A
    score above 0 says "member". (The paper's adversary is told the target's own mean training
    loss; the references' is what an attacker can measure, and no other ROC curve follows.)

    Args:
        observations: of the references, with membership.
        targets: rows, a bool mask over the models, or another `Observations`: then all rows of
            ``observations`` are references.

    Returns:
        Nats, float64 [targets, examples].

    Raises:
        ValueError: no example is IN for any reference, or as `parties`.

    Source: Yeom et al. (2018), "Privacy Risk in Machine Learning: Analyzing the Connection to
        Overfitting", Sec. 3.2, Adversary 2.
    """
    references, attacked = parties("yeom", observations, targets)
    inside = references.membership()
    members = int(np.count_nonzero(inside))
    if members == 0:
        raise ValueError(
            f"yeom: none of the {len(inside)} references was trained on any of the examples,"
            " expected at least 1 with members: their mean training loss is the threshold"
        )
    threshold = references.loss().sum(where=inside, dtype=np.float64) / members
    return np.asarray(threshold - attacked.loss().astype(np.float64))
