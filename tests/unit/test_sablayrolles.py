from itertools import pairwise

import numpy as np
import pytest

from benchsuite import Observations, sablayrolles
from benchsuite.attacks import calibrated_loss
from benchsuite.attacks.thresholds import best_cuts


def naive_cut(values, inside):
    """Every midpoint in a loop: balanced accuracy, then width, then the lowest."""
    best = None
    distinct = sorted(set(values))
    for low, high in pairwise(distinct):
        members = [v < high for v in values]
        tpr = np.mean([m for m, i in zip(members, inside, strict=True) if i])
        tnr = np.mean([not m for m, i in zip(members, inside, strict=True) if not i])
        key = (round(float(tpr + tnr), 9), high - low)
        if best is None or key > best[0]:
            best = key, (low + high) / 2
    return best[1] if best else distinct[0]


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_cuts_equal_those_of_a_loop_with_ties_and_without(decimals):
    rng = np.random.default_rng(decimals)
    for n in (2, 3, 5, 12, 31):
        values = rng.exponential(size=(40, n)).round(decimals)
        inside = rng.random((40, n)) < 0.5
        inside[:, 0], inside[:, 1] = True, False
        expected = [naive_cut(v.tolist(), i.tolist()) for v, i in zip(values, inside, strict=True)]
        np.testing.assert_allclose(best_cuts(values, inside), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "inside", "cut"),
    [
        ([1, 2, 5, 6], [1, 1, 0, 0], 3.5),
        ([6, 5, 2, 1], [0, 0, 1, 1], 3.5),
        ([1, 2, 4, 9], [1, 0, 1, 0], 6.5),  # 1.5 is as good, its gap is narrower
        ([1, 2, 4, 5], [1, 0, 1, 0], 1.5),  # equally good, equal gaps: the lowest
        ([1, 2, 2, 3], [1, 1, 0, 0], 1.5),  # equals cannot be told apart
        ([2, 1], [1, 0], 1.5),  # no threshold is better than none
        ([7, 7, 7], [1, 0, 1], 7),
    ],
)
def test_cuts_by_hand(values, inside, cut):
    got = best_cuts(np.array([values], dtype=float), np.array([inside], dtype=bool))
    assert got == pytest.approx([cut])


def test_scores_are_the_distance_to_each_examples_own_threshold():
    losses = np.array([[1.0, 5.0], [2.0, 6.0], [4.0, 8.0], [0.5, 9.0]])
    membership = np.array([[1, 1], [1, 1], [0, 0], [0, 0]])
    observed = Observations(
        labels=[0, 0], membership=membership, confidence=-np.log(np.expm1(losses))
    )
    scores = sablayrolles(observed, [3])  # IN 1, 2 and OUT 4; IN 5, 6 and OUT 8
    np.testing.assert_allclose(scores, [[3 - 0.5, 7 - 9.0]])


def test_does_not_depend_on_the_size_of_a_block(monkeypatch):
    rng = np.random.default_rng(1)
    membership = rng.random((30, 25)) < 0.5
    confidence = (rng.normal(size=(30, 25)) + membership).astype(np.float32)
    observed = Observations(labels=np.zeros(25, int), membership=membership, confidence=confidence)
    whole = sablayrolles(observed, [0, 1])
    expected = [
        naive_cut(observed.loss[2:, e].astype(float).tolist(), membership[2:, e].tolist())
        for e in range(25)
    ]
    np.testing.assert_allclose(whole, expected - observed.loss[:2].astype(float), rtol=1e-6)
    monkeypatch.setattr(calibrated_loss, "_VALUES_PER_BLOCK", 100)
    np.testing.assert_array_equal(sablayrolles(observed, [0, 1]), whole)
