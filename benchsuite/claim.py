"""A claim: the declaration of a finding, and the evidence that one run of it gathers.

A claim is a generator that yields one number per independent unit of an experiment, under a
declaration of what the numbers must satisfy. Deciding it runs every control first, then the
experiment as it is:

    void          a control did not come out as it must: the set-up cannot tell true from false
    supported     the interval over units lies inside the rule's bounds
    refuted       it lies wholly outside
    inconclusive  it crosses a bound, or the sample cannot answer (`CannotResolveError`)
    plumbing      fewer units than declared, or a tier that decides nothing: it ran, that is all
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any, ClassVar, Final, Literal, Protocol, Self

from benchsuite.stats.verdict import (
    AllOf,
    CannotResolveError,
    Decision,
    Rule,
    Unit,
    Verdict,
    decide,
)

Tier = Literal["smoke", "cpu", "gpu"]
TIERS: Final[tuple[Tier, ...]] = ("smoke", "cpu", "gpu")

REFUTED: Final = "refuted"
"""What most controls must come out as, by the claim's own rule."""

OBSERVED: Final = "observed"


class Experiment(Protocol):
    """What a claim's generator is given.

    Attributes:
        controls: what each of its controls breaks, in a sentence, by name.
    """

    controls: ClassVar[Mapping[str, str]]

    def under(self, control: str) -> Self:
        """The same experiment with the one thing broken that the control is about."""


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


@dataclass(frozen=True)
class Arm:
    """What one arm of a claim came to: the experiment as it is, or under one control.

    Attributes:
        name: "observed" or the control's.
        breaks: what the control breaks; "" for the observed arm.
        rule: it is held against.
        decision: of the rule on its units, or None where the sample cannot answer.
        units: that the experiment yielded, or None where it gave up.
        unresolved: why there is no decision; "" where there is one.
        required: the verdict that a control must have; "" for the observed arm.
        seconds: spent.
    """

    name: str
    breaks: str
    rule: Rule | AllOf
    decision: Decision | None
    units: int | None
    unresolved: str
    required: Verdict | Literal[""]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Of the arm by itself: inconclusive where the sample cannot answer."""
        return "inconclusive" if self.decision is None else self.decision.verdict

    @property
    def came_out(self) -> bool:
        """Whether a control did what it must."""
        return not self.required or self.verdict == self.required


@dataclass(frozen=True)
class Look:
    """One of several looks at a claim whose models are trained in parts; see `sequential`.

    Attributes:
        number: counted from 1.
        of: how many were scheduled; 1 where the experiment takes all its models at once.
        models_saved: declared models that it did without.
    """

    number: int
    of: int
    models_saved: int


@dataclass(frozen=True)
class Evidence:
    """All arms of one claim on one subject at one tier, and what they come to.

    Attributes:
        controls: in the order declared.
        observed: the experiment as it is.
        verdict: of the claim.
        expected: verdict declared for this subject and tier.
        reason: why, if it is not supported.
        alpha: that all arms were decided at.
        look: which of several looks this is; None where there is one, at everything.
    """

    controls: tuple[Arm, ...]
    observed: Arm
    verdict: str
    expected: str
    reason: str
    alpha: float
    look: Look | None = None

    @property
    def resolved(self) -> bool:
        """Whether there is a decision behind the verdict, and something to draw."""
        return self.observed.decision is not None

    @property
    def as_expected(self) -> bool:
        """Whether the run may pass: the declared verdict, or mere plumbing."""
        return self.verdict in (self.expected, "plumbing")

    def as_plumbing(self) -> Self:
        """The same evidence, deciding nothing."""
        return replace(self, verdict="plumbing")


def gather(
    claim: Claim,
    experiment: Experiment,
    subject: str,
    tier: Tier,
    *,
    alpha: float | None = None,
    share: float = 1.0,
) -> Evidence:
    """Run a claim's controls and the observed arm, and decide.

    Args:
        claim: to decide.
        experiment: it is about.
        subject: name of its subject.
        tier: that it runs at.
        alpha: to decide at; None takes the claim's own.
        share: of the declared units; with fewer it is plumbing.

    Raises:
        ValueError: the generator yields what cannot be decided: other names, NaN.
    """
    level = claim.family.alpha_of_each if alpha is None else alpha
    controls = tuple(
        _arm(claim, tier, name, experiment, required, level)
        for name, required in claim.controls.items()
    )
    observed = _arm(claim, tier, OBSERVED, experiment, "", level)
    expected, reason = claim.expected(subject, tier)
    verdict: str = observed.verdict
    least = share * claim.declared_units(subject, tier)
    few = observed.units is not None and observed.units < least
    if tier == "smoke" or few:
        verdict = "plumbing"
    elif observed.decision and not all(control.came_out for control in controls):
        verdict = "void"
    return Evidence(controls, observed, verdict, expected, reason, level)


def _arm(
    claim: Claim,
    tier: Tier,
    name: str,
    experiment: Experiment,
    required: Rule | AllOf | str,
    alpha: float,
) -> Arm:
    started = time.perf_counter()
    own = isinstance(required, str)
    rule = claim.rule_at(tier) if isinstance(required, str) else required
    must: Verdict | Literal[""] = "" if name == OBSERVED else "refuted" if own else "supported"
    decision, unresolved, units = None, "", None
    try:
        under = experiment if name == OBSERVED else experiment.under(name)
        numbers = list(claim.numbers(under))
        units = len(numbers)
        if units < 2:
            raise CannotResolveError(f"{units} of at least 2 units: too few for an interval")
        decision = decide(rule, numbers, alpha)
    except CannotResolveError as error:
        unresolved = str(error)
    seconds = time.perf_counter() - started
    breaks = "" if name == OBSERVED else experiment.controls[name]
    return Arm(name, breaks, rule, decision, units, unresolved, must, seconds)


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
