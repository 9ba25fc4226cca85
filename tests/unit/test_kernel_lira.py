import tracemalloc
from importlib import import_module

import numpy as np
import pytest
from scipy.stats import gaussian_kde, spearmanr
from sklearn.metrics import roc_auc_score

from benchsuite.attacks import lira
from benchsuite.attacks.kernel_lira import kernel_lira
from benchsuite.shadows.design import Balanced
from benchsuite.stats.normality import normality_rejections

MODULE = import_module("benchsuite.attacks.kernel_lira")  # not the function of that name


def gaussians(models, examples, seed=0, shift=2.0):
    """IN ~ N(base + shift, 1), OUT ~ N(base, spread); about half IN, counts differ by example."""
    rng = np.random.default_rng(seed)
    membership = rng.random((models, examples)) < 0.5
    base, spread = rng.normal(0, 3, examples), rng.uniform(0.5, 2, examples)
    noise = rng.standard_normal((models, examples)) * np.where(membership, 1, spread)
    return base + shift * membership + noise, membership


def silverman(values):
    lower, upper = np.percentile(values, [25, 75])
    return 0.9 * min(np.std(values), (upper - lower) / 1.34) * len(values) ** (-1 / 5)


def scipy_log_density(values, phi, bandwidth):
    return gaussian_kde(values, bandwidth / np.std(values, ddof=1)).logpdf(phi)[0]


def naive(confidence, membership, targets, width=1.0):
    references = [row for row in range(len(membership)) if row not in set(targets)]
    scores = np.empty((len(targets), membership.shape[1]))
    for t, row in enumerate(targets):
        for e in range(membership.shape[1]):
            inside = [confidence[r, e] for r in references if membership[r, e]]
            outside = [confidence[r, e] for r in references if not membership[r, e]]
            phi = confidence[row, e]
            score = scipy_log_density(inside, phi, width * silverman(inside))
            score -= scipy_log_density(outside, phi, width * silverman(outside))
            scores[t, e] = score
    return scores


@pytest.mark.parametrize("width", [0.5, 1, 2])
def test_equals_loops_with_scipy(width):
    confidence, membership = gaussians(61, 30)
    targets = [5, 0, 17, 60]
    got = kernel_lira(confidence, membership, targets, width=width)
    assert got.shape == (4, 30)
    assert got.dtype == np.float64
    expected = naive(confidence, membership, targets, width)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_width_is_one_unless_given():
    confidence, membership = gaussians(61, 30)
    got = kernel_lira(confidence, membership, [0, 1])
    np.testing.assert_array_equal(got, kernel_lira(confidence, membership, [0, 1], width=1))


@pytest.mark.parametrize("width", [1, 2])
def test_ranks_as_lira_where_the_gaussians_are_true(width):
    confidence, membership = gaussians(256 + 64, 200, seed=1)
    kernel = kernel_lira(confidence, membership, np.arange(64), width=width)
    gaussian = lira(confidence, membership, np.arange(64))
    assert spearmanr(kernel.ravel(), gaussian.ravel()).statistic > 0.95


@pytest.mark.parametrize("width", [1, 2])
def test_separates_modes_that_gaussians_cannot_see(width):
    # IN at +-3; OUT at 0, but one in ten so far out that mean and variance are those of IN.
    rng = np.random.default_rng(2)
    shape = (256 + 64, 100)
    membership = rng.random(shape) < 0.5
    away = np.where(rng.random(shape) < 0.1, 3 / np.sqrt(0.1), 0)
    confidence = rng.choice([-1, 1], shape) * np.where(membership, 3, away)
    confidence += 0.3 * rng.standard_normal(shape)
    targets = np.arange(64)
    inside = membership[targets].ravel()
    kernel = kernel_lira(confidence, membership, targets, width=width)
    assert roc_auc_score(inside, kernel.ravel()) > 0.95
    assert roc_auc_score(inside, lira(confidence, membership, targets).ravel()) < 0.7


def test_no_target_is_a_reference_of_itself_or_of_another():
    confidence, membership = gaussians(40, 15, seed=3)
    targets = [3, 8]
    scores = kernel_lira(confidence, membership, targets)
    membership[targets] = ~membership[targets]
    np.testing.assert_array_equal(kernel_lira(confidence, membership, targets), scores)
    confidence[8] += 100
    np.testing.assert_array_equal(kernel_lira(confidence, membership, targets)[0], scores[0])
    confidence[9] += 1  # a reference does matter
    assert (kernel_lira(confidence, membership, targets)[0] != scores[0]).any()


def test_permuted_membership_gives_chance():
    confidence, membership = gaussians(96, 400, seed=4, shift=3.0)
    shuffled = np.random.default_rng(4).permuted(membership, axis=0)
    scores = kernel_lira(confidence, shuffled, np.arange(32))
    spread = np.sqrt(1 / (3 * scores.size))  # of an AUROC under the null, half of them members
    assert abs(roc_auc_score(shuffled[:32].ravel(), scores.ravel()) - 0.5) < 4 * spread


def test_targets_come_back_in_the_order_asked_for():
    confidence, membership = gaussians(40, 15, seed=5)
    by_mask = kernel_lira(confidence, membership, np.isin(np.arange(40), [2, 7, 30]))
    np.testing.assert_array_equal(kernel_lira(confidence, membership, [2, 7, 30]), by_mask)
    got = kernel_lira(confidence, membership, [30, 2, 7])
    np.testing.assert_array_equal(got[0], by_mask[2])


def test_ignores_the_unit_and_origin_of_confidence_and_changes_sign_with_the_sides():
    confidence, membership = gaussians(60, 15, seed=6)
    scores = kernel_lira(confidence, membership, [0, 1, 2])
    scaled = kernel_lira(10 * confidence - 4, membership, [0, 1, 2])
    np.testing.assert_allclose(scaled, scores, rtol=1e-9, atol=1e-9)
    swapped = kernel_lira(confidence, ~membership, [0, 1, 2])
    np.testing.assert_allclose(swapped, -scores, rtol=1e-12)


@pytest.mark.parametrize("values", [1, 1000])
def test_does_not_depend_on_the_size_of_a_block(monkeypatch, values):
    confidence, membership = gaussians(100, 10, seed=7)
    whole = kernel_lira(confidence, membership, np.arange(50))
    monkeypatch.setattr(MODULE, "_VALUES_PER_BLOCK", values)
    got = kernel_lira(confidence, membership, np.arange(50))
    np.testing.assert_allclose(got, whole, rtol=1e-12, atol=1e-12)


def test_float32_gives_the_scores_of_float64():
    confidence, membership = gaussians(60, 40, seed=8)
    narrow = confidence.astype(np.float32)
    wide = kernel_lira(narrow.astype(np.float64), membership, [0, 1])
    np.testing.assert_allclose(kernel_lira(narrow, membership, [0, 1]), wide, rtol=1e-12)


def test_scores_of_queries_are_summed():
    confidence, membership = gaussians(60, 24, seed=9)
    cube, inside = confidence.reshape(60, 12, 2), membership[:, ::2]
    got = kernel_lira(cube, inside, [0, 1])
    each = [kernel_lira(cube[:, :, query], inside, [0, 1]) for query in range(2)]
    np.testing.assert_allclose(got, each[0] + each[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_tails_are_finite_and_follow_the_nearest_reference(dtype):
    confidence, membership = gaussians(80, 3, seed=10)
    confidence[:2] = [[1e6], [-1e6]]
    confidence = confidence.astype(dtype)
    got = kernel_lira(confidence, membership, [0, 1])
    assert np.isfinite(got).all()
    for e in range(3):
        inside = confidence[2:, e][membership[2:, e]].astype(float)
        outside = confidence[2:, e][~membership[2:, e]].astype(float)
        z_in = (confidence[0, e] - inside.max()) / silverman(inside)
        z_out = (confidence[0, e] - outside.max()) / silverman(outside)
        assert got[0, e] == pytest.approx((z_out**2 - z_in**2) / 2, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_references_that_all_agree_give_a_finite_score_of_the_right_sign(dtype):
    membership = np.repeat([[True], [False], [True], [False]], [1, 1, 8, 8], axis=0)
    confidence = np.where(membership, 3.3, -1.1).astype(dtype)
    member, other = kernel_lira(confidence, membership, [0, 1])[:, 0]
    assert member == pytest.approx(0.5 * (4.4 / 1e-6) ** 2, rel=1e-6)  # the least bandwidth
    assert other == pytest.approx(-member)


def test_where_most_references_agree_the_standard_deviation_stands_for_the_quartiles():
    inside, outside = np.array([0.0] * 7 + [4.0]), np.arange(8.0)
    confidence = np.concatenate([[1.0], inside, outside])[:, None]
    membership = np.repeat([[True], [False]], [9, 8], axis=0)
    expected = scipy_log_density(inside, 1.0, 0.9 * inside.std() * 8**-0.2)
    expected -= scipy_log_density(outside, 1.0, silverman(outside))
    assert kernel_lira(confidence, membership, [0])[0, 0] == pytest.approx(expected)


def test_below_four_references_the_deviation_is_the_pooled_one_of_that_side():
    rng = np.random.default_rng(12)
    membership = np.zeros((41, 30), dtype=bool)
    membership[1:21] = True
    membership[4:, 0] = False  # 3 IN, 37 OUT
    confidence = rng.standard_normal((41, 30)) * np.where(membership, 1.0, 2.0) + 2 * membership
    squares = freedom = 0.0
    for e in range(30):
        x = confidence[1:, e][membership[1:, e]]
        squares, freedom = squares + ((x - x.mean()) ** 2).sum(), freedom + len(x) - 1
    phi, x_in, x_out = confidence[0, 0], confidence[1:4, 0], confidence[4:, 0]
    pooled = 0.9 * np.sqrt(squares / freedom) * 3**-0.2
    expected = scipy_log_density(x_in, phi, pooled)
    expected -= scipy_log_density(x_out, phi, silverman(x_out))
    assert kernel_lira(confidence, membership, [0])[0, 0] == pytest.approx(expected)
    membership[4, 0] = True  # a fourth: its own deviation counts
    x_in, x_out = confidence[1:5, 0], confidence[5:, 0]
    expected = scipy_log_density(x_in, phi, silverman(x_in))
    expected -= scipy_log_density(x_out, phi, silverman(x_out))
    assert kernel_lira(confidence, membership, [0])[0, 0] == pytest.approx(expected)


def test_without_references_on_a_side_the_score_is_zero():
    confidence, membership = gaussians(40, 6, seed=14)
    membership[1:, 0] = True  # never OUT among the references
    membership[1:, 1] = False  # never IN
    scores = kernel_lira(confidence, membership, [0])[0]
    assert np.isfinite(scores).all()
    assert (scores == 0).tolist() == [True, True, False, False, False, False]


def test_makes_no_matrix_of_all_targets_and_references():
    membership = Balanced(4).rows(0, 4096)
    confidence = np.random.default_rng(17).standard_normal((4096, 4), dtype=np.float32)
    tracemalloc.start()
    kernel_lira(confidence, membership, np.arange(2048))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6  # of one example and side it would take 17 MB


def test_is_never_a_silent_nan_with_one_reference_a_side():
    scores = kernel_lira([[1.0], [2.0], [0.5]], [[True], [True], [False]], [0])
    assert np.isfinite(scores).all()
    assert scores[0, 0] < 0  # 1 lies nearer to 0.5, which is OUT


GOOD = np.array([[True, False], [False, True], [True, True], [False, False]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width is 0, expected a finite number above 0"),
        ({"width": -1.0}, "width is -1.0, expected"),
        ({"width": np.nan}, "width is nan, expected"),
        ({"width": np.inf}, "width is inf, expected"),
        ({"confidence": np.zeros((3, 2))}, r"confidence has shape \[3, 2\] and membership has"),
        ({"confidence": np.zeros((4, 3, 2))}, r"confidence has shape \[4, 3\] and membership has"),
        ({"confidence": np.zeros(4)}, r"confidence has shape \[4\], expected \[models, examples\]"),
        ({"confidence": np.zeros((4, 2, 0))}, "confidence is empty"),
        ({"confidence": np.full((4, 2), np.nan)}, "confidence must be finite"),
        ({"confidence": np.full((4, 2), -np.inf)}, "confidence must be finite"),
        ({"membership": GOOD * 0.5}, "membership has dtype float64"),
        ({"membership": GOOD[0]}, r"membership has shape \[2\]"),
        ({"targets": [4]}, "targets holds row 4, expected rows from 0 to 3 of the 4 models"),
        ({"targets": [1, 0, 1]}, "targets holds row 1 2 times"),
        ({"targets": []}, r"targets has shape \[0\], expected one axis with at least one row"),
        ({"targets": [0.0]}, "targets has dtype float64, expected integers"),
        ({"targets": range(4)}, "targets holds all 4 models, expected some to be left as refer"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"confidence": np.zeros((4, 2)), "membership": GOOD, "targets": [0]}
    with pytest.raises(ValueError, match=message):
        kernel_lira(**arguments | change)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_normality_is_rejected_on_a_share_alpha_of_gaussians(alpha):
    rng = np.random.default_rng(18)
    values = rng.normal(rng.normal(0, 5, 2000), rng.uniform(0.1, 9, 2000), (40, 2000))
    got = normality_rejections(values, alpha)
    assert got.tested == 2000
    assert got.constant == 0
    assert got.share == pytest.approx(alpha, abs=4 * np.sqrt(alpha / 2000) + 0.1 * alpha)


def test_normality_is_rejected_on_the_columns_that_are_not_gaussian():
    rng = np.random.default_rng(19)
    values = rng.standard_normal((200, 100))
    values[:, :30] = np.exp(values[:, :30])
    got = normality_rejections(values, alpha=1e-4)
    assert got == (0.3, 100, 0)


def test_constant_columns_count_neither_as_normal_nor_as_rejected():
    rng = np.random.default_rng(20)
    values = np.exp(rng.standard_normal((200, 10))).astype(np.float32)
    values[:, [2, 5]] = 7
    assert normality_rejections(values) == (1.0, 8, 2)


@pytest.mark.parametrize(
    ("values", "alpha", "message"),
    [
        (np.eye(2), 0.05, "values has 2 rows, expected 3 to 5000 draws of each column"),
        (np.zeros((5001, 1)), 0.05, "values has 5001 rows, expected 3 to 5000"),
        (np.ones((20, 3)), 0.05, "values is constant in all 3 columns, expected some that vary"),
        (np.eye(4)[0], 0.05, r"values has shape \[4\]"),
        (np.full((4, 2), np.nan), 0.05, "values must be finite"),
        (np.eye(4), 0.0, "alpha is 0.0, expected a level between 0 and 1"),
        (np.eye(4), 1.0, "alpha is 1.0, expected"),
        (np.eye(4), np.nan, "alpha is nan, expected"),
    ],
)
def test_bad_input_of_the_normality_test_is_named(values, alpha, message):
    with pytest.raises(ValueError, match=message):
        normality_rejections(values, alpha)
