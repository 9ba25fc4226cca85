"""A small drawing of an interval against its bound: where the rule holds, where the numbers lie."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from benchsuite.report.wording import measured, number

WIDTH, HEIGHT, MIDDLE = 240.0, 30.0, 10.0


@dataclass(frozen=True)
class Strip:
    """One interval, and the region in which it would support its rule."""

    estimate: float
    interval: tuple[float, float]
    region: tuple[float, float]
    verdict: str


def scale(strips: Iterable[Strip]) -> tuple[float, float]:
    """The axis, (low, high), on which all of `strips` can be seen with their bounds."""
    seen = [
        value
        for strip in strips
        for value in (strip.estimate, *strip.interval, *strip.region)
        if math.isfinite(value)
    ]
    low, high = min(seen), max(seen)
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    return (low - margin, high + margin)


def draw(strip: Strip, axis: tuple[float, float]) -> Markup:
    """`strip` as an <svg> element, on `axis`; unbounded ends leave the picture with an arrow."""

    def place(value: float) -> float:
        share = (min(max(value, axis[0]), axis[1]) - axis[0]) / (axis[1] - axis[0])
        return round(4 + share * (WIDTH - 8), 1)

    left, right = (place(end) for end in strip.interval)
    from_, to = (place(end) for end in strip.region)
    from_ = 0 if math.isinf(strip.region[0]) else from_
    to = WIDTH if math.isinf(strip.region[1]) else to
    bounds = "".join(
        f'<line class="bound" x1="{place(bound)}" x2="{place(bound)}" y1="0" y2="20"/>'
        f'<text x="{min(max(place(bound), 14), WIDTH - 14)}" y="29">{number_of(bound)}</text>'
        for bound in strip.region
        if math.isfinite(bound)
    )
    arrows = "".join(
        f'<path d="M {x + 5 * side} {MIDDLE - 4} L {x} {MIDDLE} L {x + 5 * side} {MIDDLE + 4}"/>'
        for end, x, side in zip(strip.interval, (left, right), (1, -1), strict=True)
        if math.isinf(end)
    )
    alt = f"{measured(strip.estimate, strip.interval)}, bound {_words(strip.region)}"
    return Markup(
        f'<svg class="strip {escape(strip.verdict)}" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" '
        f'role="img" aria-label="{escape(alt)}">'
        f'<rect class="holds" x="{from_}" y="0" width="{round(to - from_, 1)}" height="20"/>'
        f'{bounds}<g class="interval"><line x1="{left}" x2="{right}" y1="{MIDDLE}" y2="{MIDDLE}"/>'
        f'{arrows}<circle cx="{place(strip.estimate)}" cy="{MIDDLE}" r="4.2"/></g></svg>'
    )


def number_of(bound: float) -> str:
    """A bound as it was declared, without the zeros that `number` adds."""
    text = number(bound)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


def _words(region: tuple[float, float]) -> str:
    if math.isinf(region[1]):
        return f"above {number_of(region[0])}"
    if math.isinf(region[0]):
        return f"below {number_of(region[1])}"
    return f"{number_of(region[0])} to {number_of(region[1])}"
