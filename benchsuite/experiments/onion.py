"""What the onion's claims about layers are given: a number of each block of models.

From "The Privacy Onion Effect: Memorization is Relative", Sections 3, 4 and 5.2 and Appendix A.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from benchsuite.data.outliers import foreign_outliers
from benchsuite.experiments.onion_worlds import (
    EXPOSED_LAYER,
    PERMUTED,
    PUT_BACK,
    RANDOM,
    OnionWorlds,
    most,
)
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.world import World
from benchsuite.memorization.label import label_memorization
from benchsuite.stats.verdict import CannotResolveError

RELIABLE_AT = 1024
"""Models that a correlation of advantages is stated for."""
SAFE, EXPOSED = 0.1, 0.3
"""Advantage up to which an audit calls an example safe, and from which it calls it exposed."""
WORST = 0.01
"""Share of the examples whose risk rises most that is called the worst case."""


class OnionExperiment(OnionWorlds):
    """What the claims about layers are given."""

    def peels(self) -> Iterator[dict[str, float]]:
        """The effect of removing the layer, see `effect`."""
        return self.effect(self.layer)

    def agreement(self, pairs: int = 4) -> Iterator[dict[str, float]]:
        """Whether independent parts of the base bank find the same layer, of each pair of them.

        "r" is the correlation of their advantages, taken from the parts' size to `RELIABLE_AT`
        models by the Spearman-Brown formula (by its size, where it is negative); "r of parts" is as
        measured, and "overlap" the share of one part's layer that the other's holds.

        Source: Spearman (1910) and Brown (1910), British Journal of Psychology 3, 271 and 296.
        """
        count, block = self.layer_size(), self.bank.design.block
        size = max(block, self.bank.models // (2 * pairs) // block * block)
        for number, first in enumerate(range(0, self.bank.models - 2 * size + 1, 2 * size)):
            one, other = (
                self.whole(slice(start, start + size)).advantage for start in (first, first + size)
            )
            if self.control == PERMUTED:
                rng = np.random.default_rng([self.bank.design.seed, 21, number])
                other = rng.permutation(other)
            r, longer = float(np.corrcoef(one, other)[0, 1]), RELIABLE_AT / size
            shared = np.intersect1d(most(one, count), most(other, count))
            yield {
                "r": longer * r / (1 + (longer - 1) * abs(r)),
                "overlap": len(shared) / count,
                "r of parts": r,
            }

    def removals_that_should_not_matter(self) -> Iterator[dict[str, float]]:
        """Log (R/I) of random and of the safest examples removed."""
        both = (
            (self.exposed, self.exposed)
            if self.control == EXPOSED_LAYER
            else (self.random, self.safest)
        )
        for random, safest in zip(*map(self.effect, both), strict=True):
            yield {"random": random["log (R/I)"], "safest": safest["log (R/I)"]}

    def foreign_outliers_instead(self) -> Iterator[dict[str, float]]:
        """The layer replaced by as many out-of-distribution images with random labels.

        "with outliers / without": log TPR on the kept examples against that of models trained
        without the layer and without outliers; "with outliers / idealised" against the base models.
        "memorization": that of the outliers less that of the layer in the base bank.
        """
        fpr, removal = self.size.fpr, self.exposed
        real = self.without(removal)
        added = self.others if self.control == PUT_BACK else self.with_outliers(removal)
        outliers = np.flatnonzero(~np.isin(added.examples, removal.kept))
        of_layer = memorization(self.base.at(removal.examples))
        for base, without, instead in zip(
            self.base.blocks(), real.blocks(), added.blocks(), strict=True
        ):
            log = instead.at(removal.kept).log_tpr(fpr)
            yield {
                "with outliers / without": log - without.log_tpr(fpr),
                "with outliers / idealised": log - base.at(removal.kept).log_tpr(fpr),
                "memorization": memorization(instead.take(outliers)) - of_layer,
            }

    def with_outliers(self, removal: Removal) -> World:
        """Models trained with foreign outliers instead of what is removed.

        Raises:
            CannotResolveError: there are none for this pool.
        """
        kept = removal.without(self.subject)
        try:
            pool = foreign_outliers(kept.pool, len(removal), seed=self.bank.design.seed)
        except ValueError as error:
            raise CannotResolveError(f"there are no outliers for this pool: {error}") from error
        examples = np.concatenate([removal.kept, np.full(len(removal), -1)])
        name = f"{self.subject.name}-with-outliers"
        return self.world(replace(kept, name=name, pool=pool), examples)

    def new_layer(self) -> Iterator[float]:
        """Of each block: advantage on the layer that a peel exposes less that on the one it took.

        The new layer is chosen on one half of the retrained models and measured on the other; the
        old one is measured with as many references.
        """
        removal = self.exposed
        real = self.without(removal)
        for (chosen_on, measured_on), (_, before) in zip(
            self._halves(real), self._halves(self.base), strict=True
        ):
            new = most(chosen_on.advantage, self.layer_size())
            if self.control == RANDOM:
                new = self.generator(3).choice(len(removal.kept), self.layer_size(), replace=False)
            old = before.at(removal.examples).blocks()
            for one, other in zip(measured_on.blocks(), old, strict=True):
                yield float(one.advantage[new].mean() - other.advantage.mean())

    def unlearning(self) -> Iterator[dict[str, float]]:
        """Rise of the others' advantage once the layer is unlearned, exactly: by retraining.

        "mean" over all kept examples; "worst" over the `WORST` part whose rise is highest in other
        models than those that measure it.
        """
        removal = self.layer
        after, before = self.without(removal), self.ignoring(removal)
        count = max(1, round(WORST * len(removal.kept)))
        for (chosen, measured), (chosen_before, measured_before) in zip(
            self._halves(after), self._halves(before), strict=True
        ):
            worst = most(chosen.advantage - chosen_before.advantage, count)
            for one, other in zip(measured.blocks(), measured_before.blocks(), strict=True):
                rise = one.advantage - other.advantage
                yield {"mean": float(rise.mean()), "worst": float(rise[worst].mean())}

    def audits(self) -> Iterator[float]:
        """Of each block: share of what the base audit calls safe that is exposed after the removal.

        An example counts where the half of the models that the block is not of finds it exposed
        too, attacked alone: the noise of one block would expose some.

        Raises:
            CannotResolveError: the audit calls nothing safe, or there is a single block.
        """
        removal = self.layer
        safe = self.selection.advantage[removal.kept] <= SAFE
        if not safe.any():
            raise CannotResolveError(f"no example has an advantage of {SAFE} or less")
        for confirming, measured in self._halves(self.without(removal)):
            confirmed = confirming.advantage >= EXPOSED
            for block in measured.blocks():
                yield float(np.mean((confirmed & (block.advantage >= EXPOSED))[safe]))

    def peeling(self) -> Iterator[dict[str, float]]:
        """One shot against as many examples removed in several rounds (Appendix A).

        "overlap": share of a one-shot layer that peeling removed too; "log (peeled / one shot)": of
        the TPR on what either keeps, from models that none of this was chosen on; "overlap of one
        shots": of a one-shot layer with that of the models that peeling begins with, which noise
        alone keeps below 1. The one-shot layers are chosen by a quarter each of the models that
        peeling does not begin with.
        """
        peeled = self.random if self.control == RANDOM else self.peeled
        one_shot, final = self.without(self.exposed), self.without(peeled)
        begun_with = most(self.begins_peeling.advantage, len(peeled))
        units, first = 4, len(self.begins_peeling)
        quarter, size = (self.bank.models - first) // units, len(final) // units
        for unit in range(units):
            start = first + unit * quarter
            layer = most(self.whole(slice(start, start + quarter)).advantage, len(peeled))
            rows = slice(unit * size, (unit + 1) * size)
            yield {
                "overlap": len(np.intersect1d(layer, peeled.examples)) / len(peeled),
                "overlap of one shots": len(np.intersect1d(layer, begun_with)) / len(peeled),
                "log (peeled / one shot)": final.part(rows).log_tpr(self.size.fpr)
                - one_shot.part(rows).log_tpr(self.size.fpr),
            }

    @staticmethod
    def _halves(world: World) -> tuple[tuple[World, World], tuple[World, World]]:
        """One half to choose on and the other to measure on, both ways round."""
        first, second = world.halves()
        return (first, second), (second, first)

    @property
    def begins_peeling(self) -> World:
        """The models that choose what is peeled off first: half of `selection`."""
        block = self.bank.design.block
        half = max(1, len(self.selection) // block // 2) * block
        return self.whole(slice(0, half))

    @property
    def peeled(self) -> Removal:
        """As many examples as a layer, taken out over several rounds with retraining between."""
        ends = np.linspace(0, self.layer_size() // 2, self.size.rounds + 1).round().astype(int) * 2
        removal: Removal | None = None
        models = self.bank.design.block * self.size.round_blocks
        for first, last in pairwise(np.unique(ends)):
            world = self.begins_peeling if removal is None else self.without(removal, models)
            worst = world.examples[most(world.advantage, int(last - first))]
            removal = (
                Removal(self.subject.pool, "peeled", worst)
                if removal is None
                else removal.and_also(worst)
            )
        assert removal is not None
        return removal


def memorization(world: World) -> float:
    """Mean label memorization over a world's examples."""
    return float(label_memorization(world.correct, world.membership).estimate.mean())
