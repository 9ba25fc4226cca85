"""A bank of 1,600 models x 5,000 examples x 10 logits, 320 MB: written, resumed, read, streamed.

The models are so small that the bank is what is measured. `large_banks.py` beside this file does
the same at the sizes that banks are made for.
"""

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchsuite import ShadowBank, label_memorization, train_shadows
from tests.benchmarks.large_banks import BLOCK, CLASSES, forget_peak, peak, subject

MODELS, EXAMPLES = 20 * BLOCK, 5_000
SIZE = MODELS * EXAMPLES * CLASSES * 4
MEMORY = SIZE // 20
"""Bytes of a block that is streamed."""

pytestmark = [
    pytest.mark.benchmark(group="bank"),
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from /proc"
    ),
]
SUBJECT = subject("bank-speed", EXAMPLES)
fill = partial(train_shadows, SUBJECT, columns=["pool.logits"], device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("banks")


@pytest.fixture(scope="module")
def written(folder):
    """The bank that `test_write` wrote, or another where that was left out."""
    return fill(MODELS, folder=folder)


def test_write(benchmark, folder):
    fill(BLOCK, folder=folder / "what is imported first")
    forget_peak()
    before = peak("self")
    bank = benchmark.pedantic(lambda: fill(MODELS, folder=folder), rounds=1)
    grown, seconds = peak("self") - before, bank.fill.seconds
    size = sum(path.stat().st_size for path in bank.folder.glob("*.safetensors"))
    benchmark.extra_info |= {
        "gigabytes": round(size / 1e9, 3),
        "models_per_second": round(MODELS / seconds, 1),
        "megabytes_per_second": round(size / seconds / 1e6, 1),
        "peak_gigabytes": round(grown, 3),
    }
    assert bank.fill.models_trained == MODELS
    assert grown < SIZE / 1e9 * 0.75  # the shards in flight, not the bank


def test_resume(benchmark, written, folder):
    again = benchmark(lambda: fill(MODELS, folder=folder))
    assert again.fill.models_trained == 0
    benchmark.extra_info["models_per_second"] = round(MODELS / benchmark.stats.stats.median)


def whole(bank):
    return bank.column("pool", "logits").nbytes


def blocks(bank):
    return sum(values.nbytes for _, values in bank.blocks("pool", "logits", memory=MEMORY))


def one_in_a_hundred(bank):
    return bank.column("pool", "logits", examples=np.arange(0, EXAMPLES, 100)).nbytes


def memorization(bank):
    estimate = np.empty(EXAMPLES)
    for examples, said in bank.blocks("pool", "logits", memory=MEMORY):
        correct = said.argmax(axis=2) == SUBJECT.pool.labels[examples]
        inside = bank.membership_of(examples)
        estimate[examples] = label_memorization(correct, inside).estimate
    assert -0.1 < estimate.mean() < 0.1
    return SIZE


@pytest.mark.parametrize("checked", [False, True], ids=["first", "again"])
@pytest.mark.parametrize(
    ("read", "expected", "bound"),
    [
        (whole, SIZE, 1.1 * SIZE),
        (blocks, SIZE, 2.5 * MEMORY),
        (one_in_a_hundred, SIZE // 100, 0.1 * SIZE),
        (memorization, SIZE, 4 * MEMORY),
    ],
    ids=["whole", "blocks", "one in a hundred", "memorization"],
)
def test_column(benchmark, written, read, expected, bound, checked):
    """The first read of an opened bank checks the digests of all its values, those after do not."""

    def opened():
        bank = ShadowBank.open(written.folder)
        if checked:
            bank.column("pool", "logits", examples=[0])
        return (bank,), {}

    got = benchmark.pedantic(read, setup=opened, rounds=3)
    assert got == expected
    (bank,), _ = opened()
    tracemalloc.start()
    read(bank)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    benchmark.extra_info |= {
        "megabytes_per_second": round(SIZE / benchmark.stats.stats.median / 1e6),
        "peak_gigabytes": round(most / 1e9, 3),
    }
    assert most < bound
