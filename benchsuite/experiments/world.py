"""One bank's models attacking each other: what an experiment on removals measures of a pool."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchsuite.attacks.lira import lira
from benchsuite.attacks.privacy import advantage
from benchsuite.shadows import ShadowBank
from benchsuite.stats.roc import roc_curve, tpr_at_fpr
from benchsuite.stats.verdict import CannotResolveError

LEAST_FALSE_POSITIVES = 20
"""Below so many allowed in a block, a TPR at that FPR is not resolved."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def cross_attack(confidence: NDArray[np.floating], membership: Bools) -> Floats:
    """LiRA's scores of every model, [models, examples]; larger says IN.

    The models of each half are attacked with those of the other half as references, so that no
    model is its own reference and all are targets.
    """
    models = len(confidence)
    first, second = np.arange(models // 2), np.arange(models // 2, models)
    scores = np.empty(confidence.shape)
    for targets, references in ((first, second), (second, first)):
        rows = np.concatenate([references, targets])
        scores[targets] = lira(
            confidence[rows],
            membership[rows],
            targets=np.arange(len(references), models),
            variant="paper/online",
        )
    return scores


@dataclass(frozen=True, eq=False)
class World:
    """Models trained on subsets of one pool, and an attack on each of them.

    Args:
        confidence: what is attacked: scaled confidence of the true label, float [models, examples].
        correct: whether the label is predicted, bool [models, examples].
        membership: who was IN, bool [models, examples].
        scores: of the attack, [models, examples]; larger says IN.
        examples: where each example lies in the pool that the experiment began with, [examples];
            -1 for one that it did not hold.
        block: models in one unit of replication.
        accuracy: held-out, of each model, [models].
    """

    confidence: NDArray[np.floating]
    correct: Bools
    membership: Bools
    scores: Floats
    examples: Indices
    block: int
    accuracy: Floats

    @classmethod
    def of(
        cls,
        bank: ShadowBank,
        examples: Indices,
        rows: slice | Indices = slice(None),
        columns: slice | Indices = slice(None),
        statistic: str = "confidence",
    ) -> "World":
        """The world of these rows and columns of a bank, each half of it attacked with the other.

        By the scaled confidence of the true label, or by another statistic that the bank has.
        """
        confidence = bank.column("pool", statistic)[rows][:, columns]
        membership = bank.membership[rows][:, columns]
        return cls(
            confidence,
            bank.column("pool", "correct")[rows][:, columns],
            membership,
            cross_attack(confidence, membership),
            examples,
            bank.design.block,
            bank.column("test", "correct")[rows].mean(axis=1),
        )

    def __len__(self) -> int:
        """Number of models."""
        return len(self.membership)

    def part(self, rows: slice) -> "World":
        """Some of its models, as they were scored."""
        return replace(
            self,
            confidence=self.confidence[rows],
            correct=self.correct[rows],
            membership=self.membership[rows],
            scores=self.scores[rows],
            accuracy=self.accuracy[rows],
        )

    def halves(self) -> tuple["World", "World"]:
        """Two halves of its blocks, each attacked with itself alone.

        One may choose examples and the other measure them. As they were scored before, each has the
        other as references, and what chance makes of an example in one it makes of it in both.

        Raises:
            CannotResolveError: a single block.
        """
        middle = len(self) // self.block // 2 * self.block
        if not middle:
            raise CannotResolveError(
                f"{len(self)} models are no two blocks of {self.block}, one to choose examples and "
                "one to measure them: train more models"
            )
        first, second = slice(0, middle), slice(middle, len(self))
        return self.part(first)._attacked(), self.part(second)._attacked()

    def among(self, models: int) -> "World":
        """Its models attacked in parts of so many, each with itself alone; a rest is left out.

        So the attacker knows no more than that of a smaller world which it is compared with.
        """
        scores = np.concatenate([part._attacked().scores for part in self.blocks(models)])
        return replace(self.part(slice(0, len(scores))), scores=scores)

    def _attacked(self) -> "World":
        return replace(self, scores=cross_attack(self.confidence, self.membership))

    def take(self, columns: Indices) -> "World":
        """Some of its examples, by their columns."""
        return replace(
            self,
            confidence=self.confidence[:, columns],
            correct=self.correct[:, columns],
            membership=self.membership[:, columns],
            scores=self.scores[:, columns],
            examples=self.examples[columns],
        )

    def at(self, examples: Iterable[int]) -> "World":
        """Some of its examples, by where they lie in the pool that the experiment began with.

        Raises:
            KeyError: an example that this world does not hold.
        """
        place = {int(example): column for column, example in enumerate(self.examples)}
        return self.take(np.array([place[int(each)] for each in examples], dtype=np.intp))

    def blocks(self, models: int | None = None) -> Iterator["World"]:
        """Its models in disjoint parts of `models`, one block unless given; a rest is left out."""
        size = models or self.block
        for first in range(0, len(self) - size + 1, size):
            yield self.part(slice(first, first + size))

    @cached_property
    def advantage(self) -> Floats:
        """TPR less FPR of the decision "score above 0", over all its models, [examples]."""
        return advantage(self.scores, self.membership)

    def tpr(self, fpr: float) -> float:
        """TPR at an FPR, all scores pooled.

        Raises:
            CannotResolveError: so few non-members that this FPR allows fewer than
                `LEAST_FALSE_POSITIVES` of them to be accused.
        """
        non_members = int((~self.membership).sum())
        if non_members * fpr < LEAST_FALSE_POSITIVES:
            raise CannotResolveError(
                f"{non_members:,} non-members allow {non_members * fpr:.1f} false positives at "
                f"an FPR of {fpr:g}, and {LEAST_FALSE_POSITIVES} are the least: this needs more "
                "models or more examples"
            )
        return float(tpr_at_fpr(self.scores, self.membership, fpr).tpr)

    def log_tpr(self, fpr: float) -> float:
        """Logarithm of `tpr`, of which half a member is the least."""
        return self._log_share(self.tpr(fpr))

    def threshold(self, fpr: float) -> float:
        """The lowest score from which on at most this share of the non-members is accused."""
        curve = roc_curve(self.scores, self.membership)
        return float(curve.thresholds[np.searchsorted(curve.fpr, fpr, side="right") - 1])

    def log_share_found(self, threshold: float) -> float:
        """Logarithm of the share of members that score so much; half a member is the least."""
        return self._log_share(float(np.mean(self.scores[self.membership] >= threshold)))

    def _log_share(self, share: float) -> float:
        return float(np.log(max(share, 0.5 / int(self.membership.sum()))))


def rightness(world: World) -> NDArray[np.float32]:
    """How surely the attack is right about each example and model, from 0 to 1.

    LiRA's score is a log-likelihood ratio, so its logistic function is the probability of IN at
    even odds. In place of right or wrong, as the paper counts, it ranks neighbours with less noise.
    """
    right: NDArray[np.float32] = expit(
        np.where(world.membership, world.scores, -world.scores)
    ).astype(np.float32)
    return right


@dataclass(frozen=True, eq=False)
class Unmasking:
    """Targets attacked before and after what masks each of them is removed.

    Args:
        before: models that lack nothing of it.
        after: by target, models that do.
        removed: examples, for each target.
    """

    before: World
    after: Mapping[int, World]
    removed: int

    def rise(self, unit: int, units: int) -> float:
        """Of the advantage pooled over the targets, see `pooled_advantage`."""
        before = dict.fromkeys(self.after, self.before)
        return pooled_advantage(self.after, unit, units) - pooled_advantage(before, unit, units)

    def halves(self) -> tuple["Unmasking", "Unmasking"]:
        """Two halves of all models, see `World.halves`; the second measures what the first chose.

        Raises:
            CannotResolveError: a world of a single block.
        """
        before = self.before.halves()
        after = {target: world.halves() for target, world in self.after.items()}
        first, second = (
            Unmasking(before[half], {t: each[half] for t, each in after.items()}, self.removed)
            for half in (0, 1)
        )
        return first, second

    def advantages(self) -> tuple[Floats, Floats]:
        """On each target, before and after."""
        after = [world.at([target]).advantage[0] for target, world in self.after.items()]
        return self.before.at(self.after).advantage, np.array(after)


def pooled_advantage(worlds: Mapping[int, World], unit: int, units: int) -> float:
    """TPR less FPR at score 0 over one of `units` parts of the models of several targets.

    Args:
        worlds: by target, the world that it is attacked in.
        unit: counted from 0.
        units: parts that each world's models are dealt into.

    Raises:
        CannotResolveError: a part without a member or without a non-member.
    """
    said, inside = [], []
    for target, world in worlds.items():
        size = len(world) // units
        part = world.part(slice(unit * size, (unit + 1) * size)).at([target])
        said.append(part.scores.ravel() > 0)
        inside.append(part.membership.ravel())
    accused, members = np.concatenate(said), np.concatenate(inside)
    if members.all() or not members.any():
        raise CannotResolveError(
            f"the {len(members)} models and targets of one part are all members or all not: this "
            "needs more models or more targets"
        )
    return float(accused[members].mean() - accused[~members].mean())
