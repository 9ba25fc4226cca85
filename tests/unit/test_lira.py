import tracemalloc

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from benchsuite.attacks import LIRA_VARIANTS, lira, reference_counts, sides
from benchsuite.shadows.design import Balanced

PER_EXAMPLE = ("paper/online", "paper/offline", "tf-privacy/online", "tf-privacy/offline")
ONLINE = tuple(v for v in LIRA_VARIANTS if "offline" not in v)


def gaussians(models, examples, seed=0, shift=2.0, queries=None):
    """IN ~ N(base + shift, 1), OUT ~ N(base, spread); about half IN, counts differ by example."""
    rng = np.random.default_rng(seed)
    membership = rng.random((models, examples)) < 0.5
    shape = (models, examples) if queries is None else (models, examples, queries)
    base, spread = rng.normal(0, 3, shape[1:]), rng.uniform(0.5, 2, shape[1:])
    member = membership.reshape(membership.shape + (1,) * (len(shape) - 2))
    noise = rng.standard_normal(shape) * np.where(member, 1, spread)
    return base + shift * member + noise, membership, base, spread


def naive(confidence, membership, targets, variant):
    """Each variant in loops over targets and examples, from its row in the table of variants."""
    references = [row for row in range(len(membership)) if row not in set(targets)]
    inside, outside = [], []
    for e in range(membership.shape[1]):
        inside.append([confidence[r, e] for r in references if membership[r, e]])
        outside.append([confidence[r, e] for r in references if not membership[r, e]])
    if variant.startswith("tf-privacy"):
        inside = [values[: min(map(len, inside))] for values in inside]
        outside = [values[: min(map(len, outside))] for values in outside]
    residuals_in = [x - np.median(values) for values in inside for x in values]
    residuals_out = [x - np.median(values) for values in outside for x in values]
    freedom_in = sum(len(values) - 1 for values in inside)
    freedom_out = sum(len(values) - 1 for values in outside)
    scores = np.empty((len(targets), membership.shape[1]))
    for t, row in enumerate(targets):
        for e in range(membership.shape[1]):
            phi, x_in, x_out = confidence[row, e], inside[e], outside[e]
            match variant:
                case "paper/online":
                    score = norm.logpdf(phi, np.mean(x_in), np.std(x_in))
                    score -= norm.logpdf(phi, np.mean(x_out), np.std(x_out))
                case "paper/offline":
                    score = norm.logcdf(phi, np.mean(x_out), np.std(x_out))
                case "tf-privacy/online":
                    score = norm.logpdf(phi, np.median(x_in), np.std(x_in))
                    score -= norm.logpdf(phi, np.median(x_out), np.std(x_out))
                case "tf-privacy/online-fixed":
                    score = norm.logpdf(phi, np.median(x_in), np.std(np.concatenate(inside)))
                    score -= norm.logpdf(phi, np.median(x_out), np.std(np.concatenate(inside)))
                case "tf-privacy/offline":
                    score = -norm.logpdf(phi, np.median(x_out), np.std(x_out))
                case "tf-privacy/offline-fixed":
                    score = -norm.logpdf(phi, np.median(x_out), np.std(np.concatenate(outside)))
                case "residual-fixed":
                    scale_in = np.sqrt(sum(r**2 for r in residuals_in) / freedom_in)
                    scale_out = np.sqrt(sum(r**2 for r in residuals_out) / freedom_out)
                    score = norm.logpdf(phi, np.median(x_in), scale_in)
                    score -= norm.logpdf(phi, np.median(x_out), scale_out)
            scores[t, e] = score
    return scores


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_equals_loops_over_targets_and_examples(variant):
    confidence, membership, *_ = gaussians(41, 25)
    targets = [5, 0, 17, 40]
    got = lira(confidence, membership, targets, variant)
    assert got.shape == (4, 25)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, naive(confidence, membership, targets, variant), rtol=1e-9)


def truth(variant, phi, base, spread, shift):
    """The score of each variant when its Gaussians are the true ones."""
    match variant:
        case "paper/online" | "tf-privacy/online":
            return norm.logpdf(phi, base + shift, 1) - norm.logpdf(phi, base, spread)
        case "paper/offline":
            return norm.logcdf(phi, base, spread)
        case "tf-privacy/offline":
            return -norm.logpdf(phi, base, spread)
        case "residual-fixed":
            pooled = np.sqrt((spread**2).mean())
            return norm.logpdf(phi, base + shift, 1) - norm.logpdf(phi, base, pooled)
        case "tf-privacy/online-fixed":
            whole = np.sqrt(1 + base.var())
            return norm.logpdf(phi, base + shift, whole) - norm.logpdf(phi, base, whole)
        case "tf-privacy/offline-fixed":
            return -norm.logpdf(phi, base, np.sqrt((spread**2).mean() + base.var()))


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_approaches_the_score_of_the_true_gaussians(variant):
    confidence, membership, base, spread = gaussians(8000, 20, seed=1)
    got = lira(confidence, membership, np.arange(50), variant)
    expected = truth(variant, confidence[:50], base, spread, 2.0)
    error = np.abs(got - expected)
    assert np.median(error) < 0.04
    assert error.max() < 0.05 * (1 + np.abs(expected).max())


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_members_score_higher(variant):
    confidence, membership, *_ = gaussians(200, 60, seed=2, shift=4.0)
    scores = lira(confidence, membership, np.arange(40), variant)
    two_sided = variant.startswith("tf-privacy/offline")
    assert roc_auc_score(membership[:40].ravel(), scores.ravel()) > (0.8 if two_sided else 0.9)


def test_one_sided_and_two_sided_offline_differ_far_below_the_out_models():
    confidence = np.array([[-9.0], [9.0], *[[x] for x in (-1.0, 1.0) * 5]])
    membership = np.zeros(confidence.shape, dtype=bool)
    low, high = lira(confidence, membership, [0, 1], "paper/offline")[:, 0]
    assert low == pytest.approx(norm.logcdf(-9))
    assert high == pytest.approx(0, abs=1e-12)
    low, high = lira(confidence, membership, [0, 1], "tf-privacy/offline")[:, 0]
    assert low == high == pytest.approx(-norm.logpdf(9))


def test_log_densities_agree_with_published_figures():
    # tensorflow/privacy's advanced_mia_test: target [1,0,0,0], references [-1,1], [0,2], [0,20] and
    # none. Doubled here, for below 4 references no example's own deviation is used.
    one = np.array([[-1.0, 0, 0], [1, 2, 20]])
    confidence = np.column_stack([np.concatenate([one, one]), np.full(4, 5.0)])
    confidence = np.concatenate([confidence, [[1.0, 0, 0, 0]]])
    membership = np.zeros((5, 4), dtype=bool)
    membership[:4, 3] = True
    got = lira(confidence, membership, [4], "tf-privacy/offline")[0]
    np.testing.assert_allclose(got[:3], [1.41893853, 1.41893853, 3.72152363], atol=1e-8)
    assert got[3] == 0  # theirs borrows the column mean, ours has no evidence


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_permuted_membership_gives_chance(variant):
    confidence, membership, *_ = gaussians(96, 400, seed=3, shift=3.0)
    shuffled = np.random.default_rng(3).permuted(membership, axis=0)
    scores = lira(confidence, shuffled, np.arange(32), variant)
    pairs = 32 * 400
    spread = np.sqrt(1 / (3 * pairs))  # of an AUROC under the null, half of the pairs members
    assert abs(roc_auc_score(shuffled[:32].ravel(), scores.ravel()) - 0.5) < 4 * spread


@pytest.mark.parametrize("variant", ONLINE)
def test_a_target_among_its_own_references_would_look_exposed_on_null_data(variant):
    confidence, membership, *_ = gaussians(24, 500, seed=4, shift=0.0)
    twice = [np.concatenate([matrix, matrix]) for matrix in (confidence, membership)]
    leaky = lira(*twice, np.arange(24), variant)  # each target's copy is a reference
    leaky_auroc = roc_auc_score(membership.ravel(), leaky.ravel())
    honest = np.concatenate([lira(confidence, membership, [row], variant) for row in range(24)])
    honest_auroc = roc_auc_score(membership.ravel(), honest.ravel())
    assert leaky_auroc > 0.53
    assert honest_auroc < leaky_auroc - 0.05


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_no_target_is_a_reference_of_itself_or_of_another(variant):
    confidence, membership, *_ = gaussians(40, 15, seed=5)
    targets = [3, 8]
    scores = lira(confidence, membership, targets, variant)
    membership[targets] = ~membership[targets]
    np.testing.assert_array_equal(lira(confidence, membership, targets, variant), scores)
    confidence[8] += 100
    np.testing.assert_array_equal(lira(confidence, membership, targets, variant)[0], scores[0])
    confidence[9] += 1  # a reference does matter
    assert (lira(confidence, membership, targets, variant)[0] != scores[0]).any()


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_targets_come_back_in_the_order_asked_for(variant):
    confidence, membership, *_ = gaussians(40, 15, seed=6)
    mask = np.isin(np.arange(40), [2, 7, 30])
    by_mask = lira(confidence, membership, mask, variant)
    np.testing.assert_array_equal(lira(confidence, membership, [2, 7, 30], variant), by_mask)
    np.testing.assert_array_equal(lira(confidence, membership, [30, 2, 7], variant)[0], by_mask[2])


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_follows_the_order_of_examples_and_ignores_that_of_references(variant):
    confidence, membership, *_ = gaussians(40, 15, seed=7)
    rng = np.random.default_rng(7)
    scores = lira(confidence, membership, [0, 1], variant)
    order = rng.permutation(15)
    moved = lira(confidence[:, order], membership[:, order], [0, 1], variant)
    np.testing.assert_allclose(moved, scores[:, order], rtol=1e-12)
    if not variant.startswith("tf-privacy"):  # which cuts: it keeps the first ones
        rows = np.concatenate([[0, 1], 2 + rng.permutation(38)])
        again = lira(confidence[rows], membership[rows], [0, 1], variant)
        np.testing.assert_allclose(again, scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", ONLINE)
def test_ratios_ignore_the_unit_and_origin_of_confidence(variant):
    confidence, membership, *_ = gaussians(60, 15, seed=8)
    scores = lira(confidence, membership, [0, 1, 2], variant)
    scaled = lira(10 * confidence - 4, membership, [0, 1, 2], variant)
    np.testing.assert_allclose(scaled, scores, rtol=1e-9, atol=1e-9)
    swapped = lira(confidence, ~membership, [0, 1, 2], variant)
    if variant != "tf-privacy/online-fixed":  # whose one deviation is that of IN
        np.testing.assert_allclose(swapped, -scores, rtol=1e-12)


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
@pytest.mark.parametrize("values", [1, 1000])
def test_does_not_depend_on_the_size_of_a_block(monkeypatch, variant, values):
    confidence, membership, *_ = gaussians(60, 40, seed=9)
    whole = lira(confidence, membership, [0, 1, 2], variant)
    monkeypatch.setattr(sides, "_VALUES_PER_BLOCK", values)
    np.testing.assert_array_equal(lira(confidence, membership, [0, 1, 2], variant), whole)


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_float32_gives_the_scores_of_float64(variant):
    confidence, membership, *_ = gaussians(60, 40, seed=10)
    narrow = confidence.astype(np.float32)
    np.testing.assert_allclose(
        lira(narrow, membership, [0, 1], variant),
        lira(narrow.astype(np.float64), membership, [0, 1], variant),
        rtol=1e-12,
    )


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_queries_are_summed_by_the_paper_and_averaged_by_the_others(variant):
    confidence, membership, *_ = gaussians(60, 12, seed=11, queries=3)
    got = lira(confidence, membership, [0, 1], variant)
    assert got.shape == (2, 12)
    one = lira(confidence[:, :, :1], membership, [0, 1], variant)
    np.testing.assert_allclose(one, lira(confidence[:, :, 0], membership, [0, 1], variant))
    if variant in PER_EXAMPLE:
        each = [lira(confidence[:, :, q], membership, [0, 1], variant) for q in range(3)]
        combine = np.sum if variant.startswith("paper") else np.mean
        np.testing.assert_allclose(got, combine(each, axis=0), rtol=1e-9)
    else:  # the fixed scale is that of all queries together: as if each were an example
        flat = confidence.reshape(60, 36)
        by_query = lira(flat, np.repeat(membership, 3, axis=1), [0, 1], variant)
        np.testing.assert_allclose(got, by_query.reshape(2, 12, 3).mean(axis=2), rtol=1e-9)


def test_below_four_references_the_deviation_is_the_pooled_one_of_that_side():
    rng = np.random.default_rng(12)
    rows = 41
    membership = np.zeros((rows, 30), dtype=bool)
    membership[1:21] = True
    membership[1:, 0] = False
    membership[1:4, 0] = True  # 3 IN, 37 OUT
    confidence = rng.standard_normal((rows, 30)) * np.where(membership, 1.0, 2.0) + 2 * membership
    got = lira(confidence, membership, [0], "paper/online")[0]
    squares = freedom = 0.0
    for e in range(30):
        x = confidence[1:, e][membership[1:, e]]
        squares, freedom = squares + ((x - x.mean()) ** 2).sum(), freedom + len(x) - 1
    x_in, x_out = confidence[1:4, 0], confidence[4:, 0]
    expected = norm.logpdf(confidence[0, 0], x_in.mean(), np.sqrt(squares / freedom))
    expected -= norm.logpdf(confidence[0, 0], x_out.mean(), x_out.std())
    assert got[0] == pytest.approx(expected)
    membership[4, 0] = True  # a fourth: its own deviation counts
    got = lira(confidence, membership, [0], "paper/online")[0]
    x_in, x_out = confidence[1:5, 0], confidence[5:, 0]
    expected = norm.logpdf(confidence[0, 0], x_in.mean(), x_in.std())
    expected -= norm.logpdf(confidence[0, 0], x_out.mean(), x_out.std())
    assert got[0] == pytest.approx(expected)


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_one_example_with_few_references_does_not_cut_the_others(variant):
    confidence, membership, *_ = gaussians(81, 30, seed=13)
    scarce = membership.copy()
    scarce[1:, 0] = False
    scarce[1:3, 0] = True
    before = lira(confidence[:, 1:], membership[:, 1:], [0], variant)
    after = lira(confidence, scarce, [0], variant)[:, 1:]
    if variant in PER_EXAMPLE and "online" in variant:
        np.testing.assert_allclose(after, before, rtol=1e-9)
    else:  # a scale, or the cut of OUT, has one example more
        assert np.corrcoef(after[0], before[0])[0, 1] > 0.9


@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_without_references_on_a_side_it_needs_the_score_is_zero(variant):
    confidence, membership, *_ = gaussians(40, 6, seed=14)
    membership[1:, 0] = True  # never OUT among the references
    membership[1:, 1] = False  # never IN
    scores = lira(confidence, membership, [0], variant)[0]
    assert np.isfinite(scores).all()
    assert scores[0] == 0
    assert (scores[1] == 0) == (variant in ONLINE)
    assert (scores[2:] != 0).all()
    n_in, n_out = reference_counts(membership, [0])
    np.testing.assert_array_equal(n_in[:2], [39, 0])
    np.testing.assert_array_equal(n_in + n_out, 39)


@pytest.mark.parametrize("variant", ["paper/online", "tf-privacy/online", "residual-fixed"])
def test_with_one_pair_of_references_both_sides_share_one_deviation(variant):
    confidence, membership = np.random.default_rng(15).normal(size=(22, 50)), np.zeros((22, 50))
    membership = membership.astype(bool)
    membership[20] = True
    scores = lira(confidence, membership, np.arange(20), variant)
    gap = (confidence[:20] - confidence[21]) ** 2 - (confidence[:20] - confidence[20]) ** 2
    np.testing.assert_allclose(scores, gap / (2 * confidence[20:].var()), rtol=1e-9)


def test_a_side_without_two_references_anywhere_borrows_the_deviation_of_the_other():
    rng = np.random.default_rng(16)
    confidence, membership = rng.normal(size=(22, 50)), np.zeros((22, 50), dtype=bool)
    membership[1] = True  # one IN reference each, 20 OUT
    score = lira(confidence, membership, [0], "residual-fixed")[0]
    median = np.median(confidence[2:], axis=0)
    scale = np.sqrt(((confidence[2:] - median) ** 2).sum() / (50 * 19))
    expected = norm.logpdf(confidence[0], confidence[1], scale)
    expected -= norm.logpdf(confidence[0], median, scale)
    np.testing.assert_allclose(score, expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("variant", LIRA_VARIANTS)
def test_references_that_all_agree_give_a_finite_score_of_the_right_sign(variant, dtype):
    membership = np.repeat([[True], [False]], 8, axis=0) & np.ones((16, 3), dtype=bool)
    confidence = np.where(membership, 3.3, -1.1)
    confidence = np.concatenate([np.full((1, 3), 3.3), np.full((1, 3), -1.1), confidence])
    membership = np.concatenate([membership[:1], membership[8:9], membership])
    member, other = lira(confidence.astype(dtype), membership, [0, 1], variant)
    assert np.isfinite([member, other]).all()
    assert (member > other).all()
    if variant in ("paper/online", "tf-privacy/online"):  # 4.4 nats in units of the least deviation
        np.testing.assert_allclose(member, 0.5 * (4.4 / 1e-6) ** 2, rtol=1e-6)


def test_is_never_a_silent_nan_for_scores_from_a_single_example():
    for variant in LIRA_VARIANTS:
        scores = lira([[1.0], [2.0], [0.5]], [[True], [True], [False]], [0], variant)
        assert np.isfinite(scores).all()


def test_reference_counts_leave_the_targets_out():
    membership = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    n_in, n_out = reference_counts(membership, [3])
    assert (n_in.tolist(), n_out.tolist()) == ([2, 2, 0], [1, 1, 3])
    n_in, n_out = reference_counts(membership, np.array([True, False, True, False]))
    assert (n_in.tolist(), n_out.tolist()) == ([2, 1, 0], [0, 1, 2])


def test_reads_the_matrix_in_blocks_and_never_copies_it_to_float64():
    rng = np.random.default_rng(17)
    models, examples = 400, 20_000
    membership = Balanced(examples).rows(0, models)
    confidence = rng.standard_normal((models, examples), dtype=np.float32)
    for variant in ("tf-privacy/online", "residual-fixed"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sides, "_VALUES_PER_BLOCK", 2**17)
            tracemalloc.start()
            lira(confidence, membership, np.arange(8), variant)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < confidence.nbytes * 0.75  # 32 MB; in float64 it would be 64


GOOD = np.array([[True, False], [False, True], [True, True], [False, False]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "online"}, "variant is 'online', expected one of: paper/online, paper/offl"),
        ({"confidence": np.zeros((3, 2))}, r"confidence has shape \[3, 2\] and membership has"),
        ({"confidence": np.zeros((4, 3, 2))}, r"confidence has shape \[4, 3\] and membership has"),
        ({"confidence": np.zeros(4)}, r"confidence has shape \[4\], expected \[models, examples\]"),
        ({"confidence": np.zeros((4, 2, 0))}, "confidence is empty"),
        ({"confidence": np.full((4, 2), np.nan)}, "confidence must be finite"),
        ({"confidence": np.full((4, 2), -np.inf)}, "confidence must be finite"),
        ({"confidence": np.full((4, 2), "x")}, "confidence has dtype"),
        ({"membership": GOOD * 0.5}, "membership has dtype float64"),
        ({"membership": GOOD[0]}, r"membership has shape \[2\]"),
        ({"targets": [4]}, "targets holds row 4, expected rows from 0 to 3 of the 4 models"),
        ({"targets": [-1]}, "targets holds row -1, expected rows from 0 to 3"),
        ({"targets": [1, 0, 1]}, "targets holds row 1 2 times"),
        ({"targets": []}, r"targets has shape \[0\], expected one axis with at least one row"),
        ({"targets": 1}, r"targets has shape \[\], expected one axis"),
        ({"targets": [0.0]}, "targets has dtype float64, expected integers"),
        ({"targets": [True, False]}, "targets is a mask of 2 values with 1 True, expected one"),
        ({"targets": [False] * 4}, "targets is a mask of 4 values with 0 True"),
        ({"targets": range(4)}, "targets holds all 4 models, expected some to be left as refer"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"confidence": np.zeros((4, 2)), "membership": GOOD, "targets": [0]}
    with pytest.raises(ValueError, match=message):
        lira(**arguments | change)


def test_bad_targets_are_named_by_reference_counts_too():
    with pytest.raises(ValueError, match="targets holds row 9"):
        reference_counts(GOOD, [9])
    with pytest.raises(ValueError, match="membership has shape"):
        reference_counts(GOOD[0], [0])
