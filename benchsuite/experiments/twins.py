"""Duplicates in a pool: they mask each other, and finding them exposes what they masked.

Twins of some of the most exposed examples are planted in the pool, found again by their likeness
and removed (Section 4.4, Section 5.1, Section 6).

Controls:

- ``random-removal``: random examples without a twin are removed instead of the twins.
- ``out-of-step``: twins are IN independently of each other.
- ``random-pairs``: another random example stands in for the twin.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.duplicates import (
    PIXELS_ALIKE,
    Clusters,
    duplicates_to_remove,
    find_duplicates,
    plant_duplicates,
)
from benchsuite.experiments.features import penultimate_features
from benchsuite.experiments.onion import OnionExperiment
from benchsuite.experiments.onion_worlds import OnionWorlds, most
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.world import Unmasking, World, rightness
from benchsuite.memorization.privacy_influence import privacy_influence, top_influences
from benchsuite.shadows.design import Tied
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject

NOISE = 0.1
"""Share of the pixels of a near-duplicate that are moved; half of the twins are exact."""
MASKERS = 2
"""Neighbours removed of a target that has duplicates, as in the paper."""
RANK_UNITS = 4
FEW_PIXELS = 1024
"""Numbers up to which an example is compared as it is; larger ones by the network's features."""
FEATURES_ALIKE = 0.999
"""Cosine of a network's features from which images count as duplicates.

On the digits-mlp's own features natural pairs reach 0.9978 and planted twins 0.9995 at least; no
photographs were measured. The paper's 0.85 is for features of ImageNet: here it would join three
quarters of all pairs of one class.
"""
RANDOM_REMOVAL, OUT_OF_STEP, RANDOM_PAIRS = "random-removal", "out-of-step", "random-pairs"

Indices = NDArray[np.intp]


class TwinsExperiment(OnionWorlds):
    """A pool with planted twins, attacked before and after they are found."""

    controls: ClassVar[Mapping[str, str]] = {
        RANDOM_REMOVAL: "Random examples without a twin are removed instead of the twins.",
        OUT_OF_STEP: "Twins are IN independently of each other.",
        RANDOM_PAIRS: "Another random example stands in for the twin.",
    }

    # ---- the pools ----------------------------------------------------------------------------

    @property
    def originals(self) -> Indices:
        """Every second example of the exposed layer, so that the layer does not mask itself.

        Raises:
            CannotResolveError: the layer has too few.
        """
        ranked = most(self.selection.advantage, self.layer_size())[::2]
        if len(ranked) < 2:
            raise CannotResolveError(
                f"the layer of a pool of {len(self.subject.pool)} has {self.layer_size()} examples:"
                " too few to double every second"
            )
        return np.sort(ranked[: len(ranked) // 2 * 2])

    @property
    def doubled(self) -> Subject:
        """The subject with a twin of each original at the end of its pool: 5 % more examples.

        Raises:
            CannotResolveError: its examples cannot be copied with a little noise.
        """
        originals, seed = self.originals, self.bank.design.seed
        try:
            pool = plant_duplicates(self.subject.pool, originals, NOISE, seed)
        except ValueError as error:
            raise CannotResolveError(f"no twins can be planted: {error}") from error
        return replace(self.subject, name=f"{self.subject.name}-with-twins", pool=pool)

    @property
    def twins(self) -> Indices:
        """Where in the doubled pool each original's twin lies."""
        return len(self.subject.pool) + np.arange(len(self.originals))

    @property
    def clusters(self) -> Clusters:
        """What is alike in the doubled pool: positions in it, each cluster's ascending."""
        found: Clusters = self.once("clusters", lambda: find_duplicates(*self._embedding()))
        return found

    @property
    def found(self) -> Removal:
        """The duplicates that are found in the doubled pool, all but the first of each cluster.

        Raises:
            CannotResolveError: none is found, or a cluster straddles classes.
        """
        pool = self.doubled.pool

        def compute() -> Removal:
            try:
                positions = duplicates_to_remove(self.clusters, pool.labels)
            except ValueError as error:
                raise CannotResolveError(f"duplicates cannot be removed: {error}") from error
            if len(positions) % 2:  # half of what stays must be a whole number
                positions = positions[:-1]
            if not len(positions):
                raise CannotResolveError("no duplicates are found in this pool")
            return Removal(pool, "duplicates", positions)

        found: Removal = self.once("found duplicates", compute)
        return found

    def _embedding(self) -> tuple[NDArray[np.float32], float]:
        """Features to compare examples by, and the cosine from which they are duplicates."""
        pixels = self.doubled.pool.inputs().reshape(len(self.doubled.pool), -1)
        if pixels.shape[1] <= FEW_PIXELS:
            return pixels, PIXELS_ALIKE
        return penultimate_features(self.doubled, self.bank.execution.device), FEATURES_ALIKE

    # ---- their worlds -------------------------------------------------------------------------

    @property
    def with_twins(self) -> World:
        """Models of the doubled pool, twins being IN independently."""
        return self.world(self.doubled, self._everything)

    @property
    def in_step(self) -> World:
        """Models of the doubled pool, twins being IN together; not so under the control."""
        if self.control == OUT_OF_STEP:
            return self.with_twins
        pairs = zip(self.originals.tolist(), self.twins.tolist(), strict=True)
        pool = self.doubled.pool
        tied = Tied(len(pool), tuple(pairs), self.subject.share, self.bank.design.seed)
        return self.world(self.doubled, self._everything, design=tied)

    @property
    def deduplicated(self) -> World:
        """Models of the doubled pool without its duplicates, or without random examples."""
        removal = self.found
        if self.control == RANDOM_REMOVAL:
            removal = Removal(self.doubled.pool, "random", self._without_twins(len(removal)))
        return self._lacking(removal)

    @property
    def without_duplicates(self) -> OnionWorlds:
        """The onion of the deduplicated pool; this one, if what was found is what was planted."""
        subject = self.found.without(self.doubled)
        if subject.pool == self.subject.pool:
            return self
        subject = replace(subject, name=f"{self.subject.name}-deduplicated")
        bank = self.workshop.bank(subject, self.bank.models)
        cache: dict[Any, Any] = self.once(("deduplicated", bank.key), dict)
        return OnionExperiment(subject, bank, self.size, self.workshop, cache=cache)

    @property
    def unique(self) -> Indices:
        """Originals that are left without duplicates: of natural ones the first alone is.

        Raises:
            CannotResolveError: there are none.
        """
        left = np.intersect1d(self.originals, self.deduplicated.examples)
        if not len(left):
            raise CannotResolveError("every original is itself the duplicate of another example")
        return left

    def _lacking(self, removal: Removal) -> World:
        subject = removal.without(self.doubled)
        if subject.pool == self.subject.pool:  # what was found is what was planted
            return self.base
        return self.world(subject, removal.kept)

    @property
    def _everything(self) -> Indices:
        return np.arange(len(self.doubled.pool))

    def _without_twins(self, count: int) -> Indices:
        alone = np.setdiff1d(np.arange(len(self.subject.pool)), self.originals)
        return self.generator(6).choice(alone, min(count, len(alone) // 2 * 2), replace=False)

    # ---- numbers ------------------------------------------------------------------------------

    def deduplication(self) -> Iterator[dict[str, float]]:
        """The effect of a peel after deduplication, and what deduplication itself exposes.

        "rise of duplicated" is that of the originals' advantage once their twins are removed.
        """
        unique = self.unique
        onion = self.without_duplicates
        rises = zip(self.with_twins.blocks(), self.deduplicated.blocks(), strict=True)
        for effect, (before, after) in zip(onion.effect(onion.exposed), rises, strict=True):
            advantage = [float(world.at(unique).advantage.mean()) for world in (before, after)]
            yield {
                "log (R/I)": effect["log (R/I)"],
                "rise of duplicated": advantage[1] - advantage[0],
            }

    def in_step_gain(self) -> Iterator[float]:
        """Of each block: the originals' advantage with a twin in step less that without a twin."""
        for alone, paired in zip(self.base.blocks(), self.in_step.blocks(), strict=True):
            yield float(
                paired.at(self.originals).advantage.mean()
                - alone.at(self.originals).advantage.mean()
            )

    def ranks_of_twins(self) -> Iterator[float]:
        """Of each unit: the share of examples that PRIVINF puts behind a target's twin, the mean.

        1 where every twin comes first. Influence needs more models than one block holds: a unit
        has a quarter of them.
        """
        world, originals = self.with_twins, self.originals
        twins = self.twins
        if self.control == RANDOM_PAIRS:
            twins = self.generator(7).permutation(self._without_twins(len(originals)))
        for unit in world.blocks(len(world) // RANK_UNITS):
            at = unit.at(originals)
            influence = privacy_influence(rightness(at), unit.membership).estimate
            of_twin = influence[twins, np.arange(len(originals))]
            behind = (influence < of_twin).mean(axis=0)
            yield float(behind.mean())

    def unmasked(self) -> Unmasking:
        """Targets that lack their two closest maskers.

        Targets are the originals whose advantage rises most by deduplication. They and their
        maskers, those of highest PRIVINF, are chosen on the first half of the models; the second
        half is what the others are compared with.
        """
        chosen_on, before = self.with_twins.halves()
        after, _ = self.deduplicated.halves()
        unique = self.unique
        rise = after.at(unique).advantage - chosen_on.at(unique).advantage
        targets = unique[most(rise, self.size.targets)]
        top = top_influences(rightness(chosen_on), chosen_on.membership, targets, MASKERS)
        models, pool = self.bank.design.block, self.doubled.pool
        removals = {
            target: Removal(pool, f"twins-of-{target}", maskers)
            for target, maskers in zip(targets.tolist(), top.T, strict=True)
        }
        return self.unmasking(
            self.doubled, before.among(models), "closest-of-duplicates", removals, models
        )
