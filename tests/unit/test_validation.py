import numpy as np
import pytest

from benchsuite.stats.validation import (
    as_distributions,
    as_finite,
    as_membership,
    as_probabilities,
    both_sides,
    same_shape,
)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64])
def test_membership_becomes_bool(dtype):
    given = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    result = as_membership(given)
    assert result.dtype == np.bool_
    np.testing.assert_array_equal(result, given == 1)


def test_bool_membership_is_not_copied():
    given = np.zeros((2, 3), dtype=bool)
    assert as_membership(given) is given


def test_membership_of_any_shape_where_asked():
    assert as_membership([True, False], ndim=None).shape == (2,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 3)), "membership has dtype float64, expected bool"),
        ([["a", "b"]], "membership has dtype"),
        ([True, False], r"membership has shape \[2\], expected 2 axes \[models, examples\]"),
        ([[0, 2]], "membership holds the value 2, expected only 0"),
        ([[0, -1]], "membership holds the value -1, expected only 0"),
        (np.zeros((0, 3), dtype=bool), "membership is empty"),
        ([[True], [True, False]], "membership is not a rectangular array"),
    ],
)
def test_wrong_membership_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        as_membership(value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.int32, np.float64),
        (np.uint8, np.float64),
        (bool, np.float64),
    ],
)
def test_finite_keeps_float32_and_widens_integers(given, expected):
    result = as_finite("scores", np.ones((2, 2), dtype=given))
    assert result.dtype == expected
    np.testing.assert_array_equal(result, 1)


def test_finite_values_are_not_copied():
    given = np.ones(3, dtype=np.float32)
    assert as_finite("scores", given) is given


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 2)])
def test_the_first_value_that_is_not_finite_is_named(bad, place):
    scores = np.arange(6.0).reshape(2, 3)
    scores[place] = bad
    message = rf"scores must be finite but 1 of its 6 values are not \(first scores\[{place[0]}, "
    with pytest.raises(ValueError, match=message + rf"{place[1]}\] = {bad}"):
        as_finite("scores", scores)


@pytest.mark.parametrize(
    ("value", "ndim", "message"),
    [
        ([], None, "scores is empty"),
        (["a"], None, "scores has dtype <U1, expected real numbers"),
        ([1 + 2j], None, "scores has dtype complex128, expected real numbers"),
        ([None], None, "scores has dtype object, expected real numbers"),
        ([[1.0], [2.0, 3.0]], None, "scores is not a rectangular array"),
        ([1.0], 2, r"scores has shape \[1\], expected 2 axes"),
        ([[1.0]], 1, r"scores has shape \[1, 1\], expected 1 axis"),
        (np.nan, None, r"scores must be finite .*\(first scores = nan\)"),
    ],
)
def test_values_that_are_not_numbers_are_named(value, ndim, message):
    with pytest.raises(ValueError, match=message):
        as_finite("scores", value, ndim=ndim)


def test_probabilities_come_back_as_float64():
    result = as_probabilities("p", np.array([[0, 1], [1, 0]]))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5, 0.4], "p: distribution 0 of 1 sums to 0.9, expected 1"),
        ([[0.5, 0.5], [0.5, 0.5 + 1e-8]], "p: distribution 1 of 2 sums to 1.00000001"),
        ([-0.1, 1.1], "p holds -0.1, expected probabilities"),
        ([2.0, -1.0], "p holds -1.0, expected probabilities"),
        (0.5, "p is a single number"),
        ([np.nan, 1.0], "p must be finite"),
    ],
)
def test_wrong_probabilities_are_named(value, message):
    with pytest.raises(ValueError, match=message):
        as_probabilities("p", value)


def test_distributions_need_the_same_outcomes():
    with pytest.raises(ValueError, match="p0 has 2 outcomes and p1 has 3 outcomes: expected"):
        as_distributions(p0=[0.5, 0.5], p1=[0.5, 0.5, 0.0])


def test_shapes_that_differ_are_named():
    same_shape(scores=np.zeros((2, 3)), membership=np.ones((2, 3)))
    message = r"scores has shape \[2, 3\] and membership has shape \[3, 2\]"
    with pytest.raises(ValueError, match=message):
        same_shape(scores=np.zeros((2, 3)), membership=np.ones((3, 2)))


def test_both_sides_accepts_what_is_in_and_out():
    both_sides(np.array([[True, False], [False, True]]))


@pytest.mark.parametrize(
    ("column", "at_least", "message"),
    [
        ([0, 0, 0], 1, r"example 1 is IN for 0 of 3 models \(never IN\), expected at least 1"),
        ([1, 1, 1], 1, r"example 1 is OUT for 0 of 3 models \(never OUT\), expected at least 1"),
        ([1, 0, 0], 2, "example 0 is IN for 1 of 3 models, the first of 2 such examples"),
        ([1, 1, 0], 2, "example 0 is IN for 1 of 3 models, expected at least 2"),
    ],
)
def test_an_example_missing_from_a_side_is_named(column, at_least, message):
    membership = np.array([[1, 0, 0], column]).T.astype(bool)
    with pytest.raises(ValueError, match=message):
        both_sides(membership, at_least)
