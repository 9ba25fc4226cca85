"""Singletons that were planted: whether the estimate of memorization finds them, and nobody else.

An example with a wrong label is alone with it: models that were trained on it give that label,
once they have fitted it, and others do not. So it is known who is a singleton, which nobody knows
of real data. Each world has other examples mislabelled and models of its own, which are trained
longer than the subject's, until they fit what is planted.

An oracle that calls others singletons too may be right about those: real data have some, and a
planted example makes some of its neighbours. So the oracle has one half of a world's models, and
whom it calls a singleton is false where the other half finds little memorization.

Controls:

- ``none-planted``: the same examples in the other worlds, where their labels are right.
- ``permuted-membership``: the oracle is told a wrong membership.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.controlled import Remembering
from benchsuite.experiments.outliers import with_mislabelled
from benchsuite.experiments.sizes import PlantingSize
from benchsuite.memorization.label import label_memorization
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Balanced
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

NONE_PLANTED, PERMUTED = "none-planted", "permuted-membership"
SINGLETON = 0.5
"""Memorization above which an example is called a singleton."""
CONFIRMED = 0.25
"""Memorization by fresh models up to which who was called a singleton is none."""
FITTED = 0.8
"""Share of the IN models that must give a planted example's label: else it is no singleton."""
LONGER, FASTER = 2, 3.0
"""Times the subject's epochs and learning rate."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class PlantedWorld:
    """Models of a pool with planted singletons.

    Attributes:
        bank: of the models.
        planted: positions of the planted.
        correct: whether the label that the world has is predicted, [models, examples].
    """

    bank: ShadowBank
    planted: Indices
    correct: Bools

    def memorization(self, rows: slice, membership: Bools | None = None) -> Floats:
        """By these models, [examples]; 0 of an example that is IN for all of them or OUT."""
        inside = (self.bank.membership if membership is None else membership)[rows]
        known = inside.any(axis=0) & ~inside.all(axis=0)
        estimate = np.zeros(inside.shape[1])
        estimate[known] = label_memorization(self.correct[rows][:, known], inside[:, known])[0]
        return estimate

    @property
    def half(self) -> int:
        """Models of the oracle; the others confirm."""
        return self.bank.models // 2


@dataclass(frozen=True, eq=False)
class PlantingExperiment(Remembering):
    """Worlds with planted singletons of one subject.

    Args:
        subject: whose labels are changed.
        size: how many worlds, and how large.
        workshop: trains the banks.
        control: see above; "" for the experiment as it is.
        cache: what was computed, shared by all arms.
    """

    subject: Subject
    size: PlantingSize
    workshop: Workshop
    control: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {
        NONE_PLANTED: "The same examples in the other worlds, where their labels are right.",
        PERMUTED: "The oracle is told a wrong membership.",
    }

    @property
    def worlds(self) -> list[PlantedWorld]:
        """All of them, trained once."""
        return self.once("worlds", lambda: [self.world(draw) for draw in range(self.size.worlds)])

    def world(self, draw: int) -> PlantedWorld:
        """One of them, trained as far as its bank lacks it; each with subsets of its own."""
        recipe = self.subject.recipe
        longer = replace(
            self.subject,
            recipe=replace(
                recipe, epochs=LONGER * recipe.epochs, learning_rate=FASTER * recipe.learning_rate
            ),
        )
        subject, planted = with_mislabelled(longer, self.size.planted, draw)
        design = Balanced(len(subject.pool), subject.share, draw)
        models = 2 * design.block * self.size.blocks
        bank = self.workshop.bank(subject, models, design=design)
        return PlantedWorld(bank, planted, bank.column("pool", "correct"))

    def found(self) -> Iterator[dict[str, float]]:
        """Of each world: the share of the planted that are found, and of those found that are true.

        "recall" is of the planted, "precision" the share of all who are called singletons that
        fresh models confirm. Reported: which share of these was planted, and both rates with an
        eighth of the oracle's models.

        Raises:
            CannotResolveError: a world whose models do not fit what is planted.
        """
        for number, world in enumerate(self.worlds):
            if self.control == NONE_PLANTED:
                yield {"recall": self._called_elsewhere(number)}
                continue
            self._check_fitted(world)
            membership = None
            if self.control == PERMUTED:
                rng = np.random.default_rng([number, 72])
                membership = rng.permuted(world.bank.membership, axis=0)
            few = self.rates(world, world.half // 8, membership)
            yield {
                **self.rates(world, world.half, membership),
                **{f"{name}, an eighth of the models": value for name, value in few.items()},
            }

    def rates(
        self, world: PlantedWorld, models: int, membership: Bools | None = None
    ) -> dict[str, float]:
        """Recall and precision of a world's oracle with its first models; see `found`."""
        called = world.memorization(slice(0, models), membership) > SINGLETON
        fresh = world.memorization(slice(world.half, None))
        return {
            "recall": float(called[world.planted].mean()),
            "precision": float((fresh[called] > CONFIRMED).mean()) if called.any() else 0.0,
            "planted among them": int(called[world.planted].sum()) / max(1, int(called.sum())),
        }

    def _called_elsewhere(self, number: int) -> float:
        """How often other worlds' oracles call this one's planted examples singletons."""
        planted = self.worlds[number].planted
        called = []
        for other, world in enumerate(self.worlds):
            if other != number:
                right = np.setdiff1d(planted, world.planted)
                called.append(world.memorization(slice(0, world.half))[right] > SINGLETON)
        return float(np.concatenate(called).mean())

    def _check_fitted(self, world: PlantedWorld) -> None:
        inside = world.bank.membership[:, world.planted]
        fitted = float(world.correct[:, world.planted][inside].mean())
        if fitted < FITTED:
            raise CannotResolveError(
                f"models give the labels of {fitted:.0%} of the planted examples that they were "
                f"trained on, and {FITTED:.0%} are the least: they are no singletons of a model "
                "that did not learn them, so train this subject longer"
            )

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of the figure: recall and precision against the number of models."""
        assert kind == "oracle-precision"
        try:
            for world in self.worlds:
                self._check_fitted(world)
        except CannotResolveError:
            return None
        half = self.worlds[0].half
        counts = [*(2**k for k in range(2, half.bit_length()) if 2**k < half), half]
        rates = [[self.rates(world, models) for models in counts] for world in self.worlds]
        return {
            "models": np.array(counts),
            **{
                name: np.array([[each[name] for each in of_world] for of_world in rates])
                for name in rates[0][0]
            },
        }
