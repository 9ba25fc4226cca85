"""The evidence for a claim: what its controls and the experiment as it is came to in one run.

Deciding a claim runs every control first, then the experiment as it is:

    void          a control did not come out as it must: the set-up cannot tell true from false
    supported     the interval over units lies inside the rule's bounds
    refuted       it lies wholly outside
    inconclusive  it crosses a bound, or the sample cannot answer (`CannotResolveError`)
    plumbing      fewer units than declared, or a tier that decides nothing: it ran, that is all
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, Self

from benchsuite.claim import OBSERVED, Claim, Tier
from benchsuite.stats.verdict import AllOf, CannotResolveError, Decision, Rule, Verdict, decide


class Experiment(Protocol):
    """What a claim's generator is given.

    Attributes:
        controls: what each of its controls breaks, in a sentence, by name.
    """

    controls: ClassVar[Mapping[str, str]]

    def under(self, control: str) -> Self:
        """The same experiment with the one thing broken that the control is about."""


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
