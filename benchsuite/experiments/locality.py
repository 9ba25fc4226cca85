"""Is the onion local? Few neighbours of one target are removed, and only they (Section 5.1)."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.onion import SAFE
from benchsuite.experiments.onion_worlds import OnionWorlds, most
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.twins import TwinsExperiment
from benchsuite.experiments.world import Unmasking, World, rightness
from benchsuite.memorization.privacy_influence import top_influences
from benchsuite.stats.verdict import CannotResolveError

NEIGHBOURS = "random-neighbours"
UNITS = 8
"""Parts that the models of every world are dealt into.

They are no whole blocks, and some have references in common: simulated where nothing masks
anything, intervals are 5 to 10 % too narrow, and in worlds of a single block 10 to 17 %.
"""

Indices = NDArray[np.intp]


class LocalityExperiment(OnionWorlds):
    """Targets whose nearest maskers, by PRIVINF, are removed from the pool.

    PRIVINF and the groups are taken from `selection`; the second layer from one half of the models
    that lack the first, whose other half measures the rise that the whole layer makes.
    """

    controls: ClassVar[Mapping[str, str]] = {
        NEIGHBOURS: "As many random examples of the layer are removed instead of neighbours.",
    }

    def rises(self) -> Iterator[dict[str, float]]:
        """Of each unit: rise of the targets' advantage, pooled over a group's targets.

        By group, see `groups`; "whole layer" is the rise of the second layer where all of the first
        is removed.
        """
        groups = self.groups()
        second = groups["second layer"]
        after = dict.fromkeys(second.after, self.without_layer)
        groups["whole layer"] = Unmasking(second.before, after, len(self.exposed))
        for unit in range(UNITS):
            rises = {name: group.rise(unit, UNITS) for name, group in groups.items()}
            if not self.control:
                above = rises["second layer"] - rises["random targets"]
                rises["second layer above random"] = above
            yield rises

    def groups(self) -> dict[str, Unmasking]:
        """The targets of each group.

        "second layer", "random targets" and, in one block of models, "safe targets" lack their
        neighbours; "duplicates" two of them each, see `TwinsExperiment.unmasked`; "second layer,
        k = ..." fewer. A control, which is about the second layer, has no other group.
        """
        whose = "random-neighbours" if self.control else "neighbours-of-second-layer"
        groups = {"second layer": self._lacking(whose, self.second_layer)}
        if not self.control:
            groups["random targets"] = self._lacking(
                "neighbours-of-random-targets", self.random_targets
            )
            groups["safe targets"] = self._lacking(
                "neighbours-of-safe-targets", self.safe_targets, models=self.bank.design.block
            )
            groups["duplicates"] = TwinsExperiment(
                self.subject, self.bank, self.size, self.workshop, cache=self.cache
            ).unmasked()
            for count in self.size.fewer_neighbours:
                fewer = self._lacking(f"{count}-{whose}", self.second_layer, neighbours=count)
                groups[f"second layer, k = {count}"] = fewer
        return groups

    @property
    def without_layer(self) -> World:
        """Models that lack all of the first layer, of which none chose the second.

        They are attacked by those who know as little as in the worlds that lack a few neighbours.
        """
        half = self.without(self.exposed).halves()[1]
        return half.among(min(self.local_models, len(half)))

    def _lacking(
        self, whose: str, targets: Indices, neighbours: int | None = None, models: int | None = None
    ) -> Unmasking:
        models = models or self.local_models
        removals = {target: self.near(target, neighbours) for target in targets.tolist()}
        return self.unmasking(self.subject, self.base.among(models), whose, removals, models)

    def near(self, target: int, neighbours: int | None = None) -> Removal:
        """The target's neighbours, or under the control as many random examples of the layer.

        As many as declared, unless given. Where what stays would be odd, of which half is no whole
        number, one more random example goes.
        """
        count = self.size.neighbours if neighbours is None else neighbours
        pool = self.subject.pool
        if count >= len(pool) - 2:
            raise CannotResolveError(
                f"{count} neighbours of a target are asked for in a pool of {len(pool)}"
            )
        rng = np.random.default_rng([self.bank.design.seed, 22, target])
        if self.control == NEIGHBOURS:
            why = f"random-for-{target}"
            layer = np.array(self.exposed.examples)
            gone = rng.choice(layer, min(count, len(layer)), replace=False)
        else:
            why, gone = f"near-{target}", self.neighbours[target][:count]
        if (len(pool) - len(gone)) % 2:
            others = np.setdiff1d(np.arange(len(pool)), [target, *gone])
            gone = np.append(gone, rng.choice(others))
        return Removal(pool, why, gone)

    @property
    def neighbours(self) -> dict[int, Indices]:
        """Of each target the examples with the highest PRIVINF on it in `selection`."""

        def compute() -> dict[int, Indices]:
            targets = np.unique(
                np.concatenate([self.second_layer, self.random_targets, self.safe_targets])
            )
            chosen = self.selection
            top = top_influences(
                rightness(chosen), chosen.membership, targets, self.size.neighbours
            )
            return dict(zip(targets.tolist(), top.T, strict=True))

        found: dict[int, Indices] = self.once("neighbours", compute)
        return found

    @property
    def second_layer(self) -> Indices:
        """The targets whose advantage rises most once the first layer is gone."""
        removal = self.exposed
        chosen_on, _ = self.without(removal).halves()
        rise = chosen_on.advantage - self.selection.advantage[removal.kept]
        return removal.kept[most(rise, self.size.targets)]

    @property
    def random_targets(self) -> Indices:
        """Random examples outside the first layer."""
        return self._drawn(self.exposed.kept, 4)

    @property
    def safe_targets(self) -> Indices:
        """Random examples that the audit calls safe.

        Raises:
            CannotResolveError: there are too few.
        """
        safe = np.flatnonzero(self.selection.advantage <= SAFE)
        if len(safe) < self.size.targets:
            raise CannotResolveError(
                f"{len(safe)} examples have an advantage of {SAFE} or less, and "
                f"{self.size.targets} are needed"
            )
        return self._drawn(safe, 5)

    def _drawn(self, examples: Indices, purpose: int) -> Indices:
        return np.sort(self.generator(purpose).choice(examples, self.size.targets, replace=False))
