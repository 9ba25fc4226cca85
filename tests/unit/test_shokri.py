import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.neural_network import MLPClassifier

from benchsuite import Observations, auroc, shokri
from benchsuite.attacks import observations as observations_module
from benchsuite.attacks import shadow_classifier


def world(seed=0, models=24, examples=200, classes=2, gap=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    membership = rng.random((models, examples)) < 0.5
    logits = rng.normal(size=(models, examples, classes))
    logits[:, np.arange(examples), labels] += 1 + gap * membership
    return Observations(labels=labels, membership=membership, logits=logits)


def vectors_of(observed, rows, label, activation=log_softmax):
    """Output vectors and membership of some models on one class, one after another."""
    own = np.flatnonzero(observed.labels == label)
    vectors = activation(observed.logits[rows][:, own], axis=-1).reshape(-1, observed.classes)
    return vectors, observed.membership[rows][:, own].ravel()


@pytest.mark.parametrize("label", [0, 1])
def test_the_log_odds_are_those_of_scikit_learns_network(label):
    vectors, member = vectors_of(world(), np.arange(4), label)
    network = shadow_classifier._Network(vectors[:300], member[:300].astype(int))
    twin = MLPClassifier((64,), shuffle=False, random_state=0)
    standard = (vectors[:300] - vectors[:300].mean(0)) / vectors[:300].std(0)
    order = np.random.default_rng(0)
    for _ in range(shadow_classifier.EPOCHS):
        shuffled = order.permutation(300)
        twin.partial_fit(standard[shuffled], member[:300][shuffled], classes=[False, True])
    assert [w.shape for w in twin.coefs_] == [(2, 64), (64, 1)]
    assert (twin.activation, twin.out_activation_) == ("relu", "logistic")
    later = (vectors[300:] - vectors[:300].mean(0)) / vectors[:300].std(0)
    p = twin.predict_proba(later)[:, 1]
    np.testing.assert_allclose(network.log_odds(vectors[300:]), np.log(p / (1 - p)), rtol=1e-6)


def test_agrees_with_a_network_of_each_class_on_all_vectors():
    observed = world(1)
    scores = shokri(observed, [0, 1, 2, 3])
    for label in (0, 1):
        own = observed.labels == label
        network = MLPClassifier((64,), random_state=5, max_iter=300, tol=1e-3)
        network.fit(*vectors_of(observed, np.arange(4, 24), label))
        vectors, member = vectors_of(observed, np.arange(4), label)
        expected = auroc(network.predict_proba(vectors)[:, 1], member)
        assert auroc(scores[:, own].ravel(), member) == pytest.approx(expected, abs=0.02)


@pytest.fixture
def one_thread():
    """Threads that wait for each other make small networks many times slower on a busy machine."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_agrees_with_the_adversarial_robustness_toolbox():
    art = pytest.importorskip("art.attacks.inference.membership_inference")
    estimators = pytest.importorskip("art.estimators.classification")
    torch = pytest.importorskip("torch")
    observed = world(2)
    scores = shokri(observed, [0, 1, 2, 3])
    target = estimators.BlackBoxClassifierNeuralNetwork(lambda x: x, (2,), 2)
    for label in (0, 1):
        torch.manual_seed(0)
        attack = art.MembershipInferenceBlackBox(  # layers of 512, 100 and 64 units
            target, nn_model_epochs=10, nn_model_learning_rate=1e-3
        )
        vectors, member = vectors_of(observed, np.arange(4, 24), label, softmax)
        attack.fit(pred=vectors[member], test_pred=vectors[~member])
        vectors, member = vectors_of(observed, np.arange(4), label, softmax)
        theirs = attack.infer(None, pred=vectors, probabilities=True).ravel()
        ours = scores[:, observed.labels == label].ravel()
        assert auroc(ours, member) > 0.7
        assert auroc(ours, member) == pytest.approx(auroc(theirs, member), abs=0.02)


def test_sees_more_than_the_loss():
    # Members of class 0 have the same loss, but the rest of the probability goes to class 1.
    rng = np.random.default_rng(3)
    membership = rng.random((20, 300)) < 0.5
    logits = rng.normal(size=(20, 300, 3), scale=0.1)
    logits[..., 0] += 2
    logits[..., 1] += np.where(membership, 1.0, 0.0)
    logits[..., 2] += np.where(membership, 0.0, 1.0)
    observed = Observations(labels=np.zeros(300, int), membership=membership, logits=logits)
    assert auroc(shokri(observed, [0, 1]), membership[:2]) > 0.99


def test_saturated_outputs_do_not_tie():
    observed = world(4)
    sure = Observations(
        labels=observed.labels, membership=observed.membership, logits=6 * observed.logits
    )
    scores = shokri(sure, [0])
    assert (softmax(sure.logits[0].astype(np.float32), axis=-1) == 1).any()  # in float32 they do
    assert len(np.unique(scores)) > 0.95 * scores.size


def test_draws_each_side_evenly_and_by_the_content_alone():
    observed = world(5, models=40, examples=300, classes=2)
    references = shadow_classifier.References(observed, np.arange(40))
    keys = shadow_classifier._keys(references)
    assert len(np.unique(keys)) == keys.size
    rows, columns = shadow_classifier._draw(keys, observed.membership, 2000)
    assert observed.membership[rows, columns].all()
    assert len(set(zip(rows, columns, strict=True))) == 2000
    for places, n in ((rows, 40), (columns, 300)):
        counts = np.bincount(places, minlength=n)
        expected = 2000 / n
        assert ((counts - expected) ** 2 / expected).sum() < n + 5 * np.sqrt(2 * n)  # chi-squared
    phi = observed.confidence
    drawn, all_members = phi[rows, columns], phi[observed.membership]
    assert drawn.mean() == pytest.approx(all_members.mean(), abs=4 * all_members.std() / 2000**0.5)
    rows, columns = shadow_classifier._draw(keys, observed.membership, 1)
    assert (rows.size, columns.size) == (1, 1)


def test_draws_repeated_vectors_in_proportion():
    # One in three members says A, the rest B: a draw of the smallest keys would be all A or all B.
    logits = np.zeros((1, 900, 2))
    logits[0, ::3, 0] = 1
    observed = Observations(labels=np.zeros(900, int), logits=logits)
    keys = shadow_classifier._keys(shadow_classifier.References(observed, np.arange(1)))
    assert len(np.unique(keys)) == 2
    _, columns = shadow_classifier._draw(keys, np.ones((1, 900), dtype=bool), 90)
    assert np.count_nonzero(columns % 3 == 0) == pytest.approx(30, abs=1)


@pytest.mark.parametrize("values", [1, 100])
def test_does_not_depend_on_the_size_of_a_block(monkeypatch, values):
    observed = world(6, models=8, examples=30)
    whole = shokri(observed, [3, 0])
    monkeypatch.setattr(observations_module, "_VALUES_PER_BLOCK", values)
    np.testing.assert_array_equal(shokri(observed, [3, 0]), whole)


def test_one_member_and_one_non_member_are_enough():
    observed = Observations(
        labels=[0, 0], membership=[[1, 0], [1, 0]], logits=np.arange(8.0).reshape(2, 2, 2)
    )
    assert np.isfinite(shokri(observed, [0])).all()
