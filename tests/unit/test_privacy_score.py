import numpy as np
import pytest
from scipy.stats import norm

from benchsuite.attacks import advantage, attack_success_rate, privacy_score
from benchsuite.memorization import label_memorization
from benchsuite.shadows.design import Balanced


def gaussians(models=128, examples=40, seed=0):
    rng = np.random.default_rng(seed)
    membership = rng.random((models, examples)) < 0.4
    shift, spread = rng.uniform(0, 5, examples), rng.uniform(0.5, 2, examples)
    noise = rng.standard_normal((models, examples))
    return membership * shift + noise * np.where(membership, 1, spread), membership, shift, spread


def test_privacy_score_equals_a_loop_over_examples():
    confidence, membership, *_ = gaussians()
    expected = []
    for phi, member in zip(confidence.T, membership.T, strict=True):
        inside, outside = phi[member], phi[~member]
        gap = abs(inside.mean() - outside.mean())
        deviation = [np.sqrt(((x - x.mean()) ** 2).sum() / len(x)) for x in (inside, outside)]
        expected.append(gap / sum(deviation))
    np.testing.assert_allclose(privacy_score(confidence, membership), expected, rtol=1e-12)


def test_privacy_score_recovers_that_of_the_gaussians_it_was_drawn_from():
    confidence, membership, shift, spread = gaussians(models=6000)
    np.testing.assert_allclose(
        privacy_score(confidence, membership), shift / (1 + spread), atol=0.08, rtol=0.06
    )


def test_privacy_score_ignores_the_unit_of_confidence_and_which_side_is_in():
    confidence, membership, *_ = gaussians()
    score = privacy_score(confidence, membership)
    np.testing.assert_allclose(privacy_score(-3 * confidence + 7, membership), score)
    np.testing.assert_allclose(privacy_score(confidence, ~membership), score)
    np.testing.assert_allclose(
        privacy_score(confidence.astype(np.float32), membership), score, rtol=1e-4
    )


def test_privacy_score_is_exactly_two_means_over_two_deviations():
    confidence = np.array([[0.0], [2.0], [10.0], [14.0]])  # means 1 and 12, deviations 1 and 2
    membership = np.array([[False], [False], [True], [True]])
    assert privacy_score(confidence, membership) == pytest.approx([11 / 3])


def test_privacy_score_is_small_when_membership_is_permuted():
    confidence, membership, *_ = gaussians(models=2000)
    shuffled = np.random.default_rng(1).permuted(membership, axis=0)
    assert privacy_score(confidence, shuffled).max() < 0.15
    assert np.median(privacy_score(confidence, membership)) > 0.5


def test_one_constant_side_is_enough_for_a_privacy_score_and_two_are_an_error():
    confidence, membership, *_ = gaussians()
    confidence[membership[:, 5], 5] = 0.1  # 0.1 is no binary fraction: a mean of it may round
    assert np.isfinite(privacy_score(confidence, membership)).all()
    confidence[~membership[:, 5], 5] = 0.3
    with pytest.raises(ValueError, match="confidence of example 5 is the same number"):
        privacy_score(confidence, membership)


def test_success_rate_and_advantage_equal_loops():
    scores, membership, *_ = gaussians(models=33)
    for threshold in (0.0, 0.7):
        asr, adv = [], []
        for column, member in zip(scores.T, membership.T, strict=True):
            said = [s > threshold for s in column]
            asr.append(sum(a == b for a, b in zip(said, member, strict=True)) / len(said))
            true = sum(a for a, b in zip(said, member, strict=True) if b) / member.sum()
            false = sum(a for a, b in zip(said, member, strict=True) if not b) / (~member).sum()
            adv.append(true - false)
        np.testing.assert_allclose(attack_success_rate(scores, membership, threshold), asr)
        np.testing.assert_allclose(advantage(scores, membership, threshold), adv)


def test_advantage_is_twice_the_success_rate_minus_one_on_a_balanced_design():
    membership = Balanced(100, seed=4).rows(0, 128)
    scores = np.random.default_rng(4).standard_normal(membership.shape) + membership
    np.testing.assert_allclose(
        advantage(scores, membership), 2 * attack_success_rate(scores, membership) - 1
    )


def test_advantage_recovers_that_of_known_gaussians_and_vanishes_under_permutation():
    membership = Balanced(20, seed=5).rows(0, 6400)
    shift = np.linspace(0, 4, 20)
    scores = np.random.default_rng(5).standard_normal(membership.shape) + membership * shift
    np.testing.assert_allclose(
        advantage(scores, membership, threshold=1.0), norm.cdf(shift - 1) - norm.cdf(-1), atol=0.04
    )
    shuffled = np.random.default_rng(6).permuted(membership, axis=0)
    assert np.abs(advantage(scores, shuffled, threshold=1.0)).max() < 0.05
    np.testing.assert_allclose(attack_success_rate(scores, shuffled, 1.0), 0.5, atol=0.03)


def test_advantage_of_guessing_by_correctness_is_label_memorization():
    # The identity in the proof of Theorem 2.
    rng = np.random.default_rng(7)
    membership = rng.random((64, 30)) < 0.5
    correct = rng.random((64, 30)) < 0.4 + 0.5 * membership
    np.testing.assert_allclose(
        advantage(correct, membership, threshold=0.5),
        label_memorization(correct, membership).estimate,
        atol=1e-15,
    )


def test_a_score_at_the_threshold_is_no_member():
    membership = np.array([[True], [False]])
    assert attack_success_rate([[0.0], [0.0]], membership) == 0.5
    assert advantage([[1.0], [0.0]], membership) == 1


def test_all_follow_the_order_of_the_examples():
    confidence, membership, *_ = gaussians()
    order = np.random.default_rng(8).permutation(membership.shape[1])
    for measure in (privacy_score, attack_success_rate, advantage):
        np.testing.assert_array_equal(
            measure(confidence[:, order], membership[:, order]),
            measure(confidence, membership)[order],
        )


GOOD = np.array([[True, False], [False, True], [True, False], [False, True]])


@pytest.mark.parametrize("measure", [privacy_score, attack_success_rate, advantage])
@pytest.mark.parametrize(
    ("values", "membership", "message"),
    [
        (np.zeros((3, 2)), GOOD, r"has shape \[3, 2\] and membership has shape \[4, 2\]"),
        (np.zeros(4), GOOD, r"has shape \[4\]"),
        (np.full((4, 2), np.nan), GOOD, "must be finite"),
        (np.full((4, 2), np.inf), GOOD, "must be finite"),
        (np.full((4, 2), "a"), GOOD, "expected real numbers"),
        (np.zeros((4, 2)), GOOD * 0.5, "membership has dtype float64"),
    ],
)
def test_bad_input_is_named(measure, values, membership, message):
    with pytest.raises(ValueError, match=message) as error:
        measure(values, membership)
    assert ("confidence" if measure is privacy_score else "scores") in str(error.value) or (
        "membership" in message
    )


def test_a_missing_side_is_named():
    values = np.arange(8.0).reshape(4, 2)
    with pytest.raises(ValueError, match=r"example 1 is IN for 1 of 4 models.*at least 2"):
        privacy_score(values, np.array([[1, 0], [1, 0], [0, 0], [0, 1]]))
    for side, members in (
        ("IN", [[1, 0]] * 2 + [[0, 0]] * 2),
        ("OUT", [[1, 1]] * 2 + [[0, 1]] * 2),
    ):
        with pytest.raises(ValueError, match=rf"example 1 is {side} for 0 of 4 models"):
            advantage(values, np.array(members))
        assert np.isfinite(attack_success_rate(values, np.array(members))).all()


@pytest.mark.parametrize("threshold", [np.nan, np.inf])
def test_a_threshold_that_is_not_finite_is_named(threshold):
    for measure in (attack_success_rate, advantage):
        with pytest.raises(ValueError, match=r"threshold is (nan|inf), expected one finite number"):
            measure(np.zeros((4, 2)), GOOD, threshold)
