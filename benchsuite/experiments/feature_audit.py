"""The audit of one model for one feature, decided over parts of the images that it is asked about.

The false alarm rate is the model's: a clean model exceeds the bound that it is held against with
that probability at most. That the answer does not hang on the images is what the interval is for.

Control:

- ``clean-model``: a clean model stands in for the audited one, held against the other clean ones.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchsuite.data.canaries import Feature
from benchsuite.memorization.feature_audit import Predict
from benchsuite.memorization.unique_feature import LEAST_CLEAN, glyph_effect, outputs_divergence
from benchsuite.subject import load_attribute

CLEAN_MODEL = "clean-model"
FALSE_ALARM_RATE = 0.05
PARTS = 8
GLYPHS = 49


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
        CLEAN_MODEL: "A clean model stands in for the audited one.",
    }

    def under(self, control: str) -> Self:
        """The same case with one thing broken."""
        return replace(self, control=control)

    @property
    def effects(self) -> NDArray[np.float64]:
        """Of the audited model and the clean ones on each part, [1 + clean, parts]."""
        if "effects" not in self.cache:
            self.cache["effects"] = self._effects()
        effects: NDArray[np.float64] = self.cache["effects"]
        return effects

    def _effects(self) -> NDArray[np.float64]:
        case, rng = self.case, np.random.default_rng([0, 42])
        stamped = [case.feature.stamped(case.images)]
        stamped += [each.stamped(case.images) for each in case.feature.shuffled(rng, GLYPHS)]
        every = []
        for predict in (case.predict, *case.clean):
            clean = predict(case.images)
            moved = np.array([outputs_divergence(clean, predict(each)) for each in stamped])
            parts = np.stack([moved[:, k::PARTS].mean(axis=1) for k in range(PARTS)])
            every.append(glyph_effect(parts[:, 0], parts[:, 1:]))
        return np.array(every)

    def excess(self) -> Iterator[float]:
        """Of each part the model's effect beyond what one clean model in twenty exceeds."""
        audited, *clean = self.effects
        if self.control == CLEAN_MODEL:
            middle = np.argsort(np.mean(clean, axis=1))[len(clean) // 2]
            audited, clean = clean[middle], [*clean[:middle], *clean[middle + 1 :]]
        n = len(clean)
        reach = stats.t.isf(FALSE_ALARM_RATE, n - 1) * np.sqrt(1 + 1 / n)
        bound = np.mean(clean, axis=0) + reach * np.std(clean, axis=0, ddof=1)
        yield from (audited - bound).tolist()
