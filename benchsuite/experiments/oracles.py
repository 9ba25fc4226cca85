"""Oracles of memorization, and the Gaussians of LiRA: what the membership paper takes for granted.

From Appendix D.2 of "Exploring Connections Between Memorization And Membership Inference", and from
questions that its summary leaves open.

Controls:

- ``singletons-at-random``: both oracles choose at random among the outliers.
- ``bimodal``: every example's OUT confidences are replaced by two narrow modes, of the mean and the
  standard deviation of its IN confidences, so that no Gaussians can tell the two.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.kernel_lira import kernel_lira
from benchsuite.attacks.lira import lira
from benchsuite.experiments.attack_bank import (
    LIRA,
    OOD,
    SINGLETONS,
    SINGLETONS_AT_RANDOM,
    TRAK_SINGLETONS,
    Floats,
)
from benchsuite.experiments.attack_groups import AttackExperiment
from benchsuite.stats.roc import auroc, threshold_at_fpr
from benchsuite.stats.verdict import CannotResolveError

BIMODAL = "bimodal"
WIDTH = 2.0
"""Of the kernels, in units of Silverman's: the strongest attack of kernels in a pilot, on digits
alone. With 1 LiRA found a tenth to a half more, for narrow kernels follow single references."""
MODES, NARROW = 0.98, 0.2
"""Where the modes lie, and how wide they are, in standard deviations: 0.98^2 + 0.2^2 = 1."""


class OracleExperiment(AttackExperiment):
    """Which examples oracles choose, and whether the attack's Gaussians are good enough."""

    controls: ClassVar[Mapping[str, str]] = {
        SINGLETONS_AT_RANDOM: "Both oracles choose at random among the outliers.",
        BIMODAL: "OUT confidences have two modes, with the mean and deviation of IN confidences.",
    }

    def trak_singletons(self) -> Iterator[dict[str, float]]:
        """Of each block: how much better each attack does on singletons by TRAK, and by Feldman's.

        "log (random OOD / singletons by TRAK misranked): LiRA" is above 0 where the attack does
        better on the latter, and so for each attack; the same of singletons by TRAK and those of
        the bank's own references (Feldman and Zhang). Reported: which share of them is the same,
        and LiRA's AUROC on as many chosen by either, by one factor of TRAK's score alone, and by
        memorization in TRAK's few models.

        Raises:
            CannotResolveError: too few singletons, or a pool of one group.
        """
        chosen, by_memorization = self.members(TRAK_SINGLETONS), self.members(SINGLETONS)
        shared = len(np.intersect1d(chosen, by_memorization)) / len(chosen)
        oracles = {
            "memorization": by_memorization,
            "TRAK": chosen,
            "the mean error alone": self.highest(self.trak.error, len(chosen)),
            "memorization in TRAK's models": self.highest(self.trak.memorization, len(chosen)),
        }
        for number, block in enumerate(self.blocks(self.targets)):
            yield {
                **self._contrast(block, number, (OOD, TRAK_SINGLETONS), OOD, found=False),
                **self._contrast(block, number, (TRAK_SINGLETONS, SINGLETONS), OOD, found=False),
                "in both": shared,
                **{
                    f"AUROC of {LIRA} on singletons by {oracle}": self.auroc(LIRA, block, examples)
                    for oracle, examples in oracles.items()
                },
            }

    # ---- Gaussians -------------------------------------------------------------------------------

    def gaussians(self) -> Iterator[dict[str, float]]:
        """Of each block: the TPR of LiRA over that of the same ratio of kernel densities.

        As a logarithm, each attack above its own calibrated threshold, over all examples; and
        LiRA's AUROC less the other's.

        Raises:
            CannotResolveError: too few non-members for a threshold.
        """
        everyone = np.arange(len(self.subject.pool))
        self._check_resolves(everyone)
        scores = self._both_scores()
        start = self.calibration.start
        calibration = slice(0, self.calibration.stop - start)
        inside = self.membership[start : self.targets.stop]
        thresholds = [
            threshold_at_fpr(each[calibration], inside[calibration], self.size.fpr)
            for each in scores
        ]
        for block in self.blocks(self.targets):
            rows = slice(block.start - start, block.stop - start)
            members = inside[rows]
            found = [
                float((each[rows][members] > threshold).mean())
                for each, threshold in zip(scores, thresholds, strict=True)
            ]
            logs = [float(np.log(max(each, 0.5 / members.sum()))) for each in found]
            ranked = [auroc(each[rows], members) for each in scores]
            yield {
                "log (Gaussian / kernel found)": logs[0] - logs[1],
                "AUROC, Gaussian less kernel": ranked[0] - ranked[1],
                "found, Gaussian": found[0],
                "found, kernel": found[1],
            }

    def _both_scores(self) -> tuple[Floats, Floats]:
        """Of LiRA and of kernels, for calibration and targets, [models, examples]."""

        def attacked() -> tuple[Floats, Floats]:
            confidence = self.observations.confidence[: self.targets.stop].astype(np.float64)
            inside = self.membership[: self.targets.stop]
            if self.control == BIMODAL:
                confidence = self._with_two_modes(confidence, inside)
            rows = np.arange(self.calibration.start, self.targets.stop)
            gaussian = lira(confidence, inside, rows)
            return gaussian, kernel_lira(confidence, inside, rows, width=WIDTH)

        return self.once(("densities", self.control), attacked)

    def _with_two_modes(self, confidence: Floats, inside: NDArray[np.bool_]) -> Floats:
        """OUT confidences with two modes, fitted on the references; a model's are all in one."""
        known = slice(0, self.references.stop)
        moments = []
        for side in (inside, ~inside):
            mean = np.mean(confidence[known], axis=0, where=side[known])
            moments.append((mean, np.std(confidence[known], axis=0, where=side[known])))
        (mean_in, spread_in), (mean_out, spread_out) = moments
        if not spread_out.all():
            raise CannotResolveError("an example has one OUT confidence in all references")
        rng = np.random.default_rng([self.bank.design.seed, 71])
        sign = rng.choice([-1.0, 1.0], len(confidence))[:, None]
        standard = (confidence - mean_out) / spread_out
        two_modes = mean_in + spread_in * (NARROW * standard + MODES * sign)
        return np.where(inside, confidence, two_modes)

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where this subject has none."""
        from benchsuite.experiments.oracle_figures import ARRAYS  # it imports this module

        try:
            return ARRAYS[kind](self)
        except CannotResolveError:
            return None
