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
from benchsuite.data.outliers import foreign_outliers, out_of_distribution
from benchsuite.data.sources import (
    DATA_VARIABLE,
    DataUnavailable,
    digits,
    enlarged_digits,
    hold_out,
    load,
)

__all__ = [
    "DATA_VARIABLE",
    "LETTER_A",
    "PIXELS_ALIKE",
    "DataUnavailable",
    "Dataset",
    "Feature",
    "digits",
    "duplicates_to_remove",
    "enlarged_digits",
    "find_duplicates",
    "foreign_outliers",
    "glyph",
    "hold_out",
    "ink_range",
    "letters",
    "load",
    "out_of_distribution",
    "places",
    "plant_duplicates",
    "stamped_copies",
    "straddling",
    "with_canaries",
]
