"""Differential privacy: what DP-SGD does to memorization, and whether attacks respect its ceiling.

From Appendix E of "Exploring Connections Between Memorization And Membership Inference", and from
Section 9.3 of "Memorisation in Machine Learning".

`prevention` compares ways to train on the examples that plain models memorize. Clipping is slow
learning too, so that what noise does is told by two arms alike in all else: DP-SGD and its clipping
alone, both at the fitting rate, the least learning rate with which clipping alone fits the training
set as plain training does. DP-SGD at the recipe's own rate, which is more accurate, is held against
plain training stopped when it was as accurate.

`bounds` is the game that the guarantee is about: models that differ in mislabelled canaries alone,
each of which joins the others or not by the toss of a coin (see `Joining`), and an attacker with
references of the same game. Its advantage on each of them is at most `advantage_ceiling`.

Controls:

- ``without-noise``: other models with the clipping alone, at the fitting rate, stand in for those
  with noise, in the game and in both contrasts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.lira import lira
from benchsuite.attacks.privacy import advantage
from benchsuite.experiments.groups import Groups
from benchsuite.experiments.outliers import with_mislabelled
from benchsuite.experiments.sizes import PrivacySize
from benchsuite.memorization.label import label_memorization
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced, Joining
from benchsuite.stats.privacy import advantage_ceiling
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Privacy, check_private, template
from benchsuite.training.accounting import Spent, noise_for, privacy_spent
from benchsuite.workshop import Workshop

WITHOUT_NOISE = "without-noise"
NOISE, CLIP = 1.3, 1.0
"""The paper's (Appendix E)."""
DELTA = 1e-5
"""The paper's."""
EPSILON = 1.0
"""Of the canary game that is decided."""
MOST_EXPOSED = 10
"""Canaries; the advantage on one is too noisy in a block of 64 models."""
ARMS_SEED, FITTING_SEED = 2, 1
"""Of the designs of private models: subsets that neither choose examples nor a learning rate."""
FIT = 0.005
"""How far the training accuracy of clipping alone may lie below that of plain training."""
TIMES = (1.0, 3.0, 10.0, 30.0)
"""The recipe's learning rate, among which the fitting one is looked for."""

Floats = NDArray[np.float64]
T = TypeVar("T")


class Played(NamedTuple):
    """A canary game at one noise.

    Attributes:
        spent: what DP-SGD guarantees there.
        scores: LiRA's, of the targets on the canaries, [targets, canaries].
        membership: who was IN, likewise.
        memorization: label memorization of the canaries over all models, [canaries].
        exposed: positions among the canaries of those that LiRA finds most exposed in references.
        accuracy: held-out, of each target, [targets].
    """

    spent: Spent
    scores: Floats
    membership: NDArray[np.bool_]
    memorization: Floats
    exposed: NDArray[np.intp]
    accuracy: Floats


@dataclass(frozen=True, eq=False)
class PrivacyExperiment:
    """A subject's models trained with and without DP-SGD.

    Args:
        subject: whose recipe is made private.
        size: how many blocks do what.
        workshop: trains the banks.
        control: see above; "" for the experiment as it is.
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

    def __post_init__(self) -> None:
        if self.control and self.control not in self.controls:
            raise ValueError(
                f"control={self.control!r} is unknown: use one of {', '.join(self.controls)}"
            )

    def under(self, control: str) -> Self:
        """The same experiment with one thing broken."""
        return replace(self, control=control)

    # ---- ways to train ---------------------------------------------------------------------------

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

        return self._kept("fitting", find)

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
        self._check_private()
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

    def _check_private(self) -> None:
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

    # ---- the canary game -------------------------------------------------------------------------

    def played(self, epsilon: float | None, references: int, targets: int) -> Played:
        """The game at an epsilon, or with the clipping alone, in so many blocks of models."""
        key = "played", epsilon, references, targets
        return self._kept(key, lambda: self._play(epsilon, references, targets))

    def _play(self, epsilon: float | None, references: int, targets: int) -> Played:
        subject, canaries = with_mislabelled(self.subject, self.size.canaries)
        examples = len(subject.pool)
        design = Joining(examples, tuple(canaries.tolist()))
        recipe = replace(
            subject.recipe,
            epochs=min(self.size.game_epochs, subject.recipe.epochs),
            learning_rate=self.fitting * subject.recipe.learning_rate,
            privacy=Privacy(0.0, CLIP),
        )
        if epsilon is not None:
            try:
                noise = noise_for(epsilon, recipe, examples, DELTA)
            except ValueError as error:
                raise CannotResolveError(str(error)) from error
            recipe = replace(recipe, privacy=Privacy(noise, CLIP))
        why = "clip-only" if epsilon is None else f"epsilon-{epsilon:g}"
        named = replace(subject, name=f"{subject.name}-{why}", recipe=recipe)
        bank = self.workshop.bank(named, design.block * (references + targets), design=design)
        confidence = bank.column("pool", "confidence")[:, canaries]
        membership = bank.membership[:, canaries]
        first = design.block * references
        known, attacked = np.arange(first), np.arange(first, bank.models)
        half = known[: first // 2]
        among = advantage(lira(confidence[:first], membership[:first], half), membership[half])
        return Played(
            privacy_spent(recipe, examples, DELTA),
            lira(confidence, membership, attacked),
            membership[attacked],
            label_memorization(bank.column("pool", "correct")[:, canaries], membership).estimate,
            np.argsort(-among, kind="stable")[:MOST_EXPOSED],
            bank.column("test", "correct")[attacked].mean(axis=1),
        )

    def bounds(self) -> Iterator[dict[str, float]]:
        """Of each block of targets: the attack's advantage less the ceiling.

        "all canaries" is the mean over them, "most exposed" that over the `MOST_EXPOSED` which LiRA
        finds most exposed among the references. Reported beside them the advantage, ceiling and
        accuracy.

        Raises:
            CannotResolveError: an epsilon out of reach, too small a pool, a model whose layers mix
                examples.
        """
        self._check_private()
        epsilon = None if self.control == WITHOUT_NOISE else EPSILON
        played = self.played(epsilon, self.size.references, self.size.targets)
        ceiling = advantage_ceiling(EPSILON, DELTA)
        for rows in np.split(np.arange(len(played.scores)), self.size.targets):
            each = advantage(played.scores[rows], played.membership[rows])
            yield {
                "all canaries": float(each.mean()) - ceiling,
                "most exposed": float(each[played.exposed].mean()) - ceiling,
                "advantage": float(each.mean()),
                "memorization": float(played.memorization.mean()),
                "ceiling": ceiling,
                "held-out accuracy": float(played.accuracy[rows].mean()),
            }

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where this subject has none."""
        from benchsuite.experiments.privacy_figures import ARRAYS  # it imports this module

        try:
            return ARRAYS[kind](self)
        except CannotResolveError:
            return None

    def _kept(self, key: Any, compute: Callable[[], T]) -> T:
        if key not in self.cache:
            self.cache[key] = compute()
        kept: T = self.cache[key]
        return kept


def _train_accuracy(bank: ShadowBank, rows: slice = slice(None)) -> float:
    return float(bank.column("pool", "correct")[rows][bank.membership[rows]].mean())
