"""What models with and without canaries say of them: tests of one recipe's models.

Every model has been asked about every letter. Where its letter was on none of its images it is a
clean model of that letter, whatever other letters it saw; against those the others are tested.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchsuite.memorization.unique_feature import (
    LEAST_CLEAN,
    clean_p_value,
    prediction_p_value,
)
from benchsuite.stats.verdict import CannotResolveError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

NO_CANARY: Final = -1
LEFT_OUT: Final = -2
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True, eq=False)
class CanaryModels:
    """Scores of models of one recipe, for every letter.

    Args:
        effects: of the letter beyond glyphs of equal ink, see `glyph_effect`, [models, letters].
        m: the paper's score, with a uniform random feature, [models, letters].
        m_bernoulli: the same with a Bernoulli(1/2) one.
        t_p: p-values of the paper's one-tailed t-test that m is above 0.
        rank_p: p-values of the letter among the glyphs, in the same model.
        present: which of the letter's canaries the model was trained on, NO_CANARY, or LEFT_OUT of
            all tests, int64 [models, letters].
        high: canaries of a letter below this number are those of high self-influence.
        accuracy: held-out, [models].

    Raises:
        CannotResolveError: a letter has too few clean models.
    """

    effects: Floats
    m: Floats
    m_bernoulli: Floats
    t_p: Floats
    rank_p: Floats
    present: Ints
    high: int
    accuracy: Floats

    def __post_init__(self) -> None:
        fewest = int((self.present == NO_CANARY).sum(axis=0).min())
        if fewest <= LEAST_CLEAN:  # of which one is tested against the others
            raise CannotResolveError(
                f"a letter has {fewest} clean models, expected at least {LEAST_CLEAN + 1}"
            )

    def with_clean_stand_ins(self) -> Self:
        """Every second clean model of each letter in the place of those with canaries."""
        present = np.full_like(self.present, LEFT_OUT)
        for letter in range(present.shape[1]):
            clean = np.flatnonzero(self.present[:, letter] == NO_CANARY)
            present[clean, letter] = NO_CANARY
            stand_ins = clean[1::2]
            present[stand_ins, letter] = np.arange(len(stand_ins)) % self.high
        return replace(self, present=present)

    # ---- p-values ---------------------------------------------------------------------------

    def p_values(self, two_sided: bool = False) -> Floats:
        """Of each model and letter against the letter's clean models; NaN if left out.

        A clean model is tested against the other clean ones.
        """
        p = prediction_p_value(self.effects, *self._clean_of_each())
        p[self.present == LEFT_OUT] = np.nan
        return 2 * np.minimum(p, 1 - p) if two_sided else p

    def _clean_of_each(self) -> tuple[Floats, Floats, Ints]:
        """Of each cell the letter's clean models but for itself: mean, deviation, number.

        Each [models, letters].
        """
        clean = self.present == NO_CANARY
        effects = np.where(clean, self.effects, np.nan)
        mean, variance = np.nanmean(effects, axis=0), np.nanvar(effects, axis=0, ddof=1)
        n = clean.sum(axis=0)
        off = self.effects - mean
        without = ((n - 1) * variance - n / (n - 1) * off**2) / (n - 2)
        deviation = np.sqrt(np.maximum(np.where(clean, without, variance), 0))
        return np.where(clean, mean - off / (n - 1), mean), deviation, n - clean

    def p_values_of(self, others: "CanaryModels") -> Floats:
        """Of every model and letter of others against the clean models of these."""
        p = np.empty(others.effects.shape)
        for letter in range(len(self.effects.T)):
            clean = self.effects[self.present[:, letter] == NO_CANARY, letter]
            p[:, letter] = clean_p_value(others.effects[:, letter], clean)
        return p

    def found(self, low: bool = False, two_sided: bool = False) -> Bools:
        """Which are found, holding the false discovery rate at 5 % (Benjamini and Hochberg 1995).

        Over all models with a canary of high self-influence, or of low. Tests of one letter share
        their clean models; that the rate is held all the same is simulated in `tests/meta`.

        Returns:
            bool [models, letters], False where nothing was tested.
        """
        tested = self._with_canary(low)
        found = np.zeros(tested.shape, dtype=np.bool_)
        if tested.any():
            p = self.p_values(two_sided)[tested]
            found[tested] = stats.false_discovery_control(p) <= FALSE_DISCOVERY_RATE
        return found

    def _with_canary(self, low: bool) -> Bools:
        with_canary: Bools = self.present >= self.high
        if not low:
            with_canary = (self.present >= 0) & (self.present < self.high)
        return with_canary

    # ---- one number for each fold of canaries -----------------------------------------------
    # A fold is one canary of high self-influence of every letter: other images, other models'
    # letters than in any other fold.

    def share_below(self, level: float) -> Floats:
        """Share of each fold's trained canaries of high self-influence with p below it, [folds]."""
        below = self.p_values() < level
        return np.array([below[self.present == fold].mean() for fold in range(self.high)])

    def share_found(self, low: bool = False, two_sided: bool = False) -> Floats:
        """Share of each fold's trained canaries that are found, [folds]."""
        found, first = self.found(low, two_sided), self.high if low else 0
        return np.array([found[self.present == first + fold].mean() for fold in range(self.high)])

    def told_apart(self) -> Floats:
        """How often a fold's canaries lie further from clean models than a clean model does.

        The area under the ROC of telling them apart by the distance of their effects from the mean
        of the letter's clean ones, in either direction; mean over letters, [folds]; 0.5 is chance.
        Each fold has its own part of every letter's clean models, so that folds share none but
        through that mean.
        """
        center, _, _ = self._clean_of_each()
        distances = np.abs(self.effects - center)
        return np.array([np.mean(list(self._areas(distances, f))) for f in range(self.high)])

    def _areas(self, distances: Floats, fold: int) -> Iterator[float]:
        for of_letter, present in zip(distances.T, self.present.T, strict=True):
            clean = of_letter[present == NO_CANARY][fold :: self.high]
            canaries = of_letter[present == fold]
            if len(clean) and len(canaries):
                yield float((np.sign(canaries[:, None] - clean).mean() + 1) / 2)

    # ---- one number for each group of models -------------------------------------------------

    def by_group(self, values: NDArray[np.generic], where: Bools, groups: int) -> Floats:
        """Means of values [models, letters] where asked, over every so many-th model, [groups]."""
        return np.array(
            [values[first::groups][where[first::groups]].mean() for first in range(groups)]
        )

    def accuracies(self, groups: int) -> Floats:
        """Mean held-out accuracy of every so many-th model, [groups]."""
        return np.array([self.accuracy[first::groups].mean() for first in range(groups)])
