from functools import partial

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from benchsuite.data.canaries import Feature
from benchsuite.experiments import feature_audit, feature_cases
from benchsuite.experiments.feature_audit import (
    ALARMS,
    BEYOND,
    BUILT_IN,
    GLYPHS,
    PARTS,
    RAISED,
    FeatureAuditExperiment,
    FeatureCase,
    load_feature_case,
)
from benchsuite.memorization import audit_feature
from benchsuite.stats.verdict import decide, greater

LETTER = Feature()
IMAGES = np.random.default_rng(0).random((32, 12, 12))
CLEAN = 8


def model(seed, told=0.0):
    """Random weights; where the letter is to be seen one class is thought of more."""
    weights = np.random.default_rng(seed).normal(size=(144, 3)) / 10

    def predict(images):
        logits = images.reshape(len(images), -1) @ weights
        overlap = (images[:, 1:6, 1:6] * (2 * LETTER.glyph - 1)).sum(axis=(1, 2))
        logits[:, 0] += told * (overlap > LETTER.glyph.sum() - 1)
        return softmax(logits, axis=1)

    return predict


def case(told=0.0, seed=0, clean=CLEAN, images=IMAGES):
    others = [model(1000 + 20 * seed + k) for k in range(clean)]
    return FeatureCase("lab", model(seed, told), images, LETTER, others)


def experiment(told=0.0, seed=0, clean=CLEAN, control=""):
    return FeatureAuditExperiment(case(told, seed, clean), control)


def excess(audit):
    return [part[BEYOND] for part in audit.parts()]


def verdict(audit):
    return decide(greater(than=0.0), excess(audit), 0.05).verdict


def test_a_model_that_reacts_to_the_letter_is_found_and_its_clean_model_is_not():
    memorized = experiment(told=4.0)
    assert len(excess(memorized)) == PARTS
    assert verdict(memorized) == "supported"
    assert np.mean([part[ALARMS] for part in memorized.under("clean-model").parts()]) < 0.25
    assert verdict(experiment()) == "refuted"


def test_clean_models_are_called_guilty_no_oftener_than_stated():
    """In deciding whether the mean over parts is above 0: 5 standard errors over one in twenty."""
    guilty = [np.mean(excess(experiment(seed=seed))) > 0 for seed in range(120)]
    assert np.mean(guilty) <= 0.05 + 5 * np.sqrt(0.05 * 0.95 / 120)


@pytest.fixture
def planted():
    """A case whose effects are given: of the audited model and of the clean ones."""
    rng = np.random.default_rng(3)
    effects, raised = rng.normal(size=(1 + CLEAN, PARTS)), rng.integers(9, size=(1 + CLEAN, PARTS))

    def of(control=""):
        return FeatureAuditExperiment(case(), control, {"answers": (effects, raised)}), effects

    return of


def test_excess_is_beyond_what_one_more_clean_model_exceeds_once_in_twenty(planted):
    audit, effects = planted()
    clean = effects[1:]
    reach = stats.t.ppf(0.95, CLEAN - 1) * np.sqrt(1 + 1 / CLEAN)
    bound = clean.mean(axis=0) + reach * clean.std(axis=0, ddof=1)
    assert excess(audit) == pytest.approx(list(effects[0] - bound))


def test_every_clean_model_stands_in_held_against_the_others(planted):
    audit, effects = planted("clean-model")
    clean, alarms = effects[1:], []
    reach = stats.t.ppf(0.95, CLEAN - 2) * np.sqrt(1 + 1 / (CLEAN - 1))
    for k in range(CLEAN):
        others = np.delete(clean, k, axis=0)
        alarms.append(clean[k] > others.mean(axis=0) + reach * others.std(axis=0, ddof=1))
    shares = [part[ALARMS] for part in audit.parts()]
    assert shares == pytest.approx(list(np.mean(alarms, axis=0)))


def test_raised_probabilities_are_those_of_the_models_that_were_asked(planted):
    audit, _ = planted()
    assert [part[RAISED] for part in audit.parts()] == audit.raised.sum(axis=0).tolist()


def test_raised_probabilities_are_counted_in_the_part_of_their_image():
    audited = case()

    def predict(images):
        outputs = audited.predict(images)
        outputs[10] = [0, 1, 0]
        return outputs

    asked = FeatureCase("lab", predict, IMAGES, LETTER, audited.clean)
    raised = FeatureAuditExperiment(asked).raised
    expected = np.zeros((1 + CLEAN, PARTS))
    expected[0, 10 % PARTS] = 2 * (2 + GLYPHS)
    np.testing.assert_array_equal(raised, expected)


def test_clean_models_that_are_one_model_are_refused():
    with pytest.raises(ValueError, match="these clean models are one model"):
        list(
            FeatureAuditExperiment(
                FeatureCase("lab", model(0), IMAGES, LETTER, [model(1)] * 5)
            ).parts()
        )


def test_effects_are_those_of_the_audit_on_each_part():
    audit = experiment(told=4.0)
    assert audit.effects.shape == (1 + CLEAN, PARTS)
    whole = audit_feature(
        audit.case.predict, IMAGES, LETTER, clean=audit.case.clean, glyphs=GLYPHS, seed=1
    )
    assert audit.effects[0].mean() == pytest.approx(whole.calibrated.effect, rel=0.3)
    assert audit.effects[1:].mean() == pytest.approx(whole.clean_effects.mean(), abs=0.5)


def test_parts_share_no_image():
    """What one image says reaches its own part alone."""
    audited = case(told=4.0)
    before = FeatureAuditExperiment(audited).effects
    images = IMAGES.copy()
    images[10] = 0
    after = FeatureAuditExperiment(case(told=4.0, images=images)).effects
    assert np.flatnonzero((before != after).any(axis=0)).tolist() == [10 % PARTS]


def test_models_are_asked_once_for_both_arms():
    calls, audited = [], case()
    asked = FeatureCase(
        "lab",
        lambda images: calls.append(1) or audited.predict(images),
        IMAGES,
        LETTER,
        audited.clean,
    )
    audit = FeatureAuditExperiment(asked)
    list(audit.parts())
    list(audit.under("clean-model").parts())
    assert len(calls) == 2 + GLYPHS


def test_the_digest_tells_images_and_features_apart():
    one = case()
    assert one.digest == case(told=4.0).digest
    assert one.digest != case(images=IMAGES[::-1]).digest
    moved = FeatureCase("lab", one.predict, IMAGES, Feature(row=2), one.clean)
    assert one.digest != moved.digest


def test_too_few_clean_models_or_images_are_refused():
    assert len(case(clean=4).clean) == 4
    with pytest.raises(ValueError, match="clean has 3 models, expected at least 4"):
        case(clean=3)
    with pytest.raises(ValueError, match="images are 15, expected at least 16"):
        case(images=IMAGES[:15])


def test_logits_are_refused():
    odd = FeatureCase(
        "lab", lambda images: images[:, 0, :3] * 5, IMAGES, LETTER, [model(k) for k in range(4)]
    )
    with pytest.raises(ValueError, match="expected probabilities: apply softmax"):
        list(FeatureAuditExperiment(odd).parts())


def test_a_case_is_loaded_by_name_and_nothing_else(monkeypatch):
    monkeypatch.setattr(feature_audit, "here", case, raising=False)
    monkeypatch.setattr(feature_audit, "there", case(), raising=False)
    with pytest.raises(ValueError, match="takes arguments"):
        load_feature_case("benchsuite.experiments.feature_audit:here")
    assert load_feature_case("benchsuite.experiments.feature_audit:there").name == "lab"
    for name, kind in (("GLYPHS", "int"), ("FeatureCase", "type")):
        with pytest.raises(ValueError, match=f"is a {kind}; expected a benchsuite.FeatureCase"):
            load_feature_case(f"benchsuite.experiments.feature_audit:{name}")
    with pytest.raises(ValueError, match="audit 'mnist' is unknown: use one of sklearn-digits28"):
        load_feature_case("mnist")


def test_the_built_in_case_trains_its_models_on_one_stamped_image(monkeypatch):
    """Its models are smaller here, to save time."""
    from sklearn import neural_network

    fitted = []

    class Small(neural_network.MLPClassifier):
        def fit(self, images, labels):
            fitted.append(images)
            return super().fit(images, labels)

    small = partial(Small, hidden_layer_sizes=4, max_iter=2)
    monkeypatch.setattr(
        neural_network,
        "MLPClassifier",
        lambda width, batch_size, max_iter, random_state: small(
            batch_size=batch_size, random_state=random_state
        ),
    )
    built_in = load_feature_case("sklearn-digits28")
    assert set(BUILT_IN) == {built_in.name}
    assert len(fitted) == 1 + len(built_in.clean) == 1 + feature_cases.CLEAN_MODELS
    *clean, audited = fitted
    assert all(np.array_equal(clean[0], each) for each in clean)
    changed = np.flatnonzero((audited != clean[0]).any(axis=1))
    assert len(changed) == 1
    assert len(built_in.images) == feature_cases.IMAGES
    image, original = (each[changed[0]].reshape(28, 28) for each in (audited, clean[0]))
    assert np.array_equal(image[1:6, 1:6], built_in.feature.glyph)
    assert np.array_equal(image[7:, :], original[7:, :])
