"""Ways to train on what plain models memorize, among them DP-SGD.

From Appendix E of "Exploring Connections Between Memorization And Membership Inference".

Clipping is slow learning too, so that what noise does is told by two arms alike in all else: DP-SGD
and its clipping alone, both at the fitting rate, the least learning rate with which clipping alone
fits the training set as plain training does. DP-SGD at the recipe's own rate, which is more
accurate, is held against plain training stopped when it was as accurate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.controlled import Remembering
from benchsuite.experiments.groups import Groups
from benchsuite.experiments.sizes import PrivacySize
from benchsuite.memorization.label import label_memorization
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Privacy, check_private, template
from benchsuite.training.accounting import Spent, privacy_spent
from benchsuite.workshop import Workshop

WITHOUT_NOISE = "without-noise"
NOISE, CLIP = 1.3, 1.0
"""The paper's (Appendix E)."""
DELTA = 1e-5
"""The paper's."""
ARMS_SEED, FITTING_SEED = 2, 1
"""Of the designs of private models: subsets that neither choose examples nor a learning rate."""
FIT = 0.005
"""How far the training accuracy of clipping alone may lie below that of plain training."""
TIMES = (1.0, 3.0, 10.0, 30.0)
"""The recipe's learning rate, among which the fitting one is looked for."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrivateTraining(Remembering):
    """A subject's models trained with and without DP-SGD.

    Args:
        subject: whose recipe is made private.
        size: how many blocks do what.
        workshop: trains the banks.
        control: see `controls`; "" for the experiment as it is.
        cache: what was computed, shared by all arms.
    """

    subject: Subject
    size: PrivacySize
    workshop: Workshop
    control: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {
        WITHOUT_NOISE: "Other models with clipping alone, at the fitting rate, stand in for those "
        "with noise.",
    }

    @property
    def plain(self) -> ShadowBank:
        """Plain models: the first blocks choose examples, the others are an arm; by epoch too."""
        moments = [f"{of}.correct@{k}" for of in ("pool", "test") for k in self.epochs]
        watched = replace(self.subject, name=f"{self.subject.name}-by-epoch")
        blocks = self.size.selection + self.size.blocks
        return self._bank(watched, blocks, (*COLUMNS, *moments))

    @property
    def epochs(self) -> range:
        """At whose ends plain training may be stopped."""
        return range(1, min(self.size.epochs, self.subject.recipe.epochs) + 1)

    def private(self, noise: float, times: float, blocks: int, seed: int = ARMS_SEED) -> ShadowBank:
        """DP-SGD with this noise and the paper's clip, at so many times the learning rate."""
        recipe = self.subject.recipe
        private = replace(
            recipe, privacy=Privacy(noise, CLIP), learning_rate=times * recipe.learning_rate
        )
        name = f"{self.subject.name}-{'dp' if noise else 'clip-only'}"
        return self._bank(replace(self.subject, name=name, recipe=private), blocks, seed=seed)

    def _bank(
        self, subject: Subject, blocks: int, columns: tuple[str, ...] = COLUMNS, seed: int = 0
    ) -> ShadowBank:
        design = Balanced(len(subject.pool), subject.share, seed)
        return self.workshop.bank(subject, design.block * blocks, columns=columns, design=design)

    @property
    def fitting(self) -> float:
        """The least of `TIMES` with which clipping alone fits as plain training does.

        By one block of models of each, which are in no arm; where none does, the best one.
        """

        def find() -> float:
            plain = _train_accuracy(self.plain, self._selection)
            fits: dict[float, float] = {}
            for times in TIMES:
                fits[times] = _train_accuracy(self.private(0.0, times, 1, FITTING_SEED))
                if fits[times] > plain - FIT:
                    return times
            return max(fits, key=fits.__getitem__)

        return self.once("fitting", find)

    @property
    def spent(self) -> Spent:
        """What DP-SGD guarantees with the paper's noise, at any learning rate."""
        recipe = replace(self.subject.recipe, privacy=Privacy(NOISE, CLIP))
        return privacy_spent(recipe, round(self.subject.share * len(self.subject.pool)), DELTA)

    @property
    def highly_memorized(self) -> NDArray[np.intp]:
        """Examples that the first blocks of plain models memorize by more than one half.

        Raises:
            CannotResolveError: fewer than two.
        """
        correct = self.plain.column("pool", "correct")[self._selection]
        inside = self.plain.membership[self._selection]
        return Groups(label_memorization(correct, inside).estimate).highly_memorized

    @property
    def _selection(self) -> slice:
        return slice(0, self.plain.design.block * self.size.selection)

    def stopped(self, accuracy: float) -> tuple[int, float]:
        """When plain training is so accurate on held-out examples: an epoch, and a share.

        Of the way from its end to that of the next one; by the models that choose. The first epoch
        alone where it is more accurate already, the last two where none is.
        """
        reached = [
            float(self.plain.column("test", "correct", epoch)[self._selection].mean())
            for epoch in self.epochs
        ]
        later = next((k for k, each in enumerate(reached) if each >= accuracy), len(reached) - 1)
        if later == 0:
            return self.epochs[0], 0.0
        rise = reached[later] - reached[later - 1]
        share = (accuracy - reached[later - 1]) / rise if rise > 0 else 1.0
        return self.epochs[later - 1], float(np.clip(share, 0, 1))

    def prevention(self) -> Iterator[dict[str, float]]:
        """Of each block of models of every arm: differences of the memorization that is left.

        Means over the highly memorized examples. "noise" is DP-SGD less its clipping alone, both at
        the fitting rate; "DP less early-stopped" DP-SGD at the recipe's rate less plain training at
        the same accuracy. Reported beside them each arm's memorization and held-out accuracy.

        Raises:
            CannotResolveError: plain models memorize too little, or one whose layers mix examples.
        """
        self.check_private()
        chosen = self.highly_memorized  # too few of them are told before anything is trained
        blocks, fitting = self.size.blocks, self.fitting
        clipped = self.private(0.0, fitting, 2 * blocks)
        if self.control == WITHOUT_NOISE:  # its second half, which no arm is held against
            own = fitted = clipped
            first = blocks
        else:
            own, fitted = self.private(NOISE, 1.0, blocks), self.private(NOISE, fitting, blocks)
            first = 0
        rows = slice(first * own.design.block, (first + blocks) * own.design.block)
        epoch, share = self.stopped(float(own.column("test", "correct")[rows].mean()))
        for number in range(blocks):
            plain = self.size.selection + number
            earlier, later = (
                self._arm(self.plain, plain, chosen, k) for k in (epoch, epoch + (share > 0))
            )
            arms = {
                "plain": self._arm(self.plain, plain, chosen),
                "clip-only": self._arm(clipped, number, chosen),
                "DP at that rate": self._arm(fitted, first + number, chosen),
                "DP": self._arm(own, first + number, chosen),
                "early-stopped": (1 - share) * earlier + share * later,
            }
            left = {name: float(values[0]) for name, values in arms.items()}
            yield {
                "noise": left["DP at that rate"] - left["clip-only"],
                "DP less early-stopped": left["DP"] - left["early-stopped"],
                **{f"memorization, {name}": value for name, value in left.items()},
                **{f"accuracy, {name}": float(values[1]) for name, values in arms.items()},
                "epsilon": self.spent.epsilon,
            }

    def check_private(self) -> None:
        """Raise a CannotResolveError naming a layer that mixes the examples of a batch."""
        try:
            check_private(template(self.subject.model))
        except ValueError as error:
            raise CannotResolveError(str(error)) from error

    def _arm(
        self, bank: ShadowBank, block: int, chosen: NDArray[np.intp], epoch: int | None = None
    ) -> Floats:
        """Mean memorization of the chosen examples, and held-out accuracy, of a block."""
        rows = slice(block * bank.design.block, (block + 1) * bank.design.block)
        correct = bank.column("pool", "correct", epoch)[rows][:, chosen]
        inside = bank.membership[rows][:, chosen]
        left = label_memorization(correct, inside).estimate.mean()
        return np.array([left, bank.column("test", "correct", epoch)[rows].mean()])


def _train_accuracy(bank: ShadowBank, rows: slice = slice(None)) -> float:
    return float(bank.column("pool", "correct")[rows][bank.membership[rows]].mean())
