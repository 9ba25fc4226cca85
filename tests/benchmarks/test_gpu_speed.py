"""The papers' jobs on a GPU: models per second, TFLOP/s, share of the measured peak, 2,000 models.

`pytest --benchmark -m gpu` runs them, meant to end within 8 minutes, and needs no data: images are
random, which changes no time. Each job trains one block of models for one of its epochs through
`train_shadows`, at the execution that calibration finds and warms, in each precision; the time for
2,000 models of all epochs is extrapolated from it. The peak is that of one large product in the
same precision, in the same run. Without a GPU the same code runs in miniature, on a CPU.
"""

import os
import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch

from benchsuite.data import Dataset
from benchsuite.models import cnn32, mlp, resnet9
from benchsuite.shadows import calibration, train_shadows
from benchsuite.shadows.execution import exact_on_cuda
from benchsuite.subject import Subject
from benchsuite.training import Recipe
from benchsuite.training.flop import flop_per_example

pytestmark = pytest.mark.benchmark(group="training")

ON_CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() and os.environ.get("REQUIRE_GPU") != "1",
        reason="needs CUDA",
    ),
]


@dataclass(frozen=True)
class Job:
    """A paper's training.

    Attributes:
        model: makes one.
        shape: of an image.
        examples: in the pool.
        share: of them that a model is trained on.
        recipe: for all of its epochs.
        models: trained here, a block.
    """

    model: partial
    shape: tuple[int, ...]
    examples: int
    share: float
    recipe: Recipe
    models: int

    def subject(self, name: str, examples: int) -> Subject:
        """With random images, for one epoch."""
        rng = np.random.default_rng(0)
        channels, height, width = self.shape
        images = rng.integers(0, 256, (examples, height, width, channels), dtype=np.uint8)
        pool = Dataset(images, rng.integers(0, 10, examples), name=f"random-{name}")
        recipe = replace(self.recipe, epochs=1)
        return Subject(name, pool, pool.subset(range(20)), self.model, recipe, self.share)


JOBS = {
    # Feldman and Zhang's demo
    "mnist-mlp": Job(
        partial(mlp, 784, (512, 256), 10),
        (1, 28, 28),
        60_000,
        0.7,
        Recipe(epochs=10, batch_size=128),
        80,
    ),
    "mnist-cnn32": Job(
        cnn32, (1, 28, 28), 60_000, 0.7, Recipe(epochs=20, batch_size=128, learning_rate=0.05), 80
    ),
    "cifar10-resnet9": Job(
        resnet9, (3, 32, 32), 50_000, 0.5, Recipe(epochs=24, batch_size=512, learning_rate=0.1), 64
    ),
}


def peak(device: str, precision: str) -> float:
    """TFLOP/s of one large product."""
    size = 8192 if device == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    first, second = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(first)

    def seconds(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(first, second, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    with exact_on_cuda(device, precision):
        seconds(3)
        return 20 * 2 * size**3 / seconds(20) / 1e12


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        pytest.param("cuda", "float32", marks=ON_CUDA),
        pytest.param("cuda", "tf32", marks=ON_CUDA),
        pytest.param("cuda", "bf16", marks=ON_CUDA),
        ("cpu", "bf16"),
    ],
)
@pytest.mark.parametrize("name", JOBS)
def test_a_paper_s_job(benchmark, tmp_path, capsys, monkeypatch, name, device, precision):
    job, told = JOBS[name], []
    examples = job.examples if device == "cuda" else 20
    subject = job.subject(name, examples)
    rate = peak(device, precision)

    # Calibrated as for the whole job, of which this is a small part.
    monkeypatch.setattr(calibration, "WORTH_SECONDS", 0.0 if device == "cuda" else float("inf"))

    def fill(folder):
        return train_shadows(
            subject,
            job.models,
            folder=folder,
            device=device,
            precision=precision,
            columns=["test.correct"],
            say=told.append,
        )

    bank = benchmark.pedantic(fill, args=(tmp_path,), rounds=1)
    members = round(examples * job.share)
    flop = flop_per_example(job.model, job.shape)
    assert flop is not None
    per_model = flop * members
    speed = job.models / bank.fill.seconds
    achieved = speed * per_model / 1e12
    whole = job.recipe.epochs * job.examples / examples
    minutes = 2_000 / speed * whole / 60
    benchmark.extra_info |= {
        "device": device,
        "models": job.models,
        "examples": examples,
        "epochs": 1,
        "execution": str(bank.execution),
        "gflop_per_second": round(achieved * 1e3, 1),
        "peak_gflop_per_second": round(rate * 1e3, 1),
        "share_of_peak": round(achieved / rate, 4),
        "calibration": told,
    }
    says = f"\n{name} on {device}, {bank.execution}: {achieved:.3g} TFLOP/s, of {rate:.3g}"
    if device == "cuda":  # a miniature says nothing of the whole
        benchmark.extra_info |= {
            "subject": name,
            "models_per_second": {str(bank.execution): float(f"{speed / whole:.4g}")},
            "minutes_for_2000_models": float(f"{minutes:.4g}"),
        }
        says += (
            f" ({achieved / rate:.0%}); {speed / whole:.3g} models/s of {job.recipe.epochs} "
            f"epochs, so 2,000 of them would take {minutes:.3g} min"
        )
    with capsys.disabled():
        print(says)
    assert bank.fill.models_trained == job.models
    assert achieved < rate
