"""Rules that turn one number per unit into a verdict.

A rule accepts an open range of values. The interval of the mean over units is held against it:
strictly inside, the finding is supported; wholly outside, refuted; across a bound, inconclusive.
With a two-sided interval at 1 - alpha, a truth that sits on the bound is called supported, or
refuted, with probability at most alpha / 2 each; `tests/meta` measures both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from numbers import Real
from typing import Literal

import numpy as np

from benchsuite.stats.intervals import (
    Interval,
    as_units,
    check_alpha,
    t_units_needed,
    unit_interval,
)
from benchsuite.stats.validation import Float64s

Verdict = Literal["supported", "refuted", "inconclusive"]
Unit = float | Mapping[str, float]

_WORST_FIRST: tuple[Verdict, ...] = ("refuted", "inconclusive", "supported")


class CannotResolveError(ValueError):
    """The sample cannot answer: a group is empty, or too little stands behind a number.

    Raised by what yields the units of a finding; the message is the answer.
    """


@dataclass(frozen=True)
class Rule:
    """The open range (low, high) of values that support a finding; ``str()`` prints it."""

    low: float
    high: float
    text: str

    def __str__(self) -> str:
        return self.text

    def judge(self, interval: Interval) -> Verdict:
        """Return the verdict of one interval against this range."""
        if self.low < interval.low and interval.high < self.high:
            return "supported"
        if interval.high < self.low or self.high < interval.low:
            return "refuted"
        return "inconclusive"

    def margin(self, value: float) -> float:
        """Return the distance from ``value`` to the nearest bound, negative outside the range."""
        return min(value - self.low, self.high - value)


@dataclass(frozen=True)
class AllOf:
    """Several numbers of a unit, each with its rule; made by `all_of`."""

    every: Rule | None
    named: tuple[tuple[str, Rule], ...]

    def __str__(self) -> str:
        if self.every is not None:
            return f"each {self.every}"
        return " and ".join(f"{name} {rule}" for name, rule in self.named)


@dataclass(frozen=True)
class PartDecision:
    """What one named number of the units came to.

    ``rule`` is "" and ``verdict`` None for a number that is reported without a rule; ``name`` is ""
    where the units are plain numbers. ``units_needed`` is given where the verdict is inconclusive:
    how many units would decide if their mean and spread stayed as they are, None if no number up to
    a million would. ``verdict`` is refuted only where it stays so after Holm's correction over the
    parts.
    """

    name: str
    rule: str
    estimate: float
    interval: tuple[float, float]
    verdict: Verdict | None
    units_needed: int | None


@dataclass(frozen=True)
class Decision:
    """A finding's verdict with the estimate and interval of the part that decides it."""

    verdict: Verdict
    estimate: float
    interval: tuple[float, float]
    alpha: float
    rule: str
    parts: tuple[PartDecision, ...]
    units: tuple[Unit, ...]

    @property
    def units_needed(self) -> int | None:
        """How many units would settle an inconclusive finding; None where none or unknown."""
        open_parts = [p.units_needed for p in self.parts if p.verdict == "inconclusive"]
        if self.verdict != "inconclusive" or None in open_parts:
            return None
        return max(n for n in open_parts if n is not None)


def greater(than: float) -> Rule:
    """Return the rule that the mean is above ``than``."""
    return Rule(_number("than", than), np.inf, f"> {than:.3g}")


def less(than: float) -> Rule:
    """Return the rule that the mean is below ``than``."""
    return Rule(-np.inf, _number("than", than), f"< {than:.3g}")


def equivalent(within: float, to: float = 0.0) -> Rule:
    """Return the rule that the mean lies within ``within`` of ``to``, on either side."""
    if not _number("within", within) > 0:
        raise ValueError(f"within is {within}, expected a positive margin around {to}")
    text = f"within ±{within:.3g} of {to:.3g}"
    return Rule(_number("to", to) - within, to + within, text)


def all_of(rule: Rule | None = None, /, **named: Rule) -> AllOf:
    """Return the rule that several numbers of each unit all satisfy theirs.

    Args:
        rule: one rule for every number of the unit; or
        named: a rule for each number that decides, by its key in the unit or a pattern of keys,
            such as "* at 1 %". Numbers of the unit without a rule are reported with an interval and
            no verdict.

    Raises:
        ValueError: both forms at once, or neither.
    """
    if (rule is None) == (not named):
        raise ValueError(
            "all_of takes either one rule for every number, all_of(greater(0)), or a rule for each"
            " by name, all_of(a=greater(0), b=less(1))"
        )
    return AllOf(rule, tuple(named.items()))


def decide(rule: Rule | AllOf, units: Sequence[Unit], alpha: float) -> Decision:
    """Return the verdict of ``rule`` on one number, or several by name, per independent unit.

    Of several parts the finding is SUPPORTED when every part is, each at the full alpha. That needs
    no correction: to support it wrongly some false part must be supported wrongly, which that part
    alone does with probability at most alpha (the intersection-union test). It is REFUTED when any
    part is. That gives chance as many tries as there are parts, so refuting uses Holm's step-down
    over the parts: intervals at 1 - alpha / m, then, once parts fall, at 1 - alpha / (those left).
    The estimate and interval reported for the whole are those of the part closest to failing, by
    its distance to the bound in standard errors, among the parts that share the verdict.

    Args:
        rule: from `greater`, `less`, `equivalent` or `all_of`.
        units: numbers; or, for `all_of`, mappings with the same keys.
        alpha: 1 - confidence of each part's two-sided interval.

    Returns:
        The decision with every part, in the order of the units' keys.

    Raises:
        ValueError: fewer than 2 units, NaN or infinity (naming the unit), keys that differ between
            units, a rule without its number, units of the wrong kind for the rule, bad alpha.

    Source: Berger (1982), Technometrics 24, 295-300 (intersection-union); Holm (1979).
    """
    check_alpha(alpha)
    columns = _columns(units)
    rules = _rules_by_name(rule, columns)

    @cache  # one part alone is asked twice at the same level
    def interval_at(name: str, level: float) -> Interval:
        return unit_interval(columns[name], level)

    refuted = _holm_refuted(rules, interval_at, alpha)
    parts = []
    for name, values in columns.items():
        interval = interval_at(name, alpha)
        text, judged, needed = "", None, None
        if name in rules:
            text, judged = str(rules[name]), rules[name].judge(interval)
            if (judged == "refuted") != (name in refuted):
                judged = "refuted" if name in refuted else "inconclusive"
            if judged == "inconclusive":
                needed = _units_needed(rules[name], values, alpha, len(rules))
        ends = (interval.low, interval.high)
        parts.append(PartDecision(name, text, interval.estimate, ends, judged, needed))
    verdicts = [part.verdict for part in parts]
    whole = next(v for v in _WORST_FIRST if v in verdicts)
    deciding = min(
        (part for part in parts if part.verdict == whole),
        key=lambda part: _standardised_margin(rules[part.name], columns[part.name]),
    )
    return Decision(
        verdict=whole,
        estimate=deciding.estimate,
        interval=deciding.interval,
        alpha=alpha,
        rule=str(rule),
        parts=tuple(parts),
        units=tuple(_plain(unit) for unit in units),
    )


def _number(name: str, value: float) -> float:
    if not np.isfinite(value):
        raise ValueError(f"{name} is {value}, expected a finite number")
    return float(value)


def _plain(unit: Unit) -> Unit:
    """Return ``unit`` in Python floats, which any results file can hold."""
    if isinstance(unit, Mapping):
        return {name: float(value) for name, value in unit.items()}
    return float(unit)


def _columns(units: Sequence[Unit]) -> dict[str, Float64s]:
    """Turn units into one array per name, "" for plain numbers."""
    if len(units) == 0:
        raise ValueError("units is empty, expected at least 2: run blocks or worlds that yield one")
    named = [unit if isinstance(unit, Mapping) else {"": unit} for unit in units]
    for index, unit in enumerate(named):
        if set(unit) != set(named[0]) or not unit:
            raise ValueError(
                f"units[{index}] names the numbers {list(unit)} and units[0] {list(named[0])}:"
                " expected the same, at least one, in every unit"
            )
        for name, value in unit.items():
            if not (isinstance(value, Real) and np.isfinite(float(value))):
                where = f"units[{index}]" + (f"[{name!r}]" if name else "")
                raise ValueError(
                    f"{where} is {value!r}, expected a finite number: decide in the claim what such"
                    " a unit means (a stated floor, or another statistic)"
                )
    return {name: as_units([float(unit[name]) for unit in named]) for name in named[0]}


def _rules_by_name(rule: Rule | AllOf, columns: Mapping[str, Float64s]) -> dict[str, Rule]:
    plain = "" in columns
    if isinstance(rule, Rule):
        if not plain:
            raise ValueError(
                f"units name the numbers {list(columns)} but the rule '{rule}' is for one number:"
                " use all_of, or yield plain numbers"
            )
        return {"": rule}
    if plain:
        raise ValueError(
            f"units are plain numbers but the rule '{rule}' is for named ones: yield mappings such"
            " as {'a': 0.1, 'b': 0.2}, or use the rule without all_of"
        )
    if rule.every is not None:
        return dict.fromkeys(columns, rule.every)
    rules: dict[str, Rule] = {}
    for pattern, each in rule.named:
        names = [name for name in columns if name == pattern or fnmatchcase(name, pattern)]
        if not names:
            raise ValueError(f"units lack {[pattern]}, which the rule '{rule}' needs: yield them")
        rules |= dict.fromkeys(names, each)
    return rules


def _holm_refuted(
    rules: Mapping[str, Rule], interval_at: Callable[[str, float], Interval], alpha: float
) -> set[str]:
    """Return the names of the parts that stay refuted under Holm's step-down at ``alpha``.

    A part with p-value p is refuted at level a exactly when its interval at 1 - a lies outside its
    range, so Holm's comparisons p <= alpha / (parts left) are made with intervals.
    """
    refuted: set[str] = set()
    while left := [name for name in rules if name not in refuted]:
        level = alpha / len(left)
        fallen = {name for name in left if rules[name].judge(interval_at(name, level)) == "refuted"}
        if not fallen:
            break
        refuted |= fallen
    return refuted


def _standardised_margin(rule: Rule, values: Float64s) -> float:
    margin = rule.margin(float(values.mean()))
    error = float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    if error > 0:
        return margin / error
    return 0.0 if margin == 0 else float(np.copysign(np.inf, margin))


def _units_needed(rule: Rule, values: Float64s, alpha: float, parts: int) -> int | None:
    margin = rule.margin(float(values.mean()))
    level = alpha if margin > 0 else alpha / parts  # Holm's first step where it heads for refuted
    return t_units_needed(float(values.std(ddof=1)), abs(margin), level, more_than=len(values))
