"""scikit-learn's handwritten digits: what a laptop decides findings on."""

from functools import partial

from benchsuite.data import sources
from benchsuite.models import digits_cnn as small_cnn
from benchsuite.models import mlp
from benchsuite.subject import Subject
from benchsuite.training import Recipe


def digits_mlp() -> Subject:
    """scikit-learn's handwritten digits and a 64-128-10 MLP: the laptop's subject."""
    pool, test = sources.digits()
    return Subject("digits-mlp", pool, test, partial(mlp, 64, 128, 10), Recipe(epochs=50))


def digits_cnn() -> Subject:
    """scikit-learn's handwritten digits and a small convolutional network."""
    pool, test = sources.digits()
    return Subject("digits-cnn", pool, test, small_cnn, Recipe(epochs=20, learning_rate=0.1))


def digits_tiny() -> Subject:
    """300 digits and a 64-32-10 MLP: for smoke runs, which decide nothing."""
    pool, test = sources.digits()
    return Subject(
        "digits-tiny", pool.subset(range(300)), test, partial(mlp, 64, 32, 10), Recipe(epochs=30)
    )
