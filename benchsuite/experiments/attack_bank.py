"""One bank under every attack, and the groups that the membership paper compares them on.

The bank's models come in three parts. The references fit the attacks and say which examples are
singletons. The calibration models set a threshold for each attack and group, above which the
declared share of the group's non-members lies. The targets are what is scored, in blocks, which are
the units of replication: so nothing that is chosen has seen what is measured.

A TPR is that of the targets above the calibrated threshold, and its realised FPR is theirs: a block
of targets alone is too small for a threshold at a low FPR, and its own would be biased. An interval
is over new targets of this pool and bank at this threshold, not over other outliers or mixtures.

Controls break the one thing a finding is about:

- ``groups-at-random``: both groups that are compared are random examples of the pool.
- ``singletons-at-random``: both are random examples of the group that singletons are from.
- ``permuted-membership``: LiRA is fitted on references whose membership is permuted, example by
  example. (Of one permutation, the same for calibration and targets.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.attacks.observations import Observations
from benchsuite.data.mixtures import UNDER, is_mixture
from benchsuite.experiments.controlled import Remembering
from benchsuite.experiments.features import penultimate_features
from benchsuite.experiments.sizes import AttackSize
from benchsuite.experiments.trak_oracle import TrakOracle
from benchsuite.memorization.label import label_memorization
from benchsuite.outliers.subpopulation import smallest_cluster
from benchsuite.shadows import ShadowBank
from benchsuite.stats.roc import auroc, threshold_at_fpr
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

GROUPS_AT_RANDOM, SINGLETONS_AT_RANDOM = "groups-at-random", "singletons-at-random"
PERMUTED = "permuted-membership"
DEALT = 6_000
"""Examples in all random parts of a group together: many parts if they are small, and unlike."""
LIRA = "LiRA"

ALL, OOD, SUBPOPULATION, SINGLETONS = "all", "random OOD", "subpopulation", "singletons"
TRAK_SINGLETONS = "singletons by TRAK"
"""The groups, as the paper has them: "random OOD" is the whole under-represented group."""
SMALLEST_GROUP = 10
"""A group of fewer examples is reported as too small, like an empty one."""

T = TypeVar("T")
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Groups = Mapping[str, Indices]

_SINGLETONS_ABOVE = {
    "digits-pixmix": 0.5,
    "digits-photos": 0.8,
    "digits-mix-tiny": 0.1,
    "cifar10-resnet9-70": 0.8,
    "cifar10-augcifar10-resnet18": 0.5,
    "cifar10-cifar100-resnet9": 0.5,
}


def singletons_above(subject: str, mixed: bool) -> float:
    """Memorization above which an example is called a singleton.

    In the paper .8 in a mixture with MNIST and .5 with CIFAR-10, and .4 and .8 where either is
    alone (Section 4.1 and footnote 8); chosen, its footnote 7 says, so that the group is not too
    small, and so it is here for the mixtures with digits. Every other subject is treated as MNIST.
    A miniature memorizes nothing: there, what is above 0 by chance shows the path.
    """
    if subject.endswith("-miniature"):
        return 0.0
    return _SINGLETONS_ABOVE.get(subject, 0.8 if mixed else 0.4)


@dataclass(frozen=True, eq=False)
class AttackBank(Remembering):
    """A subject's bank, its groups of examples, and how each attack scores them.

    Args:
        subject: whose pool is attacked; a mixture, or examples of one group.
        bank: its models, with the columns that `COLUMNS` names.
        size: how many blocks do what.
        workshop: trains what an experiment needs beside the bank.
        control: see above; "" for the experiment as it is.
        cache: what was computed, shared by all arms.
    """

    subject: Subject
    bank: ShadowBank
    size: AttackSize
    workshop: Workshop
    control: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {}

    # ---- models ----------------------------------------------------------------------------------

    @cached_property
    def block(self) -> int:
        """Models in a block."""
        return self.bank.design.block

    @property
    def references(self) -> slice:
        """Models that the attacker has."""
        return slice(0, self.block * self.size.references)

    @property
    def calibration(self) -> slice:
        """Models that set thresholds."""
        start = self.references.stop
        return slice(start, start + self.block * self.size.calibration)

    @property
    def targets(self) -> slice:
        """Models that are attacked."""
        return slice(self.calibration.stop, self.block * self.size.blocks)

    @property
    def observations(self) -> Observations:
        """What all models say of the pool."""
        return self.once(
            "observations",
            lambda: Observations(
                logits=self.bank.column("pool", "logits"),
                labels=self.subject.pool.labels,
                membership=self.bank.membership,
            ),
        )

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Who was IN, [models, examples]."""
        membership = self.observations.membership
        assert membership is not None
        return membership

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the label is predicted, [models, examples]."""
        return self.once("correct", lambda: self.bank.column("pool", "correct"))

    def blocks(self, models: slice, size: int | None = None) -> Iterator[slice]:
        """Disjoint parts of `size` models, one block unless given; a rest is left out."""
        each = size or self.block
        for first in range(models.start, models.stop - each + 1, each):
            yield slice(first, first + each)

    # ---- examples --------------------------------------------------------------------------------

    @property
    def mixed(self) -> bool:
        """Whether the pool has an over- and an under-represented group."""
        return is_mixture(self.subject.pool)

    @property
    def threshold(self) -> float:
        """Memorization above which an example is a singleton."""
        return singletons_above(self.subject.name, self.mixed)

    def memorization_of(self, models: slice) -> Floats:
        """Label memorization on these models alone, [examples]."""
        return label_memorization(self.correct[models], self.membership[models]).estimate

    @property
    def memorization(self) -> Floats:
        """Label memorization on the references, [examples]."""
        return self.once("memorization", lambda: self.memorization_of(self.references))

    @property
    def groups(self) -> Groups:
        """Positions in the pool by group; of a pool that is no mixture "all" and "singletons".

        A subpopulation may be empty: then nobody of the under-represented is in the smallest
        cluster. Singletons by TRAK are as many as those by memorization, the under-represented with
        the highest scores: TRAK's are on no scale that a threshold could be read on.
        """
        return self.once("groups", self._find_groups)

    def _find_groups(self) -> dict[str, Indices]:
        pool = self.subject.pool
        memorized = self.memorization > self.threshold
        everyone = np.arange(len(pool))
        if not self.mixed:
            return {ALL: everyone, SINGLETONS: np.flatnonzero(memorized)}
        outliers = pool.groups == UNDER
        try:
            features = penultimate_features(self.subject, self.bank.execution.device)
        except ValueError as error:
            raise CannotResolveError(f"there is nothing to cluster examples by: {error}") from error
        singletons = np.flatnonzero(outliers & memorized)
        return {
            ALL: everyone,
            OOD: np.flatnonzero(outliers),
            SUBPOPULATION: smallest_cluster(features, outliers),
            SINGLETONS: singletons,
            TRAK_SINGLETONS: self.highest(self.trak.scores, len(singletons)),
        }

    def highest(self, scores: Floats, count: int) -> Indices:
        """The under-represented examples with the highest scores, in order of the pool."""
        outliers = np.flatnonzero(self.subject.pool.groups == UNDER)
        order = np.argsort(-scores[outliers], kind="stable")
        return np.sort(outliers[order[:count]])

    @property
    def trak(self) -> TrakOracle:
        """TRAK's scores of the pool, by models of their own."""
        return self.once("trak", lambda: TrakOracle.of(self.subject, self.workshop))

    def members(self, group: str) -> Indices:
        """A group's examples.

        Raises:
            CannotResolveError: fewer than `SMALLEST_GROUP`, or none at all, as of outliers in a
                pool that is no mixture.
        """
        found = self.groups.get(group, np.arange(0))
        if len(found) < SMALLEST_GROUP:
            why = f" above memorization {self.threshold:g}" if group == SINGLETONS else ""
            raise CannotResolveError(
                f"the group {group!r}{why} has {len(found)} examples, and {SMALLEST_GROUP} are the "
                "least: nothing can be said of it on this subject"
            )
        return found

    def parts(self, examples: Indices, size: int, purpose: int, block: int) -> list[Indices]:
        """The examples as they are, if they are so many; else random parts, `DEALT` in them all.

        Args:
            examples: of a group, [examples].
            size: of a part.
            purpose: for which other draws are made.
            block: number of the block that is measured: each has parts of its own, so that no
                single draw decides.
        """
        if len(examples) == size:
            return [examples]
        rng = np.random.default_rng([self.bank.design.seed, 60, purpose, block])
        return [rng.choice(examples, size, replace=False) for _ in range(max(1, DEALT // size))]

    @property
    def source(self) -> str:
        """The group that singletons are a part of."""
        return OOD if self.mixed else ALL

    # ---- attacks ---------------------------------------------------------------------------------

    def scores(self, attack: str) -> Floats:
        """Scores of the calibration and the target models, [models, examples], in their order."""

        def attacked() -> Floats:
            known = self.observations
            if attack != self._attacker(attack):
                told = self.membership.copy()
                rng = np.random.default_rng([self.bank.design.seed, 61])
                told[self.references] = rng.permuted(told[self.references], axis=0)
                known = Observations(
                    confidence=known.confidence, labels=known.labels, membership=told
                )
            rows = np.arange(self.calibration.start, self.targets.stop)
            return ATTACKS[attack](known, rows)

        return self.once(("scores", self._attacker(attack)), attacked)

    def _attacker(self, attack: str) -> str:
        """The attack's name, and another where the control misleads it."""
        return f"{attack}, misled" if self.control == PERMUTED and attack == LIRA else attack

    def of(self, attack: str, models: slice, examples: Indices) -> tuple[Floats, NDArray[np.bool_]]:
        """An attack's scores of these models and examples, and who was IN, [models, examples]."""
        start = self.calibration.start
        rows = self.scores(attack)[models.start - start : models.stop - start]
        return rows[:, examples], self.membership[models][:, examples]

    def auroc(self, attack: str, models: slice, examples: Indices) -> float:
        """AUROC over these models and examples, scores pooled."""
        return self.once(
            ("auroc", self._attacker(attack), models.start, models.stop, examples.tobytes()),
            lambda: auroc(*self.of(attack, models, examples)),
        )

    def calibrated(self, attack: str, examples: Indices) -> float:
        """The threshold above which a share of at most `size.fpr` of the non-members lies."""
        return self.once(
            ("threshold", self._attacker(attack), examples.tobytes()),
            lambda: threshold_at_fpr(*self.of(attack, self.calibration, examples), self.size.fpr),
        )

    def rates(
        self, attack: str, models: slice, examples: Indices, threshold: float
    ) -> tuple[float, float]:
        """TPR and FPR of "score above threshold"."""
        scores, inside = self.of(attack, models, examples)
        accused = scores > threshold
        return float(accused[inside].mean()), float(accused[~inside].mean())

    def allowed_false_positives(self, examples: Indices) -> float:
        """How many non-members' scores lie above a calibrated threshold: what it rests on."""
        return float((~self.membership[self.calibration][:, examples]).sum() * self.size.fpr)
