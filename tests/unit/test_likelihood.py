from itertools import pairwise
from itertools import product as sequences
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy import integrate, stats

from benchsuite.attacks.privacy import advantage
from benchsuite.memorization.label import label_memorization
from benchsuite.stats import optimal_test
from benchsuite.stats.divergence import (
    gaussian_hellinger_squared,
    gaussian_total_variation,
    hellinger_squared,
    kl_divergence,
    total_variation,
)
from benchsuite.stats.likelihood import (
    gaussian_log_likelihood_ratio,
    gaussian_sample_complexity,
    hard_llr_advantage,
    log_likelihood_ratio,
    sample_complexity,
    sample_complexity_lower_bound,
    soft_llr_advantage,
    soft_llr_probability,
)

ATOL = 1e-12
weights = st.floats(0, 1, allow_subnormal=False) | st.sampled_from([0.0, 1e-300, 1e-16, 1.0])
tame_weights = st.floats(1e-60, 1) | st.sampled_from([0.0, 1e-60, 1e-16, 1.0])  # no underflow
probabilities = st.floats(0, 1, allow_subnormal=False) | st.sampled_from([1e-16, 1 - 1e-16])
advantages = st.floats(0.05, 0.95)


@st.composite
def distributions(draw, outcomes=None, weights=weights):
    size = outcomes or draw(st.integers(2, 6))
    lists = st.lists(weights, min_size=size, max_size=size).filter(lambda w: sum(w) > 1e-200)
    return [np.array(w) / sum(w) for w in (draw(lists), draw(lists))]


def event(p):
    return np.array([1 - p, p])


def power(p, n):
    result = p
    for _ in range(n - 1):
        result = np.kron(result, p)
    return result


# The ratio


def test_ratio_by_hand():
    # Two heads and a tail under a fair coin and under one with heads 3/4.
    expected = 2 * np.log(0.5 / 0.75) + np.log(0.5 / 0.25)
    assert log_likelihood_ratio([1, 1, 0], [0.5, 0.5], [0.25, 0.75]) == pytest.approx(expected)


def test_ratio_is_infinite_after_an_impossible_outcome():
    assert log_likelihood_ratio([0, 1], [0.5, 0.5], [1.0, 0.0]) == np.inf
    assert log_likelihood_ratio([0, 1], [1.0, 0.0], [0.5, 0.5]) == -np.inf


@given(distributions(), st.data())
def test_swapping_in_and_out_negates_the_ratio(pair, data):
    possible = np.flatnonzero((pair[0] > 0) & (pair[1] > 0)).tolist()
    assume(possible)
    seen = data.draw(st.lists(st.sampled_from(possible), min_size=1, max_size=5))
    assert log_likelihood_ratio(seen, *pair) == -log_likelihood_ratio(seen, *pair[::-1])


@given(distributions())
def test_mean_ratio_under_the_first_is_the_kl_divergence(pair):
    assume((pair[1] > 0).all())
    possible = np.flatnonzero(pair[0] > 0)
    ratios = log_likelihood_ratio(possible[:, None], *pair)
    mean = (pair[0][possible] * ratios).sum()
    assert mean == pytest.approx(kl_divergence(*pair), rel=1e-9, abs=1e-9)


def test_ratio_broadcasts_over_examples():
    rng = np.random.default_rng(0)
    p0, p1 = rng.dirichlet(np.ones(3), size=(2, 7))
    seen = rng.integers(3, size=(4, 7, 5))
    result = log_likelihood_ratio(seen, p0, p1)
    assert result.shape == (4, 7)
    assert result[3, 6] == pytest.approx(log_likelihood_ratio(seen[3, 6], p0[6], p1[6]))
    assert log_likelihood_ratio(seen[0, 0], p0, p1).shape == (7,)


@pytest.mark.parametrize(
    ("seen", "p0", "p1", "message"),
    [
        ([0, 2], [0.5, 0.5], [0.5, 0.5], "observations run from 0 to 2, expected indices of the 2"),
        ([-1], [0.5, 0.5], [0.5, 0.5], "observations run from -1 to -1"),
        ([0.0], [0.5, 0.5], [0.5, 0.5], "observations has dtype float64"),
        (0, [0.5, 0.5], [0.5, 0.5], r"observations has dtype int64 and shape \[\]"),
        ([1], [1.0, 0.0], [1.0, 0.0], "an outcome that p0 and p1 both exclude"),
        ([0, 1], [1.0, 0.0], [0.0, 1.0], "one that p0 excludes with one that p1 excludes"),
        ([0], [0.5, 0.5], [0.5, 0.5, 0.0], "p0 has 2 outcomes and p1 has 3"),
    ],
)
def test_wrong_observations_are_named(seen, p0, p1, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood_ratio(seen, p0, p1)


gaussians = st.tuples(st.floats(-5, 5), st.floats(0.01, 100))


@given(st.floats(-1e4, 1e4), gaussians, gaussians)
def test_gaussian_ratio_is_the_difference_of_log_densities(x, first, second):
    (m0, v0), (m1, v1) = first, second
    expected = stats.norm.logpdf(x, m0, np.sqrt(v0)) - stats.norm.logpdf(x, m1, np.sqrt(v1))
    ratio = gaussian_log_likelihood_ratio(x, m0, v0, m1, v1)
    assert ratio == pytest.approx(expected, rel=1e-9, abs=1e-9 * (1 + x**2 / min(v0, v1)))
    assert ratio == -gaussian_log_likelihood_ratio(x, m1, v1, m0, v0)


def test_gaussian_ratio_broadcasts():
    x, mean = np.zeros((3, 1)), np.arange(4.0)
    assert gaussian_log_likelihood_ratio(x, mean, 1.0, 0.0, np.ones(4)).shape == (3, 4)


@pytest.mark.parametrize("variance", [0.0, -1.0])
def test_a_variance_that_is_not_positive_is_named(variance):
    with pytest.raises(ValueError, match=r"variance1 holds .* expected positive variances"):
        gaussian_log_likelihood_ratio(0.0, 0.0, 1.0, 0.0, variance)
    with pytest.raises(ValueError, match=r"variance0 holds .* expected positive variances"):
        gaussian_sample_complexity(0.0, variance, 0.0, 1.0, 0.5)


# The soft test


def test_soft_probability():
    extremes = soft_llr_probability([-np.inf, -1e4, 0.0, 2.0, 1e4, np.inf])
    np.testing.assert_allclose(extremes, [0, 0, 0.5, np.e / (1 + np.e), 1, 1], atol=1e-15)
    with pytest.raises(ValueError, match="llr holds NaN"):
        soft_llr_probability([0.0, np.nan])


@given(distributions())
def test_the_soft_tests_advantage_is_the_hellinger_distance(pair):
    # Lemma 1: the left side adds up what the test does, the right side is a distance.
    assert soft_llr_advantage(*pair) == pytest.approx(hellinger_squared(*pair), abs=ATOL)


@given(distributions(weights=tame_weights), st.integers(1, 4))
def test_the_soft_test_on_n_observations(pair, n):
    # Lemma 1 for P0^n against P1^n: each sequence of outcomes is judged by its summed ratio.
    several = soft_llr_advantage(*(power(p, n) for p in pair))
    assert several == pytest.approx(1 - (1 - hellinger_squared(*pair)) ** n, abs=ATOL)


@pytest.mark.parametrize(("m1", "v1"), [(1.0, 1.0), (0.0, 4.0), (2.0, 0.3)])
def test_the_soft_tests_advantage_between_gaussians(m1, v1):
    def gain(x):
        outputs_0 = soft_llr_probability(gaussian_log_likelihood_ratio(x, 0.0, 1.0, m1, v1))
        return outputs_0 * (stats.norm.pdf(x) - stats.norm.pdf(x, m1, np.sqrt(v1)))

    x = np.linspace(-40, 40, 400_001)
    expected = gaussian_hellinger_squared([0.0], [[1.0]], [m1], [[v1]])
    assert integrate.trapezoid(gain(x), x) == pytest.approx(expected, abs=1e-8)


def test_soft_advantage_with_an_outcome_that_never_occurs():
    assert soft_llr_advantage([0.5, 0.5, 0.0], [1.0, 0.0, 0.0]) == pytest.approx(1 - np.sqrt(0.5))
    with pytest.raises(ValueError, match="p0 has 2 outcomes and p1 has 3"):
        soft_llr_advantage([0.5, 0.5], [1.0, 0.0, 0.0])


# The hard test


def roc_of(statistic, p0, p1):
    """Errors of every test that outputs P1 where the statistic is at most a threshold."""
    order = np.argsort(statistic, kind="stable")
    ends = np.append(statistic[order][1:] > statistic[order][:-1], True)
    type_1 = np.concatenate([[0.0], np.cumsum(p0[order])[ends]])
    power_1 = np.concatenate([[0.0], np.cumsum(p1[order])[ends]])
    return type_1, power_1


@given(distributions(), st.data())
def test_no_threshold_test_beats_the_likelihood_ratio(pair, data):
    # Neyman-Pearson: at its own type I error every other test has at most the ratio's power.
    p0, p1 = pair
    possible = (p0 > 0) | (p1 > 0)
    p0, p1 = p0[possible], p1[possible]
    with np.errstate(divide="ignore"):
        best = roc_of(np.log(p0) - np.log(p1), p0, p1)
    scores = data.draw(st.lists(st.integers(0, 3), min_size=len(p0), max_size=len(p0)))
    for type_1, power_1 in zip(*roc_of(np.array(scores), p0, p1), strict=True):
        at_equal_error = best[1][best[0] <= type_1 + ATOL].max()  # a vertical piece: its top
        at_equal_error = max(at_equal_error, np.interp(type_1, *best))
        assert power_1 <= at_equal_error + ATOL
        assert power_1 - type_1 <= total_variation(p0, p1) + ATOL


@given(distributions(outcomes=2), st.integers(1, 7))
@example([np.array([0.0, 1.0]), np.array([1.0, 1e-16])], 1)
@example([np.array([0.5, 0.5]), np.array([1.0, 1e-310])], 2)
def test_hard_advantage_is_the_total_variation_of_all_sequences(pair, n):
    expected = total_variation(*(power(p, n) for p in pair))
    assert hard_llr_advantage(*pair, n) == pytest.approx(expected, abs=ATOL)


def test_hard_advantage_plays_the_game():
    p0, p1 = event(0.3), event(0.6)
    advantage = 0.0
    for seen in sequences([0, 1], repeat=5):
        outputs_0 = log_likelihood_ratio(list(seen), p0, p1) >= 0
        advantage += outputs_0 * (p0[list(seen)].prod() - p1[list(seen)].prod())
    assert hard_llr_advantage(p0, p1, 5) == pytest.approx(advantage, abs=ATOL)


@given(distributions(outcomes=2), st.integers(1, 10_000), st.integers(1, 10_000))
def test_hard_advantage_never_falls_with_n(pair, n, more):
    assert hard_llr_advantage(*pair, n + more) >= hard_llr_advantage(*pair, n) - 1e-10


@pytest.mark.parametrize("n", [0, 1.5])
def test_hard_advantage_needs_whole_observations(n):
    with pytest.raises(ValueError, match="expected whole numbers, at least 1"):
        hard_llr_advantage([0.5, 0.5], [1.0, 0.0], n)


# How many observations


def smallest_by_search(p0, p1, advantage):
    n = 1
    while True:
        counts = np.arange(n + 1)
        first, second = stats.binom.pmf(counts, n, p0[1]), stats.binom.pmf(counts, n, p1[1])
        if np.abs(first - second).sum() / 2 >= advantage - ATOL:
            return n
        n += 1


@pytest.mark.parametrize("advantage", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("p0", "p1"), [(0.5, 0.6), (0.0, 0.05), (1.0, 0.9), (0.97, 0.7), (0.01, 0.2), (0.0, 1.0)]
)
def test_sample_complexity_equals_a_search_from_one(p0, p1, advantage):
    expected = smallest_by_search(event(p0), event(p1), advantage)
    assert sample_complexity(event(p0), event(p1), advantage) == expected


@given(probabilities, probabilities, advantages)
def test_sample_complexity_is_the_first_that_suffices(a, b, advantage):
    p0, p1 = event(a), event(b)
    n = sample_complexity(p0, p1, advantage)
    assume(np.isfinite(n))
    assert hard_llr_advantage(p0, p1, n) >= advantage - 1e-10
    if n > 1:
        assert hard_llr_advantage(p0, p1, n - 1) < advantage
    assert n >= sample_complexity_lower_bound(hellinger_squared(p0, p1), advantage) - 1e-6


@given(probabilities, probabilities, advantages)
def test_sample_complexity_knows_no_names(a, b, advantage):
    p0, p1 = event(a), event(b)
    n = sample_complexity(p0, p1, advantage)
    assert sample_complexity(p1, p0, advantage) == n
    relabelled = sample_complexity(p0[::-1], p1[::-1], advantage)
    assert relabelled == pytest.approx(n, rel=1e-9, abs=1)  # rounding at a tie of one more or less


@given(probabilities, probabilities, advantages, advantages)
def test_more_advantage_needs_no_fewer_observations(a, b, one, other):
    least, most = sorted([one, other])
    pair = event(a), event(b)
    assert sample_complexity(*pair, least) <= sample_complexity(*pair, most)


@given(st.floats(0.001, 0.999), st.floats(1e-3, 0.2))
def test_sample_complexity_is_inverse_to_the_hellinger_distance(a, gap):
    # Lemma 2 with its constants for advantage 1/2: from ln(4/3) / 2 up to ln 2, and rounding up.
    p0, p1 = event(a), event(a + gap if a < 0.5 else a - gap)
    h2 = hellinger_squared(p0, p1)
    rate = -np.log1p(-h2)
    n = sample_complexity(p0, p1, 0.5)
    assert np.log(4 / 3) / 2 <= n * rate <= np.log(2) + rate


def test_equal_distributions_are_never_told_apart():
    assert sample_complexity([0.5, 0.5], [0.5, 0.5], 0.5) == np.inf
    assert gaussian_sample_complexity(1.0, 2.0, 1.0, 2.0, 0.5) == np.inf
    assert sample_complexity_lower_bound(0.0, 0.5) == np.inf


def test_many_pairs_at_once():
    rng = np.random.default_rng(0)
    p, q = rng.random((2, 1500))
    p0, p1 = np.stack([1 - p, p], axis=-1), np.stack([1 - q, q], axis=-1)
    n = sample_complexity(p0, p1, 0.8)
    assert n.shape == (1500,)
    assert n[7] == sample_complexity(p0[7], p1[7], 0.8)
    assert (n >= sample_complexity_lower_bound(hellinger_squared(p0, p1), 0.8)).all()


@pytest.mark.parametrize("advantage", [0.0, 1.0, -0.1, np.nan])
def test_an_advantage_out_of_reach_is_named(advantage):
    for compute in (
        lambda: sample_complexity([0.5, 0.5], [1.0, 0.0], advantage),
        lambda: gaussian_sample_complexity(0.0, 1.0, 1.0, 1.0, advantage),
        lambda: sample_complexity_lower_bound(0.1, advantage),
    ):
        with pytest.raises(ValueError, match=r"advantage is .* expected a number between 0 and 1"):
            compute()


def test_more_outcomes_than_two_are_refused():
    with pytest.raises(ValueError, match="p0 and p1 have 3 outcomes, expected 2"):
        sample_complexity([0.5, 0.5, 0.0], [1.0, 0.0, 0.0], 0.5)


@pytest.mark.parametrize("h2", [-0.1, 1.1])
def test_a_hellinger_distance_out_of_range_is_named(h2):
    with pytest.raises(ValueError, match="hellinger_squared runs from"):
        sample_complexity_lower_bound(h2, 0.5)


@pytest.mark.parametrize(("shift", "advantage"), [(1.0, 0.1), (0.1, 0.5), (0.01, 0.9), (5.0, 0.3)])
def test_gaussians_of_equal_variance_follow_the_root_law(shift, advantage):
    expected = np.ceil((2 * stats.norm.ppf((1 + advantage) / 2) / shift) ** 2)
    assert gaussian_sample_complexity(3.0, 4.0, 3.0 + 2 * shift, 4.0, advantage) == expected


shapes = st.tuples(st.floats(-3, 3), st.floats(0.1, 10))


@given(shapes)
@example((1e-160, 4.0))  # a noncentrality below the smallest normal number
def test_one_observation_of_gaussians_has_the_closed_form(shape):
    shift, ratio = map(np.float64, shape)
    expected = gaussian_total_variation([0.0], [[1.0]], [shift], [[ratio]])
    actual = optimal_test.gaussian_advantage(shift, ratio, np.float64(1))
    assert actual == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("shift", "ratio"), [(0.3, 1.5), (0.3, 0.6), (0.0, 2.0), (0.5, 1.01)])
@pytest.mark.parametrize("n", [2, 5, 12])
def test_the_gaussian_test_plays_the_game(shift, ratio, n):
    rng = np.random.default_rng(0)
    games = 100_000
    z = rng.normal(size=(games, n))
    parameters = (0.0, 1.0, shift, ratio)
    under_0 = gaussian_log_likelihood_ratio(z, *parameters).sum(axis=1) >= 0
    under_1 = (
        gaussian_log_likelihood_ratio(shift + np.sqrt(ratio) * z, *parameters).sum(axis=1) >= 0
    )
    played = under_0.mean() - under_1.mean()
    expected = optimal_test.gaussian_advantage(np.float64(shift), np.float64(ratio), np.float64(n))
    assert played == pytest.approx(expected, abs=5 * np.sqrt(0.5 / games))


@given(gaussians, gaussians, advantages)
def test_gaussian_sample_complexity_is_the_first_that_suffices(first, second, advantage):
    n = gaussian_sample_complexity(*first, *second, advantage)
    h2 = gaussian_hellinger_squared([first[0]], [[first[1]]], [second[0]], [[second[1]]])
    assume(np.isfinite(n))
    assert n >= sample_complexity_lower_bound(h2, advantage) * (1 - 1e-9)
    swapped = gaussian_sample_complexity(*second, *first, advantage)
    assert swapped == pytest.approx(n, rel=1e-6, abs=1)
    shift = np.float64(second[0] - first[0]) / np.sqrt(first[1])
    ratio = np.float64(second[1]) / first[1]
    assert optimal_test.gaussian_advantage(shift, ratio, n) >= advantage - 1e-7
    if n > 1:
        assert optimal_test.gaussian_advantage(shift, ratio, n - 1) < advantage + 1e-7


def test_nearly_equal_variances_join_the_root_law():
    ratios = 1 + np.array([0.0, 1e-9, 2e-8, 1e-7, 1e-5, 1e-4])
    n = gaussian_sample_complexity(0.0, 1.0, 0.1, ratios, 0.5)
    assert (n == n[0]).all()


@pytest.mark.parametrize(
    ("n", "noncentrality"), [(1, 2e5), (10, 1e4), (1e5, 0.0), (1e5, 1.0), (1e6, 0.01), (3e7, 0.3)]
)
def test_the_saddlepoint_takes_over_without_a_seam(n, noncentrality, monkeypatch):
    deviation = np.sqrt((2 + 4 * noncentrality) / n)
    steps = np.array([-4, -1, -1e-2, -1.1e-4, -0.9e-4, -1e-9, 0, 1e-9, 0.9e-4, 1.1e-4, 0.1, 1, 4])
    bar = 1 + noncentrality + steps * deviation
    arguments = bar, np.full_like(bar, noncentrality), np.full_like(bar, n)
    approximate = optimal_test._noncentral_chi_square(*arguments)
    monkeypatch.setattr(optimal_test, "_EXACT_BELOW", np.inf)
    np.testing.assert_allclose(
        approximate, optimal_test._noncentral_chi_square(*arguments), rtol=0, atol=1e-9
    )


# The identities of Section 3.1 and Appendix B


class World(NamedTuple):
    """A finite world: so many IN and so many OUT models of each kind, and each kind's logits."""

    in_of_kind: np.ndarray
    out_of_kind: np.ndarray
    logits: np.ndarray  # [kinds, classes]; the label is class 0

    @property
    def membership(self):
        """[models, 1]: all IN models, then all OUT models."""
        return (np.arange(self.in_of_kind.sum() + self.out_of_kind.sum()) < self.in_of_kind.sum())[
            :, None
        ]

    def of_models(self, by_kind):
        """What each kind says, as what each model says of the one example, [models, 1]."""
        return np.concatenate([np.repeat(by_kind, n) for n in self[:2]])[:, None]

    @property
    def distributions(self):
        return [n / n.sum() for n in self[:2]]

    @property
    def correct(self):
        return self.logits.argmax(axis=-1) == 0


@st.composite
def worlds(draw):
    """What IN and OUT training yield: models of a few kinds, and the logits of each kind."""
    kinds = draw(st.integers(2, 6))
    counts = st.lists(st.integers(0, 6), min_size=kinds, max_size=kinds).filter(any)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return World(
        np.array(draw(counts)), np.array(draw(counts)), rng.normal(scale=3, size=(kinds, 4))
    )


def soft_advantage(answers, membership):
    """Advantage of answering 1 with these probabilities: the mean of that of `answer > threshold`.

    A threshold drawn evenly from [0, 1] lies below an answer as often as that answer says.
    """
    levels = np.unique(np.concatenate([[0.0, 1.0], answers.ravel()]))
    return sum(
        (above - level) * advantage(answers, membership, level)[0]
        for level, above in pairwise(levels)
    )


def softmax(logits):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


BOUNDED = {
    "loss (C1)": lambda logits: np.minimum(-np.log(softmax(logits)[:, 0]), 5.0),
    "out-of-distribution score (C2)": lambda logits: 1 - softmax(logits).max(axis=-1),
    "any bounded function (Lemma 3)": lambda logits: 7 * np.sin(logits.sum(axis=-1)) - 2,
}


@pytest.mark.parametrize("g", BOUNDED.values(), ids=BOUNDED.keys())
@given(world=worlds())
def test_a_bounded_function_gives_an_adversary_its_normalised_difference(g, world):
    # Lemma 3 divides by nothing, which only holds where g already runs over [0, 1]: its adversary
    # answers 1 with a probability, so g must be scaled into one, and the advantage scales with it.
    values = g(world.logits)
    assume(np.ptp(values) > 1e-6)
    answers_1 = world.of_models((values - values.min()) / np.ptp(values))
    gained = soft_advantage(answers_1, world.membership)  # Eq. 2
    p_in, p_out = world.distributions
    delta = (p_in * values).sum() - (p_out * values).sum()
    assert gained == pytest.approx(delta / np.ptp(values), abs=1e-9)
    assert abs(gained) <= total_variation(p_in, p_out) + ATOL


def test_without_normalisation_the_difference_can_exceed_any_advantage():
    g = np.array([0.0, 10.0])
    assert g @ [0.0, 1.0] - g @ [1.0, 0.0] == 10
    assert total_variation([0.0, 1.0], [1.0, 0.0]) == 1


@given(worlds())
def test_the_label_correctness_adversary_has_advantage_mem(world):
    correct, membership = world.of_models(world.correct), world.membership
    mem = label_memorization(correct, membership).estimate[0]  # Eq. 1
    gained = advantage(correct.astype(float), membership, 0.5)[0]  # it answers 1 where correct
    p_in, p_out = world.distributions
    assert mem == pytest.approx(p_in[world.correct].sum() - p_out[world.correct].sum(), abs=ATOL)
    assert gained == pytest.approx(mem, abs=ATOL)
    assert mem <= total_variation(p_in, p_out) + ATOL  # Thm 2, by Neyman-Pearson


@given(worlds())
def test_on_the_prediction_event_total_variation_is_mem(world):
    # Eq. 7 and 8: where a model shows only whether it is right, TV is |mem| and H² at most that.
    right_in, right_out = (min(p[world.correct].sum(), 1.0) for p in world.distributions)
    mem = label_memorization(world.of_models(world.correct), world.membership).estimate[0]
    assert total_variation(event(right_in), event(right_out)) == pytest.approx(abs(mem), abs=ATOL)
    assert hellinger_squared(event(right_in), event(right_out)) <= abs(mem) + ATOL
