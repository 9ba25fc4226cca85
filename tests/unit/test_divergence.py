import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from benchsuite.stats.divergence import (
    gaussian_hellinger_squared,
    gaussian_kl_divergence,
    gaussian_total_variation,
    hellinger_squared,
    kl_divergence,
    total_variation,
)

DISCRETE = [total_variation, hellinger_squared, kl_divergence]
GAUSSIAN = [gaussian_total_variation, gaussian_hellinger_squared, gaussian_kl_divergence]
ATOL = 1e-12

weights = st.floats(0, 1, allow_subnormal=False) | st.sampled_from([0.0, 1e-300, 1e-16, 1.0])
# None so small that a product of a few underflows to 0, which would make KL infinite.
tame_weights = st.floats(1e-60, 1) | st.sampled_from([0.0, 1e-60, 1e-16, 1.0])


@st.composite
def distributions(draw, count=2, outcomes=None, weights=weights):
    """``count`` distributions over the same 2 to 6 outcomes, zeros and certainties included."""
    size = outcomes or draw(st.integers(2, 6))
    lists = st.lists(weights, min_size=size, max_size=size).filter(lambda w: sum(w) > 1e-200)
    return [np.array(w) / sum(w) for w in (draw(lists) for _ in range(count))]


means = st.floats(-5, 5)
deviations = st.floats(0.1, 10)


def gaussian_1d(mean, deviation):
    return [mean], [[deviation**2]]


def product(p, n):
    result = p
    for _ in range(n - 1):
        result = np.kron(result, p)
    return result


@given(distributions())
def test_hellinger_and_total_variation_bound_each_other(pair):
    h2, tv = hellinger_squared(*pair), total_variation(*pair)
    assert 0 <= h2 <= tv + ATOL
    assert tv <= np.sqrt(h2 * (2 - h2)) + ATOL
    assert max(h2, tv) <= 1


@given(distributions())
def test_kl_bounds_the_others(pair):
    kl = kl_divergence(*pair)
    assert total_variation(*pair) ** 2 <= kl / 2 + ATOL  # Pinsker
    assert 2 * hellinger_squared(*pair) <= kl + ATOL


@given(distributions())
def test_total_variation_and_hellinger_are_symmetric(pair):
    p, q = pair
    assert total_variation(p, q) == total_variation(q, p)
    assert hellinger_squared(p, q) == hellinger_squared(q, p)


@given(distributions())
def test_zero_exactly_when_equal(pair):
    p, q = pair
    assert all(divergence(p, p) == 0 for divergence in DISCRETE)
    if np.abs(p - q).max() > 1e-7:
        assert all(divergence(p, q) > 0 for divergence in DISCRETE)


@given(distributions(), st.randoms(use_true_random=False))
def test_relabelling_outcomes_changes_nothing(pair, random):
    order = list(range(len(pair[0])))
    random.shuffle(order)
    for divergence in DISCRETE:
        relabelled = divergence(*(p[order] for p in pair))
        np.testing.assert_allclose(relabelled, divergence(*pair), rtol=1e-12, atol=ATOL)


@given(distributions(weights=tame_weights), st.data())
def test_processing_the_outcome_never_increases_a_divergence(pair, data):
    outcomes = len(pair[0])
    channel = np.array(
        data.draw(distributions(outcomes, outcomes, tame_weights))
    )  # a random outcome for each
    coarse = np.eye(outcomes)[
        data.draw(st.lists(st.integers(0, 1), min_size=outcomes, max_size=outcomes))
    ]
    for transition in (channel, coarse):
        after = [p @ transition for p in pair]
        after = [p / p.sum() for p in after]
        for divergence in DISCRETE:
            assert divergence(*after) <= divergence(*pair) * (1 + 1e-12) + ATOL


@given(distributions(outcomes=3), st.integers(1, 4))
def test_hellinger_of_n_observations_is_a_power(pair, n):
    h2 = hellinger_squared(*(product(p, n) for p in pair))
    np.testing.assert_allclose(1 - h2, (1 - hellinger_squared(*pair)) ** n, atol=ATOL)


@given(distributions(outcomes=3, weights=tame_weights), st.integers(1, 4))
def test_kl_of_n_observations_is_a_sum(pair, n):
    together = kl_divergence(*(product(p, n) for p in pair))
    np.testing.assert_allclose(together, n * kl_divergence(*pair), rtol=1e-9, atol=1e-11)


@given(distributions(count=3))
def test_total_variation_is_a_distance(triple):
    p, q, r = triple
    assert total_variation(p, r) <= total_variation(p, q) + total_variation(q, r) + ATOL


def test_values_known_by_hand():
    p, q = [0.5, 0.5], [1.0, 0.0]
    assert total_variation(p, q) == 0.5
    assert hellinger_squared(p, q) == pytest.approx(1 - np.sqrt(0.5), abs=1e-15)
    assert kl_divergence(q, p) == pytest.approx(np.log(2))
    assert kl_divergence(p, q) == np.inf
    assert [d([1, 0], [0, 1]) for d in DISCRETE] == [1, 1, np.inf]


def test_hellinger_keeps_its_digits_where_distributions_nearly_coincide():
    delta = 1e-9  # 1 - sum sqrt(p q) would be 0 or 1e-16 here
    result = hellinger_squared([0.5 + delta, 0.5 - delta], [0.5, 0.5])
    assert result == pytest.approx(delta**2 / 2, rel=1e-6)


@pytest.mark.parametrize("p1", [0.0, 1e-300, 1e-16, 1 - 1e-16, 1.0])
def test_extreme_probabilities_are_finite_numbers(p1):
    p, q = np.array([1 - p1, p1]), np.array([0.5, 0.5])
    assert total_variation(p, q) == pytest.approx(0.5, abs=1e-12)
    assert hellinger_squared(p, q) == pytest.approx(1 - np.sqrt(0.5), abs=1e-7)
    assert kl_divergence(p, q) == pytest.approx(np.log(2), abs=1e-12)
    backwards = np.inf if 0 in p else -np.log(2) - np.log(p).sum() / 2
    assert kl_divergence(q, p) == pytest.approx(backwards)


@pytest.mark.parametrize("divergence", DISCRETE)
def test_leading_axes_broadcast(divergence):
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), size=(3, 1)), rng.dirichlet(np.ones(4), size=5)
    result = divergence(p, q)
    assert result.shape == (3, 5)
    assert result[2, 4] == divergence(p[2, 0], q[4])


@pytest.mark.parametrize("divergence", DISCRETE)
def test_wrong_distributions_are_named(divergence):
    with pytest.raises(ValueError, match="q: distribution 0 of 1 sums"):
        divergence([0.5, 0.5], [0.5, 0.4])
    with pytest.raises(ValueError, match="p has 2 outcomes and q has 3"):
        divergence([0.5, 0.5], [0.5, 0.5, 0.0])


@pytest.mark.parametrize("d", [0.0, 0.1, 1.0, 4.0, 40.0])
def test_gaussians_of_equal_variance(d):
    pair = (*gaussian_1d(0, 1), *gaussian_1d(d, 1))
    assert gaussian_total_variation(*pair) == pytest.approx(
        2 * stats.norm.cdf(d / 2) - 1, abs=1e-15
    )
    assert gaussian_hellinger_squared(*pair) == pytest.approx(1 - np.exp(-(d**2) / 8), abs=1e-15)
    assert gaussian_kl_divergence(*pair) == pytest.approx(d**2 / 2)


@pytest.mark.parametrize(
    ("mean0", "s0", "mean1", "s1"),
    [
        (0, 1, 1, 1),
        (0, 1, 0, 2),
        (0, 1, 2, 0.5),
        (-3, 0.2, 1, 4),
        (0, 1, 0.1, 1.001),
        (5, 3, 5, 2.9),
    ],
)
def test_closed_forms_equal_numerical_integration(mean0, s0, mean1, s1):
    x = np.linspace(-80, 80, 2_000_001)  # 8e-5 apart, smooth integrands: error below 1e-8
    log0, log1 = stats.norm.logpdf(x, mean0, s0), stats.norm.logpdf(x, mean1, s1)
    p0, p1 = np.exp(log0), np.exp(log1)
    pair = (*gaussian_1d(mean0, s0), *gaussian_1d(mean1, s1))
    tv = integrate.trapezoid(np.abs(p0 - p1), x) / 2
    h2 = integrate.trapezoid((np.sqrt(p0) - np.sqrt(p1)) ** 2, x) / 2
    kl = integrate.trapezoid(p0 * (log0 - log1), x)
    assert gaussian_total_variation(*pair) == pytest.approx(tv, abs=1e-8)
    assert gaussian_hellinger_squared(*pair) == pytest.approx(h2, abs=1e-8)
    assert gaussian_kl_divergence(*pair) == pytest.approx(kl, abs=1e-7)


@given(means, deviations, means, deviations)
def test_gaussian_divergences_bound_each_other(mean0, s0, mean1, s1):
    pair = (*gaussian_1d(mean0, s0), *gaussian_1d(mean1, s1))
    tv, h2, kl = (divergence(*pair) for divergence in GAUSSIAN)
    assert 0 <= h2 <= tv + ATOL
    assert tv <= np.sqrt(h2 * (2 - h2)) + ATOL <= 1 + 2 * ATOL
    assert 2 * h2 <= kl + ATOL


@given(means, deviations, means, deviations)
def test_gaussian_distances_are_symmetric(mean0, s0, mean1, s1):
    one, other = gaussian_1d(mean0, s0), gaussian_1d(mean1, s1)
    for divergence in (gaussian_total_variation, gaussian_hellinger_squared):
        assert divergence(*one, *other) == pytest.approx(divergence(*other, *one), abs=ATOL)


@given(means, deviations, st.floats(1e-12, 1e-3))
def test_gaussians_that_nearly_coincide(mean, deviation, epsilon):
    here = gaussian_1d(mean, deviation)
    assert all(divergence(*here, *here) == 0 for divergence in GAUSSIAN)
    wider = ([mean], [[deviation**2 * (1 + epsilon)]])
    epsilon = wider[1][0][0] / deviation**2 - 1  # as rounded
    # The scale alone moves: H² is epsilon² / 16 and TV epsilon sqrt(2 / (pi e)) / 2 to first order.
    expected = epsilon * np.sqrt(2 / (np.pi * np.e)) / 2
    assert gaussian_total_variation(*here, *wider) == pytest.approx(expected, rel=1e-2, abs=1e-15)
    h2 = gaussian_hellinger_squared(*here, *wider)
    assert h2 == pytest.approx(epsilon**2 / 16, rel=1e-2, abs=1e-17 if epsilon > 1e-7 else 1e-15)


def random_gaussians(dimensions, seed):
    """A pair with a common basis A: N(0, A A'), N(A m, A D A'), so that coordinates separate."""
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(dimensions, dimensions)) + 2 * np.eye(dimensions)
    shift, variances = rng.normal(size=dimensions), rng.uniform(0.3, 3, size=dimensions)
    cov0, cov1 = basis @ basis.T, basis @ np.diag(variances) @ basis.T
    return (np.zeros(dimensions), cov0, basis @ shift, (cov1 + cov1.T) / 2), shift, variances


@pytest.mark.parametrize("dimensions", [2, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_several_dimensions_equal_the_product_over_coordinates(dimensions, seed):
    pair, shift, variances = random_gaussians(dimensions, seed)
    zero, one = np.zeros((dimensions, 1)), np.ones((dimensions, 1, 1))
    coordinates = (zero, one, shift[:, None], variances[:, None, None])
    affinity = np.prod(1 - gaussian_hellinger_squared(*coordinates))
    assert gaussian_hellinger_squared(*pair) == pytest.approx(1 - affinity, abs=1e-10)
    kl = gaussian_kl_divergence(*coordinates).sum()
    assert gaussian_kl_divergence(*pair) == pytest.approx(kl, rel=1e-8)


def test_total_variation_in_several_dimensions_needs_only_the_distance_of_means():
    (mean0, cov, mean1, _), shift, _ = random_gaussians(4, seed=0)
    expected = 2 * stats.norm.cdf(np.linalg.norm(shift) / 2) - 1
    assert gaussian_total_variation(mean0, cov, mean1, cov) == pytest.approx(expected, rel=1e-9)


def test_determinants_that_underflow_do_no_harm():
    d = 100  # det(1e-4 I) = 1e-400
    mean, cov = np.zeros(d), 1e-4 * np.eye(d)
    shift = 1 / (50 * np.sqrt(d)) * np.ones(d)  # Mahalanobis distance 2
    assert gaussian_hellinger_squared(mean, cov, shift, cov) == pytest.approx(1 - np.exp(-0.5))
    assert gaussian_kl_divergence(mean, cov, shift, cov) == pytest.approx(2)


@pytest.mark.parametrize("divergence", GAUSSIAN)
@pytest.mark.parametrize("dimensions", [1, 3])
def test_batches_equal_one_at_a_time(divergence, dimensions):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(5, dimensions, 2 * dimensions))
    cov = factor @ factor.swapaxes(-1, -2)
    mean0, mean1 = rng.normal(size=(2, 5, dimensions))
    cov1 = cov if dimensions > 1 else cov[::-1]  # TV: equal ones only
    batch = divergence(mean0, cov, mean1, cov1)
    assert batch.shape == (5,)
    single = [divergence(mean0[i], cov[i], mean1[i], cov1[i]) for i in range(5)]
    np.testing.assert_allclose(batch, single, rtol=1e-12)


@pytest.mark.parametrize("divergence", GAUSSIAN)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], [[0.0]], [1.0], [[1.0]]), "cov0 is not positive definite"),
        (([0.0], [[1.0]], [1.0], [[-1.0]]), "cov1 is not positive definite"),
        (([0.0, 0.0], np.ones((2, 2)), [1.0, 0.0], np.eye(2)), "cov0 is not positive definite"),
        (
            ([0.0, 0.0], [[1, 0.5], [0, 1]], [1.0, 0.0], np.eye(2)),
            "cov0 differs from its transpose",
        ),
        ((0.0, 1.0, 1.0, 1.0), r"pass means \[..., 1\] and variances \[..., 1, 1\]"),
        (([0.0, 1.0], np.eye(2), [0.0], [[1.0]]), "have shapes"),
        (([np.nan], [[1.0]], [0.0], [[1.0]]), "mean0 must be finite"),
    ],
)
def test_wrong_gaussians_are_named(divergence, arguments, message):
    with pytest.raises(ValueError, match=message):
        divergence(*arguments)


def test_total_variation_of_unequal_covariances_is_refused():
    with pytest.raises(ValueError, match="cov0 and cov1 differ in more than one dimension"):
        gaussian_total_variation(np.zeros(2), np.eye(2), np.zeros(2), 2 * np.eye(2))
