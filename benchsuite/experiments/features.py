"""Features of the pool as the subject's own network sees it: an embedding to compare images by."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchsuite.shadows.execution import check_device, exact_on_cuda
from benchsuite.subject import Subject
from benchsuite.training import TrainingJob, template, train

_BATCH = 1024


def penultimate_features(
    subject: Subject, device: str = "cpu", seed: int = 0
) -> NDArray[np.float32]:
    """Train one model on the whole pool and return what enters its last `nn.Linear`.

    The last one is the last to run, in evaluation mode, whatever the order of its definition.
    A network draws the examples of a class together (three quarters of the digits' pairs within a
    class have a cosine of 0.85 or more), so measure a threshold of duplicates with planted ones.

    Args:
        subject: pool, model and recipe.
        device: to train on.
        seed: of the model, which has id 0.

    Returns:
        float32 [examples, features], axes after the first flattened, in the pool's order.

    Raises:
        ValueError: a model that runs no `nn.Linear`, a device that is not there.
    """
    check_device(device)
    pool, validation = subject.pool, subject.validation
    inputs = torch.from_numpy(pool.inputs()).to(device)
    with exact_on_cuda(device):
        _entering_last_linear(template(subject.model).to(device).eval(), inputs[:2])
        job = TrainingJob(
            subject.model,
            subject.recipe,
            inputs,
            torch.tensor(pool.labels, device=device),
            subsets=np.arange(len(pool))[None],
            models=(0,),
            seed=seed,
            validation=None
            if validation is None
            else (
                torch.from_numpy(validation.inputs()).to(device),
                torch.tensor(validation.labels, device=device),
            ),
        )
        weights = train(job, "looped")
        model = template(subject.model).to(device).eval()
        model.load_state_dict({name: tensor[0] for name, tensor in weights.items()})
        features = [_entering_last_linear(model, part).cpu() for part in inputs.split(_BATCH)]
    array: NDArray[np.float32] = torch.cat(features).numpy()
    return array


@torch.no_grad()
def _entering_last_linear(model: nn.Module, inputs: Tensor) -> Tensor:
    """What enters the last linear layer that runs, [batch, features]."""
    entered: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0]))
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not entered:
        raise ValueError(
            f"model is a {type(model).__name__} that runs no nn.Linear, expected a network whose"
            " last features enter one: end it with nn.Linear, or compare pixels instead"
        )
    return entered[-1].flatten(1)
