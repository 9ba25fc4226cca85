"""Squared norms of single examples' gradients, which are written out only where they must be.

In a Linear layer the gradient of one example is the outer product of its input x and of the
gradient d at its output, so that its squared norm is |x|^2 |d|^2 (Goodfellow 2015, Efficient
Per-Example Gradient Computations). In a convolution it is a sum of such products over positions,
one matrix product for each example (Rochette et al. 2019, arXiv 1912.06015).
"""

from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from benchsuite.training.batches import ModelFactory, Weights, template

_EXAMPLES = 512
"""Examples in one forward and backward pass."""
_NUMBERS = 2**22
"""Numbers of patches and gradients that are written out at once."""

_NORMS = nn.BatchNorm1d, nn.BatchNorm2d


def squared_gradient_norms(
    factory: ModelFactory, weights: Weights, inputs: Tensor, labels: Tensor
) -> Tensor:
    """Return |gradient of the cross-entropy|^2 of every example, over all trainable parameters.

    Of models in evaluation mode, where an example's outputs must depend on no other example's.
    Fast where each parameter is used once, by an ordinary Linear, Conv2d or batch norm; any other
    model has its gradients written out by `torch.func.vmap`, a few examples at a time.

    Args:
        factory: makes one model of cross-entropy's logits [examples, classes].
        weights: of many models, each tensor [models, ...].
        inputs: [examples, ...], on the device and in the dtype to compute in.
        labels: int64 [examples], on the same device.

    Returns:
        [models, examples], in the dtype of `inputs`.

    Raises:
        ValueError: other numbers of inputs and labels.
    """
    if len(inputs) != len(labels):
        raise ValueError(
            f"labels has {len(labels)} entries and inputs {len(inputs)}: pass one label an example"
        )
    model = template(factory).to(inputs.device, inputs.dtype).eval()
    rows = []
    for i in range(len(next(iter(weights.values())))):
        model.load_state_dict({name: tensor[i] for name, tensor in weights.items()})
        parts = []
        for some, of_some in zip(inputs.split(_EXAMPLES), labels.split(_EXAMPLES), strict=True):
            norms = _layer_by_layer(model, some, of_some)
            parts.append(_written_out(model, some, of_some) if norms is None else norms)
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _layer_by_layer(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor | None:
    """Sums of layers' squared norms [examples], or None where those are not the whole gradient."""
    if any(isinstance(each, _NORMS) and each.running_mean is None for each in model.modules()):
        return None  # they normalise by the batch, and with it one example by the others
    layers = [each for each in model.modules() if any(True for _ in each.parameters(False))]
    if not all(_is_ordinary(layer) for layer in layers):
        return None
    calls: list[tuple[nn.Module, Tensor, GradientEdge]] = []

    def watch(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Tensor) -> None:
        (x,) = (*given, *named.values())
        if out.requires_grad:
            # The edge, not the output itself, which a ReLU in place may write over.
            calls.append((layer, x.detach(), get_gradient_edge(out)))

    with torch.enable_grad(), ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(watch, with_kwargs=True))
        loss = functional.cross_entropy(model(inputs), labels, reduction="sum")
    uses = _uses_of_parameters(loss.grad_fn)
    once = all(uses[id(parameter)] == 1 for parameter in model.parameters())
    if not once or len(calls) != len(layers):
        return None
    if not all(len(x) == len(inputs) and _takes(layer, x) for layer, x, _ in calls):
        return None
    deltas = torch.autograd.grad(loss, [edge for _, _, edge in calls])
    norms = torch.zeros(len(inputs), dtype=inputs.dtype, device=inputs.device)
    for (layer, x, _), delta in zip(calls, deltas, strict=True):
        norms += _squared_norms(layer, x, delta)
    return norms


def _is_ordinary(layer: nn.Module) -> bool:
    """Whether it is of a known kind; exact types, for a subclass may compute something else."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if type(layer) is nn.Conv2d:
        zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return zeros and layer.groups == 1
    return type(layer) in (nn.Linear, *_NORMS)


def _takes(layer: nn.Module, x: Tensor) -> bool:
    """Whether each row of x is one example, rather than one position or channel of it."""
    if isinstance(layer, _NORMS):
        return x.ndim > 1
    return x.ndim == (4 if isinstance(layer, nn.Conv2d) else 2)


def _uses_of_parameters(loss: Node | None) -> Counter[int]:
    """How often the graph of a loss reaches each tensor that gradients are gathered for, by id."""
    uses: Counter[int] = Counter()
    left, seen = [loss], {loss}
    while left:
        node = left.pop()
        for reached, _ in () if node is None else node.next_functions:
            variable = getattr(reached, "variable", None)
            if variable is not None:
                uses[id(variable)] += 1
            elif reached not in seen:
                seen.add(reached)
                left.append(reached)
    return uses


def _squared_norms(layer: nn.Module, x: Tensor, delta: Tensor) -> Tensor:
    """Of one layer's gradients [examples], from its input and the gradient at its output."""
    delta = delta.flatten(2) if delta.ndim > 2 else delta.unsqueeze(2)
    if isinstance(layer, nn.Conv2d):
        norms = _of_convolution(layer, x, delta)
    elif isinstance(layer, _NORMS):
        mean, variance = layer.running_mean, layer.running_var
        assert mean is not None
        assert variance is not None
        normalised = (x.reshape(delta.shape) - mean[:, None]) / (variance + layer.eps).sqrt()[
            :, None
        ]
        norms = (delta * normalised).sum(2).square().sum(1)
    else:
        norms = x.square().sum(1) * delta.square().sum((1, 2))
    if layer.bias is not None:
        norms = norms + delta.sum(2).square().sum(1)
    return norms


def _of_convolution(layer: nn.Conv2d, x: Tensor, delta: Tensor) -> Tensor:
    each = layer.weight[0].numel() * (delta.shape[2] + layer.out_channels)
    step = max(1, _NUMBERS // each)
    parts = []
    for some_x, some_delta in zip(x.split(step), delta.split(step), strict=True):
        patches = functional.unfold(
            some_x,
            layer.kernel_size,
            layer.dilation,
            layer.padding,  # type: ignore[arg-type]  # no string, see _is_ordinary
            layer.stride,
        )
        parts.append(torch.bmm(some_delta, patches.mT).square().sum((1, 2)))
    return torch.cat(parts)


def _written_out(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}

    def loss(parameters: Weights, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, parameters, x[None]), y[None])

    def squared_norm(x: Tensor, y: Tensor) -> Tensor:
        gradients = grad(loss)(parameters, x, y).values()
        return torch.stack([gradient.square().sum() for gradient in gradients]).sum()

    step = max(1, _NUMBERS // sum(parameter.numel() for parameter in parameters.values()))
    norms: Tensor = vmap(squared_norm, chunk_size=step)(inputs, labels)
    return norms
