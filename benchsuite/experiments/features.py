"""Features of the pool as the subject's own network sees it: an embedding to compare images by."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchsuite.shadows.execution import check_device, exact_on_cuda, threads
from benchsuite.subject import Subject
from benchsuite.training import TrainingJob, template, train

_BATCH = 1024


def penultimate_features(
    subject: Subject, device: str = "cpu", seed: int = 0
) -> NDArray[np.float32]:
    """Train one model on the whole pool and return what enters its last `nn.Linear`.

    The last one is the last to run, in evaluation mode, whatever the order of its definition. Of a
    network without any, such as `cnn32`, whose last convolution makes the logits, what enters the
    last `nn.Conv2d`, its mean over space.
    A network draws the examples of a class together (three quarters of the digits' pairs within a
    class have a cosine of 0.85 or more), so measure a threshold of duplicates with planted ones.

    Args:
        subject: pool, model and recipe.
        device: to train on.
        seed: of the model, which has id 0.

    Returns:
        float32 [examples, features], axes after the first flattened, in the pool's order.

    Raises:
        ValueError: a model that runs neither layer, a device that is not there.
    """
    check_device(device)
    pool, validation = subject.pool, subject.validation
    inputs = torch.from_numpy(pool.inputs()).to(device)
    with threads(1), exact_on_cuda(device):
        _entering_last_layer(template(subject.model).to(device).eval(), inputs[:2])
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
        features = [_entering_last_layer(model, part).cpu() for part in inputs.split(_BATCH)]
    array: NDArray[np.float32] = torch.cat(features).numpy()
    return array


@torch.no_grad()
def _entering_last_layer(model: nn.Module, inputs: Tensor) -> Tensor:
    """What enters the last linear layer that runs, or else convolution, [batch, features]."""
    entered: dict[type[nn.Module], Tensor] = {}

    def note(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        entered[nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d] = arguments[0]

    hooks = [
        layer.register_forward_pre_hook(note)
        for layer in model.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if nn.Linear in entered:
        return entered[nn.Linear].flatten(1)
    if nn.Conv2d in entered:
        return entered[nn.Conv2d].mean(dim=(-2, -1)).flatten(1)
    raise ValueError(
        f"model is a {type(model).__name__} that runs neither nn.Linear nor nn.Conv2d, expected a"
        " network whose last features enter one: end it with nn.Linear, or compare pixels instead"
    )
