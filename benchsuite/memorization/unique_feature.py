"""Whether a model has memorised a unique feature, from its outputs alone.

Three sets of out-of-distribution images, the same but for one patch: clean, with the feature, and
with random features (Hartley and Tsaftaris 2022, Measuring Unintended Memorisation of Unique
Private Features in Neural Networks, Section 3.3).

The paper's sign test asks whether the feature moves the output more than random ones do. That
depends on how much ink it has: models that never saw it fail the test too. The calibrated form
ranks it among random glyphs of equal ink in the same model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from benchsuite.data.canaries import Feature
from benchsuite.stats.divergence import kl_divergence
from benchsuite.stats.validation import as_finite

FLOOR = 1e-12
"""Probabilities below are raised to it, so that a divergence is finite."""
SUMS_TO_ONE = 1e-3
"""How far probabilities may sum from 1: half-precision outputs are let through, logits are not."""

_ROUNDING = 1e-9

Floats = NDArray[np.float64]


class UniqueFeatureScore(NamedTuple):
    """Of one model and one feature.

    Attributes:
        x_u: mean divergence, in nats, of the output when the feature is put on (Equation 3).
        x_r: the same for random features (Equation 4).
        m: x_u - x_r; above 0 the paper says memorised.
        p_value: of a one-tailed t-test that x_u exceeds x_r, paired by image.
        floored: how many probabilities were raised to `FLOOR`.
    """

    x_u: float
    x_r: float
    m: float
    p_value: float
    floored: int


class CalibratedScore(NamedTuple):
    """Of one model and one feature, among random glyphs of equal ink.

    Attributes:
        effect: how many standard deviations log x_u lies above the mean of the glyphs' logarithms.
        p_value: share of the feature and the glyphs that move the output as much as the feature.
        x_u: mean divergence, in nats, of the output when the feature is put on.
        floored: how many probabilities were raised to `FLOOR`.
    """

    effect: float
    p_value: float
    x_u: float
    floored: int


def unique_feature_score(
    clean: ArrayLike, unique: ArrayLike, random: ArrayLike
) -> UniqueFeatureScore:
    """Return X_u, X_r, M and the paper's test.

    Args:
        clean: a model's probabilities on the clean images, [images, classes].
        unique: on the same images with the feature.
        random: on the same images with random features.

    Raises:
        ValueError: no probabilities, shapes that differ, fewer than two images.

    Source: Hartley and Tsaftaris (2022), Equations 1 to 4.
    """
    (p, q, r), floored = _checked(clean=clean, unique=unique, random=random)
    _same("unique", q, p)
    _same("random", r, p)
    with_feature, with_random = kl_divergence(p, q), kl_divergence(p, r)
    x_u, x_r = float(with_feature.mean()), float(with_random.mean())
    difference = with_feature - with_random
    if np.ptp(difference) <= _ROUNDING * np.abs(difference).max():  # of a constant is no t-test
        p_value = 0.0 if difference[0] > 0 else 1.0
    else:
        p_value = float(stats.ttest_1samp(difference, 0, alternative="greater").pvalue)
    return UniqueFeatureScore(x_u, x_r, x_u - x_r, p_value, floored)


def calibrated_score(clean: ArrayLike, unique: ArrayLike, glyphs: ArrayLike) -> CalibratedScore:
    """Return where the feature ranks among random glyphs of equal ink.

    A model that never saw the feature gives p-values that are uniform over glyphs drawn with it.

    Args:
        clean: a model's probabilities on the clean images, [images, classes].
        unique: on the same images with the feature.
        glyphs: on the same images with each of the random glyphs, [glyphs, images, classes].

    Raises:
        ValueError: no probabilities, shapes that differ, fewer than two images or glyphs.
    """
    (p, q, every), floored = _checked(clean=clean, unique=unique, glyphs=glyphs)
    _same("unique", q, p)
    if every.ndim != 3 or every.shape[1:] != p.shape or len(every) < 2:
        raise ValueError(
            f"glyphs has shape {every.shape}, expected [glyphs, {p.shape[0]}, {p.shape[1]}] with "
            "at least 2 glyphs"
        )
    x_u = float(kl_divergence(p, q).mean())
    others = kl_divergence(p, every).mean(axis=1)
    logs = np.log(np.maximum(others, np.finfo(float).tiny))
    spread = float(logs.std(ddof=1)) if np.ptp(logs) else 0.0
    above = float(np.log(max(x_u, np.finfo(float).tiny)) - logs.mean())
    p_value = (1 + np.count_nonzero(others >= x_u)) / (1 + len(others))
    return CalibratedScore(above / spread if spread else 0.0, float(p_value), x_u, floored)


def score_feature(
    predict: Callable[[NDArray[Any]], ArrayLike],
    images: NDArray[Any],
    feature: Feature,
    *,
    glyphs: int = 99,
    kind: str = "uniform",
    seed: int = 0,
) -> tuple[UniqueFeatureScore, CalibratedScore]:
    """Score a deployed model: both forms, from its predictions alone.

    Args:
        predict: from images to probabilities [images, classes]; called 2 + glyphs times.
        images: out-of-distribution ones, see `Feature.stamped`.
        feature: that may have been memorised.
        glyphs: random ones of equal ink; the least p-value is 1 / (1 + glyphs).
        kind: of random features, see `Feature.random_stamped`.
        seed: of what is drawn.

    Raises:
        ValueError: as `Feature.stamped` and the two scores.
    """
    if glyphs < 2:
        raise ValueError(f"glyphs={glyphs}, expected at least 2")
    rng = np.random.default_rng(seed)
    clean, unique = predict(images), predict(feature.stamped(images))
    random = predict(feature.random_stamped(images, rng, kind))
    others = [predict(each.stamped(images)) for each in feature.shuffled(rng, glyphs)]
    return (
        unique_feature_score(clean, unique, random),
        calibrated_score(clean, unique, np.array(others)),
    )


def _checked(**outputs: ArrayLike) -> tuple[list[Floats], int]:
    """Probabilities that sum to 1 and are nowhere 0, and how many had to be raised for that."""
    checked, floored = [], 0
    for name, values in outputs.items():
        given = as_finite(name, values).astype(np.float64)
        if given.ndim < 2 or given.shape[-2] < 2:
            raise ValueError(
                f"{name} has shape {given.shape}, expected [images, classes] with at least 2 images"
            )
        sums = given.sum(axis=-1)
        if given.min() < 0 or np.abs(sums - 1).max() > SUMS_TO_ONE:
            raise ValueError(
                f"{name} holds values from {given.min():.3g} to {given.max():.3g} that sum to "
                f"{sums.ravel()[np.abs(sums - 1).argmax()]:.3g}, expected probabilities: apply "
                "softmax to logits"
            )
        floored += int(np.count_nonzero(given < FLOOR))
        raised = np.maximum(given, FLOOR)
        checked.append(raised / raised.sum(axis=-1, keepdims=True))
    return checked, floored


def _same(name: str, values: Floats, clean: Floats) -> None:
    if values.shape != clean.shape:
        raise ValueError(
            f"{name} has shape {values.shape} and clean {clean.shape}: give outputs on the same "
            "images, in the same order"
        )
