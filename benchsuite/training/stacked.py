"""Many models in one set of kernels: parameters with a leading model axis.

The loss is the sum of the models' losses, so that each model's gradient is its own; one optimizer
steps all.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from benchsuite.training.batches import (
    ModelFactory,
    TrainingJob,
    Weights,
    optimizer_for,
    set_learning_rate,
    template,
)
from benchsuite.training.engine import Engine, Layout
from benchsuite.training.layers import Noise, Stack
from benchsuite.training.private import GaussianNoise


def losses(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of each model, [models], from [models, batch, classes]."""
    # On a CPU, with few classes, in half the time of functional.cross_entropy.
    of_target = logits.gather(2, labels.unsqueeze(2)).squeeze(2)
    if smoothing:
        of_target = (1 - smoothing) * of_target + smoothing * logits.mean(2)
    return (logits.logsumexp(2) - of_target).mean(1)


class Steps(Protocol):
    """Takes the recipe's training steps with all models at once.

    Attributes:
        job: whose batches are to be stepped on.
    """

    job: TrainingJob

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""

    def __call__(
        self, inputs: Tensor, labels: Tensor, noise: Noise, private: GaussianNoise
    ) -> None:
        """One step on inputs [models, batch, ...] and labels [models, batch]."""


StepsOf = Callable[[nn.Module, Weights, TrainingJob], Steps]
"""Makes the steps of a stack from one of its models, all their weights and the job."""


class GraphSteps:
    """Steps of any stack, with gradients from the graph that autograd records."""

    def __init__(
        self, template: nn.Module, weights: Weights, job: TrainingJob, engine: Engine
    ) -> None:
        self.job = job
        self._engine = engine
        self._stack = Stack(template, weights, engine.layout)
        self._parameters = [weights[name] for name, _ in template.named_parameters()]
        for parameter in self._parameters:
            parameter.requires_grad_()
        self._optimizer = optimizer_for(job.recipe, self._parameters)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        set_learning_rate(self._optimizer, rate)

    def __call__(
        self, inputs: Tensor, labels: Tensor, noise: Noise, private: GaussianNoise
    ) -> None:
        """One step on inputs [models, batch, ...] and labels [models, batch]."""
        for parameter in self._parameters:
            parameter.grad = None
        smoothing = self.job.recipe.label_smoothing
        with self._engine.autocast(inputs.device):
            said = self._stack(inputs, noise)
        losses(said.to(inputs.dtype), labels, smoothing).sum().backward()
        private.add_to(p.grad for p in self._parameters if p.grad is not None)
        self._optimizer.step()


def train_stacked(
    job: TrainingJob,
    layout: Layout,
    steps_of: StepsOf,
) -> Weights:
    """Train the job's models in one stack and return their weights, [models, ...] by name."""
    untrained = [job.untrained(model) for model in job.models]
    weights = _stack_states(untrained)
    take_step = steps_of(untrained[0], weights, job)
    stopping = None
    if job.recipe.early_stopping is not None:
        stopping = _EarlyStopping(job, Stack(untrained[0], weights, layout))
    step = 0
    for epoch in range(job.recipe.epochs):
        noise, private_noise = Noise(job, epoch), GaussianNoise(job, epoch)
        for inputs, labels in take_step.job.epoch(epoch):
            take_step.set_rate(job.recipe.learning_rate_at(step, job.steps))
            take_step(inputs, labels, noise, private_noise)
            step += 1
        if job.after_epoch is not None:
            _observe(job, epoch, weights, None if stopping is None else stopping.running)
        if stopping is not None and stopping.all_stopped_after_epoch():
            break
    trained = weights if stopping is None else stopping.best
    return {name: tensor.detach().contiguous() for name, tensor in trained.items()}


def _observe(job: TrainingJob, epoch: int, weights: Weights, running: Tensor | None) -> None:
    """Show the models that have not stopped before this epoch."""
    assert job.after_epoch is not None
    models, shown = job.models, {name: tensor.detach() for name, tensor in weights.items()}
    if running is not None and not bool(running.all()):
        models = tuple(m for m, runs in zip(models, running.tolist(), strict=True) if runs)
        shown = {name: tensor[running] for name, tensor in shown.items()}
    if models:
        job.after_epoch(epoch + 1, models, shown)


def _stack_states(models: Sequence[nn.Module]) -> Weights:
    states = [model.state_dict() for model in models]
    stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    # The weights of Linear lie in memory as their gradients come out of bmm: a copy less a step.
    return {
        name: tensor.mT.contiguous().mT if tensor.ndim == 3 else tensor
        for name, tensor in stacked.items()
    }


class _EarlyStopping:
    """Each model's own patience: its best weights so far, frozen once it has stopped.

    A stopped model is computed on with the others, but nothing of it is kept any more.
    """

    def __init__(self, job: TrainingJob, stack: Stack) -> None:
        assert job.recipe.early_stopping is not None
        assert job.validation is not None
        self._stack = stack
        self._patience = job.recipe.early_stopping
        inputs, self._labels = job.validation
        models = len(job.models)
        self._inputs = inputs.expand(models, *inputs.shape)
        self._labels = self._labels.expand(models, -1)
        self._best_loss = torch.full((models,), torch.inf, device=inputs.device, dtype=inputs.dtype)
        self._stale = torch.zeros(models, dtype=torch.int64, device=inputs.device)
        # A model whose loss is never finite has diverged, and has no best weights.
        self.best = {
            name: torch.full_like(
                tensor, torch.nan if tensor.is_floating_point() else 0, requires_grad=False
            )
            for name, tensor in stack.weights.items()
        }

    @property
    def running(self) -> Tensor:
        """Which models have not stopped, bool [models]."""
        return self._stale < self._patience

    @torch.no_grad()
    def all_stopped_after_epoch(self) -> bool:
        loss = losses(self._stack(self._inputs), self._labels)
        running = self.running
        better = running & (loss < self._best_loss)
        self._stale = torch.where(better, 0, self._stale + running)
        self._best_loss = torch.where(better, loss, self._best_loss)
        for name, tensor in self._stack.weights.items():
            self.best[name][better] = tensor.detach()[better]
        return not bool(self.running.any())


@torch.no_grad()
def logits_stacked(
    factory: ModelFactory, weights: Weights, inputs: Tensor, layout: Layout
) -> Tensor:
    """Logits [models, examples, classes] of every model on the same inputs [examples, ...]."""
    stack = Stack(template(factory), weights, layout)
    models = len(next(iter(weights.values())))
    parts = [stack(part.expand(models, *part.shape)) for part in inputs.split(128)]
    return torch.cat(parts, dim=1)
