"""What is trained on: data sets and where they come from."""

from benchsuite.data.canaries import LETTER_A, Feature
from benchsuite.data.dataset import Dataset
from benchsuite.data.duplicates import (
    PIXELS_ALIKE,
    duplicates_to_remove,
    find_duplicates,
    plant_duplicates,
    straddling,
)
from benchsuite.data.sources import DATA_VARIABLE, DataUnavailable, digits, load

__all__ = [
    "DATA_VARIABLE",
    "LETTER_A",
    "PIXELS_ALIKE",
    "DataUnavailable",
    "Dataset",
    "Feature",
    "digits",
    "duplicates_to_remove",
    "find_duplicates",
    "load",
    "plant_duplicates",
    "straddling",
]
