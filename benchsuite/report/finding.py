"""All arms of one claim on one subject at one tier, as a card shows them."""

from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import quote

from markupsafe import Markup

from benchsuite.report import strip, wording
from benchsuite.report.schema import Part, Result


@dataclass(frozen=True)
class Row:
    """One line of a card's evidence: a part of the observed arm, or a control."""

    name: str
    must_be: str  # a control's required verdict; "" for the finding itself
    as_expected: bool
    rule: str
    numbers: str
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
    def deciding(self) -> Part:
        """The part that the estimate is of: where there are several, the closest to failing."""
        return _deciding(self.observed)

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
        parts = [(part.name or "the finding", "", True, part) for part in self.observed.parts]
        for arm in self.controls:
            part = replace(_deciding(arm), verdict=arm.verdict)
            parts.append((arm.arm, arm.expected, arm.as_expected, part))
        regions = [wording.region(part.rule) for *_, part in parts]
        strips = [
            # A control is drawn without the colours of a verdict: failing the rule is its job.
            strip.Strip(
                part.estimate, part.interval, region, "control" if must_be else part.verdict
            )
            if region
            else None
            for (_, must_be, _, part), region in zip(parts, regions, strict=True)
        ]
        axes = {
            region: strip.scale(one for one in strips if one and one.region == region)
            for region in regions
            if region
        }
        return [
            Row(
                name=name,
                must_be=must_be,
                as_expected=as_expected,
                rule=wording.minus(part.rule),
                numbers=_numbers(part),
                verdict=part.verdict,
                strip=strip.draw(one, axes[one.region]) if one else None,
            )
            for (name, must_be, as_expected, part), one in zip(parts, strips, strict=True)
        ]


def _deciding(result: Result) -> Part:
    """The part that `result` has its estimate and interval from."""
    mine = (result.estimate, result.interval)
    for part in result.parts:
        if part.rule and (part.estimate, part.interval) == mine:
            return part
    return Part("", result.rule, *mine, "", None)


def _numbers(part: Part) -> str:
    # A decided number keeps the unit of its rule; a reported TPR reads best as a percentage.
    values = (part.estimate, *part.interval)
    share = not part.rule and "TPR" in part.name and all(0 <= value <= 1 for value in values)
    return wording.measured(part.estimate, part.interval, share=share)
