"""Lemma 3, C1 and C2 of the membership paper (Appendix B.2), on random finite worlds.

The lemma: for any bounded g(theta, z) there is an adversary whose advantage is EQUAL to
delta = E_IN g - E_OUT g, over models trained with z and without ("Pr" there stands for E). Its
adversary answers 1 with a probability "proportional to" g. What that needs:

- An answer's probability lies in [0, 1]. For lo <= g <= hi it is (g - lo) / (hi - lo); the shift
  cancels in the difference and the scale does not, so the advantage is delta / (hi - lo). It is
  delta itself where hi - lo = 1. Proportional alone, without a shift, is possible for g >= 0.
- lo and hi must be known before z's models are seen. The tightest pair gives the most.
- Where delta < 0, as for the loss of an example that was trained on, the bound Adv >= delta is
  void, and the adversary is that of -g, with advantage -delta / (hi - lo).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchsuite.attacks import advantage
from benchsuite.outliers import energy_score, msp_score
from benchsuite.stats.divergence import total_variation
from benchsuite.stats.roc import roc_curve

ATOL = 1e-9
CLASSES, LARGEST_LOGIT, LARGEST_LOSS = 4, 8.0, 5.0


class World(NamedTuple):
    """So many IN and so many OUT models of each of a few kinds, and what each kind says of z."""

    in_of_kind: np.ndarray  # [kinds]
    out_of_kind: np.ndarray
    logits: np.ndarray  # [kinds, CLASSES]; the label of z is class 0

    @property
    def p_in(self):
        return self.in_of_kind / self.in_of_kind.sum()

    @property
    def p_out(self):
        return self.out_of_kind / self.out_of_kind.sum()

    @property
    def membership(self):
        """Of the one example z, [models, 1]: all IN models come first."""
        models = np.arange(self.in_of_kind.sum() + self.out_of_kind.sum())
        return (models < self.in_of_kind.sum())[:, None]

    def of_models(self, by_kind):
        """[kinds] as [models, 1]."""
        kinds = np.arange(len(by_kind))
        in_models, out_models = (np.repeat(kinds, n) for n in (self.in_of_kind, self.out_of_kind))
        return by_kind[np.concatenate([in_models, out_models])][:, None]

    def difference(self, by_kind):
        """Return delta, E_IN g - E_OUT g."""
        return self.p_in @ by_kind - self.p_out @ by_kind


@st.composite
def worlds(draw):
    kinds = draw(st.integers(2, 6))
    counts = st.lists(st.integers(0, 7), min_size=kinds, max_size=kinds).filter(any)
    logit = st.floats(-LARGEST_LOGIT, LARGEST_LOGIT)
    row = st.lists(logit, min_size=CLASSES, max_size=CLASSES)
    return World(
        np.array(draw(counts)),
        np.array(draw(counts)),
        np.array(draw(st.lists(row, min_size=kinds, max_size=kinds))),
    )


def loss(logits):
    return np.logaddexp.reduce(logits, axis=-1) - logits[:, 0]


def of_a_tossed_coin(probabilities, world):
    """Advantage of answering 1 with these probabilities [kinds]: where a coin in [0, 1) is below.

    All coins between two neighbouring probabilities give the same answers, so the mean over coins
    is a sum of the advantages of as many thresholds.
    """
    assert probabilities.min() >= -ATOL
    assert probabilities.max() <= 1 + ATOL
    levels = np.unique(np.clip(np.append(probabilities, [0.0, 1.0]), 0, 1))
    answers = world.of_models(np.clip(probabilities, 0, 1))
    return sum(
        (above - level) * advantage(answers, world.membership, level)[0]
        for level, above in pairwise(levels)
    )


BOUNDED = {  # g of the logits, and bounds that hold for all logits within LARGEST_LOGIT
    "C1, a clipped loss": (lambda z: np.minimum(loss(z), LARGEST_LOSS), 0.0, LARGEST_LOSS),
    "C1, the 0-1 loss": (lambda z: (z.argmax(axis=-1) != 0).astype(float), 0.0, 1.0),
    "C2, maximum softmax": (msp_score, -1.0, -1 / CLASSES),
    "C2, energy": (
        energy_score,
        -LARGEST_LOGIT - np.log(CLASSES),
        LARGEST_LOGIT - np.log(CLASSES),
    ),
    "Lemma 3": (lambda z: 7 * np.sin(z.sum(axis=-1)) - 2, -9.0, 5.0),
}
bounded = pytest.mark.parametrize(("g", "lo", "hi"), BOUNDED.values(), ids=BOUNDED)


@bounded
@given(world=worlds())
def test_a_bounded_function_gives_an_adversary_the_difference_over_its_range(g, lo, hi, world):
    values = g(world.logits)
    gained = of_a_tossed_coin((values - lo) / (hi - lo), world)
    assert gained == pytest.approx(world.difference(values) / (hi - lo), abs=ATOL)
    assert abs(gained) <= total_variation(world.p_in, world.p_out) + ATOL


@given(worlds(), st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_where_g_is_a_probability_already_the_lemma_holds_as_printed(world, answers):
    values = np.array(answers[: len(world.logits)])
    assert of_a_tossed_coin(values, world) == pytest.approx(world.difference(values), abs=ATOL)


@given(worlds(), st.floats(1.5, 100))
def test_elsewhere_no_adversary_at_all_need_have_the_printed_advantage(world, times):
    tv = total_variation(world.p_in, world.p_out)
    assume(tv > 1e-6)
    values = times * (world.p_in > world.p_out)
    assert world.difference(values) > tv * 1.4  # and no event tells the two apart by more than tv


@bounded
@given(world=worlds(), below=st.floats(0, 20), above=st.floats(0, 20))
def test_the_tightest_bounds_give_most(g, lo, hi, world, below, above):
    values = g(world.logits)
    assume(np.ptp(values) > 1e-6)
    wide_lo, wide_hi = lo - below, hi + above
    gained = [
        abs(of_a_tossed_coin((values - at_least) / (at_most - at_least), world))
        for at_least, at_most in ((values.min(), values.max()), (lo, hi), (wide_lo, wide_hi))
    ]
    assert gained[0] >= gained[1] - ATOL
    assert gained[1] >= gained[2] - ATOL


@bounded
@given(world=worlds())
def test_the_adversary_of_minus_g_has_minus_its_advantage(g, lo, hi, world):
    values = g(world.logits)
    gained = of_a_tossed_coin((values - lo) / (hi - lo), world)
    assert of_a_tossed_coin((hi - values) / (hi - lo), world) == pytest.approx(-gained, abs=ATOL)


@bounded
@given(world=worlds())
def test_some_fixed_threshold_is_as_good_as_the_coin(g, lo, hi, world):
    # The coin is a threshold on g drawn evenly between lo and hi: not all can be below their mean.
    values = g(world.logits)
    curve = roc_curve(world.of_models(values), world.membership)
    best = (curve.tpr - curve.fpr).max()
    assert best >= world.difference(values) / (hi - lo) - ATOL
    assert best <= total_variation(world.p_in, world.p_out) + ATOL


@given(worlds())
def test_the_best_g_reaches_total_variation(world):
    likelier_in = (world.p_in > world.p_out).astype(float)
    tv = total_variation(world.p_in, world.p_out)
    assert of_a_tossed_coin(likelier_in, world) == pytest.approx(tv, abs=ATOL)
    assert world.difference(likelier_in) == pytest.approx(tv, abs=ATOL)


def test_a_loss_that_training_lowers_voids_the_printed_bound():
    # Both IN models are right and sure, both OUT models wrong: delta of the clipped loss is below
    # 0 though membership shows in every model, and its negative tells all.
    logits = np.array([[8.0, -8, -8, -8], [-8.0, 8, -8, -8]])
    world = World(np.array([2, 0]), np.array([0, 2]), logits)
    values = np.minimum(loss(logits), LARGEST_LOSS)
    assert world.difference(values) == pytest.approx(-LARGEST_LOSS, abs=1e-6)
    gained = of_a_tossed_coin((LARGEST_LOSS - values) / LARGEST_LOSS, world)
    assert gained == pytest.approx(1, abs=1e-6)
