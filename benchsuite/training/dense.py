"""Training steps of a stack of multilayer perceptrons, written out.

Autograd records a graph and allocates what it computes anew each step, which on a CPU takes longer
than the products of so small models. Here all is written into memory that outlives a step, in as
few operations as there can be: to call one for 64 models costs as much as it computes.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from benchsuite.training.batches import TrainingJob, Weights, optimizer_for, set_learning_rate
from benchsuite.training.engine import Matmul
from benchsuite.training.perceptrons import Linear, dense_layers, laid_out, moved
from benchsuite.training.private import GaussianNoise
from benchsuite.training.products import Call, accumulated, product

_CACHED = 2**20
"""Bytes that a core's own cache holds."""


def rectified_gradient(gradient: Tensor, output: Tensor, out: Tensor) -> None:
    """Write the gradient before a ReLU, from that after it and its output; `out` may be either."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=out)


class DenseSteps:
    """Steps of the recipe's optimizer on each model's mean cross-entropy.

    Args:
        model: one of the multilayer perceptrons, see `is_dense`.
        weights: parameters by name, each [models, ...]. They are moved into one piece of memory:
            the dictionary then holds views of it.
        job: what they are trained for.
        matmul: whose products of matrices; only torch's on CUDA.

    Attributes:
        job: the same, with inputs as they are read here: its batches are to be stepped on.
    """

    _clips = False

    def __init__(
        self, model: nn.Module, weights: Weights, job: TrainingJob, matmul: Matmul = "torch"
    ) -> None:
        layers = dense_layers(model)
        assert layers is not None
        self._recipe, self._matmul = job.recipe, matmul
        inputs = job.inputs.flatten(1)
        # The bias of the first layer as the weight of an input of 1: three operations less a step.
        first_bias = layers[0].has_bias
        if first_bias:
            inputs = nn.functional.pad(inputs, (0, 1), value=1.0)
        # Shifts and mirrors are of images, so their batches are laid beside the 1 when they come.
        augmented = job.recipe.augmentation is not None
        self._inputs = inputs.new_ones(0, inputs.shape[1]) if augmented else None
        self.job = job if augmented else replace(job, inputs=inputs, _gathered=[])
        # All parameters in one piece, and as much for their changes: then a step is one operation.
        self._parameters = inputs.new_empty(sum(each.numel() for each in weights.values()))
        self._changes = torch.zeros_like(self._parameters)
        sgd = job.recipe.optimizer == "sgd"
        self._momentum = job.recipe.momentum if sgd else 0.0
        # Torch's products add a gradient to what momentum keeps, so both are one memory; NumPy's
        # can only write one.
        apart = matmul == "numpy" and self._momentum > 0
        self._gradients = torch.empty_like(self._changes) if apart else self._changes
        self._layers, named_gradients = moved(
            weights, layers, self._parameters, self._gradients, first_bias
        )
        # In the order of named_parameters, in which noise is drawn.
        self._named_gradients = [named_gradients[name] for name, _ in model.named_parameters()]
        self._memory = [inputs.new_empty(0) for _ in 2 * self._layers]
        self._plans: dict[int, Plan] = {}
        self._rate = job.recipe.learning_rate
        # On the device, where a recorded step reads it.
        self._less_rate = inputs.new_empty(()) if inputs.is_cuda else None
        self._optimizer = None
        if not sgd:
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
        plan = self._plan(labels.shape[1], self._laid(inputs))
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
            private.add_to(self._named_gradients)
        if self._optimizer is not None:
            self._optimizer.step()
            return
        if self._gradients is not self._changes:
            torch.add(self._gradients, self._changes, alpha=self._momentum, out=self._changes)
        if self._recipe.weight_decay:
            self._changes.add_(self._parameters, alpha=self._recipe.weight_decay)
        if self._less_rate is None:
            self._parameters.sub_(self._changes, alpha=self._rate)
        else:
            self._parameters.addcmul_(self._changes, self._less_rate)

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
        if self._clips:
            sums = plan.sums
        else:  # the gradient is the mean of the examples'; of clipped ones it is `clipped_share`
            sums = plan.backward
            plan.backward.append(partial(probabilities.mul_, 1 / batch))
        if layers[last].rectified:
            plan.backward.append(_rectified(deltas[last], outputs[last]))
        sums += self._summed(layers[last], xs[last], deltas[last])
        for first in range(0, models, at_once):
            rows = slice(first, min(first + at_once, models))
            some = [each[: rows.stop - first] for each in deltas[:-1]] + [deltas[last][rows]]
            for layer, x_of, output in zip(layers, xs, outputs, strict=True):
                weight, bias = layer.weight[rows], None if layer.bias is None else layer.bias[rows]
                plan.forward.extend(product(self._matmul, x_of[rows], weight, output[rows], bias))
                if layer.rectified:
                    plan.forward.append(output[rows].relu_)
            for i in range(last, 0, -1):
                back = layers[i].weight[rows].mT
                plan.backward.extend(product(self._matmul, some[i], back, out=some[i - 1]))
                if layers[i - 1].rectified:
                    plan.backward.append(_rectified(some[i - 1], outputs[i - 1][rows]))
                sums += self._summed(layers[i - 1].of(rows), xs[i - 1][rows], some[i - 1])
        plan.forward.append(partial(torch.softmax, logits, classes, out=probabilities))
        # Less than e^-60 reaches no float32 weight, and numbers that underflow take ten times as
        # long.
        plan.forward.append(partial(probabilities.clamp_, min=1e-26))
        if smoothing:
            plan.forward.append(partial(probabilities.sub_, smoothing / widths[last]))
        self._plans[batch] = plan
        return plan

    def _summed(self, layer: Linear, x: Tensor, delta: Tensor) -> list[Call]:
        """What sums a layer's gradient over a batch, on what momentum keeps where both are one."""
        weight, bias = layer.weight_gradient, layer.bias_gradient
        keep = self._momentum if self._gradients is self._changes else 0.0
        if not keep:
            calls = product(self._matmul, x.mT, delta, out=weight)
            if bias is not None:
                calls.append(partial(torch.sum, delta, 1, keepdim=True, out=bias))
            return calls
        calls = [accumulated(x.mT, delta, into=weight, keep=keep)]
        if bias is not None:
            calls += [partial(bias.mul_, keep), partial(_add_sum, delta, bias)]
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
        return laid_out(self._memory[which][:size], models, batch, width)

    def _laid(self, inputs: Tensor) -> Tensor:
        """A batch [models, batch, in] where a plan finds it, with the first layer's input of 1."""
        flat = inputs.flatten(2)
        if self._inputs is None:
            return flat
        models, batch, width = flat.shape
        if len(self._inputs) < models * batch:
            self._inputs = self._inputs.new_ones(models * batch, self._inputs.shape[1])
        laid = self._inputs[: models * batch].view(models, batch, -1)
        laid[:, :, :width] = flat
        return laid


@dataclass(frozen=True)
class Plan:
    """A step on batches of one size that lie in one place.

    Attributes:
        where: the inputs lie.
        xs: each layer's input, [models, batch, width].
        outputs: of each layer, likewise.
        deltas: gradients at each layer's product, likewise, of the models' mean losses; those of
            the sum of the losses, where they are clipped. Of hidden layers of some models at once,
            unless they are clipped.
        probabilities: the last of `deltas`, as it lies in memory: of cross-entropy the gradient is
            the probabilities less the target.
        classes: its axis of classes.
        of_label: what is added to the label's.
        forward: calls from the inputs to the probabilities, less what smoothing takes off.
        backward: calls from the gradient at the logits on, by which it is divided by the batch;
            with `sums`, unless they are clipped.
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


def _rectified(delta: Tensor, output: Tensor) -> Call:
    """What makes of the gradient after a ReLU that before it."""
    return partial(rectified_gradient, delta, output, out=delta)


def _add_sum(delta: Tensor, to: Tensor) -> None:
    """Add the sum over a batch, [models, 1, out]."""
    to.add_(delta.sum(1, keepdim=True))
