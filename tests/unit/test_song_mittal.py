from decimal import Decimal, localcontext

import numpy as np
import pytest

from benchsuite import Observations, song_mittal
from benchsuite.attacks import modified_entropy
from benchsuite.attacks import observations as observations_module


def naive_entropy(logits, y):
    """Of one output, with 400 digits: no rounding that matters."""
    with localcontext(prec=400):
        weights = [Decimal(float(z)).exp() for z in logits]
        p = [w / sum(weights) for w in weights]
        surprise = [-pi * (1 - pi).ln() for i, pi in enumerate(p) if i != y]
        return float(-(1 - p[y]) * p[y].ln() + sum(surprise))


@pytest.mark.parametrize("scale", [0.01, 1, 10, 60])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_entropy_equals_a_loop_with_400_digits(scale, classes):
    rng = np.random.default_rng(classes)
    logits = scale * rng.normal(size=(2, 12, classes))
    labels = rng.integers(0, classes, 12)
    expected = [[naive_entropy(z, y) for z, y in zip(row, labels, strict=True)] for row in logits]
    np.testing.assert_allclose(modified_entropy(logits, labels), expected, rtol=1e-9)


def test_entropy_by_hand():
    p = np.array([0.7, 0.2, 0.1])
    got = modified_entropy(np.log(p)[None, None], np.array([0]))
    expected = -0.3 * np.log(0.7) - 0.2 * np.log(0.8) - 0.1 * np.log(0.9)
    assert got == pytest.approx(np.array([[expected]]))
    wrong = modified_entropy(np.log(p)[None, None], np.array([2]))  # sure of another class
    expected = -0.9 * np.log(0.1) - 0.7 * np.log(0.3) - 0.2 * np.log(0.8)
    assert wrong == pytest.approx(np.array([[expected]]))


def test_entropy_is_finite_and_ordered_where_probabilities_round_to_one():
    logits = np.array([[[0.0, -40, -41], [0, -60, -61], [0, -2000, -2000]]])
    right = modified_entropy(logits, np.array([0, 0, 0]))[0]
    assert 0 <= right[2] < right[1] < right[0] < 1e-30
    sure_and_wrong = modified_entropy(logits, np.array([1, 1, 1]))[0]
    np.testing.assert_allclose(sure_and_wrong, [80 - np.log1p(np.exp(-1)), 120, 2708], rtol=3e-3)
    tied = modified_entropy(np.zeros((1, 1, 2)), np.array([1]))
    np.testing.assert_allclose(tied, [[np.log(2)]])


def best_of_all_midpoints(values, inside):
    cuts = np.unique(values)
    cuts = (cuts[1:] + cuts[:-1]) / 2
    gain = [(values[inside] < c).mean() - (values[~inside] < c).mean() for c in cuts]
    return np.max(gain), cuts


def test_the_threshold_of_each_class_is_the_best_of_all_midpoints():
    rng = np.random.default_rng(1)
    labels = np.array([0, 1, 2] * 8)
    membership = rng.random((15, 24)) < 0.5
    logits = rng.normal(size=(15, 24, 3))
    logits[:, np.arange(24), labels] += (1 + labels) * (1 + membership)
    observed = Observations(labels=labels, membership=membership, logits=logits)
    scores = song_mittal(observed, [0, 1])
    entropy = modified_entropy(logits, labels)
    for label in range(3):
        own = labels == label
        thresholds = scores[:, own] + entropy[:2, own]
        tau = thresholds[0, 0]
        np.testing.assert_allclose(thresholds, tau)
        values, inside = entropy[2:, own], membership[2:, own]
        best, cuts = best_of_all_midpoints(values, inside)
        assert (values[inside] < tau).mean() - (values[~inside] < tau).mean() == pytest.approx(best)
        assert np.abs(cuts - tau).min() < 1e-12


def test_classes_do_not_share_a_threshold():
    rng = np.random.default_rng(2)
    labels = np.arange(20) % 2
    membership = rng.random((20, 20)) < 0.5
    logits = rng.normal(size=(20, 20, 2))
    logits[:, np.arange(20), labels] += 2 * membership
    observed = Observations(labels=labels, membership=membership, logits=logits)
    before = song_mittal(observed, [0])
    harder = logits.copy()
    harder[:, labels == 1] *= 3
    after = song_mittal(Observations(labels=labels, membership=membership, logits=harder), [0])
    np.testing.assert_array_equal(after[:, labels == 0], before[:, labels == 0])
    assert (after[:, labels == 1] != before[:, labels == 1]).any()


@pytest.mark.parametrize("values", [1, 17, 100])
def test_does_not_depend_on_the_size_of_a_block(monkeypatch, values):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 11)
    membership = rng.random((9, 11)) < 0.5
    logits = rng.normal(size=(9, 11, 3)).astype(np.float32)
    observed = Observations(labels=labels, membership=membership, logits=logits)
    whole = song_mittal(observed, [7, 2])
    monkeypatch.setattr(observations_module, "_VALUES_PER_BLOCK", values)
    np.testing.assert_array_equal(song_mittal(observed, [7, 2]), whole)
