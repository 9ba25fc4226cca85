"""Is the onion local? Few neighbours of one target are removed, and only they (Section 5.1)."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.onion import SAFE, OnionWorlds, most
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.twins import TwinsExperiment
from benchsuite.experiments.world import World, pooled_advantage, rightness
from benchsuite.memorization.privacy_influence import top_influences
from benchsuite.stats.verdict import CannotResolveError

NEIGHBOURS = "random-neighbours"
UNITS = 8
"""Parts that the models of every world are dealt into."""

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

        "second layer", "random targets", "safe targets" lack the neighbours of each target;
        "duplicates" two of them each, see `TwinsExperiment.rises`; "whole layer" is the rise of
        the second layer where all of the first is removed.
        """
        if self.control:  # which is about the second layer alone
            groups = {"second layer": self.second_layer}
        else:
            groups = {
                "second layer": self.second_layer,
                "random targets": self.random_targets,
                "safe targets": self.safe_targets,
            }
        real = self.without(self.exposed)
        fresh = real.part(slice(len(real) // 2, len(real)))
        worlds = {name: self._worlds(targets) for name, targets in groups.items()}
        twins = TwinsExperiment(
            self.subject, self.bank, self.size, self.workshop, cache=self.cache
        ).rises(UNITS)
        for unit in range(UNITS):
            risen = {
                name: pooled_advantage(local, unit, UNITS)
                - pooled_advantage(dict.fromkeys(groups[name].tolist(), self.base), unit, UNITS)
                for name, local in worlds.items()
            }
            second = self.second_layer.tolist()
            risen["whole layer"] = pooled_advantage(
                dict.fromkeys(second, fresh), unit, UNITS
            ) - pooled_advantage(dict.fromkeys(second, self.base), unit, UNITS)
            if not self.control:
                risen["duplicates"] = next(twins)
            yield risen

    def _worlds(self, targets: Indices) -> dict[int, World]:
        models = self.bank.design.block * self.size.local_blocks
        return {int(target): self.without(self.near(int(target)), models) for target in targets}

    def near(self, target: int) -> Removal:
        """The target's neighbours, or under the control as many random examples of the layer."""
        if self.size.neighbours >= len(self.subject.pool) - 1:
            raise CannotResolveError(
                f"{self.size.neighbours} neighbours of a target are asked for in a pool of "
                f"{len(self.subject.pool)}"
            )
        if self.control == NEIGHBOURS:
            layer = np.array(self.exposed.examples)
            rng = np.random.default_rng([self.bank.design.seed, 22, target])
            count = min(self.size.neighbours, len(layer) // 2 * 2)
            return Removal(
                self.subject.pool, f"random-for-{target}", rng.choice(layer, count, replace=False)
            )
        return Removal(self.subject.pool, f"near-{target}", self.neighbours[target])

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
        real = self.without(removal)
        after = real.part(slice(0, len(real) // 2)).advantage
        rise = after - self.selection.advantage[removal.kept]
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
