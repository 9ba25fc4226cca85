from importlib import import_module

import numpy as np
import pytest

from benchsuite import Observations, auroc, rmia

rmia_module = import_module("benchsuite.attacks.rmia")  # the name is also the function


def observe(seed=0, models=14, examples=20, gap=2.0):
    rng = np.random.default_rng(seed)
    membership = rng.random((models, examples)) < 0.5
    membership[-2], membership[-1] = True, False
    phi = rng.normal(size=(models, examples)) + gap * membership + rng.normal(size=examples)
    return Observations(labels=np.zeros(examples, int), membership=membership, confidence=phi)


def naive(observed, targets, gamma):
    p = 1 / (1 + np.exp(-observed.confidence))
    references = [row for row in range(len(p)) if row not in targets]
    n = p.shape[1]
    marginal = []
    for x in range(n):
        inside = [p[r, x] for r in references if observed.membership[r, x]]
        outside = [p[r, x] for r in references if not observed.membership[r, x]]
        marginal.append((np.mean(inside) + np.mean(outside)) / 2)
    scores = np.zeros((len(targets), n))
    for t, row in enumerate(targets):
        for x in range(n):
            for z in range(n):
                ratio = (p[row, x] / marginal[x]) / (p[row, z] / marginal[z])
                scores[t, x] += (ratio >= gamma or (x == z and gamma == 1)) / n
    return scores


@pytest.mark.parametrize("gamma", [1.0, 1.3, 2.0, 4.0])
def test_equals_loops_over_all_pairs(gamma):
    observed = observe()
    expected = naive(observed, [3, 0], gamma)
    np.testing.assert_allclose(rmia(observed, [3, 0], gamma=gamma), expected, rtol=1e-12)
    assert len(np.unique(expected)) > 3


def test_by_hand():
    # p(x) = (.8 + .4) / 2, (.5 + .3) / 2, (.9 + .1) / 2: ratios 1.5, 1, .4 under the target.
    p = np.array([[0.9, 0.4, 0.2], [0.8, 0.5, 0.1], [0.4, 0.3, 0.9]])
    membership = np.array([[0, 0, 0], [1, 1, 0], [0, 0, 1]])
    observed = Observations(labels=[0, 0, 0], membership=membership, confidence=np.log(p / (1 - p)))
    np.testing.assert_allclose(rmia(observed, [0], gamma=1.4), [[2 / 3, 1 / 3, 0]])
    np.testing.assert_allclose(rmia(observed, [0], gamma=2), [[1 / 3, 1 / 3, 0]])
    np.testing.assert_allclose(rmia(observed, [0], gamma=3), [[1 / 3, 0, 0]])
    np.testing.assert_allclose(rmia(observed, [0]), [[1, 2 / 3, 1 / 3]])


def test_at_gamma_one_a_target_is_ranked_by_its_ratio():
    observed = observe(1, examples=200)
    scores = rmia(observed, [0])[0]
    np.testing.assert_allclose(np.sort(scores), np.arange(1, 201) / 200)
    assert auroc(scores, observed.membership[0]) > 0.7


def test_probabilities_too_small_for_a_float_still_rank():
    confidence = np.array([[-900.0, -1000], [-1000, -1000], [-1000, -1000]])
    membership = np.array([[0, 0], [1, 1], [0, 0]])
    observed = Observations(labels=[0, 0], membership=membership, confidence=confidence)
    np.testing.assert_allclose(rmia(observed, [0], gamma=2), [[0.5, 0]])


def test_does_not_depend_on_the_size_of_a_block(monkeypatch):
    observed = observe(2)
    whole = rmia(observed, [0, 1])
    monkeypatch.setattr(rmia_module, "_VALUES_PER_BLOCK", 30)
    np.testing.assert_array_equal(rmia(observed, [0, 1]), whole)


@pytest.mark.parametrize("gamma", [0.5, 0, -1, np.inf, np.nan])
def test_bad_gamma_is_named(gamma):
    with pytest.raises(ValueError, match=f"gamma is {gamma}, expected a finite number from 1"):
        rmia(observe(), [0], gamma=gamma)
