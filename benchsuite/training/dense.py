"""Training steps of a stack of multilayer perceptrons, written out.

Autograd records a graph and allocates what it computes anew each step, which on a CPU takes longer
than the products of so small models. Here all is written into memory that outlives a step, in as
few operations as there can be: to call one for 64 models costs as much as it computes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchsuite.training.batches import TrainingJob, Weights, optimizer_for, set_learning_rate
from benchsuite.training.private import GaussianNoise

_NARROW = 32
"""Outputs below which a layer lies transposed in memory: its products take two thirds the time."""
_CACHED = 2**20
"""Bytes that a core's own cache holds."""

Call = Callable[[], object]


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


@dataclass(frozen=True)
class _Linear:
    """One Linear layer of all models; flipped in memory where it is narrow.

    Attributes:
        weight: [models, in, out].
        bias: [models, 1, out]. None where there is none, or where it is the weight of a last input
            that is always 1.
        weight_change: what a step takes off the weight, by the learning rate.
        bias_change: off the bias.
        rectified: whether a ReLU follows.
    """

    weight: Tensor
    bias: Tensor | None
    weight_change: Tensor
    bias_change: Tensor | None
    rectified: bool

    def of(self, models: slice) -> "_Linear":
        """The same of some models."""
        tensors = self.weight, self.bias, self.weight_change, self.bias_change
        weight, bias, weight_change, bias_change = (
            None if each is None else each[models] for each in tensors
        )
        assert weight is not None
        assert weight_change is not None
        return _Linear(weight, bias, weight_change, bias_change, self.rectified)


class DenseSteps:
    """Steps of the recipe's optimizer on each model's mean cross-entropy.

    Args:
        model: one of the multilayer perceptrons, see `is_dense`.
        weights: parameters by name, each [models, ...]. They are moved into one piece of memory:
            the dictionary then holds views of it.
        job: what they are trained for.

    Attributes:
        job: the same, with inputs as they are read here: its batches are to be stepped on.
    """

    _clips = False

    def __init__(self, model: nn.Module, weights: Weights, job: TrainingJob) -> None:
        layers = _dense_layers(model)
        assert layers is not None
        self._recipe = job.recipe
        inputs = job.inputs.flatten(1)
        # The bias of the first layer as the weight of an input of 1: three operations less a step.
        first_bias = layers[0].has_bias
        if first_bias:
            inputs = nn.functional.pad(inputs, (0, 1), value=1.0)
        # Shifts and mirrors are of images, so their batches are laid beside the 1 when they come.
        augmented = job.recipe.augmentation is not None
        self._beside_ones = inputs.new_empty(0) if augmented and first_bias else None
        self.job = job if augmented else replace(job, inputs=inputs, _gathered=[])
        # All parameters in one piece, and as much for their changes: then a step is one operation.
        self._parameters = inputs.new_empty(sum(each.numel() for each in weights.values()))
        self._changes = torch.zeros_like(self._parameters)
        self._layers: list[_Linear] = []
        named_changes: Weights = {}
        taken = 0
        for layer in layers:
            end = taken + sum(each.numel() for each in _of(layer, weights).values())
            pieces = self._parameters[taken:end], self._changes[taken:end]
            moved, views, changes = _move(weights, layer, pieces, first_bias and taken == 0)
            self._layers.append(moved)
            weights |= views
            named_changes |= changes
            taken = end
        # In the order of named_parameters, in which noise is drawn.
        self._named_changes = [named_changes[name] for name, _ in model.named_parameters()]
        self._memory = [inputs.new_empty(0) for _ in 2 * self._layers]
        self._plans: dict[int, Plan] = {}
        self._rate = job.recipe.learning_rate
        # On the device, where a recorded step reads it.
        self._less_rate = inputs.new_empty(()) if inputs.is_cuda else None
        self._optimizer = None
        if job.recipe.optimizer != "sgd":
            self._parameters.grad = self._changes
            self._optimizer = optimizer_for(job.recipe, [self._parameters])

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        if self._optimizer is not None:
            set_learning_rate(self._optimizer, rate)
        self._rate = rate
        if self._less_rate is not None:
            self._less_rate.fill_(-rate)

    @torch.inference_mode()
    def __call__(
        self, inputs: Tensor, labels: Tensor, noise: object, private: GaussianNoise
    ) -> None:
        """Take one step.

        Args:
            inputs: [models, batch, ...].
            labels: [models, batch], `NO_LABEL` where a batch of a private recipe is filled up.
            noise: of layers; none here draws any.
            private: noise of DP-SGD.
        """
        plan = self._plan(labels.shape[1], self._with_ones(inputs))
        for call in plan.forward:
            call()
        known = labels if self._recipe.privacy is None else labels.clamp(min=0)
        plan.probabilities.scatter_add_(plan.classes, known.unsqueeze(plan.classes), plan.of_label)
        for call in plan.backward:
            call()
        if self._clips:
            self._clip(plan, labels)
        for call in plan.sums:
            call()
        if self._recipe.privacy is not None:
            private.add_to(self._named_changes)
        if self._optimizer is not None:
            self._optimizer.step()
            return
        if self._recipe.weight_decay:
            self._changes.add_(self._parameters, alpha=self._recipe.weight_decay)
        if self._less_rate is None:
            self._parameters.sub_(self._changes, alpha=self._rate)
        else:
            self._parameters.addcmul_(self._changes, self._less_rate)

    def _share(self, batch: int) -> float:
        """What part of the sum of a batch's gradients is the gradient."""
        return 1 / batch

    def _clip(self, plan: "Plan", labels: Tensor) -> None:
        """Change gradients at products before they are summed over the batch."""

    def _plan(self, batch: int, x: Tensor) -> "Plan":
        """All calls of a step on inputs [models, batch, in] that lie there, made once.

        For batches of any size: an epoch's last may be smaller, and a private recipe's all differ.
        All use the same memory.
        """
        where = x.data_ptr(), x.stride()
        if batch in self._plans and self._plans[batch].where == where:
            return self._plans[batch]
        layers, models, at_once = self._layers, len(x), self._at_once(batch)
        widths = [layer.weight.shape[2] for layer in layers]
        last = len(layers) - 1
        outputs = [self._room(i, models, batch, width) for i, width in enumerate(widths)]
        # Of hidden layers some models' gradients are written over those of the models before.
        deltas = [
            self._room(last + 1 + i, models if i == last else at_once, batch, width)
            for i, width in enumerate(widths)
        ]
        logits, probabilities = outputs[-1], deltas[-1]
        classes = 2 if logits.is_contiguous() else 1
        if classes == 1:
            logits, probabilities = logits.mT, probabilities.mT
        smoothing = self._recipe.label_smoothing
        of_label = x.new_full((1, 1, 1), smoothing - 1).expand(
            models, *((1, batch) if classes == 1 else (batch, 1))
        )
        xs = [x, *outputs[:-1]]
        plan = Plan(where, xs, outputs, deltas, probabilities, classes, of_label)
        sums = plan.sums if self._clips else plan.backward
        if layers[last].rectified:
            plan.backward.append(_rectified(deltas[last], outputs[last]))
        sums += self._summed(layers[last], plan.xs[last], deltas[last])
        for first in range(0, models, at_once):
            rows = slice(first, min(first + at_once, models))
            some = [each[: rows.stop - first] for each in deltas[:-1]] + [deltas[last][rows]]
            for layer, of, output in zip(layers, plan.xs, outputs, strict=True):
                plan.forward.extend(_forward(of[rows], layer.of(rows), output[rows]))
            for i in range(last, 0, -1):
                back = layers[i].weight[rows].mT
                plan.backward.append(_product(some[i], back, out=some[i - 1]))
                if layers[i - 1].rectified:
                    plan.backward.append(_rectified(some[i - 1], outputs[i - 1][rows]))
                sums += self._summed(layers[i - 1].of(rows), plan.xs[i - 1][rows], some[i - 1])
        plan.forward.append(partial(torch.softmax, logits, classes, out=probabilities))
        # Less than e^-60 reaches no float32 weight, and numbers that underflow take ten times as
        # long.
        plan.forward.append(partial(probabilities.clamp_, min=1e-26))
        if smoothing:
            plan.forward.append(partial(probabilities.sub_, smoothing / widths[last]))
        self._plans[batch] = plan
        return plan

    def _summed(self, layer: _Linear, x: Tensor, delta: Tensor) -> list[Call]:
        """What changes a layer's changes by the sum over a batch of its examples' gradients."""
        momentum = self._recipe.momentum if self._optimizer is None else 0.0
        share, change = self._share(delta.shape[1]), layer.weight_change
        calls = [_product(x.mT, delta, out=change, add=change, beta=momentum, alpha=share)]
        if layer.bias_change is not None:
            calls.append(partial(_add_sum, delta, momentum, share, layer.bias_change))
        return calls

    def _at_once(self, batch: int) -> int:
        """Models whose numbers at hidden layers stay in a core's cache until they are used."""
        models = len(self._layers[0].weight)
        hidden = sum(layer.weight.shape[2] for layer in self._layers[:-1])
        if self._parameters.is_cuda or self._clips or not hidden:
            return models
        of_model = 2 * batch * hidden * self._parameters.element_size()
        return min(models, max(1, _CACHED // of_model))

    def _room(self, which: int, models: int, batch: int, width: int) -> Tensor:
        """Memory [models, batch, width] that is always the same, as long as it is large enough."""
        size = models * batch * width
        if self._memory[which].numel() < size:
            self._memory[which] = self._parameters.new_empty(size)
            self._plans.clear()
        return _lying(self._memory[which][:size], models, batch, width)

    def _with_ones(self, inputs: Tensor) -> Tensor:
        """A batch [models, batch, in], with a last input of 1 if the first layer has a bias."""
        flat = inputs.flatten(2)
        if self._beside_ones is None:
            return flat
        models, batch, width = flat.shape
        if self._beside_ones.shape[0] < models * batch:
            self._beside_ones = flat.new_ones(models * batch, width + 1)
        beside = self._beside_ones[: models * batch].view(models, batch, width + 1)
        beside[:, :, :width] = flat
        return beside


@dataclass(frozen=True)
class Plan:
    """A step on batches of one size that lie in one place.

    Attributes:
        where: the inputs lie.
        xs: each layer's input, [models, batch, width].
        outputs: of each layer, likewise.
        deltas: gradients of the sum of the losses at each layer's product, likewise; of hidden
            layers of some models at once, unless they are clipped.
        probabilities: the last of `deltas`, as it lies in memory: of cross-entropy the gradient is
            the probabilities less the target.
        classes: its axis of classes.
        of_label: what is added to the label's.
        forward: calls from the inputs to the probabilities, less what smoothing takes off.
        backward: calls from the gradient at the logits on; with `sums`, unless they are clipped.
        sums: calls that sum over the batch.
    """

    where: tuple[int, tuple[int, ...]]
    xs: list[Tensor]
    outputs: list[Tensor]
    deltas: list[Tensor]
    probabilities: Tensor
    classes: int
    of_label: Tensor
    forward: list[Call] = field(default_factory=list)
    backward: list[Call] = field(default_factory=list)
    sums: list[Call] = field(default_factory=list)


def _forward(x: Tensor, layer: _Linear, output: Tensor) -> list[Call]:
    """What writes a layer's output."""
    calls = [_product(x, layer.weight, out=output, add=layer.bias)]
    return [*calls, output.relu_] if layer.rectified else calls


def _rectified(delta: Tensor, output: Tensor) -> Call:
    """What makes of the gradient after a ReLU that before it."""
    return partial(rectified_gradient, delta, output, out=delta)


def _add_sum(delta: Tensor, momentum: float, share: float, change: Tensor) -> None:
    """Change a bias's change [models, 1, out] by the sum over a batch."""
    change.mul_(momentum).add_(delta.sum(1, keepdim=True), alpha=share)


def _of(layer: _Dense, weights: Weights) -> Weights:
    """A layer's parameters."""
    names = [f"{layer.name}.weight", *([f"{layer.name}.bias"] if layer.has_bias else [])]
    return {name: weights[name] for name in names}


def _move(
    weights: Weights, layer: _Dense, pieces: tuple[Tensor, Tensor], one_more: bool
) -> tuple[_Linear, Weights, Weights]:
    """A layer in its pieces of the memory of parameters and of changes.

    Returns:
        The layer; its parameters by name as views of the first piece; their changes likewise.
    """
    given = _of(layer, weights)
    models, outputs, inputs = given[f"{layer.name}.weight"].shape
    size = models * (inputs + one_more) * outputs
    of_layer: list[tuple[Tensor, Tensor | None]] = []
    named: list[Weights] = []
    for piece in pieces:
        weight = _lying(piece[:size], models, inputs + one_more, outputs)
        bias = piece[size:].view(models, 1, outputs) if len(piece) > size else None
        of_layer.append((weight, bias))
        row = weight[:, -1:] if one_more else bias
        views = [weight[:, :inputs].mT, *([] if row is None else [row.squeeze(1)])]
        named.append(dict(zip(given, views, strict=True)))
    for name, view in named[0].items():
        view.copy_(given[name])
    (weight, bias), (weight_change, bias_change) = of_layer
    moved = _Linear(weight, bias, weight_change, bias_change, layer.rectified)
    return moved, named[0], named[1]


def _lying(memory: Tensor, models: int, rows: int, outputs: int) -> Tensor:
    """Memory as [models, rows, outputs], where the rows lie innermost if the outputs are few."""
    if outputs < _NARROW:
        return memory.view(models, outputs, rows).mT
    return memory.view(models, rows, outputs)


def _product(
    first: Tensor,
    second: Tensor,
    out: Tensor,
    add: Tensor | None = None,
    beta: float = 1.0,
    alpha: float = 1.0,
) -> Call:
    """What writes beta * add + alpha * first @ second into `out`, as it lies in memory."""
    if not out.is_contiguous():
        first, second, out = second.mT, first.mT, out.mT
        add = None if add is None else add.mT
    if add is None:
        return partial(torch.bmm, first, second, out=out)
    return partial(torch.baddbmm, add, first, second, beta=beta, alpha=alpha, out=out)
