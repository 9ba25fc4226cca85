"""The arrays behind the tables and curves of attacks on groups: numbers, nothing drawn."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import OVER, UNDER, mixing_ratio
from benchsuite.experiments.attack_bank import (
    ALL,
    OOD,
    SINGLETONS,
    SMALLEST_GROUP,
    AttackBank,
    Indices,
)
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.membership_figures import BAND, shadow_count
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import template

Arrays = dict[str, Any]

CENTRAL = (2.5, 97.5)
"""Percentiles between which 95 % of the models lie."""


def _attack_table(experiment: AttackBank) -> Arrays:
    """AUROC and TPR of each attack on each group (Tables 1 and 4).

    Means over blocks of targets with t intervals; NaN for a group of fewer than `SMALLEST_GROUP`.
    """
    groups = experiment.groups
    shape = len(ATTACKS), len(groups)
    auroc, tpr = np.full((*shape, 3), np.nan), np.full((*shape, 3), np.nan)
    realised = np.full(shape, np.nan)
    for g, examples in enumerate(groups.values()):
        if len(examples) < SMALLEST_GROUP:
            continue
        for a, attack in enumerate(ATTACKS):
            threshold = experiment.calibrated(attack, examples)
            by_block = [
                (
                    experiment.auroc(attack, block, examples),
                    experiment.rates(attack, block, examples, threshold)[0],
                )
                for block in experiment.blocks(experiment.targets)
            ]
            for cells, values in zip((auroc, tpr), zip(*by_block, strict=True), strict=True):
                cells[a, g] = np.clip(t_interval(values, BAND), 0, 1)
            _, realised[a, g] = experiment.rates(attack, experiment.targets, examples, threshold)
    parts = experiment.references, experiment.calibration, experiment.targets
    return {
        "subject": np.array(experiment.subject.name),
        "attacks": np.array(list(ATTACKS)),
        "groups": np.array(list(groups)),
        "examples": np.array([len(examples) for examples in groups.values()]),
        "auroc": auroc,
        "tpr": tpr,
        "realised_fpr": realised,
        "false_positives": np.array(
            [experiment.allowed_false_positives(examples) for examples in groups.values()]
        ),
        "fpr": np.array(experiment.size.fpr),
        "threshold": np.array(experiment.threshold),
        "models": np.array([part.stop - part.start for part in parts]),
    }


def _mixture(experiment: AttackBank) -> Arrays:
    """Composition of the pool, and accuracy of its models by group (Tables 2 and 3).

    Training accuracy is each model's own on the examples that it was trained on. Ranges are those
    that hold 95 % of the models.

    Raises:
        CannotResolveError: a group without a test example, or a model that was trained on none of
            its examples.
    """
    subject = experiment.subject
    names = (OVER, UNDER) if experiment.mixed else (ALL,)
    correct_on_test = experiment.bank.column("test", "correct")
    examples, train, test = [], [], []
    for name in names:
        pool, held_out = (_of_group(data, name) for data in (subject.pool, subject.test))
        inside = experiment.membership[:, pool]
        if not len(held_out) or not inside.any(axis=1).all():
            raise CannotResolveError(
                f"{subject.name} has {len(held_out)} test examples of the group {name!r}, and a "
                f"model trains on as few as {inside.sum(axis=1).min()} of it: its accuracy cannot "
                "be measured"
            )
        examples.append(len(pool))
        train.append(_over_models(np.mean(experiment.correct[:, pool], axis=1, where=inside)))
        test.append(_over_models(correct_on_test[:, held_out].mean(axis=1)))
    return {
        "subject": np.array(subject.name),
        "groups": np.array(names),
        "examples": np.array(examples),
        "singletons": np.array(len(experiment.groups[SINGLETONS])),
        "alpha": np.array(mixing_ratio(subject.pool) if experiment.mixed else 1.0),
        "share": np.array(subject.share),
        "train": np.array(train),
        "test": np.array(test),
        "network": np.array(_network(subject)),
    }


def _of_group(data: Dataset, name: str) -> Indices:
    return np.flatnonzero((data.groups == name) | (name == ALL))


def _over_models(accuracy: NDArray[np.floating]) -> list[float]:
    """Mean accuracy, and the range that holds 95 % of the models."""
    return [float(accuracy.mean()), *np.percentile(accuracy, CENTRAL).tolist()]


def _network(subject: Subject) -> str:
    """What makes the network, and how many parameters it has."""
    factory: Any = subject.model
    while isinstance(factory, partial):
        factory = factory.func
    network = template(subject.model)
    name = getattr(factory, "__name__", "<lambda>")
    if not name.isidentifier():  # a lambda, or an object that is called
        name = type(network).__name__
    return f"{name}, {sum(each.numel() for each in network.parameters()):,} parameters"


def _shadow_count(experiment: AttackBank) -> Arrays:
    """LiRA's success against the number of references, by group (Figures 1, 5 and 6).

    The attack and its blocks are those of the membership experiment; groups that are too small are
    left out.
    """
    groups = experiment.groups
    shown = {ALL: groups[ALL]}
    if experiment.mixed:
        shown |= {OVER: np.setdiff1d(groups[ALL], groups[OOD]), OOD: groups[OOD]}
    above = f"{experiment.threshold:g}".removeprefix("0")
    shown[f"{SINGLETONS} (mem > {above})"] = groups[SINGLETONS]
    rows = np.r_[experiment.references, experiment.targets]
    split = MembershipExperiment(
        experiment.observations.confidence[rows],
        experiment.correct[rows],
        experiment.membership[rows],
        references=experiment.references.stop,
        block=experiment.block,
    )
    large = {name: group for name, group in shown.items() if len(group) >= SMALLEST_GROUP}
    return shadow_count(split, split.blocks(), large)


ARRAYS: dict[str, Callable[[AttackBank], Arrays | None]] = {
    "attack-table": _attack_table,
    "mixture": _mixture,
    "shadow-count": _shadow_count,
}
"""The figure's arrays by its kind; None where the subject has none."""
