"""The training of a bank's models: what a filler does, and whoever needs some of them again."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchsuite.shadows.bank import ShadowBank
from benchsuite.shadows.design import Design, Joining
from benchsuite.shadows.execution import exact_on_cuda, threads
from benchsuite.subject import Subject
from benchsuite.training import TrainingJob, Weights, train
from benchsuite.training.batches import OUT


def training_job(
    design: Design,
    subject: Subject,
    models: Sequence[int],
    inputs: Tensor,
    before_epoch: Callable[[], None] = lambda: None,
    after_epoch: Callable[[int, tuple[int, ...], Weights], None] | None = None,
) -> TrainingJob:
    """The job of these models of a subject's bank.

    Args:
        design: of the bank, which has its seed.
        subject: of the bank.
        models: ids, ascending.
        inputs: of the subject's pool, on the device to train on.
        before_epoch: see `TrainingJob`.
        after_epoch: see `TrainingJob`.
    """
    rows = design.rows(models[0], models[-1] + 1)[np.array(models) - models[0]]
    pool, validation, device = subject.pool, subject.validation, inputs.device
    return TrainingJob(
        subject.model,
        subject.recipe,
        inputs,
        torch.tensor(pool.labels, device=device),
        _subsets(design, rows),
        tuple(models),
        design.seed,
        None
        if validation is None
        else (
            torch.tensor(validation.inputs(), device=device),
            torch.tensor(validation.labels, device=device),
        ),
        before_epoch,
        after_epoch,
    )


def _subsets(design: Design, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The training subset of each row, [models, size]."""
    if isinstance(design, Joining):
        # A place for each example, IN or OUT: the sampling rate, the steps and in what place the
        # others lie must not tell who is IN.
        return np.where(rows, np.arange(design.examples), OUT)
    return np.stack([np.flatnonzero(row) for row in rows])


def train_again(bank: ShadowBank, subject: Subject, models: Sequence[int]) -> dict[int, Weights]:
    """Train some of a bank's models once more, for what no column holds: weights by name, by id.

    Where the bank stacks models these are stacked otherwise, so they may differ by rounding.
    """
    chosen, device = sorted(models), torch.device(bank.execution.device)
    inputs = torch.tensor(subject.pool.inputs(), device=device)
    execution = bank.execution
    with threads(execution.threads), exact_on_cuda(execution.device, execution.precision):
        weights = train(training_job(bank.design, subject, chosen, inputs), execution.engine)
    return {
        model: {name: tensor[row].cpu() for name, tensor in weights.items()}
        for row, model in enumerate(chosen)
    }
