import tracemalloc
from importlib import import_module

import numpy as np
import pytest

from benchsuite.memorization import privacy_influence, top_influences
from benchsuite.shadows.design import Balanced

MODULE = import_module("benchsuite.memorization.privacy_influence")  # not the function of that name


def simulated(models=60, examples=30, targets=21, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((models, targets)) < 0.7, rng.random((models, examples)) < 0.4


def naive(success, membership):
    estimate = np.empty((membership.shape[1], success.shape[1]))
    stderr = np.empty_like(estimate)
    for x in range(membership.shape[1]):
        without = ~membership[:, x]
        for target in range(success.shape[1]):
            hits = success[without, target]
            estimate[x, target] = hits.mean()
            share = (hits.sum() + 1) / (len(hits) + 2)
            stderr[x, target] = np.sqrt(share * (1 - share) / (len(hits) + 2))
    return estimate, stderr


def naive_top(estimate, targets, k):
    columns = []
    for t in targets:
        others = [x for x in range(len(estimate)) if x != t]
        columns.append(sorted(others, key=lambda x: (-np.float32(estimate[x, t]), x))[:k])
    return np.array(columns).T


def masked(models=1024, examples=40, seed=0):
    """Examples 3 and 17 mask each other: the attack on one is better without the other."""
    rng = np.random.default_rng(seed)
    membership = Balanced(examples, seed=seed).rows(0, models)
    p = np.full(membership.shape, 0.6)
    p[:, 3] = np.where(membership[:, 17], 0.5, 0.9)
    p[:, 17] = np.where(membership[:, 3], 0.5, 0.9)
    return rng.random(membership.shape) < p, membership


def test_equals_a_loop_over_pairs():
    success, membership = simulated()
    got = privacy_influence(success, membership)
    estimate, stderr = naive(success, membership)
    assert got.estimate.dtype == got.stderr.dtype == np.float32
    np.testing.assert_allclose(got.estimate, estimate, atol=1e-6)
    np.testing.assert_allclose(got.stderr, stderr, rtol=1e-5)


def test_top_influences_equal_a_loop_over_targets():
    success, membership = simulated(models=40, targets=30)  # few models: many ties
    targets = [29, 4, 4, 0]
    estimate, _ = naive(success, membership)
    got = top_influences(success, membership, targets, k=12)
    np.testing.assert_array_equal(got, naive_top(estimate, targets, 12))


def test_removing_the_example_that_masks_a_target_stands_out():
    success, membership = masked()
    top = top_influences(success, membership, [3, 17, 8], k=5)
    assert top.shape == (5, 3)
    assert (top[0, 0], top[0, 1]) == (17, 3)
    influence = privacy_influence(success, membership)
    assert influence.estimate[17, 3] == pytest.approx(0.9, abs=4 * float(influence.stderr[17, 3]))
    others = np.delete(influence.estimate[:, 3], [3, 17])
    assert others.max() < 0.8


def test_a_target_never_masks_itself():
    success, membership = simulated(models=50, targets=30)
    success[:, 5] = ~membership[:, 5]  # right exactly without itself
    top = top_influences(success, membership, np.arange(30), k=29)
    np.testing.assert_array_equal(np.sort(np.vstack([top, np.arange(30)]), axis=0)[:, 5], range(30))


def test_models_that_hold_the_example_do_not_count():
    success, membership = simulated()
    other = np.where(membership[:, [7]], ~success, success)
    got, same = privacy_influence(other, membership), privacy_influence(success, membership)
    np.testing.assert_array_equal(got.estimate[7], same.estimate[7])
    assert not np.array_equal(got.estimate[8], same.estimate[8])


@pytest.mark.parametrize("pairs", [1, 100, 700])
def test_does_not_depend_on_the_size_of_a_block(monkeypatch, pairs):
    success, membership = simulated(targets=30)
    whole = privacy_influence(success, membership)
    top = top_influences(success, membership, np.arange(30), 6)
    monkeypatch.setattr(MODULE, "_PAIRS_PER_BLOCK", pairs)
    blocked = privacy_influence(success, membership)
    np.testing.assert_array_equal(blocked.estimate, whole.estimate)
    np.testing.assert_array_equal(blocked.stderr, whole.stderr)
    np.testing.assert_array_equal(top_influences(success, membership, np.arange(30), 6), top)


def test_an_example_that_is_never_in_may_be_removed():
    success, membership = simulated()
    membership[:, 2] = False
    got = privacy_influence(success, membership).estimate[2]
    np.testing.assert_allclose(got, success.mean(axis=0), atol=1e-6)


def test_memory_is_bounded_beside_the_result(monkeypatch):
    monkeypatch.setattr(MODULE, "_PAIRS_PER_BLOCK", 2**19)
    success, membership = simulated(models=24, examples=4000, targets=4000)
    pairs = 4 * 4000 * 4000
    tracemalloc.start()
    try:
        top_influences(success, membership, np.arange(4000), k=2)
        streamed = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        privacy_influence(success, membership)
        whole = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert streamed < 0.5 * pairs
    assert whole < 2.4 * pairs


@pytest.mark.parametrize(
    ("success", "membership", "message"),
    [
        (np.eye(3, dtype=bool), np.eye(4, dtype=bool), "success has 3 models and membership has 4"),
        (np.eye(3) - 0.1, np.eye(3, dtype=bool), "success has dtype float64 .* from -0.1 to 0.9"),
        (2 * np.eye(3, dtype=int), np.eye(3, dtype=bool), "success has dtype int64 .* from 0 to 2"),
        (np.ones(3, dtype=bool), np.eye(3, dtype=bool), r"success has shape \[3\]"),
        (np.eye(3, dtype=bool), np.eye(3), "membership has dtype float64"),
        (np.eye(3, dtype=bool), np.ones((3, 2), bool), "example 0 is OUT for 0 of 3 models"),
    ],
)
def test_bad_input_is_named(success, membership, message):
    with pytest.raises(ValueError, match=message):
        privacy_influence(success, membership)


@pytest.mark.parametrize(
    ("targets", "k", "message"),
    [
        ([3], 1, "targets holds 3, expected positions from 0 to 2"),
        ([-1], 1, "targets holds -1"),
        ([0.5], 1, "targets has dtype float64"),
        ([0], 3, "k is 3, expected 1 to 2"),
        ([0], 0, "k is 0"),
    ],
)
def test_bad_targets_are_named(targets, k, message):
    with pytest.raises(ValueError, match=message):
        top_influences(np.eye(3, dtype=bool), np.eye(3, dtype=bool), targets, k)


def test_targets_must_be_examples_of_the_pool():
    with pytest.raises(ValueError, match=r"success has shape \[60, 21\] and membership has shape"):
        top_influences(*simulated(), targets=[0], k=1)


def test_zeros_and_ones_serve_as_bools():
    success, membership = simulated()
    whole = privacy_influence(success, membership)
    np.testing.assert_array_equal(
        privacy_influence(success.astype(int), membership.astype(int)).estimate, whole.estimate
    )
