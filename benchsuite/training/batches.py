"""What every trainer feeds its models: initial weights and minibatches, drawn per model id.

Both trainers take them from here, so that they differ in how they compute and in nothing else.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchsuite.training import randomness
from benchsuite.training.randomness import Purpose
from benchsuite.training.recipe import Augmentation, Recipe

ModelFactory = Callable[[], nn.Module]
Weights = dict[str, Tensor]
"""A state dict of many models: parameters and buffers by name, each [models, ...]."""

_GLOBAL_GENERATOR = threading.Lock()


def template(factory: ModelFactory) -> nn.Module:
    """A model of the factory whose weights do not matter; torch's generator stays as it was."""
    return _made(factory, seed=0)


def _made(factory: ModelFactory, seed: int) -> nn.Module:
    with seeded(seed):
        return factory()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Torch's global generators, the CPU's and the device's, seeded within and put back after.

    For what draws from nowhere else: a module's initial weights, dropout. One thread at a time.
    """
    cuda = device if device is not None and device.type == "cuda" else None
    with _GLOBAL_GENERATOR, torch.random.fork_rng([] if cuda is None else [cuda]):
        # Not torch.manual_seed, which seeds every device and so some that are not put back.
        torch.default_generator.manual_seed(seed)
        if cuda is not None:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        yield


@dataclass(frozen=True)
class TrainingJob:
    """The models to train and all that their result depends on.

    Attributes:
        factory: makes one untrained model.
        recipe: how each is trained.
        inputs: training pool, float [examples, ...], on the device and in the dtype to train in.
        labels: int64 [examples], on the same device.
        subsets: the examples each model is trained on, int64 [models, size].
        models: model ids, one per row of `subsets`.
        seed: of the bank.
        validation: (inputs, labels) for early stopping, or None.
        before_epoch: called before each epoch; whoever wants the training to end raises in it.
    """

    factory: ModelFactory
    recipe: Recipe
    inputs: Tensor
    labels: Tensor
    subsets: NDArray[np.int64]
    models: tuple[int, ...]
    seed: int
    validation: tuple[Tensor, Tensor] | None = None
    before_epoch: Callable[[], None] = lambda: None

    @property
    def steps(self) -> int:
        """Optimizer steps of each model."""
        return self.recipe.steps(self.subsets.shape[1])

    def part(self, first: int, last: int) -> "TrainingJob":
        """The job of rows first to last - 1 alone."""
        rows = slice(first, last)
        return replace(self, subsets=self.subsets[rows], models=self.models[rows])

    def untrained(self, model: int) -> nn.Module:
        """Model `model` with its initial weights.

        The factory draws them itself, so that a user's own initialisation is honoured, from
        torch's global generator, seeded for this model and put back afterwards.
        """
        seed = randomness.torch_seed(self.seed, model, Purpose.WEIGHTS)
        return _made(self.factory, seed).to(self.inputs.device, self.inputs.dtype)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Minibatches of one epoch: inputs [models, batch, ...] and labels [models, batch].

        The next minibatch is written over the inputs of this one: nothing is allocated a step.
        """
        self.before_epoch()
        size = self.subsets.shape[1]
        orders = randomness.epoch_orders(self.seed, self.models, epoch, size)
        device = self.inputs.device
        examples = torch.from_numpy(np.take_along_axis(self.subsets, orders, axis=1)).to(device)
        labels = self.labels[examples]
        change = self.recipe.augmentation
        if change is not None:
            shifts, flips = (
                torch.from_numpy(draw).to(device)
                for draw in randomness.epoch_augmentations(
                    self.seed, self.models, epoch, size, change.shift
                )
            )
        most = min(size, self.recipe.batch_size) * len(self.models)
        gathered = self.inputs.new_empty((most, *self.inputs.shape[1:]))
        for start in range(0, size, self.recipe.batch_size):
            batch = slice(start, start + self.recipe.batch_size)
            # Gathered batch-major in memory: convolutions read it in place, Linear strides over it.
            chosen = examples[:, batch].T
            inputs = gathered.narrow(0, 0, chosen.numel())
            torch.index_select(self.inputs, 0, chosen.reshape(-1), out=inputs)
            inputs = inputs.unflatten(0, chosen.shape).transpose(0, 1)
            if change is not None:
                inputs = augmented(inputs, change, shifts[:, batch], flips[:, batch])
            yield inputs, labels[:, batch]


def augmented(images: Tensor, change: Augmentation, shifts: Tensor, flips: Tensor) -> Tensor:
    """Images [models, batch, channels, height, width], each shifted and mirrored as drawn.

    Args:
        images: to change.
        change: the augmentation, for its largest shift.
        shifts: int64 [models, batch, 2], rows and columns.
        flips: bool [models, batch]; used if `change.flip`.
    """
    if images.ndim != 5:
        raise ValueError(
            f"augmentation needs images [examples, channels, height, width]; the pool's inputs "
            f"have shape {[images.shape[1], *images.shape[2:]]}: set Recipe.augmentation=None"
        )
    models, batch, _, height, width = images.shape
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(models, batch, width)
    if change.flip:
        columns = torch.where(flips[..., None], columns.flip(-1), columns)
    margin = change.shift
    padded = nn.functional.pad(images, (margin, margin, margin, margin))
    rows = rows + margin + shifts[..., :1]
    columns = columns + margin + shifts[..., 1:]
    model_index = torch.arange(models, device=images.device).view(-1, 1, 1, 1)
    batch_index = torch.arange(batch, device=images.device).view(1, -1, 1, 1)
    taken = padded[model_index, batch_index, :, rows[..., :, None], columns[..., None, :]]
    return taken.movedim(-1, 2)


def optimizer_for(recipe: Recipe, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The recipe's optimizer over `parameters`, in torch's fused form."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    return torch.optim.Adam(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
