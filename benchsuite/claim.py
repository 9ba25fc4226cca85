"""A claim: the declaration of a finding, which makes a pytest test of it.

A claim is a generator that yields one number per independent unit of an experiment, under a
declaration of what the numbers must satisfy; `benchsuite.evidence` decides it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, Final, Literal

from benchsuite.stats.verdict import AllOf, Rule, Unit

Tier = Literal["smoke", "cpu", "gpu"]
TIERS: Final[tuple[Tier, ...]] = ("smoke", "cpu", "gpu")

REFUTED: Final = "refuted"
"""What most controls must come out as, by the claim's own rule."""

OBSERVED: Final = "observed"
"""The name, beside those of controls, of the experiment as it is."""


@dataclass(frozen=True)
class Family:
    """Claims that share one error rate.

    Args:
        id: as in the family's file.
        title: shown in reports.
        claims: how many it declares. Each is decided at alpha / claims whatever is selected in a
            run, so the chance of any false verdict of the family, on one subject and tier, stays
            below alpha.
        alpha: of the family.
    """

    id: str
    title: str
    claims: int
    alpha: float = 0.05

    @property
    def alpha_of_each(self) -> float:
        """Alpha of one claim (Bonferroni)."""
        return self.alpha / self.claims


@dataclass(frozen=True)
class Declared:
    """A verdict other than supported that is known and expected, with the evidence for it."""

    verdict: Literal["refuted", "inconclusive"]
    reason: str


@dataclass(frozen=True)
class Claim:
    """The declaration of a finding.

    Args:
        id: its name in reports and results.
        version: raised when a margin, alpha, unit or rule changes.
        family: that it shares its error rate with.
        says: the finding, in one sentence.
        measures: what a unit's number is, in a few words.
        source: paper and place.
        paper: the paper's number, as text.
        rule: what the units must satisfy; by tier where it differs.
        controls: by name, the rule that the experiment under this control must satisfy, or
            `REFUTED`: the claim's own rule must then be refuted.
        units: declared number of units, by tier or by "subject/tier".
        subjects: built-in subjects by tier.
        declared: verdicts other than supported, by a pattern of "subject/tier".
        figures: kinds of figure that the experiment gives the arrays of.
        numbers: the generator: one number, or several by name, per unit of the experiment.
    """

    id: str
    version: int
    family: Family
    says: str
    measures: str
    source: str
    paper: str
    rule: Rule | AllOf | Mapping[Tier, Rule | AllOf]
    controls: Mapping[str, Rule | AllOf | str]
    units: Mapping[str, int]
    subjects: Mapping[Tier, tuple[str, ...]]
    numbers: Callable[[Any], Iterator[Unit]]
    declared: Mapping[str, Declared] = field(default_factory=dict)
    figures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.controls:
            raise ValueError(f"claim {self.id!r} has no controls: nothing shows that it can fail")
        for name, required in self.controls.items():
            if isinstance(required, str) and required != REFUTED:
                raise ValueError(
                    f"claim {self.id!r}: control {name!r} must be a rule or REFUTED, not "
                    f"{required!r}"
                )
        if missing := [tier for tier in TIERS if tier not in self.units]:
            raise ValueError(f"claim {self.id!r} declares no units for tier {missing[0]!r}")

    def declared_units(self, subject: str, tier: Tier) -> int:
        """Units declared for a subject at a tier."""
        return self.units.get(f"{subject}/{tier}", self.units[tier])

    def rule_at(self, tier: Tier) -> Rule | AllOf:
        """The rule at a tier."""
        return self.rule[tier] if isinstance(self.rule, Mapping) else self.rule

    def expected(self, subject: str, tier: Tier) -> tuple[str, str]:
        """The expected verdict and, if it is not supported, why."""
        for pattern, declared in self.declared.items():
            if fnmatch(f"{subject}/{tier}", pattern):
                return declared.verdict, declared.reason
        return "supported", ""


def claim(**declaration: Any) -> Callable[[Callable[..., Iterator[Unit]]], Callable[..., None]]:
    """Declare a finding: makes a pytest test of a generator of one number per unit.

    The generator's one parameter names the fixture that gives it its experiment. Arguments are
    those of `Claim`, without `numbers`; `subjects` is taken from `units` where a user gives their
    own. The test runs the claim once per subject and tier.
    """

    def decorate(numbers: Callable[..., Iterator[Unit]]) -> Callable[..., None]:
        parameters = list(inspect.signature(numbers).parameters.values())
        if len(parameters) != 1:
            raise TypeError(
                f"{numbers.__name__} takes {len(parameters)} parameters; a claim's generator takes "
                "one, the fixture of its experiment"
            )
        declared = Claim(numbers=numbers, **declaration)
        name = parameters[0].name

        def test(decide_claim: Callable[[Claim, Any], None], **fixtures: Any) -> None:
            decide_claim(declared, fixtures[name])

        # pytest reads the signature to find the fixtures; a generator function itself would be
        # refused at collection as a yield test.
        keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
        test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter("decide_claim", keyword), inspect.Parameter(name, keyword)]
        )
        test.__name__ = test.__qualname__ = numbers.__name__
        test.__module__ = numbers.__module__
        test.__doc__ = numbers.__doc__
        test.claim = declared  # type: ignore[attr-defined]
        return test

    return decorate
