"""Leverage of single examples under a model's gradients: how far each stands out from the others.

What TRAK (Park et al. 2023, Attributing Model Behavior at Scale) asks of a trained model;
`benchsuite.memorization.trak_self_influence` makes its score of that.
"""

from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchsuite.training.batches import ModelFactory, Weights, template

# Whoever changes one of these three raises `benchsuite.shadows.columns.SEMANTICS` as well.
WIDTH = 256
"""Numbers that a gradient is projected to, at most; a quarter as many as there are examples."""

_KEY = 0x5452414B
"""Of the sketch's stream, one for all models: their scores differ by the models alone."""
_CUT = 1e-5
"""Singular values of Phi up to this part of the largest count as 0: float32 rounds at 1e-7 to 1e-6
of it, and those of models on real images lie above 1e-3."""
_EXAMPLES = 512
"""Examples whose gradients are computed at once, at most."""
_NUMBERS = 2**21
"""Numbers of gradients that are written out at once."""


def leverage_scores(
    factory: ModelFactory,
    weights: Weights,
    inputs: Tensor,
    labels: Tensor,
    width: int | None = None,
) -> Tensor:
    """Return the leverage phi_i^T (Phi^T Phi)^-1 phi_i of every example's projected gradient phi_i.

    The gradient is that of log p_y - log sum_{j != y} p_j, the scaled confidence, over all
    trainable parameters of a model in evaluation mode, where an example's outputs must depend on no
    other example's. A CountSketch projects it to `width` numbers: each parameter is added, with a
    random sign, to a random bucket, which leaves inner products unbiased. The buckets are dealt
    evenly, so that a model of no more than `width` parameters is projected without loss.

    The inverse is over the directions in which the phi differ by more than rounding, those of
    singular values of Phi [examples, width] above 1e-5 of the largest. So a model's leverages lie
    in [0, 1] and sum to the number of directions. With as many of these as examples each is 1 and
    says nothing: choose a width well below the number of examples.

    Args:
        factory: makes one model of logits [examples, classes].
        weights: of many models, each tensor [models, ...].
        inputs: [examples, ...], on the device and in the dtype to compute in.
        labels: int64 [examples], on the same device.
        width: of the projection, at least 1; None takes 256, or a quarter of the examples where
            that is less.

    Returns:
        [models, examples], in the dtype of `inputs`; NaN of a model with a gradient that is not
        finite.

    Raises:
        ValueError: other numbers of inputs and labels, a label that is none of the model's at least
            2 classes, a model without trainable parameters, a width below 1.

    Source: Park et al. (2023), Sec. 3, of whose Phi (Phi^T Phi)^-1 Phi^T these are the diagonal;
        Charikar, Chen & Farach-Colton (2002), Finding Frequent Items in Data Streams.
    """
    if len(inputs) != len(labels):
        raise ValueError(
            f"labels has {len(labels)} entries and inputs {len(inputs)}: pass one label an example"
        )
    if width is None:
        width = min(WIDTH, max(1, len(inputs) // 4))
    if not isinstance(width, Integral) or width < 1:
        raise ValueError(f"width={width!r} must be an int of at least 1, or None for up to {WIDTH}")
    model = template(factory).to(inputs.device, inputs.dtype).eval()
    size = sum(each.numel() for each in model.parameters() if each.requires_grad)
    if size == 0:
        raise ValueError("factory: its model has no trainable parameters, and so no gradients")
    _check_labels(model, inputs, labels)
    parameters, signs = _sketch(size, width)
    sketch = torch.tensor(parameters, device=inputs.device), torch.tensor(signs).to(inputs)
    rows = []
    for i in range(len(next(iter(weights.values())))):
        model.load_state_dict({name: tensor[i] for name, tensor in weights.items()})
        rows.append(_leverage(_projected_gradients(model, inputs, labels, *sketch)))
    return torch.stack(rows)


def _check_labels(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    with torch.no_grad():
        classes = model(inputs[:1]).shape[1]
    lowest, highest = int(labels.min()), int(labels.max())
    if classes < 2 or lowest < 0 or highest >= classes:
        raise ValueError(
            f"labels run from {lowest} to {highest} and the model has {classes} logits: each label "
            "must be one of at least 2 classes; leave other examples out"
        )


def _sketch(size: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The parameters in each bucket, and their signs, [slots, buckets]; NumPy's on every device.

    A slot that is left over has the sign 0.
    """
    draw = np.random.Generator(np.random.Philox(key=_KEY))
    parameters, signs = draw.permutation(size), draw.integers(2, size=size) * 2 - 1
    buckets = min(size, width)
    over = -size % buckets
    return (
        np.pad(parameters, (0, over)).reshape(-1, buckets),
        np.pad(signs, (0, over)).reshape(-1, buckets),
    )


def _projected_gradients(
    model: nn.Module, inputs: Tensor, labels: Tensor, parameters: Tensor, signs: Tensor
) -> Tensor:
    """Phi [examples, buckets], a few examples' gradients at a time.

    Sums over slots rather than `index_add_`, whose order on a GPU varies by run.
    """
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def margin(weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, weights, x[None])[0]
        true = torch.arange(len(logits), device=logits.device) == y
        others = logits.masked_fill(true, -torch.inf).logsumexp(0)
        return logits.masked_fill(~true, 0).sum() - others

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([each.flatten() for each in grad(margin)(weights, x, y).values()])

    step = min(_EXAMPLES, max(1, _NUMBERS // signs.numel()))
    parts: list[Tensor] = []
    for some, of_some in zip(inputs.split(step), labels.split(step), strict=True):
        gradients = vmap(gradient)(some, of_some)
        signed = gradients.index_select(1, parameters.flatten()).mul_(signs.flatten())
        parts.append(signed.view(len(some), *signs.shape).sum(1))
    return torch.cat(parts)


def _leverage(phi: Tensor) -> Tensor:
    """Squared rows of the left singular vectors, from the smaller of the two kernels in float64."""
    if not phi.isfinite().all():
        return torch.full_like(phi[:, 0], torch.nan)
    wide = phi.double()
    examples, width = wide.shape
    kernel = wide.T @ wide if width < examples else wide @ wide.T
    squares, directions = torch.linalg.eigh(kernel)
    real = squares > _CUT**2 * squares[-1]
    left = directions[:, real]
    if width < examples:
        left = wide @ (left / squares[real].sqrt())
    leverage: Tensor = left.square().sum(1).clamp(max=1).to(phi.dtype)
    return leverage
