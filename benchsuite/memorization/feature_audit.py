"""An audit of one model for one unique feature, from its predictions alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.data.canaries import Feature
from benchsuite.memorization.unique_feature import (
    LEAST_CLEAN,
    CalibratedScore,
    UniqueFeatureScore,
    calibrated_score,
    clean_p_value,
    unique_feature_score,
)

Predict = Callable[[NDArray[Any]], ArrayLike]
"""From images to probabilities [images, classes]."""


class FeatureAudit(NamedTuple):
    """What an audit found; printed, it is a sentence or two.

    Attributes:
        score: the paper's X_u, X_r, M and t-test, which clean models fail too.
        calibrated: the effect, among random glyphs of equal ink.
        clean_effects: of the clean models, [models].
        p_value: that one more clean model has such an effect, or else that a candidate at random
            moves the model so far; None with neither.
        false_alarm_rate: of calling memorized what is not.
        memorized: whether the p-value is at most that rate; None without one.
    """

    score: UniqueFeatureScore
    calibrated: CalibratedScore
    clean_effects: NDArray[np.float64]
    p_value: float | None
    false_alarm_rate: float
    memorized: bool | None

    def __str__(self) -> str:
        effect = f"{self.calibrated.effect:+.2f} deviations of random glyphs"
        if self.p_value is None:
            return (
                f"Undecided: the feature moves the outputs by {effect} (paper's M "
                f"{self.score.m:+.3g}). No false alarm rate can be stated: give clean models of "
                "the same recipe, or candidates that the feature was drawn from."
            )
        against = "further than candidates do"
        if len(self.clean_effects):
            mean = float(self.clean_effects.mean())
            against = f"in {len(self.clean_effects)} clean models by {mean:+.2f} on average"
        return (
            f"{'Memorized' if self.memorized else 'Not found to be memorized'}: the feature moves "
            f"the outputs by {effect}, {against} (p = {self.p_value:.2g}, false alarm rate "
            f"{self.false_alarm_rate:g}; paper's M {self.score.m:+.3g})."
        )


def audit_feature(
    predict: Predict,
    images: NDArray[Any],
    feature: Feature,
    *,
    clean: Sequence[Predict] = (),
    candidates: Sequence[Feature] = (),
    false_alarm_rate: float = 0.05,
    glyphs: int = 99,
    kind: str = "uniform",
    seed: int = 0,
) -> FeatureAudit:
    """Answer whether a deployed model has memorized a feature.

    Args:
        predict: the model; called 2 + glyphs times.
        images: any of another origin than the training images, see `Feature.stamped`.
        feature: that may have been on a training image.
        clean: models of the same recipe that never saw the feature, at least 3, or none. They are
            asked about the same stamped images.
        candidates: that the feature was drawn from at random, such as other names in the same
            place. Where there are no clean models, its rank among them gives the p-value, as
            exposure does for text (Carlini et al. 2019, The Secret Sharer); 19 allow one of 0.05.
        false_alarm_rate: how often what is not memorized is called so.
        glyphs: random ones of equal ink.
        kind: of random features, see `Feature.random_stamped`.
        seed: of what is drawn.

    Raises:
        ValueError: one or two clean models, a rate outside (0, 1), too few glyphs; as
            `Feature.stamped`, `unique_feature_score` and `calibrated_score`.

    Source: Hartley and Tsaftaris (2022), Section 3.3, whose score this calibrates.
    """
    if clean and len(clean) < LEAST_CLEAN:
        raise ValueError(
            f"clean has {len(clean)} models, expected none or at least {LEAST_CLEAN}: train more"
        )
    if not 0 < false_alarm_rate < 1:
        raise ValueError(f"false_alarm_rate={false_alarm_rate} must be above 0 and below 1")
    if glyphs < 2:
        raise ValueError(f"glyphs={glyphs}, expected at least 2")
    rng = np.random.default_rng(seed)
    unique = feature.stamped(images)
    random = feature.random_stamped(images, rng, kind)
    others = [each.stamped(images) for each in feature.shuffled(rng, glyphs)]

    def calibrated(model: Predict) -> CalibratedScore:
        said = np.array([model(each) for each in others])
        return calibrated_score(model(images), model(unique), said)

    score = unique_feature_score(predict(images), predict(unique), predict(random))
    own = calibrated(predict)
    effects = np.array([calibrated(each).effect for each in clean])
    p_value: float | None = None
    if len(effects):
        p_value = float(clean_p_value(own.effect, effects))
    elif candidates:
        said = np.array([predict(each.stamped(images)) for each in candidates])
        p_value = calibrated_score(predict(images), predict(unique), said).p_value
    memorized = None if p_value is None else p_value <= false_alarm_rate
    return FeatureAudit(score, own, effects, p_value, false_alarm_rate, memorized)
