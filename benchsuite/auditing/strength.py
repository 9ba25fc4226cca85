"""How well attacks do on shadow models: each model attacked with the models of other folds.

The folds are four. A model's references are the models of the other three, so that no model is its
own reference; all models of a fold have the same ones, and one threshold, set by that fold's own
non-members. Models on complementary halves of the examples, which some designs have, stay in one
fold: each would give the other's membership away.

A false positive rate is an average over examples: the few that stand out are accused far more often
than the others. That is why each example has a rate of its own beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.catalogue import ATTACKS, NEED_LOGITS
from benchsuite.attacks.observations import Observations
from benchsuite.stats.intervals import Interval, t_interval
from benchsuite.stats.roc import auroc, threshold_at_fpr
from benchsuite.stats.validation import Bools, both_sides

FOLDS = 4
LEAST_MODELS = 32
"""Eight in a fold, of which four or so are IN on an example."""
LEAST_FALSE_POSITIVES = 20
"""That a threshold rests on."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Strength:
    """One attack on every model.

    Attributes:
        attack: its name.
        scores: larger says IN, [models, examples].
        membership: who was IN, [models, examples].
        folds: rows of the models of each.
        thresholds: of each fold.
        threshold: of all folds together.
    """

    attack: str
    scores: Floats
    membership: Bools
    folds: list[Indices]
    thresholds: list[float]
    threshold: float

    @cached_property
    def accused(self) -> Bools:
        """Which examples are called members, [models, examples]."""
        accused = np.empty(self.scores.shape, dtype=np.bool_)
        for part, threshold in zip(self.folds, self.thresholds, strict=True):
            accused[part] = self.scores[part] > threshold
        return accused

    @property
    def tprs(self) -> Floats:
        """Share of the members that are accused, [folds]."""
        found = _rate(self.accused, self.membership)
        return np.array([found[part].mean() for part in self.folds])

    @property
    def tpr(self) -> Interval:
        """Share of the members that are accused; the interval is over folds."""
        return t_interval(self.tprs)

    @property
    def false_alarms(self) -> Floats:
        """Share of each model's non-members that are accused, [models]."""
        return _rate(self.accused, ~self.membership)

    @property
    def auroc(self) -> float:
        """Mean over folds, the scores of each pooled."""
        of_each = (auroc(self.scores[part], self.membership[part]) for part in self.folds)
        return float(np.mean(list(of_each)))


def _rate(accused: Bools, among: Bools) -> Floats:
    return np.asarray(np.mean(accused, axis=1, where=among), dtype=np.float64)


def attacks_for(observations: Observations) -> tuple[list[str], list[str]]:
    """Names of the attacks that these columns allow, and of those that need logits."""
    lacking = [name for name in ATTACKS if observations.logits is None and name in NEED_LOGITS]
    return [name for name in ATTACKS if name not in lacking], lacking


def strengths(observations: Observations, names: list[str], fpr: float) -> Iterator[Strength]:
    """Each attack on every model.

    Raises:
        ValueError: as `check_models`, or an FPR that so many non-members cannot resolve.
    """
    membership = observations.membership
    assert membership is not None
    check_models(membership)
    check_resolved(membership, fpr)
    for name in names:
        yield strength_of(name, observations, membership, fpr)


def strength_of(attack: str, told: Observations, membership: Bools, fpr: float) -> Strength:
    """An attack on every model by what it is told of the others, their membership too.

    Args:
        attack: its name.
        told: what it is told.
        membership: who was IN indeed, by which it is judged, bool [models, examples].
        fpr: of its thresholds.
    """
    parts = folds(membership)
    scores = cross_scores(told, attack, parts)
    of_each = [threshold_at_fpr(scores[part], membership[part], fpr) for part in parts]
    of_all = threshold_at_fpr(scores, membership, fpr)
    return Strength(attack, scores, membership, parts, of_each, of_all)


def cross_scores(observations: Observations, attack: str, parts: list[Indices]) -> Floats:
    """Scores of every model, by references that are the models of other folds."""
    scores = np.empty(observations.shape)
    for part in parts:
        scores[part] = ATTACKS[attack](observations, part)
    return scores


def folds(membership: Bools, count: int = FOLDS) -> list[Indices]:
    """Rows of the models of each fold, ascending; complementary models stay together.

    Sizes differ by two at most, in a design without complementary models by one.
    """
    place = {row.tobytes(): k for k, row in enumerate(membership)}
    partner = [place.get((~row).tobytes()) for row in membership]
    pairs = [(k, other) for k, other in enumerate(partner) if other is not None and k < other]
    singles = [k for k, other in enumerate(partner) if other is None]
    of_pairs = np.array_split(np.array(pairs, dtype=np.intp).reshape(-1, 2), count)
    of_singles = np.array_split(np.array(singles, dtype=np.intp), count)[::-1]
    parts = [
        np.sort(np.concatenate([some.ravel(), others]))
        for some, others in zip(of_pairs, of_singles, strict=True)
    ]
    return [part for part in parts if len(part)]


def check_models(membership: Bools) -> None:
    """Raise unless the models of any three folds can be references for those of the fourth.

    Raises:
        ValueError: too few models, a model that was trained on all examples or on none, two models
            on the same examples, or an example that is IN, or OUT, for no model of three folds.
    """
    if len(membership) < LEAST_MODELS:
        raise ValueError(
            f"there are {len(membership)} shadow models, expected at least {LEAST_MODELS}, each of "
            "which is attacked with three quarters of them: train more"
        )
    sums = membership.sum(axis=1)
    for strange, what in ((sums == 0, "none"), (sums == membership.shape[1], "all")):
        if strange.any():
            raise ValueError(
                f"membership of model {int(strange.argmax())} says that it was trained on {what} "
                "of the examples, expected some IN and some OUT: leave it out"
            )
    distinct, first = np.unique(membership, axis=0, return_index=True)
    if len(distinct) < len(membership):
        twice = np.setdiff1d(np.arange(len(membership)), first)[0]
        raise ValueError(
            f"membership of model {twice} is that of an earlier one too, expected another subset "
            "for each: one would give the other's membership away, so leave one of them out"
        )
    for part in folds(membership):
        both_sides(np.delete(membership, part, axis=0))


def check_resolved(membership: Bools, fpr: float) -> None:
    """Raise a ValueError unless non-members are enough for a threshold at this FPR."""
    if not 0 < fpr < 1:
        raise ValueError(f"fpr is {fpr}, expected a rate between 0 and 1, such as 0.001")
    fewest = fewest_non_members(membership)
    if fewest * fpr < LEAST_FALSE_POSITIVES:
        raise ValueError(
            f"fpr={fpr:g} allows {fewest * fpr:.1f} false alarms among the {fewest:,} non-members "
            f"that set a threshold, expected at least {LEAST_FALSE_POSITIVES}: "
            f"{instead(fewest)}train more shadow models"
        )


def fewest_non_members(membership: Bools) -> int:
    """Pairs of a model and an example OUT of it, in the fold that has the fewest."""
    return min(int(np.count_nonzero(~membership[part])) for part in folds(membership))


def instead(non_members: int) -> str:
    """Which rate so many non-members resolve, as advice; "" where none below 1 would do."""
    rate = _rounded_up(LEAST_FALSE_POSITIVES / non_members) if non_members else 1.0
    return f"pass fpr={rate:g}, or " if rate < 1 else ""


def _rounded_up(rate: float) -> float:
    """To one digit."""
    unit = 10.0 ** np.floor(np.log10(rate))
    return float(np.ceil(rate / unit - 1e-9) * unit)
