"""What is trained on: data sets and where they come from."""

from benchsuite.data.dataset import Dataset
from benchsuite.data.sources import DATA_VARIABLE, DataUnavailable, digits, load

__all__ = ["DATA_VARIABLE", "DataUnavailable", "Dataset", "digits", "load"]
