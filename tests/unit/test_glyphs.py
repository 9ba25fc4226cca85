import string
from itertools import combinations

import numpy as np
import pytest

from benchsuite.data import LETTER_A, glyph


def test_the_letter_a_is_the_papers():
    assert glyph("A").tolist() == [
        [0, 1, 1, 1, 0],
        [1, 0, 0, 0, 1],
        [1, 1, 1, 1, 1],
        [1, 0, 0, 0, 1],
        [1, 0, 0, 0, 1],
    ]
    np.testing.assert_array_equal(LETTER_A, glyph("A"))
    assert glyph("A").dtype == np.float64


def test_every_capital_letter_is_told_from_every_other():
    every = {letter: glyph(letter) for letter in string.ascii_uppercase}
    assert all(ink.shape == (5, 5) for ink in every.values())
    assert all(set(np.unique(ink)) == {0, 1} for ink in every.values())
    assert all(ink.any(axis=1).all() for ink in every.values())  # five rows high
    differing = {
        one + other: (every[one] != every[other]).sum() for one, other in combinations(every, 2)
    }
    assert min(differing.values()) >= 2, min(differing, key=differing.get)


def test_a_name_is_its_letters_with_a_column_between():
    name = glyph("ANNA")
    assert name.shape == (5, 23)
    for number, letter in enumerate("ANNA"):
        np.testing.assert_array_equal(name[:, 6 * number : 6 * number + 5], glyph(letter))
    assert not name[:, 5::6].any()


def test_what_is_done_to_a_glyph_stays_with_it():
    glyph("A")[:] = 0
    assert glyph("A").sum() == 14


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text is empty, expected one capital letter or more"),
        ("Anna", "text='Anna' holds 'n', which the font lacks: use the capital letters A to Z"),
        ("A B", "text='A B' holds ' '"),
        ("Ä", "holds 'Ä'"),
    ],
)
def test_what_the_font_lacks_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        glyph(text)
