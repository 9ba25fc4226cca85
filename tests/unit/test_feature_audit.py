import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from benchsuite.data.canaries import Feature
from benchsuite.data.glyphs import glyph
from benchsuite.memorization import audit_feature, calibrated_score, unique_feature_score


def images(count, seed):
    return np.random.default_rng(seed).random((count, 8, 8))


def predict_by(classifier):
    return lambda given: classifier.predict_proba(given.reshape(len(given), -1))


def fitted(seed, feature=None):
    """Of 200 random images; with a feature, all of one class bear it."""
    pool, labels = images(200, seed), np.arange(200) % 2
    if feature is not None:
        pool[labels == 1] = feature.stamped(pool[labels == 1])
    return predict_by(LogisticRegression().fit(pool.reshape(200, -1), labels))


FEATURE, OUTSIDE = Feature(), images(50, 2)
CLEAN = [fitted(seed) for seed in range(10, 16)]


def test_a_classifier_of_another_library_is_audited():
    audit = audit_feature(fitted(1, FEATURE), OUTSIDE, FEATURE, clean=CLEAN)
    assert audit.memorized
    assert audit.score.m > 0
    assert audit.p_value < 0.02
    assert "Memorized" in str(audit)
    assert "6 clean models" in str(audit)


def of_random_weights(seed):
    weights = np.random.default_rng(seed).normal(size=(64, 4))
    return lambda given: softmax(given.reshape(len(given), -1) @ weights, axis=1)


def test_clean_models_raise_false_alarms_at_the_stated_rate():
    """Each of many models against ten others: 5 standard errors around a fifth."""
    alarms = [
        audit_feature(
            of_random_weights(seed),
            OUTSIDE,
            FEATURE,
            clean=[of_random_weights(10_000 + 10 * seed + k) for k in range(10)],
            false_alarm_rate=0.2,
            glyphs=19,
        ).memorized
        for seed in range(200)
    ]
    assert np.mean(alarms) == pytest.approx(0.2, abs=5 * np.sqrt(0.2 * 0.8 / 200))


def test_a_rank_among_candidates_needs_no_clean_models():
    others = [Feature(glyph(letter)) for letter in "BCDEFGHIJKLMNOPQRSTUV"]
    audit = audit_feature(fitted(1, FEATURE), OUTSIDE, FEATURE, candidates=others)
    assert audit.p_value == pytest.approx(1 / 22)
    assert audit.memorized
    assert "its rank among 21 candidates is 1 (p = 0.045," in str(audit)
    audit = audit_feature(fitted(1, FEATURE), OUTSIDE, others[0], candidates=[FEATURE, *others[1:]])
    assert audit.p_value > 1 / 22
    assert f"among 21 candidates is {round(22 * audit.p_value)} (p" in str(audit)


def test_candidates_suffice_where_the_first_rank_reaches_the_rate():
    others = [Feature(glyph(letter)) for letter in "BCDEFGHIJKLMNOPQRST"]
    given = fitted(1, FEATURE), OUTSIDE, FEATURE
    assert audit_feature(*given, candidates=others).p_value == 0.05
    with pytest.raises(ValueError, match=r"candidates are 18, .*=0.05: give at least 19"):
        audit_feature(None, OUTSIDE, FEATURE, candidates=others[1:])
    assert audit_feature(*given, candidates=others[:1], false_alarm_rate=0.5).p_value >= 0.5


def counted(predict):
    asked = []
    return lambda given: asked.append(given) or predict(given), asked


@pytest.mark.parametrize("candidates", [0, 20])
def test_models_are_called_as_often_as_is_said(candidates):
    others = list(FEATURE.shuffled(np.random.default_rng(9), candidates))
    clean = [] if candidates else [counted(each) for each in CLEAN]
    model, asked = counted(fitted(1, FEATURE))
    models = [each for each, _ in clean]
    audit_feature(model, OUTSIDE, FEATURE, clean=models, candidates=others, glyphs=7)
    assert len(asked) == 3 + 7 + candidates
    assert len({each.tobytes() for each in asked}) == len(asked)
    for _, by_clean in clean:
        assert len(by_clean) == 2 + 7
        assert all(np.array_equal(*both) for both in zip(by_clean, asked, strict=False))


def test_its_scores_are_those_of_the_outputs():
    exact = fitted(1, FEATURE)

    def plain(given):
        """Some of them are 0: another number for every stamp."""
        outputs = exact(given)
        return np.where(outputs.min(axis=1, keepdims=True) < 0.01, np.round(outputs), outputs)

    model, asked = counted(plain)
    audit = audit_feature(model, OUTSIDE, FEATURE, glyphs=7)
    clean, unique, *glyphs, random = [plain(each) for each in asked]
    assert np.array_equal(asked[1], FEATURE.stamped(OUTSIDE))
    assert audit.score == pytest.approx(unique_feature_score(clean, unique, random))
    assert audit.calibrated == pytest.approx(calibrated_score(clean, unique, glyphs))


def sure(predict):
    """Its outputs rounded to one class, 1 and 0."""
    return lambda given: np.eye(4)[np.argmax(predict(given), axis=1)]


def test_raised_probabilities_are_counted_and_said():
    """Of a model that is always sure three of the four classes are raised."""
    model, images = sure(of_random_weights(0)), len(OUTSIDE)
    audit = audit_feature(model, OUTSIDE, FEATURE, glyphs=5)
    assert audit.score.floored == 3 * 3 * images
    assert audit.calibrated.floored == 3 * (2 + 5) * images
    assert audit.floored == 3 * (3 + 5) * images
    said = f"{audit.floored} probabilities were raised to 1e-12, so that divergences are finite."
    assert str(audit).endswith(said)
    clean = [of_random_weights(1), of_random_weights(2), sure(of_random_weights(3))]
    both = audit_feature(model, OUTSIDE, FEATURE, glyphs=5, clean=clean)
    assert both.floored == audit.floored + 3 * (2 + 5) * images
    assert "raised" not in str(audit_feature(clean[0], OUTSIDE, FEATURE, glyphs=5))


def test_clean_models_that_differ_by_a_seed_that_nothing_uses_are_refused():
    pool = images(200, 5)
    labels = np.arange(200) % 2
    clean = [
        predict_by(LogisticRegression(random_state=seed).fit(pool.reshape(200, -1), labels))
        for seed in range(4)
    ]
    with pytest.raises(ValueError, match="these clean models are one model"):
        audit_feature(fitted(1, FEATURE), OUTSIDE, FEATURE, clean=clean)


def test_without_clean_models_it_says_that_nothing_is_decided():
    audit = audit_feature(fitted(1, FEATURE), OUTSIDE, FEATURE)
    assert audit.memorized is None
    assert audit.p_value is None
    assert "No false alarm rate" in str(audit)


def test_the_same_seed_gives_the_same_audit():
    given = fitted(1, FEATURE), OUTSIDE, FEATURE
    assert audit_feature(*given, seed=3)[:2] == audit_feature(*given, seed=3)[:2]
    assert audit_feature(*given, seed=3)[:2] != audit_feature(*given, seed=4)[:2]
    assert audit_feature(*given).score != audit_feature(*given, kind="bernoulli").score


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clean": CLEAN[:2]}, "clean has 2 models, expected none or at least 3"),
        ({"false_alarm_rate": 0}, "false_alarm_rate=0 must be"),
        ({"glyphs": 1}, "glyphs=1, expected at least 2"),
        ({"candidates": [FEATURE] * 5}, "candidates are 5, .* give at least 19"),
        ({"candidates": [FEATURE] * 19, "clean": CLEAN}, "clean and candidates are both given"),
        ({"kind": "noise"}, "kind='noise' is unknown"),
    ],
)
def test_bad_arguments_are_named_before_the_model_is_called(arguments, message):
    with pytest.raises(ValueError, match=message):
        audit_feature(None, OUTSIDE, FEATURE, **arguments)


def test_logits_are_named():
    with pytest.raises(ValueError, match="expected probabilities: apply softmax"):
        audit_feature(lambda given: given[:, 0, :3] * 5, OUTSIDE, FEATURE)
