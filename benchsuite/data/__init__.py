"""What is trained on: data sets and where they come from."""

from benchsuite.data.canaries import (
    LETTER_A,
    Feature,
    ink_range,
    letters,
    places,
    stamped_copies,
    with_canaries,
)
from benchsuite.data.dataset import Dataset
from benchsuite.data.duplicates import (
    PIXELS_ALIKE,
    duplicates_to_remove,
    find_duplicates,
    plant_duplicates,
    straddling,
)
from benchsuite.data.glyphs import glyph
from benchsuite.data.mixtures import (
    OVER,
    UNDER,
    augmented_copies,
    balanced_sample,
    in_the_form_of,
    is_mixture,
    mixing_ratio,
    mixture,
    photo_patches,
)
from benchsuite.data.outliers import foreign_outliers, out_of_distribution
from benchsuite.data.pixmix import fractals, pixmix
from benchsuite.data.sources import (
    DATA_VARIABLE,
    DataUnavailable,
    digits,
    enlarged_digits,
    hold_out,
    load,
)
from benchsuite.data.tabular import CLEAN, FLIPPED, breast_cancer
from benchsuite.data.texts import docstrings

__all__ = [
    "CLEAN",
    "DATA_VARIABLE",
    "FLIPPED",
    "LETTER_A",
    "OVER",
    "PIXELS_ALIKE",
    "UNDER",
    "DataUnavailable",
    "Dataset",
    "Feature",
    "augmented_copies",
    "balanced_sample",
    "breast_cancer",
    "digits",
    "docstrings",
    "duplicates_to_remove",
    "enlarged_digits",
    "find_duplicates",
    "foreign_outliers",
    "fractals",
    "glyph",
    "hold_out",
    "in_the_form_of",
    "ink_range",
    "is_mixture",
    "letters",
    "load",
    "mixing_ratio",
    "mixture",
    "out_of_distribution",
    "photo_patches",
    "pixmix",
    "places",
    "plant_duplicates",
    "stamped_copies",
    "straddling",
    "with_canaries",
]
