"""Whether a model has memorised a unique feature, from its outputs alone.

Three sets of out-of-distribution images, the same but for one patch: clean, with the feature, and
with random features (Hartley and Tsaftaris 2022, Measuring Unintended Memorisation of Unique
Private Features in Neural Networks, Section 3.3).

The paper's sign test asks whether the feature moves the output more than random ones do. That
depends on how much ink it has: models that never saw it fail the test too. The calibrated form
compares it with random glyphs of equal ink in the same model, and that effect with the effect in
models that never saw the feature: strokes move a model more, or less, than scattered pixels do.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from benchsuite.stats.divergence import kl_divergence
from benchsuite.stats.validation import as_finite

FLOOR = 1e-12
"""Probabilities below are raised to it, so that a divergence is finite."""
LEAST_CLEAN = 3
"""Clean models below which no spread of theirs can be told."""
SUMS_TO_ONE = 1e-3
"""How far probabilities may sum from 1: half-precision outputs are let through, logits are not."""

_ROUNDING = 1e-9
_ALIKE = 1e-6  # what single precision leaves of effects that are the same

Floats = NDArray[np.float64]
Predict = Callable[[NDArray[Any]], ArrayLike]
"""From images to probabilities [images, classes]."""


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
    return score_of_divergences(kl_divergence(p, q), kl_divergence(p, r), floored)


def score_of_divergences(
    with_feature: Floats, with_random: Floats, floored: int
) -> UniqueFeatureScore:
    """Return X_u, X_r, M and the paper's test from divergences of each image, [images]."""
    x_u, x_r = float(with_feature.mean()), float(with_random.mean())
    difference = with_feature - with_random
    if np.ptp(difference) <= _ROUNDING * np.abs(difference).max():  # of a constant is no t-test
        p_value = 0.0 if difference[0] > 0 else 1.0
    else:
        p_value = float(stats.ttest_1samp(difference, 0, alternative="greater").pvalue)
    return UniqueFeatureScore(x_u, x_r, x_u - x_r, p_value, floored)


def calibrated_score(clean: ArrayLike, unique: ArrayLike, glyphs: ArrayLike) -> CalibratedScore:
    """Return where the feature ranks among random glyphs of equal ink.

    Its p-value is exact for a feature that is one more random glyph. A letter is none: hold the
    effect against clean models, see `clean_p_value`.

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
    return calibrated_of_divergences(kl_divergence(p, q), kl_divergence(p, every), floored)


def calibrated_of_divergences(
    with_feature: Floats, with_glyphs: Floats, floored: int
) -> CalibratedScore:
    """Return the feature's rank from divergences of each image, [images] and [glyphs, images]."""
    x_u, others = float(with_feature.mean()), with_glyphs.mean(axis=1)
    p_value = rank_p_value(x_u, others)
    return CalibratedScore(float(glyph_effect(x_u, others)), p_value, x_u, floored)


def rank_p_value(x_u: float, others: Floats) -> float:
    """Return the share, of the feature and others [n], that move outputs as much as the feature."""
    return float((1 + np.count_nonzero(others >= x_u)) / (1 + len(others)))


def stamp_divergences(
    predict: Predict, images: NDArray[Any], stamped: Iterable[NDArray[Any]]
) -> tuple[Floats, NDArray[np.int64]]:
    """Ask a model about clean images and each stamped copy of them, once each.

    Args:
        predict: the model; called 1 + stamps times.
        images: without a stamp.
        stamped: the same images with each stamp.

    Returns:
        How far each stamp moves the outputs, in nats, [stamps, images]; and how many probabilities
        were raised to `FLOOR`, [1 + stamps, images], those of the clean images first.

    Raises:
        ValueError: no probabilities, shapes that differ, fewer than two images, no stamps.
    """
    p, raised = _probabilities("clean", predict(images))
    divergences, floored = [], [raised]
    for each in stamped:
        q, raised = _probabilities("stamped", predict(each))
        _same("stamped", q, p)
        divergences.append(kl_divergence(p, q))
        floored.append(raised)
    if not divergences:
        raise ValueError("stamped is empty, expected images with a feature: give at least one")
    return np.array(divergences), np.array(floored)


def glyph_effect(x_u: ArrayLike, of_glyphs: ArrayLike) -> Floats:
    """Return how far the feature moves outputs beyond random glyphs of equal ink.

    In standard deviations of the glyphs' log divergences; 0 where all glyphs move them alike.

    Args:
        x_u: mean divergences, in nats, of the outputs with the feature, [...].
        of_glyphs: of those with each glyph, [..., glyphs].
    """
    least = np.finfo(float).tiny
    with_feature = np.log(np.maximum(np.asarray(x_u, dtype=np.float64), least))
    logs = np.log(np.maximum(np.asarray(of_glyphs, dtype=np.float64), least))
    # Of equal numbers the deviation is rounding, not 0.
    alike = np.ptp(logs, axis=-1) == 0
    spread = np.where(alike, np.inf, logs.std(axis=-1, ddof=1))
    effect: Floats = (with_feature - logs.mean(axis=-1)) / spread
    return effect


def clean_p_value(effect: ArrayLike, clean: ArrayLike) -> Floats:
    """Return how probable so large an effect is in one more clean model: one-tailed p-values.

    By Student's t with the clean effects' mean and deviation, as of a new observation: exact where
    effects of clean models are normal. On the digits they are to the eye, and the claim
    "score-is-specific" holds the false alarm rate that follows against models that are left out.

    Args:
        effect: of models that may have memorized the feature, [...].
        clean: of models of the same recipe that never saw it, [models], at least 3.

    Raises:
        ValueError: fewer clean effects, or all alike; another shape, values that are not finite.
    """
    tested, null = as_finite("effect", effect), as_finite("clean", clean, ndim=1)
    return prediction_p_value(tested, *_mean_and_spread(null), len(null))


def clean_bound(clean: ArrayLike, false_alarm_rate: float) -> Floats:
    """Return the effect that one more clean model exceeds so often: `clean_p_value` inverted.

    Args:
        clean: effects of models that never saw the feature, [models, parts], at least 3 models.
        false_alarm_rate: above 0 and below 1.

    Returns:
        [parts].

    Raises:
        ValueError: as `clean_p_value`.
    """
    null = as_finite("clean", clean, ndim=2)
    mean, spread = _mean_and_spread(null)
    n = len(null)
    bound: Floats = mean + stats.t.isf(false_alarm_rate, n - 1) * spread * np.sqrt(1 + 1 / n)
    return bound


def prediction_p_value(
    effect: ArrayLike, mean: ArrayLike, spread: ArrayLike, n: ArrayLike
) -> Floats:
    """Return one-tailed p-values of new observations after n of this mean and standard deviation.

    All are arrays that fit together. Where the deviation is 0 the p-value is 0 above the mean, else
    1.
    """
    count = np.asarray(n, dtype=np.float64)
    above = np.asarray(effect, dtype=np.float64) - np.asarray(mean, dtype=np.float64)
    reach = np.asarray(spread, dtype=np.float64) * np.sqrt(1 + 1 / count)
    t = above / np.where(reach > 0, reach, 1)
    p: Floats = np.where(reach > 0, stats.t.sf(t, count - 1), above <= 0)
    return p


def _mean_and_spread(clean: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Of clean effects [models, ...], where there are enough and they differ."""
    if len(clean) < LEAST_CLEAN:
        raise ValueError(
            f"clean has {len(clean)} effects, expected those of at least {LEAST_CLEAN} models that "
            "never saw the feature: train more"
        )
    if np.any(np.ptp(clean, axis=0) <= _ALIKE * np.maximum(1, np.abs(clean).max(axis=0))):
        raise ValueError(
            "clean has effects that are all alike: these clean models are one model, or none of "
            "them looks where the feature is: vary their seed or their data"
        )
    mean: Floats = clean.mean(axis=0, dtype=np.float64)
    return mean, clean.std(axis=0, ddof=1, dtype=np.float64)


def _checked(**outputs: ArrayLike) -> tuple[list[Floats], int]:
    """Probabilities of each, and how many had to be raised in all."""
    both = [_probabilities(name, values) for name, values in outputs.items()]
    return [each for each, _ in both], sum(int(floored.sum()) for _, floored in both)


def _probabilities(name: str, values: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Probabilities that sum to 1, nowhere 0, and of each image how many were raised for that."""
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
    raised = np.maximum(given, FLOOR)
    probabilities = raised / raised.sum(axis=-1, keepdims=True)
    return probabilities, np.count_nonzero(given < FLOOR, axis=-1)


def _same(name: str, values: Floats, clean: Floats) -> None:
    if values.shape != clean.shape:
        raise ValueError(
            f"{name} has shape {values.shape} and clean {clean.shape}: give outputs on the same "
            "images, in the same order"
        )
