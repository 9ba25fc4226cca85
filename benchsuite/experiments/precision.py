"""Whether products in bf16 or TF32 leave memorization and LiRA's scores as float32 gives them.

Rounding makes training another one, as another seed does: single scores differ, and none is the
right one. So a precision is held against float32 by what its scores say on average, and by how well
they rank against float32 with another seed, beside how well float32's own do. All models of a unit
have the same subsets in every arm, and are trained at the other precision with the same seed as the
first float32 ones.

A unit is two blocks of models, each of which is attacked by LiRA with the other as references: no
unit shares a model with another.

Control:

- ``answers-in-bf16``: the probability of the label, which the trained models give, is rounded to
  bf16 too, as where all is computed in it; what they predict stays. It must fail: scores are made
  of how near to 1 probabilities are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import spearmanr

from benchsuite.attacks.lira import lira
from benchsuite.experiments.controlled import Remembering
from benchsuite.experiments.sizes import PrecisionSize
from benchsuite.memorization.label import label_memorization
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Balanced
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.roc import auroc, tpr_at_fpr
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Precision
from benchsuite.workshop import Workshop

ROUNDED = "answers-in-bf16"
FPR = 1e-3
FLOOR = 1e-45
"""Of probabilities whose logarithm is taken, as in tensorflow/privacy."""
BAND = 0.05
SEED, OTHER_SEED = 0, 1
"""Of the subsets and of most training; of the training of float32's other arm."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def rounded_to_bf16(confidence: NDArray[np.floating]) -> Floats:
    """Confidences by way of the label's probability p in bf16: log p - log(1 - p).

    Above 1 - 2^-9 p becomes 1, and what it lacks is then taken to be `FLOOR`.
    """
    p = torch.from_numpy(expit(confidence.astype(np.float64))).to(torch.bfloat16).double().numpy()
    rounded: Floats = np.log(np.maximum(p, FLOOR)) - np.log(np.maximum(1 - p, FLOOR))
    return rounded


class Scores(NamedTuple):
    """What the models of one unit come to under one training.

    Attributes:
        memorization: label memorization of each example, [examples].
        lira: scores of each model, with the other block's as references, [models, examples].
        auroc: of these scores, pooled.
        tpr: of these scores, pooled, at `FPR`.
        accuracy: held-out.
    """

    memorization: Floats
    lira: Floats
    auroc: float
    tpr: float
    accuracy: float


def scores_of(
    confidence: NDArray[np.floating], correct: Bools, membership: Bools, accuracy: float
) -> Scores:
    """Score the models of one unit, the first half with the second as references, and so on.

    Args:
        confidence: scaled confidence, [models, examples].
        correct: whether the label is predicted, likewise.
        membership: who was IN, likewise.
        accuracy: held-out, of these models.

    Raises:
        CannotResolveError: too few non-members for a TPR at `FPR`.
    """
    if np.count_nonzero(~membership) * FPR < 1:
        raise CannotResolveError(
            f"{np.count_nonzero(~membership):,} non-members are too few for a TPR at {FPR:.1%} FPR"
        )
    halves = np.split(np.arange(len(membership)), 2)
    found = np.concatenate([lira(confidence, membership, targets=half) for half in halves])
    return Scores(
        label_memorization(correct, membership).estimate,
        found,
        auroc(found, membership),
        float(tpr_at_fpr(found, membership, FPR).tpr),
        accuracy,
    )


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's correlation over all numbers.

    Raises:
        CannotResolveError: one of them is the same number everywhere.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        raise CannotResolveError("scores are all alike: there is nothing to rank")
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def differences(other: Scores, float32: Scores) -> dict[str, float]:
    """How far the scores of a training lie above float32's.

    Raises:
        CannotResolveError: nobody is found at `FPR`, so that there is no ratio.
    """
    if not (other.tpr > 0 and float32.tpr > 0):
        raise CannotResolveError(f"nobody is found at {FPR:.1%} FPR: there is no ratio of TPRs")
    return {
        "memorization": float(other.memorization.mean() - float32.memorization.mean()),
        "AUROC": other.auroc - float32.auroc,
        "log TPR at 0.1 % FPR": float(np.log(other.tpr / float32.tpr)),
    }


def compared(other: Scores, float32: Scores, reseeded: Scores) -> dict[str, float]:
    """Numbers of one unit: differences from float32, and how much worse scores rank.

    "rank of ..." is Spearman's correlation with float32 of another seed, less that of float32 with
    it: below 0 where the precision blurs what training on an example does. Reported: differences of
    float32's two seeds, how well the precision's scores rank with float32's of the same seed, and
    the two seeds of float32 with each other.
    """
    ranked: dict[str, float] = {}
    reported = {f"{name}, by seed": by for name, by in differences(reseeded, float32).items()}
    for name, get in (("memorization", "memorization"), ("LiRA's scores", "lira")):
        mine, first, second = (getattr(each, get) for each in (other, float32, reseeded))
        between = rank_correlation(first, second)
        ranked[f"rank of {name}"] = rank_correlation(mine, second) - between
        reported[f"correlation, same seed: {name}"] = rank_correlation(mine, first)
        reported[f"correlation, by seed: {name}"] = between
    return differences(other, float32) | ranked | reported


@dataclass(frozen=True, eq=False)
class PrecisionExperiment(Remembering):
    """A subject's models trained at one precision, beside float32's on the same subsets.

    Args:
        subject: to train.
        size: how many units.
        workshop: trains the banks.
        precision: that is held against float32.
        control: see above; "" for the experiment as it is.
        cache: what was computed, shared by all arms and precisions.
    """

    subject: Subject
    size: PrecisionSize
    workshop: Workshop
    precision: Precision
    control: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {
        ROUNDED: "What the trained models answer is rounded to bf16 too.",
    }

    def at(self, precision: Precision) -> "PrecisionExperiment":
        """The same of another precision."""
        return replace(self, precision=precision)

    @property
    def bank(self) -> ShadowBank:
        """Float32's models."""
        return self._bank("float32")

    def _bank(self, precision: Precision, seed: int = SEED) -> ShadowBank:
        pool = self.subject.pool
        design = Balanced(len(pool), self.subject.share, seed, SEED)
        models = 2 * design.block * self.size.units
        return self.workshop.bank(self.subject, models, design=design, precision=precision)

    def scores(self, precision: Precision, seed: int = SEED, rounded: bool = False) -> list[Scores]:
        """Of each unit, as models of a precision and seed are scored."""

        def score() -> list[Scores]:
            bank = self._bank(precision, seed)
            confidence, correct = (bank.column("pool", each) for each in ("confidence", "correct"))
            if rounded:
                confidence = rounded_to_bf16(confidence)
            accuracy = bank.column("test", "correct").mean(axis=1)
            return [
                scores_of(
                    confidence[rows],
                    correct[rows],
                    bank.membership[rows],
                    float(accuracy[rows].mean()),
                )
                for rows in np.split(np.arange(bank.models), self.size.units)
            ]

        return self.once((precision, seed, rounded), score)

    def kept(self) -> Iterator[dict[str, float]]:
        """Of each unit how the precision's scores compare with float32's; see `compared`.

        Raises:
            CannotResolveError: too few non-members, or scores that are all alike.
        """
        float32, reseeded = self.scores("float32"), self.scores("float32", OTHER_SEED)
        other = self.scores(self.precision, rounded=self.control == ROUNDED)
        yield from map(compared, other, float32, reseeded)

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of the figure: what each training comes to, and memorization by example."""
        assert kind == "precision-scores"
        if self.size.units < 2:
            return None
        reseeded, float32 = self.scores("float32", OTHER_SEED), self.scores("float32")
        trained = {
            "float32": (float32, reseeded, self._bank("float32")),
            "float32, another seed": (reseeded, float32, self._bank("float32", OTHER_SEED)),
            self.precision: (self.scores(self.precision), reseeded, self._bank(self.precision)),
            f"{self.precision}, answers in bf16": (
                self.scores(self.precision, rounded=True),
                reseeded,
                None,
            ),
        }
        rows = {arm: _measured(own, held) for arm, (own, held, _) in trained.items()}
        return {
            "arms": np.array(list(trained)),
            **{
                name: np.array([t_interval(of_arm[name], BAND) for of_arm in rows.values()])
                for name in rows["float32"]
            },
            "rate": np.array([_models_per_second(bank) for _, _, bank in trained.values()]),
            **{
                f"by example, {name}": np.mean([unit.memorization for unit in units], axis=0)
                for name, units in (
                    ("float32", float32),
                    ("another seed", reseeded),
                    ("other", self.scores(self.precision)),
                )
            },
            "units": np.array(self.size.units),
            "models": np.array(self.bank.models),
            "non-members": np.array(np.count_nonzero(~self.bank.membership) // self.size.units),
            "fpr": np.array(FPR),
            "device": np.array(self.bank.execution.device.partition(":")[0]),
        }


def _measured(own: list[Scores], held_against: list[Scores]) -> dict[str, list[float]]:
    """Of each unit the numbers of a row of the figure's table."""
    return {
        "memorization": [float(each.memorization.mean()) for each in own],
        "auroc": [each.auroc for each in own],
        "tpr": [each.tpr for each in own],
        "accuracy": [each.accuracy for each in own],
        "rank of memorization": [
            rank_correlation(one.memorization, other.memorization)
            for one, other in zip(own, held_against, strict=True)
        ],
        "rank of LiRA's scores": [
            rank_correlation(one.lira, other.lira)
            for one, other in zip(own, held_against, strict=True)
        ],
    }


def _models_per_second(bank: ShadowBank | None) -> float:
    """Of those that this run trained; NaN where it trained none."""
    fill = None if bank is None else bank.fill
    return fill.models_trained / fill.seconds if fill and fill.models_trained else np.nan
