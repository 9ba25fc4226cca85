import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from benchsuite import scaled_confidence
from benchsuite.auditing import observe_shadows
from benchsuite.shadows.design import Balanced

INPUTS, LABELS = load_iris(return_X_y=True)
EXAMPLES = len(INPUTS)


def naive_bayes(inputs, labels, seed):
    return GaussianNB().fit(inputs, labels).predict_proba


def test_every_model_is_fitted_on_its_subset_and_asked_about_all():
    fitted = []

    def fit(inputs, labels, seed):
        fitted.append((inputs, labels, seed))
        return naive_bayes(inputs, labels, seed)

    shadows = observe_shadows(fit, INPUTS[::3], LABELS[::3], 6, seed=5, name="irises")
    rows = Balanced(50, 0.5, 5).rows(0, 6)
    np.testing.assert_array_equal(shadows.membership, rows)
    assert [seed for *_, seed in fitted] == [5, 6, 7, 8, 9, 10]
    for k, (inputs, labels, seed) in enumerate(fitted):
        np.testing.assert_array_equal(inputs, INPUTS[::3][rows[k]])
        np.testing.assert_array_equal(labels, LABELS[::3][rows[k]])
        p = np.maximum(naive_bayes(inputs, labels, seed)(INPUTS[::3]), 1e-12)
        np.testing.assert_allclose(
            shadows.observations.confidence[k], scaled_confidence(np.log(p[None]), LABELS[::3])[0]
        )
    assert (shadows.name, shadows.trained) == ("irises", 6)
    assert shadows.ids.tolist() == list(range(50))
    np.testing.assert_array_equal(shadows.inputs, INPUTS[::3])
    assert shadows.seconds > 0
    assert shadows.held_out is shadows.held_out_inputs is shadows.subject is None


def test_certain_models_have_their_zeros_counted():
    def tree(inputs, labels, seed):
        return DecisionTreeClassifier(random_state=seed).fit(inputs, labels).predict_proba

    shadows = observe_shadows(tree, INPUTS, LABELS, 4, share=2 / 3)
    assert shadows.raised == 4 * EXAMPLES * 2  # of three classes two are 0
    assert shadows.membership.sum(axis=1).tolist() == [100] * 4
    assert np.isfinite(shadows.observations.confidence).all()
    right = shadows.observations.confidence > 0
    assert right[shadows.membership].all()
    assert not right[~shadows.membership].all()


def test_a_network_is_asked_about_held_out_examples_too():
    networks = []

    def fit(inputs, labels, seed):
        network = MLPClassifier((4,), solver="lbfgs", max_iter=2000, alpha=0.1, random_state=seed)
        networks.append(network.fit(inputs, labels).predict_proba)
        return networks[-1]

    held_out = INPUTS[::15], LABELS[::15]
    shadows = observe_shadows(fit, INPUTS[1::3], LABELS[1::3], 4, held_out=held_out)
    assert shadows.held_out.membership is None
    np.testing.assert_array_equal(shadows.held_out.labels, held_out[1])
    np.testing.assert_array_equal(shadows.held_out_inputs, held_out[0])
    for k, network in enumerate(networks):
        p = np.maximum(network(held_out[0]), 1e-12)
        expected = scaled_confidence(np.log(p[None]), held_out[1])[0]
        np.testing.assert_allclose(shadows.held_out.confidence[k], expected)


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (lambda *_: lambda asked: asked[:, 0], r"shadow model 0, .*expected probabilities"),
        (lambda *_: lambda asked: 5 * asked[:, :3], "shadow model 0, .*looks like logits"),
        (lambda *_: lambda asked: np.full((len(asked), 2), 0.5), "the 2 classes"),
        (lambda *_: GaussianNB(), "shadow model 0, .*predict_proba"),
        (
            lambda _, __, seed: lambda asked: np.full((len(asked), 3 + seed), 1 / (3 + seed)),
            "shadow model 1, .*gives probabilities of 4 classes and the first one of 3",
        ),
    ],
)
def test_models_that_answer_something_else_are_named(fit, message):
    with pytest.raises(ValueError, match=message) as caught:
        observe_shadows(fit, INPUTS, LABELS, 4)
    assert "\n" not in str(caught.value)


def test_a_subset_that_lacks_a_class_is_told():
    labels = np.where(np.arange(EXAMPLES) == 3, 3, LABELS)
    with pytest.raises(ValueError, match=r"shadow model \d, of 3 of 4 classes: labels run from 0"):
        observe_shadows(naive_bayes, INPUTS, labels, 32)


def test_a_design_that_cannot_be_balanced_is_refused():
    with pytest.raises(ValueError, match="cannot be balanced"):
        observe_shadows(naive_bayes, INPUTS[:-1], LABELS[:-1], 4)
