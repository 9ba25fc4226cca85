"""What every benchmark says of itself: the machine, the versions, and its share of the peak.

`conftest.py` beside this file puts `where` into the extra_info of each, so that no benchmark has
to. One that runs elsewhere than on the CPU sets extra_info["device"].
"""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from benchsuite.machine import cores
from benchsuite.provenance import provenance
from benchsuite.training import Matmul
from benchsuite.training.perceptrons import laid_out
from benchsuite.training.products import numpy_on_one_thread, product

ROOT = Path(__file__).parents[2]


def where(device="cpu"):
    """Device, its name, cores, and the versions that a speed depends on."""
    known = provenance(device, ROOT)
    names = ("device", "machine", "python", "torch", "numpy", "benchsuite")
    return {name: known[name] for name in names} | {"cores": cores()}


def products_of_a_step(subject, models, batch):
    """(first, second, out) of each product: forward, weights' gradients, hidden gradients.

    They lie in memory as a stack's do, narrow ones transposed: no slower way is the peak.
    """

    def matrix(rows, columns):
        return laid_out(torch.rand(models * rows * columns), models, rows, columns)

    layers = [each for each in subject.model().modules() if isinstance(each, nn.Linear)]
    products = []
    for number, layer in enumerate(layers):
        inputs, outputs = layer.in_features, layer.out_features
        x, weight, y = matrix(batch, inputs), matrix(inputs, outputs), matrix(batch, outputs)
        products += [(x, weight, matrix(batch, outputs)), (x.mT, y, matrix(inputs, outputs))]
        if number:
            products.append((y, weight.mT, matrix(batch, inputs)))
    return products


def flop(products):
    return sum(2 * len(a) * a.shape[1] * a.shape[2] * b.shape[2] for a, b, _ in products)


def gigaflop_of_a_model(subject):
    """Arithmetic of training one perceptron: its products alone, over all epochs."""
    return _examples_of_a_model(subject) * flop(products_of_a_step(subject, 1, 1)) / 1e9


def usual_gigaflop_of_a_model(subject):
    """The same as it is usually counted: six operations a weight and example.

    So Chowdhery et al. (PaLM, 2022, appendix B) count model FLOPs utilization. It has the gradient
    at the inputs too, which nobody needs: a third of what the first layer does.
    """
    layers = [each for each in subject.model().modules() if isinstance(each, nn.Linear)]
    weights = sum(layer.weight.numel() for layer in layers)
    return _examples_of_a_model(subject) * 6 * weights / 1e9


def _examples_of_a_model(subject):
    return subject.recipe.epochs * round(len(subject.pool) * subject.share)


def matrix_rates(subject):
    """GFLOP/s of all cores at the products of a step of the subject, a process a core.

    Of fewer models at once it is higher, the more of their matrices stay in a core's own cache.

    Returns:
        By how many models at once and by whose products, torch's or NumPy's: {64: {"torch": ...}}.
        The machine's own rate is the highest of all.
    """
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(cores())
    with (
        pytest.MonkeyPatch.context() as patch,
        ProcessPoolExecutor(cores(), spawn, initializer=_hold, initargs=(together,)) as pool,
    ):
        patch.setattr(sys, "path", [*sys.path, str(ROOT)])  # where they find this module

        def rate(models, by):
            return sum(pool.map(partial(_matrix_rate, subject, models), [by] * cores()))

        return {models: {by: rate(models, by) for by in get_args(Matmul)} for models in (64, 32, 8)}


def highest(rates):
    """The highest of `matrix_rates`."""
    return max(max(of.values()) for of in rates.values())


def _hold(together):
    global _together
    _together = together
    torch.set_num_threads(1)


def _matrix_rate(subject, models, by):
    """GFLOP/s of this process, while every core has one that does the same."""
    matrices = products_of_a_step(subject, models, subject.recipe.batch_size)
    calls = [call for each in matrices for call in product(by, *each)]
    repeats = 200 * 64 // models
    with numpy_on_one_thread:
        for call in calls:
            call()
        _together.wait(timeout=60)
        started = time.perf_counter()
        for _ in range(repeats):
            for call in calls:
                call()
        return repeats * flop(matrices) / (time.perf_counter() - started) / 1e9


def arithmetic(subject, models_per_second, peak):
    """What extra_info says of a perceptron's arithmetic; `peak` is this machine's own rate."""
    achieved = models_per_second * gigaflop_of_a_model(subject)
    return {
        "gflop_per_second": round(achieved, 1),
        "peak_gflop_per_second": round(peak, 1),
        "share_of_peak": round(achieved / peak, 3),
    }
