"""One deployed model, held against shadow models: whom of the examples it gives away.

A threshold that shadow models set says something of another model only if that model says of
examples that it was not trained on what they say of such examples. So it is compared with them
first, where such examples are known: held-out ones, or those that the model is known not to have
been trained on. A model trained on more data, for longer, or in another way is found out there, and
then nobody is accused.

How many of a model's non-members are accused varies from model to model, more than by chance over
examples, so that is read from the shadow models: each tells how many would be accused if it had
been trained on none of the examples. There each has nearly as many references as the deployed model
has: with fewer, scores spread further, and a threshold set by them would be too high for it. One
shadow model has only its own non-members to tell it by, so these numbers vary somewhat more than
the deployed model's own: p-values are too large rather than too small.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.attacks.observations import Observations
from benchsuite.auditing.shadows import Shadows
from benchsuite.auditing.strength import Strength, cross_scores, folds
from benchsuite.stats.intervals import clopper_pearson
from benchsuite.stats.roc import threshold_at_fpr
from benchsuite.stats.validation import Bools, Floats

FINE_FOLDS = 32
"""So that a shadow model has 31 of 32 of the references that the deployed model has."""
LEAST_OUTSIDE = 20
"""Examples known to be no members, and models to tell of them, for a comparison."""
UNLIKE = 0.01
"""Share of shadow models that would be called unlike the others."""


@dataclass(frozen=True, eq=False)
class TargetFindings:
    """What the attack says of one model.

    Attributes:
        attack: its name.
        scores: of the model on every example, [examples].
        accused: which are called members, [examples]; none where `unlike` says why.
        by_chance: how many would be accused of a model that was trained on none of them, by the
            shadow models: the mean and the ends that 95 % of them lie between.
        p_value: share of the shadow models, one more counted, that accuse as many or more so; 1
            where `unlike` says why nobody is accused.
        compared: with what the model was compared, in words; "" where there was nothing.
        unlike: how it differs from the shadow models there; "" where it does not.
        tpr: share of those that it was trained on that are accused, low and high (95 %, over
            examples); None where that is not known, or nobody is accused.
        fpr: the same of those that it was not trained on.
        raised: probabilities that were moved away from 0.
    """

    attack: str
    scores: NDArray[np.float64]
    accused: Bools
    by_chance: tuple[float, float, float]
    p_value: float
    compared: str
    unlike: str
    tpr: tuple[float, float, float] | None
    fpr: tuple[float, float, float] | None
    raised: int = 0

    def table(self) -> pd.DataFrame:
        """Columns of the model for a table of one row an example: score and accused."""
        return pd.DataFrame({"score": self.scores, "accused": self.accused})


def check_trained_on(trained_on: ArrayLike, examples: int) -> Bools:
    """Which of the examples the model was trained on, as bools [examples].

    Raises:
        ValueError: another shape or dtype, or none of the examples.
    """
    given = np.asarray(trained_on)
    if given.shape != (examples,) or given.dtype != np.bool_:
        raise ValueError(
            f"trained_on has dtype {given.dtype} and shape {list(given.shape)}, expected bool "
            f"[{examples}]: say of each example whether the target was trained on it"
        )
    if not given.any():
        raise ValueError(
            f"trained_on says that the target was trained on none of the {examples} examples, "
            "expected some: there is nobody to find, so audit it on its own training data"
        )
    return given


def findings_on(
    shadows: Shadows,
    attack: Strength,
    said: Observations,
    held_out: Observations | None,
    trained_on: Bools | None,
    raised: int = 0,
) -> TargetFindings:
    """Attack one model with all shadow models as references.

    Args:
        shadows: the references.
        attack: which one, at which false positive rate on them.
        said: what the model says of the examples, [1, examples].
        held_out: what it says of the shadows' held-out examples; None where that is not known.
        trained_on: which examples it was trained on; None where that is not known.
        raised: probabilities that were moved away from 0.

    Raises:
        ValueError: outputs of another number of classes than the shadow models'.
    """
    ours, theirs = shadows.observations.classes, said.classes
    if None not in (ours, theirs) and ours != theirs:
        raise ValueError(
            f"target gives outputs of {theirs} classes and the shadow models of {ours}, expected "
            "as many: audit it with shadow models of its own task"
        )
    scores = ATTACKS[attack.attack](shadows.observations, said)[0]
    compared, unlike = _comparison(shadows, said, held_out, trained_on)
    fine = finely(shadows, attack.attack, _realised(attack))
    chance, threshold = fine.false_alarms * len(scores), fine.threshold
    accused = (scores > threshold) & (not unlike)
    low, high = np.percentile(chance, [2.5, 97.5]).tolist()
    as_many = 1 + int(np.count_nonzero(chance >= np.count_nonzero(accused)))
    tpr = fpr = None
    if trained_on is not None and not unlike:
        tpr = _share(accused, trained_on)
        fpr = _share(accused, ~trained_on) if not trained_on.all() else None
    return TargetFindings(
        attack.attack,
        scores,
        accused,
        (float(chance.mean()), low, high),
        as_many / (1 + len(chance)),
        compared,
        unlike,
        tpr,
        fpr,
        raised,
    )


def finely(shadows: Shadows, attack: str, fpr: float) -> Strength:
    """The attack on every shadow model with nearly as many references as a further model has."""
    inside = shadows.membership
    parts = folds(inside, FINE_FOLDS)
    scores = cross_scores(shadows.observations, attack, parts)
    threshold = threshold_at_fpr(scores, inside, fpr)
    return Strength(attack, scores, inside, parts, [threshold] * len(parts), threshold)


def _realised(attack: Strength) -> float:
    return float(np.mean(attack.scores[~attack.membership] > attack.threshold))


def _share(accused: Bools, among: Bools) -> tuple[float, float, float]:
    count, trials = int(np.count_nonzero(accused & among)), int(np.count_nonzero(among))
    low, high = clopper_pearson(count, trials)
    return count / trials, float(low), float(high)


def _comparison(
    shadows: Shadows,
    said: Observations,
    held_out: Observations | None,
    trained_on: Bools | None,
) -> tuple[str, str]:
    """With what the model was compared, and how it differs there; "" for nothing and not at all."""
    if held_out is not None and shadows.held_out is not None:
        others, mine = shadows.held_out.confidence, held_out.confidence[0]
        outside = np.ones(others.shape, dtype=np.bool_)
        what = f"{len(mine)} held-out examples"
    elif trained_on is not None:
        # Of one OUT model nothing can be said without itself.
        known = ~trained_on & (np.count_nonzero(~shadows.membership, axis=0) >= 2)
        others, mine = shadows.observations.confidence[:, known], said.confidence[0, known]
        outside = ~shadows.membership[:, known]
        what = f"{len(mine)} examples that it was not trained on"
    else:
        return "", ""
    telling = outside.any(axis=1)
    if min(len(mine), int(telling.sum())) < LEAST_OUTSIDE:
        return "", ""
    return what, _difference(others[telling], outside[telling], mine)


def _difference(others: Floats, outside: Bools, mine: Floats) -> str:
    """How a model's confidences of non-members differ from the shadow models', in words; or "".

    Each is compared with the mean of the other shadow models, example by example: that examples
    are not equally hard, and shadow models OUT of different ones, makes no difference then.
    """
    values, count = others.astype(np.float64), np.count_nonzero(outside, axis=0)
    center = np.mean(values, axis=0, where=outside)
    gaps = (values - center) * (count / (count - 1))  # a model is not among its own others
    own = mine - center
    usual = float(center.mean())
    measures = {
        "mean confidence in the label (log-odds)": (usual + gaps, usual + own),
        "mean distance from the shadow models' mean confidence (log-odds)": (
            np.abs(gaps),
            np.abs(own),
        ),
    }
    for name, (theirs, its) in measures.items():
        of_each, value = np.mean(theirs, axis=1, where=outside), float(its.mean())
        middle, spread, models = float(of_each.mean()), float(of_each.std(ddof=1)), len(of_each)
        bound = t.isf(UNLIKE / 4, models - 1) * spread * np.sqrt(1 + 1 / models)
        if abs(value - middle) > bound:
            return (
                f"its {name} there is {value:.3g}, that of shadow models {middle:.3g} ± {bound:.2g}"
            )
    return ""
