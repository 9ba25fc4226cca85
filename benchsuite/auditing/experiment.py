"""What the claims of an audit are given: numbers of each fold, or group, of shadow models.

Controls:

- ``permuted-membership``: the attacker is told a wrong membership of its references.
- ``shadow-stands-in``: each shadow model stands in for the target, on what it was not trained on.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.observations import Observations
from benchsuite.attacks.privacy import advantage
from benchsuite.auditing.auditor import DECIDING
from benchsuite.auditing.result import Audit, says
from benchsuite.auditing.shadows import Shadows
from benchsuite.auditing.strength import Strength, strength_of
from benchsuite.auditing.target import finely
from benchsuite.experiments.controlled import Remembering
from benchsuite.memorization.unique_feature import LEAST_CLEAN, clean_bound
from benchsuite.stats.verdict import CannotResolveError

PERMUTED, STAND_IN = "permuted-membership", "shadow-stands-in"
COARSE_FPR = 1e-2
"""At which one model is: of the examples that it is asked about few are accused by chance."""
FALSE_ALARM_RATE = 0.05
"""Of calling a model exposed that was trained on none of the examples."""
EXPOSED, LEAST_EXAMPLES = 0.1, 20
"""Share of the examples that one model is asked about, those that shadow models expose most; and
how many they are at least."""
GROUPS = 8
"""Of shadow models, each of which says what is chance."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AuditExperiment(Remembering):
    """One audit, decided.

    Args:
        shadows: the shadow models' answers.
        found: the audit of the same, for a target's answers.
        page: the audit to hand on, where that is another one.
        control: see above; "" for the experiment as it is.
        cache: what was computed, shared by all arms.
    """

    shadows: Shadows
    found: Audit
    page: Audit | None = None
    control: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {
        PERMUTED: "The attacker is told a wrong membership of its references.",
        STAND_IN: "Each shadow model stands in, on examples that it was not trained on.",
    }

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of a subject's examples; else of the labels and who was IN."""
        if self.shadows.subject is not None:  # as the other claims on it say
            return self.shadows.subject.pool.digest
        sha = hashlib.sha256(self.shadows.observations.labels.tobytes())
        sha.update(np.packbits(self.shadows.membership).tobytes())
        return sha.hexdigest()

    def members(self) -> Iterator[dict[str, float]]:
        """Of each fold of the shadow models: LiRA's TPR over the FPR, and each of the two."""
        strength = self._attacked(misled=self.control == PERMUTED)
        for part, found in zip(strength.folds, strength.tprs.tolist(), strict=True):
            yield {
                "found / by chance": found / self.found.fpr,
                "found": found,
                "false alarms": float(strength.false_alarms[part].mean()),
            }

    def target(self) -> Iterator[dict[str, float]]:
        """By each group of shadow models: the share accused beyond what is chance.

        Of the examples that shadow models expose most, and beyond what one in twenty models of the
        group's like exceeds on those that it was not trained on. A half of the shadow models
        chooses the examples, and the groups are of the other. Under the control the share of the
        other groups' models that exceed it there.

        Raises:
            CannotResolveError: no target, one that is unlike the shadow models, too few models or
                examples.
        """
        if self.found.target is None:
            raise CannotResolveError("there is no target: give one with --target")
        if self.found.target.unlike:
            raise CannotResolveError(says(self.found.target, len(self.shadows.ids)))
        strength, inside = self._finely(), self.shadows.membership
        half = len(inside) // 2
        exposed = advantage(strength.accused[:half], inside[:half])
        count = max(LEAST_EXAMPLES, round(EXPOSED * len(exposed)))
        chosen = np.argsort(-exposed, kind="stable")[:count]
        outside = ~inside[half:][:, chosen]
        if half // GROUPS < LEAST_CLEAN or not outside.any(axis=1).all():
            raise CannotResolveError(
                f"{len(inside)} shadow models and {len(exposed)} examples are too few to say what "
                "is chance: train more shadow models, or audit more examples"
            )
        alarms = np.mean(strength.accused[half:][:, chosen], axis=1, where=outside)
        accused = float((self.found.target.scores[chosen] > strength.threshold).mean())
        for group in range(GROUPS):
            mine = np.arange(len(alarms)) % GROUPS == group
            bound = _bound(alarms[mine])
            if self.control == STAND_IN:
                yield {"false alarms": float((alarms[~mine] > bound).mean())}
            else:
                yield {"beyond shadow models": accused - bound, "accused": accused}

    def _finely(self) -> Strength:
        """The attack on shadow models as on the target, see `finely`."""
        return self.once("fine", lambda: finely(self.shadows, DECIDING, COARSE_FPR))

    def _attacked(self, misled: bool) -> Strength:
        """The attack on each fold, at the audit's FPR."""
        observations, membership = self.shadows.observations, self.shadows.membership
        told = membership
        if misled:
            told = np.random.default_rng([0, 73]).permuted(membership, axis=0)
        known = Observations(
            confidence=observations.confidence, labels=observations.labels, membership=told
        )
        return strength_of(DECIDING, known, membership, self.found.fpr)

    def figure(self, kind: str) -> None:
        """No figure: the audit has a page of its own."""


def _bound(alarms: Floats) -> float:
    """What one more model of the group's like exceeds with probability `FALSE_ALARM_RATE`."""
    if not np.ptp(alarms):
        raise CannotResolveError(
            f"none of {len(alarms)} shadow models differs from the others in how many it accuses "
            "by chance: this needs more shadow models, or more examples"
        )
    return float(clean_bound(alarms[:, None], FALSE_ALARM_RATE)[0])
