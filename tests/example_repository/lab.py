"""What this laboratory trains: a digit classifier."""

from functools import partial

from sklearn.datasets import load_digits

from benchsuite import Dataset, Recipe, Subject
from benchsuite.models import mlp

RECIPE = Recipe(epochs=10, batch_size=64, learning_rate=0.1)


def subject():
    """The training data, the model and the recipe, as they are deployed."""
    digits = load_digits()
    everything = Dataset((digits.images / 16).astype("float32"), digits.target)
    pool, test = everything.subset(range(600)), everything.subset(range(600, 1797))
    return Subject("our-digits", pool, test, partial(mlp, 64, 64, 10), RECIPE)
