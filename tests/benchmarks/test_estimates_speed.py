"""Estimates on 2,000 models x 60,000 examples: within 30 s and 8 GB, the inputs included."""

import time
import tracemalloc

import numpy as np
import pytest

from benchsuite.attacks import advantage, attack_success_rate, lira, privacy_score
from benchsuite.memorization import cross_influence, label_memorization
from benchsuite.shadows.design import Balanced
from benchsuite.stats.roc import auroc, tpr_at_fpr

MODELS, EXAMPLES, TESTS, TARGETS = 2_000, 60_000, 2_000, 64
SECONDS, GIGABYTES = 30, 8

pytestmark = pytest.mark.benchmark(group="estimates")


@pytest.fixture(scope="module")
def matrices():
    """Confidence float32, correctness and membership; counts are uneven once targets are out."""
    membership = Balanced(EXAMPLES).rows(0, MODELS)
    confidence = np.random.default_rng(0).standard_normal((MODELS, EXAMPLES), dtype=np.float32)
    confidence += membership
    return confidence, confidence > 0, membership


def run_within_bounds(benchmark, measure, *inputs):
    """Run once; the peak counts what the call allocates (tracemalloc) and its inputs."""

    def once():
        tracemalloc.start()
        started = time.perf_counter()
        result = measure(*inputs)
        seconds = time.perf_counter() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result, seconds, (peak + sum(array.nbytes for array in inputs)) / 1e9

    result, seconds, gigabytes = benchmark.pedantic(once, rounds=1)
    benchmark.extra_info |= {
        "models": MODELS,
        "examples": EXAMPLES,
        "peak_gigabytes": round(gigabytes, 2),
    }
    assert seconds < SECONDS
    assert gigabytes < GIGABYTES
    return result


@pytest.mark.parametrize("variant", ["paper/online", "tf-privacy/online", "residual-fixed"])
def test_lira(benchmark, matrices, variant):
    confidence, _, membership = matrices
    scores = run_within_bounds(
        benchmark,
        lambda c, m: lira(c, m, np.arange(TARGETS), variant),
        confidence,
        membership,
    )
    assert scores.shape == (TARGETS, EXAMPLES)
    members = membership[:TARGETS]
    assert scores[members].mean() - scores[~members].mean() == pytest.approx(1, abs=0.05)


def test_label_memorization(benchmark, matrices):
    _, correct, membership = matrices
    got = run_within_bounds(benchmark, label_memorization, correct, membership)
    assert got.estimate.mean() == pytest.approx(0.3413, abs=1e-3)  # Phi(1) - Phi(0)


def test_privacy_score(benchmark, matrices):
    confidence, _, membership = matrices
    score = run_within_bounds(benchmark, privacy_score, confidence, membership)
    assert score.mean() == pytest.approx(0.5, abs=0.01)


def test_success_rate_and_advantage(benchmark, matrices):
    confidence, _, membership = matrices
    rate, gain = run_within_bounds(
        benchmark,
        lambda c, m: (attack_success_rate(c, m, 0.5), advantage(c, m, 0.5)),
        confidence,
        membership,
    )
    assert 2 * rate.mean() - 1 == pytest.approx(gain.mean(), abs=1e-3)


def test_auroc_of_all_scores(benchmark, matrices):
    confidence, _, membership = matrices
    area = run_within_bounds(benchmark, auroc, confidence, membership)
    assert area == pytest.approx(0.76025, abs=1e-3)  # Phi(1 / sqrt(2))


def test_tpr_at_a_low_fpr_of_all_scores(benchmark, matrices):
    confidence, _, membership = matrices
    low = run_within_bounds(benchmark, lambda c, m: tpr_at_fpr(c, m, 1e-3), confidence, membership)
    assert low.tpr == pytest.approx(0.01830, abs=1e-3)  # Phi(1 - 3.0902)
    assert low.non_members == MODELS * EXAMPLES // 2


def test_cross_influence_on_2000_test_examples(benchmark, matrices):
    _, correct, membership = matrices
    got = run_within_bounds(benchmark, cross_influence, correct[:, :TESTS], membership)
    assert got.estimate.shape == (EXAMPLES, TESTS)
    assert got.estimate.diagonal().mean() == pytest.approx(0.3413, abs=5e-3)


def test_a_block_of_a_balanced_design(benchmark):
    rows = benchmark(lambda: Balanced(EXAMPLES).rows(0, 64))
    assert set(rows.sum(axis=1)) == {EXAMPLES // 2}
    assert benchmark.stats.stats.median < 0.2
