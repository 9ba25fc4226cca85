"""Deciding a claim at looks: on a part of its models, and on more of them until it is decided.

Looks are at declared shares of the declared units, each at a level of its own; together these are
the claim's alpha (see `benchsuite.stats.spending`). A look ends it where the finding is supported
or refuted and every control came out; the last one, at everything that is declared, ends it
whatever came out. So a verdict on few units is wrong no more often than one on all units, and what
the last look decides at three quarters of alpha is decided a little less often.
"""

from dataclasses import replace
from typing import Any, Final, Protocol, Self, runtime_checkable

from benchsuite.claim import Claim, Tier
from benchsuite.evidence import Evidence, Experiment, Look, gather
from benchsuite.stats.spending import levels

LOOKS: Final = (0.25, 0.5, 1.0)
"""Shares of the declared units.

A fourth look, at 3/4, would leave up to a tenth more undecided where the truth is near a bound.
"""


@runtime_checkable
class Growing(Experiment, Protocol):
    """An experiment whose models are trained in parts.

    Its first units must not depend on how many follow: what attacks and what chooses is the same
    whatever the share.

    Attributes:
        models_saved: declared models that it has not asked for.
    """

    @property
    def models_saved(self) -> int:
        """Declared models that it has not asked for."""

    def upto(self, share: float) -> Self:
        """The same experiment on so many models as that share of its declared units needs."""


def gather_until_decided(
    claim: Claim, experiment: Experiment, subject: str, tier: Tier
) -> tuple[Evidence, Experiment]:
    """Decide a claim at the first of `LOOKS` that decides it, training no further.

    An experiment that takes all its models at once is decided at once, at the claim's full alpha.

    Returns:
        The evidence of the last look, with the seconds of all looks; and the experiment as it was.

    Raises:
        ValueError: as `benchsuite.evidence.gather`.
    """
    if not isinstance(experiment, Growing):
        evidence = gather(claim, experiment, subject, tier)
        return replace(evidence, look=Look(1, 1, 0)), experiment
    seen, earlier = experiment, None
    scheduled = zip(LOOKS, levels(LOOKS, claim.family.alpha_of_each), strict=True)
    for number, (share, alpha) in enumerate(scheduled, start=1):
        seen = seen.upto(share)
        evidence = gather(claim, seen, subject, tier, alpha=alpha, share=share)
        evidence = replace(evidence, look=Look(number, len(LOOKS), seen.models_saved))
        if earlier is not None:
            evidence = _with_seconds_of(earlier, evidence)
        if evidence.verdict in ("supported", "refuted"):
            break
        earlier = evidence
    return evidence, seen


def _with_seconds_of(earlier: Evidence, evidence: Evidence) -> Evidence:
    """The evidence, each arm with the seconds of the same arm before."""
    arms: list[Any] = [
        replace(arm, seconds=arm.seconds + before.seconds)
        for before, arm in zip(
            (earlier.observed, *earlier.controls),
            (evidence.observed, *evidence.controls),
            strict=True,
        )
    ]
    return replace(evidence, observed=arms[0], controls=tuple(arms[1:]))
