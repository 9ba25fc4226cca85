"""A font of 5 x 5 pixels: the ink of names and letters that are stamped onto images."""

import numpy as np
from numpy.typing import NDArray

_SIDE = 5
_FONT = {
    "A": ".###. #...# ##### #...# #...#",
    "B": "####. #...# ####. #...# ####.",
    "C": ".#### #.... #.... #.... .####",
    "D": "####. #...# #...# #...# ####.",
    "E": "##### #.... ####. #.... #####",
    "F": "##### #.... ####. #.... #....",
    "G": ".#### #.... #..## #...# .####",
    "H": "#...# #...# ##### #...# #...#",
    "I": "##### ..#.. ..#.. ..#.. #####",
    "J": "..### ...#. ...#. #..#. .##..",
    "K": "#..#. #.#.. ##... #.#.. #..#.",
    "L": "#.... #.... #.... #.... #####",
    "M": "#...# ##.## #.#.# #...# #...#",
    "N": "#...# ##..# #.#.# #..## #...#",
    "O": ".###. #...# #...# #...# .###.",
    "P": "####. #...# ####. #.... #....",
    "Q": ".###. #...# #.#.# #..#. .##.#",
    "R": "####. #...# ####. #..#. #...#",
    "S": ".#### #.... .###. ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#..",
    "U": "#...# #...# #...# #...# .###.",
    "V": "#...# #...# #...# .#.#. ..#..",
    "W": "#...# #...# #.#.# ##.## #...#",
    "X": "#...# .#.#. ..#.. .#.#. #...#",
    "Y": "#...# .#.#. ..#.. ..#.. ..#..",
    "Z": "##### ...#. ..#.. .#... #####",
}


def glyph(text: str) -> NDArray[np.float64]:
    """Return the ink of a letter or of a name, with one empty column between its letters.

    Args:
        text: capital letters, A to Z.

    Returns:
        0 or 1 for each pixel, [5, 6 n - 1] for n letters.

    Raises:
        ValueError: an empty text, or a character that is no capital letter.
    """
    if not text:
        raise ValueError("text is empty, expected one capital letter or more, such as 'A'")
    lacking = next((each for each in text if each not in _FONT), None)
    if lacking is not None:
        raise ValueError(
            f"text={text!r} holds {lacking!r}, which the font lacks: use the capital letters A to Z"
        )
    ink = np.zeros((_SIDE, (_SIDE + 1) * len(text) - 1))
    for number, letter in enumerate(text):
        left = (_SIDE + 1) * number
        ink[:, left : left + _SIDE] = [[c == "#" for c in row] for row in _FONT[letter].split()]
    return ink
