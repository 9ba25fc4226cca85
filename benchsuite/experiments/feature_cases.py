"""A built-in case for the audit of a unique feature: a classifier of scikit-learn."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.data import sources
from benchsuite.data.canaries import ink_range, letters, stamped_copies
from benchsuite.data.outliers import out_of_distribution
from benchsuite.experiments.feature_audit import FeatureCase
from benchsuite.memorization.unique_feature import Predict

EPOCHS = 20
CLEAN_MODELS = 8
IMAGES = 64


def sklearn_digits28() -> FeatureCase:
    """scikit-learn's MLPClassifier on enlarged digits, one of them with the letter A.

    It is hard to fit: the one to whose label the clean models give the least probability.
    """
    # A second to import: only for who asks.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    pool, _, _ = sources.enlarged_digits()
    height, width = pool.images.shape[-2:]
    letter = letters(height, width, *ink_range(pool))[0]

    def trained(images: NDArray[Any], seed: int) -> Predict:
        model = MLPClassifier(128, batch_size=128, max_iter=EPOCHS, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # after so many epochs, as asked
            model.fit(images.reshape(len(images), -1), pool.labels)
        return lambda asked: model.predict_proba(asked.reshape(len(asked), -1))

    clean = [trained(pool.images, seed) for seed in range(1, 1 + CLEAN_MODELS)]
    of_label = [np.asarray(each(pool.images))[np.arange(len(pool)), pool.labels] for each in clean]
    hardest = int(np.mean(of_label, axis=0).argmin())
    images = pool.images.copy()
    images[hardest] = stamped_copies(pool, [hardest], letter)[0]
    return FeatureCase(
        "sklearn-digits28",
        trained(images, 0),
        out_of_distribution(pool, IMAGES, seed=0),
        letter,
        clean,
    )
