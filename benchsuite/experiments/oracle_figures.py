"""The arrays behind the figures of oracles: numbers, nothing drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchsuite.data.mixtures import UNDER
from benchsuite.experiments import attack_figures
from benchsuite.experiments.attack_bank import LIRA, SMALLEST_GROUP, TRAK_SINGLETONS
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.membership_figures import BAND
from benchsuite.experiments.oracles import OracleExperiment
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.normality import normality_rejections
from benchsuite.stats.roc import auroc
from benchsuite.stats.verdict import CannotResolveError

Arrays = dict[str, Any]

THRESHOLDS = np.arange(1, 10) / 10
LEVEL = 0.05


def _oracle_scores(experiment: OracleExperiment) -> Arrays:
    """Memorization and TRAK's scores of both groups, and how well each tells them (Figure 7)."""
    experiment.members(TRAK_SINGLETONS)
    trak = experiment.trak
    under = experiment.subject.pool.groups == UNDER
    scores = {
        "memorization": experiment.memorization,
        "trak": trak.scores,
        "same models": trak.memorization,
    }
    return {
        **scores,
        "under": under,
        "separation": np.array([auroc(each, under) for each in scores.values()]),
        "models": np.array([experiment.references.stop, trak.models, trak.models]),
        "seconds": np.array(trak.seconds),
    }


def _memorization_threshold(experiment: OracleExperiment) -> Arrays:
    """LiRA's AUROC on singletons, and the references it needs, by what is called a singleton."""
    outliers = experiment.members(experiment.source)
    memorization = experiment.memorization[outliers]
    groups = [outliers[memorization > above] for above in THRESHOLDS]
    shown = [k for k, group in enumerate(groups) if len(group) >= SMALLEST_GROUP]
    if not shown:
        raise CannotResolveError("no threshold leaves a group that is large enough")
    rows = np.r_[experiment.references, experiment.targets]
    split = MembershipExperiment(
        experiment.observations.confidence[rows],
        experiment.correct[rows],
        experiment.membership[rows],
        references=experiment.references.stop,
        block=experiment.block,
    )
    ranked = np.array(
        [
            [experiment.auroc(LIRA, block, groups[k]) for k in shown]
            for block in experiment.blocks(experiment.targets)
        ]
    )
    needed = np.array(
        [[np.log(b.shadows_needed(groups[k])) for k in shown] for b in split.blocks()]
    )
    return {
        "thresholds": THRESHOLDS[shown],
        "examples": np.array([len(groups[k]) for k in shown]),
        "auroc": np.array([np.clip(t_interval(each, BAND), 0, 1) for each in ranked.T]),
        "needed": np.array([np.exp(t_interval(each, BAND)) for each in needed.T]),
        "references": np.array(experiment.references.stop),
    }


def _normality(experiment: OracleExperiment) -> Arrays:
    """How often a test rejects that confidences are Gaussian, by how many there are."""
    confidence = experiment.observations.confidence[: experiment.references.stop]
    inside = experiment.membership[: experiment.references.stop]
    most = int(min(inside.sum(axis=0).min(), (~inside).sum(axis=0).min()))
    counts = [2**k for k in range(3, most.bit_length() + 1) if 2**k <= most]
    if not counts:
        raise CannotResolveError(f"{most} references a side are too few for a test of normality")
    shares = [
        [normality_rejections(_first(confidence, side, n), LEVEL).share for n in counts]
        for side in (inside, ~inside)
    ]
    return {
        "counts": np.array(counts),
        "rejected": np.array(shares),
        "level": np.array(LEVEL),
        "examples": np.array(confidence.shape[1]),
    }


def _first(confidence: Any, side: Any, count: int) -> Any:
    """The first so many confidences of each example on this side, [count, examples]."""
    order = np.argsort(~side, axis=0, kind="stable")[:count]
    return np.take_along_axis(confidence, order, axis=0)


ARRAYS: dict[str, Callable[[OracleExperiment], Arrays | None]] = {
    "attack-table": attack_figures.ARRAYS["attack-table"],
    "oracle-scores": _oracle_scores,
    "memorization-threshold": _memorization_threshold,
    "normality": _normality,
}
"""The figure's arrays by its kind; None where the subject has none."""
