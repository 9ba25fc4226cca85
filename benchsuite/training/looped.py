"""The plain reference: one ordinary PyTorch model after another.

Trains any architecture. The stacked trainer must give the same models.
"""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchsuite.training import randomness
from benchsuite.training.batches import (
    ModelFactory,
    TrainingJob,
    Weights,
    optimizer_for,
    seeded,
    set_learning_rate,
    template,
)
from benchsuite.training.engine import Engine
from benchsuite.training.private import GaussianNoise, check_private, leave_clipped_gradients
from benchsuite.training.randomness import Purpose

PLAIN = Engine("looped")
"""As a competent user trains, operation by operation in float32."""


def train_looped(job: TrainingJob, engine: Engine = PLAIN) -> Weights:
    """Train the job's models one by one and return their weights, [models, ...] by name."""
    states = [_train_one(job.part(i, i + 1), engine).state_dict() for i in range(len(job.models))]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _train_one(job: TrainingJob, engine: Engine) -> nn.Module:
    (model_id,) = job.models
    model = engine.laid_out(job.untrained(model_id).train())
    forward = _compiled(model) if engine.launch == "compiled" else model
    if job.recipe.privacy is not None:
        check_private(model)
    optimizer = optimizer_for(job.recipe, list(model.parameters()))
    best, best_loss, stale = model, float("inf"), 0
    step = 0
    for epoch in range(job.recipe.epochs):
        layers_seed = randomness.torch_seed(job.seed, model_id, Purpose.LAYERS, epoch)
        private_noise = GaussianNoise(job, epoch)
        with seeded(layers_seed, job.inputs.device):
            for inputs, labels in job.epoch(epoch):
                set_learning_rate(optimizer, job.recipe.learning_rate_at(step, job.steps))
                # In one layout: in what order dropout draws follows that of the memory.
                batch = inputs[0].clone(memory_format=_fitting(engine, inputs[0]))
                _leave_gradients(model, forward, batch, labels[0], job, engine)
                private_noise.add_to(p.grad[None] for p in model.parameters() if p.grad is not None)
                optimizer.step()
                step += 1
        if job.after_epoch is not None:
            state = {name: tensor.detach()[None] for name, tensor in model.state_dict().items()}
            job.after_epoch(epoch + 1, job.models, state)
        if job.recipe.early_stopping is not None and job.validation is not None:
            loss = _loss(model, *job.validation)
            stale = 0 if loss < best_loss else stale + 1
            if stale == 0:
                best, best_loss = copy.deepcopy(model), loss
            if stale == job.recipe.early_stopping:
                break
    return best


def _compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    with _compiler_is_quiet():
        compiled = torch.compile(model, dynamic=False)  # or the last batch would change the first

    compiled_for: set[torch.Size] = set()

    def forward(inputs: Tensor) -> Tensor:
        said: Tensor
        if inputs.shape in compiled_for:
            said = compiled(inputs)
            return said
        with _compiler_is_quiet():
            said = compiled(inputs)
        compiled_for.add(inputs.shape)
        return said

    return forward


@contextlib.contextmanager
def _compiler_is_quiet() -> Iterator[None]:
    """Without its warnings of how it is made and set, which no user of a bank can mend.

    Filters are the whole process's, so this is entered only where it compiles.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _fitting(engine: Engine, inputs: Tensor) -> torch.memory_format:
    """The engine's layout, if these are images."""
    return engine.memory_format if inputs.ndim == 4 else torch.contiguous_format


def _leave_gradients(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    job: TrainingJob,
    engine: Engine,
) -> None:
    """Leave the gradient of the mean loss in `.grad`; of a private recipe that of clipped ones."""
    if job.recipe.privacy is not None:
        leave_clipped_gradients(model, inputs, labels, job)
        return
    model.zero_grad()
    with engine.autocast(inputs.device):
        said = forward(inputs)
    smoothing = job.recipe.label_smoothing
    cross_entropy(said.to(inputs.dtype), labels, label_smoothing=smoothing).backward()


@torch.no_grad()
def _loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    model.eval()
    loss = float(cross_entropy(model(inputs), labels))
    model.train()
    return loss


@torch.no_grad()
def logits_looped(
    factory: ModelFactory, weights: Weights, inputs: Tensor, engine: Engine = PLAIN
) -> Tensor:
    """Logits [models, examples, classes] of every model in evaluation mode."""
    model = engine.laid_out(template(factory).to(inputs.device, inputs.dtype).eval())
    inputs = inputs.contiguous(memory_format=_fitting(engine, inputs))
    count = len(next(iter(weights.values())))
    every = []
    for i in range(count):
        model.load_state_dict({name: tensor[i] for name, tensor in weights.items()})
        every.append(torch.cat([model(part) for part in inputs.split(4096)]))
    return torch.stack(every)
