"""TRAK as an oracle of memorization: its scores of a pool, by a block of models of their own."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchsuite.memorization.label import label_memorization
from benchsuite.memorization.trak import trak_self_influence
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

SEED = 1
"""Of the oracle's models, which are none of those that are attacked."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrakOracle:
    """What one block of models says of every example's self-influence.

    Attributes:
        scores: TRAK's, [examples].
        memorization: Feldman and Zhang's estimate by the same models, likewise.
        error: one factor of TRAK's score, the mean over models of 1 - p_y, likewise.
        models: how many.
        seconds: that training and gradients took in this run; NaN where the bank had them.
    """

    scores: Floats
    memorization: Floats
    error: Floats
    models: int
    seconds: float

    @classmethod
    def of(cls, subject: Subject, workshop: Workshop) -> "TrakOracle":
        """Train the models, or find them, and score the subject's pool.

        Raises:
            ValueError, BankError: as `train_shadows`.
        """
        design = Balanced(len(subject.pool), subject.share, SEED)
        named = replace(subject, name=f"{subject.name}-trak")
        columns = ("pool.confidence", "pool.correct", "pool.leverage", "test.correct")
        bank = workshop.bank(named, design.block, columns=columns, design=design)
        assert bank.fill is not None
        correct, confidence = bank.column("pool", "correct"), bank.column("pool", "confidence")
        return cls(
            trak_self_influence(bank.column("pool", "leverage"), confidence),
            label_memorization(correct, bank.membership).estimate,
            np.asarray(expit(-confidence.astype(np.float64)).mean(axis=0)),
            bank.models,
            bank.fill.seconds if bank.fill.models_trained == bank.models else np.nan,
        )
