"""Training many models that differ in their training subset: stacked where it can, looped else."""

from typing import Literal

from torch import Tensor

from benchsuite.training.batches import ModelFactory, TrainingJob, Weights, template
from benchsuite.training.dense import DenseSteps, is_dense
from benchsuite.training.layers import why_not_stacked
from benchsuite.training.looped import logits_looped, train_looped
from benchsuite.training.per_example import squared_gradient_norms
from benchsuite.training.private import check_private
from benchsuite.training.private_dense import ClippedDenseSteps
from benchsuite.training.recipe import Augmentation, Privacy, Recipe
from benchsuite.training.stacked import logits_stacked, train_stacked

SEMANTICS = 3
"""Raised whenever the same job would give other models: banks made before are then not reused."""

Strategy = Literal["dense", "stacked", "looped"]
"""How models are trained: in a stack with gradients written out, which is for multilayer
perceptrons; in a stack with autograd's; or one after another."""

__all__ = [
    "SEMANTICS",
    "Augmentation",
    "ModelFactory",
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


def train(job: TrainingJob, strategy: Strategy) -> Weights:
    """Train every model of the job; all strategies give the same models up to rounding.

    Raises:
        ValueError: a private recipe with the strategy "stacked", or a model that mixes examples.
    """
    private = job.recipe.privacy is not None
    if strategy == "dense":
        return train_stacked(job, ClippedDenseSteps if private else DenseSteps)
    if strategy == "looped":
        return train_looped(job)
    if private:
        raise ValueError(
            f"strategy={strategy!r} cannot train with recipe.privacy, which clips the gradient of "
            "each example: use 'dense' for a multilayer perceptron and 'looped' for another model"
        )
    return train_stacked(job)


def logits(factory: ModelFactory, weights: Weights, inputs: Tensor, strategy: Strategy) -> Tensor:
    """Logits [models, examples, classes] of trained models in evaluation mode."""
    of = logits_looped if strategy == "looped" else logits_stacked
    return of(factory, weights, inputs)
