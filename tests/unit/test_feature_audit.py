import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from benchsuite.data.canaries import Feature
from benchsuite.data.glyphs import glyph
from benchsuite.memorization import audit_feature


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
    assert "further than candidates" in str(audit)
    audit = audit_feature(fitted(1, FEATURE), OUTSIDE, others[0], candidates=[FEATURE, *others[1:]])
    assert audit.p_value > 1 / 22


def test_without_clean_models_it_says_that_nothing_is_decided():
    audit = audit_feature(fitted(1, FEATURE), OUTSIDE, FEATURE)
    assert audit.memorized is None
    assert audit.p_value is None
    assert "no false alarm rate" in str(audit)


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
        ({"kind": "noise"}, "kind='noise' is unknown"),
    ],
)
def test_bad_arguments_are_named_before_the_model_is_called(arguments, message):
    with pytest.raises(ValueError, match=message):
        audit_feature(None, OUTSIDE, FEATURE, **arguments)


def test_logits_are_named():
    with pytest.raises(ValueError, match="expected probabilities: apply softmax"):
        audit_feature(lambda given: given[:, 0, :3] * 5, OUTSIDE, FEATURE)
