"""Training many models that differ in their training subset: stacked where it can, looped else."""

from typing import Literal

from torch import Tensor

from benchsuite.training.batches import ModelFactory, TrainingJob, Weights, template
from benchsuite.training.dense import DenseGradients, is_dense
from benchsuite.training.layers import why_not_stacked
from benchsuite.training.looped import logits_looped, train_looped
from benchsuite.training.recipe import Augmentation, Recipe
from benchsuite.training.stacked import logits_stacked, train_stacked

SEMANTICS = 1
"""Raised whenever the same job would give other models: banks made before are then not reused."""

Strategy = Literal["dense", "stacked", "looped"]
"""How models are trained: in a stack with gradients written out, which is for multilayer
perceptrons; in a stack with autograd's; or one after another."""

__all__ = [
    "SEMANTICS",
    "Augmentation",
    "ModelFactory",
    "Recipe",
    "Strategy",
    "TrainingJob",
    "Weights",
    "is_dense",
    "logits",
    "template",
    "train",
    "why_not_stacked",
]


def train(job: TrainingJob, strategy: Strategy) -> Weights:
    """Train every model of the job; all strategies give the same models up to rounding."""
    if strategy == "dense":
        return train_stacked(job, DenseGradients)
    return train_stacked(job) if strategy == "stacked" else train_looped(job)


def logits(factory: ModelFactory, weights: Weights, inputs: Tensor, strategy: Strategy) -> Tensor:
    """Logits [models, examples, classes] of trained models in evaluation mode."""
    of = logits_looped if strategy == "looped" else logits_stacked
    return of(factory, weights, inputs)
