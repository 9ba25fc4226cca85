"""Canaries: images with a letter that occurs nowhere else, and models trained with and without.

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.canaries import Feature, check_images, ink_range, letters, with_canaries
from benchsuite.data.dataset import Dataset
from benchsuite.data.outliers import out_of_distribution
from benchsuite.experiments.canary_models import CLEAN as CLEAN_OF_LETTER
from benchsuite.experiments.canary_models import CanaryModels
from benchsuite.experiments.regularisers import (
    CLIPPED,
    DECAY,
    DP,
    EARLY,
    SMOOTHING,
    regularised,
)
from benchsuite.experiments.sizes import CanarySize
from benchsuite.memorization.tracin import checkpoints, self_influence
from benchsuite.memorization.unique_feature import glyph_effect
from benchsuite.models import cnn1, cnn2, densenet, mlp
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Replacing
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

CLEAN, STAMPED = "clean", "stamped"
SHUFFLED, UNNOISED = "shuffled", "without-noise"

PLAIN, LARGER = "none", "larger network"
OBSERVED_EPOCHS = 20
"""At most so many epochs, evenly chosen, at which clean models' gradients are looked at."""
MOMENTS = (1, 2, 4, 8, 12, 20, 32)
"""Epochs at which early-stopped models are scored while they train."""
UNIQUE, UNIFORM, BERNOULLI, FIRST_GLYPH = 0, 1, 2, 3
"""What is stamped on the images, of each letter in this order, then its other glyphs."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CanaryBanks:
    """Models of one subject with and without canaries, plain and regularised, each trained once.

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
        if self.control and self.control not in self.controls:
            raise ValueError(
                f"control={self.control!r} is unknown: use one of {', '.join(self.controls)}"
            )
        check_images(self.subject.pool, "canaries")
        needed = 2 * self.size.of_each * len(self.letters)
        if len(self.subject.pool) < needed:
            raise ValueError(
                f"pool has {len(self.subject.pool)} examples, expected {needed} or more: as many "
                "become canaries"
            )

    def under(self, control: str) -> Self:
        """The same experiment with one thing broken."""
        return replace(self, control=control)

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, computed once for all arms."""
        if key not in self.cache:
            self.cache[key] = compute()
        return self.cache[key]

    # ---- what models are asked ----------------------------------------------------------------

    @property
    def letters(self) -> list[Feature]:
        """The unique features, the paper's A at its place first."""
        pool = self.subject.pool
        height, width = pool.inputs().shape[-2:]
        return letters(height, width, *ink_range(pool))[: self.size.letters]

    @property
    def foreign(self) -> NDArray[Any]:
        """Images of another origin, in the pool's layout [images, ...]."""
        return out_of_distribution(self.subject.pool, self.size.images, seed=0)

    @property
    def probe(self) -> Dataset:
        """Those images clean, then with each letter: it, random features, other glyphs of its ink.

        Groups are numbered in that order.
        """
        probe: Dataset = self.once("probe", self._make_probe)
        return probe

    def _make_probe(self) -> Dataset:
        images = self.foreign
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

        TracInCP over up to ten checkpoints, evenly spaced over a 95 % fall of the training loss.
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

    # ---- models with canaries -----------------------------------------------------------------

    @property
    def stamped(self) -> Subject:
        """The subject of the plain models: its pool ends with the stamped copies."""
        return self._with_canaries(self.subject, self.chosen)[0]

    @property
    def copies(self) -> NDArray[np.int64]:
        """Where in that pool each canary's stamped copy lies, [letters, 2 x of_each]."""
        return _copies(self.subject, self.chosen)

    @property
    def bank(self) -> ShadowBank:
        """Plain models with canaries of high and of low self-influence."""
        return self._bank(self.subject, self.chosen, self.size.blocks)

    def _bank(
        self,
        subject: Subject,
        chosen: NDArray[np.int64],
        blocks: int,
        more_columns: tuple[str, ...] = (),
    ) -> ShadowBank:
        stamped, design = self._with_canaries(subject, chosen)
        return self.workshop.bank(
            stamped,
            design.block * blocks,
            design=design,
            columns=("test.correct", "ood.divergence", *more_columns),
            probes={"ood": self.probe},
        )

    def _with_canaries(
        self, subject: Subject, chosen: NDArray[np.int64]
    ) -> tuple[Subject, Replacing]:
        pool = with_canaries(subject.pool, list(zip(chosen, self.letters, strict=True)))
        pairs = np.stack([chosen, _copies(subject, chosen)], axis=2)
        design = Replacing(len(pool), tuple(tuple(map(tuple, group)) for group in pairs.tolist()))
        return replace(subject, name=f"{subject.name}-canaries", pool=pool), design

    @property
    def high(self) -> NDArray[np.int64]:
        """The canaries of high self-influence, [letters, of_each]."""
        return self.chosen[:, : self.size.of_each]

    def arm_bank(self, name: str) -> ShadowBank:
        """Models under a regulariser, or of another network, with canaries of high influence.

        Raises:
            CannotResolveError: the subject's model or data do not take it.
        """
        blocks = self.size.arm_blocks
        if name in (DP, CLIPPED):
            blocks = self.size.private_blocks
        elif name in (DECAY, SMOOTHING):
            blocks = self.size.reported_blocks
        if name == LARGER:
            return self._bank(self._larger(), self.high, blocks)
        subject = regularised(self.subject, name)
        moments: tuple[str, ...] = ()
        if name == EARLY:
            moments = tuple(f"ood.divergence@{epoch}" for epoch in MOMENTS)
            moments += tuple(f"validation.loss@{epoch}" for epoch in self.epochs_watched)
        return self._bank(subject, self.high, blocks, moments)

    @property
    def epochs_watched(self) -> range:
        """Epochs of which the validation loss is written down where training stops early."""
        return range(1, 4 * max(MOMENTS))

    def _larger(self) -> Subject:
        """The paper's next larger network on the same data: CNN-1 after MLP, DenseNet after CNN-2.

        Raises:
            CannotResolveError: the subject's network is neither.
        """
        subject = self.subject
        channels, size, width = subject.pool.inputs().shape[1:]
        if size != width:
            raise CannotResolveError(f"images of {size} x {width} pixels are not square")
        name, of = f"{subject.name}-larger", subject.pool.classes
        model = subject.model.func if isinstance(subject.model, partial) else subject.model
        if model is mlp:
            larger = partial(cnn1, channels, size, of, self.size.filters)
        elif model is cnn2:
            larger = partial(densenet, channels, size, of)
        else:
            raise CannotResolveError(
                f"{subject.name} is neither an mlp nor a cnn2 of benchsuite.models, which the "
                "paper compares with a larger network"
            )
        return replace(subject, name=name, model=larger)

    # ---- their scores -------------------------------------------------------------------------

    @property
    def plain(self) -> CanaryModels:
        """The plain models."""
        plain: CanaryModels = self.once(PLAIN, lambda: self.scores(self.bank))
        return self._controlled(plain)

    @property
    def wholly_clean(self) -> CanaryModels:
        """The models that have no canary at all."""
        models: CanaryModels = self.once("wholly clean", lambda: self.scores(self.clean_bank))
        return models

    def arm(self, name: str) -> CanaryModels:
        """The models under a regulariser, or of another network, see `arm_bank`."""
        models: CanaryModels = self.once(name, lambda: self.scores(self.arm_bank(name)))
        return self._controlled(models)

    def _controlled(self, models: CanaryModels) -> CanaryModels:
        return models.with_clean_stand_ins() if self.control == CLEAN else models

    def scores(self, bank: ShadowBank, epoch: int | None = None) -> CanaryModels:
        """Of a bank's models, at the end of training, or of an epoch, of those that train then."""
        said = bank.column("ood", "divergence", epoch=epoch).astype(np.float64)
        training = np.flatnonzero(np.isfinite(said).all(axis=(1, 2)))
        by_letter = said.reshape(len(said), len(self.letters), -1, said.shape[-1]).mean(axis=-1)
        x_u, x_glyphs = by_letter[..., UNIQUE], by_letter[..., FIRST_GLYPH:]
        as_much = np.count_nonzero(x_glyphs >= x_u[..., None], axis=-1)
        design = bank.design
        assert isinstance(design, Replacing)
        present = (
            design.present(0, len(said))
            if design.groups
            else np.full(x_u.shape, CLEAN_OF_LETTER, dtype=np.int64)
        )
        every = CanaryModels(
            effects=glyph_effect(x_u, x_glyphs),
            m=x_u - by_letter[..., UNIFORM],
            m_bernoulli=x_u - by_letter[..., BERNOULLI],
            rank_p=(1 + as_much) / (1 + x_glyphs.shape[-1]),
            present=present,
            high=self.size.of_each,
            accuracy=bank.column("test", "correct").mean(axis=1),
        )
        return every.models(training)


def _copies(subject: Subject, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    return len(subject.pool) + np.arange(chosen.size).reshape(chosen.shape)
