"""Training many models that differ in their training subset: stacked where it can, looped else."""

from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchsuite.training.batches import ModelFactory, TrainingJob, Weights, template
from benchsuite.training.dense import DenseSteps
from benchsuite.training.engine import Engine, Launch, Layout, Matmul, Precision, Strategy
from benchsuite.training.graphs import GraphedSteps
from benchsuite.training.layers import why_not_stacked
from benchsuite.training.looped import logits_looped, train_looped
from benchsuite.training.per_example import squared_gradient_norms
from benchsuite.training.perceptrons import is_dense
from benchsuite.training.private import check_private
from benchsuite.training.private_dense import ClippedDenseSteps
from benchsuite.training.products import numpy_on_one_thread
from benchsuite.training.recipe import Augmentation, Privacy, Recipe
from benchsuite.training.stacked import GraphSteps, StepsOf, logits_stacked, train_stacked

SEMANTICS = 4
"""Raised whenever the same job would give other models: banks made before are then not reused."""

__all__ = [
    "SEMANTICS",
    "Augmentation",
    "Engine",
    "Launch",
    "Layout",
    "Matmul",
    "ModelFactory",
    "Precision",
    "Privacy",
    "Recipe",
    "Strategy",
    "TrainingJob",
    "Weights",
    "check_private",
    "is_dense",
    "logits",
    "squared_gradient_norms",
    "template",
    "train",
    "why_not_stacked",
]


def train(job: TrainingJob, how: Strategy | Engine) -> Weights:
    """Train every model of the job; all ways give the same models up to rounding.

    Raises:
        ValueError: a private recipe with the strategy "stacked" or at "bf16", gradients written
            out at "bf16", or a model that mixes examples; NumPy's products on another device
            than a CPU.
    """
    engine = _engine(how)
    on_cuda = job.inputs.is_cuda
    # Streams and graphs are the current device's.
    with torch.cuda.device(job.inputs.device) if on_cuda else nullcontext():
        return _train(job, engine)


def _train(job: TrainingJob, engine: Engine) -> Weights:
    private = job.recipe.privacy is not None
    if private and engine.strategy == "stacked":
        raise ValueError(
            "strategy='stacked' cannot train with recipe.privacy, which clips the gradient of each "
            "example: use 'dense' for a multilayer perceptron and 'looped' for another model"
        )
    if engine.precision == "bf16" and (private or engine.strategy == "dense"):
        raise ValueError(
            "precision='bf16' goes through autograd, which neither strategy='dense' nor "
            "recipe.privacy does: use 'float32', or strategy='stacked' without privacy"
        )
    if engine.matmul == "numpy" and job.inputs.device.type != "cpu":
        raise ValueError(
            f"matmul='numpy' computes on a CPU, but the job's inputs are on {job.inputs.device}: "
            "use 'torch'"
        )
    if engine.strategy == "looped":
        return train_looped(job, engine)
    if engine.strategy == "stacked":
        of_graph = partial(GraphSteps, engine=engine)
        return train_stacked(job, engine.layout, _launched(of_graph, engine))
    steps_of = partial(ClippedDenseSteps if private else DenseSteps, matmul=engine.matmul)
    # Models that diverge are for the caller to name, whosever products overflow.
    quiet = np.errstate(over="ignore", invalid="ignore")
    with numpy_on_one_thread if engine.matmul == "numpy" else nullcontext(), quiet:
        return train_stacked(job, engine.layout, _launched(steps_of, engine))


def _launched(steps_of: StepsOf, engine: Engine) -> StepsOf:
    if engine.launch != "graph":
        return steps_of
    return lambda *args: GraphedSteps(steps_of(*args))


def _engine(how: Strategy | Engine) -> Engine:
    """Of a strategy's name one that is good on any machine."""
    if isinstance(how, Engine):
        return how
    return Engine(how, "channels_last" if how == "stacked" else "contiguous")


def logits(
    factory: ModelFactory, weights: Weights, inputs: Tensor, how: Strategy | Engine
) -> Tensor:
    """Logits [models, examples, classes] of trained models in evaluation mode, in float32."""
    engine = _engine(how)
    if engine.strategy == "looped":
        return logits_looped(factory, weights, inputs, engine)
    return logits_stacked(factory, weights, inputs, engine.layout)
