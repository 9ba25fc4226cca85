"""Gradients of a stack of multilayer perceptrons, written out.

Autograd records a graph and allocates what it computes anew each step, which on a CPU takes longer
than the products of so small models. Here all is written into buffers that outlive a step.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchsuite.training.batches import TrainingJob, Weights


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
    """Leaves the gradient of each model's mean cross-entropy in the `.grad` of `weights`.

    Args:
        model: one of the multilayer perceptrons, see `is_dense`.
        weights: parameters by name, each [models, ...]. Those of Linear, [models, out, in], lie in
            memory as [models, in, out]; `parameters` are views of them, in the order of memory,
            for what lies in another an optimizer copies each step.
        job: what they are trained for.
    """

    def __init__(self, model: nn.Module, weights: Weights, job: TrainingJob) -> None:
        layers = _dense_layers(model)
        assert layers is not None
        self._job = job
        self._rectified = [layer.rectified for layer in layers]
        self._weights = [weights[f"{layer.name}.weight"] for layer in layers]
        self._biases = [
            weights[f"{layer.name}.bias"] if layer.has_bias else None for layer in layers
        ]
        self._memory = [each.new_empty(0) for each in 2 * self._weights]
        self.parameters = []
        for each in [*self._weights, *(bias for bias in self._biases if bias is not None)]:
            each.grad = torch.zeros_like(each)
            view = each.mT if each.ndim == 3 else each
            view.grad = each.grad.mT if each.ndim == 3 else each.grad
            self.parameters.append(view)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, labels: Tensor, noise: object = None) -> None:
        """Of inputs [models, batch, ...] and labels [models, batch]; no layer here draws noise."""
        xs, deltas = self._backward(inputs, labels, examples=labels.shape[1])
        self._leave_products(xs, deltas)

    def _backward(
        self, inputs: Tensor, labels: Tensor, examples: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Each layer's input and the gradient at its product, [models, batch, width].

        The gradient is that of the sum of the losses by `examples`. The next call writes over both.
        """
        buffers = self._buffers(labels.shape[1])
        outputs, deltas = buffers[: len(self._weights)], buffers[len(self._weights) :]
        xs = [inputs.flatten(2), *outputs[:-1]]
        self._forward(xs, outputs)
        smoothing = self._job.recipe.label_smoothing
        _cross_entropy_gradient(outputs[-1], labels, smoothing, out=deltas[-1]).div_(examples)
        for layer in reversed(range(len(deltas))):
            if self._rectified[layer]:
                rectified_gradient(deltas[layer], outputs[layer], out=deltas[layer])
            if layer:
                torch.bmm(deltas[layer], self._weights[layer], out=deltas[layer - 1])
        return xs, deltas

    def _leave_products(self, xs: list[Tensor], deltas: list[Tensor]) -> None:
        """Leave in `.grad` the sum over the batch of the products of inputs and gradients."""
        for x, delta, weight, bias in zip(xs, deltas, self._weights, self._biases, strict=True):
            assert weight.grad is not None
            torch.bmm(x.mT, delta, out=weight.grad.mT)
            if bias is not None:
                torch.sum(delta, 1, out=bias.grad)

    def _forward(self, xs: list[Tensor], outputs: list[Tensor]) -> None:
        for x, weight, bias, rectified, output in zip(
            xs, self._weights, self._biases, self._rectified, outputs, strict=True
        ):
            if bias is None:
                torch.bmm(x, weight.mT, out=output)
            else:
                torch.baddbmm(bias.unsqueeze(1), x, weight.mT, out=output)
            if rectified:
                output.relu_()

    def _buffers(self, batch: int) -> list[Tensor]:
        """Each layer's output, then each layer's gradient, [models, batch, width], in one memory.

        For batches of any size: an epoch's last may be smaller, and a private recipe's all differ.
        """
        buffers = []
        for i, weight in enumerate(2 * self._weights):
            shape = len(weight), batch, weight.shape[1]
            if self._memory[i].numel() < math.prod(shape):
                self._memory[i] = weight.new_empty(math.prod(shape))
            buffers.append(self._memory[i][: math.prod(shape)].view(shape))
        return buffers


def _cross_entropy_gradient(
    logits: Tensor, labels: Tensor, smoothing: float, out: Tensor
) -> Tensor:
    """Of each example's cross-entropy at its logits [models, batch, classes]: softmax - target."""
    # Of ten classes torch.softmax takes five times as long.
    # Less than e^-60 reaches no float32 weight, and numbers that underflow take ten times as long.
    torch.sub(logits, logits.amax(2, keepdim=True), out=out).clamp_(min=-60).exp_()
    out.div_(out.sum(2, keepdim=True))
    if smoothing:
        out.sub_(smoothing / logits.shape[2])
    of_label = out.new_full((1, 1, 1), smoothing - 1).expand(*labels.shape, 1)
    return out.scatter_add_(2, labels.unsqueeze(2), of_label)
