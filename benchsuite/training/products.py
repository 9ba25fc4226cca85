"""Products of all models' matrices, each a call that is made once and called every step.

Torch multiplies on an x86 CPU with MKL, which keeps its fastest kernels for Intel's processors;
NumPy, as its wheels come, with OpenBLAS, which does not. On 2 cores of an AMD EPYC (Zen 4) the
products of a step of `digits-mlp` run at 71 GFLOP/s by torch 2.13 and at 112 by NumPy 2.4 (medians
of 3), and in another hour at 74 and 113; `pytest --benchmark` prints both.
"""

import os
import threading
from collections.abc import Callable
from functools import cache, partial
from types import TracebackType
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from benchsuite.training.engine import Matmul

Call = Callable[[], object]


def product(
    by: Matmul, first: Tensor, second: Tensor, out: Tensor, add: Tensor | None = None
) -> list[Call]:
    """What writes first @ second + add into `out`, as it lies in memory.

    Args:
        by: whose products they are.
        first: [models, rows, inner].
        second: [models, inner, columns].
        out: [models, rows, columns].
        add: [models, 1, columns], to each row.
    """
    if by == "torch" and add is not None:
        return [_added(add, first, second, out, beta=1.0)]
    first, second, into = _as_it_lies(first, second, out)
    if by == "torch":
        return [partial(torch.bmm, first, second, out=into)]
    arrays = first.numpy(), second.numpy()
    calls: list[Call] = [partial(np.matmul, *arrays, out=into.numpy())]
    return calls if add is None else [*calls, partial(out.add_, add)]


def accumulated(first: Tensor, second: Tensor, into: Tensor, keep: float) -> Call:
    """What writes keep * into + first @ second into `into`, in one of torch's products."""
    return _added(into, first, second, into, beta=keep)


def _added(add: Tensor, first: Tensor, second: Tensor, out: Tensor, beta: float) -> Call:
    if not out.is_contiguous():
        add = add.mT
    first, second, out = _as_it_lies(first, second, out)
    return partial(torch.baddbmm, add, first, second, beta=beta, out=out)


def _as_it_lies(first: Tensor, second: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same product, transposed where `out` is transposed in memory."""
    return (first, second, out) if out.is_contiguous() else (second.mT, first.mT, out.mT)


class _NumpyOnOneThread:
    """Within: NumPy's products are computed by who calls them, on no other core.

    The number of threads is the whole process's, and trainings may overlap: the first to enter
    sets it, and the last to leave puts it back.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._within = 0
        self._limited: Any = None

    def __enter__(self) -> None:
        with self._changing:
            if not self._within:
                self._limited = _libraries().limit(limits=1, user_api="blas")
            self._within += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changing:
            self._within -= 1
            if not self._within:
                self._limited.restore_original_limits()

    def after_fork(self) -> None:
        """Put it back in a child, whose parent was training: none of the threads is in it."""
        self._changing = threading.Lock()
        if self._within:
            self._within = 0
            self._limited.restore_original_limits()


numpy_on_one_thread = _NumpyOnOneThread()
os.register_at_fork(after_in_child=numpy_on_one_thread.after_fork)


@cache
def numpy_has_openblas() -> bool:
    """Whether that is what NumPy multiplies with: other libraries may heed no number of threads."""
    return np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"].endswith("openblas")


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
