"""Models with and without canaries, plain, regularised and of another network: banks and scores."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchsuite.data.canaries import with_canaries
from benchsuite.experiments.canary_choice import CLEAN, CanaryChoice
from benchsuite.experiments.canary_models import NO_CANARY, CanaryModels
from benchsuite.experiments.regularisers import (
    AUGMENTATION,
    CLIPPED,
    DECAY,
    DP,
    EARLY,
    SMOOTHING,
    regularised,
)
from benchsuite.memorization.unique_feature import glyph_effect
from benchsuite.models import cnn1, cnn2, densenet, mlp
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Replacing
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject, load_subject

PLAIN, CONVOLUTIONAL = "none", "convolutional network"
COMPARED_WITH = {
    "mnist-mlp": "mnist-cnn1",
    "fashion-mnist-mlp": "fashion-mnist-cnn1",
    "cifar10-cnn2": "cifar10-densenet",
}
"""Built-in subjects of the same data whose network the paper finds to memorize more."""
MOMENTS = (1, 2, 4, 8, 12, 20, 32)
"""Epochs at which early-stopped models are scored while they train."""
UNIQUE, UNIFORM, BERNOULLI, FIRST_GLYPH = 0, 1, 2, 3
"""What is stamped on the images, of each letter in this order, then its other glyphs."""


class CanaryBanks(CanaryChoice):
    """Banks of models with canaries, each trained once, and what they say of the letters."""

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
        if name in (AUGMENTATION, DP, CLIPPED, CONVOLUTIONAL):
            blocks = self.size.compared_blocks
        elif name in (DECAY, SMOOTHING):
            blocks = self.size.reported_blocks
        if name == CONVOLUTIONAL:
            return self._bank(self._convolutional(), self.high, blocks)
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

    def _convolutional(self) -> Subject:
        """The network that the paper compares with, on the same data: CNN-1 or DenseNet.

        In the built-in subject's recipe where there is one, else in this one's; CNN-1 is as narrow
        as the size says.

        Raises:
            CannotResolveError: the subject's network is neither MLP nor CNN-2, or its images are
                not square.
        """
        subject, name = self.subject, f"{self.subject.name}-convolutional"
        if subject.name in COMPARED_WITH:
            return replace(load_subject(COMPARED_WITH[subject.name]), name=name)
        channels, size, width = subject.pool.inputs().shape[1:]
        if size != width:
            raise CannotResolveError(f"images of {size} x {width} pixels are not square")
        made_by = subject.model.func if isinstance(subject.model, partial) else subject.model
        if made_by is mlp:
            model = partial(cnn1, channels, size, subject.pool.classes, self.size.filters)
        elif made_by is cnn2:
            model = partial(densenet, channels, size, subject.pool.classes)
        else:
            raise CannotResolveError(
                f"{subject.name} is neither an mlp nor a cnn2 of benchsuite.models, which the "
                "paper compares with another network"
            )
        return replace(subject, name=name, model=model)

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
        design = bank.design
        assert isinstance(design, Replacing)
        said = bank.column("ood", "divergence", epoch=epoch).astype(np.float64)
        said = said.reshape(len(said), len(self.letters), -1, said.shape[-1])
        training = np.flatnonzero(np.isfinite(said).all(axis=(1, 2, 3)))
        present = np.full((len(said), len(self.letters)), NO_CANARY, dtype=np.int64)
        if design.groups:
            present = design.present(0, len(said))
        said = said[training]
        mean = said.mean(axis=-1)
        x_u, x_glyphs = mean[..., UNIQUE], mean[..., FIRST_GLYPH:]
        as_much = np.count_nonzero(x_glyphs >= x_u[..., None], axis=-1)
        above = said[:, :, UNIQUE] - said[:, :, UNIFORM]
        return CanaryModels(
            effects=glyph_effect(x_u, x_glyphs),
            m=above.mean(axis=-1),
            m_bernoulli=x_u - mean[..., BERNOULLI],
            t_p=np.asarray(stats.ttest_1samp(above, 0, axis=-1, alternative="greater").pvalue),
            rank_p=(1 + as_much) / (1 + x_glyphs.shape[-1]),
            present=present[training],
            high=self.size.of_each,
            accuracy=bank.column("test", "correct").mean(axis=1)[training],
        )


def _copies(subject: Subject, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    return len(subject.pool) + np.arange(chosen.size).reshape(chosen.shape)
