"""The arrays behind the figures of outliers, singletons and memorization; nothing drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchsuite.attacks.privacy import privacy_score
from benchsuite.data.mixtures import OVER, UNDER
from benchsuite.experiments.attack_bank import OOD, SINGLETONS, SMALLEST_GROUP, Indices
from benchsuite.experiments.outliers import NOT_EXPOSED, PAPERS, OutlierExperiment
from benchsuite.experiments.pictures import pictures
from benchsuite.stats.verdict import CannotResolveError

Arrays = dict[str, Any]
Floats = NDArray[np.float64]

BINS = 40
OF_A_LEVEL = 10
LEVELS = {"up to .1": 0.1, ".1 to .5": 0.5, ".5 to .8": 0.8, "above .8": np.inf}
"""Their upper ends, inclusive."""


def _privacy_by_group(experiment: OutlierExperiment) -> Arrays:
    """Histograms of the privacy score over all models, by group (Figure 2a).

    Raises:
        CannotResolveError: fewer than `SMALLEST_GROUP` outliers.
    """
    if not experiment.mixed:
        raise CannotResolveError(f"the pool of {experiment.subject.name} is no mixture")
    under = experiment.members(OOD)
    over = np.setdiff1d(np.arange(len(experiment.memorization)), under)
    scores = _privacy(experiment, slice(0, experiment.targets.stop))
    edges = np.linspace(0, scores.max(), BINS + 1)
    groups = {"over": over, "under": under, "singletons": experiment.groups[SINGLETONS]}
    return {
        "edges": edges,
        **{name: np.histogram(scores[group], edges)[0] for name, group in groups.items()},
        "below": np.array(np.mean(scores[under] < PAPERS)),
        "below_one": np.array(np.mean(scores[under] < NOT_EXPOSED)),
    }


def _outlier_scatter(experiment: OutlierExperiment) -> Arrays:
    """Memorization, privacy and detectors' scores of each example (Figures 2b, 2c, 3 and 4a).

    As in the claims, predictors come from the references, and what they predict from the other
    models: the privacy score, and of the detectors memorization too (`memorization_of_others`).
    Sets of fewer than `SMALLEST_GROUP` examples are left out.
    """
    predictors = {"memorization": experiment.memorization, **experiment.detected}
    predicted = {
        "privacy": _privacy(experiment, experiment.others),
        "memorization": experiment.memorization_of(experiment.others),
    }
    group = _group(experiment)
    sets = {"all examples": np.arange(len(group)), "memorization above 0": experiment.memorized}
    if experiment.mixed:
        sets |= {OVER: np.flatnonzero(group == 0), UNDER: np.flatnonzero(group > 0)}
    sets = {name: each for name, each in sets.items() if len(each) >= SMALLEST_GROUP}
    pairs = [(one, other) for other in predicted for one in predictors if one != other]
    ranked = [
        [_spearman(predictors[one][each], predicted[other][each]) for each in sets.values()]
        for one, other in pairs
    ]
    rho, p = np.moveaxis(np.array(ranked), -1, 0)
    drawn = {
        "memorization": predictors["memorization"],
        "memorization_of_others": predicted["memorization"],
        "privacy": predicted["privacy"],
        "msp": predictors["MSP"],
        "energy": predictors["energy"],
    }
    return {
        **{name: values.astype(np.float32) for name, values in drawn.items()},  # half the file
        "group": group,
        "pairs": np.array([f"{one} - {other}" for one, other in pairs]),
        "sets": np.array(list(sets)),
        "examples": np.array([len(each) for each in sets.values()]),
        "spearman": rho,
        "p": p,
    }


def _memorization_levels(experiment: OutlierExperiment) -> Arrays | None:
    """Images at each level of memorization, from both groups where it has both (Figure 4b)."""
    images = pictures(experiment.subject.pool.images)
    if images is None:
        return None
    memorization, group = experiment.memorization, _group(experiment)
    is_under = experiment.subject.pool.groups == UNDER
    level = np.searchsorted(list(LEVELS.values()), memorization)
    shown, counts = [], []
    for number in range(len(LEVELS)):
        here = np.flatnonzero(level == number)
        here = here[np.argsort(memorization[here], kind="stable")]
        sides = [here[~is_under[here]], here[is_under[here]]]
        counts.append([len(side) for side in sides])
        shown += _shared_out(sides, OF_A_LEVEL)
    chosen = np.concatenate(shown)
    return {
        "images": images[chosen],
        "labels": experiment.subject.pool.labels[chosen],
        "memorization": memorization[chosen],
        "group": group[chosen],
        "level": level[chosen],
        "levels": np.array(list(LEVELS)),
        "counts": np.array(counts),
    }


def _group(experiment: OutlierExperiment) -> NDArray[np.int64]:
    """0 over-represented, 1 under-represented, 2 singleton, [examples]."""
    group = np.zeros(len(experiment.memorization), dtype=np.int64)
    if experiment.mixed:
        group[experiment.groups[OOD]] = 1
    group[experiment.groups[SINGLETONS]] = 2
    return group


def _privacy(experiment: OutlierExperiment, models: slice) -> Floats:
    return privacy_score(experiment.observations.confidence[models], experiment.membership[models])


def _spearman(one: Floats, other: Floats) -> tuple[float, float]:
    """Spearman's rank correlation and its two-sided p-value; 0 and 1 where either is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0, 1.0
    ranked = spearmanr(one, other)
    return float(ranked.statistic), float(ranked.pvalue)


def _shared_out(sides: list[Indices], most: int) -> list[Indices]:
    """At most so many in all, half of each side or what the other leaves, evenly chosen."""
    first, second = (len(side) for side in sides)
    half = min(first, max(most // 2, most - second))
    return [
        side[np.linspace(0, len(side) - 1, min(len(side), count)).round().astype(int)]
        for side, count in zip(sides, (half, most - half), strict=True)
    ]


ARRAYS: dict[str, Callable[[OutlierExperiment], Arrays | None]] = {
    "privacy-by-group": _privacy_by_group,
    "outlier-scatter": _outlier_scatter,
    "memorization-levels": _memorization_levels,
}
"""The figure's arrays by its kind; None where the subject has none."""
