"""Products of all models' matrices, each a call that is made once and called every step.

Torch multiplies on an x86 CPU with MKL, which keeps its fastest kernels for Intel's processors;
NumPy with OpenBLAS, which does not. On an AMD EPYC 9004 NumPy's products of a step of `digits-mlp`
take half the time.
"""

import threading
from collections.abc import Callable
from functools import cache, partial
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchsuite.training.engine import Products

Call = Callable[[], object]


def product(
    by: Products, first: Tensor, second: Tensor, out: Tensor, add: Tensor | None = None
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


numpy_on_one_thread = _NumpyOnOneThread()


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
