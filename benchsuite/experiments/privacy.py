"""Differential privacy: what DP-SGD does to memorization, and whether attacks respect its ceiling.

From Appendix E of "Exploring Connections Between Memorization And Membership Inference", and from
Section 9.3 of "Memorisation in Machine Learning".

`prevention` compares ways to train on the examples that plain models memorize, see
`PrivateTraining`.

`bounds` is the game that the guarantee is about: models that differ in mislabelled canaries alone,
each of which joins the others or not by the toss of a coin (see `Joining`), and an attacker with
references of the same game. Its advantage on each of them is at most `advantage_ceiling`.

Controls:

- ``without-noise``: other models with the clipping alone, at the fitting rate, stand in for those
  with noise, in the game and in both contrasts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.lira import lira
from benchsuite.attacks.privacy import advantage
from benchsuite.experiments.outliers import with_mislabelled
from benchsuite.experiments.private_training import CLIP, DELTA, WITHOUT_NOISE, PrivateTraining
from benchsuite.memorization.label import label_memorization
from benchsuite.shadows.design import Joining
from benchsuite.stats.privacy import advantage_ceiling
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.training import Privacy
from benchsuite.training.accounting import Spent, noise_for, privacy_spent

EPSILON = 1.0
"""Of the canary game that is decided."""
MOST_EXPOSED = 10
"""Canaries; the advantage on one is too noisy in a block of 64 models."""

Floats = NDArray[np.float64]


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
class PrivacyExperiment(PrivateTraining):
    """What the noise of DP-SGD prevents, and the canary game that bounds what it can."""

    def played(self, epsilon: float | None, references: int, targets: int) -> Played:
        """The game at an epsilon, or with the clipping alone, in so many blocks of models."""
        key = "played", epsilon, references, targets
        return self.once(key, lambda: self._play(epsilon, references, targets))

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
        self.check_private()
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
