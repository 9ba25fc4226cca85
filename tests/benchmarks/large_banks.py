"""Fill, resume and read the banks that do not fit in memory, once, and print sizes and times.

    python tests/benchmarks/large_banks.py              # 5 GB, then 6 GB of disk; 20 minutes
    python tests/benchmarks/large_banks.py --part .1    # the same with a tenth of the models

2,000 models x 60,000 examples x 10 logits, and 20,000 models x 50,000 examples of scaled
confidences, of models so small that the bank is what is measured. Peaks are of resident memory,
pages of the bank's files that are mapped included, of this process and, in a fill, of its largest
worker. Needs Linux.
"""

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchsuite import (
    Dataset,
    Recipe,
    ShadowBank,
    Subject,
    attack_success_rate,
    label_memorization,
    lira,
    privacy_score,
    scaled_confidence,
    tpr_at_fpr,
    train_shadows,
)
from benchsuite.models import mlp

FEATURES, CLASSES, SHARE, BLOCK = 8, 10, 0.7, 80
TARGETS = np.arange(64)


def subject(name: str, examples: int) -> Subject:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((examples + 1000, FEATURES), dtype=np.float32)
    noisy = inputs @ rng.standard_normal((FEATURES, CLASSES)) + rng.gumbel(size=(len(inputs), 10))
    every = Dataset(inputs, noisy.argmax(axis=1))
    return Subject(
        name,
        every.subset(range(examples)),
        every.subset(range(examples, len(inputs))),
        partial(mlp, FEATURES, 16, CLASSES),
        Recipe(epochs=1, batch_size=2048),
        share=SHARE,
    )


@contextmanager
def measured(what: str, size: float = 0.0) -> Iterator[None]:
    """Print how long it takes, MB/s of a size in bytes, and the peaks meanwhile."""
    forget_peak()
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    rate = f"{size / seconds / 1e6:7,.0f} MB/s" if size else " " * 12
    workers = [peak(child) for child in children()] if what == "fill" else []
    beside = f", a worker's {max(workers):.2f} GB" if workers else ""
    print(f"  {what:54}{seconds:8.1f} s {rate}  peak {peak('self'):.2f} GB{beside}", flush=True)


def forget_peak() -> None:
    """The peak of this process's memory starts anew."""
    Path("/proc/self/clear_refs").write_text("5")


def children() -> list[str]:
    return [
        child
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def peak(process: str) -> float:
    """Of resident memory, in GB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def forget(bank: ShadowBank) -> None:
    """Let the system drop the bank's files from its cache, as if they had been written long ago."""
    for path in bank.folder.glob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def filled(whose: Subject, models: int, columns: list[str], folder: Path) -> ShadowBank:
    print(f"{models:,} models x {len(whose.pool):,} examples: {', '.join(columns)}")
    size = sum(
        models * len(whose.pool) * {"logits": 4 * CLASSES, "confidence": 4, "correct": 1}[what]
        for what in (column.partition(".")[2] for column in columns)
    )
    fill = partial(train_shadows, whose, models, columns=columns, folder=folder, device="cpu")
    with measured("fill", size):
        bank = fill()
    print(f"  {bank.fill.models_trained / bank.fill.seconds:.0f} models/s")
    with measured("resume: the same call again"):
        assert fill().fill.models_trained == 0
    with measured("print(bank)"):
        print("\n".join(f"    {line}" for line in str(bank).splitlines()))
    return ShadowBank.open(bank.folder)  # has checked nothing yet


def read(bank: ShadowBank, what: str) -> None:
    forget(bank)
    with measured(f"{what}, one example of all models, from disk"):
        bank.column("pool", what, examples=[7])
    with measured(f"{what}, one more example"):
        bank.column("pool", what, examples=[8])
    size = bank.column("pool", what, examples=[9]).nbytes * bank.design.examples
    with measured(f"{what}, in blocks of 256 MiB", size):
        assert sum(values.nbytes for _, values in bank.blocks("pool", what)) == size
    with measured(f"{what}, whole", size):
        bank.column("pool", what)


def estimates(bank: ShadowBank, whose: Subject, of: str) -> None:
    """All examples in blocks, of logits or of confidences, and some again as a whole."""
    examples = len(whose.pool)
    memorization, privacy, success = (np.empty(examples) for _ in range(3))
    scores = np.empty((len(TARGETS), examples))
    members = np.empty(scores.shape, np.bool_)
    with measured("memorization, privacy score, ASR, LiRA on 64 targets"):
        for block, values in bank.blocks("pool", of):
            labels, inside = whose.pool.labels[block], bank.membership_of(block)
            correct, confidence = answers(bank, block, values, labels)
            memorization[block] = label_memorization(correct, inside).estimate
            privacy[block] = privacy_score(confidence, inside)
            success[block] = attack_success_rate(confidence, inside)
            scores[:, block] = lira(confidence, inside, TARGETS)
            members[:, block] = inside[TARGETS]
    some = np.random.default_rng(1).choice(examples, 50, replace=False)
    inside = bank.membership_of(some)
    values = bank.column("pool", of, examples=some)
    correct, confidence = answers(bank, some, values, whose.pool.labels[some])
    np.testing.assert_array_equal(memorization[some], label_memorization(correct, inside).estimate)
    np.testing.assert_array_equal(privacy[some], privacy_score(confidence, inside))
    np.testing.assert_array_equal(success[some], attack_success_rate(confidence, inside))
    np.testing.assert_array_equal(scores[:, some], lira(confidence, inside, TARGETS))
    np.testing.assert_array_equal(members, bank.design.rows(0, len(TARGETS)))
    low = tpr_at_fpr(scores, members, 1e-3)
    print(
        f"    memorization {memorization.mean():.4f} on average, TPR {low.tpr:.5f} at an FPR of "
        f"{low.realised_fpr:.5f} over {low.non_members:,} non-members"
    )


def answers(bank: ShadowBank, examples, values, labels):
    """Whether the models are right and how sure they are, from logits or confidences."""
    if values.ndim == 2:
        return bank.column("pool", "correct", examples=examples), values
    sure = np.stack([scaled_confidence(each, labels) for each in values]).astype(np.float32)
    return values.argmax(axis=2) == labels, sure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the banks lie until they are deleted")
    parser.add_argument("--part", type=float, default=1.0, help="of the models, at most 1")
    asked = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    )
    for name, models, examples, columns in (
        ("logits", 2_000, 60_000, ["pool.logits"]),
        ("confidences", 20_000, 50_000, ["pool.confidence", "pool.correct"]),
    ):
        count = max(2, round(models * asked.part / BLOCK)) * BLOCK
        folder = Path(tempfile.mkdtemp(prefix="large-banks-", dir=asked.folder))
        try:
            whose = subject(name, examples)
            bank = filled(whose, count, columns, folder)
            of = columns[0].partition(".")[2]
            read(bank, of)
            estimates(bank, whose, of)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
