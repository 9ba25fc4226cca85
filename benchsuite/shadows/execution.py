"""How a bank's models are computed, and what this machine has for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchsuite.subject import Subject
from benchsuite.training import Strategy, check_private, is_dense, template, why_not_stacked

STACK_UP_TO = 100_000
"""Parameters up to which a model is stacked anywhere: larger ones fill a GPU one by one."""
STACK_ON_A_CPU_UP_TO = 2_000_000
"""Parameters up to which a model is stacked on a CPU.

Time in stacks of four by that of the loop on both of 2 cores, Adam, batches of 128 images 28 x 28:
multilayer perceptron 784-512-256-10 .61, the same with dropout .79, with batch norm .87,
convolutions of 8 and 16 channels .62 to .79, of 16 and 32 .87, of 32 to 256 (cnn32) 1.07.
"""

_STACKS = {"dense": 128, "stacked": 32}
"""Models at most; a stack never has more than a block."""
_STACK_OF_LARGER_MODELS = 4


@dataclass(frozen=True)
class Execution:
    """How a bank's models are computed: fixed when the bank is made, obeyed by whoever goes on.

    Results are equal bit for bit only within one execution and hardware, so a resume keeps to it.
    """

    strategy: Strategy
    stack: int
    threads: int
    dtype: str
    device: str


def execution_for(subject: Subject, device: str) -> Execution:
    """Stacks are trained one per core, on one thread each; loops one after another, on all cores.

    With `recipe.privacy` only multilayer perceptrons are stacked.

    One thread each because threads that wait for each other within a product of small matrices
    come to a standstill as soon as another process wants a core.

    Raises:
        ValueError: a private recipe of a model with batch norm, which mixes examples.
    """
    model = template(subject.model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    strategy: Strategy = "looped"
    if why_not_stacked(model) is None:
        strategy = "dense" if is_dense(model) else "stacked"
    if subject.recipe.privacy is not None:
        check_private(model)
        if strategy == "stacked":  # clips no single example's gradient
            strategy = "looped"
    if strategy != "looped" and parameters <= STACK_UP_TO:
        return Execution(strategy, _STACKS[strategy], 1, "float32", device)
    if strategy != "looped" and parameters <= STACK_ON_A_CPU_UP_TO and device == "cpu":
        return Execution(strategy, _STACK_OF_LARGER_MODELS, 1, "float32", device)
    return Execution("looped", 1, torch.get_num_threads(), "float32", device)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch's; more than a small network needs would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def exact_on_cuda(device: str) -> Iterator[None]:
    """On CUDA: float32 proper, for TF32 is another type, and no kernel that varies by run.

    The settings are the whole process's, and put back after.
    """
    if not device.startswith("cuda"):
        yield
        return
    cudnn = torch.backends.cudnn
    settings = (
        (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
        (cudnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
    )
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


def check_device(device: str) -> None:
    """Raise a ValueError naming a device that is not there."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error


def cores() -> int:
    """Cores that this process may use, where the system tells; else all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
