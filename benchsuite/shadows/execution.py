"""How a bank's models are computed, and what this machine has for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchsuite.subject import Subject
from benchsuite.training import Strategy, is_dense, template, why_not_stacked

STACK_UP_TO = 100_000
"""Parameters up to which a model is stacked: larger ones fill the device one by one."""

_STACKS = {"dense": 128, "stacked": 32}
"""Models at most; a stack never has more than a block."""


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

    One thread each because threads that wait for each other within a product of small matrices
    come to a standstill as soon as another process wants a core.
    """
    model = template(subject.model)
    small = sum(parameter.numel() for parameter in model.parameters()) <= STACK_UP_TO
    if small and why_not_stacked(model) is None:
        strategy: Strategy = "dense" if is_dense(model) else "stacked"
        return Execution(strategy, _STACKS[strategy], 1, "float32", device)
    return Execution("looped", 1, torch.get_num_threads(), "float32", device)


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
