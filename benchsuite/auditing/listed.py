"""Which examples are memorized and which exposed: one row an example, with intervals.

Two lists, each with a share of false entries that is kept below `FALSE_ENTRIES` (Benjamini and
Hochberg 1995, on Fisher's exact test of each example): *memorized*, where models that were trained
on an example get it right more often than others, and *exposed*, where the attack accuses the
former more often than the latter.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, hypergeom, norm

from benchsuite.auditing.shadows import Shadows
from benchsuite.auditing.strength import Strength
from benchsuite.memorization.label import label_memorization
from benchsuite.stats.intervals import Interval, clopper_pearson, unit_interval
from benchsuite.stats.validation import Bools

FALSE_ENTRIES = 0.05
"""Expected share of the entries of a list that do not belong there."""
ALPHA = 0.05
"""1 - confidence of an interval."""

Floats = NDArray[np.float64]


def example_table(shadows: Shadows, attack: Strength) -> pd.DataFrame:
    """One row an example, in the order of the examples.

    Columns: example (its id), label; memorization with its 95 % interval, low and high, and whether
    it is on the list; found, the share of models trained on it in which the attack accuses it, with
    its interval, false_alarms, the share of the other models in which it does, and whether it is on
    the list of the exposed.

    The interval of found is over attacked models, for the references that there were. With others
    an example that is not exposed can have another rate, and as many more or fewer false alarms.
    """
    inside = shadows.membership
    correct = predicted(shadows)
    memorization = label_memorization(correct, inside)
    width = norm.isf(ALPHA / 2) * memorization.stderr
    n_in, n_out = inside.sum(axis=0), (~inside).sum(axis=0)
    found = (attack.accused & inside).sum(axis=0)
    alarms = (attack.accused & ~inside).sum(axis=0)
    alarms_low, alarms_high = np.moveaxis(clopper_pearson(alarms, n_out, ALPHA), -1, 0)
    found_low, found_high = np.moveaxis(clopper_pearson(found, n_in, ALPHA), -1, 0)
    return pd.DataFrame(
        {
            "example": shadows.ids,
            "label": shadows.observations.labels,
            "memorization": memorization.estimate,
            "memorization_low": np.clip(memorization.estimate - width, -1, 1),
            "memorization_high": np.clip(memorization.estimate + width, -1, 1),
            "memorized": listed(correct, inside),
            "found": found / n_in,
            "found_low": found_low,
            "found_high": found_high,
            "false_alarms": alarms / n_out,
            "false_alarms_low": alarms_low,
            "false_alarms_high": alarms_high,
            "exposed": listed(attack.accused, inside),
        }
    )


def mean_memorization(shadows: Shadows) -> Interval:
    """Accuracy of each model on what it was trained on less that on the rest; over models.

    Its mean over models is the mean memorization of the examples where each is IN as often.
    """
    correct, inside = predicted(shadows), shadows.membership
    units = np.mean(correct, axis=1, where=inside) - np.mean(correct, axis=1, where=~inside)
    return unit_interval(np.asarray(units, dtype=np.float64), ALPHA)


def predicted(shadows: Shadows) -> Bools:
    """Whether each model predicts the label, [models, examples].

    Of confidences alone whether the label has more than half of the probability, which of more than
    two classes is less than being the largest.
    """
    observations = shadows.observations
    if observations.logits is None:
        return np.asarray(observations.confidence > 0)
    return np.asarray(observations.logits.argmax(axis=2) == observations.labels)


def listed(happened: Bools, inside: Bools) -> Bools:
    """For which examples something happens oftener IN than OUT, [examples], see above."""
    models, n_in = len(inside), inside.sum(axis=0)
    both, whole = (happened & inside).sum(axis=0), happened.sum(axis=0)
    p = hypergeom.sf(both - 1, models, whole, n_in)
    return np.asarray(false_discovery_control(np.clip(p, 0, 1)) <= FALSE_ENTRIES)
