"""Layers of many models at once, and which models can be stacked so.

A batch is [models, batch, ...]. Convolutions run as one grouped convolution on [batch, models x
channels, height, width], batch norm likewise. The model axis moves by strides alone, without a
copy, until a Linear layer needs it first.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.training import randomness
from benchsuite.training.batches import TrainingJob, Weights
from benchsuite.training.dense import rectified_gradient
from benchsuite.training.engine import Layout
from benchsuite.training.randomness import Purpose


class Noise:
    """What layers draw while they train: in one epoch each model from a generator of its own."""

    def __init__(self, job: TrainingJob, epoch: int) -> None:
        self._job = job
        self._epoch = epoch

    @cached_property
    def generators(self) -> list[torch.Generator]:
        """One for each model, seeded as the loop seeds torch's own."""
        job = self._job
        seeds = (
            randomness.torch_seed(job.seed, model, Purpose.LAYERS, self._epoch)
            for model in job.models
        )
        return [torch.Generator(job.inputs.device).manual_seed(seed) for seed in seeds]


Layer = Callable[[Tensor, list[Tensor], Noise | None], Tensor]
"""Output of an input and the layer's parameters and buffers; without noise, in evaluation mode."""
Activation = Callable[[Tensor], Tensor]


class _RectifiedInPlace(torch.autograd.Function):
    """ReLU of a tensor that nobody else needs; its gradient goes into a buffer of the caller's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, buffers: dict[torch.Size, Tensor]) -> Tensor:
        ctx.mark_dirty(x)
        x.relu_()
        ctx.save_for_backward(x)
        ctx.buffers = buffers
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (output,) = ctx.saved_tensors
        if output.shape not in ctx.buffers:
            ctx.buffers[output.shape] = torch.empty_like(output)
        buffer = ctx.buffers[output.shape].copy_(gradient)  # of two layouts it is slow: a tenth
        rectified_gradient(buffer, output, out=buffer)
        return buffer, None


def _rectify() -> Activation:
    """The ReLU right after a product. On a CPU, pages for new tensors take longer than it does."""
    buffers: dict[torch.Size, Tensor] = {}

    def forward(x: Tensor) -> Tensor:
        if not x.requires_grad:
            return x.relu_()
        rectified: Tensor = _RectifiedInPlace.apply(x, buffers)  # type: ignore[no-untyped-call]
        return rectified

    return forward


def _linear(layer: nn.Linear, activation: Activation, _: Layout) -> Layer:
    def forward(x: Tensor, parameters: list[Tensor], noise: Noise | None = None) -> Tensor:
        if x.ndim > 3:  # of an input with more axes, Linear changes the last alone
            rows: Tensor = forward(x.flatten(1, -2), parameters).unflatten(1, x.shape[1:-1])
            return rows
        weight = parameters[0].transpose(1, 2)
        if layer.bias is None:
            return activation(torch.bmm(x, weight))
        return activation(torch.baddbmm(parameters[1].unsqueeze(1), x, weight))

    return forward


def _merge(x: Tensor) -> Tensor:
    """[models, batch, channels, ...] seen as [batch, models x channels, ...]."""
    return x.transpose(0, 1).flatten(1, 2)


def _split(x: Tensor, models: int) -> Tensor:
    """[batch, models x channels, ...] seen as [models, batch, channels, ...]."""
    split: Tensor = x.unflatten(1, (models, -1))
    return split.transpose(0, 1)


def _conv2d(layer: nn.Conv2d, activation: Activation, layout: Layout) -> Layer:
    lying = torch.channels_last if layout == "channels_last" else torch.contiguous_format

    def forward(x: Tensor, parameters: list[Tensor], _: Noise | None) -> Tensor:
        models = len(x)
        merged: Tensor = functional.conv2d(
            _merge(x).contiguous(memory_format=lying),
            parameters[0].flatten(0, 1),
            None if layer.bias is None else parameters[1].flatten(),
            layer.stride,
            layer.padding,
            layer.dilation,
            groups=models * layer.groups,
        )
        return _split(activation(merged), models)

    return forward


def _per_image(layer: nn.Module) -> Layer:
    """A layer without parameters that treats each channel of each image alone."""
    return lambda x, *_: _split(layer(_merge(x)), len(x))


def _elementwise(layer: nn.Module) -> Layer:
    return lambda x, *_: layer(x)


def _flatten(layer: nn.Flatten) -> Layer:
    return lambda x, *_: x.flatten(2)


def _dropout(layer: nn.Dropout) -> Layer:
    keep = 1 - layer.p

    def forward(x: Tensor, _: list[Tensor], noise: Noise | None) -> Tensor:
        if noise is None or keep == 1:
            return x
        drawn = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for of_model, generator in zip(drawn, noise.generators, strict=True):
            of_model.bernoulli_(keep, generator=generator)
        return x * drawn.div_(keep) if keep else x * 0

    return forward


_NORMS = nn.BatchNorm1d, nn.BatchNorm2d
BATCH_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> Layer:
    """All models' channels side by side, each normalised by its own mean and variance."""

    def forward(x: Tensor, state: list[Tensor], noise: Noise | None) -> Tensor:
        of = dict(zip(layer.state_dict(), state, strict=True))
        weight, bias = (of[each].flatten() if each in of else None for each in ("weight", "bias"))
        mean, variance = (
            of[each].view(-1) if each in of else None for each in BATCH_STATISTICS[:2]
        )
        if noise is not None and mean is not None:
            of["num_batches_tracked"].add_(1)
        normalised = functional.batch_norm(
            _merge(x),
            mean,
            variance,
            weight,
            bias,
            training=noise is not None or mean is None,
            momentum=layer.momentum or 0.0,
            eps=layer.eps,
        )
        return _split(normalised, len(x))

    return forward


_PRODUCTS: dict[type[nn.Module], Callable[..., Layer]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
}
_OTHERS: dict[type[nn.Module], Callable[..., Layer]] = {
    nn.MaxPool2d: _per_image,
    nn.AvgPool2d: _per_image,
    nn.AdaptiveAvgPool2d: _per_image,
    nn.Flatten: _flatten,
    nn.Dropout: _dropout,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Identity: _elementwise,
    nn.ReLU: _elementwise,
    nn.LeakyReLU: _elementwise,
    nn.Tanh: _elementwise,
    nn.GELU: _elementwise,
}
STACKED = _PRODUCTS | _OTHERS
"""Stacked form of each known layer. Exact types: a subclass may compute something else."""


def why_not_stacked(model: nn.Module) -> str | None:
    """Why this model must be looped, naming the first layer that has no stacked form; or None."""
    if type(model) is not nn.Sequential:
        return f"{type(model).__name__} is not an nn.Sequential"
    if any(each._forward_hooks or each._forward_pre_hooks for each in model.modules()):
        return "a hook changes what a layer computes"
    for name, layer in _layers(model):
        if type(layer) not in STACKED:
            return f"layer {name} ({type(layer).__name__}) has no stacked form"
        if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
            return f"layer {name} (Conv2d) pads with {layer.padding_mode!r}, not zeros"
        if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
            return f"layer {name} (Flatten) keeps more than the batch axis"
        if isinstance(layer, nn.AdaptiveAvgPool2d | nn.MaxPool2d) and getattr(
            layer, "return_indices", False
        ):
            return f"layer {name} ({type(layer).__name__}) returns indices"
        if isinstance(layer, _NORMS) and layer.momentum is None:
            return f"layer {name} ({type(layer).__name__}) averages over all batches"
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if len(names) != len(list(model.parameters())):
        return "two layers share a parameter"
    if any(not parameter.requires_grad for parameter in model.parameters()):
        return "a parameter is frozen"
    buffers = [name for name, _ in model.named_buffers(remove_duplicate=False)]
    if len(buffers) != len(list(model.buffers())):
        return "two layers share a buffer"
    for name in buffers:
        owner, _, buffer = name.rpartition(".")
        if buffer not in BATCH_STATISTICS or not isinstance(model.get_submodule(owner), _NORMS):
            return f"it has a buffer, {name}"
    return None


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every layer of a Sequential in order, one that stands twice (as a ReLU may) twice."""
    return [(name, each) for name, each in model.named_modules(remove_duplicate=False) if name]


class Stack:
    """Many nn.Sequential models of one shape, computed together.

    Args:
        template: one of the models; only its layers' settings are used.
        weights: parameters and buffers by name, each [models, ...].
        layout: of images, for convolutions.
    """

    def __init__(self, template: nn.Module, weights: Weights, layout: Layout) -> None:
        self.weights = weights
        self._layers: list[tuple[Layer, list[Tensor]]] = []
        left = _layers(template)
        while left:
            name, layer = left.pop(0)
            state = [weights[f"{name}.{each}"] for each in layer.state_dict()]
            if type(layer) not in _PRODUCTS:
                form = _OTHERS[type(layer)](layer)
            elif left and type(left[0][1]) is nn.ReLU:
                left.pop(0)
                form = _PRODUCTS[type(layer)](layer, _rectify(), layout)
            else:
                form = _PRODUCTS[type(layer)](layer, lambda x: x, layout)
            self._layers.append((form, state))

    def __call__(self, inputs: Tensor, noise: Noise | None = None) -> Tensor:
        """Logits [models, batch, classes] of inputs [models, batch, ...].

        With noise as while they train: layers draw from it and count their batch's statistics.
        """
        for layer, state in self._layers:
            inputs = layer(inputs, state, noise)
        return inputs
