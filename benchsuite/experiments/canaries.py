"""Findings about canaries: what models that saw a letter on one image do when it comes again."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.canary_banks import MOMENTS, CanaryBanks
from benchsuite.experiments.canary_choice import CLEAN, SHUFFLED, STAMPED, UNNOISED
from benchsuite.experiments.canary_models import NO_CANARY
from benchsuite.experiments.regularisers import CLIPPED, DP, EARLY, ORDINARY
from benchsuite.stats.verdict import CannotResolveError

LEVEL, STRICT = 0.05, 0.01
P_BELOW = f"p below {LEVEL:g}"
ALL_FOUR = "all four"

Floats = NDArray[np.float64]


class CanaryExperiment(CanaryBanks):
    """What the claims of family C are given; controls as in `canary_choice`.

    A canary is found where its model's effect is too large for a clean model's, at a false
    discovery rate of 5 %. It is told apart as often as its effect is further from the mean of clean
    models, in either direction, than a clean model's.
    """

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where this subject or sample has none.

        Raises:
            KeyError: an unknown kind.
        """
        from benchsuite.experiments import canary_figures  # which draws on what is defined here

        try:
            return canary_figures.ARRAYS[kind](self)
        except CannotResolveError:
            return None

    def memorized(self) -> Iterator[dict[str, float]]:
        """Of each fold the share of trained canaries that are found, of high and low influence.

        "in either direction" counts those too whose letter moves the model less than clean ones.
        """
        models = self.plain
        shares = {
            "found": models.share_found(),
            P_BELOW: models.share_below(LEVEL),
            "found in either direction": models.share_found(two_sided=True),
        }
        if self.control != CLEAN:
            shares["of low self-influence"] = models.share_found(low=True)
            shares["of low, in either direction"] = models.share_found(low=True, two_sided=True)
        yield from _units(shares)

    def false_alarms(self) -> Iterator[dict[str, float]]:
        """Of each group of models the share of clean letters that seem memorized, by each score."""
        models = self.plain
        clean = models.present == NO_CANARY
        tested = (models.present >= 0) & (models.present < models.high)
        p, where = models.p_values(), tested if self.control == STAMPED else clean
        groups = self.size.of_each
        whole = models.p_values_of(self.wholly_clean)
        shares = {
            "false alarms": (p < LEVEL, where),
            "at 1 %": (p < STRICT, where),
            "of the paper's sign, M > 0": (models.m > 0, where),
            "of the paper's t-test": (models.t_p < LEVEL, where),
            "of M > 0, Bernoulli features": (models.m_bernoulli > 0, where),
            "of the rank among glyphs": (models.rank_p <= LEVEL, where),
            "of models without any canary": (whole < LEVEL, np.ones(whole.shape, dtype=np.bool_)),
        }
        yield from _units(
            {name: models.by_group(said, asked, groups) for name, (said, asked) in shares.items()}
        )

    def before_overfitting(self) -> Iterator[dict[str, float]]:
        """Of each fold the share found in the models of the lowest validation loss, and epochs.

        Those are when the fold's canaries are told apart best, of `MOMENTS`, and the mean epoch of
        lowest validation loss of as many groups of models.
        """
        models = self.arm(EARLY)
        numbers = {"found": models.share_found(), P_BELOW: models.share_below(LEVEL)}
        if self.control != CLEAN:
            numbers["epoch told apart best"] = self._epochs_told_apart_best()
            if not len(self.training_at(self.epochs_watched[-1])):  # else some are not known yet
                best = self.best_epochs()
                numbers["epoch of lowest validation loss"] = np.array(
                    [best[first :: models.high].mean() for first in range(models.high)]
                )
        yield from _units(numbers)

    def best_epochs(self) -> NDArray[np.int64]:
        """Epoch of the lowest validation loss of each early-stopped model, [models]."""
        bank, watched = self.arm_bank(EARLY), np.array(self.epochs_watched)
        losses = [bank.column("validation", "loss", epoch=e).mean(axis=1) for e in watched]
        best: NDArray[np.int64] = watched[np.nanargmin(losses, axis=0)]
        return best

    def training_at(self, epoch: int) -> NDArray[np.intp]:
        """Which early-stopped models are still trained in this epoch."""
        loss = self.arm_bank(EARLY).column("validation", "loss", epoch=epoch)
        return np.flatnonzero(np.isfinite(loss).all(axis=1))

    def _epochs_told_apart_best(self) -> Floats:
        bank, apart = self.arm_bank(EARLY), []
        for epoch in MOMENTS:
            if 2 * len(self.training_at(epoch)) < bank.models:
                break
            apart.append(self.scores(bank, epoch).told_apart())
        epochs: Floats = np.array(MOMENTS, dtype=np.float64)[np.argmax(apart, axis=0)]
        return epochs

    def despite_regularisers(self) -> Iterator[dict[str, float]]:
        """Of each fold the share found under each of the paper's regularisers, and their mean."""
        arms = {name: self.arm(name) for name in ORDINARY}
        shares = {name: models.share_found() for name, models in arms.items()}
        shares[ALL_FOUR] = np.mean(list(shares.values()), axis=0)
        shares[P_BELOW] = np.mean([each.share_below(LEVEL) for each in arms.values()], axis=0)
        yield from _units(shares)

    def under_privacy(self) -> Iterator[dict[str, float]]:
        """Of each fold how well canaries are told from clean models, above chance; and accuracy."""
        models = self.arm(CLIPPED if self.control == UNNOISED else DP)
        shares = {
            "told apart": models.told_apart() - 0.5,
            "accuracy": models.accuracies(models.high),
            "found": models.share_found(),
        }
        yield from _units(shares)

    def less_plain(self, name: str) -> Iterator[dict[str, float]]:
        """Of each fold how much better canaries are told apart in other models than in plain ones.

        Args:
            name: of the regulariser, or `CONVOLUTIONAL`.
        """
        models, plain = self.arm(name), self.plain
        shares = {
            "told apart": models.told_apart() - plain.told_apart(),
            "found": models.share_found() - plain.share_found(),
        }
        yield from _units(shares)

    def influence_and_memorization(self) -> Iterator[dict[str, float]]:
        """Of each block of models the correlation of self-influence and effect over all canaries.

        Effects are less the letter's clean mean, in the deviations of its clean models. r and
        reliability are those of the mean over all blocks: reliability by the formula of Spearman
        and Brown from this block and the next, r corrected for the noise that the mean lacks.

        Raises:
            CannotResolveError: fewer than two blocks.
        """
        influence, every = self.influence[self.chosen].ravel(), self.effects_by_block()
        blocks = len(every)
        if blocks < 2:
            raise CannotResolveError(f"{blocks} block of models: reliability needs two")
        rng = np.random.default_rng([0, 41])
        for number, effects in enumerate(every):
            dealt = rng.permutation(influence) if self.control == SHUFFLED else influence
            alike = float(np.corrcoef(effects, every[(number + 1) % blocks])[0, 1])
            gain = blocks / (1 + alike * (blocks - 1))  # of reliability, from one block to all
            r = float(np.corrcoef(dealt, effects)[0, 1]) * float(np.sqrt(max(gain, 1.0)))
            yield {"r": r, "r below .6 by": 0.6 - r, "reliability": alike * gain}

    def share_of_models_found(self) -> Floats:
        """Of each canary the share of its models in which it is found, in the order of `chosen`."""
        models = self.plain
        found = models.found() | models.found(low=True)
        share = np.empty(self.chosen.shape)
        for letter, present in enumerate(models.present.T):
            for canary in range(2 * self.size.of_each):
                share[letter, canary] = found[present == canary, letter].mean()
        return share.ravel()

    def effects_by_block(self) -> list[Floats]:
        """Effect of each canary in each block of models, [canaries], in the order of `chosen`."""
        models, block = self.plain, self.bank.design.block
        clean = np.where(models.present == NO_CANARY, models.effects, np.nan)
        effects = (models.effects - np.nanmean(clean, axis=0)) / np.nanstd(clean, axis=0, ddof=1)
        every = []
        for first in range(0, len(effects), block):
            of_block = np.empty(self.chosen.shape)
            for letter, present in enumerate(models.present[first : first + block].T):
                at = np.flatnonzero(present >= 0)
                of_block[letter, present[at]] = effects[first + at, letter]
            every.append(of_block.ravel())
        return every


def _units(numbers: Mapping[str, Floats]) -> Iterator[dict[str, float]]:
    for values in zip(*numbers.values(), strict=True):
        yield dict(zip(numbers, map(float, values), strict=True))
