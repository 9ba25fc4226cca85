"""The audit of one model for one feature, decided over parts of the images that it is asked about.

The false alarm rate is the model's: where effects of clean models are normal, one more clean model
exceeds the bound of a part with that probability, and those of all parts on average no oftener.
That the answer does not hang on the images is what the interval is for.

Control:

- ``clean-model``: each clean model stands in for the audited one, held against the others, and the
  false alarms are counted.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.canaries import Feature
from benchsuite.memorization.unique_feature import (
    LEAST_CLEAN,
    Predict,
    clean_bound,
    glyph_effect,
    stamp_divergences,
)
from benchsuite.subject import load_attribute

CLEAN_MODEL = "clean-model"
FALSE_ALARM_RATE = 0.05
PARTS = 8
GLYPHS = 49
BEYOND = "beyond clean models"
RAISED = "raised probabilities"
ALARMS = "false alarms"


@dataclass(frozen=True, eq=False)
class FeatureCase:
    """A trained model, and a feature that may have been on one of its training images.

    Args:
        name: shown in reports and in file names.
        predict: the model, from images to probabilities [images, classes].
        images: of another origin than the training images, at least 16, see `Feature.stamped`.
        feature: that may be memorized.
        clean: models of the same recipe that never saw the feature, at least 4.

    Raises:
        ValueError: too few images or clean models.
    """

    name: str
    predict: Predict
    images: NDArray[Any]
    feature: Feature
    clean: Sequence[Predict]

    def __post_init__(self) -> None:
        if len(self.clean) <= LEAST_CLEAN:
            raise ValueError(
                f"clean has {len(self.clean)} models, expected at least {LEAST_CLEAN + 1}, of "
                "which one is tested against the others: train more without the feature"
            )
        if len(self.images) < 2 * PARTS:
            raise ValueError(
                f"images are {len(self.images)}, expected at least {2 * PARTS}, two in each of "
                f"{PARTS} parts: give more"
            )

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the images with the feature."""
        return hashlib.sha256(self.feature.stamped(self.images).tobytes()).hexdigest()


BUILT_IN = {"sklearn-digits28": "benchsuite.experiments.feature_cases:sklearn_digits28"}


def load_feature_case(name: str) -> FeatureCase:
    """The case of a built-in name or of "module:attribute", a `FeatureCase` or what returns one.

    Raises:
        ValueError: as `benchsuite.subject.load_attribute`, or something else than a FeatureCase.
    """
    case = load_attribute("audit", name, BUILT_IN)
    if not isinstance(case, FeatureCase):
        raise ValueError(
            f"audit {name!r} is a {type(case).__name__}; expected a benchsuite.FeatureCase or a "
            "function that returns one"
        )
    return case


@dataclass(frozen=True, eq=False)
class FeatureAuditExperiment:
    """One case; `control` see above."""

    case: FeatureCase
    control: str = ""
    cache: dict[str, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {
        CLEAN_MODEL: "Each clean model in turn stands in for the audited one.",
    }

    def under(self, control: str) -> Self:
        """The same case with one thing broken."""
        return replace(self, control=control)

    @property
    def effects(self) -> NDArray[np.float64]:
        """Of the audited model and the clean ones on each part, [1 + clean, parts]."""
        return self._answers[0]

    @property
    def raised(self) -> NDArray[np.int64]:
        """How many of their probabilities were raised to be above 0, [1 + clean, parts]."""
        return self._answers[1]

    @property
    def _answers(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        if "answers" not in self.cache:
            self.cache["answers"] = self._asked()
        answers: tuple[NDArray[np.float64], NDArray[np.int64]] = self.cache["answers"]
        return answers

    def _asked(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        case, rng = self.case, np.random.default_rng([0, 42])
        stamped = [case.feature.stamped(case.images)]
        stamped += [each.stamped(case.images) for each in case.feature.shuffled(rng, GLYPHS)]
        effects, raised = [], []
        for predict in (case.predict, *case.clean):
            moved, floored = stamp_divergences(predict, case.images, stamped)
            parts = np.stack([moved[:, k::PARTS].mean(axis=1) for k in range(PARTS)])
            effects.append(glyph_effect(parts[:, 0], parts[:, 1:]))
            raised.append([floored[:, k::PARTS].sum() for k in range(PARTS)])
        return np.array(effects), np.array(raised)

    def parts(self) -> Iterator[dict[str, float]]:
        """Of each part the effect beyond what one clean model in twenty exceeds.

        And how many probabilities, of all models that were asked, had to be raised for it. Under
        the control the share of clean models beyond what one in twenty of the others' like exceeds.
        """
        audited, *clean = self.effects
        if self.control == CLEAN_MODEL:
            others = [[*clean[:k], *clean[k + 1 :]] for k in range(len(clean))]
            bounds = [clean_bound(each, FALSE_ALARM_RATE) for each in others]
            alarms = np.mean(np.array(clean) > bounds, axis=0)
            yield from ({ALARMS: share} for share in alarms.tolist())
            return
        beyond = audited - clean_bound(clean, FALSE_ALARM_RATE)
        for of_part, count in zip(beyond.tolist(), self.raised.sum(axis=0).tolist(), strict=True):
            yield {BEYOND: of_part, RAISED: count}
