"""Gradients of a stack of multilayer perceptrons, written out.

Autograd records a graph and allocates what it computes anew each step, which on a CPU takes longer
than the products of so small models. Here all is written into buffers that outlive a step.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchsuite.training.batches import Weights


class _Dense(NamedTuple):
    """One Linear layer, and whether a ReLU follows it."""

    name: str
    has_bias: bool
    rectified: bool


def _dense_layers(model: nn.Module) -> list[_Dense] | None:
    """Of a multilayer perceptron with ReLU its Linear layers; None of another model."""
    dense: list[_Dense] = []
    for name, layer in model.named_modules(remove_duplicate=False):  # one ReLU may stand twice
        if layer is model:
            continue
        if type(layer) is nn.Linear:
            dense.append(_Dense(name, layer.bias is not None, rectified=False))
        elif type(layer) is nn.ReLU and dense:
            dense[-1] = dense[-1]._replace(rectified=True)
        elif not (type(layer) is nn.Flatten and not dense):
            return None
    return dense or None


def is_dense(model: nn.Module) -> bool:
    """Whether a model that can be stacked is a multilayer perceptron with ReLU."""
    return _dense_layers(model) is not None


def rectified_gradient(gradient: Tensor, output: Tensor, out: Tensor) -> None:
    """Write the gradient before a ReLU, from that after it and its output; `out` may be either."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=out)


class DenseGradients:
    """Leaves the gradient of each model's mean cross-entropy in the `.grad` of `parameters`.

    Args:
        model: one of the multilayer perceptrons, see `is_dense`.
        weights: parameters by name, each [models, ...]. Those of Linear, [models, out, in], lie in
            memory as [models, in, out]; `parameters` are views of them.
    """

    def __init__(self, model: nn.Module, weights: Weights) -> None:
        layers = _dense_layers(model)
        assert layers is not None
        self._rectified = [layer.rectified for layer in layers]
        self._weights = [weights[f"{layer.name}.weight"].mT for layer in layers]
        self._biases = [
            weights[f"{layer.name}.bias"].unsqueeze(1) if layer.has_bias else None
            for layer in layers
        ]
        self._buffers: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.parameters = [*self._weights, *(bias for bias in self._biases if bias is not None)]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, labels: Tensor, noise: object = None) -> None:
        """Of inputs [models, batch, ...] and labels [models, batch]; no layer here draws noise."""
        batch = labels.shape[1]
        if batch not in self._buffers:  # an epoch's last batch may be smaller
            self._buffers[batch] = self._empty(batch), self._empty(batch)
        outputs, gradients = self._buffers[batch]
        layers_inputs = [inputs.flatten(2), *outputs[:-1]]
        self._forward(layers_inputs, outputs)
        _cross_entropy_gradient(outputs[-1], labels, out=gradients[-1])
        for layer in reversed(range(len(outputs))):
            gradient, weight, bias = gradients[layer], self._weights[layer], self._biases[layer]
            if self._rectified[layer]:
                rectified_gradient(gradient, outputs[layer], out=gradient)
            torch.bmm(layers_inputs[layer].mT, gradient, out=weight.grad)
            if bias is not None:
                torch.sum(gradient, 1, keepdim=True, out=bias.grad)
            if layer:
                torch.bmm(gradient, weight.mT, out=gradients[layer - 1])

    def _forward(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        for x, weight, bias, rectified, output in zip(
            inputs, self._weights, self._biases, self._rectified, outputs, strict=True
        ):
            if bias is None:
                torch.bmm(x, weight, out=output)
            else:
                torch.baddbmm(bias, x, weight, out=output)
            if rectified:
                output.relu_()

    def _empty(self, batch: int) -> list[Tensor]:
        """Of each layer a buffer [models, batch, width]."""
        return [each.new_empty(len(each), batch, each.shape[2]) for each in self._weights]


def _cross_entropy_gradient(logits: Tensor, labels: Tensor, out: Tensor) -> None:
    """Of mean cross-entropy at the logits [models, batch, classes]: (softmax - one-hot) / batch."""
    # Of ten classes torch.softmax takes five times as long.
    torch.sub(logits, logits.amax(2, keepdim=True), out=out).exp_()
    out.div_(out.sum(2, keepdim=True))
    minus_one = out.new_full((1, 1, 1), -1).expand(*labels.shape, 1)
    out.scatter_add_(2, labels.unsqueeze(2), minus_one)
    out.div_(labels.shape[1])
