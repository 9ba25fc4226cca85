import numpy as np
import pytest
from scipy.stats import binom

from benchsuite.memorization import label_memorization
from benchsuite.shadows.design import Balanced


def naive(correct, membership):
    estimates = []
    for example in range(correct.shape[1]):
        right_in = [
            c for c, m in zip(correct[:, example], membership[:, example], strict=True) if m
        ]
        right_out = [
            c for c, m in zip(correct[:, example], membership[:, example], strict=True) if not m
        ]
        estimates.append(sum(right_in) / len(right_in) - sum(right_out) / len(right_out))
    return np.array(estimates)


def simulate(models, p_in, p_out, seed=0):
    membership = Balanced(len(p_in), seed=seed).rows(0, models)
    chance = np.where(membership, p_in, p_out)
    return np.random.default_rng(seed).random(chance.shape) < chance, membership


def test_equals_a_loop_over_examples():
    rng = np.random.default_rng(1)
    correct, membership = rng.random((37, 50)) < 0.6, rng.random((37, 50)) < 0.3
    np.testing.assert_allclose(
        label_memorization(correct, membership).estimate, naive(correct, membership), atol=1e-15
    )


def test_recovers_the_memorization_that_was_planted_within_its_standard_errors():
    rng = np.random.default_rng(2)
    p_in, p_out = rng.uniform(0.05, 1, 400), rng.uniform(0, 0.95, 400)
    got = label_memorization(*simulate(512, p_in, p_out))
    z = (got.estimate - (p_in - p_out)) / got.stderr
    assert np.abs(z).max() < 4.5
    assert z.std() == pytest.approx(1, abs=0.1)


def test_standard_error_of_an_even_example_is_the_worst_case_one():
    correct, membership = simulate(2048, np.full(10, 0.5), np.full(10, 0.5))
    worst = np.sqrt(0.25 / 1024 + 0.25 / 1024)
    np.testing.assert_allclose(label_memorization(correct, membership).stderr, worst, rtol=0.01)
    assert worst == pytest.approx(0.022, abs=1e-3)


def test_standard_error_is_not_zero_where_few_models_all_agree():
    membership = np.repeat([[True], [False]], 4, axis=0)
    got = label_memorization(membership, membership)
    assert got.estimate[0] == 1
    assert got.stderr[0] == pytest.approx(np.sqrt(2 * (5 / 6) * (1 / 6) / 6))


@pytest.mark.parametrize(("n", "least", "plain_least"), [(16, 0.89, 0.33), (64, 0.93, 0.80)])
def test_intervals_of_1_96_standard_errors_cover_exactly_as_promised(n, least, plain_least):
    # Every outcome of n IN and n OUT models is passed once, then weighted by its probability.
    hits = np.arange(n + 1)
    right_in, right_out = (a.ravel() for a in np.meshgrid(hits, hits, indexing="ij"))
    model = np.arange(n)[:, None]
    correct = np.concatenate([model < right_in, model < right_out])
    membership = np.repeat([True, False], n)[:, None] & np.ones(correct.shape, dtype=bool)
    got = label_memorization(correct, membership)
    plain = np.sqrt(
        sum(right / n * (1 - right / n) / n for right in (right_in, right_out)).clip(min=1e-12)
    )
    grid = np.linspace(0, 1, 41)
    chance = binom.pmf(hits[:, None], n, grid)
    coverage, plain_coverage = [], []
    for a in range(41):
        for b in range(41):
            weight = np.outer(chance[:, a], chance[:, b]).ravel()
            error = np.abs(got.estimate - (grid[a] - grid[b]))
            coverage.append(weight[error <= 1.96 * got.stderr].sum())
            plain_coverage.append(weight[error <= 1.96 * plain].sum())
    assert min(coverage) >= least
    assert np.mean(coverage) == pytest.approx(0.945, abs=0.01)
    assert min(plain_coverage) == pytest.approx(plain_least, abs=0.01)  # why it is corrected


def test_mean_is_train_accuracy_minus_accuracy_on_the_examples_left_out():
    correct, membership = simulate(128, np.linspace(0.5, 1, 60), np.linspace(0, 0.9, 60))
    gap = correct[membership].mean() - correct[~membership].mean()
    assert label_memorization(correct, membership).estimate.mean() == pytest.approx(gap)


def test_is_zero_on_average_when_membership_is_permuted():
    correct, membership = simulate(256, np.ones(500), np.zeros(500))
    shuffled = np.random.default_rng(3).permuted(membership, axis=0)
    got = label_memorization(correct, shuffled)
    assert abs(got.estimate.mean()) < 4 * 0.0625 / np.sqrt(500)
    assert label_memorization(correct, membership).estimate.min() == 1


def test_swapping_in_and_out_negates_it_and_keeps_the_error():
    correct, membership = simulate(64, np.linspace(0.5, 1, 20), np.full(20, 0.3))
    got, swapped = (label_memorization(correct, m) for m in (membership, ~membership))
    np.testing.assert_array_equal(got.estimate, -swapped.estimate)
    np.testing.assert_allclose(got.stderr, swapped.stderr)


def test_follows_the_order_of_the_examples():
    correct, membership = simulate(64, np.linspace(0.5, 1, 20), np.full(20, 0.3))
    order = np.random.default_rng(0).permutation(20)
    got = label_memorization(correct, membership)
    moved = label_memorization(correct[:, order], membership[:, order])
    np.testing.assert_array_equal(moved.estimate, got.estimate[order])
    np.testing.assert_array_equal(moved.stderr, got.stderr[order])


def test_zeros_and_ones_do_as_well_as_bools():
    correct, membership = simulate(64, np.linspace(0.5, 1, 20), np.full(20, 0.3))
    got = label_memorization(correct.astype(np.uint8), membership.astype(int))
    expected = label_memorization(correct, membership)
    np.testing.assert_array_equal(got.estimate, expected.estimate)


GOOD = np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)


@pytest.mark.parametrize(
    ("correct", "membership", "message"),
    [
        (GOOD[:2], ~GOOD, r"correct has shape \[2, 2\] and membership has shape \[3, 2\]"),
        (GOOD[0], GOOD, r"correct has shape \[2\], expected two axes"),
        (np.empty((0, 2), dtype=bool), GOOD, r"correct has shape \[0, 2\], expected two axes"),
        (GOOD * 0.5, GOOD, "correct has dtype float64, expected bool"),
        (GOOD * np.nan, GOOD, "correct has dtype float64, expected bool"),
        (GOOD * 7, GOOD, "correct holds the value 7, expected only 0 and 1"),
        (GOOD * -1, GOOD, "correct holds the value -1, expected only 0 and 1"),
        (GOOD, GOOD * 0.5, "membership has dtype float64"),
        (GOOD, GOOD & [True, False], r"membership: example 1 is IN for 0 of 3 models \(never IN\)"),
        (GOOD, GOOD | [True, False], r"membership: example 0 is OUT for 0 of 3 models"),
    ],
)
def test_bad_input_is_named(correct, membership, message):
    with pytest.raises(ValueError, match=message):
        label_memorization(correct, membership)
