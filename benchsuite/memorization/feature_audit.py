"""An audit of one model for one unique feature, from its predictions alone."""

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.canaries import Feature
from benchsuite.memorization.unique_feature import (
    FLOOR,
    LEAST_CLEAN,
    CalibratedScore,
    Predict,
    UniqueFeatureScore,
    calibrated_of_divergences,
    clean_p_value,
    rank_p_value,
    score_of_divergences,
    stamp_divergences,
)


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
        candidates: how many the feature was ranked among; 0 where clean models gave the p-value.
        floored: how many probabilities, of all models, were raised to `FLOOR`.
    """

    score: UniqueFeatureScore
    calibrated: CalibratedScore
    clean_effects: NDArray[np.float64]
    p_value: float | None
    false_alarm_rate: float
    memorized: bool | None
    candidates: int
    floored: int

    def __str__(self) -> str:
        raised = ""
        if self.floored:
            raised = (
                f" {self.floored} probabilities were raised to {FLOOR:g}, so that divergences are "
                "finite."
            )
        return self._answer() + raised

    def _answer(self) -> str:
        effect = f"{self.calibrated.effect:+.2f} deviations of random glyphs"
        if self.p_value is None:
            return (
                f"Undecided: the feature moves the outputs by {effect} (paper's M "
                f"{self.score.m:+.3g}). No false alarm rate can be stated: give clean models of "
                "the same recipe, or candidates that the feature was drawn from."
            )
        rank = round(self.p_value * (1 + self.candidates))
        against = f"its rank among {self.candidates} candidates is {rank}"
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
        predict: the model; called 3 + glyphs + candidates times, once on the images and once on
            each stamped copy of them: with the feature, random features, each glyph and candidate.
        images: any of another origin than the training images, see `Feature.stamped`.
        feature: that may have been on a training image.
        clean: models of the same recipe that never saw the feature, at least 3, or none; each
            called 2 + glyphs times, on the same images but for random features.
        candidates: the others that the feature could have been when it was drawn at random, such as
            names in the same place; instead of clean models. Its rank among them gives the p-value,
            as exposure does for text (Carlini et al. 2019, The Secret Sharer); 19 allow 0.05.
        false_alarm_rate: how often what is not memorized is called so.
        glyphs: random ones of equal ink.
        kind: of random features, see `Feature.random_stamped`.
        seed: of what is drawn.

    Raises:
        ValueError: one or two clean models, or models that are one; too few candidates for the
            rate, or both of them; a rate outside (0, 1), too few glyphs; as `Feature.stamped` and
            `stamp_divergences`.

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
    if clean and candidates:
        raise ValueError("clean and candidates are both given, expected one of them: leave one out")
    if candidates and 1 / (1 + len(candidates)) > false_alarm_rate:
        raise ValueError(
            f"candidates are {len(candidates)}, of which no rank has a p-value of "
            f"false_alarm_rate={false_alarm_rate}: give at least {ceil(1 / false_alarm_rate) - 1}"
        )
    rng = np.random.default_rng(seed)
    random = feature.random_stamped(images, rng, kind)
    stamped = [feature.stamped(images)]
    stamped += [each.stamped(images) for each in feature.shuffled(rng, glyphs)]
    others = [each.stamped(images) for each in candidates]
    moved, floored = stamp_divergences(predict, images, [*stamped, random, *others])
    with_feature, with_glyphs, with_random = moved[0], moved[1 : 1 + glyphs], moved[1 + glyphs]
    raised = floored.sum(axis=1)
    score = score_of_divergences(with_feature, with_random, int(raised[[0, 1, 2 + glyphs]].sum()))
    own = calibrated_of_divergences(with_feature, with_glyphs, int(raised[: 2 + glyphs].sum()))
    of_clean = [_calibrated(each, images, stamped) for each in clean]
    effects = np.array([each.effect for each in of_clean])
    p_value: float | None = None
    if clean:
        p_value = float(clean_p_value(own.effect, effects))
    elif candidates:
        p_value = rank_p_value(own.x_u, moved[2 + glyphs :].mean(axis=1))
    return FeatureAudit(
        score,
        own,
        effects,
        p_value,
        false_alarm_rate,
        None if p_value is None else p_value <= false_alarm_rate,
        len(candidates),
        int(raised.sum()) + sum(each.floored for each in of_clean),
    )


def _calibrated(
    predict: Predict, images: NDArray[Any], stamped: Sequence[NDArray[Any]]
) -> CalibratedScore:
    """Of a model that is asked about the feature and the glyphs alone."""
    moved, floored = stamp_divergences(predict, images, stamped)
    return calibrated_of_divergences(moved[0], moved[1:], int(floored.sum()))
