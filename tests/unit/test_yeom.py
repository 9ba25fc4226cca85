import numpy as np
import pytest

from benchsuite import Observations, auroc, yeom


def phi_of(loss):
    return -np.log(np.expm1(loss))


def test_the_published_example():
    # Threshold attack of tensorflow/privacy's tests: six training losses, six test losses.
    losses = np.array([[0.1, 0.2, 1.3, 0.4, 0.5, 0.6, 1.1, 1.2, 1.3, 0.4, 1.5, 1.6]] * 2)
    member = np.arange(12) < 6
    membership = np.stack([member, member])
    observed = Observations(
        labels=np.zeros(12, int), membership=membership, confidence=phi_of(losses)
    )
    scores = yeom(observed, [0])
    assert auroc(scores.round(9)[0], member) == pytest.approx(0.83, abs=0.005)
    np.testing.assert_allclose(scores[0], 3.1 / 6 - losses[0])  # the mean training loss less each


def test_the_threshold_is_the_mean_loss_of_the_members_of_references():
    losses = np.array([[9.0, 9.0, 9.0], [1.0, 3.0, 5.0], [2.0, 4.0, 8.0]])
    membership = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1]])
    observed = Observations(labels=[0, 1, 0], membership=membership, confidence=phi_of(losses))
    tau = (1 + 5 + 8) / 3
    np.testing.assert_allclose(yeom(observed, [0]), [[tau - 9.0] * 3])
    np.testing.assert_allclose(yeom(observed, [2, 0])[0], [3 - 2, 3 - 4, 3 - 8])


def test_agrees_with_the_adversarial_robustness_toolbox():
    art = pytest.importorskip("art.attacks.inference.membership_inference")
    estimators = pytest.importorskip("art.estimators.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    membership = rng.random((6, 400)) < 0.5
    logits = rng.normal(size=(6, 400, 3)).astype(np.float32)
    logits[:, np.arange(400), labels] += 1 + 2 * membership
    observed = Observations(labels=labels, membership=membership, logits=logits)

    says = estimators.PyTorchClassifier(  # a model whose input is its output
        torch.nn.Identity(), torch.nn.CrossEntropyLoss(), input_shape=(3,), nb_classes=3
    )
    theirs = says.compute_loss(logits[0], np.eye(3)[labels])
    np.testing.assert_allclose(observed.loss[0], theirs, rtol=1e-4, atol=1e-6)

    # A logistic regression on the loss is a threshold of it; ART's has an offset for each class.
    attack = art.MembershipInferenceBlackBox(says, input_type="loss", attack_model_type="lr")
    inside, (rows, columns) = membership[1:].ravel(), np.divmod(np.arange(2000), 400)
    vectors, classes = logits[rows + 1, columns], labels[columns]
    attack.fit(vectors[inside], classes[inside], vectors[~inside], classes[~inside])
    probability = attack.infer(logits[0], labels, probabilities=True).ravel()
    ours = auroc(yeom(observed, [0])[0], membership[0])
    assert ours > 0.7
    assert ours == pytest.approx(auroc(probability, membership[0]), abs=0.01)
