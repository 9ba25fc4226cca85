"""All attacks on 512 models x 60,000 examples x 10 classes, 32 of the models being targets.

Together within 60 s, and the process within 8 GB at its peak, the logits (1.2 GB) included.
"""

import resource
import sys
import time

import numpy as np
import pytest

from benchsuite.attacks import ATTACKS, Observations
from benchsuite.shadows.design import Balanced
from benchsuite.stats.roc import auroc

MODELS, EXAMPLES, CLASSES, TARGETS = 512, 60_000, 10, 32
SECONDS, GIGABYTES = 60, 8

pytestmark = pytest.mark.benchmark(group="attacks")


@pytest.fixture(scope="module")
def arrays():
    """Logits float32 (1.2 GB), written model by model; a member's true logit is higher by one."""
    rng = np.random.default_rng(0)
    membership = Balanced(EXAMPLES).rows(0, MODELS)
    labels = rng.integers(0, CLASSES, EXAMPLES)
    logits = np.empty((MODELS, EXAMPLES, CLASSES), dtype=np.float32)
    for model, inside in zip(logits, membership, strict=True):
        rng.standard_normal(out=model, dtype=np.float32)
        model[np.arange(EXAMPLES), labels] += 3 + inside
    return {"labels": labels, "membership": membership, "logits": logits}


def test_all_attacks(benchmark, arrays):
    targets = np.arange(TARGETS)
    members = arrays["membership"][:TARGETS]
    seconds = {}

    def timed(name, call):
        started = time.perf_counter()
        result = call()
        seconds[name] = round(time.perf_counter() - started, 2)
        return result

    def once():
        observed = timed("checks", lambda: Observations(**arrays))
        timed("confidence and loss", lambda: observed.loss)
        return {
            name: timed(name, lambda attack=attack: attack(observed, targets))
            for name, attack in ATTACKS.items()
        }

    scores = benchmark.pedantic(once, rounds=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # tracemalloc doubles Shokri's time
    gigabytes = peak / (1e9 if sys.platform == "darwin" else 1e6)
    benchmark.extra_info |= {
        "models": MODELS,
        "examples": EXAMPLES,
        "seconds": seconds,
        "peak_gigabytes": round(gigabytes, 2),
    }
    for name, score in scores.items():
        assert score.shape == (TARGETS, EXAMPLES)
        assert auroc(score, members) > 0.7, name
    assert sum(seconds.values()) < SECONDS
    assert gigabytes < GIGABYTES
