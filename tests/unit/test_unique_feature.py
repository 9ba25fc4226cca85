import numpy as np
import pytest
from scipy import stats
from scipy.special import rel_entr, softmax

from benchsuite.memorization.unique_feature import (
    FLOOR,
    calibrated_score,
    clean_bound,
    clean_p_value,
    glyph_effect,
    prediction_p_value,
    stamp_divergences,
    unique_feature_score,
)

DRAW = np.random.default_rng(0)
CLEAN, UNIQUE, RANDOM = softmax(DRAW.normal(size=(3, 40, 5)), axis=2)
GLYPHS = softmax(DRAW.normal(size=(19, 40, 5)), axis=2)


def test_the_score_is_the_papers():
    score = unique_feature_score(CLEAN, UNIQUE, RANDOM)
    d_u = [sum(rel_entr(p, q)) for p, q in zip(CLEAN, UNIQUE, strict=True)]
    d_r = [sum(rel_entr(p, q)) for p, q in zip(CLEAN, RANDOM, strict=True)]
    assert score.x_u == pytest.approx(np.mean(d_u))
    assert score.x_r == pytest.approx(np.mean(d_r))
    assert score.m == pytest.approx(np.mean(d_u) - np.mean(d_r))
    assert score.p_value == pytest.approx(stats.ttest_rel(d_u, d_r, alternative="greater").pvalue)
    assert score.floored == 0


def test_the_other_direction_has_the_other_tail():
    score, swapped = (
        unique_feature_score(CLEAN, *pair) for pair in ((UNIQUE, RANDOM), (RANDOM, UNIQUE))
    )
    assert swapped.m == -score.m
    assert swapped.p_value == pytest.approx(1 - score.p_value)


def test_nothing_moves_a_model_that_ignores_the_feature():
    assert unique_feature_score(CLEAN, CLEAN, CLEAN) == (0, 0, 0, 1, 0)
    assert calibrated_score(CLEAN, CLEAN, [CLEAN] * 3)[:3] == (0, 1, 0)


def test_zeros_stay_finite_and_are_counted():
    one_hot = np.eye(5)[DRAW.integers(5, size=40)]
    score = unique_feature_score(one_hot, np.roll(one_hot, 1, axis=1), one_hot)
    assert score.x_u == pytest.approx(-np.log(FLOOR))
    assert score.x_r == 0
    assert score.floored == 3 * 40 * 4


def test_single_precision_is_let_through():
    single = [each.astype(np.float16) for each in (CLEAN, UNIQUE, RANDOM)]
    exact = unique_feature_score(CLEAN, UNIQUE, RANDOM)
    assert unique_feature_score(*single).m == pytest.approx(exact.m, rel=0.02)


def test_the_rank_counts_the_feature_itself_and_ties():
    x = [rel_entr(CLEAN, each).sum(1).mean() for each in GLYPHS]
    for k in (np.argmax(x), np.argmin(x), 7):
        score = calibrated_score(CLEAN, GLYPHS[k], np.delete(GLYPHS, k, axis=0))
        assert score.p_value == pytest.approx(np.sum(x >= x[k]) / 19)
        assert score.x_u == pytest.approx(x[k])
    tied = calibrated_score(CLEAN, GLYPHS[np.argmax(x)], GLYPHS)
    assert tied.p_value == pytest.approx(2 / 20)


def test_p_values_of_strange_glyphs_are_uniform():
    """The feature is one more random glyph: the false alarm rate is the level."""
    rng, found = np.random.default_rng(1), []
    for _ in range(400):
        outputs = softmax(rng.normal(size=(21, 10, 3)), axis=2)
        found.append(calibrated_score(outputs[0], outputs[1], outputs[2:]).p_value)
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert stats.kstest(found, "uniform").statistic < 0.1


def test_an_effect_is_in_deviations_of_the_glyphs():
    x = np.log([rel_entr(CLEAN, each).sum(1).mean() for each in GLYPHS])
    score = calibrated_score(CLEAN, UNIQUE, GLYPHS)
    expected = (np.log(rel_entr(CLEAN, UNIQUE).sum(1).mean()) - x.mean()) / x.std(ddof=1)
    assert score.effect == pytest.approx(expected)


def test_effects_of_many_models_are_those_of_each():
    x = rel_entr(CLEAN, GLYPHS).sum(2).mean(1)
    many = glyph_effect([x[0], x[1]], [x[2:], x[5:][::-1].repeat(2)[:17]])
    assert many[0] == pytest.approx(glyph_effect(x[0], x[2:]))
    assert many.shape == (2,)


def test_p_values_against_clean_models_are_uniform_for_one_more():
    rng = np.random.default_rng(2)
    found = [clean_p_value(*np.split(rng.normal(5, 3, 9), [1]))[0] for _ in range(2000)]
    assert stats.kstest(found, "uniform").statistic < 1.95 / np.sqrt(2000)  # p = 0.001


def test_a_p_value_is_that_of_a_prediction():
    clean = np.array([0.1, -0.4, 0.3, 0.2])
    t = (1.5 - clean.mean()) / (clean.std(ddof=1) * np.sqrt(1.25))
    assert clean_p_value([1.5, -9], clean) == pytest.approx([stats.t.sf(t, 3), 1], abs=1e-3)
    assert prediction_p_value([1.5, 2.0, 1.0], 1.0, [1.0, 0.0, 0.0], [4, 3, 3]) == pytest.approx(
        [stats.t.sf(0.5 / np.sqrt(1.25), 3), 0, 1]
    )


def test_a_bound_is_the_effect_whose_p_value_is_the_rate():
    clean = np.random.default_rng(5).normal(3, 2, size=(6, 4))
    bound = clean_bound(clean, 0.07)
    assert bound.shape == (4,)
    for of_part, effects in zip(bound, clean.T, strict=True):
        assert clean_p_value(of_part, effects) == pytest.approx(0.07)


@pytest.mark.parametrize("alike", [0.0, 1e-9, 1e-7])
@pytest.mark.parametrize("effect", [-0.7, 0.0, 300.0])
def test_clean_models_that_are_one_model_are_named(alike, effect):
    """At rounding level of single precision they are one too; whoever varies is let through."""
    clean = effect + alike * np.arange(4)
    with pytest.raises(ValueError, match=r"these clean models are one model.*vary their seed or"):
        clean_p_value(1.0, clean)
    with pytest.raises(ValueError, match="these clean models are one model"):
        clean_bound(np.transpose([[0.0, 1.0, 2.0, 3.0], clean]), 0.05)
    assert 0 < clean_p_value(effect + 0.1, effect + 0.01 * np.arange(4)) < 0.05


# ---- asking a model ----


def by_name(outputs):
    """A model that answers by an array's first number, and the list of what it is asked."""
    asked = []

    def predict(images):
        asked.append(int(images[0]))
        return outputs[int(images[0])]

    return predict, asked


def test_a_model_is_asked_once_about_the_clean_images_and_each_stamp():
    predict, asked = by_name([CLEAN, UNIQUE, RANDOM])
    divergences, floored = stamp_divergences(predict, np.zeros(40), np.ones((2, 40)) * [[1], [2]])
    assert asked == [0, 1, 2]
    expected = [rel_entr(CLEAN, each).sum(1) for each in (UNIQUE, RANDOM)]
    np.testing.assert_allclose(divergences, expected)
    assert floored.shape == (3, 40)
    assert floored.sum() == 0


def test_raised_probabilities_are_counted_for_each_image():
    zeros, whole = UNIQUE.copy(), np.eye(5)[np.full(40, 2)]
    zeros[7] = [0, 0, 0.5, 0.5, 0]
    predict, _ = by_name([CLEAN, zeros, whole])
    divergences, floored = stamp_divergences(predict, np.zeros(40), np.ones((2, 40)) * [[1], [2]])
    assert np.isfinite(divergences).all()
    assert floored[0].sum() == 0
    assert floored[1].tolist() == [3 * (image == 7) for image in range(40)]
    assert floored[2].tolist() == [4] * 40


def test_bad_answers_are_named():
    for outputs, message in (
        ([CLEAN - 1, UNIQUE], "clean holds values .* expected probabilities: apply softmax"),
        ([CLEAN, UNIQUE - 1], "stamped holds values .* expected probabilities: apply softmax"),
        ([CLEAN, UNIQUE[:30]], r"stamped has shape \(30, 5\) and clean \(40, 5\)"),
    ):
        with pytest.raises(ValueError, match=message):
            stamp_divergences(by_name(outputs)[0], np.zeros(40), [np.ones(40)])
    with pytest.raises(ValueError, match="stamped is empty"):
        stamp_divergences(by_name([CLEAN])[0], np.zeros(40), [])


def test_bad_clean_effects_are_named():
    with pytest.raises(ValueError, match=r"clean has 2 effects, expected .* at least 3"):
        clean_p_value(1.0, [0.0, 0.1])
    with pytest.raises(ValueError, match="clean"):
        clean_p_value(1.0, [0.0, 0.1, np.nan])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (CLEAN, UNIQUE + 0.1, RANDOM),
            "unique holds values from .* expected probabilities: apply",
        ),
        ((CLEAN, UNIQUE, 3 * RANDOM - 0.4), "random holds values from -.* expected probabilities"),
        ((CLEAN[:1], UNIQUE[:1], RANDOM[:1]), r"clean has shape \(1, 5\), .*at least 2 images"),
        ((CLEAN, UNIQUE[:, :4] / UNIQUE[:, :4].sum(1, keepdims=True), RANDOM), "unique has shape"),
        ((CLEAN, UNIQUE, RANDOM[:30]), r"random has shape \(30, 5\) and clean \(40, 5\)"),
        ((CLEAN * np.nan, UNIQUE, RANDOM), "clean .*nan"),
    ],
)
def test_bad_outputs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        unique_feature_score(*arguments)


@pytest.mark.parametrize("glyphs", [GLYPHS[:1], GLYPHS[:, :30], GLYPHS[0]])
def test_bad_glyphs_are_named(glyphs):
    with pytest.raises(ValueError, match=r"glyphs has shape .* expected \[glyphs, 40, 5\]"):
        calibrated_score(CLEAN, UNIQUE, glyphs)
