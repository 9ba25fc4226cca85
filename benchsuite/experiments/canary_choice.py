"""The choice of canaries: images that get a letter which occurs nowhere else.

From "Measuring Unintended Memorisation of Unique Private Features in Neural Networks". Wholly clean
models tell which images are hard to fit; some of those, and some of the easiest, become canaries.
A model has up to eight, each with another letter at another place, so that every letter is on one
image of a model or on none: one model serves as eight of the paper's.

Controls break the one thing a finding is about:

- ``clean``: clean models stand in for those with canaries, and are tested against other clean ones.
- ``stamped``: models with canaries stand in for clean ones.
- ``shuffled``: self-influence is dealt to other canaries.
- ``without-noise``: DP-SGD clips gradients and adds no noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.canaries import Feature, check_images, ink_range, letters
from benchsuite.data.dataset import Dataset
from benchsuite.data.outliers import out_of_distribution
from benchsuite.experiments.controlled import Remembering
from benchsuite.experiments.sizes import CanarySize
from benchsuite.memorization.tracin import checkpoints, self_influence
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Replacing
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

CLEAN, STAMPED = "clean", "stamped"
SHUFFLED, UNNOISED = "shuffled", "without-noise"

OBSERVED_EPOCHS = 20
"""At most so many epochs, evenly chosen, at which clean models' gradients are looked at."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CanaryChoice(Remembering):
    """What models of a subject are asked about, its wholly clean models, and the canaries.

    Args:
        subject: whose pool gets canaries.
        size: of the experiment.
        workshop: trains what lacks.
        control: see above; "" for the experiment as it is.
        cache: what was computed, shared by all arms.

    Raises:
        ValueError: the pool holds no images, or too small ones; fewer examples than canaries.
    """

    subject: Subject
    size: CanarySize
    workshop: Workshop
    control: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {
        CLEAN: "Clean models stand in for those with canaries.",
        STAMPED: "Models with canaries stand in for clean ones.",
        SHUFFLED: "Self-influence is dealt to other canaries.",
        UNNOISED: "Gradients are clipped, and no noise is added.",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_images(self.subject.pool, "canaries")
        needed = 2 * self.size.of_each * len(self.letters)
        if len(self.subject.pool) < needed:
            raise ValueError(
                f"pool has {len(self.subject.pool)} examples, expected {needed} or more: as many "
                "become canaries"
            )

    # ---- what models are asked ----------------------------------------------------------------

    @property
    def letters(self) -> list[Feature]:
        """The unique features, the paper's A at its place first."""
        found: list[Feature] = self.once("letters", self._make_letters)
        return found

    def _make_letters(self) -> list[Feature]:
        pool = self.subject.pool
        height, width = pool.inputs().shape[-2:]
        return letters(height, width, *ink_range(pool))[: self.size.letters]

    @property
    def probe(self) -> Dataset:
        """Images of another origin: clean, then with each letter, it, random features, its glyphs.

        Groups are numbered in that order.
        """
        probe: Dataset = self.once("probe", self._make_probe)
        return probe

    def _make_probe(self) -> Dataset:
        images = out_of_distribution(self.subject.pool, self.size.images, seed=0)
        parts = [images]
        for number, letter in enumerate(self.letters):
            rng = np.random.default_rng([number, 40])
            parts.append(letter.stamped(images))
            parts.append(letter.random_stamped(images, rng, "uniform"))
            parts.append(letter.random_stamped(images, rng, "bernoulli"))
            parts.extend(each.stamped(images) for each in letter.shuffled(rng, self.size.glyphs))
        groups = np.repeat(np.arange(len(parts)), len(images))
        labels = np.tile(np.arange(len(images)) % 2, len(parts))  # which nothing asks for
        return Dataset(np.concatenate(parts), labels, groups, name="images of another origin")

    # ---- wholly clean models, and the choice of canaries --------------------------------------

    @property
    def epochs_observed(self) -> NDArray[np.int64]:
        """Epochs at whose end the wholly clean models' gradients are looked at."""
        epochs = self.subject.recipe.epochs
        evenly = np.linspace(1, epochs, min(epochs, OBSERVED_EPOCHS))
        return np.unique(evenly.astype(np.int64))

    @property
    def clean_bank(self) -> ShadowBank:
        """Models of the pool as it is."""
        design = Replacing(len(self.subject.pool))
        observed = [
            f"pool.{what}@{epoch}"
            for epoch in self.epochs_observed
            for what in ("loss", "squared_gradient")
        ]
        return self.workshop.bank(
            self.subject,
            design.block * self.size.clean_blocks,
            design=design,
            columns=("test.correct", "ood.divergence", *observed),
            probes={"ood": self.probe},
        )

    @property
    def influence(self) -> Floats:
        """Self-influence of every example of the pool, mean over the clean models [examples].

        TracInCP over up to ten checkpoints, evenly spaced over a 95 % fall of the training loss, or
        over all of the training where it falls by less.
        """
        influence: Floats = self.once("influence", self._make_influence)
        return influence

    def _make_influence(self) -> Floats:
        bank, observed = self.clean_bank, self.epochs_observed
        losses = np.array([bank.column("pool", "loss", epoch=e).mean() for e in observed])
        chosen = checkpoints(losses, initial=np.log(self.subject.pool.classes)).epochs - 1
        gradients = [bank.column("pool", "squared_gradient", epoch=observed[k]) for k in chosen]
        recipe, examples = self.subject.recipe, len(self.subject.pool)
        steps = recipe.steps(examples)
        rates = [
            recipe.learning_rate_at(steps * observed[k] // recipe.epochs - 1, steps) for k in chosen
        ]
        return self_influence(np.array(gradients).mean(axis=1), np.array(rates))

    @property
    def chosen(self) -> NDArray[np.int64]:
        """Examples of each letter that become canaries, [letters, 2 x of_each].

        Those of the highest self-influence first, dealt to the letters in turn; then the lowest.
        """
        count = self.size.of_each * len(self.letters)
        ranked = np.argsort(-self.influence, kind="stable")
        high, low = ranked[:count], ranked[-count:]
        by_letter = [part.reshape(-1, len(self.letters)).T for part in (high, low)]
        return np.concatenate(by_letter, axis=1)
