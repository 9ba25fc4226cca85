"""Every attack by the name that tables give it, all called alike."""

from collections.abc import Callable

import numpy as np

from benchsuite.attacks.calibrated_loss import sablayrolles
from benchsuite.attacks.entropy import song_mittal
from benchsuite.attacks.lira import lira
from benchsuite.attacks.loss_threshold import yeom
from benchsuite.attacks.observations import Observations
from benchsuite.attacks.rmia import rmia
from benchsuite.attacks.shadow_classifier import shokri
from benchsuite.attacks.targets import Targets, parties
from benchsuite.stats.validation import Float64s


def _lira(observations: Observations, targets: Targets) -> Float64s:
    """Score by `lira`, variant paper/online, for targets of either kind."""
    references, attacked = parties("lira", observations, targets)
    if attacked.observations is observations:
        return lira(observations.confidence, references.all_membership, attacked.rows)
    # The targets' rows of the membership are never read: whatever stands there.
    unknown = np.zeros(attacked.shape, dtype=np.bool_)
    return lira(
        np.concatenate([attacked.observations.confidence, observations.confidence]),
        np.concatenate([unknown, references.all_membership]),
        attacked.rows,
    )


ATTACKS: dict[str, Callable[[Observations, Targets], Float64s]] = {
    "Yeom": yeom,
    "Shokri": shokri,
    "Song & Mittal": song_mittal,
    "Sablayrolles": sablayrolles,
    "RMIA": rmia,
    "LiRA": _lira,
}
"""Attack by name: (observations, targets) -> scores, float64 [targets, examples]."""

NEED_LOGITS = frozenset({"Shokri", "Song & Mittal"})
"""Attacks that read output vectors; the others do with the confidence alone."""
