"""Multilayer perceptrons as stacks compute them: which models are some, and how they lie in memory.

All parameters of all models are one piece of memory, and their gradients another.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from benchsuite.training.batches import Weights

_NARROW = 32
"""Outputs below which a layer lies transposed in memory: its products take two thirds the time."""


class Dense(NamedTuple):
    """One Linear layer of a model, and whether a ReLU follows it."""

    name: str
    has_bias: bool
    rectified: bool


def dense_layers(model: nn.Module) -> list[Dense] | None:
    """Of a multilayer perceptron with ReLU its Linear layers; None of another model."""
    dense: list[Dense] = []
    for name, layer in model.named_modules(remove_duplicate=False):  # one ReLU may stand twice
        if layer is model:
            continue
        if type(layer) is nn.Linear:
            dense.append(Dense(name, layer.bias is not None, rectified=False))
        elif type(layer) is nn.ReLU and dense:
            dense[-1] = dense[-1]._replace(rectified=True)
        elif not (type(layer) is nn.Flatten and not dense):
            return None
    return dense or None


def is_dense(model: nn.Module) -> bool:
    """Whether a model that can be stacked is a multilayer perceptron with ReLU."""
    return dense_layers(model) is not None


@dataclass(frozen=True)
class Linear:
    """One Linear layer of all models; flipped in memory where it is narrow.

    Attributes:
        weight: [models, in, out].
        bias: [models, 1, out]. None where there is none, or where it is the weight of a last input
            that is always 1.
        weight_gradient: memory for that of the weight, which is added to what momentum keeps there
            if `DenseSteps` has no other memory for it.
        bias_gradient: for that of the bias, likewise.
        rectified: whether a ReLU follows.
    """

    weight: Tensor
    bias: Tensor | None
    weight_gradient: Tensor
    bias_gradient: Tensor | None
    rectified: bool

    def of(self, models: slice) -> "Linear":
        """The same of some models."""
        tensors = self.weight, self.bias, self.weight_gradient, self.bias_gradient
        weight, bias, weight_gradient, bias_gradient = (
            None if each is None else each[models] for each in tensors
        )
        assert weight is not None
        assert weight_gradient is not None
        return Linear(weight, bias, weight_gradient, bias_gradient, self.rectified)


def moved(
    weights: Weights, layers: list[Dense], parameters: Tensor, gradients: Tensor, first_bias: bool
) -> tuple[list[Linear], Weights]:
    """Parameters moved into one piece of memory: the dictionary then holds views of it.

    Args:
        weights: parameters by name, each [models, ...].
        layers: whose parameters they are.
        parameters: memory for all of them, [numbers].
        gradients: as much, for theirs.
        first_bias: whether the first layer's bias is to be the weight of a last input.

    Returns:
        The layers; and views of `gradients` by the names of the parameters.
    """
    linear: list[Linear] = []
    named_gradients: Weights = {}
    taken = 0
    for layer in layers:
        end = taken + sum(each.numel() for each in _of(layer, weights).values())
        pieces = parameters[taken:end], gradients[taken:end]
        of_layer, views, its_gradients = _moved(weights, layer, pieces, first_bias and taken == 0)
        linear.append(of_layer)
        weights |= views
        named_gradients |= its_gradients
        taken = end
    return linear, named_gradients


def _of(layer: Dense, weights: Weights) -> Weights:
    """A layer's parameters."""
    names = [f"{layer.name}.weight", *([f"{layer.name}.bias"] if layer.has_bias else [])]
    return {name: weights[name] for name in names}


def _moved(
    weights: Weights, layer: Dense, pieces: tuple[Tensor, Tensor], one_more: bool
) -> tuple[Linear, Weights, Weights]:
    """A layer in its pieces of the memory of parameters and of gradients.

    Returns:
        The layer; its parameters by name as views of the first piece; their gradients likewise.
    """
    given = _of(layer, weights)
    models, outputs, inputs = given[f"{layer.name}.weight"].shape
    size = models * (inputs + one_more) * outputs
    of_layer: list[tuple[Tensor, Tensor | None]] = []
    named: list[Weights] = []
    for piece in pieces:
        weight = laid_out(piece[:size], models, inputs + one_more, outputs)
        bias = piece[size:].view(models, 1, outputs) if len(piece) > size else None
        of_layer.append((weight, bias))
        row = weight[:, -1:] if one_more else bias
        views = [weight[:, :inputs].mT, *([] if row is None else [row.squeeze(1)])]
        named.append(dict(zip(given, views, strict=True)))
    for name, view in named[0].items():
        view.copy_(given[name])
    (weight, bias), (weight_gradient, bias_gradient) = of_layer
    linear = Linear(weight, bias, weight_gradient, bias_gradient, layer.rectified)
    return linear, named[0], named[1]


def laid_out(memory: Tensor, models: int, rows: int, outputs: int) -> Tensor:
    """Memory as [models, rows, outputs], where the rows lie innermost if the outputs are few."""
    if outputs < _NARROW:
        return memory.view(models, outputs, rows).mT
    return memory.view(models, rows, outputs)
