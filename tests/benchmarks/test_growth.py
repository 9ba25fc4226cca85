"""How cost grows: from 64 to 4,096 models, and from 256 to 16,384 examples.

Each point fills an empty bank with `train_shadows`, then estimates memorization and attacks 32
target models with LiRA. The subject is digits-mlp for a fifth of its epochs, which keeps all points
together near two minutes on 2 cores; growth is in the counts, and epochs multiply training.
"""

import shutil
import statistics
import time
from dataclasses import replace

import numpy as np
import pytest

from benchsuite.attacks import lira
from benchsuite.data import Dataset
from benchsuite.memorization import label_memorization
from benchsuite.shadows import train_shadows
from benchsuite.stats.roc import auroc
from benchsuite.subject import load_subject
from tests.benchmarks.measured import arithmetic, highest, matrix_rates

pytestmark = pytest.mark.benchmark(group="growth")

DIGITS = load_subject("digits-mlp")
EPOCHS, TARGETS = 10, 32
SUBJECT = replace(DIGITS, name="digits-mlp-10-epochs", recipe=replace(DIGITS.recipe, epochs=EPOCHS))
MODELS = 256  # of the growth with the examples
SAYS = f"digits-mlp for {EPOCHS} instead of {DIGITS.recipe.epochs} epochs"


def resampled(examples):
    """A pool of any size: digits drawn with replacement, each with noise of its own."""
    rng = np.random.default_rng(examples)
    drawn = DIGITS.pool.subset(rng.integers(len(DIGITS.pool), size=examples))
    noisy = drawn.images + rng.normal(0, 16, drawn.images.shape)
    images = np.clip(noisy, 0, 255).astype(drawn.images.dtype)
    return Dataset(images, drawn.labels, name="digits-resampled")


@pytest.fixture(scope="module")
def peak(tmp_path_factory):
    """GFLOP/s of the machine; worker processes are started too, which larger banks would have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchsuite.shadows.local.WORTH_PROCESSES", 0)
        train_shadows(SUBJECT, 512, folder=tmp_path_factory.mktemp("warm"), device="cpu")
    return highest(matrix_rates(SUBJECT))


def cost(benchmark, folder, peak, subject, models, grows, says):
    """Time one point and note it; small ones more than once, for the median."""
    training, estimates, rounds = [], [], 3 if models * len(subject.pool) < 2e6 else 1

    def fresh():
        return (folder / str(len(training)),), {}

    def once(bank_folder):
        started = time.perf_counter()
        bank = train_shadows(subject, models, folder=bank_folder, device="cpu")
        trained = time.perf_counter()
        memorization = label_memorization(bank.column("pool", "correct"), bank.membership)
        confidence = bank.column("pool", "confidence")
        scores = lira(confidence, bank.membership, np.arange(TARGETS))
        training.append(trained - started)
        estimates.append(time.perf_counter() - trained)
        return bank.fill.models_trained, memorization, auroc(scores, bank.membership[:TARGETS])

    trained, memorization, area = benchmark.pedantic(
        once, setup=fresh, teardown=shutil.rmtree, rounds=rounds
    )
    speed = models / statistics.median(training)
    benchmark.extra_info |= {
        "grows": grows,
        "says": says,
        "models": models,
        "examples": len(subject.pool),
        "seconds": {
            "training": round(statistics.median(training), 4),
            "estimates": round(statistics.median(estimates), 4),
        },
        "models_per_second": round(speed, 2),
        **arithmetic(subject, speed, peak),
    }
    assert trained == models
    assert memorization.estimate.mean() > 0  # what is timed tells members from others
    assert area > 0.5


@pytest.mark.parametrize("models", [64, 128, 256, 512, 1024, 2048, 4096])
def test_cost_of_models(benchmark, tmp_path, peak, models):
    says = f"{SAYS}, {len(SUBJECT.pool):,} examples"
    cost(benchmark, tmp_path, peak, SUBJECT, models, "models", says)


@pytest.mark.parametrize("examples", [256, 512, 1024, 2048, 4096, 8192, 16384])
def test_cost_of_examples(benchmark, tmp_path, peak, examples):
    subject = replace(SUBJECT, name=f"digits-resampled-{examples}", pool=resampled(examples))
    says = f"{SAYS}, {MODELS} models, digits drawn with replacement and noise added"
    cost(benchmark, tmp_path, peak, subject, MODELS, "examples", says)
