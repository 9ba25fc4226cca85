import numpy as np
import pytest

from benchsuite.memorization import cross_influence, influence, label_memorization
from benchsuite.shadows.design import Balanced


def simulated(models=96, examples=30, tests=21, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((models, tests)) < 0.7, rng.random((models, examples)) < 0.4


def naive(correct, membership):
    influence = np.empty((membership.shape[1], correct.shape[1]))
    for i in range(membership.shape[1]):
        inside = membership[:, i]
        for j in range(correct.shape[1]):
            influence[i, j] = correct[inside, j].mean() - correct[~inside, j].mean()
    return influence


def test_equals_a_loop_over_pairs():
    correct, membership = simulated()
    got = cross_influence(correct, membership)
    assert got.estimate.dtype == got.stderr.dtype == np.float32
    np.testing.assert_allclose(got.estimate, naive(correct, membership), atol=1e-6)


def test_standard_error_is_that_of_label_memorization():
    correct, membership = simulated()
    got = cross_influence(correct, membership)
    for j in range(correct.shape[1]):
        same = np.repeat(correct[:, [j]], membership.shape[1], axis=1)
        expected = label_memorization(same, membership)
        np.testing.assert_allclose(got.estimate[:, j], expected.estimate, atol=1e-6)
        np.testing.assert_allclose(got.stderr[:, j], expected.stderr, rtol=1e-5)


def test_of_the_pool_on_itself_has_label_memorization_on_the_diagonal():
    _, membership = simulated(examples=25)
    correct = np.random.default_rng(1).random(membership.shape) < 0.5 + 0.4 * membership
    np.testing.assert_allclose(
        np.diag(cross_influence(correct, membership).estimate),
        label_memorization(correct, membership).estimate,
        atol=1e-6,
    )


def test_finds_the_one_pair_that_was_planted():
    membership = Balanced(40, seed=2).rows(0, 512)
    correct = np.random.default_rng(2).random((512, 10)) < 0.5
    correct[:, 3] = membership[:, 17]  # the test image is right exactly when its twin was IN
    got = cross_influence(correct, membership)
    assert np.unravel_index(got.estimate.argmax(), got.estimate.shape) == (17, 3)
    assert got.estimate[17, 3] == 1
    z = np.delete(got.estimate / got.stderr, 3, axis=1)
    assert np.abs(z).max() < 4.5
    assert z.std() == pytest.approx(1, abs=0.15)


def test_is_zero_on_average_when_membership_is_permuted():
    correct, membership = simulated(models=256)
    shuffled = np.random.default_rng(5).permuted(membership, axis=0)
    assert abs(cross_influence(correct, shuffled).estimate.mean()) < 0.02


@pytest.mark.parametrize("pairs", [1, 100, 700])
def test_does_not_depend_on_the_size_of_a_block(monkeypatch, pairs):
    correct, membership = simulated()
    whole = cross_influence(correct, membership)
    monkeypatch.setattr(influence, "_PAIRS_PER_BLOCK", pairs)
    blocked = cross_influence(correct, membership)
    np.testing.assert_array_equal(blocked.estimate, whole.estimate)
    np.testing.assert_array_equal(blocked.stderr, whole.stderr)


def test_float32_counts_stay_exact_for_many_models():
    correct = np.ones((40_001, 1), dtype=bool)
    membership = np.zeros((40_001, 1), dtype=bool)
    membership[:3] = True
    correct[-1] = False
    got = cross_influence(correct, membership).estimate[0, 0]
    assert got == np.float32(1) - np.float32(39_997) / np.float32(39_998)


@pytest.mark.parametrize(
    ("correct", "membership", "message"),
    [
        (np.eye(3, dtype=bool), np.eye(4, dtype=bool), "correct_on_test has 3 models and mem.* 4"),
        (np.eye(3), np.eye(3, dtype=bool), "correct_on_test has dtype float64, expected bool"),
        (np.ones(3, dtype=bool), np.eye(3, dtype=bool), r"correct_on_test has shape \[3\]"),
        (np.eye(3, dtype=bool), np.ones((3, 2), dtype=bool), "example 0 is OUT for 0 of 3 models"),
        (np.eye(3, dtype=bool), np.zeros((3, 2), dtype=bool), "example 0 is IN for 0 of 3 models"),
    ],
)
def test_bad_input_is_named(correct, membership, message):
    with pytest.raises(ValueError, match=message):
        cross_influence(correct, membership)
