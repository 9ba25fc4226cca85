"""DP-SGD of a stack of multilayer perceptrons, without a gradient of any single example."""

import torch
from torch import Tensor

from benchsuite.training.dense import DenseSteps, Plan
from benchsuite.training.private import clipped_share


class ClippedDenseSteps(DenseSteps):
    """Steps on the sum of clipped gradients by the batch size; they are not written out.

    That of one example in a Linear layer is the outer product of its input x and of the gradient d
    at its output, so its squared norm is |x|^2 |d|^2, and |d|^2 that of the bias. It is clipped by
    shortening d. Source: I. Goodfellow, Efficient Per-Example Gradient Computations (2015).
    """

    _clips = True

    def _clip(self, plan: Plan, labels: Tensor) -> None:
        squared_norms = torch.zeros(labels.shape, dtype=plan.xs[0].dtype, device=labels.device)
        for layer, x, delta in zip(self._layers, plan.xs, plan.deltas, strict=True):
            of_input = torch.linalg.vector_norm(x, dim=2).square_()
            if layer.bias is not None:
                of_input += 1
            squared_norms += of_input.mul_(torch.linalg.vector_norm(delta, dim=2).square_())
        shares = clipped_share(squared_norms, labels, self.job).unsqueeze(2)
        for delta in plan.deltas:
            delta.mul_(shares)
