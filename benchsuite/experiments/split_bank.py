"""One bank split into the attacker's references and its targets, and how a control breaks it.

The references fit every attack and decide which examples count as memorized; the targets, in
disjoint blocks of models, are what is scored. So no target is its own reference, and whatever
selects an example has not seen the models that score it. A block is one unit of replication.

All blocks are attacked with the same references: an interval is over new target models of this
pool and bank, not over pools. (Swapping the halves of a bank moved the numbers by less than 0.007.)

Controls are changes to the experiment. Each breaks the one thing that the finding is about, drawn
anew for every block, so that no single draw decides:

- ``permuted-membership``: membership of the attacker's references is permuted over the models of
  each example before the attack is fitted; what is true stays true.
- ``shuffled-memorization``: memorization is dealt to other examples, `DEALS` times a block, and
  numbers are averaged over the deals: a group becomes the mean of as many random groups.
- ``split-out``: of each example's models only the OUT ones are left, and half of them called IN.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.lira import lira
from benchsuite.data.dataset import Dataset
from benchsuite.experiments.controlled import Controlled
from benchsuite.memorization.label import LabelMemorization, label_memorization

PERMUTED, SHUFFLED, SPLIT_OUT = "permuted-membership", "shuffled-memorization", "split-out"
DEALS = 50
CONTROLS = {
    PERMUTED: "The attacker is told a wrong membership.",
    SHUFFLED: "Memorization is dealt to random examples.",
    SPLIT_OUT: "Half of the OUT models are called IN.",
}
"""What each control breaks."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SplitBank(Controlled):
    """What a bank's models say of their pool, split into references and blocks of targets.

    Args:
        confidence: scaled confidence of the true label, float [models, examples].
        correct: whether the label is predicted, bool [models, examples].
        membership: who was IN, bool [models, examples].
        references: the first so many models are references, the rest targets.
        block: models in one block of targets, in which each example is IN equally often.
        pool: the examples themselves, for pictures.
        seed: of the controls' draws.
        control: one of `CONTROLS`, or "" for the experiment as it is.

    Raises:
        ValueError: an unknown control, or models that do not split into references and blocks.
    """

    confidence: NDArray[np.floating]
    correct: NDArray[np.bool_]
    membership: NDArray[np.bool_]
    references: int
    block: int
    pool: Dataset | None = None
    seed: int = 0
    control: str = ""

    controls: ClassVar[Mapping[str, str]] = CONTROLS

    def __post_init__(self) -> None:
        super().__post_init__()
        targets = len(self.membership) - self.references
        if self.references < 2 or targets < self.block or targets % self.block:
            raise ValueError(
                f"references={self.references} leaves {targets} of {len(self.membership)} models "
                f"as targets: expected a multiple of the block, {self.block}, and some references"
            )

    @cached_property
    def memorization(self) -> LabelMemorization:
        """Label memorization on the references, [examples]; the true one under every control."""
        return self.memorization_of(np.arange(self.references))

    def memorization_of(self, models: Indices) -> LabelMemorization:
        """Label memorization on these models alone, [examples]."""
        return label_memorization(self.correct[models], self.membership[models])

    def halves(self) -> tuple[Indices, Indices]:
        """The references in two halves, for what must not come from the same models."""
        middle = self.references // 2
        return np.arange(middle), np.arange(middle, self.references)

    def attack(
        self,
        references: Indices,
        targets: Indices,
        draw: int,
        variant: str = "paper/online",
    ) -> Floats:
        """LiRA's scores of targets with these references, [targets, examples].

        Args:
            references: rows that the attacker fits on.
            targets: rows to score.
            draw: the block's number: the control that permutes membership draws anew for each.
            variant: of LiRA.
        """
        rows = np.concatenate([references, targets])
        believed = np.concatenate([self.believed(references, draw), self.membership[targets]])
        return lira(
            self.confidence[rows],
            believed,
            targets=np.arange(len(references), len(rows)),
            variant=variant,
        )

    def believed(self, references: Indices, draw: int) -> NDArray[np.bool_]:
        """What the attacker believes of its references' membership, [references, examples]."""
        told = self.membership[references]
        if self.control == PERMUTED:
            return self.generator(1, draw).permuted(told, axis=0)
        return told

    def generator(self, purpose: int, draw: int) -> np.random.Generator:
        """Randomness of a control for one block."""
        return np.random.default_rng([self.seed, purpose, draw])
