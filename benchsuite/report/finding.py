"""All arms of one claim on one subject at one tier, as a card shows them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import quote

from markupsafe import Markup

from benchsuite.claim import OBSERVED
from benchsuite.report import strip, wording
from benchsuite.report.schema import Part, Result


@dataclass(frozen=True)
class Row:
    """One line of a card's evidence: a part of the observed arm, or a control."""

    name: str
    breaks: str  # what a control breaks
    must_be: str  # a control's required verdict; "" for the finding itself
    as_expected: bool
    rule: str
    numbers: str
    factor: str  # the same as a factor, where they are logarithms
    unresolved: str  # why there are no numbers
    verdict: str
    strip: Markup | None


@dataclass(frozen=True)
class Finding:
    """All arms of one claim on one subject at one tier."""

    observed: Result
    controls: tuple[Result, ...]
    stale: str  # why it may no longer hold; "" while it does

    @property
    def anchor(self) -> str:
        """The card's id, which is also what a link to it has after the #."""
        return "--".join(quote(part, safe="") for part in self.observed.group)

    @property
    def status(self) -> str:
        """One of ORDER, or "plumbing"; what a claim declares for itself is no surprise."""
        result = self.observed
        if result.verdict in ("void", "plumbing", "inconclusive"):
            return result.verdict
        if not result.as_expected:
            return "surprise"
        return "supported" if result.verdict == "supported" else "declared"

    @property
    def note(self) -> str:
        """What to add to the verdict: whether it was declared."""
        result = self.observed
        if self.status == "declared" or (self.status == "inconclusive" and result.as_expected):
            return "as declared"
        return f"{result.expected} was declared" if self.status == "surprise" else ""

    @property
    def numbers(self) -> str:
        """Estimate and interval of the deciding part."""
        return wording.measured(self.observed.estimate, self.observed.interval)

    @property
    def part(self) -> str:
        """Name of the part that the estimate is of, the closest to failing of several; or ""."""
        part = deciding(self.observed)
        return part.name if part else ""

    @property
    def rule(self) -> str:
        """The rule of the deciding part."""
        part = deciding(self.observed)
        return wording.minus(part.rule if part else self.observed.rule)

    @property
    def factor(self) -> str:
        """Estimate, interval and bound as factors where they are logarithms, or ""."""
        return _factor(deciding(self.observed))

    @property
    def looked(self) -> str:
        """Of --until-decided: after how many units, and without how many models; or ""."""
        result = self.observed
        if result.looks <= 1:
            return "took all its models at once" if result.looks else ""
        if not result.models_saved:
            return f"not decided before all {result.declared_units} units"
        return (
            f"decided after {len(result.units)} of {result.declared_units} units; "
            f"{result.models_saved:,} models not needed"
        )

    @property
    def failed_controls(self) -> list[Result]:
        """Controls that did not come out as they have to."""
        return [control for control in self.controls if not control.as_expected]

    @property
    def undecided(self) -> list[Part]:
        """Parts that more units would decide."""
        return [part for part in self.observed.parts if part.verdict == "inconclusive"]

    @property
    def seconds(self) -> float:
        """Deciding all arms, without training."""
        return sum(arm.seconds for arm in (self.observed, *self.controls))

    @property
    def unit_columns(self) -> list[str]:
        """The parts that units give numbers for; empty where a unit is a single number."""
        names: dict[str, None] = {}
        for unit in self.observed.units:
            if isinstance(unit.get("value"), dict):
                names |= dict.fromkeys(unit["value"])
        return list(names)

    @cached_property
    def rows(self) -> list[Row]:
        """The evidence; intervals that face the same bound share one axis."""
        lines: list[tuple[str, Result, Part | None]] = [
            (part.name or "the finding", self.observed, part) for part in self.observed.parts
        ] or [("the finding", self.observed, deciding(self.observed))]
        for arm in self.controls:
            part = deciding(arm)
            lines.append((arm.arm, arm, replace(part, verdict=arm.verdict) if part else None))
        strips = [_strip(arm, part) for _, arm, part in lines]
        axes = {
            region: strip.scale(one for one in strips if one and one.region == region)
            for region in (one.region for one in strips if one)
        }
        return [
            Row(
                name=name,
                breaks="" if arm is self.observed else arm.says,
                must_be="" if arm is self.observed else arm.expected,
                as_expected=arm is self.observed or arm.as_expected,
                rule=wording.minus(part.rule if part else arm.rule),
                numbers=_numbers(part) if part else wording.measured(arm.estimate, arm.interval),
                factor=_factor(part),
                unresolved=arm.unresolved,
                verdict=part.verdict if part else arm.verdict,
                strip=strip.draw(one, axes[one.region]) if one else None,
            )
            for (name, arm, part), one in zip(lines, strips, strict=True)
        ]


def deciding(result: Result) -> Part | None:
    """The part that `result` has its estimate and interval from; None where it has no estimate."""
    if result.estimate is None:
        return None
    for part in result.parts:
        if part.rule and (part.estimate, part.interval) == (result.estimate, result.interval):
            return part
    return Part("", result.rule, result.estimate, result.interval, "", None)


def models_saved(results: Iterable[Result]) -> int | None:
    """Models that --until-decided did without, or None where nothing was trained in parts.

    Findings share banks, so that of each bank only what none of them needed is saved.
    """
    observed = [result for result in results if result.arm == OBSERVED]
    if not any(result.looks > 1 for result in observed):
        return None
    saved: dict[str, int] = {}
    for result in observed:
        own = str(result.provenance.get("bank", ""))
        for bank in {own, *result.provenance.get("banks", {})} - {""}:
            without = result.models_saved if bank == own else 0
            saved[bank] = min(without, saved.get(bank, without))
    return sum(saved.values())


def _strip(arm: Result, part: Part | None) -> strip.Strip | None:
    region = wording.region(part.rule) if part else None
    if part is None or region is None:
        return None
    # A control is drawn without the colours of a verdict: failing the rule is its job.
    verdict = part.verdict if arm.arm == OBSERVED else "control"
    return strip.Strip(part.estimate, part.interval, region, verdict)


def _factor(part: Part | None) -> str:
    """A part named "log ..." is the natural logarithm of a factor, which is what readers know."""
    if part is None or not part.name.startswith("log "):
        return ""
    low, high = part.interval
    factors = wording.measured(math.exp(part.estimate), (math.exp(low), math.exp(high)))
    region = wording.region(part.rule) or ()
    bounds = [
        strip.number_of(float(f"{math.exp(bound):.2g}")) for bound in region if math.isfinite(bound)
    ]
    return f"as a factor: {factors}" + f", bound {' to '.join(bounds)}" * bool(bounds)


def _numbers(part: Part) -> str:
    # A decided number keeps the unit of its rule; a reported TPR reads best as a percentage.
    values = (part.estimate, *part.interval)
    share = not part.rule and "TPR" in part.name and all(0 <= value <= 1 for value in values)
    return wording.measured(part.estimate, part.interval, share=share)
