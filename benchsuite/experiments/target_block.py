"""One unit of replication of the membership experiment, and the numbers it yields."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import spearmanr

from benchsuite.attacks.lira import lira
from benchsuite.attacks.privacy import advantage
from benchsuite.experiments.complexity import models_needed
from benchsuite.experiments.gaussians import gaussians, side_mean, success_rate
from benchsuite.experiments.groups import SMALLEST_BIN, Groups
from benchsuite.experiments.shadow_counts import count_needed, shadow_counts
from benchsuite.experiments.split_bank import DEALS, SHUFFLED, SPLIT_OUT, SplitBank
from benchsuite.stats.roc import auroc
from benchsuite.stats.verdict import CannotResolveError

TARGET_ADVANTAGE = 0.9
"""That the likelihood ratio of so many models must reach, for sample complexity."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class TargetBlock:
    """One unit of replication: so many target models, their scores pooled.

    Args:
        experiment: it belongs to.
        models: rows of the bank.
        number: counted from 0.
    """

    experiment: SplitBank
    models: Indices
    number: int

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Who was IN each target, [targets, examples]."""
        return self.experiment.membership[self.models]

    @cached_property
    def memorization(self) -> Floats:
        """Label memorization measured on these models alone, [examples]."""
        return self.experiment.memorization_of(self.models).estimate

    # ---- examples by memorization -----------------------------------------------------------

    def dealt(self, values: Floats) -> Iterator[Floats]:
        """Values as they are; under shuffled memorization, dealt anew to other examples."""
        if self.experiment.control != SHUFFLED:
            yield values
            return
        rng = self.experiment.generator(2, self.number)
        for _ in range(DEALS):
            yield rng.permutation(values)

    def averaged(self, statistic: Callable[[Groups], Any]) -> Any:
        """A number, or numbers by name, of the groups by memorization: the mean over all deals."""
        dealt = [statistic(Groups(m)) for m in self.dealt(self.experiment.memorization.estimate)]
        if isinstance(dealt[0], dict):
            return {name: float(np.mean([each[name] for each in dealt])) for name in dealt[0]}
        return float(np.mean(dealt))

    # ---- LiRA -------------------------------------------------------------------------------

    @cached_property
    def scores(self) -> Floats:
        """LiRA's scores of these targets with all references, [targets, examples]."""
        references = np.arange(self.experiment.references)
        return self.experiment.attack(references, self.models, self.number)

    @cached_property
    def advantage(self) -> Floats:
        """LiRA's advantage on each example at the fixed threshold 0, [examples]."""
        return advantage(self.scores, self.membership)

    def auroc(self, members: Indices | slice, scores: Floats | None = None) -> float:
        """AUROC over these examples and all targets, scores pooled."""
        scores = self.scores if scores is None else scores
        return auroc(scores[:, members], self.membership[:, members])

    def exposure_steps(self, groups: Groups) -> dict[str, float]:
        """Mean advantage in each bin of memorization less that in the bin below.

        Raises:
            CannotResolveError: there is one bin only.
        """
        mean = {
            name: float(self.advantage[members].mean()) for name, members in groups.bins.items()
        }
        if len(mean) < 2:
            raise CannotResolveError(
                f"only one bin of memorization, {next(iter(mean))}, has enough examples: there is "
                "no step to measure"
            )
        return {f"{lower} to {upper}": mean[upper] - mean[lower] for lower, upper in pairwise(mean)}

    def rank_correlations(self) -> dict[str, float]:
        """Spearman's correlation of LiRA's advantage here with two things, over mem > 0.

        "memorization", and "difficulty": minus the mean confidence of OUT models. LiRA is fitted on
        one half of the references, both are measured on the other.

        Raises:
            CannotResolveError: fewer than 15 examples, or all alike.
        """
        experiment = self.experiment
        fitted_on, measured_on = experiment.halves()
        scores = experiment.attack(fitted_on, self.models, self.number)
        memorization = experiment.memorization_of(measured_on).estimate
        members = np.flatnonzero(memorization > 0)
        gained = advantage(scores, self.membership)[members]
        if len(members) < SMALLEST_BIN or np.ptp(gained) == 0 or np.ptp(memorization[members]) == 0:
            raise CannotResolveError(
                f"{len(members)} examples have memorization above 0, of {SMALLEST_BIN} needed, or "
                "all have the same: there is nothing to rank"
            )
        outside = ~experiment.membership[measured_on]
        difficulty = -side_mean(experiment.confidence[measured_on], outside)[members]
        ranked = {"memorization": memorization[members], "difficulty": difficulty}
        return {
            name: float(
                np.mean([spearmanr(gained, dealt).statistic for dealt in self.dealt(values)])
            )
            for name, values in ranked.items()
        }

    # ---- Theorem 1 --------------------------------------------------------------------------

    def soft_llr_excess(self, above: float) -> float:
        """Advantage of the soft LLR test less H², mean over examples memorized above a threshold.

        The test says IN with probability e^(s/2) / (1 + e^(s/2)), s being the log-likelihood ratio
        (Lemma 1); its expected answer stands for a draw. On one half of the references its
        Gaussians are fitted and the examples are chosen, on the other H² is measured; the mean of
        both ways round.

        Raises:
            CannotResolveError: fewer than two examples are memorized so much.
        """
        one, other = self.experiment.halves()
        both = self._soft_llr_excess(one, other, above), self._soft_llr_excess(other, one, above)
        return float(np.mean(both))

    def _soft_llr_excess(self, fitted_on: Indices, measured_on: Indices, above: float) -> float:
        members = Groups(self.experiment.memorization_of(fitted_on).estimate).above(above)
        answers = expit(self.experiment.attack(fitted_on, self.models, self.number) / 2)
        inside = self.membership
        gained = side_mean(answers, inside) - side_mean(answers, ~inside)
        truly_in = self.experiment.membership[measured_on]
        truth = gaussians(self.experiment.confidence[measured_on], truly_in, ~truly_in)
        return float((gained - truth.hellinger_squared)[members].mean())

    # ---- Equation 7 -------------------------------------------------------------------------

    def hellinger_and_memorization(self) -> tuple[Floats, Floats, Floats]:
        """H² of the confidences, memorization and its standard error, each [examples].

        H² is that of Gaussians, less its bias: two Gaussians fitted to n values each of one law
        differ by (1/8 + 1/8)(1/n + 1/n), from their means and their variances (H² is an eighth of
        the Fisher information's quadratic form, whose mean is 1/n + 1/n per parameter).
        """
        inside = self.membership
        outside = ~inside
        if self.experiment.control == SPLIT_OUT:
            rng = self.experiment.generator(3, self.number)
            order = np.where(outside, rng.random(outside.shape), np.inf).argsort(0).argsort(0)
            inside = order < outside.sum(0) // 2
            outside &= ~inside
        fitted = gaussians(self.experiment.confidence[self.models], inside, outside)
        bias = (1 / 8 + 1 / 8) * (1 / inside.sum(0) + 1 / outside.sum(0))
        correct = self.experiment.correct[self.models]
        sides = [success_rate(correct, side) for side in (inside, outside)]
        memorization = sides[0][0] - sides[1][0]
        return (
            fitted.hellinger_squared - bias,
            memorization,
            np.sqrt(sides[0][1] + sides[1][1]),
        )

    def share_above_memorization(self, margin: float, errors: float) -> float:
        """Share of examples whose H² exceeds mem + margin + so many standard errors of mem."""
        hellinger, memorization, stderr = self.hellinger_and_memorization()
        return float(np.mean(hellinger > memorization + margin + errors * stderr))

    # ---- Corollary 1 ------------------------------------------------------------------------

    def complexity_slopes(self) -> dict[str, float]:
        """Slope of log n on log 1/mem by channel, see `complexity`; and the least n x mem.

        "prediction at .5" is the slope at advantage 0.5: near 1 and below, for n is at least 1.
        Corollary 1 says no more than that n x mem stays above some constant.
        """
        memorization, needed = self.complexity()
        least = float((needed["prediction"] * memorization).min())
        needed["prediction at .5"] = self.complexity(0.5)[1]["prediction"]
        slopes: dict[str, list[float]] = {channel: [] for channel in needed}
        for regressor in self.dealt(memorization):
            for channel, models in needed.items():
                slope = np.polyfit(-np.log(regressor), np.log(models), 1)[0]
                slopes[channel].append(float(slope))
        means = {channel: float(np.mean(each)) for channel, each in slopes.items()}
        return {**means, "least n x mem": least}

    def complexity(self, target: float = TARGET_ADVANTAGE) -> tuple[Floats, dict[str, Floats]]:
        """Memorization and the models needed of surely memorized examples; see `models_needed`."""
        return models_needed(self.experiment, self.models, target)

    # ---- number of shadow models ------------------------------------------------------------

    @cached_property
    def scores_by_count(self) -> dict[int, Floats]:
        """Scores with 2, 4, 8, ... and all references: LiRA of variant `residual-fixed`.

        Each block starts elsewhere in the references, so that the few models of a small count are
        not the same in every block.
        """
        experiment = self.experiment
        references = np.roll(np.arange(experiment.references), -self.number * experiment.block)
        return {
            count: experiment.attack(references[:count], self.models, self.number, "residual-fixed")
            for count in shadow_counts(len(references))
        }

    def shadows_needed(self, members: Indices | slice) -> float:
        """References that an attack on these examples needs; see `count_needed`."""
        aurocs = [self.auroc(members, scores) for scores in self.scores_by_count.values()]
        return count_needed(list(self.scores_by_count), aurocs)

    def auroc_with_one_pair(self, members: Indices) -> float:
        """AUROC of fixed-variance LiRA that has seen one IN and one OUT model of each example.

        Each block's attacker has seen other models.
        """
        return self.auroc(members, self._scores_with_one_pair)

    @cached_property
    def _scores_with_one_pair(self) -> Floats:
        experiment = self.experiment
        references = np.arange(experiment.references)
        inside = experiment.believed(references, self.number)
        confidence = experiment.confidence[references]
        seen = [_nth_row(confidence, side, self.number) for side in (inside, ~inside)]
        pair = np.repeat([[True], [False]], inside.shape[1], axis=1)
        return lira(
            np.concatenate([seen, experiment.confidence[self.models]]),
            np.concatenate([pair, self.membership]),
            targets=np.arange(2, 2 + len(self.models)),
            variant="residual-fixed",
        )


def _nth_row(values: NDArray[np.floating], side: NDArray[np.bool_], n: int) -> Floats:
    """Of each column, the value in the n-th row (from 0) that is on the side."""
    rows = np.argmax(np.cumsum(side, axis=0) == n + 1, axis=0)
    picked: Floats = values[rows, np.arange(values.shape[1])].astype(np.float64)
    return picked
