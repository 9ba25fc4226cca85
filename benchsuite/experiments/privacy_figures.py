"""The arrays behind the figures of differential privacy: numbers, nothing drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchsuite.attacks.privacy import advantage
from benchsuite.experiments.privacy import EPSILON, PrivacyExperiment
from benchsuite.experiments.private_training import DELTA, NOISE
from benchsuite.memorization.label import label_memorization
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.privacy import advantage_ceiling

Arrays = dict[str, Any]

BAND = 0.05


def _dp_memorization(experiment: PrivacyExperiment) -> Arrays:
    """Memorization of each highly memorized example under each way to train (Figure 8)."""
    blocks, chosen = experiment.size.blocks, experiment.highly_memorized
    own = experiment.private(NOISE, 1.0, blocks)
    epoch, share = experiment.stopped(float(own.column("test", "correct").mean()))
    plain = experiment.plain
    first = experiment.size.selection * plain.design.block
    arms = {
        "plain": (plain, None, first),
        "plain, stopped early": (plain, epoch + (share > 0.5), first),
        "clipping alone, fitting rate": (
            experiment.private(0.0, experiment.fitting, blocks),
            None,
            0,
        ),
        "DP-SGD, fitting rate": (experiment.private(NOISE, experiment.fitting, blocks), None, 0),
        "clipping alone, own rate": (experiment.private(0.0, 1.0, 1), None, 0),
        "DP-SGD, own rate": (own, None, 0),
    }
    left, accuracy = [], []
    for bank, moment, start in arms.values():
        rows = slice(start, None)
        correct = bank.column("pool", "correct", moment)[rows][:, chosen]
        left.append(label_memorization(correct, bank.membership[rows][:, chosen]).estimate)
        accuracy.append(float(bank.column("test", "correct", moment)[rows].mean()))
    return {
        "arms": np.array(list(arms)),
        "memorization": np.array(left),
        "accuracy": np.array(accuracy),
        "epsilon": np.array(experiment.spent.epsilon),
        "delta": np.array(DELTA),
        "accountant": np.array(experiment.spent.accountant),
        "stopped": np.array(epoch + share),
    }


def _privacy_ceiling(experiment: PrivacyExperiment) -> Arrays:
    """Advantage and memorization of canaries against epsilon, and the ceiling of the former."""
    size = experiment.size
    games = [(EPSILON, size.references, size.targets)]
    games += [(epsilon, 1, 1) for epsilon in size.epsilons]
    without = experiment.played(None, size.references, size.targets)
    played = [experiment.played(*game) for game in games]
    ends = np.array([_advantage(each) for each in (*played, without)])
    return {
        "epsilons": np.array([epsilon for epsilon, _, _ in games]),
        "ceilings": np.array([advantage_ceiling(epsilon, DELTA) for epsilon, _, _ in games]),
        "advantage": ends[:-1],
        "memorization": np.array([each.memorization.mean() for each in played]),
        "accuracy": np.array([each.accuracy.mean() for each in played]),
        "without": np.array([*ends[-1], without.memorization.mean(), without.accuracy.mean()]),
        "delta": np.array(DELTA),
        "accountant": np.array(played[0].spent.accountant),
        "canaries": np.array(size.canaries),
    }


def _advantage(played: Any) -> tuple[float, float, float]:
    """Mean over canaries, with the interval over blocks of 64; NaN ends of a single one."""
    blocks = np.split(np.arange(len(played.scores)), len(played.scores) // 64)
    each = [float(advantage(played.scores[b], played.membership[b]).mean()) for b in blocks]
    if len(each) < 2:
        return each[0], np.nan, np.nan
    return t_interval(each, BAND)


ARRAYS: dict[str, Callable[[PrivacyExperiment], Arrays | None]] = {
    "dp-memorization": _dp_memorization,
    "privacy-ceiling": _privacy_ceiling,
}
"""The figure's arrays by its kind; None where the subject has none."""
