"""DP-SGD: each example's gradient clipped, and Gaussian noise on their sum.

M. Abadi et al., Deep Learning with Differential Privacy (2016), Algorithm 1; the batches come from
`TrainingJob.epoch`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from benchsuite.training import randomness
from benchsuite.training.batches import NO_LABEL, TrainingJob, Weights
from benchsuite.training.randomness import Purpose

_EXAMPLES = 32
"""Examples of a loop whose gradients are written out at once."""


def check_private(model: nn.Module) -> None:
    """Raise a ValueError naming a layer through which one example changes another's outputs."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) or (
            isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats
        ):
            raise ValueError(
                f"recipe.privacy clips the gradient of each example, but layer {name} "
                f"({type(layer).__name__}) mixes the examples of a batch: use GroupNorm there, or "
                "privacy=None"
            )


class GaussianNoise:
    """The noise of one epoch: each model's from a generator of its own; none in other recipes."""

    def __init__(self, job: TrainingJob, epoch: int) -> None:
        privacy = job.recipe.privacy
        self._deviation = 0.0
        if privacy is not None:
            self._deviation = privacy.noise * privacy.clip / job.expected_batch
        if self._deviation:
            seeds = (
                randomness.torch_seed(job.seed, model, Purpose.PRIVACY, epoch)
                for model in job.models
            )
            self._generators = [
                torch.Generator(job.inputs.device).manual_seed(seed) for seed in seeds
            ]

    @torch.no_grad()
    def add_to(self, gradients: Iterable[Tensor]) -> None:
        """Add a step's noise to mean gradients [models, ...], in the order of named_parameters."""
        if not self._deviation:
            return
        listed = list(gradients)
        sizes = [gradient[0].numel() for gradient in listed]
        drawn = listed[0].new_empty(len(listed[0]), sum(sizes))
        for of_model, generator in zip(drawn, self._generators, strict=True):
            of_model.normal_(generator=generator)
        for gradient, noise in zip(listed, drawn.split(sizes, dim=1), strict=True):
            gradient.add_(noise.view(gradient.shape), alpha=self._deviation)


def clipped_share(squared_norms: Tensor, labels: Tensor, job: TrainingJob) -> Tensor:
    """By what to multiply each example's gradient in the sum: min(1, clip / norm) / batch size."""
    assert job.recipe.privacy is not None
    kept = (job.recipe.privacy.clip / squared_norms.sqrt()).clamp(max=1) * (labels != NO_LABEL)
    return kept / job.expected_batch


def leave_clipped_gradients(
    model: nn.Module, inputs: Tensor, labels: Tensor, job: TrainingJob
) -> None:
    """The same of one model of any kind, inputs [batch, ...]: gradients written out by vmap."""
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    smoothing = job.recipe.label_smoothing

    def loss(parameters: Weights, x: Tensor, y: Tensor) -> Tensor:
        said = functional_call(model, parameters, (x[None],))
        return cross_entropy(said, y[None], label_smoothing=smoothing)

    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    gradients_of = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")
    for x, y in zip(inputs.split(_EXAMPLES), labels.split(_EXAMPLES), strict=True):
        gradients = gradients_of(parameters, x, y.clamp(min=0))
        squared_norms = torch.stack([g.square().flatten(1).sum(1) for g in gradients.values()])
        share = clipped_share(squared_norms.sum(0), y, job)
        for name, gradient in gradients.items():
            sums[name] += torch.tensordot(share, gradient, dims=1)
    for name, parameter in model.named_parameters():
        parameter.grad = sums.get(name)
