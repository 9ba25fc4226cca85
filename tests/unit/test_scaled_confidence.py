import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchsuite.stats.confidence import scaled_confidence


@st.composite
def logits_and_labels(draw, bound=1e4):
    shape = (draw(st.integers(1, 4)), draw(st.integers(2, 6)))
    numbers = st.floats(-bound, bound, width=32)
    logits = draw(hnp.arrays(np.float64, shape, elements=numbers))
    return logits, draw(hnp.arrays(np.int64, shape[:1], elements=st.integers(0, shape[1] - 1)))


def from_probabilities(logits, labels):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    rows = np.arange(len(labels))
    others = p.copy()
    others[rows, labels] = 0
    return np.log(p[rows, labels]) - np.log(others.sum(axis=-1))


def test_the_published_statistic():
    # advanced_mia_test of tensorflow/privacy computes in float32, hence the tolerance.
    result = scaled_confidence([[1, 2, -3], [-1, 1, 0]], [1, 2])
    np.testing.assert_allclose(result, [0.98185009, -1.12692802], atol=1e-7)


@given(logits_and_labels(bound=20))
def test_it_is_the_log_odds_of_the_true_class(case):
    np.testing.assert_allclose(scaled_confidence(*case), from_probabilities(*case), atol=1e-6)


@given(logits_and_labels())
def test_it_is_finite_for_any_logits(case):
    logits, labels = case
    result = scaled_confidence(logits, labels)
    assert np.isfinite(result).all()
    spread = logits.max(axis=-1) - logits.min(axis=-1)
    assert (np.abs(result) <= spread + np.log(logits.shape[-1])).all()


@given(logits_and_labels(), st.integers(-1000, 1000))
def test_a_shift_of_all_logits_changes_nothing(case, shift):
    logits, labels = case
    expected = scaled_confidence(logits, labels)
    np.testing.assert_allclose(scaled_confidence(logits + shift, labels), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("logits", "expected"), [([1e4, -1e4], 2e4), ([-1e4, 1e4], -2e4), ([40.0, 0.0], 40.0)]
)
def test_two_classes_give_the_difference_of_logits(logits, expected):
    # At 40 the probability of the class rounds to 1, and log(1 - p) would be infinite.
    assert scaled_confidence(logits, 0) == expected


def test_shapes_broadcast_over_models():
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    labels = np.array([0, 4, 2, 2])
    result = scaled_confidence(logits, labels)
    assert result.shape == (3, 4)
    assert result.dtype == np.float64
    for model in range(3):
        np.testing.assert_array_equal(result[model], scaled_confidence(logits[model], labels))


def test_the_logits_are_left_alone():
    logits = np.array([[1.0, 2.0]])
    scaled_confidence(logits, [1])
    np.testing.assert_array_equal(logits, [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[1.0, np.nan]], [0], "logits must be finite"),
        ([[1.0]], [0], "expected at least 2 classes"),
        (1.0, 0, "expected at least 2 classes"),
        ([[1.0, 2.0]], [2], "labels run from 2 to 2, expected indices of the 2 classes"),
        ([[1.0, 2.0]], [-1], "labels run from -1 to -1"),
        ([[1.0, 2.0]], [0.0], "labels has dtype float64"),
        ([[1.0, 2.0]], [0, 1], r"labels has shape \[2\] and logits \[1, 2\]: expected \[1\]"),
    ],
)
def test_wrong_arguments_are_named(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        scaled_confidence(logits, labels)
