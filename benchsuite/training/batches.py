"""What every trainer feeds its models: initial weights and minibatches, drawn per model id.

Both trainers take them from here, so that they differ in how they compute and in nothing else.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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
NO_LABEL = -100
"""The label of what only fills a batch up; torch's losses ignore it."""
OUT = -1
"""In a training subset a place without an example: it is sampled, but has no gradient."""

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
        subsets: the examples each model is trained on, int64 [models, size]; of a private recipe
            `OUT` in places that no example has.
        models: model ids, one per row of `subsets`.
        seed: of the bank.
        validation: (inputs, labels) for early stopping, or None.
        before_epoch: called before each epoch; whoever wants the training to end raises in it.
        after_epoch: called after each epoch with its number, from 1, the ids of the models that
            still train and their weights, which it must not keep: training goes on in them.

    Raises:
        ValueError: places that are `OUT` in a recipe without privacy.
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
    after_epoch: Callable[[int, tuple[int, ...], Weights], None] | None = None
    _gathered: list[Tensor] = field(default_factory=list, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.recipe.privacy is None and (self.subsets == OUT).any():
            raise ValueError(
                "subsets hold places that are OUT, but recipe.privacy is None: only the sampled "
                "batches of a private recipe can leave a place empty"
            )

    @property
    def steps(self) -> int:
        """Optimizer steps of each model."""
        return self.recipe.steps(self.subsets.shape[1])

    @property
    def expected_batch(self) -> int:
        """Examples of a whole batch, or of a private recipe's batches on average."""
        return min(self.recipe.batch_size, int(self.subsets.shape[1]))

    def part(self, first: int, last: int) -> "TrainingJob":
        """The job of rows first to last - 1 alone."""
        rows = slice(first, last)
        return replace(self, subsets=self.subsets[rows], models=self.models[rows], _gathered=[])

    def untrained(self, model: int) -> nn.Module:
        """Model `model` with its initial weights.

        The factory draws them itself, so that a user's own initialisation is honoured, from
        torch's global generator, seeded for this model and put back afterwards.
        """
        seed = randomness.torch_seed(self.seed, model, Purpose.WEIGHTS)
        return _made(self.factory, seed).to(self.inputs.device, self.inputs.dtype)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Minibatches of one epoch: inputs [models, batch, ...] and labels [models, batch].

        A private recipe's batches are drawn by chance, of another size for each model: the smaller
        ones are filled up with examples of the label `NO_LABEL`. A place that is `OUT` is in a
        batch when its example would be, with inputs of 0 and that label.

        The next minibatch is written over the inputs of this one: nothing is allocated a step.
        """
        self.before_epoch()
        return self._ordered(epoch) if self.recipe.privacy is None else self._sampled(epoch)

    def _ordered(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in which each model sees its whole training subset once."""
        size = self.subsets.shape[1]
        device = self.inputs.device
        ordered = randomness.epoch_orders(self.seed, self.models, epoch, self.subsets)
        examples = torch.from_numpy(ordered).to(device)
        labels = self.labels.take(examples)
        change = self.recipe.augmentation
        if change is not None:
            shifts, flips = (
                torch.from_numpy(draw).to(device)
                for draw in randomness.epoch_augmentations(
                    self.seed, self.models, epoch, size, change.shift
                )
            )
        gathered = self._buffer(self.expected_batch)
        for start in range(0, size, self.recipe.batch_size):
            batch = slice(start, start + self.recipe.batch_size)
            inputs = self._gather(examples[:, batch], gathered)
            if change is not None:
                inputs = augmented(inputs, change, shifts[:, batch], flips[:, batch])
            yield inputs, labels[:, batch]

    def _sampled(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in which each example is by chance, independently of all others."""
        size, device = self.subsets.shape[1], self.inputs.device
        steps, rate = self.recipe.steps_of_epoch(size), self.expected_batch / size
        samples = [
            randomness.epoch_samples(self.seed, model, epoch, size, steps, rate)
            for model in self.models
        ]
        counts = np.stack([of_model for of_model, _ in samples])
        # What each model draws, one after another, and 0 at the end for what fills a batch up.
        drawn = np.concatenate([*(positions for _, positions in samples), [0]])
        begins = (counts.cumsum() - counts.ravel()).reshape(counts.shape)
        largest = np.maximum(counts.max(0), 1).tolist()
        change = self.recipe.augmentation
        if change is not None:
            shifts, flips = self._sampled_augmentations(epoch, counts, change.shift)
        gathered = self._buffer(max(largest))
        for step, most in enumerate(largest):
            place = np.arange(most)
            sampled = place < counts[:, step, None]
            of_drawn = np.where(sampled, begins[:, step, None] + place, -1)
            rows = np.take_along_axis(self.subsets, drawn[of_drawn], axis=1)
            examples = torch.from_numpy(np.maximum(rows, 0)).to(device)
            inputs = self._gather(examples, gathered)
            out = rows == OUT
            if out.any():  # not even times 0 does what was gathered there reach a model
                inputs[torch.from_numpy(out).to(device)] = 0
            if change is not None:
                changes = (torch.from_numpy(each[of_drawn]).to(device) for each in (shifts, flips))
                inputs = augmented(inputs, change, *changes)
            taken = torch.from_numpy(sampled & ~out).to(device)
            yield inputs, self.labels[examples].where(taken, NO_LABEL)

    def _sampled_augmentations(
        self, epoch: int, counts: NDArray[np.int64], shift: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """A shift and a mirroring for each example that is sampled, and none at the end."""
        drawn = [
            randomness.epoch_augmentations(self.seed, [model], epoch, count, shift)
            for model, count in zip(self.models, counts.sum(1).tolist(), strict=True)
        ]
        shifts = np.concatenate([*(of_model[0] for of_model, _ in drawn), [[0, 0]]])
        return shifts, np.concatenate([*(of_model[0] for _, of_model in drawn), [False]])

    def _buffer(self, batch: int) -> Tensor:
        """Memory for the inputs of batches of up to `batch` examples a model, of all epochs."""
        rows, shape = batch * len(self.models), self.inputs.shape[1:]
        if not (self._gathered and len(self._gathered[0]) >= rows):
            self._gathered[:] = [self.inputs.new_empty((rows, *shape))]
        return self._gathered[0]

    def _gather(self, examples: Tensor, into: Tensor) -> Tensor:
        """Inputs [models, batch, ...] of the examples [models, batch], in the memory of `into`."""
        # Images lie batch-major in memory, where convolutions read them in place.
        flat = self.inputs.ndim == 2
        chosen = examples if flat else examples.T
        inputs = into.narrow(0, 0, chosen.numel())
        torch.index_select(self.inputs, 0, chosen.reshape(-1), out=inputs)
        gathered: Tensor = inputs.unflatten(0, chosen.shape)
        return gathered if flat else gathered.transpose(0, 1)


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
    margin = change.shift
    padded = nn.functional.pad(images, (margin, margin, margin, margin))
    windows = padded.unfold(3, height, 1).unfold(4, width, 1)  # [..., shifts, shifts, pixels]
    model_index = torch.arange(models, device=images.device).view(-1, 1)
    batch_index = torch.arange(batch, device=images.device)
    shift = shifts + margin
    taken = windows[model_index, batch_index, :, shift[..., 0], shift[..., 1]]
    if not change.flip:
        return taken
    return torch.where(flips[..., None, None, None], taken.flip(-1), taken)


def optimizer_for(recipe: Recipe, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The recipe's optimizer over `parameters`, in torch's fused form.

    On CUDA the rate is a tensor there, so that a recorded step can be replayed at another.
    """
    device, rate = parameters[0].device, recipe.learning_rate
    on_cuda = device.type == "cuda"
    lr = torch.tensor(rate, dtype=torch.float32, device=device) if on_cuda else rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    return torch.optim.Adam(
        parameters, lr=lr, weight_decay=recipe.weight_decay, fused=True, capturable=on_cuda
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
