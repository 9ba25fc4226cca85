import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from benchsuite import advantage_ceiling

epsilons, deltas = st.floats(0, 8), st.floats(0, 1)


@given(epsilons, deltas)
def test_it_is_the_best_corner_of_the_region_that_a_guarantee_leaves(epsilon, delta):
    e = math.exp(epsilon)
    # Of (FPR, TPR), for the test and its complement, with IN and OUT in either part.
    rows = [[-e, 1], [1, -e], [e, -1], [-1, e]]
    best = linprog([1, -1], rows, [delta, delta, e - 1 + delta, e - 1 + delta], bounds=(0, 1))
    assert best.status == 0
    # The solver meets the rows to 1e-7 only.
    assert advantage_ceiling(epsilon, delta) == pytest.approx(-best.fun, abs=1e-6)


@given(epsilons, deltas)
def test_it_is_the_formula(epsilon, delta):
    e = math.exp(epsilon)
    assert advantage_ceiling(epsilon, delta) == pytest.approx((e - 1 + 2 * delta) / (e + 1))


@given(st.floats(0, 1e308), deltas, st.floats(0, 1e308), deltas)
def test_it_rises_with_either_and_stays_within_0_and_1(epsilon, delta, other, another):
    low, high = sorted((epsilon, other)), sorted((delta, another))
    less, more = advantage_ceiling(low[0], high[0]), advantage_ceiling(low[1], high[1])
    assert 0 <= less <= more <= 1


def test_its_ends():
    assert advantage_ceiling(0, 0) == 0
    assert advantage_ceiling(0, 1e-5) == pytest.approx(1e-5)
    assert advantage_ceiling(1e-9, 0) == pytest.approx(5e-10)
    assert advantage_ceiling(math.inf, 0) == advantage_ceiling(1e5, 0) == 1
    assert advantage_ceiling(math.inf, 1e-5) == advantage_ceiling(0.3, 1) == 1
    assert advantage_ceiling(np.float64(1), 1e-5) == pytest.approx(0.4621225)


def test_a_noisy_answer_reaches_it():
    epsilon, delta, models = 1.2, 0.1, 200_000
    rng = np.random.default_rng(3)
    truth = rng.random(models) < 0.5
    said = np.where(rng.random(models) < 1 / (1 + math.exp(-epsilon)), truth, ~truth)
    said = np.where(rng.random(models) < delta, truth, said)
    advantage = said[truth].mean() - said[~truth].mean()
    assert advantage == pytest.approx(advantage_ceiling(epsilon, delta), abs=0.01)


@pytest.mark.parametrize(
    ("epsilon", "delta", "message"),
    [
        (-0.1, 0, "epsilon=-0.1 must be 0 or more"),
        (math.nan, 0, "epsilon=nan must be 0 or more"),
        (1, -1e-9, "delta=-1e-09 must be from 0 to 1"),
        (1, 1.1, "delta=1.1 must be from 0 to 1"),
        (1, math.nan, "delta=nan must be from 0 to 1"),
    ],
)
def test_bad_guarantees_are_named(epsilon, delta, message):
    with pytest.raises(ValueError, match=message):
        advantage_ceiling(epsilon, delta)
