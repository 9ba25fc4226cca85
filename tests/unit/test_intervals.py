from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchsuite.stats.intervals import (
    clopper_pearson,
    cluster_bootstrap_interval,
    holm,
    sign_flip_p_value,
    t_interval,
    unit_interval,
)

numbers = st.floats(-100, 100, allow_subnormal=False)
samples = st.lists(numbers, min_size=2, max_size=12)
alphas = st.floats(0.001, 0.5)


@given(samples, alphas)
def test_t_interval_is_scipys(units, alpha):
    interval = t_interval(units, alpha)
    assert interval.estimate == pytest.approx(np.mean(units), abs=1e-9)
    error = np.std(units, ddof=1) / np.sqrt(len(units))
    reach = stats.t.ppf(1 - alpha / 2, len(units) - 1) * error
    assert interval.high - interval.estimate == pytest.approx(reach, rel=1e-9, abs=1e-9)
    assert interval.estimate - interval.low == pytest.approx(reach, rel=1e-9, abs=1e-9)


def test_t_interval_of_differences_is_the_paired_one():
    rng = np.random.default_rng(0)
    before = rng.normal(size=8)
    after = before + rng.normal(0.5, 0.1, size=8)
    expected = stats.ttest_rel(after, before).confidence_interval(0.9)
    interval = t_interval(after - before, alpha=0.1)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_units_without_spread_have_an_interval_without_width():
    assert t_interval([0.5] * 4) == (0.5, 0.5, 0.5)
    assert cluster_bootstrap_interval([0.5] * 40) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("units", [[1.0], [np.nan, 1.0], [[1.0, 2.0]], []])
@pytest.mark.parametrize(
    "method", [t_interval, cluster_bootstrap_interval, unit_interval, sign_flip_p_value]
)
def test_wrong_units_are_named(method, units):
    with pytest.raises(ValueError, match=r"^units "):
        method(units)


def test_one_unit_is_told_that_it_shows_no_spread():
    with pytest.raises(ValueError, match="units holds 1 number, expected at least 2"):
        unit_interval([0.3])


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.05, np.nan])
@pytest.mark.parametrize("method", [t_interval, cluster_bootstrap_interval, unit_interval])
def test_a_level_outside_its_range_is_named(method, alpha):
    with pytest.raises(ValueError, match=r"alpha is .* expected a number between 0 and 1"):
        method([1.0, 2.0] * 20, alpha)


skewed = np.random.default_rng(0).exponential(size=40)


def test_bootstrap_repeats_itself():
    assert cluster_bootstrap_interval(skewed) == cluster_bootstrap_interval(skewed)
    assert cluster_bootstrap_interval(skewed) != cluster_bootstrap_interval(skewed, seed=1)


def test_bootstrap_follows_a_change_of_units():
    plain, moved = cluster_bootstrap_interval(skewed), cluster_bootstrap_interval(3 * skewed - 5)
    np.testing.assert_allclose(moved, 3 * np.array(plain) - 5, rtol=1e-9)
    mirrored = cluster_bootstrap_interval(-skewed)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((plain.low, plain.high), rel=0.02)


def test_bootstrap_leans_towards_the_long_tail():
    interval, symmetric = cluster_bootstrap_interval(skewed), t_interval(skewed)
    assert interval.high - interval.estimate > 1.1 * (symmetric.high - symmetric.estimate)
    assert interval.low > symmetric.low


def test_bootstrap_of_many_normal_units_approaches_t():
    units = np.random.default_rng(0).normal(size=400)
    np.testing.assert_allclose(cluster_bootstrap_interval(units), t_interval(units), atol=0.01)


def test_bootstrap_in_pieces_is_the_bootstrap_at_once(monkeypatch):
    whole = cluster_bootstrap_interval(skewed, resamples=1000)
    monkeypatch.setattr("benchsuite.stats.intervals._DRAWS_AT_ONCE", 40 * 64)
    assert cluster_bootstrap_interval(skewed, resamples=1000) == whole


def test_bootstrap_of_nearly_equal_units_falls_back_to_t():
    units = np.append(np.zeros(39), 1.0)  # one resample in three has no spread at all
    assert cluster_bootstrap_interval(units) == t_interval(units)


def test_bootstrap_needs_resamples_beyond_its_ends():
    with pytest.raises(ValueError, match=r"resamples is 1000, too few for alpha 0.001: .* 20000"):
        cluster_bootstrap_interval(skewed, alpha=0.001, resamples=1000)


@pytest.mark.parametrize("method", [t_interval, cluster_bootstrap_interval])
def test_intervals_widen_with_confidence(method):
    intervals = [method(skewed, alpha) for alpha in (0.5, 0.2, 0.05, 0.01, 0.002)]
    for narrow, wide in pairwise(intervals):
        assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_few_units_get_t_and_many_the_bootstrap():
    assert unit_interval(skewed[:29]) == t_interval(skewed[:29])
    assert unit_interval(skewed[:30]) == cluster_bootstrap_interval(skewed[:30])
    unit_interval(skewed, 0.0005)  # takes the resamples that so small an alpha needs


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8), st.integers(-3, 3))
def test_sign_flip_enumerates_every_assignment(units, null):
    centred = np.array(units) - null
    sums = [abs(np.dot(signs, centred)) for signs in product([-1, 1], repeat=len(units))]
    expected = np.mean(np.array(sums) >= abs(centred.sum()))
    assert sign_flip_p_value(units, null) == expected


@pytest.mark.parametrize("n", [2, 5, 20])
def test_sign_flip_is_least_where_all_units_agree(n):
    assert sign_flip_p_value(np.linspace(0.1, 0.7, n)) == 2.0 ** (1 - n)
    assert sign_flip_p_value(np.zeros(n)) == 1


def test_sign_flip_refuses_what_it_cannot_enumerate():
    with pytest.raises(ValueError, match=r"units has 21 numbers, .* use unit_interval"):
        sign_flip_p_value(np.ones(21))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_clopper_pearson_is_scipys(alpha):
    for n in (1, 7, 50):
        for k in range(n + 1):
            expected = stats.binomtest(k, n).proportion_ci(1 - alpha, method="exact")
            low, high = clopper_pearson(k, n, alpha)
            assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_clopper_pearson_broadcasts():
    intervals = clopper_pearson([[0], [5]], [5, 10, 20])
    assert intervals.shape == (2, 3, 2)
    np.testing.assert_array_equal(intervals[1, 2], clopper_pearson(5, 20))


@pytest.mark.parametrize(("k", "n"), [(3, 2), (-1, 2), (0, 0), (0.5, 2)])
def test_counts_that_are_none_are_named(k, n):
    with pytest.raises(ValueError, match=f"successes {k:g} of trials {n:g} is not a count"):
        clopper_pearson(k, n)


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2 raised to 0.06, 0.5 x 1; each no smaller than the one before.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_array_equal(holm([0.9, 0.8]), [1, 1])


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(p_values, st.floats(0.001, 0.5))
def test_holm_lies_between_none_and_bonferroni(values, alpha):
    p, adjusted = np.array(values), holm(values)
    assert (p <= adjusted).all()
    assert (adjusted <= np.minimum(len(p) * p, 1)).all()
    rejected = 0
    for value in sorted(values):  # Holm's own words: step down until one is too large
        if value > alpha / (len(values) - rejected):
            break
        rejected += 1
    tie = np.isclose(adjusted, alpha, rtol=1e-12).any()
    assert tie or (adjusted <= alpha).sum() == rejected


@pytest.mark.parametrize("values", [[-0.1], [1.1], [[0.1]], [np.nan], []])
def test_values_that_are_not_p_values_are_named(values):
    with pytest.raises(ValueError, match="p_values"):
        holm(values)
