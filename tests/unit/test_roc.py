import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from benchsuite.stats.intervals import clopper_pearson
from benchsuite.stats.roc import auroc, roc_curve, threshold_at_fpr, tpr_at_fpr

any_scores = st.integers(-3, 3) | st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def scored(draw, scores=any_scores):
    """Scores with ties and at least one member and one non-member."""
    size = draw(st.integers(2, 40))
    values = np.array(draw(st.lists(scores, min_size=size, max_size=size)), dtype=np.float64)
    member = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    member[0], member[1] = True, False
    return values, member


rates = st.floats(0, 1) | st.integers(0, 20).map(lambda k: k / 20) | st.sampled_from([0.29, 0.3])


def test_published_threshold_attack():
    train, test = [0.1, 0.2, 1.3, 0.4, 0.5, 0.6], [1.1, 1.2, 1.3, 0.4, 1.5, 1.6]
    scores = -np.array(train + test)
    assert auroc(scores, [True] * 6 + [False] * 6) == pytest.approx(0.83, abs=0.005)


def test_ties_belong_together():
    scores, member = [9, 9, 5, 5], [1, 0, 1, 0]
    assert auroc(scores, member) == 0.5
    np.testing.assert_array_equal(roc_curve(scores, member).fpr, [0, 0.5, 1])
    np.testing.assert_array_equal(roc_curve(scores, member).tpr, [0, 0.5, 1])
    assert tpr_at_fpr(scores, member, 0.49).tpr == 0  # not 0.5: the tied non-member comes along
    assert tpr_at_fpr(scores, member, 0.5).tpr == 0.5


@given(scored())
def test_auroc_counts_pairs(case):
    scores, member = case
    inside, outside = scores[member][:, None], scores[~member]
    pairs = (inside > outside).mean() + (inside == outside).mean() / 2
    assert auroc(scores, member) == pytest.approx(pairs, abs=1e-12)


@given(scored())
def test_scikit_learn_agrees(case):
    scores, member = case
    curve = roc_curve(scores, member)
    fpr, tpr, thresholds = metrics.roc_curve(member, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-15)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-15)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    assert auroc(scores, member) == pytest.approx(metrics.roc_auc_score(member, scores), abs=1e-12)


@given(scored())
def test_every_point_is_the_decision_at_its_threshold(case):
    scores, member = case
    curve = roc_curve(scores, member)
    for fpr, tpr, threshold in zip(*curve, strict=True):
        said_member = scores >= threshold
        assert fpr == said_member[~member].mean()
        assert tpr == said_member[member].mean()


@given(scored(), rates)
def test_the_rate_is_the_last_point_within_the_allowance(case, rate):
    curve = roc_curve(*case)
    last = np.flatnonzero(curve.fpr <= rate)[-1]
    result = tpr_at_fpr(*case, rate)
    assert (result.tpr, result.realised_fpr) == (curve.tpr[last], curve.fpr[last])
    assert result.non_members == np.count_nonzero(~case[1])


@given(scored(), rates, rates)
def test_a_larger_allowance_never_lowers_the_rate(case, one, other):
    least, most = sorted([one, other])
    assert tpr_at_fpr(*case, least).tpr <= tpr_at_fpr(*case, most).tpr
    assert tpr_at_fpr(*case, 1.0).tpr == 1


@given(scored(scores=st.integers(-50, 50)), rates)
def test_only_the_order_of_scores_counts(case, rate):
    scores, member = case
    stretched = np.exp(scores / 10) - 3
    assert auroc(stretched, member) == auroc(scores, member)
    assert tpr_at_fpr(stretched, member, rate).tpr == tpr_at_fpr(scores, member, rate).tpr


@given(scored())
def test_swapping_members_and_non_members_mirrors_the_area(case):
    scores, member = case
    assert auroc(scores, ~member) == pytest.approx(1 - auroc(scores, member), abs=1e-12)
    assert auroc(-scores, ~member) == auroc(scores, member)


def test_the_interval_is_over_members_at_the_threshold():
    scores = np.arange(200.0)
    member = np.zeros(200, dtype=bool)
    member[180:199] = True
    result = tpr_at_fpr(scores, member, 1 / 181)
    assert (result.tpr, result.realised_fpr, result.non_members) == (1.0, 1 / 181, 181)
    np.testing.assert_array_equal(result.interval, clopper_pearson(19, 19))
    none = tpr_at_fpr(scores, member, 0.001)  # 181 non-members cannot resolve 0.1 %
    assert (none.tpr, none.realised_fpr) == (0.0, 0.0)
    np.testing.assert_array_equal(none.interval, clopper_pearson(0, 19))


def test_pooled_results_are_plain_numbers():
    result = tpr_at_fpr([1.0, 0.0], [True, False], 0.5)
    assert type(result.tpr) is type(result.realised_fpr) is float
    assert type(result.non_members) is int
    assert type(auroc([1.0, 0.0], [True, False])) is float


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_one_by_one_and_pooled(dtype):
    rng = np.random.default_rng(0)
    member = rng.random((5, 300)) < 0.5
    scores = (rng.normal(size=member.shape) + member + np.arange(5)[:, None]).astype(dtype)
    each = tpr_at_fpr(scores, member, 0.05, axis=1)
    for target in range(5):
        alone = tpr_at_fpr(scores[target], member[target], 0.05)
        for one, many in zip(alone, each, strict=True):
            np.testing.assert_array_equal(one, many[target])
    assert each.interval.shape == (5, 2)
    pooled = tpr_at_fpr(scores, member, 0.05)
    assert pooled.tpr == tpr_at_fpr(scores.ravel(), member.ravel(), 0.05).tpr
    assert pooled.tpr < each.tpr.mean()  # one threshold for targets whose scores are shifted
    assert auroc(scores, member) == auroc(scores.ravel(), member.ravel())
    assert roc_curve(scores, member).thresholds.dtype == dtype


def test_an_even_rate_allows_what_it_says():
    # 0.29 * 100 is 28.999... in floating point, and a floor of it would lose one false positive.
    scores, member = np.arange(200.0), np.arange(200) % 2 == 0
    assert tpr_at_fpr(scores, member, 0.29).realised_fpr == 0.29


@given(scored(), rates)
def test_above_the_threshold_are_the_rates_at_that_fpr(case, rate):
    scores, member = case
    accused = scores > threshold_at_fpr(scores, member, rate)
    result = tpr_at_fpr(scores, member, rate)
    assert accused[member].mean() == result.tpr
    assert accused[~member].mean() == result.realised_fpr


@given(scored(), rates)
def test_the_threshold_is_a_non_members_score_and_the_least_that_will_do(case, rate):
    scores, member = case
    threshold, outside = threshold_at_fpr(scores, member, rate), scores[~member]
    if threshold == -np.inf:
        assert rate == 1
        return
    assert threshold in outside
    assert (outside > threshold).mean() <= rate < (outside >= threshold).mean()


def test_tied_non_members_share_the_threshold():
    scores, member = [9, 9, 5, 5, 5, 1], [1, 0, 0, 0, 1, 0]
    thresholds = [threshold_at_fpr(scores, member, rate) for rate in (0, 0.25, 0.5, 0.75, 0.99)]
    assert thresholds == [9, 5, 5, 1, 1]


def test_where_all_may_be_accused_all_are():
    assert threshold_at_fpr([1.0, 2.0, 3.0], [True, False, False], 1.0) == -np.inf
    assert threshold_at_fpr([1.0, 2.0, 3.0], [True, False, False], 0.999) == 2


def test_members_have_no_say_in_the_threshold():
    member = np.arange(100) % 3 == 0
    scores = np.random.default_rng(0).normal(size=100)
    moved = np.where(member, scores - 50, scores)
    assert threshold_at_fpr(moved, member, 0.1) == threshold_at_fpr(scores, member, 0.1)


def test_an_even_rate_allows_what_it_says_to_a_threshold_too():
    scores, member = np.arange(200.0), np.arange(200) % 2 == 0
    assert threshold_at_fpr(scores, member, 0.29) == 199 - 2 * 29


@pytest.mark.parametrize("shape", [(400,), (4, 100)])
def test_a_threshold_of_float32_scores_divides_them_as_exactly(shape):
    """A double that is not a float32 would fall beside the score that it stands for."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=shape).astype(np.float32)
    member = rng.random(shape) < 0.5
    for rate in (0.01, 0.1, 0.3):
        threshold = threshold_at_fpr(scores, member, rate)
        assert type(threshold) is float
        assert np.float32(threshold) == threshold
        assert (scores > threshold)[member].mean() == tpr_at_fpr(scores, member, rate).tpr
        assert threshold == threshold_at_fpr(scores.ravel(), member.ravel(), rate)


@pytest.mark.parametrize(
    "function",
    [
        auroc,
        roc_curve,
        lambda s, m: tpr_at_fpr(s, m, 0.1),
        lambda s, m: threshold_at_fpr(s, m, 0.1),
    ],
    ids=["auroc", "roc_curve", "tpr_at_fpr", "threshold_at_fpr"],
)
@pytest.mark.parametrize(
    ("scores", "member", "message"),
    [
        ([1.0, np.inf], [True, False], "scores must be finite"),
        ([1.0, np.nan], [True, False], "scores must be finite"),
        ([1.0, 2.0], [True, True], "membership holds 2 members and 0 non-members"),
        ([1.0, 2.0], [False, False], "membership holds 0 members and 2 non-members"),
        (
            [1.0, 2.0],
            [[True], [False]],
            r"scores has shape \[2\] and membership has shape \[2, 1\]",
        ),
        ([1.0, 2.0], [1.0, 0.0], "membership has dtype float64"),
    ],
)
def test_wrong_arguments_are_named(function, scores, member, message):
    with pytest.raises(ValueError, match=message):
        function(scores, member)


def test_a_target_of_one_class_is_named():
    with pytest.raises(ValueError, match=r"membership\[1\] holds 2 members and 0 non-members"):
        tpr_at_fpr(np.zeros((2, 2)), [[True, False], [True, True]], 0.1, axis=1)


@pytest.mark.parametrize(("shape", "axis"), [((4,), 1), ((2, 2), 0), ((2, 2), 2)])
def test_another_axis_is_refused(shape, axis):
    member = np.resize([True, False], shape)
    with pytest.raises(ValueError, match=f"axis is {axis} for scores of shape"):
        tpr_at_fpr(np.zeros(shape), member, 0.1, axis=axis)


@pytest.mark.parametrize("rate", [-0.1, 1.1, np.nan])
@pytest.mark.parametrize("function", [tpr_at_fpr, threshold_at_fpr])
def test_a_rate_that_is_none_is_named(function, rate):
    with pytest.raises(ValueError, match=r"fpr is .* expected a rate between 0 and 1"):
        function([1.0, 0.0], [True, False], rate)
